"""What every ChunkStore promises. A subclass brings one fixture, `store`, and changes nothing."""

import asyncio
from itertools import islice

import pytest

from tests.tables import each_row
from treescale.chunks.store import ChunkStore, chunk_id_of, partition_of
from treescale.errors import ChunkUnknown, Corrupt

ABSENT = chunk_id_of(b"never put")


def chunk_of(number: int, size: int = 100) -> tuple[bytes, bytes]:
    """Return a chunk id and its bytes, different for each number."""
    data = (b"%d." % number * size)[:size]
    return chunk_id_of(data), data


async def listed(store: ChunkStore, partitions: list[int] | None = None) -> list[bytes]:
    """Return the whole list, sorted, so that a chunk listed twice is seen."""
    return sorted([chunk async for chunk in store.list(partitions)])


class ChunkStoreContract:
    """The promise."""

    @each_row("size", [0, 1, 4096, 1_000_003, 4 * 1024 * 1024])
    async def test_what_was_put_comes_back(self, store: ChunkStore, size: int) -> None:
        chunk, data = chunk_of(7, size)
        await store.put(chunk, data)
        assert await store.get(chunk) == data

    @each_row("kind", [bytes, bytearray, memoryview])
    async def test_any_buffer_can_be_put(self, store: ChunkStore, kind: type) -> None:
        chunk, data = chunk_of(1)
        await store.put(chunk, kind(data))
        found = await store.get(chunk)
        assert isinstance(found, bytes)
        assert found == data

    async def test_the_store_does_not_follow_the_buffer(self, store: ChunkStore) -> None:
        chunk, data = chunk_of(1)
        buffer = bytearray(data)
        await store.put(chunk, buffer)
        buffer[:] = bytes(len(buffer))
        assert await store.get(chunk) == data

    async def test_what_is_not_there_is_unknown(self, store: ChunkStore) -> None:
        with pytest.raises(ChunkUnknown):
            await store.get(ABSENT)

    async def test_wrong_bytes_are_refused_and_nothing_is_left_behind(
        self, store: ChunkStore
    ) -> None:
        chunk, data = chunk_of(1)
        for wrong in (b"", data[:-1], data + b"x", data[::-1]):
            with pytest.raises(Corrupt):
                await store.put(chunk, wrong)
        assert await store.have([chunk]) == [False]
        assert await listed(store) == []
        with pytest.raises(ChunkUnknown):
            await store.get(chunk)

    async def test_wrong_bytes_do_not_replace_the_right_ones(self, store: ChunkStore) -> None:
        chunk, data = chunk_of(1)
        await store.put(chunk, data)
        with pytest.raises(Corrupt):
            await store.put(chunk, data[::-1])
        assert await store.get(chunk) == data

    async def test_put_twice_is_put_once(self, store: ChunkStore) -> None:
        chunk, data = chunk_of(1)
        await store.put(chunk, data)
        await store.put(chunk, data)
        assert await listed(store) == [chunk]

    async def test_many_puts_of_one_chunk_at_once(self, store: ChunkStore) -> None:
        chunk, data = chunk_of(1, 100_000)
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(store.put(chunk, data))
        assert await listed(store) == [chunk]
        assert await store.get(chunk) == data

    async def test_a_wrong_put_at_the_same_time_does_not_fail_the_right_one(
        self, store: ChunkStore
    ) -> None:
        chunk, data = chunk_of(1)
        outcomes = await asyncio.gather(
            store.put(chunk, data[::-1]),
            store.put(chunk, data),
            store.put(chunk, data[::-1]),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [Corrupt, type(None), Corrupt]
        assert await store.get(chunk) == data

    async def test_have_answers_in_order(self, store: ChunkStore) -> None:
        chunk, data = chunk_of(1)
        await store.put(chunk, data)
        assert await store.have([ABSENT, chunk, ABSENT, chunk]) == [False, True, False, True]
        assert await store.have([]) == []

    async def test_the_list_is_of_the_partitions_asked_for(self, store: ChunkStore) -> None:
        chunks = [chunk_of(number) for number in range(20)]
        for chunk, data in chunks:
            await store.put(chunk, data)
        ids = sorted(chunk for chunk, _ in chunks)
        wanted = sorted({partition_of(chunk) for chunk in ids[:7]})
        assert await listed(store) == ids
        assert await listed(store, []) == []
        assert await listed(store, wanted) == [x for x in ids if partition_of(x) in wanted]

    async def test_the_list_has_each_chunk_once_while_others_are_written(
        self, store: ChunkStore
    ) -> None:
        before = [chunk_of(number) for number in range(20)]
        for chunk, data in before:
            await store.put(chunk, data)
        found = []
        more = iter(range(100, 200))
        async for chunk in store.list():
            found.append(chunk)
            for number in islice(more, 2):
                await store.put(*chunk_of(number))
            await store.put(*before[0])
        assert len(found) == len(set(found))
        assert {chunk for chunk, _ in before} <= set(found)

    async def test_a_cancelled_put_leaves_nothing_half_written(self, store: ChunkStore) -> None:
        put = []
        for turns in range(6):
            chunk, data = chunk_of(turns, 300_000)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(store.put(chunk, data))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            if (await store.have([chunk])) == [True]:
                assert await store.get(chunk) == data, turns
            await store.put(chunk, data)
            assert await store.get(chunk) == data, turns
            put.append(chunk)
        assert sorted(await listed(store)) == sorted(put)

    async def test_there_is_room_for_a_little(self, store: ChunkStore) -> None:
        await store.check_space(0)
        await store.check_space(1000)
