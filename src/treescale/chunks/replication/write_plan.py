"""Which stores are asked to take a chunk, and when enough have. Pure: `store` waits.

The homes are asked first, all at once. For one that is down, failing or late comes a *handoff*:
another store of the preference list, as far from the other copies as placement would choose. A
store known to be down is never asked; one that is passed over (it let requests hang lately) only
when there is no quorum without it. Each store is asked once.

Where there are more homes than the quorum needs, the busiest must not hold up a push: those with
far more on their way than other stores are left out, and are owed their copy, unless there is no
quorum without them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from treescale.chunks.format.failure_domains import FailureDomains
from treescale.chunks.format.placement import Table
from treescale.chunks.store import WriteResult
from treescale.errors import Failed, Unreachable

CONGESTED_FACTOR: Final = 1.5
"""Times the mean of all stores."""
CONGESTED_SECONDS_MIN: Final = 0.5
"""For a write lately: who is faster is waited for. Wires of 200 Mbit/s take more when all are busy;
where they are wide, or little is on its way, none is congested."""


def is_congested(seconds: float, on_their_way: int, of_all: Collection[int]) -> bool:
    """Say whether far more bytes are on their way to a store than to others, and take their time.

    `seconds` is what a write to it took lately, `of_all` the bytes on their way to each store.
    """
    if seconds < CONGESTED_SECONDS_MIN:
        return False
    return on_their_way * len(of_all) > CONGESTED_FACTOR * sum(of_all)


class WritePlan:
    """One chunk on its way. Tell it what happened, then ask what is `due`."""

    def __init__(
        self,
        table: Table,
        domains: FailureDomains,
        chunk: bytes,
        *,
        is_up: Callable[[str], bool],
        is_passed_over: Callable[[str], bool],
        is_congested: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._layout = table.layout.number
        self._domains = domains
        self._order = table.preference(chunk)
        self.homes = self._order[: table.copies]
        """Where the chunk belongs."""
        self.failures: dict[str, Failed] = {}
        """Why stores did not take it, or not in time."""
        self._is_up = is_up
        self._is_passed_over = is_passed_over
        self._held: list[str] = []
        self._asked: list[str] = []
        self._late: list[str] = []
        self._tried: set[str] = set()
        spare = table.copies > domains.quorum
        self._congested = frozenset(filter(is_congested, self.homes)) if spare else frozenset()

    @property
    def is_acknowledged(self) -> bool:
        """Say whether the durable copies suffice."""
        return self._domains.reach_quorum(self._held)

    @property
    def is_hopeless(self) -> bool:
        """Say whether nothing that is on its way can make them suffice; ask after `due`."""
        return not self._domains.reach_quorum((*self._held, *self._asked, *self._late))

    def due(self) -> list[str]:
        """Return the stores to ask now; they count as asked."""
        found: list[str] = []
        while (name := self._next()) is not None:
            self._tried.add(name)
            self._asked.append(name)
            found.append(name)
        return found

    def took(self, name: str) -> None:
        """Count a durable copy."""
        self._forget(name)
        self._held.append(name)

    def failed(self, name: str, why: Failed) -> None:
        """Count a store that did not take it."""
        self._forget(name)
        self.failures[name] = why

    def late(self, name: str) -> None:
        """Expect nothing of a store that has not answered, though it may still answer."""
        self._forget(name)
        self._late.append(name)
        self.failures[name] = Unreachable(f"store {name} did not answer in time")

    def placed(self) -> WriteResult:
        """Return what has become of it."""
        held = tuple(name for name in self._order if name in self._held)
        owed = tuple(name for name in self.homes if name not in held)
        return WriteResult(self._layout, held, owed)

    def _forget(self, name: str) -> None:
        for names in (self._asked, self._late):
            if name in names:
                names.remove(name)

    def _next(self) -> str | None:
        expected = [*self._held, *self._asked]
        if not self._domains.reach_quorum(expected):
            used = {self._domains.of(name) for name in expected}
            return self._best(expected, lambda name: self._domains.of(name) not in used)
        # No handoff for a congested home: it can take its copy itself, later. One that lets
        # requests hang may not.
        answering = [name for name in self._left(self.homes) if not self._is_passed_over(name)]
        left_out = [name for name in answering if name in self._congested]
        if len(expected) + len(left_out) < len(self.homes):
            return self._best(
                expected, lambda name: name not in left_out and not self._is_passed_over(name)
            )
        return None

    def _best(self, expected: list[str], helps: Callable[[str], bool]) -> str | None:
        """Return the first home not passed over, else the handoff that placement would choose."""
        homes = sorted(self.homes, key=self._congested.__contains__)
        for name in filter(helps, self._left(homes)):
            if not self._is_passed_over(name):
                return name
        labels = self._domains.labels
        zones = Counter(labels[name].zone for name in expected)
        servers = Counter(labels[name].server for name in expected)

        def rank(name: str) -> tuple[bool, int, int]:
            label = labels[name]
            return self._is_passed_over(name), zones[label.zone], servers[label.server]

        return min(filter(helps, self._left(self._order)), key=rank, default=None)

    def _left(self, names: Iterable[str]) -> Iterator[str]:
        """Yield those that can still be asked, best first."""
        return (name for name in names if name not in self._tried and self._is_up(name))
