"""What one worker gathers for the page: counts, its server as it is, and the cluster's rows.

The page never waits for long, and never fails: what does not answer in time is left out, and a
gauge says so. However many ask at once, it is made once a second, and the database is asked every
`ROWS_SECONDS`, also when it did not answer.
"""

import asyncio
import sys
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from treescale import __version__
from treescale.clock import Clock
from treescale.cluster.queries import read_status
from treescale.cluster.readiness import Finding
from treescale.errors import Failed
from treescale.events.nats.sink import READER
from treescale.log import get_logger
from treescale.maintenance.collection.state import paused_by, unpacked
from treescale.metadata.database import Database
from treescale.metadata.events.figures import event_figures
from treescale.metadata.portable.last_backup import last_backup
from treescale.metadata.records import StoreReport, is_full
from treescale.metadata.usage.quotas import Quotas
from treescale.metrics import catalog
from treescale.metrics.meters import Meters
from treescale.metrics.page import Family, Sample, one, page
from treescale.metrics.traffic import Flow, TrafficCounters
from treescale.server.watch.cluster_figures import (
    ClusterRows,
    cluster_families,
    nats_families,
    own_families,
)

PAGE_SECONDS: Final = 1.0
"""A page is as good as new for so long."""
ROWS_SECONDS: Final = 10.0
"""So long what was read of the cluster is told, and one that did not answer is left alone."""
ROWS_SECONDS_MAX: Final = 2.0
"""How long the page waits for the database."""
_TOLD_FLOWS: Final = (Flow.TO_CLIENTS, Flow.FROM_CLIENTS, Flow.TO_SERVERS, Flow.FROM_SERVERS)


@dataclass(frozen=True, slots=True)
class Sights:
    """What a worker can say of its server at once, or within a limit of its own."""

    server_id: str
    meters: Meters
    traffic: TrafficCounters
    checks: Callable[[], Sequence[Finding]]
    peers: Callable[[], Mapping[str, bool]]
    """Of each other server whether it is asked."""
    stores: Callable[[], Coroutine[Any, Any, Sequence[StoreReport]]]
    """How its stores are, in a bounded time."""
    writable: Callable[[str], bool]
    """Whether one of them takes writes."""
    certificate_ends: Callable[[], float | None]
    nats: bool = False
    """Whether events go there."""


class Rows:
    """The cluster's rows, read every `ROWS_SECONDS` at most."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._read_at = float("-inf")
        self._rows: ClusterRows | None = None

    async def read(self) -> ClusterRows | None:
        """Return them, None when the database does not answer in time."""
        if self._clock.monotonic() - self._read_at >= ROWS_SECONDS:
            try:
                async with asyncio.timeout(ROWS_SECONDS_MAX):
                    self._rows = await self._read()
            except (Failed, TimeoutError) as error:
                get_logger().debug("metrics.unread", error=str(error) or "no answer in time")
                self._rows = None
            self._read_at = self._clock.monotonic()
        return self._rows

    async def _read(self) -> ClusterRows:
        database = self._database
        reading = await read_status(database, self._clock)
        return ClusterRows(
            reading.status,
            await database.lost.overview(0),
            {name: unpacked(text) for name, text in (await database.collections.list()).items()},
            await paused_by(database.settings) is not None,
            await database.read_only.cluster(),
            await last_backup(database),
            await event_figures(database.connections, READER),
            await Quotas(database.connections).told(),
        )


class MetricsPage:
    """The page of one server, as any of its workers tells it."""

    def __init__(self, sights: Sights, rows: Rows, clock: Clock) -> None:
        self._sights = sights
        self._rows = rows
        self._clock = clock
        self._making = asyncio.Lock()
        self._made_at = float("-inf")
        self._page = b""

    async def __call__(self) -> bytes:
        """Return the page."""
        async with self._making:
            if self._clock.monotonic() - self._made_at >= PAGE_SECONDS:
                self._page = page(await self._families())
                self._made_at = self._clock.monotonic()
            return self._page

    async def _families(self) -> list[Family]:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._rows.read())
            looking = group.create_task(self._sights.stores())
        rows, reports = reading.result(), looking.result()
        own = [report.store_id for report in reports]
        return [
            *self._sights.meters.families(),
            *_of_server(self._sights),
            *_of_stores(reports, self._sights.writable),
            one(catalog.FIGURES_KNOWN, rows is not None),
            *(_of_cluster(rows, own) if rows is not None else ()),
            *(nats_families(rows) if rows is not None and self._sights.nats else ()),
        ]


def _of_server(sights: Sights) -> Iterator[Family]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield one(catalog.BUILD_INFO, 1, __version__, python, sights.server_id)
    yield Family(
        catalog.TRAFFIC_BYTES,
        [Sample((flow.name.lower(),), sights.traffic.total(flow)) for flow in _TOLD_FLOWS],
    )
    yield Family(
        catalog.CHECK_OK,
        [Sample((finding.check.label,), finding.ok) for finding in sights.checks()],
    )
    yield Family(
        catalog.PEER_UP, [Sample((name,), is_up) for name, is_up in sights.peers().items()]
    )
    certificate_ends = sights.certificate_ends()
    if certificate_ends is not None:
        yield one(catalog.CERTIFICATE_EXPIRY, certificate_ends)


def _of_stores(reports: Sequence[StoreReport], writable: Callable[[str], bool]) -> Iterator[Family]:
    for metric, sizes in (
        (catalog.STORE_SIZE, {each.store_id: each.bytes_total for each in reports}),
        (catalog.STORE_FREE, {each.store_id: each.bytes_free for each in reports}),
    ):
        known = [Sample((name,), size) for name, size in sizes.items() if size is not None]
        yield Family(metric, known)
    yield Family(
        catalog.STORE_READABLE,
        [Sample((each.store_id,), _is_read(each.trouble)) for each in reports],
    )
    yield Family(
        catalog.STORE_WRITABLE,
        [
            Sample((each.store_id,), not each.trouble and writable(each.store_id))
            for each in reports
        ],
    )


def _is_read(trouble: str) -> bool:
    return not trouble or is_full(trouble)


def _of_cluster(rows: ClusterRows, own: Collection[str]) -> Iterator[Family]:
    yield from cluster_families(rows)
    yield from own_families(rows, own)
