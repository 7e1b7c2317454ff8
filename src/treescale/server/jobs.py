"""What a worker does beside requests, by what it is about: each a list of jobs to be registered.

Peers, stores and losses register theirs where they are made, since those come and go.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterator
from functools import partial
from typing import Final

from treescale.clock import Clock, DatabaseClock, SystemClock
from treescale.cluster.liveness import HEARTBEAT_SECONDS
from treescale.events.hooks.deliverer import Deliverer
from treescale.events.nats.sink import Sink
from treescale.events.signals import Signal
from treescale.http.connections.connection import ConnectionServer
from treescale.http.connections.listener import Listener
from treescale.lease_times import LEASE_SETTING, lease_of
from treescale.maintenance.collection.row_turns import RowTurns
from treescale.metadata.collection.purging import Purging
from treescale.metadata.database import Database
from treescale.metadata.events.positions import Positions
from treescale.metadata.events.recording import actor_of_server
from treescale.metadata.identity.links import Links
from treescale.metadata.identity.providers import Identities
from treescale.metadata.identity.sessions import Sessions
from treescale.registry.counted.logins import Logins
from treescale.registry.counted.refused import RefusedUploads
from treescale.registry.rules.runner import Retention
from treescale.registry.token_service import GENERATION_SECONDS, TokenService
from treescale.server.background import Job, Scope
from treescale.server.cluster_view import ClusterView
from treescale.server.events.work import EventWork
from treescale.server.network.address import advertised
from treescale.server.network.certificate_watch import CertificateWatch
from treescale.server.network.key_pair import context_of
from treescale.server.network.outbound import nats_target
from treescale.server.network.outbound_clients import HOOKS, OutboundClients
from treescale.server.network.own_address import look_for_itself
from treescale.server.network.served_certificate import ServedCertificate
from treescale.server.processes.service_manager import PULSE_SECONDS, Pulse
from treescale.server.shared import Flag, Shared

_CLOCK: Final = SystemClock()
LIMIT_SECONDS: Final = 10.0
"""How long one round of most background work may take."""
REFRESH_SECONDS: Final = 5.0
"""How often a worker reads the database's time, and what is new of keys and generations."""
DISK_LOOK_SECONDS: Final = 0.5
"""How often a worker looks whether a disk is to be probed, or is back."""
PRUNE_SECONDS: Final = 1800.0
"""From the start on, too: a machine that runs an hour a day gets there."""
EXPIRE_SECONDS: Final = 600.0
EXPIRED_AT_ONCE: Final = 1000
HINT_WAIT_SECONDS: Final = 60.0
HINT_PAUSE_SECONDS: Final = 0.1
"""After a look: hints that come meanwhile share the next."""
PURGE_SECONDS: Final = 30.0
"""How often purges are ended that nobody waits for: three reads of tables that are empty."""
ROWS_SECONDS: Final = 60.0
"""How often rows that nothing needs are looked for: three searches of an index."""
ROWS_SECONDS_MAX: Final = 3600.0
SLOW_ROWS_SECONDS: Final = 600.0
"""How often it is looked whether the slow pass goes on."""
OLDER_SECONDS: Final = 30.0
"""How often servers of version 0.1.0 are looked for, and what they have pushed again."""
RETENTION_SECONDS: Final = 60.0
"""How often it is looked whether rules for tags are to be gone by: one read while there is none."""
USAGE_SECONDS: Final = 60.0
LOSSES_SECONDS: Final = 15.0
"""How often it is looked how much is lost: three counts of tables that are empty as a rule."""
EVENTS_SECONDS: Final = 600.0
"""How often events are removed that are kept no longer."""
EVENTS_SECONDS_MAX: Final = 3600.0
WALK_LOOK_SECONDS: Final = 2.0
WALK_ALONE_SECONDS: Final = 600.0
"""So long after its start a store that is alone is walked."""
CERTIFICATE_SECONDS: Final = 1.0
"""How often it is looked whether another certificate is to be used, or was asked for."""
ADDRESS_LOOK_SECONDS: Final = 24 * 3600.0
ADDRESS_LOOK_SECONDS_MAX: Final = 60.0
"""A name that nobody answers for takes half a minute to look up."""
HOOKS_KEPT_SECONDS: Final = 7 * 24 * 3600.0
"""What was sent to webhooks is looked up for so long."""
HOOKS_KEPT_OF_EACH: Final = 1000
HOOKS_PRUNE_SECONDS: Final = 600.0
HOOKS_PRUNE_SECONDS_MAX: Final = 3600.0
HOOKS_PRUNED_AT_ONCE: Final = 1000
HOOKS_PRUNE_PAUSE_SECONDS: Final = 0.1
"""Between two rounds: deliveries go first."""


def database_jobs(database: Database, time: DatabaseClock) -> Iterator[Job]:
    """Yield what keeps a process in step with its database."""
    yield Job(
        "database.watch",
        database.run,
        "a database that is away is found out by each request for itself",
    )

    async def read_time() -> None:
        await time.read(database.servers.now)

    yield Job(
        "clock.read",
        read_time,
        "the database's clock is not followed when it is set",
        period_seconds=REFRESH_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )
    yield from people_jobs(database, time)


def rights_jobs(database: Database, tokens: TokenService, changed: Signal) -> Iterator[Job]:
    """Yield what keeps rights as the database has them; `changed` is a hint to look at once."""
    yield Job(
        "tokens.refresh",
        tokens.refresh,
        "new keys, and whose rights have changed, are not heard of",
        period_seconds=REFRESH_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )
    yield Job(
        "tokens.hear",
        partial(_whenever, changed, tokens.refresh),
        "changes of rights are heard of some seconds later",
    )
    yield Job(
        "generations.adopt",
        database.generations.adopt,
        "what servers of version 0.1.0 revoke is not heard of",
        period_seconds=REFRESH_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.SERVER,
    )
    yield Job(
        "generations.prune",
        partial(database.generations.prune, GENERATION_SECONDS),
        "changes of rights that no longer matter are kept",
        period_seconds=PRUNE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )
    yield Job(
        "addresses.prune",
        database.known_addresses.prune,
        "addresses that nobody logged in from for long are kept",
        period_seconds=PRUNE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )


def people_jobs(database: Database, clock: Clock) -> Iterator[Job]:
    """Yield what forgets the sessions, links and sign-ons whose time is over."""
    sessions, links = Sessions(database.connections), Links(database.connections)
    identities = Identities(database.connections)

    async def prune() -> None:
        now = clock.now()
        await sessions.prune(now=now)
        await links.prune(now=now)
        await identities.prune(now=now)

    yield Job(
        "sessions.prune",
        prune,
        "sessions and links that have ended are kept",
        period_seconds=PRUNE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )


def cluster_jobs(
    view: ClusterView, measure: Callable[[], None] = lambda: None, changed: Signal | None = None
) -> Iterator[Job]:
    """Yield what a process does as a part of its cluster, and with the disks of its server.

    `measure` is done whenever the rows are looked at; `changed` is a hint to look at once.
    """

    async def follow() -> None:
        measure()
        await view.follow()

    yield Job(
        "cluster.follow",
        follow,
        "servers and layouts that are new are not known here",
        period_seconds=HEARTBEAT_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )
    if changed is not None:
        yield Job(
            "cluster.hear",
            partial(_whenever, changed, view.follow),
            "servers and layouts that are new are known here some seconds later",
        )
    yield Job(
        "disks.look",
        view.look,
        "a disk that hangs is not asked again, and one that is back not used",
        period_seconds=DISK_LOOK_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )


def address_job(shared: Shared, view: ClusterView, clock: Clock) -> Job:
    """Return what has the leader look, soon after the start and once a day, for its own server.

    No other server looks for one on SQLite.
    """

    async def look() -> None:
        address = advertised(shared.settings, shared.listeners)
        await look_for_itself(shared.server_id, address, view.keys, clock, shared.peer_tls())

    return Job(
        "address.look",
        look,
        "an address at which other servers do not find this one is not told of",
        period_seconds=ADDRESS_LOOK_SECONDS,
        limit_seconds=ADDRESS_LOOK_SECONDS_MAX,
        scope=Scope.SERVER,
        at_once=True,
    )


def connections_job(connections: ConnectionServer, which: str = "") -> Job:
    """Return what cuts connections that are stuck; `which` they are, if there are others."""
    return Job(
        f"connections.look{which}",
        connections.look,
        "connections that are stuck are not cut",
        period_seconds=connections.look_seconds,
        limit_seconds=LIMIT_SECONDS,
    )


def certificate_jobs(served: ServedCertificate, listener: Listener, clock: Clock) -> Iterator[Job]:
    """Yield what takes a renewed certificate into use; one worker looks, and all follow."""
    in_use = 0

    async def follow() -> None:
        nonlocal in_use
        version = served.version
        if version != in_use:
            listener.encrypt_with(context_of(served.pair()))
            in_use = version

    yield Job(
        "certificate.look",
        CertificateWatch(served, clock).look,
        "a renewed certificate is not taken into use",
        period_seconds=CERTIFICATE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.SERVER,
        at_once=True,
    )
    yield Job(
        "certificate.follow",
        follow,
        "a worker goes on with the certificate before",
        period_seconds=CERTIFICATE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )


def pulse_job(pulse: Pulse, clock: Clock) -> Job:
    """Return what says that this worker's event loop comes round."""

    async def beat() -> None:
        pulse.beat(clock.monotonic())

    return Job(
        "worker.pulse",
        beat,
        "systemd may take this server to be dead, and restart it",
        period_seconds=PULSE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        at_once=True,
    )


def walk_job(
    database: Database, view: ClusterView, stores: Collection[str], wanted: Flag, clock: Clock
) -> Job:
    """Return what has this server's stores walked, once there is a reason to.

    A store that is alone has nobody to get copies from, or to give any to: what it holds is read
    back, and that can wait, also for servers that are started for a moment.
    """
    begun = clock.monotonic()

    async def look() -> None:
        if wanted.is_set():
            return
        several = len(view.store.figures) > 1
        waited = clock.monotonic() - begun >= WALK_ALONE_SECONDS
        asked = [*await _asked(database, stores)] if not (several or waited) else []
        if several or waited or asked:
            wanted.set()

    return Job(
        "walk.look",
        look,
        "copies that are lost are not made again, and nothing is read back",
        period_seconds=WALK_LOOK_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.SERVER,
        at_once=True,
    )


async def _asked(database: Database, stores: Collection[str]) -> list[object]:
    """Return what is asked of these stores."""
    purging = Purging(database.connections)
    found: list[object] = []
    for store in stores:
        found += [*await database.jobs.open_of(store), *await purging.due_at(store)]
    return found


def purge_job(database: Database) -> Job:
    """Return what ends purges whose last store was forgotten, or whose command broke off."""
    return Job(
        "purge.settle",
        Purging(database.connections).settle,
        "what was purged cannot be pushed again",
        period_seconds=PURGE_SECONDS,
        limit_seconds=EXPIRE_SECONDS,
        scope=Scope.CLUSTER,
    )


async def collection_jobs(
    database: Database, idle_seconds_max: float, clock: Clock = _CLOCK
) -> list[Job]:
    """Return what takes away rows that nothing needs."""
    times = lease_of(await database.settings.get(LEASE_SETTING))
    turns = RowTurns(database, times, clock)
    retention = Retention(database, clock, partial(_may_collect, turns))
    return [
        uploads_job(database, times.idle(idle_seconds_max), times.look_every),
        purge_job(database),
        Job(
            "collection.rows",
            turns.collect,
            "what was deleted stays, and its bytes with it",
            period_seconds=max(1.0, min(ROWS_SECONDS, times.look_every)),
            limit_seconds=ROWS_SECONDS_MAX,
            scope=Scope.CLUSTER,
        ),
        Job(
            "collection.slow",
            turns.slow_slice,
            "what an older version, or a moment's lock, has left stays",
            period_seconds=max(1.0, min(SLOW_ROWS_SECONDS, times.look_every)),
            limit_seconds=ROWS_SECONDS_MAX,
            scope=Scope.CLUSTER,
        ),
        Job(
            "retention.run",
            retention.turn,
            "tags that rules let go stay",
            period_seconds=RETENTION_SECONDS,
            limit_seconds=ROWS_SECONDS_MAX,
            scope=Scope.CLUSTER,
        ),
        Job(
            "collection.older",
            turns.older,
            "what servers of version 0.1.0 push again of what was deleted is not found",
            period_seconds=max(1.0, min(OLDER_SECONDS, times.look_every / 4)),
            limit_seconds=ROWS_SECONDS_MAX,
            scope=Scope.CLUSTER,
        ),
    ]


async def _may_collect(turns: RowTurns) -> bool:
    return await turns.pause() is None


def uploads_job(database: Database, idle_seconds_max: float, look_every: float) -> Job:
    """Return what ends uploads that nobody continues."""

    async def expire() -> None:
        await database.uploads.delete_idle(idle_seconds_max, EXPIRED_AT_ONCE)

    return Job(
        "uploads.expire",
        expire,
        "uploads that nobody continues are kept",
        period_seconds=max(1.0, min(EXPIRE_SECONDS, look_every)),
        limit_seconds=EXPIRE_SECONDS,
        scope=Scope.CLUSTER,
    )


def told_jobs(shared: Shared, database: Database, time: Clock, grown: Signal) -> Iterator[Job]:
    """Yield what tells others of events: webhooks, and NATS where the settings name one."""
    settings, meters = shared.settings, shared.meters
    deliverer = Deliverer(
        database,
        client=OutboundClients(settings, database, time, HOOKS).client,
        actor=actor_of_server(shared.server_id),
        clock=time,
        chance=secrets.SystemRandom().random,
        on_sent=meters.sent,
    )

    async def prune() -> None:
        hooks, more = database.hooks, True
        while more:
            removed = await hooks.prune(
                HOOKS_KEPT_SECONDS, HOOKS_KEPT_OF_EACH, HOOKS_PRUNED_AT_ONCE
            )
            more = removed > 0
            await asyncio.sleep(HOOKS_PRUNE_PAUSE_SECONDS)

    yield Job("hooks.deliver", deliverer.run, "webhooks are sent late", scope=Scope.CLUSTER)
    yield Job(
        "hooks.prune",
        prune,
        "deliveries of long ago are kept",
        period_seconds=HOOKS_PRUNE_SECONDS,
        limit_seconds=HOOKS_PRUNE_SECONDS_MAX,
        scope=Scope.CLUSTER,
    )
    if settings.nats:
        log, positions = database.event_log, Positions(database.connections)
        target, told = nats_target(settings), lambda connected: meters.nats(connected=connected)
        sink = Sink(log, positions, target, grown, told)
        late = "events wait in the log, and NATS gets them later"
        yield Job("nats.send", sink.run, late, scope=Scope.CLUSTER)


async def _whenever(signal: Signal, work: Callable[[], Awaitable[object]]) -> None:
    """Do it whenever the signal says so, until cancelled."""
    with signal.listening() as heard:
        while True:
            if await heard.wait(HINT_WAIT_SECONDS):
                async with asyncio.timeout(LIMIT_SECONDS):
                    await work()
                await asyncio.sleep(HINT_PAUSE_SECONDS)


def event_jobs(events: EventWork, refused: RefusedUploads, logins: Logins) -> Iterator[Job]:
    """Yield what numbers, follows, heeds and removes events, and tells other servers of them."""
    yield Job(
        "logins.write",
        logins.write,
        "logins, and those that were refused, are in the audit log later, or not at all",
        period_seconds=USAGE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )
    yield Job(
        "refusals.write",
        refused.write,
        "pushes that were refused are told of later, or not at all",
        period_seconds=USAGE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
    )
    yield Job(
        "events.watch",
        events.watch,
        "changes of rights and layouts are heard of some seconds later",
        scope=Scope.SERVER,
    )
    yield Job(
        "events.number",
        events.number,
        "what this server records is followed a second later, once another server numbers it",
        scope=Scope.SERVER,
    )
    yield Job("events.follow", events.live.run, "whoever follows the events hears of none")
    yield Job("events.tell", events.tell, "other servers hear of events a second later")
    yield Job("events.ask", events.ask, "this server hears of others' events a second later")
    yield Job(
        "events.prune",
        events.prune,
        "events are kept for longer than the cluster is set to",
        period_seconds=EVENTS_SECONDS,
        limit_seconds=EVENTS_SECONDS_MAX,
        scope=Scope.CLUSTER,
    )
    yield Job(
        "events.servers",
        events.look_for_servers,
        "that a server has fallen silent, or is back, is no event",
        period_seconds=HEARTBEAT_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )
    yield Job(
        "events.losses",
        events.look_for_losses,
        "that chunks are lost, or found again, is no event",
        period_seconds=LOSSES_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )
