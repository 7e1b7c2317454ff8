"""Walkers stopped for good at every step of everything they do, while the data moves elsewhere.

Two layouts follow each other, a copy is rotten, another one owed, a third lies on a handoff, and
one store is full for a while. `SIMULATION_STEPS=1` stops at each step, and not at every thirteenth.
"""

import asyncio
import os
from collections.abc import Collection

import pytest

from tests.simulation.walking import Server, WalkWorld, chunk_of, in_virtual_time
from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, Table

EVERY = int(os.environ.get("SIMULATION_STEPS", "13"))
NAMES = ("s0", "s1", "s2", "s3")
CHUNKS = 4


def table(number: int, *order: str) -> Table:
    """Return a table by which the first two of these are the homes of everything."""
    stores = tuple(StoreLabel(name, f"on-{name}", "") for name in NAMES)
    layout = Layout(number, stores, 2)
    return Table(layout, (order,) * PARTITIONS)


class Moving(WalkWorld):
    """From s0 and s1 to s2 and s3, by way of s1 and s2; the first walker of some servers stops."""

    def __init__(self, stop: int, who: Collection[str]) -> None:
        super().__init__(0)
        self.is_restless = False
        self.tables = [table(1, "s0", "s1", "s2", "s3")]
        self.servers = {name: Server(self, name) for name in NAMES}
        for server in self.servers.values():
            server.begin()
        self.reached = 0
        """The most steps that a walker has taken."""
        self._stops = dict.fromkeys(who, stop)

    def stop_at(self, server: Server) -> int:
        self.reached = max(self.reached, server.process.steps)
        return self._stops.pop(server.name, 0)

    def pause(self) -> float:
        return 0.01 * self.random.random()

    async def run(self) -> None:
        s0, s1, s2, s3 = self.servers.values()
        async with asyncio.TaskGroup() as group:
            for number in range(CHUNKS):
                s1.store.is_full = number == 1
                chunk, data = chunk_of(number)
                placed = await s0.gateway.write(chunk, data)
                await self.name(chunk, data, placed)
            s1.store.is_full = False
            s1.store.copies[chunk_of(0)[0]].data += b"!"
            self.rotten.add((s1.name, chunk_of(0)[0]))
            s3.store.put(*chunk_of(2))
            running = [group.create_task(self.live(x, group)) for x in self.servers.values()]
            s2.store.is_full = True
            async with asyncio.TaskGroup() as calls:
                self.tables = [table(2, "s1", "s2", "s3", "s0"), *self.tables]
                self.announce(calls, 1.0)
                await asyncio.sleep(2)
                s2.store.is_full = False
                self.tables = [table(3, "s2", "s3", "s0", "s1"), *self.tables]
                self.announce(calls, 3.0)
            await self.settle()
            for task in running:
                task.cancel()


def moved(stop: int = 0, who: Collection[str] = ()) -> Moving:
    found: list[Moving] = []

    async def move() -> None:
        found.append(Moving(stop, who))
        await found[0].run()

    in_virtual_time(move)
    return found[0]


@pytest.mark.parametrize("who", [NAMES, NAMES[:1], NAMES[1:2], NAMES[2:3], NAMES[3:]])
def test_walkers_stopped_at_every_step(who: Collection[str]) -> None:
    step = 1
    while any("walker was stopped" in event for event in moved(step, who).trace):
        step += EVERY
    assert step > 40
