"""A store is asked so much at once, timed and counted; a failure is an answer."""

import asyncio
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.chunks.faulty import Faulty, servers
from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.fakes_store import FaultyStore
from tests.virtualtime import LoopClock, virtual
from treescale.chunks.replication.fanout import REQUESTS_AT_ONCE_MAX, StoreClient, StoreStats
from treescale.errors import ChunkUnknown, Corrupt, StoreFull

CHUNK, DATA = chunk_of(1)


def asked(at_once: int = 2) -> tuple[StoreClient, FaultyStore]:
    """Return a store, and who asks it."""
    store = FaultyStore("store", Random(0))  # noqa: S311  nothing here is a secret
    return StoreClient(store, StoreStats(), LoopClock(), at_once=at_once), store


@virtual
async def test_it_counts() -> None:
    client, store = asked()
    store.is_.seconds = 0.1
    assert await client.write(CHUNK, DATA) is None
    assert await client.read(CHUNK) == DATA
    assert isinstance(await client.read(ABSENT), ChunkUnknown)
    assert client.figures.errors == 0
    store.is_.rotten.add(CHUNK)
    assert isinstance(await client.read(CHUNK), Corrupt)
    store.is_.full = True
    assert isinstance(await client.write(CHUNK, DATA), StoreFull)
    figures = client.figures
    assert (figures.bytes_read, figures.bytes_written) == (len(DATA), len(DATA))
    assert (figures.errors, figures.in_flight) == (2, 0)
    assert figures.reads.mean(LoopClock().monotonic()) == pytest.approx(0.1, rel=0.1)
    assert figures.reads.service_seconds(LoopClock().monotonic()) == pytest.approx(0.1, rel=0.1)


@virtual
async def test_other_requests_are_neither_timed_nor_sized() -> None:
    client, store = asked()
    await client.write(CHUNK, DATA)
    store.is_.seconds = 1.0
    assert await client.ask(lambda: store.have([CHUNK, ABSENT])) == [True, False]
    assert isinstance(await client.ask(lambda: store.get(ABSENT)), ChunkUnknown)
    assert client.figures.reads.p95(LoopClock().monotonic()) is None
    assert (client.figures.bytes_read, client.figures.errors) == (0, 0)


@virtual
async def test_reads_that_share_the_store_took_their_turns() -> None:
    client, store = asked(at_once=4)
    await client.write(CHUNK, DATA)
    store.is_.seconds = 0.4
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(client.read(CHUNK))
    now = LoopClock().monotonic()
    assert client.figures.reads.mean(now) == pytest.approx(0.4, rel=0.01)
    assert 0.1 <= client.figures.reads.service_seconds(now) < 0.4


@virtual
async def test_so_many_at_once_and_the_rest_in_their_order() -> None:
    client, store = asked(at_once=2)
    store.is_.seconds = 1.0
    done: list[int] = []

    async def put(number: int) -> None:
        await client.write(*chunk_of(number))
        done.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(7):
            group.create_task(put(number))
        await asyncio.sleep(0.5)
        assert client.figures.in_flight == 7
    assert store.running_max == 2
    assert done == list(range(7))
    assert LoopClock().monotonic() == pytest.approx(4.0)


@virtual
async def test_a_hung_store_holds_up_nobody_else() -> None:
    rig = Faulty(servers(3, 2))
    hung = rig.stores["z0s0d0"]
    hung.is_.hung = True
    put = [chunk_of(number) for number in range(REQUESTS_AT_ONCE_MAX * 10)]
    async with asyncio.TaskGroup() as group:
        for chunk, data in put:
            group.create_task(rig.cluster.put(chunk, data))
    assert hung.running_max <= REQUESTS_AT_ONCE_MAX
    assert LoopClock().monotonic() < 5
    for chunk, data in put:
        assert await rig.cluster.get(chunk) == data
    assert LoopClock().monotonic() < 10
