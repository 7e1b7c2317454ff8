"""One look at the cluster for all who look, in one process; none while nobody does.

What this server sees by itself is looked at every `LOOK_SECONDS`, the rows that heartbeats and
walks write every `ROWS_SECONDS`, what changes seldom every `SLOW_SECONDS`. None of it is a query
over images, blobs or chunks, but for those that are noted as lost or owed, which are found by
their indexes. So it costs as much in a registry of a million tags as in an empty one.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from treescale.chunks.format.placement import Table, build_table
from treescale.clock import Clock
from treescale.cluster.advice import NOTHING_LOST, advice
from treescale.cluster.layout import COPIES_SETTING, copies_to_keep, layout_of
from treescale.cluster.queries import read_holders
from treescale.cluster.snapshot import Snapshot
from treescale.cluster.status import ClusterStatus, redundancy, status_of
from treescale.console.watch.partitions import copies_alive
from treescale.console.watch.picture import (
    Looked,
    Verdict,
    alive,
    as_reached,
    seconds_left,
    verdict,
    work_left,
)
from treescale.console.watch.sights import NO_SIGHTS, Sights
from treescale.events.live import LiveLog
from treescale.maintenance.collection.state import Pause, State, paused_by, unpacked
from treescale.maintenance.planning.progress import Progress
from treescale.metadata.database import Database
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.records import LostData, OwedCopies, StoreJob

LOOK_SECONDS: Final = 0.5
ROWS_SECONDS: Final = 2.0
SLOW_SECONDS: Final = 10.0
LOST_LISTED_MAX: Final = 20
JOB_PARTS_MAX: Final = 200
EVENTS_SHOWN_MAX: Final = 20
EVENTS_READ_MAX: Final = 500
"""At once: older ones are not looked for."""
KINDS: Final = ("server.", "store.", "chunk.", "layout.", "repair.", "collect.", "cluster.")
"""How those begin that are of the cluster, and of nobody's images."""
LACKING_STORES_MAX: Final = 32
"""Of so many it is looked up which partitions lack something."""
PACE_SECONDS: Final = 60.0
"""From so long ago on, looks at a walk say how fast it is."""


@dataclass(frozen=True, slots=True)
class _Slow:
    """What changes seldom."""

    copies: str | None = None
    owed: tuple[OwedCopies, ...] = ()
    lost: LostData = NOTHING_LOST
    collections: Mapping[str, State] = field(default_factory=dict)
    pause: Pause | None = None
    read_only: bool = False
    lacking: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What heartbeats, walks and jobs write."""

    snapshot: Snapshot
    jobs: tuple[StoreJob, ...]
    events: tuple[Recorded, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """The cluster at a moment; another object as soon as anything of it is another."""

    status: ClusterStatus
    """As it is reached from here."""
    table: Table | None
    copies: bytes
    """Of each partition, how many can be read."""
    verdict: Verdict
    may_stop: bool
    next_stop: str
    advice: tuple[str, ...]
    seconds_left: Mapping[str, float | None]
    """By store."""
    lost: LostData
    collections: Mapping[str, State]
    pause: Pause | None
    read_only: bool
    jobs: tuple[StoreJob, ...]
    events: tuple[Recorded, ...]
    broken: float
    mended: float


class ClusterGatherer:
    """Looks when it is asked, and not more often than it is worth."""

    def __init__(
        self, database: Database, clock: Clock, live: LiveLog, sights: Sights = NO_SIGHTS
    ) -> None:
        self._live = live
        self._database = database
        self._clock = clock
        self.sights = sights
        self._looking = asyncio.Lock()
        self._looked_at = self._rows_at = self._slow_at = float("-inf")
        self._slow = _Slow()
        self._rows: _Rows | None = None
        self._reached: Mapping[str, bool] = {}
        self._table: Table | None = None
        self._picture: Picture | None = None
        self._events: deque[Recorded] = deque(maxlen=EVENTS_SHOWN_MAX)
        self._read_up_to = -1
        self._looks: defaultdict[str, deque[Looked]] = defaultdict(deque)

    async def now(self) -> Picture:
        """Return the cluster as it is; raises DatabaseUnavailable, Unreachable as this one ends."""
        self._live.check_open()
        async with self._looking:
            now = self._clock.monotonic()
            if self._picture is None or now - self._looked_at >= LOOK_SECONDS:
                self._picture = await self._look(now)
                self._looked_at = now
            return self._picture

    async def _look(self, now: float) -> Picture:
        is_due = self._rows is None or now - self._rows_at >= ROWS_SECONDS
        if is_due and now - self._slow_at >= SLOW_SECONDS:
            self._slow, self._slow_at = await self._read_slow(), now
        if is_due or self._rows is None:
            self._rows, self._rows_at = await self._read(), now
            self._count_looks(self._rows.snapshot, now)
            self._table = await self._table_of(self._rows.snapshot)
        reached = dict(self.sights.peers())
        if self._picture is not None and not is_due and reached == self._reached:
            return self._picture
        self._reached = reached
        return self._made(self._rows, reached)

    async def _read(self) -> _Rows:
        database = self._database
        holders = await read_holders(database)
        layout = await database.layouts.latest()
        snapshot = Snapshot(
            holders.servers,
            holders.stores,
            holders.now,
            layout,
            self._slow.owed,
            copies_to_keep(self._slow.copies, layout),
            tuple(await database.walks.list()),
        )
        jobs = tuple(await database.jobs.recent(JOB_PARTS_MAX))
        return _Rows(snapshot, jobs, await self._read_events())

    async def _read_events(self) -> tuple[Recorded, ...]:
        """Return the newest of the cluster, newest first."""
        log = self._database.event_log
        last = await log.last()
        if last < self._read_up_to:  # the log has gone back
            self._events.clear()
            self._read_up_to = -1
        if last > self._read_up_to:
            after = max(self._read_up_to, last - EVENTS_READ_MAX)
            for event in await log.after(after, EVENTS_READ_MAX):
                self._read_up_to = event.sequence
                if event.kind.startswith(KINDS):
                    self._events.appendleft(event)
            self._read_up_to = max(self._read_up_to, last)
        return tuple(self._events)

    async def _read_slow(self) -> _Slow:
        database = self._database
        return _Slow(
            await database.settings.get(COPIES_SETTING),
            tuple(await database.under_replicated.summary()),
            await database.lost.overview(LOST_LISTED_MAX),
            {name: unpacked(text) for name, text in (await database.collections.list()).items()},
            await paused_by(database.settings),
            await database.read_only.cluster(),
            await self._lacking(),
        )

    async def _lacking(self) -> Mapping[str, Sequence[int]]:
        """Return which partitions stores lack something of, as their walks say."""
        walks = [walk for walk in await self._database.walks.list() if walk.missing]
        found = {}
        for walk in walks[:LACKING_STORES_MAX]:
            whole = await self._database.walks.get(walk.store_id)
            if whole is not None:
                found[walk.store_id] = Progress.of(whole.partitions, whole.layout).lacking
        return found

    async def _table_of(self, snapshot: Snapshot) -> Table | None:
        """Return the placement table of the layout in force; None when there is none yet."""
        if snapshot.layout is None:
            return None
        layout = layout_of(snapshot.layout)
        for table in (*self.sights.tables(), self._table):
            if table is not None and table.layout == layout:
                return table
        return await asyncio.to_thread(build_table, layout)

    def _count_looks(self, snapshot: Snapshot, now: float) -> None:
        for walk in snapshot.walks:
            looks = self._looks[walk.store_id]
            looks.append(Looked(now, work_left(walk)))
            while looks[0].at < now - PACE_SECONDS:
                looks.popleft()

    def _made(self, rows: _Rows, reached: Mapping[str, bool]) -> Picture:
        slow, sights = self._slow, self.sights
        seen = as_reached(status_of(rows.snapshot), reached)
        lacking = slow.lacking
        copies = b"" if self._table is None else copies_alive(self._table, alive(seen), lacking)
        told = verdict(seen, copies, slow.lost)
        sights.moments.note(seen.now, is_whole=told.is_whole)
        stop = redundancy(seen)
        said = advice(seen, lost=slow.lost, read_only=slow.read_only)
        return Picture(
            seen,
            self._table,
            copies,
            told,
            stop.may_stop,
            stop.text,
            tuple(one.text for one in said),
            {name: seconds_left(tuple(looks)) for name, looks in self._looks.items()},
            slow.lost,
            slow.collections,
            slow.pause,
            slow.read_only,
            rows.jobs,
            rows.events,
            sights.moments.broken,
            sights.moments.mended,
        )
