"""Writing: acknowledged at the quorum of domains, soon, with every debt named."""

import asyncio

import pytest

from tests.chunks.faulty import Faulty, servers, zones
from tests.contracts.chunk_store import chunk_of
from tests.virtualtime import LoopClock, virtual
from treescale.chunks.replication.breaker import LATE_MAX
from treescale.chunks.replication.latency import LATE_SECONDS_MAX, REQUEST_SECONDS_MAX
from treescale.chunks.replication.store import STRAGGLER_SECONDS_MAX
from treescale.chunks.store import ReplicatingStore
from treescale.errors import Corrupt, NotEnoughStores, StoreFull

CHUNK, DATA = chunk_of(1)


@virtual
async def test_it_says_where_the_chunk_is() -> None:
    rig = Faulty(servers(4, 3))
    assert isinstance(rig.cluster, ReplicatingStore)
    placed = await rig.cluster.write(CHUNK, DATA)
    assert placed.stores == rig.table.homes(CHUNK)
    assert placed.owed == ()
    assert placed.layout == rig.table.layout.number
    assert await rig.holders(CHUNK) == set(placed.stores)


@virtual
async def test_homes_are_written_at_the_same_time() -> None:
    rig = Faulty(servers(3, 3))
    for store in rig.stores.values():
        store.is_.seconds = 0.3
    await rig.cluster.write(CHUNK, DATA)
    assert LoopClock().monotonic() == pytest.approx(0.3)


@virtual
async def test_a_straggler_gets_a_moment_and_then_is_owed() -> None:
    rig = Faulty(servers(3, 3))
    slow = rig.homes(CHUNK)[0]
    slow.is_.seconds = STRAGGLER_SECONDS_MAX - 0.1
    assert (await rig.cluster.write(CHUNK, DATA)).owed == ()
    slow.is_.seconds = STRAGGLER_SECONDS_MAX + 0.1
    begun = LoopClock().monotonic()
    chunk, data = chunk_of(2)
    placed = await rig.cluster.write(chunk, data)
    assert placed.owed == (slow.name,)
    assert LoopClock().monotonic() - begun == pytest.approx(STRAGGLER_SECONDS_MAX)
    assert slow.running == 0  # cancelled
    assert rig.cluster.figures[slow.name].late == 1


@virtual
async def test_a_failing_home_is_replaced_and_owed() -> None:
    rig = Faulty(servers(4, 3))
    away = rig.homes(CHUNK)[1]
    away.crash()
    placed = await rig.cluster.write(CHUNK, DATA)
    assert placed.owed == (away.name,)
    assert set(placed.stores) == rig.stores.keys() - {away.name}
    assert await rig.cluster.get(CHUNK) == DATA


@virtual
async def test_a_store_known_to_be_down_is_not_asked() -> None:
    rig = Faulty(servers(4, 3))
    away = rig.homes(CHUNK)[1]
    rig.health.down.add(away.name)
    placed = await rig.cluster.write(CHUNK, DATA)
    assert placed.owed == (away.name,)
    assert len(placed.stores) == 3
    assert away.asked == 0


@virtual
async def test_two_copies_in_one_zone_are_not_acknowledged() -> None:
    """Counting copies instead of domains would acknowledge this."""
    rig = Faulty(zones(3, (1,), (1, 1)))
    rig.stores["z0s0d0"].crash()
    with pytest.raises(NotEnoughStores, match="1 of 2 copies in different zones are possible"):
        await rig.cluster.write(CHUNK, DATA)


@virtual
async def test_below_the_quorum_it_is_refused_at_once() -> None:
    rig = Faulty(servers(3, 3))
    for store in rig.stores.values():
        store.is_.seconds = 1.0
    rig.health.down |= {"z0s0d0", "z0s1d0"}
    with pytest.raises(NotEnoughStores, match="store z0s1d0 is down"):
        await rig.cluster.write(CHUNK, DATA)
    assert LoopClock().monotonic() < 0.001
    assert set(rig.asked().values()) <= {0, 1}


@virtual
async def test_full_stores_are_why() -> None:
    rig = Faulty(servers(3, 3))
    for name in ("z0s0d0", "z0s1d0"):
        rig.stores[name].is_.full = True
    with pytest.raises(StoreFull):
        await rig.cluster.write(CHUNK, DATA)
    rig.stores["z0s0d0"].crash()
    with pytest.raises(NotEnoughStores):
        await rig.cluster.write(CHUNK, DATA)


@virtual
async def test_one_copy_needs_one_store() -> None:
    rig = Faulty(servers(3, 1))
    rig.health.down |= {"z0s0d0", "z0s1d0"}
    assert (await rig.cluster.write(CHUNK, DATA)).stores == ("z0s2d0",)


@virtual
async def test_a_hung_home_is_replaced_before_it_answers() -> None:
    rig = Faulty(servers(3, 2))
    hung = rig.homes(CHUNK)[0]
    hung.is_.hung = True
    placed = await rig.cluster.write(CHUNK, DATA)
    assert placed.owed == (hung.name,)
    assert LoopClock().monotonic() < LATE_SECONDS_MAX + STRAGGLER_SECONDS_MAX + 0.001


@virtual
async def test_a_store_that_hangs_delays_only_a_few() -> None:
    rig = Faulty(servers(4, 3))
    hung = rig.stores["z0s0d0"]
    hung.is_.hung = True
    for number in range(100):
        await rig.cluster.put(*chunk_of(number))
        await asyncio.sleep(0.01)
    assert LoopClock().monotonic() - 1.0 < (LATE_MAX + 2) * STRAGGLER_SECONDS_MAX
    hung.restart()
    await asyncio.sleep(30)
    await rig.cluster.put(*chunk_of(0))
    placed = [await rig.cluster.write(*chunk_of(number)) for number in range(100)]
    assert all(each.owed == () for each in placed)


@virtual
async def test_when_all_hang_it_ends() -> None:
    rig = Faulty(servers(3, 3))
    for store in rig.stores.values():
        store.is_.hung = True
    with pytest.raises(NotEnoughStores, match="did not answer in time"):
        await rig.cluster.write(CHUNK, DATA)
    assert LoopClock().monotonic() == pytest.approx(REQUEST_SECONDS_MAX)
    assert all(store.running == 0 for store in rig.stores.values())


@virtual
async def test_bytes_that_are_wrong_here_are_refused_at_once() -> None:
    rig = Faulty(servers(3, 3))
    with pytest.raises(Corrupt):
        await rig.cluster.write(CHUNK, DATA[::-1])
    assert await rig.holders(CHUNK) == set()


@virtual
async def test_bytes_that_went_bad_on_their_way_are_that_stores_trouble() -> None:
    rig = Faulty(servers(4, 3))
    home = rig.homes(CHUNK)[0]
    home.is_.garbles = True
    placed = await rig.cluster.write(CHUNK, DATA)
    assert placed.owed == (home.name,)
    assert len(placed.stores) == 3


@virtual
async def test_whoever_leaves_ends_the_requests() -> None:
    rig = Faulty(servers(3, 3))
    for store in rig.stores.values():
        store.is_.hung = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await rig.cluster.write(CHUNK, DATA)
    assert all(store.running == 0 for store in rig.stores.values())


@virtual
async def test_a_bug_in_a_store_is_raised_as_it_is() -> None:
    rig = Faulty(servers(3, 3))

    async def put(*_: object) -> None:
        raise ZeroDivisionError

    rig.stores["z0s0d0"].put = put  # type: ignore[method-assign,assignment]  # it is broken on purpose
    with pytest.raises(ZeroDivisionError):
        await rig.cluster.write(CHUNK, DATA)


@virtual
async def test_room_is_asked_of_those_who_answer() -> None:
    """Silence is no refusal: whether a store that is slow takes the chunk, the put will tell."""
    rig = Faulty(servers(4, 3))
    rig.stores["z0s0d0"].is_.hung = True
    rig.health.down.add("z0s1d0")
    await rig.cluster.check_space(1000)
    assert LoopClock().monotonic() < 1
    assert rig.stores["z0s1d0"].asked == 0
    rig.stores["z0s2d0"].is_.full = True
    await rig.cluster.check_space(1000)
    rig.stores["z0s0d0"].is_.hung, rig.stores["z0s0d0"].is_.full = False, True
    with pytest.raises(NotEnoughStores):
        await rig.cluster.check_space(1000)


@virtual
async def test_room_is_asked_of_a_store_in_doubt_when_it_is_needed() -> None:
    """Else nothing would be put there that could end the doubt."""
    rig = Faulty(servers(2, 2))
    for _ in range(LATE_MAX):
        rig.cluster.figures["z0s0d0"].give_up(LoopClock().monotonic())
    await rig.cluster.check_space(1000)
    assert rig.stores["z0s0d0"].asked == 1
    assert not rig.cluster.figures["z0s0d0"].breaker.is_open(LoopClock().monotonic())
