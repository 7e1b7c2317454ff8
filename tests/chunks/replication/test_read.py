"""Reading: the best copy first, another when it is late, all of them before giving up."""

import asyncio
from collections.abc import Sequence
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.chunks.faulty import Faulty, servers
from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.fakes_store import FaultyStore
from tests.virtualtime import LoopClock, virtual
from treescale.chunks.replication.breaker import LATE_MAX
from treescale.chunks.replication.hedge import (
    HEDGE_PERCENT_MAX,
    HEDGE_SECONDS_MIN,
    HEDGE_SECONDS_UNKNOWN,
    HEDGES_SAVED_MAX,
)
from treescale.chunks.replication.latency import LATE_SECONDS_MAX, REQUEST_SECONDS_MAX
from treescale.chunks.replication.read import DOWN_SECONDS_MAX, LOOKUP_SECONDS_MAX
from treescale.chunks.replication.scheduler import READS_AT_ONCE_MAX
from treescale.chunks.store import ChunkStore
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    DatabaseUnavailable,
    NotEnoughStores,
    Unreachable,
)

CHUNK, DATA = chunk_of(1)


class ToldHandoffs:
    """Handoffs as a test tells them."""

    def __init__(self, *names: str, error: Exception | None = None, seconds: float = 0) -> None:
        self.names = names
        self.error = error
        self.seconds = seconds

    async def holders(self, chunk: bytes) -> Sequence[str]:
        assert chunk == CHUNK
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self.names


async def seconds_to_read(rig: Faulty) -> float:
    begun = LoopClock().monotonic()
    assert await rig.cluster.get(CHUNK) == DATA
    return LoopClock().monotonic() - begun


async def filled(copies: int = 3, count: int = 3) -> Faulty:
    rig = Faulty(servers(count, copies))
    await rig.cluster.put(CHUNK, DATA)
    return rig


@virtual
async def test_one_store_is_asked_when_it_answers() -> None:
    rig = await filled()
    before = sum(rig.asked().values())
    await rig.cluster.get(CHUNK)
    assert sum(rig.asked().values()) == before + 1


@virtual
async def test_local_copies_first() -> None:
    rig = await filled()
    local = rig.homes(CHUNK)[2]
    rig.health.local.add(local.name)
    before = local.asked
    for _ in range(10):
        await rig.cluster.get(CHUNK)
    assert local.asked == before + 10


@virtual
async def test_a_late_copy_is_overtaken_by_another() -> None:
    rig = await filled()
    slow = rig.homes(CHUNK)[0]
    slow.is_.seconds = 1.0
    assert await seconds_to_read(rig) == pytest.approx(HEDGE_SECONDS_UNKNOWN, abs=0.001)
    assert slow.running == 0  # cancelled
    assert (rig.cluster.hedging.hedged, rig.cluster.hedging.won) == (1, 1)
    # And it is known to be slow from now on.
    assert await seconds_to_read(rig) < 0.001
    assert rig.cluster.hedging.hedged == 1


@virtual
async def test_the_first_may_still_win() -> None:
    rig = await filled()
    first, second, _ = rig.homes(CHUNK)
    first.is_.seconds, second.is_.seconds = HEDGE_SECONDS_UNKNOWN + 0.005, 1.0
    assert await seconds_to_read(rig) == pytest.approx(HEDGE_SECONDS_UNKNOWN + 0.005)
    assert (rig.cluster.hedging.hedged, rig.cluster.hedging.won) == (1, 0)
    assert second.running == 0


@virtual
async def test_hedges_are_few_when_all_are_slow() -> None:
    rig = await filled()
    for store in rig.stores.values():
        store.is_.seconds = 2 * HEDGE_SECONDS_UNKNOWN
    rounds = 400
    for _ in range(rounds):
        await asyncio.sleep(61)  # the percentiles are forgotten: each read would be hedged
        await rig.cluster.get(CHUNK)
    allowed = HEDGES_SAVED_MAX + rounds * HEDGE_PERCENT_MAX / 100
    assert HEDGES_SAVED_MAX < rig.cluster.hedging.hedged <= allowed


@virtual
async def test_one_copy_is_never_hedged() -> None:
    rig = await filled(copies=1)
    rig.homes(CHUNK)[0].is_.seconds = 1.0
    before = sum(rig.asked().values())
    assert await seconds_to_read(rig) == pytest.approx(1.0)
    assert sum(rig.asked().values()) == before + 1


@virtual
async def test_a_hung_copy_is_left_behind_also_without_a_hedge() -> None:
    rig = await filled()
    while rig.cluster.hedging.budget.take():
        pass
    hung = rig.homes(CHUNK)[0]
    hung.is_.hung = True
    assert await seconds_to_read(rig) == pytest.approx(LATE_SECONDS_MAX)
    assert rig.cluster.figures[hung.name].late == 1


@virtual
async def test_a_late_answer_still_counts() -> None:
    rig = await filled(copies=1)
    home = rig.homes(CHUNK)[0]
    home.is_.seconds = LATE_SECONDS_MAX + 1
    assert await seconds_to_read(rig) == pytest.approx(LATE_SECONDS_MAX + 1)


@virtual
async def test_a_store_that_hung_a_few_times_is_asked_last() -> None:
    rig = await filled(copies=2)
    first, second = rig.homes(CHUNK)
    first.is_.hung = True
    for _ in range(LATE_MAX):
        rig.cluster.figures[first.name].give_up(LoopClock().monotonic())
    before = first.asked
    for _ in range(10):
        await rig.cluster.get(CHUNK)
    assert first.asked == before
    second.crash()  # now it is asked all the same
    with pytest.raises(NotEnoughStores):
        await rig.cluster.get(CHUNK)
    assert first.asked == before + 1


@virtual
async def test_when_all_are_told_down_they_are_asked_all_the_same() -> None:
    """Refusing without asking would fail here."""
    rig = await filled()
    rig.health.down |= rig.stores.keys()
    assert await rig.cluster.get(CHUNK) == DATA


class Remote(FaultyStore):
    """A store of another server: it gives up soon, and while that is `gone` is not even asked."""

    def __init__(self, store: FaultyStore) -> None:
        super().__init__(store.name, Random(0))  # noqa: S311  nothing here is a secret
        self.inner = store.inner
        self.gone = False
        self.patience = LATE_SECONDS_MAX
        self.insisted: list[float] = []

    async def get(self, chunk: bytes) -> bytes:
        if self.gone:
            raise Unreachable(f"server of {self.name} is down")
        return await self._within(self.patience, chunk)

    async def get_last_resort(self, chunk: bytes, seconds: float) -> bytes:
        self.insisted.append(seconds)
        return await self._within(seconds, chunk)

    async def _within(self, seconds: float, chunk: bytes) -> bytes:
        try:
            async with asyncio.timeout(seconds):
                return await super().get(chunk)
        except TimeoutError:
            raise Unreachable(f"{self.name} did not answer") from None


def remote(rig: Faulty, *names: str) -> list[Remote]:
    """Have these stores on other servers."""
    found = [Remote(rig.stores[name]) for name in names]
    stores: dict[str, ChunkStore] = {**rig.stores, **{each.name: each for each in found}}
    rig.cluster.use_layout(rig.table, [], stores)
    return found


@virtual
async def test_when_all_copies_are_held_to_be_down_they_are_tried_anyway() -> None:
    """Without insisting, each would say that it is down, and nobody would be asked."""
    rig = await filled(copies=2, count=4)
    homes = remote(rig, *rig.table.homes(CHUNK))
    for home in homes:
        home.gone = True
        rig.health.down.add(home.name)
    assert await seconds_to_read(rig) < 0.001
    assert [home.insisted for home in homes] == [[pytest.approx(DOWN_SECONDS_MAX)]] * 2
    for home in homes:
        home.is_.hung = True
    begun = LoopClock().monotonic()
    with pytest.raises(NotEnoughStores, match="did not answer"):
        await rig.cluster.get(CHUNK)
    assert LoopClock().monotonic() - begun == pytest.approx(DOWN_SECONDS_MAX)
    assert [home.running for home in homes] == [0, 0]


@virtual
async def test_nobody_is_insisted_upon_while_another_has_a_copy() -> None:
    rig = await filled(copies=2, count=4)
    (first, second) = remote(rig, *rig.table.homes(CHUNK))
    first.gone = True
    assert await rig.cluster.get(CHUNK) == DATA
    second.gone = True
    for name in rig.table.preference(CHUNK)[2:3]:
        await rig.stores[name].put(CHUNK, DATA)
    assert await rig.cluster.get(CHUNK) == DATA
    assert first.insisted == second.insisted == []


@virtual
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("patience", [LATE_SECONDS_MAX - 0.1, LATE_SECONDS_MAX + 0.1])
async def test_the_last_copy_is_waited_for_though_its_server_is_slow(
    count: int, patience: float
) -> None:
    """Without insisting the read would fail after two seconds, whoever loses patience first."""
    rig = await filled(copies=1, count=count)
    (home,) = remote(rig, *rig.table.homes(CHUNK))
    home.patience = patience
    home.is_.seconds = slow = LATE_SECONDS_MAX + 3
    assert await seconds_to_read(rig) == pytest.approx(patience + slow)
    assert len(home.insisted) == 1
    home.is_.hung = True
    begun = LoopClock().monotonic()
    with pytest.raises(NotEnoughStores):
        await rig.cluster.get(CHUNK)
    assert LoopClock().monotonic() - begun == pytest.approx(REQUEST_SECONDS_MAX)


@virtual
async def test_who_said_that_it_has_no_copy_is_not_asked_again() -> None:
    rig = await filled(copies=2, count=3)
    homes = remote(rig, *rig.table.homes(CHUNK))
    homes[0].wipe()
    homes[1].is_.rotten.add(CHUNK)
    with pytest.raises(Corrupt):
        await rig.cluster.get(CHUNK)
    assert [home.insisted for home in homes] == [[], []]


@virtual
async def test_down_stores_are_asked_after_all_others() -> None:
    rig = Faulty(servers(5, 2))
    names = rig.table.preference(CHUNK)
    await rig.stores[names[4]].put(CHUNK, DATA)
    down = rig.homes(CHUNK)[0]
    rig.health.down.add(down.name)
    before = down.asked
    assert await rig.cluster.get(CHUNK) == DATA
    assert down.asked == before


@virtual
async def test_when_all_hang_it_ends() -> None:
    rig = await filled()
    for store in rig.stores.values():
        store.is_.hung = True
    with pytest.raises(NotEnoughStores, match="did not answer in time"):
        await rig.cluster.get(CHUNK)
    assert LoopClock().monotonic() == pytest.approx(REQUEST_SECONDS_MAX)
    assert all(store.running == 0 for store in rig.stores.values())


@virtual
async def test_old_homes_are_asked_before_handoffs() -> None:
    old, new = servers(3, 1, number=1), servers(6, 1, number=2)
    rig = Faulty(new, older=[old])
    (home,) = old.homes(CHUNK)
    await rig.stores[home].put(CHUNK, DATA)
    before = sum(rig.asked().values())
    assert await rig.cluster.get(CHUNK) == DATA
    reads = sum(rig.asked().values()) - before
    assert reads <= 3  # the new home, the old one, and the repair of the new one
    assert await rig.holders(CHUNK) == {home, *new.homes(CHUNK)}


@virtual
async def test_old_homes_are_not_asked_because_they_are_idle() -> None:
    old, new = servers(3, 2, number=1), servers(6, 2, number=2)
    rig = Faulty(new, older=[old], seed=1)
    moved = [x for x in map(chunk_of, range(100)) if not {*old.homes(x[0])} & {*new.homes(x[0])}]
    for store in rig.stores.values():
        store.is_.seconds = HEDGE_SECONDS_MIN / 10
    await asyncio.gather(*[rig.cluster.put(chunk, data) for chunk, data in moved])
    before = sum(rig.asked().values())
    assert len(moved) > len(rig.stores) * READS_AT_ONCE_MAX  # nobody is idle
    found = await asyncio.gather(*[rig.cluster.get(chunk) for chunk, _ in moved])
    assert found == [data for _, data in moved]
    assert sum(rig.asked().values()) == before + len(moved)


@virtual
async def test_bytes_that_mend_another_copy_are_read_once() -> None:
    rig = await filled(copies=2)
    lacking = rig.homes(CHUNK)[0]
    await lacking.delete(CHUNK)
    before = sum(rig.asked().values())
    assert await rig.cluster.open_verified(CHUNK) == DATA
    assert sum(rig.asked().values()) == before + 3  # the first, the second, and the repair
    assert lacking.holds(CHUNK)


@virtual
async def test_a_known_handoff_is_asked_before_the_rest() -> None:
    table = servers(6, 2)
    last = table.preference(CHUNK)[-1]
    rig = Faulty(table, handoffs=ToldHandoffs("gone", last, table.homes(CHUNK)[0], last))
    await rig.stores[last].put(CHUNK, DATA)
    rig.health.down |= set(table.homes(CHUNK))
    assert await rig.cluster.get(CHUNK) == DATA
    assert sum(rig.asked().values()) == 2


@pytest.mark.parametrize(
    "handoffs", [ToldHandoffs(error=DatabaseUnavailable("gone")), ToldHandoffs(seconds=1000)]
)
@virtual
async def test_without_the_hint_all_are_asked(handoffs: ToldHandoffs) -> None:
    table = servers(6, 2)
    rig = Faulty(table, handoffs=handoffs)
    await rig.stores[table.preference(CHUNK)[-1]].put(CHUNK, DATA)
    assert await seconds_to_read(rig) < LOOKUP_SECONDS_MAX + 0.001


@virtual
async def test_a_chunk_is_unknown_only_when_enough_stores_said_so() -> None:
    rig = Faulty(servers(5, 3))
    with pytest.raises(ChunkUnknown):
        await rig.cluster.get(ABSENT)
    rig.stores["z0s0d0"].crash()
    with pytest.raises(ChunkUnknown):
        await rig.cluster.get(ABSENT)
    rig.stores["z0s1d0"].is_.hung = True
    with pytest.raises(NotEnoughStores):
        await rig.cluster.get(ABSENT)


@virtual
async def test_stores_there_was_no_time_to_ask_have_not_said_so() -> None:
    rig = Faulty(servers(20, 3))
    for store in rig.stores.values():
        store.is_.seconds = LATE_SECONDS_MAX - 0.1
    with pytest.raises(NotEnoughStores, match="no time to ask"):
        await rig.cluster.get(ABSENT)
    assert LoopClock().monotonic() == pytest.approx(REQUEST_SECONDS_MAX)


@virtual
async def test_what_an_older_layout_acknowledged_with_one_copy_counts() -> None:
    old, new = servers(3, 1, number=1), servers(3, 2, number=2)
    rig = Faulty(new, older=[old])
    rig.stores["z0s0d0"].crash()
    with pytest.raises(NotEnoughStores):
        await rig.cluster.get(ABSENT)


@virtual
async def test_only_rotten_copies_are_said_to_be_so() -> None:
    rig = await filled()
    for store in rig.stores.values():
        store.is_.rotten.add(CHUNK)
    with pytest.raises(Corrupt):
        await rig.cluster.get(CHUNK)


@virtual
async def test_a_change_of_layout_leaves_calls_in_flight_alone() -> None:
    rig = await filled(copies=2)
    for store in rig.stores.values():
        store.is_.seconds = 0.01
    other = servers(6, 2, number=2)
    more = {name: rig.new_store(name) for name in other.orders[0] if name not in rig.stores}
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(rig.cluster.get(CHUNK))
        writing = group.create_task(rig.cluster.write(*chunk_of(2)))
        await asyncio.sleep(0.001)
        rig.cluster.use_layout(other, [rig.table], more | rig.stores)
        after = group.create_task(rig.cluster.write(*chunk_of(2)))
    assert reading.result() == DATA
    assert writing.result().layout == 1
    assert writing.result().stores == rig.table.homes(chunk_of(2)[0])
    assert after.result().layout == 2
    assert after.result().stores == other.homes(chunk_of(2)[0])
    rig.cluster.use_layout(other, [], more | rig.stores)
    assert await rig.cluster.get(CHUNK) == DATA


@virtual
async def test_figures_stay_when_the_way_to_a_store_changes() -> None:
    rig = await filled()
    name = rig.homes(CHUNK)[0].name
    before = rig.cluster.figures[name]
    assert before.bytes_written == len(DATA)
    rig.cluster.use_layout(rig.table, [], rig.stores | {name: rig.new_store(name)})
    assert rig.cluster.figures[name] is before
    assert rig.cluster.repaired == 0


@virtual
async def test_who_waits_for_a_hung_store_ends_in_time() -> None:
    """Seed 72 of the simulation: two reads hung, and the third waited for them, then for itself."""
    rig = await filled(copies=1)
    rig.homes(CHUNK)[0].is_.hung = True
    begun = LoopClock().monotonic()

    async def read() -> None:
        with pytest.raises(NotEnoughStores):
            await rig.cluster.get(CHUNK)

    async with asyncio.TaskGroup() as group:
        for _ in range(READS_AT_ONCE_MAX + 1):
            group.create_task(read())
    assert LoopClock().monotonic() - begun < REQUEST_SECONDS_MAX + 0.1


@virtual
async def test_who_lacks_chunks_takes_turns_at_the_others_and_nothing_is_put_back() -> None:
    """A walk asks for many at once; each server sends it a few at a time, and all send."""
    rig = Faulty(servers(3, 3))
    chunks = dict(chunk_of(number) for number in range(1, 17))
    for chunk, data in chunks.items():
        await rig.cluster.put(chunk, data)
    lacking, *others = rig.stores.values()
    lacking.wipe()
    before = lacking.asked
    for store in rig.stores.values():
        store.is_.seconds = 0.01
        store.running_max = 0
    reads = [rig.cluster.fetch(chunk, lacking.name) for chunk in chunks]
    assert await asyncio.gather(*reads) == list(chunks.values())
    assert [store.running_max for store in others] == [READS_AT_ONCE_MAX] * 2
    assert lacking.asked == before
    assert not any(map(lacking.holds, chunks))


@virtual
async def test_a_bad_copy_that_is_met_is_replaced_for_a_store_that_lacks_it_too() -> None:
    rig = Faulty(servers(3, 3))
    await rig.cluster.put(CHUNK, DATA)
    lacking, bad, _ = rig.homes(CHUNK)  # in the order in which they are asked
    lacking.wipe()
    bad.is_.rotten.add(CHUNK)
    assert await rig.cluster.fetch(CHUNK, lacking.name) == DATA
    assert bad.holds(CHUNK)
    assert not lacking.holds(CHUNK)


@virtual
async def test_a_push_that_was_quicker_than_the_walk_is_found() -> None:
    rig = await filled(copies=1)
    (home,) = rig.homes(CHUNK)
    assert await rig.cluster.fetch(CHUNK, home.name) == DATA
