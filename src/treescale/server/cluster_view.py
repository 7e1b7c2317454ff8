"""The cluster as a process of a server sees it: who is there, the layout in force, its stores.

Every worker reads the same rows every few seconds and follows them: `peers` learn which servers
there are, the replicated store which layout and stores. What cannot be read changes nothing:
without the database a worker goes on with what it knows.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from treescale.chunks.format.placement import Table
from treescale.chunks.replication.absent import AbsentStore
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import ChunkStore
from treescale.clock import Clock
from treescale.errors import NotEnoughStores, ServerForgotten
from treescale.log import get_logger
from treescale.metadata.database import Database
from treescale.metadata.records import LayoutRecord, ServerRecord, StoreRecord
from treescale.peer.connection import encrypting
from treescale.peer.keyring import shared_keys
from treescale.peer.signing import PeerKeys
from treescale.server.background import Background, Job
from treescale.server.data.local_stores import LocalStores
from treescale.server.data.tables import Tables, in_use
from treescale.server.peers import Peers

LAYOUTS_READ_MAX: Final = 64
STARTED_AGAIN: Final = (
    "stop this server for good; to have it back with what lies on its disks, start it again"
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the database says of the cluster."""

    layouts: tuple[LayoutRecord, ...]
    servers: tuple[ServerRecord, ...]
    stores: tuple[StoreRecord, ...]


class ClusterView:
    """An async context manager: within it `store` is the cluster's, and `follow` keeps it so.

    It is also the `Health` that the replicated store asks.
    """

    def __init__(
        self,
        here: LocalStores,
        database: Database,
        background: Background,
        *,
        threads: Executor,
        clock: Clock,
        tables: Tables | None = None,
        peer_tls: Callable[[], ssl.SSLContext] = encrypting,
    ) -> None:
        self.store: ReplicatedStore
        self.peers = Peers(
            here.server_id,
            background,
            lambda: self._keys,
            threads=threads,
            clock=clock,
            peer_tls=peer_tls,
        )
        self._here = here
        self._database = database
        self._background = background
        self._following = asyncio.Lock()
        self._threads = threads
        self._clock = clock
        self._servers: dict[str, str] = {}
        """The server of each store."""
        self._tables = tables or Tables()
        self._keys: PeerKeys
        self._seen: _Rows | None = None
        self._ways: Mapping[str, ChunkStore] = {}
        self.tables: Sequence[Table] = ()
        """The placement tables of the layouts in use, newest first."""
        self._forgotten: set[str] = set()
        """What is no part of the cluster any more: this server, stores of it."""
        self._well = {store_id for store_id, store in here.stores.items() if store.is_well}
        self._log = get_logger()

    async def __aenter__(self) -> Self:
        """Read the rows; raises DatabaseUnavailable, NotEnoughStores without any store."""
        await self._read_keys()
        rows = await self._read_rows()
        if not rows.layouts:
            raise NotEnoughStores("no server of this cluster has a store yet")
        self._note_forgotten(rows)
        tables, stores = await self._spread_over(rows)
        self.store = ReplicatedStore(
            tables[0], stores, older=tables[1:], health=self, clock=self._clock
        )
        self._seen = rows
        self._say_followed(None)
        mending = Job(
            "copies.mend", self.store.run, "bad copies are replaced when they are read again"
        )
        self._mending = self._background.register(mending)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all connections to other servers."""
        self._mending.cancel()
        self.peers.close()

    @property
    def keys(self) -> PeerKeys:
        """Return the keys by which servers of this cluster know each other."""
        return self._keys

    def is_up(self, store_id: str) -> bool:
        """Say whether the store's server, or disk here, answers; see `Health`."""
        if store_id in self._here.stores:
            return self._here.is_well(store_id)
        return self.peers.is_up(self._servers.get(store_id, ""))

    def is_local(self, store_id: str) -> bool:
        """Say whether the store is a disk of this server; see chunks.replication.health.Health."""
        return store_id in self._here.stores

    def way_to(self, store_id: str) -> ChunkStore | None:
        """Return a store of the cluster as it is, unwatched; None for one that is not known."""
        return self._ways.get(store_id)

    async def look(self) -> None:
        """Have disks of this server that hang probed, and take those back that answer again."""
        for store_id, store in self._here.stores.items():
            store.look()
            if store.is_well and store_id not in self._well:
                self._well.add(store_id)
                self._log.info("disk.back", store=store_id, path=str(store.root))
                figures = self.store.figures.get(store_id)
                if figures is not None:
                    figures.breaker.on_answer()
            elif not store.is_well and store_id in self._well:
                self._well.remove(store_id)
                self._log.error("disk.silent", store=store_id, reason=store.trouble)

    def unwritable(self) -> str:
        """Return why nothing can be written on this server's disks, "" when something can."""
        return self._here.unwritable()

    async def follow(self) -> None:
        """Read the rows again and do as they say; raises DatabaseUnavailable and its like."""
        async with self._following:
            await self._follow()

    async def _follow(self) -> None:
        await self._read_keys()
        rows = await self._read_rows()
        self._note_forgotten(rows)
        if rows == self._seen or not rows.layouts:
            return
        tables, stores = await self._spread_over(rows)
        self.store.use_layout(tables[0], tables[1:], stores)
        before, self._seen = self._seen, rows
        self._say_followed(before)

    def check_member(self) -> None:
        """Raise ServerForgotten when this server is no part of its cluster any more."""
        if self._here.server_id in self._forgotten:
            raise ServerForgotten(f"the cluster has forgotten this server: {STARTED_AGAIN}")

    def _note_forgotten(self, rows: _Rows) -> None:
        """Stop using what was forgotten, for good: only a start registers it again.

        Whatever was placed since then is not on it, and copies on it do not count.
        """
        there = {row.store_id for row in rows.stores}
        for store_id, store in self._here.stores.items():
            if store.is_open and store_id not in there:
                store.forget(f"{store.root}: the cluster has forgotten this store")
                self._say_forgotten("store.forgotten", store_id, path=str(store.root))
        here = self._here.server_id
        if self._here.stores and here not in {row.server_id for row in rows.servers}:
            self._say_forgotten("server.forgotten", here)

    def _say_forgotten(self, event: str, name: str, **more: str) -> None:
        if name not in self._forgotten:
            self._forgotten.add(name)
            means = f"it is not used any more: {STARTED_AGAIN}"
            self._log.error(event, id=name, pid=os.getpid(), means=means, **more)

    async def _read_keys(self) -> None:
        self._keys = await shared_keys(self._database)

    async def _read_rows(self) -> _Rows:
        """Return the rows without what changes with every heartbeat."""
        database = self._database
        return _Rows(
            tuple(await database.layouts.list(LAYOUTS_READ_MAX)),
            tuple(_lasting(one) for one in await database.servers.list()),
            tuple(_settled(one) for one in await database.stores.list()),
        )

    async def _spread_over(self, rows: _Rows) -> tuple[list[Table], dict[str, ChunkStore]]:
        """Return the tables, newest first, and a way to every store."""
        self.peers.follow(rows.servers)
        self._servers = {row.store_id: row.server_id for row in rows.stores}
        stores: dict[str, ChunkStore] = dict(self._here.stores)
        for row in rows.stores:
            way = self.peers.store(row.server_id, row.store_id)
            if way is not None:
                stores.setdefault(row.store_id, way)
        for label in rows.layouts[0].stores:
            # Forgotten, or without a server: a layout that follows will leave it out.
            stores.setdefault(label.store_id, AbsentStore(label.store_id))
        found = in_use(rows.layouts, stores.keys())
        tables = await self._tables.of(found, self._threads)
        self._ways, self.tables = stores, tables
        return tables, stores

    def _say_followed(self, before: _Rows | None) -> None:
        """Log that this worker begins to use the layout in force, if it is new to it.

        A server that starts alone has nobody to agree with: its login line comes first.
        """
        assert self._seen is not None, "rows were read"
        newest, *_ = self._seen.layouts
        if before is None and len(self._seen.servers) == 1:
            return
        if before is None or before.layouts[0].number != newest.number:
            self._log.info(
                "layout.followed",
                number=newest.number,
                stores=len(newest.stores),
                copies=newest.copies,
                pid=os.getpid(),
            )


def _lasting(server: ServerRecord) -> ServerRecord:
    """Return the row without what changes with every heartbeat."""
    return replace(
        server,
        seen=0.0,
        started=0.0,
        throughput=None,
        version="",
        clock_error=None,
        unreached=(),
        certificate_expires=None,
    )


def _settled(store: StoreRecord) -> StoreRecord:
    """Return the row without what changes with every heartbeat."""
    return replace(store, seen=0.0, bytes_total=None, bytes_free=None, trouble="")
