"""Walking the stores of this machine that no server has: what commands do while none runs.

The same walk and the same jobs as a server's, under the same lock on each directory, so that no
server starts on it meanwhile. Of the cluster only these stores answer: nothing is fetched from
others, and nothing is trimmed that others would have to keep.
"""

import os
import pwd
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from treescale.chunks.disk.label import LABEL_FILE
from treescale.chunks.disk.lock import DirectoryLock
from treescale.chunks.disk.store import DiskStore, SharedDisk
from treescale.chunks.format.placement import Table
from treescale.chunks.replication.absent import AbsentStore
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import ChunkStore
from treescale.clock import Clock, DatabaseClock, SystemClock
from treescale.cluster.liveness import is_live
from treescale.cluster.lost import LossRecorder
from treescale.cluster.queries import tables_of
from treescale.config import Settings
from treescale.errors import StoreUnusable
from treescale.log import log_errors_only
from treescale.maintenance.pace import Pace, nobody
from treescale.maintenance.stores import WalkedCluster, works
from treescale.metadata.database import Database
from treescale.metadata.records import ServerRecord, StoreRecord
from treescale.server.background import Background, Job
from treescale.server.data.directories import DataDirectory, Place, labelled
from treescale.server.data.local_stores import LocalStores, open_stores

LOOK_SECONDS: Final = 0.5
LOOK_SECONDS_MAX: Final = 10.0
_NOT_ASKED: Final = "without servers nobody can ask the store"


@dataclass(frozen=True, slots=True)
class Walked:
    """What of this machine is walked by this process."""

    paths: Mapping[str, str] = field(default_factory=dict)
    """The directories, by store."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why a directory of this machine that no server has is not, by its path."""


class _View:
    """A cluster of which only the stores here answer; see `maintenance.stores.View`."""

    def __init__(
        self,
        here: Mapping[str, DiskStore],
        others: Sequence[str],
        tables: Sequence[Table],
        clock: Clock,
    ) -> None:
        self._here = here
        self.tables = tables
        self._ways: dict[str, ChunkStore] = {
            **{name: AbsentStore(name, _NOT_ASKED) for name in others},
            **here,
        }
        self.store = ReplicatedStore(
            tables[0], self._ways, older=tables[1:], health=self, clock=clock
        )

    def is_up(self, store_id: str) -> bool:
        """Say whether it is one of those here, and well."""
        return store_id in self._here and self._here[store_id].is_well

    def is_local(self, store_id: str) -> bool:
        """Say whether it is one of those here."""
        return store_id in self._here

    def way_to(self, store_id: str) -> ChunkStore | None:
        """Return the store, None for one that nobody knows."""
        return self._ways.get(store_id)

    async def look(self) -> None:
        """Have disks that hang probed, and take those back that answer again."""
        for store in self._here.values():
            store.look()


@asynccontextmanager
async def walking_here(
    settings: Settings, database: Database, *, mends: bool, actor: str
) -> AsyncIterator[Walked]:
    """Within it, the stores of this machine that no server has do their jobs.

    And are walked, if something is to be mended. They are looked for in `data`, and where the
    database says that stores lie. `actor` is whose command it is.
    """
    rows = {store.store_id: store for store in await database.stores.list()}
    servers = {server.server_id: server for server in await database.servers.list()}
    tables = await tables_of(database.layouts, frozenset(rows))
    now = await database.servers.now()
    alone = _is_alone(settings)
    async with AsyncExitStack() as parts:
        taken: list[DataDirectory] = []
        refused: dict[str, str] = {}
        for each in await labelled(_paths(settings, rows.values())):
            row = rows.get(each.store_id)
            if row is None or not tables or each.store_id in {one.store_id for one in taken}:
                continue
            server = None if alone else servers.get(row.server_id)
            why = _refusal(each) or await _locked(each, server, now, parts)
            if why is None:
                continue
            if why:
                refused[each.root] = why
            else:
                taken.append(each)
        if taken:
            others = [*rows, *(label.store_id for x in tables for label in x.layout.stores)]
            await _walk(parts, taken, others, tables, database, settings, mends=mends, actor=actor)
        yield Walked({each.store_id: each.root for each in taken}, refused)


def _is_alone(settings: Settings) -> bool:
    """Say whether no other server can live, and no push be under way, while this has the lock."""
    return settings.database.startswith("sqlite:")


def _paths(settings: Settings, rows: Iterable[StoreRecord]) -> list[str]:
    named = () if settings.no_store else settings.data
    return [str(Path(path).absolute()) for path in (*named, *(row.path for row in rows))]


def _refusal(directory: DataDirectory) -> str:
    """Return why this process must not write there: whose files they are."""
    owner = os.stat(Path(directory.root) / LABEL_FILE).st_uid  # noqa: PTH116
    if owner == os.geteuid():
        return ""
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = str(owner)
    return f"its files are those of the user {name}: run this as that user"


async def _locked(
    directory: DataDirectory, server: ServerRecord | None, now: float, parts: AsyncExitStack
) -> str | None:
    """Return "" when it is this process's from now on, None when a server has it, or why not.

    One that was heard of lately and has ended was here: its place says so. Else it lives elsewhere.
    """
    with ExitStack() as held:
        lock = held.enter_context(DirectoryLock(wait_seconds=0.0))
        try:
            await lock.take([directory.root])
        except StoreUnusable:
            return None
        if (
            server is not None
            and is_live(server.seen, now)
            and server.place != lock.place(directory.root)
        ):
            return f"{server.name} was heard of just now: if it was killed here, wait 15 s"
        parts.enter_context(held.pop_all())
    return ""


async def _walk(  # noqa: PLR0913  what was found before
    parts: AsyncExitStack,
    taken: Sequence[DataDirectory],
    others: Sequence[str],
    tables: Sequence[Table],
    database: Database,
    settings: Settings,
    *,
    mends: bool,
    actor: str,
) -> None:
    """Walk these, or only do their jobs, until the parts end."""
    log_errors_only()
    clock = SystemClock()
    time = DatabaseClock(clock)
    await time.read(database.servers.now)
    places = [Place(each.path, each.store_id) for each in taken]
    stores = await open_stores(
        places, clock, {place.path: SharedDisk(renew_seconds=0.0) for place in places}
    )
    for store in stores.values():
        parts.callback(store.close)
    here = LocalStores("", stores)
    await here.reports()
    view = _View(stores, others, tables, time)
    losses = LossRecorder(database.lost, view.store, time)
    view.store.tell(losses.missing)
    background = await parts.enter_async_context(
        Background(database.leases, "", leads=lambda: False, clock=clock, chance=lambda: 0.0)
    )
    pace = Pace(time, nobody, rate_max=settings.walk_bytes_per_second_max)
    cluster = WalkedCluster(view, database.lost, losses)
    alone = _is_alone(settings)
    todo = works(stores, cluster, database, pace, time, actor=actor, mends=mends, alone=alone)
    for job in (
        *(Job(*work) for work in todo),
        Job("database.watch", database.run, "each call finds out for itself that it is away"),
        Job("losses.note", losses.run, "what is found lost cannot be pushed again"),
        Job(
            "disks.look",
            view.look,
            "a disk that hangs is not asked again",
            period_seconds=LOOK_SECONDS,
            limit_seconds=LOOK_SECONDS_MAX,
        ),
    ):
        background.register(job)
