"""Servers that walk and collect, from one seed: pushes, re-pushes and deletions between all steps.

Production code (the walk, the collector, the trash) over stores in memory. Gateways sleep, up to
two days of the clocks here; stores' clocks are set, power is cut, layouts change, servers and the
database go away, and processes are stopped for good at any step. Rows go as the collector of rows
takes them; a push records what it has put within a twelfth of the lease, or is refused.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import cast

from tests.simulation.copies import Here
from tests.simulation.leased import LEASE, TIMES, LeasedHere, LeasedStore
from tests.simulation.rows import Database
from tests.simulation.walking import Server, WalkWorld, chunk_of, in_virtual_time
from tests.virtualtime import LoopClock
from treescale.errors import Failed
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.collector import Collector
from treescale.maintenance.walk import Walk
from treescale.metadata import database as metadata

PAUSES = (0.0, 1.0, 60.0, 900.0, LEASE - 60, LEASE + 60)
"""What gateways sleep, and what passes between events."""
CHUNKS = 6
"""So few that each is pushed again and again."""
ROUNDS = 24
DATED_AHEAD_SECONDS_MAX = 100 * LEASE
"""More than all steps of a clock together: at the end every file is old."""
ENDS_SECONDS_MAX = 6 * LEASE


class CollectWorld(WalkWorld):
    """The cluster of a seed whose servers collect."""

    idle = 150
    checks_time = True
    """Whether a push must record what it has put within a twelfth of the lease (R5)."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.is_restless = False
        self.rows.settings = {COLLECTION_SETTING: Mode.ON, LEASE_SETTING: f"{LEASE:.0f}s"}
        self.numbers = count()
        self.removed = 0
        self.refused = 0
        self.committed = 0
        self.deleted = 0

    # What goes on

    def new_store(self, name: str) -> LeasedStore:
        """Return a server's disk."""
        return LeasedStore(name, self.moments)

    def new_here(self, server: Server, step: Callable[[], Awaitable[None]]) -> Here:
        """Return the way of a server's walk, and collector, to its own disk."""
        store = cast("LeasedStore", server.store)
        trimmed, removed = partial(self.trimmed, server), partial(self.collected, server)
        return LeasedHere(store, step, trimmed, removed)

    async def _walk(self, server: Server, walk: Walk) -> None:
        """Walk and collect, in one process."""
        collector = Collector(
            server.name,
            cast("LeasedHere", walk._store),
            walk.trash,
            cast("metadata.Database", Database(self.rows, server.process.step)),
            clock=LoopClock(),
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(walk.run())
                group.create_task(collector.run())
        except* Failed as errors:
            self.note(f"{server.name}: {errors.exceptions[0]!r}")

    async def run(self) -> None:
        """Live through it, then heal everything and see what is left."""
        self.rows.stores = list(self.servers)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self.live(x, group)) for x in self.servers.values()]
            async with asyncio.TaskGroup() as calls:
                for _ in range(ROUNDS):
                    self._happens(calls)
                    await asyncio.sleep(self.random.choice(PAUSES))
                    self.look_at_rows("some time later")
            await self.end()
            for task in running:
                task.cancel()

    def _happens(self, calls: asyncio.TaskGroup) -> None:
        server = self.random.choice(list(self.servers.values()))
        store = cast("LeasedStore", server.store)
        does: dict[str, Callable[[], object]] = {
            "push": lambda: calls.create_task(self._push()),
            "delete": self.delete,
            "again": lambda: calls.create_task(self.push_again()),
            "clock": lambda: self.set_clock(store),
            "power": lambda: self.cut_power(server),
            "down": lambda: self.take_down(server),
            "up": self.heal_all,
            "layout": lambda: self.relayout(calls),
            "database": lambda: setattr(self.rows, "is_away", not self.rows.is_away),
        }
        (kind,) = self.random.choices(list(does), [16, 8, 20, 2, 2, 1, 6, 2, 1])
        self.note(f"{server.name}: {kind}")
        does[kind]()

    def set_clock(self, store: LeasedStore) -> None:
        """Set a store's clock, by a lease or more."""
        store.ahead += self.random.choice([LEASE, -LEASE, 3 * LEASE])

    def cut_power(self, server: Server) -> None:
        """Cut it; the server starts again at once."""
        self.take_down(server)
        cast("LeasedStore", server.store).cut_power()
        server.store.is_down = False

    def heal_all(self) -> None:
        """Have all answer again."""
        self.rows.is_away = False
        for server in self.servers.values():
            server.store.is_down = False

    # Pushes

    async def push_again(self) -> None:
        """Push, some minutes later, what was named long ago and is deleted now."""
        if self.rows.blobs:
            chunk = self.delete()
            await asyncio.sleep(self.random.random() * 3 * TIMES.look_every)
            (number,) = (n for n in range(CHUNKS) if chunk_of(n)[0] == chunk)
            await self._push(number)

    async def _push(self, number: int | None = None) -> None:
        """Put a chunk and name it: in a session first, or at once; it sleeps between the steps."""
        server = self.random.choice(list(self.servers.values()))
        chunk, data = chunk_of(self.random.randrange(CHUNKS) if number is None else number)
        base, upload = LoopClock().monotonic(), f"u{next(self.numbers)}"
        self.note(f"{upload} puts {chunk.hex()[:6]} by {server.name}")
        try:
            placed = await server.gateway.write(chunk, data)
        except Failed:
            return
        await self.sleep()
        if self.random.random() < 0.15:  # it is given up
            return
        in_session = self.random.random() < 0.6
        if not await self.may_record(base):
            self.refused += 1
            return
        place = "a session" if in_session else "a blob"
        self.note(f"{upload} records {chunk.hex()[:6]} in {place}")
        self.rows.owed |= {(chunk, name) for name in placed.owed}
        if in_session:
            self.rows.sessions[upload] = {chunk: len(data)}
            self.look_at_rows(f"{upload} was recorded")
            await self.sleep()
            if self.random.random() < 0.3:
                self.note(f"{upload} is cancelled")
                del self.rows.sessions[upload]
                return
            if self.rows.is_away:
                self.rows.is_away = False
            self.note(f"{upload} is committed")
            del self.rows.sessions[upload]
        self.rows.blobs[chunk] = len(data)
        self.committed += 1
        self.look_at_rows(f"{upload} was committed")

    async def may_record(self, base: float) -> bool:
        """Say whether the transaction that names what was put since its base goes through."""
        in_time = base > LoopClock().monotonic() - TIMES.record_within
        return not self.rows.is_away and (in_time or not self.checks_time)

    async def sleep(self) -> None:
        """Sleep as a gateway may."""
        await asyncio.sleep(self.random.choice(PAUSES) * self.random.choice([0.05, 0.05, 1.0, 2.0]))

    def delete(self) -> bytes:
        """Take a blob's rows away, as the collector of rows does in the end."""
        if not self.rows.blobs:
            return b""
        chunk = self.random.choice(sorted(self.rows.blobs))
        self.note(f"{chunk.hex()[:6]} is deleted")
        del self.rows.blobs[chunk]
        self.deleted += 1
        return chunk

    # What was promised

    def collected(self, server: Server, chunk: bytes) -> None:
        """Note what was taken away, and look whether it is missed."""
        self.removed += 1
        self.note(f"{server.name} takes {chunk.hex()[:6]} away")
        self.look_at_rows(f"{server.name} took {chunk.hex()[:6]} away")

    def look_at_rows(self, after: str) -> None:
        """Check that all that is named is on some store, outside its trash."""
        for chunk in self.rows.named():
            self.check(self.holders(chunk), f"{chunk.hex()[:6]} is lost: {after}")

    async def end(self) -> None:
        """Heal everything; what is named is then on its homes alone, and of the rest nothing."""
        self.note("all is healed")
        self.is_quick = True
        self.heal_all()
        for server in self.servers.values():
            server.follow(self.tables)
            cast("LeasedStore", server.store).ahead += DATED_AHEAD_SECONDS_MAX
        self.rows.sessions.clear()
        ends = LoopClock().monotonic() + ENDS_SECONDS_MAX
        while (left := self.left_over()) and LoopClock().monotonic() < ends:
            self.look_at_rows("at the end")
            await asyncio.sleep(300)
        self.check(not left, f"left in the end: {left}")

    def left_over(self) -> list[str]:
        """Return what lies where it should not, or lacks where it should be."""
        found = []
        for server in self.servers.values():
            lying = server.store.copies.keys() | server.store.trash.keys()
            found += [f"{x.hex()[:6]} on {server.name}" for x in lying - self.rows.blobs.keys()]
        for chunk in self.rows.blobs:
            if self.holders(chunk) != set(self.tables[0].homes(chunk)):
                found.append(f"{chunk.hex()[:6]} on {sorted(self.holders(chunk))}")
        return found


def collected(seed: int, world: type[CollectWorld] = CollectWorld) -> CollectWorld:
    """Return the world of this seed, lived through."""
    found: list[CollectWorld] = []

    async def live() -> None:
        found.append(world(seed))
        await found[0].run()

    in_virtual_time(live)
    return found[0]
