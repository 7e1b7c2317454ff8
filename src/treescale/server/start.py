"""What is done once before the first worker, and once after the last: joining and leaving.

Stores are opened, the schema is brought up to date, keys and the first account are made, and the
server enters its cluster.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from treescale import __version__
from treescale.auth.passwords import Passwords
from treescale.chunks.disk.lock import DirectoryLock
from treescale.chunks.disk.store import DiskStore, SharedDisk
from treescale.chunks.format.placement import Table
from treescale.clock import Clock, DatabaseClock
from treescale.cluster.identity import new_server_id
from treescale.cluster.liveness import is_live
from treescale.cluster.membership import HeartbeatResult, Membership, join
from treescale.cluster.ownership import displaced
from treescale.cluster.queries import read_holders
from treescale.config import Settings
from treescale.errors import DatabaseUnavailable, Failed, ServerUnknown, SettingInvalid
from treescale.log import get_logger
from treescale.maintenance.purger import Purger
from treescale.metadata.collection.purging import Purging
from treescale.metadata.database import Database, opened
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metadata.events.recording import actor_of_server
from treescale.metadata.migrations import migrate
from treescale.metadata.records import LayoutRecord, ServerRecord, StoreRecord
from treescale.peer.keyring import shared_keys
from treescale.peer.signing import PeerKeys
from treescale.registry.accounts import Accounts
from treescale.registry.token_service import TokenService
from treescale.server.cluster_view import LAYOUTS_READ_MAX
from treescale.server.data import directories as data_directories
from treescale.server.data import right_database
from treescale.server.data.directories import DataDirectory, Place
from treescale.server.data.local_stores import LocalStores, open_stores, store_records
from treescale.server.data.right_database import NO_CONSENT, Consent
from treescale.server.data.tables import Tables, in_use
from treescale.server.network.address import Listeners, advertised

WAIT_SECONDS: Final = 1.0
"""How often a server without stores looks for one that has some."""
PURGE_SECONDS_MAX: Final = 30.0
"""For what was purged to be unlinked at a start; a store that needs longer is served from later."""


@dataclass(frozen=True, slots=True)
class Joined:
    """How a server came into its cluster: as whom, and what people must be told."""

    server_id: str
    servers: int
    layout: LayoutRecord
    keys: PeerKeys
    places: tuple[Place, ...]
    first_start: str | None = None
    missing: tuple[DataDirectory, ...] = ()
    """The data directories that the server goes on without."""
    withheld: Mapping[str, str] = field(default_factory=dict)
    """The stores that nothing is served from yet, and why."""
    tables: Mapping[int, Table] = field(default_factory=dict)
    """The placement tables of the layouts in use, by number."""
    clock_error: float = 0.0
    """How far our clock is ahead of the database's, at least; in seconds."""


async def prepare(
    settings: Settings,
    listeners: Listeners,
    lock: DirectoryLock,
    admin_password: str | None,
    clock: Clock,
    say: Callable[[str], None],
    consent: Consent = NO_CONSENT,
) -> Joined:
    """Do what must be done once, before the first worker."""
    directories = await data_directories.look(settings)
    data_directories.check_database(settings, directories)
    data_directories.check(directories, all_of_them=settings.require_all_stores)
    await lock.take(each.path for each in directories if not each.why)
    await right_database.check(settings, directories, consent)
    identity = data_directories.remembered(directories)
    server = ServerRecord(
        identity.server_id if identity else new_server_id(),
        socket.gethostname(),
        advertised(settings, listeners),
        settings.zone,
        started=clock.now(),
        version=__version__,
    )
    directories = data_directories.without(
        directories, await _displaced(settings, server, directories)
    )
    data_directories.check(directories, all_of_them=settings.require_all_stores)
    directories = await data_directories.made(directories)
    data_directories.check(directories, all_of_them=settings.require_all_stores)
    usable = [each.path for each in directories if not each.why]
    await lock.take(usable)  # what was made just now
    data_directories.remember(directories, server.server_id, identity)
    server = replace(server, place=lock.place(usable[0]) if usable else "")
    places = data_directories.places(directories)
    stores = await open_stores(places, clock, {place.path: SharedDisk() for place in places})
    await _clean(stores.values())
    joined = await _enter_cluster(
        settings, server, LocalStores(server.server_id, stores), places, clock, say
    )
    first_start = await _first_start(settings, joined.server_id, admin_password, clock)
    for store in stores.values():
        store.close()
    missing = tuple(each for each in directories if each.why)
    return replace(joined, missing=missing, first_start=first_start)


async def _clean(stores: Iterable[DiskStore]) -> None:
    """Remove what dead processes left half-written; a disk that hangs keeps it."""
    for store in stores:
        if not store.answers:
            continue
        try:
            await store.clean_tmp()
        except Failed as error:
            get_logger().warning("store.not_cleaned", store=store.store_id, reason=str(error))


async def _enter_cluster(
    settings: Settings,
    server: ServerRecord,
    here: LocalStores,
    places: tuple[Place, ...],
    clock: Clock,
    say: Callable[[str], None],
) -> Joined:
    """Enter the cluster, whose tables and keys are made now if there are none."""
    await migrate(settings.database)
    async with opened(settings.database) as database:
        await _check_alone_at_address(settings, database, server)
        keys = await shared_keys(database)
        records = tuple(store_records(settings, server, places, clock))
        try:
            turn, layout = await _join_cluster(
                settings, database, server, here, records, clock, say
            )
        except (asyncio.CancelledError, SystemExit):  # it was told to stop
            await leave_cluster(settings, server.server_id)
            raise
        withheld = await _purge_first(database, here)
        servers = len(await database.servers.list())
        await _tell_connections(settings, servers, say)
        existing = {store.store_id for store in await database.stores.list()}
        layouts = in_use(await database.layouts.list(LAYOUTS_READ_MAX), existing)
    return Joined(
        server.server_id,
        servers,
        layout,
        keys,
        places=places,
        withheld=withheld,
        tables=Tables().build(layouts),
        clock_error=turn.clock_error,
    )


async def _tell_connections(settings: Settings, servers: int, say: Callable[[str], None]) -> None:
    """Say so when PostgreSQL has too few connections for all servers, if they are like this one."""
    address = parse_address(settings.database)
    if address.path is not None:
        return
    # A seventh of a start, and nothing to whoever has SQLite.
    from treescale.metadata.engine.postgresql import (  # noqa: PLC0415
        connection_limit,
        connections_wanted,
    )

    wanted = connections_wanted(settings.workers, servers)
    try:
        limit = await connection_limit(address)
    except DatabaseUnavailable as error:  # none may be left for this, which no server fails of
        get_logger().warning("database.connections", wanted=wanted, error=str(error))
        return
    advice = "" if limit is None else limit.advice(wanted)
    if limit is not None and advice:
        get_logger().warning(
            "database.connections", allowed=limit.allowed, wanted=wanted, servers=servers, do=advice
        )
        say(f"Warning: the database lets {limit.allowed} connect, {servers} servers like this one")
        say(f"  want up to {wanted}: {advice}")


async def _purge_first(database: Database, here: LocalStores) -> dict[str, str]:
    """Have the stores unlink what was purged while they were away, before anything is served.

    Return those that did not come to an end in time, and why: they are withheld, and their purger
    goes on with it.
    """
    purging = Purging(database.connections)
    async with asyncio.TaskGroup() as group:
        asked = {
            store_id: group.create_task(_waits_for(store, purging))
            for store_id, store in here.stores.items()
        }
    return {store_id: why for store_id, each in asked.items() if (why := each.result())}


async def _waits_for(store: DiskStore, purging: Purging) -> str:
    """Have a store unlink what it should; return what nothing is served from it for, or ""."""
    try:
        async with asyncio.timeout(PURGE_SECONDS_MAX):
            await Purger(store.store_id, store, purging).turn()
            if store.answers or not await purging.due_at(store.store_id):
                return ""
            why = store.trouble
    except TimeoutError:
        why = f"that takes longer than {PURGE_SECONDS_MAX:.0f} s"
    except Failed as error:  # a disk that is full, or hangs; the database away
        why = str(error)
    get_logger().error("purge.waits", store=store.store_id, reason=why)
    return (
        f"{store.root}: what was purged while it was away is unlinked first, and then it is served "
        f"from by itself: {why}"
    )


async def _first_start(
    settings: Settings, server_id: str, admin_password: str | None, clock: Clock
) -> str | None:
    """Make what a registry needs once: a signing key and an account; return what to say of it."""
    async with opened(settings.database) as database:
        time = DatabaseClock(clock)
        await time.read(database.servers.now)
        await TokenService(database, time).start()
        accounts = Accounts(database.users, database.access_tokens, Passwords(), time)
        return await accounts.first_start(admin_password, actor=actor_of_server(server_id))


async def _displaced(
    settings: Settings, server: ServerRecord, directories: Sequence[DataDirectory]
) -> dict[str, tuple[str, str]]:
    """Return the directories that held another store, as the database has it; see `ownership`."""
    file = parse_address(settings.database).path
    if not directories or (file is not None and not os.path.exists(file)):  # noqa: ASYNC240, PTH110  nothing else is done yet
        return {}  # the first start: nothing is known of them
    await migrate(settings.database)
    async with opened(settings.database) as database:
        snapshot = await read_holders(database)
    there = {each.root: each.store_id for each in directories}
    return displaced(server, there, snapshot, alone=file is not None)


async def _join_cluster(
    settings: Settings,
    database: Database,
    server: ServerRecord,
    here: LocalStores,
    records: Sequence[StoreRecord],
    clock: Clock,
    say: Callable[[str], None],
) -> tuple[HeartbeatResult, LayoutRecord]:
    """Join the cluster; return the first turn in it, and its layout.

    Waits until a server with a store has made one.
    """
    alone = settings.database.startswith("sqlite:")
    for claim in await join(database, server, records, alone=alone):
        if claim.moved_from is not None:
            said = {"server": claim.moved_from.server, "path": claim.moved_from.path}
            get_logger().warning("store.moved", store=claim.store_id, was=said)
    membership = Membership(database, server.server_id, clock, grace=settings.grace_seconds)
    waiting = False
    while True:
        turn = await membership.heartbeat(await here.reports())
        if turn.layout is not None:
            return turn, turn.layout
        if not waiting:
            say("Waiting for a server that has a store: this one was started with --no-store")
            waiting = True
        await asyncio.sleep(WAIT_SECONDS)


async def _check_alone_at_address(
    settings: Settings, database: Database, server: ServerRecord
) -> None:
    """Raise SettingInvalid when a living server on another machine has our address as well."""
    now = await database.servers.now()
    for other in await database.servers.list():
        same = other.address == server.address and other.server_id != server.server_id
        if same and other.name != server.name and is_live(other.seen, now):
            hint = "" if settings.advertise else ": say --advertise URL, how others reach this one"
            raise SettingInvalid(f"{other.name} is at {server.address} already{hint}")


async def leave_cluster(
    settings: Settings, server_id: str, file: DatabaseFile | None = None
) -> None:
    """Tell the cluster that this server has ended, so that it may start elsewhere at once.

    `file` is SQLite's: if another one is in its place by now, nothing is written to that.
    """
    async with opened(settings.database, file=file) as database:
        try:
            if settings.no_store:
                await database.servers.remove(server_id, actor=actor_of_server(server_id))
            else:
                await database.servers.mark_stopped(server_id)
        except (DatabaseUnavailable, ServerUnknown) as error:
            get_logger().warning("server.departed", said=False, reason=str(error))
