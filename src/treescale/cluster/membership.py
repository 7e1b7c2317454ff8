"""A server's part in its cluster: it joins, says that it is alive, and moves the layout on.

The thin shell around `ownership` and `layout`. All servers are equal: each looks at the same rows
and proposes what follows from them, and the database lets one of those that agree win.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.cluster.layout import (
    COPIES_SETTING,
    GRACE_SECONDS,
    Decision,
    Desired,
    Observed,
    copies_to_keep,
    layout_of,
    next_layout,
    record_of,
)
from treescale.cluster.liveness import (
    LIVE_SECONDS,
    PRUNE_SECONDS,
    WATCH,
    clock_error,
    watched,
)
from treescale.cluster.ownership import Claim, check_ownership
from treescale.cluster.queries import read_holders
from treescale.cluster.snapshot import Snapshot
from treescale.errors import DatabaseUnavailable, StoreUnusable
from treescale.metadata.database import Database
from treescale.metadata.events.recording import actor_of_server
from treescale.metadata.records import (
    LayoutRecord,
    ServerRecord,
    StoreRecord,
    StoreReport,
    Throughput,
    Unreached,
)

_ATTEMPTS_MAX: Final = 5


async def join(
    database: Database, server: ServerRecord, disks: Sequence[StoreRecord], *, alone: bool
) -> tuple[Claim, ...]:
    """Register the server and its stores; return what was claimed, and from where it came.

    `alone` says that the database is this machine's (see `ownership`). Raises StoreUnusable when a
    disk is missing or in use elsewhere, or when the server itself is running at another address.
    Twice is once. Servers long gone that have no stores are forgotten on this occasion: one of
    `--no-store` leaves such a row whenever it ends.
    """
    assert all(disk.server_id == server.server_id for disk in disks)
    actor = actor_of_server(server.server_id)
    await database.servers.prune(PRUNE_SECONDS, actor=actor)
    paths = {disk.store_id: disk.path for disk in disks}
    for _ in range(_ATTEMPTS_MAX):
        snapshot = await read_holders(database)
        found = check_ownership(server, paths, snapshot, alone=alone)
        if not await database.servers.register(server, live_seconds=LIVE_SECONDS, actor=actor):
            raise StoreUnusable(_running(server, snapshot))
        if await _register(database, disks, found):
            return found
    raise DatabaseUnavailable("the stores change hands as fast as they are claimed; try again")


def _running(server: ServerRecord, snapshot: Snapshot) -> str:
    """Say that the server runs already, and what to do about each way this comes about."""
    where = {one.server_id: f"{one.name} ({one.address})" for one in snapshot.servers}
    return (
        f"a server with this data directory runs already: {where.get(server.server_id, 'just now')}"
        ". Stop that one, or give this one another --data. If it was killed, or has got another "
        f"address, start again in {LIVE_SECONDS:.0f} s. If its data directory was copied, remove "
        "server.json from the copy and give it empty directories"
    )


async def _register(
    database: Database, disks: Sequence[StoreRecord], found: Sequence[Claim]
) -> bool:
    """Register the stores; False when somebody else was quicker with one of them."""
    holders = {claim.store_id: claim.holder for claim in found}
    for disk in disks:
        if not await database.stores.register(disk, holder=holders[disk.store_id]):
            return False
    return True


@dataclass(frozen=True, slots=True)
class HeartbeatResult:
    """What a heartbeat found."""

    layout: LayoutRecord | None
    """The layout in force; None while no store is in any."""
    changed: bool
    """Whether it was this server that put it in force, just now."""
    decision: Decision
    clock_error: float
    """How many seconds our clock is ahead of the database's, at least; below 0: behind."""


class Membership:
    """One server's watch over the cluster, in one process of it, for as long as that runs."""

    def __init__(
        self,
        database: Database,
        server_id: str,
        clock: Clock,
        *,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._database = database
        self._server_id = server_id
        self._clock = clock
        self._grace = grace
        self._watch = WATCH
        self._clock_error: float | None = None

    async def heartbeat(
        self,
        reports: Sequence[StoreReport],
        throughput: Throughput | None = None,
        unreached: Sequence[Unreached] = (),
        certificate_expires: float | None = None,
    ) -> HeartbeatResult:
        """Say that this server lives, look at the others, and propose the layout that is due.

        To be called every `heartbeat_seconds`. Raises ServerUnknown when the server has been
        forgotten (it may `join` again), DatabaseUnavailable.
        """
        database = self._database
        if self._clock_error is None:
            before = self._clock.now()
            self._clock_error = clock_error(before, await database.servers.now(), self._clock.now())
        before = self._clock.now()
        now = await database.servers.heartbeat(
            self._server_id,
            reports,
            throughput,
            self._clock_error,
            unreached,
            certificate_expires,
        )
        error = self._clock_error = clock_error(before, now, self._clock.now())
        latest = await database.layouts.latest()
        copies = copies_to_keep(await database.settings.get(COPIES_SETTING), latest)
        stores = tuple(await database.stores.list())
        self._watch = watched(
            self._watch, stores, self._clock.monotonic(), gap_seconds=LIVE_SECONDS
        )
        layout = None if latest is None else layout_of(latest)
        view = Observed(layout, stores, self._watch, now)
        decision = next_layout(view, Desired(copies, self._grace))
        if decision.layout is None:
            return HeartbeatResult(latest, changed=False, decision=decision, clock_error=error)
        due = record_of(decision.layout, created=now)
        changed = await database.layouts.propose(due, actor=actor_of_server(self._server_id))
        force = due if changed else await database.layouts.latest()
        return HeartbeatResult(force, changed, decision, error)
