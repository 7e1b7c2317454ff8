"""A watched store keeps every promise of the one inside, counts, and lets so many in at once."""

import asyncio
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.chunks.faulty import Faulty, servers
from tests.contracts.chunk_store import ABSENT, ChunkStoreContract, chunk_of
from tests.fakes_store import FaultyStore
from tests.virtualtime import LoopClock, virtual
from treescale.chunks.store import MemoryStore
from treescale.chunks.watched import StoreFigures, WatchedStore, requests_at_once_max
from treescale.clock import SystemClock
from treescale.errors import ChunkUnknown, Corrupt, StoreFull

CHUNK, DATA = chunk_of(1)


class TestWatchedStore(ChunkStoreContract):
    @pytest.fixture
    def store(self) -> WatchedStore:
        return WatchedStore(MemoryStore(), StoreFigures(), SystemClock())


def watched(at_once: int = 2) -> tuple[WatchedStore, FaultyStore]:
    inner = FaultyStore("store", Random(0))  # noqa: S311  nothing here is a secret
    return WatchedStore(inner, StoreFigures(), LoopClock(), at_once=at_once), inner


@virtual
async def test_it_counts() -> None:
    store, inner = watched()
    inner.is_.seconds = 0.1
    await store.put(CHUNK, DATA)
    await store.get(CHUNK)
    with pytest.raises(ChunkUnknown):
        await store.get(ABSENT)
    assert store.figures.errors == 0
    inner.is_.rotten.add(CHUNK)
    with pytest.raises(Corrupt):
        await store.get(CHUNK)
    inner.is_.full = True
    with pytest.raises(StoreFull):
        await store.put(CHUNK, DATA)
    figures = store.figures
    assert (figures.bytes_read, figures.bytes_written) == (len(DATA), len(DATA))
    assert (figures.errors, figures.in_flight) == (2, 0)
    assert figures.reads.mean(LoopClock().monotonic()) == pytest.approx(0.1, rel=0.1)
    assert figures.reads.turn(LoopClock().monotonic()) == pytest.approx(0.1, rel=0.1)


@virtual
async def test_reads_that_share_the_store_took_their_turns() -> None:
    store, inner = watched(at_once=4)
    await store.put(CHUNK, DATA)
    inner.is_.seconds = 0.4
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(store.get(CHUNK))
    now = LoopClock().monotonic()
    assert store.figures.reads.mean(now) == pytest.approx(0.4, rel=0.01)
    assert 0.1 <= store.figures.reads.turn(now) < 0.4


@virtual
async def test_so_many_at_once_and_the_rest_in_their_order() -> None:
    store, inner = watched(at_once=2)
    inner.is_.seconds = 1.0
    done: list[int] = []

    async def put(number: int) -> None:
        await store.put(*chunk_of(number))
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(7):
            group.create_task(put(number))
        await asyncio.sleep(0.5)
        assert store.figures.in_flight == 7
    assert inner.running_max == 2
    assert done == list(range(7))
    assert LoopClock().monotonic() == pytest.approx(4.0)


@virtual
async def test_a_hung_store_holds_up_nobody_else() -> None:
    rig = Faulty(servers(3, 2))
    hung = rig.stores["z0s0d0"]
    hung.is_.hung = True
    put = [chunk_of(number) for number in range(requests_at_once_max * 10)]
    async with asyncio.TaskGroup() as group:
        for chunk, data in put:
            group.create_task(rig.cluster.put(chunk, data))
    assert hung.running_max <= requests_at_once_max
    assert LoopClock().monotonic() < 5
    for chunk, data in put:
        assert await rig.cluster.get(chunk) == data
    assert LoopClock().monotonic() < 10
