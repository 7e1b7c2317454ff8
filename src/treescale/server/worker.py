"""What each worker is made of, and its life until SIGTERM.

Workers are equal: each accepts from the same listening socket and can continue what another began.
"""

import asyncio
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from functools import partial
from typing import Final

from treescale.api.metrics import MetricsDesk, Page, answer_anybody
from treescale.api.routes import route_table
from treescale.api.stopping import StopDesk
from treescale.cache.exchange import AnswerExchange
from treescale.clock import Clock, DatabaseClock, SystemClock
from treescale.cluster.lost import LossRecorder
from treescale.cluster.membership import Membership
from treescale.cluster.readiness import Purpose
from treescale.events.hints import Hint
from treescale.events.live import LiveLog
from treescale.http.administrators import Administrators
from treescale.http.authentication import Authenticator
from treescale.http.call import Service
from treescale.http.connections.connection import Handler
from treescale.http.connections.entrance import Door
from treescale.http.connections.listener import Listener
from treescale.http.connections.response_cache import ResponseCache
from treescale.http.connections.sending import sender_for
from treescale.http.dispatch import Dispatcher
from treescale.http.proxy.origin import Proxies
from treescale.http.redirect import Redirect
from treescale.http.traced import with_peers_spans, with_spans
from treescale.log import hear_dropped_lines
from treescale.maintenance.pace import Clients, Pace
from treescale.maintenance.stopping import Stopping
from treescale.metadata.database import Database, opened
from treescale.metadata.engine.address import parse_address
from treescale.peer.keyring import peer_keys
from treescale.peer.protocol import PREFIX, Pong
from treescale.peer.server import Host, PeerServer, span_of
from treescale.peer.signing import PeerKeys
from treescale.registry.counted.logins import Logins
from treescale.server.background import Background, Job
from treescale.server.cluster_view import ClusterView
from treescale.server.data.local_stores import LocalStores, open_stores
from treescale.server.data.tables import Tables
from treescale.server.events.work import ThisWorker, event_work
from treescale.server.heartbeat import Heartbeat
from treescale.server.jobs import (
    address_job,
    certificate_jobs,
    cluster_jobs,
    collection_jobs,
    connections_job,
    database_jobs,
    event_jobs,
    pulse_job,
    rights_jobs,
    told_jobs,
    walk_job,
)
from treescale.server.network.address import BACKLOG
from treescale.server.network.key_pair import context_of
from treescale.server.processes.fellow_workers import FellowWorkers
from treescale.server.processes.loop import parts_end_within, run_loop, stop_signals
from treescale.server.processes.supervisor import DRAIN_SECONDS
from treescale.server.processes.traces import traced
from treescale.server.readiness import Looks, Readiness, be_seen_ending
from treescale.server.serving import (
    Answers,
    AnswersLater,
    authenticator,
    by_path,
    compose,
    new_connections,
)
from treescale.server.shared import Shared
from treescale.server.usage_jobs import limit_jobs, usage_jobs
from treescale.server.watch.gathering import MetricsPage, Rows, Sights
from treescale.threads import Threads
from treescale.tracing import TRACING

WATCHING_DRAIN_SECONDS: Final = 1.0
"""For a page that is on its way when all else has been answered."""
REDIRECT_DRAIN_SECONDS: Final = 1.0
REDIRECTS_MAX: Final = 256
"""Connections of plain HTTP in a worker: they must take no room from those of the registry."""
WATCHERS_MAX: Final = 64
"""Likewise of the door for Prometheus."""
HASH_THREADS: Final = 4
"""Threads per worker; each disk has its own, so that waiting for one keeps nobody else."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """A worker's parts, for as long as it serves."""

    handle: Handler
    below: Mapping[str, Handler]
    """What answers below a path instead, and not to clients."""
    is_proxy: Callable[[str], bool]
    readiness: Readiness
    background: Background
    jobs: tuple[Job, ...]
    """What it does in the background from when it serves."""
    metrics: Page
    live: LiveLog
    write_last: Callable[[], Awaitable[None]]
    """Writes down, in the end, what was only counted."""


def be_worker(shared: Shared, ready: Callable[[], None]) -> None:
    """Be a worker until SIGTERM, in a process of its own."""
    run_loop(partial(_work, shared, ready))


async def _work(shared: Shared, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM; then finish what is in flight and return."""
    begin_to_count(shared)
    context = None if shared.tls is None else context_of(shared.tls.pair())
    with traced(shared.server_id, os.environ):
        async with _worker(shared, SystemClock()) as worker:
            with parts_end_within(shared.let_go):
                await _serve(worker, shared, context, ready)


async def _serve(
    worker: _Worker, shared: Shared, context: ssl.SSLContext | None, ready: Callable[[], None]
) -> None:
    """Serve until a signal says stop; then finish what is in flight."""
    connections = new_connections(
        worker.handle,
        tls=False,
        below=worker.below,
        is_proxy=worker.is_proxy,
        meters=shared.meters,
    )
    if TRACING.tracer is None:  # else each request has a span
        connections.responses = ResponseCache()
    watched = new_connections(
        partial(answer_anybody, worker.metrics),
        tls=False,
        meters=shared.meters,
        connections_max=WATCHERS_MAX,
    )
    looks = connections_job(connections), connections_job(watched, "/metrics")
    for job in (*worker.jobs, *looks, pulse_job(shared.pulse, SystemClock())):
        worker.background.register(job)
    stop = stop_signals()
    watching = await Listener.begin(
        watched, [Door(each, None) for each in shared.listeners.metrics], backlog=BACKLOG
    )
    server = await Listener.begin(
        connections,
        shared.listeners.doors(context),
        backlog=BACKLOG,
        proxies=Proxies(shared.settings.proxies),
    )
    if shared.tls is not None:
        for job in certificate_jobs(shared.tls, server, SystemClock()):
            worker.background.register(job)
    redirect = await _redirecting(worker, shared)
    ready()
    await stop.wait()
    worker.live.close()
    await be_seen_ending(worker.readiness)
    if redirect is not None:
        await redirect.stop(REDIRECT_DRAIN_SECONDS)
    await server.stop(DRAIN_SECONDS)
    await worker.write_last()
    await watching.stop(WATCHING_DRAIN_SECONDS)


async def _redirecting(worker: _Worker, shared: Shared) -> Listener | None:
    """Return what tells requests without TLS where it is; None when nobody asked for it."""
    settings, listeners = shared.settings, shared.listeners
    if not listeners.redirecting:
        return None
    redirect = Redirect(settings.public_url, listeners.port, settings.acme_webroot)
    connections = new_connections(redirect.handle, tls=False, connections_max=REDIRECTS_MAX)
    worker.background.register(connections_job(connections, "/redirects"))
    doors = [Door(each) for each in listeners.redirecting]
    return await Listener.begin(connections, doors, backlog=BACKLOG)


@asynccontextmanager
async def _worker(shared: Shared, clock: Clock) -> AsyncIterator[_Worker]:
    """Put a worker together: its database, its cluster, and what answers requests.

    Files, and how far this machine's clock is off, are told by `clock`; all else that others may
    see goes by the database's time.
    """
    settings, traffic, exchange = shared.settings, shared.traffic, AnswerExchange()
    async with AsyncExitStack() as parts:
        database = await parts.enter_async_context(database_of(shared, exchange))
        time = DatabaseClock(clock)
        await time.read(database.servers.now)
        hashing = parts.enter_context(Threads(HASH_THREADS, thread_name_prefix="hash"))
        hashing.begin()
        here = await local_stores(shared, clock)
        membership = Membership(database, shared.server_id, clock, grace=settings.grace_seconds)
        first_key, *_ = await peer_keys(database.peer_keys, secrets.token_bytes)
        callers = await authenticator(shared, database, time, exchange, first_key.secret)
        background = await parts.enter_async_context(_background(shared, database, clock))
        view = await parts.enter_async_context(
            cluster_of(shared, here, database, background, hashing, time)
        )
        heartbeat = Heartbeat(here, membership, view, traffic, time, shared.certificate_expires)
        losses = loss_recorder(database, view, background, time)
        readiness = Readiness(shared.board, view, clock)
        rooms = compose(database, view.store, hashing, callers, time, traffic, losses)
        metrics = MetricsPage(_sights(shared, here, view, readiness), Rows(database, time), clock)
        desk = MetricsDesk(metrics, Administrators(database.users, clock))
        keys = _keys_of(view)
        peers = PeerServer(_host(shared, here, exchange, time), keys, time, sender_for)
        fellow_workers = await parts.enter_async_context(
            FellowWorkers(shared.server_id, shared.boot, settings.workers, keys, time, peers.handle)
        )
        exchange.connect(fellow_workers.ask, view.peers.ask)
        events = parts.enter_context(event_work(this_worker(shared), database, exchange, time))
        jobs = [
            *database_jobs(database, time),
            *rights_jobs(database, callers.tokens, events.signals.hints[Hint.RIGHTS]),
            *Looks(shared.board, database, heartbeat, clock).jobs(),
            *cluster_jobs(view, heartbeat.measure, events.signals.hints[Hint.LAYOUT]),
            walk_job(database, view, here.stores, shared.walk_wanted, time),
            *await collection_jobs(database, settings.upload_idle_seconds_max),
            *usage_jobs(database, rooms.publishing.counter, shared.server_id),
            *limit_jobs(database, callers.rates),
            *event_jobs(events, rooms.refused, _logins_of(callers)),
            *told_jobs(shared, database, time, events.signals.grown),
            *([] if this_worker(shared).is_on_sqlite else [address_job(shared, view, time)]),
        ]
        registry = _registry(shared, view, database, rooms, readiness, desk).handle
        later = shared, view, database, rooms, desk.administrators, events.live, time
        yield _Worker(
            by_path(with_spans(registry), AnswersLater(partial(_managed, *later)).answers()),
            {PREFIX: with_peers_spans(peers.handle, span_of)},
            callers.clients.is_proxy,
            readiness,
            background,
            tuple(jobs),
            metrics,
            events.live,
            _logins_of(callers).write_last,
        )


def _logins_of(callers: Authenticator) -> Logins:
    assert callers.logins is not None, "a server tells of them"
    return callers.logins


def this_worker(shared: Shared) -> ThisWorker:
    """Return whose worker this process is."""
    is_on_sqlite = parse_address(shared.settings.database).path is not None
    return ThisWorker(
        shared.server_id,
        shared.boot,
        shared.settings.workers,
        is_on_sqlite,
        shared.meters.followers,
    )


def database_of(
    shared: Shared, exchange: AnswerExchange | None = None
) -> AbstractAsyncContextManager[Database]:
    """Return the database, whose calls are counted, for the time of a block."""
    return opened(
        shared.settings.database,
        exchange=exchange,
        file=shared.database_file,
        meters=shared.meters,
    )


def cluster_of(
    shared: Shared,
    here: LocalStores,
    database: Database,
    background: Background,
    threads: Executor,
    time: Clock,
) -> ClusterView:
    """Return the cluster as a process of this server sees it."""
    return ClusterView(
        here,
        database,
        background,
        threads=threads,
        clock=time,
        tables=Tables(shared.tables),
        peer_tls=shared.peer_tls,
    )


async def local_stores(shared: Shared, clock: Clock) -> LocalStores:
    """Return this server's stores, and how they are: a full one is not to be taken for well."""
    here = LocalStores(shared.server_id, await open_stores(shared.places, clock, shared.disks))
    await here.reports()
    return here


def begin_to_count(shared: Shared) -> None:
    """Count this process, and what it drops of its log. To be called once it is forked no more."""
    shared.meters.begin()
    hear_dropped_lines(shared.meters.lines_dropped)


def _registry(
    shared: Shared,
    view: ClusterView,
    database: Database,
    rooms: Service,
    readiness: Readiness,
    metrics: MetricsDesk,
) -> Dispatcher:
    """Return what answers clients, and notes what it reads for them while somebody looks."""
    view.store.watch(shared.chunk_reads)
    stopping = Stopping(database, SystemClock(), asyncio.sleep)
    stop = StopDesk(stopping, metrics.administrators, shared.server_id)
    table = route_table(readiness, stop, metrics)
    return Dispatcher(rooms, table, check=view.check_member)


def _managed(
    shared: Shared,
    view: ClusterView,
    database: Database,
    rooms: Service,
    administrators: Administrators,
    live: LiveLog,
    time: Clock,
) -> Callable[[], Answers]:
    """Return what makes the answers to whoever looks after it all; imports it, so it blocks."""
    # A tenth of what all processes share, of no use to a server that nobody looks at.
    from treescale.server.managed import Managed  # noqa: PLC0415

    return Managed(shared, view, database, rooms, administrators, live, time).answers


def _sights(shared: Shared, here: LocalStores, view: ClusterView, readiness: Readiness) -> Sights:
    """Return what the page for Prometheus says of this server."""
    return Sights(
        shared.server_id,
        shared.meters,
        shared.traffic,
        checks=lambda: readiness.look(Purpose.EVERYTHING),
        peers=view.peers.states,
        stores=here.reports,
        writable=here.is_writable,
        certificate_ends=shared.certificate_expires,
        nats=bool(shared.settings.nats),
    )


def _host(shared: Shared, here: LocalStores, exchange: AnswerExchange, clock: Clock) -> Host:
    """Return what this server has for others."""
    pace = Pace(clock, Clients(shared.traffic).served)
    pong = Pong(shared.server_id, shared.boot)
    return Host(pong, here.stores, exchange.answer, shared.traffic, lambda: pace.allowed)


def _background(shared: Shared, database: Database, clock: Clock) -> Background:
    """Return what runs this worker's background work."""
    return Background(
        database.leases,
        f"{shared.server_id}/{secrets.token_hex(8)}",
        leads=shared.leader_lock.acquire,
        clock=clock,
        chance=secrets.SystemRandom().random,
        failed=shared.meters.background_failed,
    )


def loss_recorder(
    database: Database, view: ClusterView, background: Background, clock: Clock
) -> LossRecorder:
    """Return what notes chunks that no store has, told by the stores of the cluster."""
    losses = LossRecorder(database.lost, view.store, clock)
    view.store.tell(losses.missing)
    background.register(Job("losses.note", losses.run, "what is found lost cannot be pushed again"))
    return losses


def _keys_of(view: ClusterView) -> Callable[[], PeerKeys]:
    """Return what gives the keys that are in force then."""
    return lambda: view.keys
