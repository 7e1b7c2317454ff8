"""The process that walks this server's stores: it keeps data whole beside the workers.

It knows the cluster as a worker does and answers nobody. A disk that hangs, or a peer that does,
holds up the walk of its own store and nothing else.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from treescale.clock import DatabaseClock, SystemClock
from treescale.maintenance.jobs import KEPT_SECONDS
from treescale.maintenance.pace import Clients, Pace
from treescale.maintenance.settle import settle
from treescale.maintenance.stores import WalkedCluster, works
from treescale.metadata.database import Database
from treescale.metadata.events.recording import actor_of_server
from treescale.server.background import Background, Job, Scope
from treescale.server.jobs import PRUNE_SECONDS, cluster_jobs, database_jobs
from treescale.server.processes.loop import parts_end_within, run_loop, stop_signals
from treescale.server.shared import Shared
from treescale.server.worker import (
    begin_to_count,
    cluster_of,
    database_of,
    local_stores,
    loss_recorder,
)
from treescale.threads import Threads

HASH_THREADS: Final = 2
SETTLE_SECONDS: Final = 30.0
LIMIT_SECONDS: Final = 10.0


def be_walker(shared: Shared, ready: Callable[[], None]) -> None:
    """Walk until SIGTERM, in a process of its own."""
    run_loop(partial(_work, shared, ready))


async def _work(shared: Shared, ready: Callable[[], None]) -> None:
    clock = SystemClock()
    begin_to_count(shared)
    async with AsyncExitStack() as parts:
        database = await parts.enter_async_context(database_of(shared))
        time = DatabaseClock(clock)
        await time.read(database.servers.now)
        hashing = parts.enter_context(Threads(HASH_THREADS, thread_name_prefix="hash"))
        hashing.begin()
        here = await local_stores(shared, clock)
        background = await parts.enter_async_context(
            Background(
                database.leases,
                f"{shared.server_id}/{secrets.token_hex(8)}",
                leads=lambda: True,  # it is the only one of its kind
                clock=clock,
                chance=secrets.SystemRandom().random,
                failed=shared.meters.background_failed,
            )
        )
        view = await parts.enter_async_context(
            cluster_of(shared, here, database, background, hashing, time)
        )
        losses = loss_recorder(database, view, background, time)
        cluster = WalkedCluster(view, database.lost, losses)
        pace = Pace(
            time,
            Clients(shared.traffic).served,
            told=view.peers.walk_rate,
            rate_max=shared.settings.walk_bytes_per_second_max,
        )
        actor = actor_of_server(shared.server_id)
        todo = works(here.stores, cluster, database, pace, time, actor=actor)
        for job in (
            *database_jobs(database, time),
            *cluster_jobs(view),
            *(Job(*work) for work in todo),
            *_jobs_of_all(database),
        ):
            background.register(job)
        with parts_end_within(shared.let_go):
            stop = stop_signals()
            ready()
            await stop.wait()


def _jobs_of_all(database: Database) -> Iterator[Job]:
    """Yield what follows from all walks, and is done once for the cluster."""
    yield Job(
        "layout.settle",
        partial(settle, database),
        "older layouts are thought to be where chunks lie still",
        period_seconds=SETTLE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )
    yield Job(
        "jobs.prune",
        partial(database.jobs.prune, KEPT_SECONDS),
        "what was asked of stores long ago is kept",
        period_seconds=PRUNE_SECONDS,
        limit_seconds=LIMIT_SECONDS,
        scope=Scope.CLUSTER,
    )
