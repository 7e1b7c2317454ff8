"""What all processes of a server count for Prometheus, in memory they share.

To count is to add to a few numbers: a request costs half a microsecond. The labels of what is
counted are known before the processes are forked, so each has its place in a fixed row.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import product
from math import prod
from typing import Final

from treescale.metrics import catalog
from treescale.metrics.catalog import Metric
from treescale.metrics.page import Family, Histogram, Sample, one
from treescale.metrics.shared_counters import SharedCounters


class Route(IntEnum):
    """What a request asks for. Their names in small letters are the values of the label."""

    OTHER = 0
    """Nothing there is, or no request that can be read."""
    PEER = 1
    ROOT = 2
    CATALOG = 3
    MANIFEST = 4
    BLOB = 5
    UPLOADS = 6
    UPLOAD = 7
    TAGS = 8
    REFERRERS = 9
    TOKEN = 10
    HEALTHZ = 11
    READYZ = 12
    STOPZ = 13
    METRICS = 14
    API = 15
    PAGES = 16
    """What people look at in a browser, below /-/."""


class Refusal(IntEnum):
    """Why credentials were refused."""

    CREDENTIALS = 0
    """A wrong name, password or access token, or what is none."""
    TOKEN = 1
    """A bearer or refresh token that has expired, was revoked, or is none of ours."""
    THROTTLED = 2
    """Not looked at: too many failed before."""


class Sent(IntEnum):
    """What came of sending a webhook."""

    DELIVERED = 0
    RETRIED = 1
    """It failed, and is tried again."""
    FAILED = 2
    """For good."""


class Call(IntEnum):
    """What is asked of a database or a disk."""

    READ = 0
    WRITE = 1


LEFT: Final = -1
"""In the place of a status: the client left before the answer's end."""
CUT: Final = -2
"""Likewise: the answer broke off, because of us."""
METHODS: Final = ("other", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
STATUSES: Final = (
    *("other", "left", "cut", "200", "201", "202", "204", "206", "304", "307", "400", "401"),
    *("403", "404", "405", "406", "408", "409", "412", "413", "415", "416", "417", "429"),
    *("500", "501", "503", "505", "507"),
)
JOBS: Final = (
    *("other", "address.look", "addresses.prune", "certificate.follow", "certificate.look"),
    *("clock.read", "cluster.follow", "worker.pulse"),
    *("cluster.report", "collection.older", "collection.rows", "collection.slow"),
    *("connections.look", "copies.mend", "database.watch", "disks.look", "generations.adopt"),
    *("events.ask", "events.follow", "events.losses", "events.number", "events.prune"),
    *("events.servers", "events.tell", "events.watch", "hooks.deliver", "hooks.prune"),
    *("cluster.hear", "nats.send", "sessions.prune", "tokens.hear"),
    *("generations.prune", "jobs.prune", "layout.settle", "logins.write", "losses.note"),
    *(
        "peer.ping",
        "pulls.write",
        "purge.settle",
        "readiness.look",
        "refusals.write",
        "retention.run",
        "store.collect",
        "store.jobs",
    ),
    *("store.purge", "store.walk", "tags.key", "tokens.refresh", "uploads.expire", "usage.count"),
    *("usage.recount", "usage.sample", "limits.read", "walk.look"),
)
"""Background work by name, up to the slash."""
REQUEST_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Seconds; a large layer takes its client minutes."""
CALL_BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Of a database or a disk."""
_MICROSECONDS: Final = 1_000_000
_REQUEST_SUM: Final = len(REQUEST_BOUNDS) + 1
_CALL_SUM: Final = len(CALL_BOUNDS) + 1
"""Where in a histogram its sum is."""
_JOB: Final[Mapping[str, int]] = {name: index for index, name in enumerate(JOBS)}
_STATUS: Final[Mapping[int, int]] = {
    LEFT: STATUSES.index("left"),
    CUT: STATUSES.index("cut"),
    **{int(text): index for index, text in enumerate(STATUSES) if text.isdecimal()},
}
_ANY_OTHER: Final = 0
_OTHER_METHOD: Final = METHODS[_ANY_OTHER]
_CALLS: Final = tuple(each.name.lower() for each in Call)


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a metric has its numbers in the row."""

    metric: Metric
    values: tuple[Sequence[str], ...]
    """Those of each label."""
    first: int
    bounds: Sequence[float] = ()
    sparse: bool = False
    """Whether only what was counted at all is told: of many labels most never occur together."""

    @property
    def width(self) -> int:
        """Return how many numbers a value takes: of a histogram the sum is the last."""
        return len(self.bounds) + 2 if self.bounds else 1

    @property
    def end(self) -> int:
        """Return where the next begins."""
        return self.first + self.width * prod(map(len, self.values))

    def family(self, totals: Sequence[int]) -> Family:
        """Return it with its values."""
        samples = []
        for number, labels in enumerate(product(*self.values)):
            start = self.first + number * self.width
            numbers = totals[start : start + self.width]
            if not self.sparse or any(numbers):
                samples.append(Sample(labels, self._value(numbers)))
        return Family(self.metric, samples)

    def _value(self, numbers: Sequence[int]) -> float | Histogram:
        if not self.bounds:
            return numbers[0]
        return Histogram(self.bounds, numbers[:-1], numbers[-1] / _MICROSECONDS)


class Meters:
    """What is counted: to be made before the server's processes are forked.

    `processes` is how many count at a time, at most; `stores` are the ids of its stores, which are
    counted by their index. Each process counts from one thread at a time.
    """

    def __init__(self, processes: int = 1, stores: Sequence[str] = ()) -> None:
        routes = [route.name.lower() for route in Route]
        self._blocks: list[_Block] = []
        self._requests = self._add(catalog.REQUESTS, routes, METHODS, STATUSES, sparse=True)
        self._times = self._add(
            catalog.REQUEST_SECONDS, routes, METHODS, bounds=REQUEST_BOUNDS, sparse=True
        )
        self._refused = self._add(catalog.LOGINS_REFUSED, [each.name.lower() for each in Refusal])
        self._database = self._add(catalog.DATABASE_SECONDS, _CALLS, bounds=CALL_BOUNDS)
        self._database_failed = self._add(catalog.DATABASE_FAILURES, _CALLS)
        self._stores = self._add(catalog.STORE_SECONDS, stores, _CALLS, bounds=CALL_BOUNDS)
        self._failures = self._add(catalog.BACKGROUND_FAILURES, JOBS)
        self._dropped = self._add(catalog.LINES_DROPPED)
        self._started = self._add(catalog.PROCESSES_STARTED)
        self._sent = self._add(catalog.DELIVERIES, [each.name.lower() for each in Sent])
        self._in_flight = self._add(catalog.IN_FLIGHT, routes)
        self._followers = self._add(catalog.FOLLOWERS)
        self._nats = self._add(catalog.NATS_CONNECTED)
        self._pairs = [self._of_route(route) for route in Route]
        self._counters = SharedCounters(
            self._nats.end, processes, present=self._nats.end - self._in_flight.first
        )

    def begin(self) -> None:
        """Count this process, which is forked no more."""
        self._counters.row[self._started.first] += 1

    def request(self, route: int, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered; `status` may be LEFT or CUT."""
        row = self._counters.row
        pairs = self._pairs[route]
        of_status, of_time = pairs.get(method) or pairs[_OTHER_METHOD]
        row[of_status + _STATUS.get(status, _ANY_OTHER)] += 1
        row[of_time + bisect_left(REQUEST_BOUNDS, seconds)] += 1
        row[of_time + _REQUEST_SUM] += int(seconds * _MICROSECONDS)

    def in_flight(self, route: int, by: int) -> None:
        """Note that so many more, or fewer, are being answered than were at the look before."""
        self._counters.row[self._in_flight.first + route] += by

    def refused(self, why: Refusal) -> None:
        """Count credentials that were refused."""
        self._counters.row[self._refused.first + why] += 1

    def database_call(self, call: Call, seconds: float) -> None:
        """Count a call that the database answered."""
        self._count(self._database, call, seconds)

    def database_failed(self, call: Call) -> None:
        """Count one that it did not answer, or could not do."""
        self._counters.row[self._database_failed.first + call] += 1

    def store_call(self, store: int, call: int, seconds: float) -> None:
        """Count a call on a disk, by the store's index; `call` is a `Call`."""
        self._count(self._stores, store * len(_CALLS) + call, seconds)

    def background_failed(self, job: str) -> None:
        """Count a run of background work that failed, by its name up to a slash."""
        name = job.partition("/")[0]
        self._counters.row[self._failures.first + _JOB.get(name, _ANY_OTHER)] += 1

    def lines_dropped(self, lines: int) -> None:
        """Count lines of the log that were not written."""
        self._counters.row[self._dropped.first] += lines

    def sent(self, result: Sent) -> None:
        """Count a webhook that was sent."""
        self._counters.row[self._sent.first + result] += 1

    def followers(self, here: int) -> None:
        """Note how many follow the events in this process now."""
        self._counters.row[self._followers.first] = here

    def nats(self, *, connected: bool) -> None:
        """Note whether this process sends events to NATS now."""
        self._counters.row[self._nats.first] = connected

    def families(self) -> Iterator[Family]:
        """Yield all with what the processes counted together."""
        totals = self._counters.totals()
        for block in self._blocks:
            yield block.family(totals)
        yield one(catalog.PROCESSES, self._counters.living)

    def _add(
        self,
        metric: Metric,
        *values: Sequence[str],
        bounds: Sequence[float] = (),
        sparse: bool = False,
    ) -> _Block:
        first = self._blocks[-1].end if self._blocks else 0
        self._blocks.append(_Block(metric, values, first, bounds, sparse))
        return self._blocks[-1]

    def _of_route(self, route: Route) -> dict[str, tuple[int, int]]:
        """Return by method where the statuses of its requests, and their times, are counted."""
        pairs = {name: route * len(METHODS) + index for index, name in enumerate(METHODS)}
        return {
            name: (
                self._requests.first + pair * len(STATUSES),
                self._times.first + pair * self._times.width,
            )
            for name, pair in pairs.items()
        }

    def _count(self, block: _Block, value: int, seconds: float) -> None:
        row, start = self._counters.row, block.first + value * (_CALL_SUM + 1)
        row[start + bisect_left(CALL_BOUNDS, seconds)] += 1
        row[start + _CALL_SUM] += int(seconds * _MICROSECONDS)
