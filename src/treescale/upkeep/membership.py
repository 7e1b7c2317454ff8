"""A server's part in its cluster: it joins, says that it is alive, and moves the layout on.

The thin shell around `claims` and `members`. All servers are equal: each looks at the same rows
and proposes what follows from them, and the database lets one of those that agree win.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.errors import DatabaseAway, StoreUnusable
from treescale.metadata.protocols import Database
from treescale.metadata.records import (
    LayoutRecord,
    ServerRecord,
    StoreRecord,
    StoreReport,
    Throughput,
)
from treescale.upkeep.claims import Claim, Roll, claims
from treescale.upkeep.members import (
    COPIES_SETTING,
    WATCH,
    Decision,
    View,
    Wish,
    clock_error,
    copies_asked,
    decide,
    grace_seconds,
    layout_of,
    live_seconds,
    prune_seconds,
    record_of,
    watched,
)

_attempts_max: Final = 5


async def join(
    database: Database, server: ServerRecord, disks: Sequence[StoreRecord], *, alone: bool
) -> tuple[Claim, ...]:
    """Register the server and its stores; return what was claimed, and from where it came.

    `alone` says that the database is this machine's (see `claims`). Raises StoreUnusable when a
    disk is missing or in use elsewhere, or when the server itself is running at another address.
    Twice is once. Servers long gone that have no stores are forgotten on this occasion: one of
    `--no-store` leaves such a row whenever it ends.
    """
    assert all(disk.server_id == server.server_id for disk in disks)
    await database.servers.prune(prune_seconds)
    paths = {disk.store_id: disk.path for disk in disks}
    for _ in range(_attempts_max):
        roll = Roll(
            tuple(await database.servers.list()),
            tuple(await database.stores.list()),
            await database.servers.now(),
        )
        found = claims(server, paths, roll, alone=alone)
        if not await database.servers.register(server, live_seconds=live_seconds):
            raise StoreUnusable(_running(server, roll))
        if await _register(database, disks, found):
            return found
    raise DatabaseAway("the stores change hands as fast as they are claimed; try again")


def _running(server: ServerRecord, roll: Roll) -> str:
    """Say that the server runs already, and what to do about each way this comes about."""
    where = {one.server_id: f"{one.name} ({one.address})" for one in roll.servers}
    return (
        f"a server with this data directory runs already: {where.get(server.server_id, 'just now')}"
        ". Stop that one, or give this one another --data. If it was killed, or has got another "
        f"address, start again in {live_seconds:.0f} s. If its data directory was copied, remove "
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
class Turn:
    """What a turn found."""

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
        grace: float = grace_seconds,
    ) -> None:
        self._database = database
        self._server_id = server_id
        self._clock = clock
        self._grace = grace
        self._watch = WATCH

    async def turn(
        self, reports: Sequence[StoreReport], throughput: Throughput | None = None
    ) -> Turn:
        """Say that this server lives, look at the others, and propose the layout that is due.

        To be called every `heartbeat_seconds`. Raises ServerUnknown when the server has been
        forgotten (it may `join` again), SettingInvalid when `copies` in the database is no number,
        DatabaseAway.
        """
        database = self._database
        before = self._clock.now()
        now = await database.servers.heartbeat(self._server_id, reports, throughput)
        error = clock_error(before, now, self._clock.now())
        copies = copies_asked(await database.settings.get(COPIES_SETTING))
        latest = await database.layouts.latest()
        stores = tuple(await database.stores.list())
        self._watch = watched(
            self._watch, stores, self._clock.monotonic(), gap_seconds=live_seconds
        )
        layout = None if latest is None else layout_of(latest)
        view = View(layout, stores, self._watch, now)
        decision = decide(view, Wish(copies, self._grace))
        if decision.layout is None:
            return Turn(latest, changed=False, decision=decision, clock_error=error)
        due = record_of(decision.layout, created=now)
        changed = await database.layouts.propose(due)
        force = due if changed else await database.layouts.latest()
        return Turn(force, changed, decision, error)
