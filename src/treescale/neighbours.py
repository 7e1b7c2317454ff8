"""The other servers of the cluster, as a worker knows them: ways to them, the layout in force.

Every worker reads the same rows every few seconds and follows them: a server that is new gets a
channel and is pinged, one that is gone loses them, a new layout is given to the cluster store. One
worker of each server (whoever has the `Lead`) also says that the server lives, and moves the layout
on. What cannot be read changes nothing: without the database a worker goes on with what it knows.
"""

import asyncio
import fcntl
import os
import secrets
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self

from treescale.chunks.absent import AbsentStore
from treescale.chunks.cluster import ClusterStore
from treescale.chunks.disk import DiskStore
from treescale.chunks.placement import Table, build_table
from treescale.chunks.store import ChunkStore
from treescale.clock import Clock
from treescale.errors import Failed, NotEnoughStores, Unreachable
from treescale.log import get_logger
from treescale.metadata.protocols import Database
from treescale.metadata.records import LayoutRecord, ServerRecord, StoreRecord, StoreReport
from treescale.peer.client import PeerChannel, PeerStore
from treescale.peer.health import PeerHealth, ping_once
from treescale.peer.hearing import answers
from treescale.peer.signing import PeerKeys, Signer
from treescale.traffic import Flow, Traffic
from treescale.upkeep.members import layout_of, searched
from treescale.upkeep.membership import Membership, Turn
from treescale.upkeep.peerkeys import peer_keys, signing_key
from treescale.upkeep.throughput import Meter, Totals

layouts_read_max: Final = 64
answer_seconds_max: Final = 1.0
"""For a question to all servers: while the database is away, a client waits for it."""
clock_error_seconds_max: Final = 5.0
"""A clock further off than this is worth a warning (faults.md, section 6)."""


class Lead:
    """What one worker of a server has and the others have not: to be made before they are forked.

    A lock of the kernel's, which falls to another worker when the one that has it dies.
    """

    def __init__(self) -> None:
        self._fd = os.memfd_create("treescale-lead")

    def taken(self) -> bool:
        """Say whether this process has it, or takes it now."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Here:
    """A server as it is to itself: its id, and its own stores."""

    server_id: str
    stores: Mapping[str, DiskStore]

    async def reports(self) -> list[StoreReport]:
        """Return how the stores are."""
        return [await self._report(store) for store in self.stores.values()]

    async def _report(self, store: DiskStore) -> StoreReport:
        try:
            usage = await store.usage()
        except Failed as error:
            return StoreReport(store.store_id, None, None, str(error))
        return StoreReport(store.store_id, usage.bytes_total, usage.bytes_free, usage.trouble or "")


@dataclass(slots=True)
class _Neighbour:
    """The way to one other server, and to the stores it was asked for."""

    url: str
    health: PeerHealth
    channel: PeerChannel
    watching: asyncio.Task[None]
    stores: dict[str, PeerStore] = field(default_factory=dict)

    async def part(self) -> None:
        """Ask it no more; requests in flight are Unreachable."""
        self.watching.cancel()
        await self.channel.__aexit__(None, None, None)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the database says of the cluster."""

    layouts: tuple[LayoutRecord, ...]
    servers: tuple[ServerRecord, ...]
    stores: tuple[StoreRecord, ...]


class Neighbours:
    """An async context manager: within it `store` is the cluster's, and `follow` keeps it so.

    It is also the `Health` that the cluster store asks.
    """

    def __init__(
        self,
        here: Here,
        database: Database,
        membership: Membership,
        lead: Lead,
        traffic: Traffic,
        *,
        threads: Executor,
        clock: Clock,
    ) -> None:
        self.store: ClusterStore
        self._here = here
        self._database = database
        self._membership = membership
        self._lead = lead
        self._traffic = traffic
        self._meter = Meter()
        self._threads = threads
        self._clock = clock
        self._known: dict[str, _Neighbour] = {}
        self._servers: dict[str, str] = {}
        self._tables: dict[int, Table] = {}
        self._keys: PeerKeys
        self._seen: _Rows | None = None
        self._said: tuple[object, ...] = ()
        self._group = asyncio.TaskGroup()
        self._log = get_logger()

    async def __aenter__(self) -> Self:
        """Read the rows once; raises DatabaseAway, NotEnoughStores while no server has a store."""
        await self._read_keys()
        rows = await self._read_rows()
        if not rows.layouts:
            raise NotEnoughStores("no server of this cluster has a store yet")
        await self._group.__aenter__()
        tables, stores = self._spread_over(rows)
        self.store = ClusterStore(
            tables[0], stores, older=tables[1:], health=self, clock=self._clock
        )
        self._seen = rows
        self._say_followed(None)
        self._mending = self._group.create_task(self.store.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all connections to other servers."""
        self._mending.cancel()
        for neighbour in self._known.values():
            await neighbour.part()
        # Told of no exception, the group adds none of its own.
        await self._group.__aexit__(None, None, None)

    @property
    def keys(self) -> PeerKeys:
        """Return the keys by which servers of this cluster know each other."""
        return self._keys

    def is_up(self, store_id: str) -> bool:
        """Say whether the store's server answers; see chunks.health.Health."""
        neighbour = self._known.get(self._servers.get(store_id, ""))
        return neighbour is None or neighbour.health.is_up

    def is_local(self, store_id: str) -> bool:
        """Say whether the store is a disk of this server; see chunks.health.Health."""
        return store_id in self._here.stores

    async def ask(self, question: bytes) -> list[bytes]:
        """Return what the servers that are up answer in time; see `metadata.hearsay`."""
        up = [one.channel for one in self._known.values() if one.health.is_up]
        return await answers(up, question, answer_seconds_max)

    async def follow(self) -> None:
        """Read the rows again and do as they say; raises DatabaseAway and its like."""
        # Whoever has the lead next knows the last seconds, too.
        throughput = self._meter.look(_totals(self._traffic), self._clock.monotonic())
        if self._lead.taken():
            self._say(await self._membership.turn(await self._here.reports(), throughput))
        await self._read_keys()
        rows = await self._read_rows()
        if rows == self._seen or not rows.layouts:
            return
        await self._forget(rows)
        tables, stores = self._spread_over(rows)
        self.store.relayout(tables[0], tables[1:], stores)
        before, self._seen = self._seen, rows
        self._say_followed(before)

    async def _read_keys(self) -> None:
        self._keys = await shared_keys(self._database)

    async def _read_rows(self) -> _Rows:
        """Return the rows without what changes with every heartbeat."""
        database = self._database
        return _Rows(
            tuple(await database.layouts.list(layouts_read_max)),
            tuple(_lasting(one) for one in await database.servers.list()),
            tuple(_settled(one) for one in await database.stores.list()),
        )

    async def _forget(self, rows: _Rows) -> None:
        """Let go of servers that are gone, or elsewhere now."""
        addresses = {server.server_id: server.address for server in rows.servers}
        for server_id, neighbour in list(self._known.items()):
            if addresses.get(server_id) != neighbour.url:
                del self._known[server_id]
                await neighbour.part()
                self._log.info("neighbour.gone", peer=server_id, url=neighbour.url)

    def _spread_over(self, rows: _Rows) -> tuple[list[Table], dict[str, ChunkStore]]:
        """Return the tables, newest first, and a way to every store."""
        for server in rows.servers:
            if server.server_id not in {self._here.server_id, *self._known}:
                self._known[server.server_id] = self._meet(server)
        self._servers = {row.store_id: row.server_id for row in rows.stores}
        stores: dict[str, ChunkStore] = dict(self._here.stores)
        for row in rows.stores:
            neighbour = self._known.get(row.server_id)
            if neighbour is not None and row.store_id not in stores:
                stores[row.store_id] = self._way_to(neighbour, row.store_id)
        layouts = [layout_of(record) for record in rows.layouts]
        newest, *_ = layouts
        for label in newest.stores:
            # Forgotten, or without a server: a layout that follows will leave it out.
            stores.setdefault(label.store_id, AbsentStore(label.store_id))
        found = [newest, *(one for one in searched(layouts, stores.keys()) if one != newest)]
        known = self._tables
        self._tables = {one.number: known.get(one.number) or build_table(one) for one in found}
        return list(self._tables.values()), stores

    def _meet(self, server: ServerRecord) -> _Neighbour:
        signer = _signer(self._here.server_id, server.server_id, lambda: self._keys, self._clock)
        tls = _encrypting_to(server.address)
        chance = secrets.SystemRandom().random
        health = PeerHealth(signer, server.address, clock=self._clock, chance=chance, tls=tls)
        channel = PeerChannel(signer, server.address, health, tls=tls)
        self._log.info("neighbour.met", peer=server.server_id, url=server.address)
        watching = self._group.create_task(health.watch())
        return _Neighbour(server.address, health, channel, watching)

    def _way_to(self, neighbour: _Neighbour, store_id: str) -> PeerStore:
        if store_id not in neighbour.stores:
            neighbour.stores[store_id] = PeerStore(
                store_id, neighbour.channel, self._threads, clock=self._clock
            )
        return neighbour.stores[store_id]

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

    def _say(self, turn: Turn) -> None:
        """Log what is new since the last turn."""
        if turn.changed and turn.layout is not None:
            self._log.warning(
                "layout.changed",
                number=turn.layout.number,
                stores=[store.store_id for store in turn.layout.stores],
                copies=turn.layout.copies,
            )
        late = abs(turn.clock_error) > clock_error_seconds_max
        said = (*turn.decision.held.items(), late)
        if said != self._said:
            self._said = said
            for store_id, why in turn.decision.held.items():
                self._log.warning("layout.held", store=store_id, reason=why.value)
            if late:
                self._log.warning("clock.off", seconds=round(turn.clock_error, 1))


async def shared_keys(database: Database) -> PeerKeys:
    """Return the keys by which servers of a cluster know each other, made now if there is none."""
    keys = await peer_keys(database.peer_keys, secrets.token_bytes)
    signing = signing_key(keys, await database.servers.now())
    return PeerKeys(signing.secret, tuple(key.secret for key in keys))


async def unreached(server_id: str, address: str, keys: PeerKeys, clock: Clock) -> str | None:
    """Return why a server that serves does not find itself at its address; None when it does."""
    signer = _signer(server_id, server_id, lambda: keys, clock)
    try:
        await ping_once(signer, address, tls=_encrypting_to(address))
    except Unreachable as error:
        return str(error)
    return None


def _signer(sender: str, addressee: str, keys: Callable[[], PeerKeys], clock: Clock) -> Signer:
    return Signer(sender, addressee, keys, clock.now, lambda: secrets.token_hex(16))


def _encrypting_to(address: str) -> ssl.SSLContext | None:
    return encrypting() if address.startswith("https:") else None


def encrypting() -> ssl.SSLContext:
    """Return what encrypts between servers. Who is there the signatures tell, not certificates.

    A default context would read all authorities of this machine, for tens of milliseconds in which
    nobody is served.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _lasting(server: ServerRecord) -> ServerRecord:
    """Return the row without what changes with every heartbeat."""
    return replace(server, seen=0.0, started=0.0, throughput=None)


def _settled(store: StoreRecord) -> StoreRecord:
    """Return the row without what changes with every heartbeat."""
    return replace(store, seen=0.0, bytes_total=None, bytes_free=None, trouble="")


def _totals(traffic: Traffic) -> Totals:
    return (
        traffic.total(Flow.TO_CLIENTS),
        traffic.total(Flow.FROM_CLIENTS),
        traffic.total(Flow.TO_SERVERS),
        traffic.total(Flow.FROM_SERVERS),
    )
