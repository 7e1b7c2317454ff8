"""Repair after reading: beside the readers while it runs, before they return while not, bounded."""

import asyncio
from random import Random  # noqa: TID251  a seeded source

from tests.chunks.faulty import Faulty, servers
from tests.contracts.chunk_store import chunk_of
from tests.fakes_store import FaultyStore
from tests.virtualtime import LoopClock, virtual
from treescale.chunks.replication.fanout import StoreClient, StoreStats
from treescale.chunks.replication.read_repair import REPAIR_SECONDS_MAX, ReadRepair

CHUNK, DATA = chunk_of(1)


def asked(store: FaultyStore) -> StoreClient:
    """Return who asks the store."""
    return StoreClient(store, StoreStats(), LoopClock())


async def damaged() -> tuple[Faulty, FaultyStore]:
    """Return a cluster whose first copy is rotten, on a store that takes a second for anything."""
    rig = Faulty(servers(3, 2))
    await rig.cluster.put(CHUNK, DATA)
    home = rig.homes(CHUNK)[0]
    home.is_.rotten.add(CHUNK)
    home.is_.seconds = 0.01
    return rig, home


@virtual
async def test_a_read_does_not_wait_for_the_repair() -> None:
    rig, home = await damaged()
    async with asyncio.TaskGroup() as group:
        owner = group.create_task(rig.cluster.run())
        await asyncio.sleep(0)
        begun = LoopClock().monotonic()
        assert await rig.cluster.get(CHUNK) == DATA
        assert LoopClock().monotonic() - begun < 0.015
        assert not home.holds(CHUNK)
        await asyncio.sleep(0.1)
        assert home.holds(CHUNK)
        assert rig.cluster.repaired == 1
        owner.cancel()


@virtual
async def test_a_read_repairs_itself_when_nobody_else_does() -> None:
    rig, home = await damaged()
    assert await rig.cluster.get(CHUNK) == DATA
    assert home.holds(CHUNK)


@virtual
async def test_a_store_that_hangs_is_given_up() -> None:
    rig, home = await damaged()
    home.is_.hung = True
    repair = ReadRepair()
    await repair.repair(CHUNK, DATA, home.name, asked(home))
    assert LoopClock().monotonic() >= REPAIR_SECONDS_MAX
    assert (repair.repaired, repair.failed) == (0, 1)
    assert rig.cluster.repairs_failed == 0


@virtual
async def test_what_waits_is_bounded_and_known_once() -> None:
    store = FaultyStore("store", Random(0))  # noqa: S311  nothing here is a secret
    store.is_.seconds = 1.0
    repair = ReadRepair(bytes_max=len(DATA) * 2)
    async with asyncio.TaskGroup() as group:
        owner = group.create_task(repair.run())
        await asyncio.sleep(0)
        for number in (1, 1, 2, 3):
            await repair.repair(*chunk_of(number), "store", asked(store))
        assert repair.dropped == 1
        await asyncio.sleep(3)
        assert repair.repaired == 2
        await repair.repair(*chunk_of(3), "store", asked(store))  # there is room again
        await asyncio.sleep(3)
        assert repair.repaired == 3
        owner.cancel()


@virtual
async def test_an_owner_that_ends_may_have_a_successor() -> None:
    store = FaultyStore("store", Random(0))  # noqa: S311  nothing here is a secret
    repair = ReadRepair()
    for _ in range(2):
        async with asyncio.TaskGroup() as group:
            owner = group.create_task(repair.run())
            await asyncio.sleep(0)
            await repair.repair(CHUNK, DATA, "store", asked(store))
            owner.cancel()
    await repair.repair(CHUNK, DATA, "store", asked(store))
    assert repair.repaired == 1
