"""Starting a server: what is prepared once, and what each worker is made of.

The supervisor's process prepares the stores, the schema and the first account, binds the port, and
keeps the workers alive; it never touches a request. Workers are equal: each accepts from the same
listening socket and can continue what another began. This file alone names concrete classes.
"""

import asyncio
import ipaddress
import logging
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import uvloop
from aiohttp import http_parser, web

from treescale import __version__
from treescale.api.app import Api
from treescale.api.call import Rooms
from treescale.api.connection import ConnectionServer, Handler
from treescale.api.guard import Guard
from treescale.api.limits import LIMITS, Limits
from treescale.api.listening import Listening
from treescale.api.requestlog import RequestLog
from treescale.api.sending import sender_for
from treescale.auth.passwords import Passwords
from treescale.auth.policy import Principal
from treescale.certificates import CertificateFiles, self_signed, server_context
from treescale.chunks.allocation import keep_freed_memory
from treescale.chunks.disk import DiskStore
from treescale.chunks.occupancy import Occupancy
from treescale.chunks.store import ChunkStore
from treescale.chunks.syscalls import Disk
from treescale.chunks.trust import Trust
from treescale.clock import Clock, SystemClock
from treescale.config import DATABASE_FILE, Settings
from treescale.errors import DatabaseAway, ServerUnknown, SettingInvalid
from treescale.log import configure_logging, get_logger
from treescale.metadata.hearsay import Hearsay
from treescale.metadata.migrations import migrate
from treescale.metadata.protocols import Database
from treescale.metadata.records import LayoutRecord, ServerRecord, StoreRecord
from treescale.metadata.sql.database import open_database
from treescale.neighbours import Here, Lead, Neighbours, shared_keys, unreached
from treescale.peer.app import Host, PeerApp
from treescale.peer.signing import PeerKeys
from treescale.peer.wire import PREFIX, Pong
from treescale.registry.accounts import Accounts
from treescale.registry.bearer import TokenService
from treescale.registry.login import Login
from treescale.registry.publish import Publishing
from treescale.registry.pull import Pulls
from treescale.registry.push import Pushes
from treescale.registry.remembered import Remembered, key_for_all
from treescale.siblings import Siblings
from treescale.supervisor import Supervisor, drain_seconds
from treescale.traffic import Traffic
from treescale.upkeep.identity import new_server_id, server_id_in
from treescale.upkeep.members import heartbeat_seconds, live_seconds
from treescale.upkeep.membership import Membership, join
from treescale.upkeep.peerkeys import peer_keys

disk_threads: Final = 8
hash_threads: Final = 4
"""Threads per worker: waiting for disks must not keep bytes from being hashed."""
switch_seconds: Final = 0.001
"""A thread that has its answer waits so long, at most, for the event loop to let it run. Python's
own 5 ms are a multiple of what a small write takes."""
refresh_seconds: Final = 5.0
"""How often a worker reads keys and revocations again."""
wait_seconds: Final = 1.0
"""How often a server without stores looks for one that has some."""
expire_seconds: Final = 600.0
expired_at_once: Final = 1000
backlog: Final = 1024
read_buffer_bytes: Final = 256 * 1024
header_bytes_max: Final = 32 * 1024
"""One header field: podman's partial pulls send up to 1,024 ranges in one."""


def serve(settings: Settings, admin_password: str | None, say: Callable[[str], None]) -> None:
    """Run a server until a signal ends it; `say` gets what people must be told.

    `admin_password` is for the first administrator; None has one made up and shown. Raises
    SettingInvalid, StoreUnusable, DatabaseAway when the server cannot be started.
    """
    _configure_logging(settings)
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise SettingInvalid("aiohttp's C parser is missing; install aiohttp from its wheel")
    clock = SystemClock()
    listener = _listen(settings)
    with Occupancy() as occupancy:
        arrival = asyncio.run(_prepare(settings, listener, occupancy, admin_password, clock, say))
        _run(settings, listener, arrival, clock, say)
        asyncio.run(_depart(settings, arrival.server_id))


@dataclass(frozen=True, slots=True)
class _Arrival:
    """How a server came into its cluster: as whom, and what people must be told."""

    server_id: str
    servers: int
    layout: LayoutRecord
    keys: PeerKeys
    first_start: str | None


def _run(
    settings: Settings,
    listener: socket.socket,
    arrival: _Arrival,
    clock: Clock,
    say: Callable[[str], None],
) -> None:
    """Run the workers of a server that is in its cluster, until a signal says stop."""
    tls = _certificate_files(settings, clock)
    if tls is not None:
        server_context(tls)
    work = partial(_be_worker, _common(settings, listener, arrival.server_id))
    supervisor = Supervisor(work, listener, workers=settings.workers, clock=clock)
    supervisor.start()
    _announce(settings, listener, arrival, tls, say)
    if not settings.database.startswith("sqlite:"):
        asyncio.run(_look_for_itself(arrival, _advertised(settings, listener), clock, say))
    supervisor.run()


@dataclass(frozen=True, slots=True)
class _Common:
    """What the workers of a server share: made before they are forked."""

    settings: Settings
    listener: socket.socket
    server_id: str
    boot: str
    lead: Lead
    traffic: Traffic
    trusts: Mapping[str, Trust]


def _common(settings: Settings, listener: socket.socket, server_id: str) -> _Common:
    trusts = {path: Trust() for path in settings.data}
    traffic = Traffic(settings.workers)
    return _Common(settings, listener, server_id, secrets.token_hex(8), Lead(), traffic, trusts)


async def _prepare(
    settings: Settings,
    listener: socket.socket,
    occupancy: Occupancy,
    admin_password: str | None,
    clock: Clock,
    say: Callable[[str], None],
) -> _Arrival:
    """Do what must be done once, before the first worker."""
    data = () if settings.no_store else settings.data
    await occupancy.take(data)
    with ThreadPoolExecutor(1) as threads:
        stores = _open_stores(settings, threads, clock)
        await occupancy.take(data)  # what was made just now
        for store in stores.values():
            store.clean_tmp()
        server_id = server_id_in(Path(settings.data[0]), Disk()) if stores else new_server_id()
        await migrate(settings.database)
        async with _database(settings) as database:
            server = ServerRecord(
                server_id,
                socket.gethostname(),
                _advertised(settings, listener),
                settings.zone,
                started=clock.now(),
                place=occupancy.place(settings.data[0]) if stores else "",
            )
            await _check_alone_at_address(settings, database, server)
            keys = await shared_keys(database)
            layout = await _enter(settings, database, server, Here(server_id, stores), clock, say)
            await TokenService(database, clock).start()
            accounts = Accounts(database.users, database.access_tokens, Passwords(), clock)
            first_start = await accounts.first_start(admin_password)
            servers = len(await database.servers.list())
    return _Arrival(server_id, servers, layout, keys, first_start)


async def _enter(
    settings: Settings,
    database: Database,
    server: ServerRecord,
    here: Here,
    clock: Clock,
    say: Callable[[str], None],
) -> LayoutRecord:
    """Join the cluster and return its layout; waits until a server with a store has made one."""
    records = list(_store_records(settings, server, here.stores, clock))
    alone = settings.database.startswith("sqlite:")
    for claim in await join(database, server, records, alone=alone):
        if claim.moved_from is not None:
            said = {"server": claim.moved_from.server, "path": claim.moved_from.path}
            get_logger().warning("store.moved", store=claim.store_id, was=said)
    membership = Membership(database, server.server_id, clock, grace=settings.grace_seconds)
    waiting = False
    while True:
        turn = await membership.turn(await here.reports())
        if turn.layout is not None:
            return turn.layout
        if not waiting:
            say("Waiting for a server that has a store: this one was started with --no-store")
            waiting = True
        await asyncio.sleep(wait_seconds)


async def _check_alone_at_address(
    settings: Settings, database: Database, server: ServerRecord
) -> None:
    """Raise SettingInvalid when a living server on another machine has our address as well."""
    now = await database.servers.now()
    for other in await database.servers.list():
        same = other.address == server.address and other.server_id != server.server_id
        if same and other.name != server.name and now - other.seen <= live_seconds:
            hint = "" if settings.advertise else ": say --advertise URL, how others reach this one"
            raise SettingInvalid(f"{other.name} is at {server.address} already{hint}")


async def _depart(settings: Settings, server_id: str) -> None:
    """Tell the cluster that this server has ended, so that it may start elsewhere at once."""
    async with _database(settings) as database:
        try:
            if settings.no_store:
                await database.servers.remove(server_id)
            else:
                await database.servers.depart(server_id)
        except (DatabaseAway, ServerUnknown) as error:
            get_logger().warning("server.departed", said=False, reason=str(error))


def _store_records(
    settings: Settings, server: ServerRecord, stores: Mapping[str, DiskStore], clock: Clock
) -> Iterator[StoreRecord]:
    """Yield what the cluster is told of this server's stores."""
    for path, store_id in zip(settings.data, stores, strict=False):
        yield StoreRecord(
            store_id=store_id,
            server=server.name,
            path=str(Path(path).absolute()),
            zone=settings.zone,
            weight=1.0,
            registered=clock.now(),
            server_id=server.server_id,
        )


def _announce(
    settings: Settings,
    listener: socket.socket,
    arrival: _Arrival,
    tls: CertificateFiles | None,
    say: Callable[[str], None],
) -> None:
    """Tell people where the server is and what to type next."""
    scheme = "http" if tls is None else "https"
    address = urlsplit(settings.advertise).netloc or _address_text(listener, settings)
    data = "none here (--no-store)" if settings.no_store else ", ".join(settings.data)
    say(f"TreeScale {__version__} serves {scheme}://{address} (workers: {settings.workers})")
    say(f"Data: {data}")
    unused = Path(settings.data[0]) / DATABASE_FILE
    if settings.database.startswith("postgres") and unused.exists():
        say(f"{unused} is not used any more: its users and repositories are not in this database")
    if arrival.servers > 1:
        stores = len(arrival.layout.stores)
        say(
            f"Cluster: {arrival.servers} servers, {stores} stores, "
            f"{arrival.layout.copies} copies of each chunk"
        )
    if settings.tls_self_signed and tls is not None:
        say("Docker trusts this certificate after, on each client:")
        say(f"  mkdir -p /etc/docker/certs.d/{address}")
        say(f"  cp {tls.certificate} /etc/docker/certs.d/{address}/ca.crt")
    if tls is None and not (settings.proxies or _is_loopback(settings.address[0])):
        say("Plain HTTP: Docker speaks it with 127.0.0.0/8 alone. For other clients add")
        say(f"  --tls-self-signed (or a certificate), or {address} to their insecure-registries")
    if arrival.first_start is not None:
        say(arrival.first_start)
    say("Log in:")
    say(f"  docker login {address} --username admin")


async def _look_for_itself(
    arrival: _Arrival, address: str, clock: Clock, say: Callable[[str], None]
) -> None:
    """Say so when other servers will not find this one: it is `up` and of no use to them."""
    reason = await unreached(arrival.server_id, address, arrival.keys, clock)
    if reason is not None:
        get_logger().warning("advertise.unreached", url=address, reason=reason)
        say(f"Warning: this server does not reach itself at {address}, where others look for it.")
        say(f"  {reason}")
        say("  Say with --advertise URL how they reach it, on the port of --listen; see that the")
        say(
            "  name is known, that the scheme is https with TLS and http without, and the firewall."
        )


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker's parts, for as long as it serves."""

    handle: Handler
    tokens: TokenService
    database: Database
    neighbours: Neighbours


def _be_worker(common: _Common, ready: Callable[[], None]) -> None:
    """Be a worker until SIGTERM, in a process of its own."""
    keep_freed_memory()
    sys.setswitchinterval(switch_seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(common, ready))


async def _work(common: _Common, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM; then finish what is in flight and return."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for received in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(received, stop.set)
    clock = SystemClock()
    tls = _certificate_files(common.settings, clock)
    context = None if tls is None else server_context(tls)
    async with _worker(common, clock) as worker:
        connections = new_connections(worker.handle, tls=context is not None)
        server = await Listening.begin(connections, common.listener, context, backlog=backlog)
        ready()
        async with asyncio.TaskGroup() as group:
            upkeep = [
                group.create_task(worker.database.run()),
                group.create_task(_every(refresh_seconds, worker.tokens.refresh)),
                group.create_task(_every(heartbeat_seconds, worker.neighbours.follow)),
                group.create_task(_expire_uploads(common.settings, worker.database, clock)),
            ]
            await stop.wait()
            await server.stop(drain_seconds)
            for task in upkeep:
                task.cancel()


@asynccontextmanager
async def _worker(common: _Common, clock: Clock) -> AsyncIterator[_Worker]:
    """Put a worker together."""
    settings, hearsay = common.settings, Hearsay()
    async with _database(settings, hearsay) as database:
        with (
            ThreadPoolExecutor(disk_threads, thread_name_prefix="disk") as disks,
            ThreadPoolExecutor(hash_threads, thread_name_prefix="hash") as hashing,
        ):
            stores = _open_stores(settings, disks, clock, common.trusts)
            here, traffic = Here(common.server_id, stores), common.traffic
            membership = Membership(database, common.server_id, clock, grace=settings.grace_seconds)
            first_key, *_ = await peer_keys(database.peer_keys, secrets.token_bytes)
            guard = await _guard(settings, database, clock, hearsay, first_key.secret)
            async with Neighbours(
                here, database, membership, common.lead, traffic, threads=hashing, clock=clock
            ) as neighbours:
                api = compose(database, neighbours.store, hashing, guard, clock, traffic)
                pong = Pong(common.server_id, common.boot)
                keys = _keys_of(neighbours)
                host = Host(pong, stores, hearsay.tell, traffic)
                peers = PeerApp(host, keys, clock, sender_for)
                handle = partial(_handle, api.handle, peers.handle)
                async with Siblings(
                    common.server_id, common.boot, settings.workers, keys, clock, peers.handle
                ) as siblings:
                    hearsay.connect(siblings.ask, neighbours.ask)
                    yield _Worker(handle, guard.tokens, database, neighbours)


async def _guard(
    settings: Settings, database: Database, clock: Clock, hearsay: Hearsay, secret: bytes
) -> Guard:
    """Return who tells callers apart; `secret` is one that all servers have."""
    key = key_for_all(secret)
    redeemed = Remembered(key, clock, hearsay.topic("refresh token", Principal))
    tokens = TokenService(database, clock, redeemed=redeemed)
    await tokens.start()
    proven = Remembered(key, clock, hearsay.topic("login", Principal))
    passwords = Passwords()
    login = Login(database.users, database.access_tokens, passwords, clock, remembered=proven)
    return Guard(login, tokens, settings.proxies)


def _keys_of(neighbours: Neighbours) -> Callable[[], PeerKeys]:
    """Return what gives the keys that are in force then."""
    return lambda: neighbours.keys


async def _handle(
    registry: Handler, peers: Handler, request: web.BaseRequest
) -> web.StreamResponse:
    """Answer a request, of a client or of another server."""
    of_server = request.raw_path.startswith(PREFIX)
    return await (peers if of_server else registry)(request)


def compose(
    database: Database,
    store: ChunkStore,
    threads: Executor,
    guard: Guard,
    clock: Clock,
    traffic: Traffic,
) -> Api:
    """Put the registry and its API together on these parts."""
    rooms = Rooms(
        pushes=Pushes(
            blobs=database.blobs,
            uploads=database.uploads,
            store=store,
            threads=threads,
            clock=clock,
            new_id=lambda: secrets.token_hex(16),
        ),
        pulls=Pulls(blobs=database.blobs, store=store),
        publishing=Publishing(
            manifests=database.manifests,
            tags=database.tags,
            repositories=database.repositories,
            clock=clock,
        ),
        guard=guard,
        traffic=traffic,
    )
    return Api(rooms, ready=database.ping)


def new_connections(handle: Handler, *, tls: bool, limits: Limits = LIMITS) -> ConnectionServer:
    """Return what makes a protocol of each accepted connection."""
    return ConnectionServer(
        handle,
        tls=tls,
        limits=limits,
        auto_decompress=False,
        read_bufsize=read_buffer_bytes,
        max_field_size=header_bytes_max,
        access_log=logging.getLogger("treescale"),  # only says that there is one
        access_log_class=RequestLog,
    )


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work again and again; when it fails say so, and try again next time."""
    log = get_logger()
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception as error:  # noqa: BLE001  the next round is the retry
            log.warning("upkeep.failed", error=str(error))


async def _expire_uploads(settings: Settings, database: Database, clock: Clock) -> None:
    async def expire() -> None:
        before = clock.now() - settings.upload_idle_seconds_max
        await database.uploads.delete_idle(before, expired_at_once)

    await _every(expire_seconds, expire)


@asynccontextmanager
async def _database(settings: Settings, hearsay: Hearsay | None = None) -> AsyncIterator[Database]:
    database = open_database(settings.database, hearsay=hearsay)
    try:
        yield database
    finally:
        await database.close()


def _open_stores(
    settings: Settings,
    threads: ThreadPoolExecutor,
    clock: Clock,
    trusts: Mapping[str, Trust] = MappingProxyType({}),
) -> Mapping[str, DiskStore]:
    if settings.no_store:
        return {}
    stores: dict[str, DiskStore] = {}
    for path in settings.data:
        trust = trusts.get(path)
        store = DiskStore.create_or_open(Path(path), threads=threads, clock=clock, trust=trust)
        if store.store_id in stores:
            raise SettingInvalid(f"--data {path} is the same store as another --data")
        stores[store.store_id] = store
    return stores


def _listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the listen address; raises SettingInvalid when it cannot be."""
    host, port = settings.address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(backlog)
    except OSError as wrong:
        raise SettingInvalid(
            f"cannot listen on {settings.listen}: {wrong.strerror}; "
            "choose another with --listen HOST:PORT"
        ) from wrong
    listener.setblocking(False)  # noqa: FBT003  the standard library's signature
    return listener


def _advertised(settings: Settings, listener: socket.socket) -> str:
    """Return the URL by which other servers reach this one."""
    scheme = "https" if settings.tls_self_signed or settings.tls_cert else "http"
    return settings.advertise or f"{scheme}://{_address_text(listener, settings)}"


def _address_text(listener: socket.socket, settings: Settings) -> str:
    """Return the address as clients type it: the host as asked, the port as bound."""
    host, _ = settings.address
    if host in ("0.0.0.0", "::"):  # noqa: S104  not bound here, only recognised
        host = socket.gethostname()
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{listener.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _certificate_files(settings: Settings, clock: Clock) -> CertificateFiles | None:
    if settings.tls_self_signed:
        names = [settings.address[0], urlsplit(settings.advertise).hostname or ""]
        return self_signed(Path(settings.data[0]) / "tls", names, clock.now())
    if settings.tls_cert and settings.tls_key:
        return CertificateFiles(Path(settings.tls_cert), Path(settings.tls_key))
    return None


def _configure_logging(settings: Settings) -> None:
    automatic = settings.log_format == "auto" and not sys.stderr.isatty()
    configure_logging(json=settings.log_format == "json" or automatic, level=settings.log_level)
