"""Reading blobs: in order, ahead but not too far, and nothing left running."""

import asyncio

import pytest

from tests.tables import each_row
from treescale.chunks.format.recipe import Recipe
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import MemoryStore, chunk_id_of
from treescale.chunks.stream.reader import WINDOW_BYTES_MAX, BlobReader, ReadAhead
from treescale.errors import ChunkUnknown, Corrupt

DATA = [bytes([number]) * (number + 1) for number in range(10)]
RECIPE = Recipe(DEFAULT, tuple((chunk_id_of(data), len(data)) for data in DATA))
BLOB = b"".join(DATA)


class GatedStore(MemoryStore):
    """Counts what is being fetched; a fetch waits until its chunk's gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = {chunk_id_of(data): asyncio.Event() for data in DATA}
        self.fetching: list[bytes] = []
        self.fetched = 0

    async def get(self, chunk: bytes) -> bytes:
        self.fetched += 1
        self.fetching.append(chunk)
        try:
            await self.gates[chunk].wait()
            return await super().get(chunk)
        finally:
            self.fetching.remove(chunk)

    def open_all(self) -> None:
        for gate in self.gates.values():
            gate.set()


@pytest.fixture
async def store() -> GatedStore:
    store = GatedStore()
    for data in DATA:
        await store.put(chunk_id_of(data), data)
    return store


async def read(store: MemoryStore, first: int, last: int, window: int = 4) -> bytes:
    async with BlobReader(store, RECIPE, first, last, window_chunks=window) as reader:
        return b"".join([bytes(piece) async for piece in reader])


@each_row("window", [1, 3, 100])
@each_row(("first", "last"), [(0, 54), (0, 0), (54, 54), (5, 30), (0, 999), (7, 6)])
async def test_any_part_is_read(store: GatedStore, first: int, last: int, window: int) -> None:
    store.open_all()
    assert await read(store, first, last, window) == BLOB[first : last + 1]


async def test_an_empty_blob_has_no_pieces(store: GatedStore) -> None:
    async with BlobReader(store, Recipe(DEFAULT, ()), 0, -1) as reader:
        assert [piece async for piece in reader] == []


async def test_chunks_that_come_out_of_order_are_handed_out_in_order(store: GatedStore) -> None:
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read(store, 0, 54, window=10))
        for gate in reversed(store.gates.values()):
            await asyncio.sleep(0)
            gate.set()
    assert reading.result() == BLOB


async def test_only_the_window_is_fetched_ahead(store: GatedStore) -> None:
    store.open_all()
    async with BlobReader(store, RECIPE, 0, 54, window_chunks=3) as reader:
        for done in range(4):
            for _ in range(20):
                await asyncio.sleep(0)
            assert store.fetched == 3 + max(done - 1, 0)
            await anext(reader)


async def test_leaving_early_ends_all_fetching(store: GatedStore) -> None:
    async with BlobReader(store, RECIPE, 0, 54):
        await asyncio.sleep(0)
        assert len(store.fetching) == 4
    assert store.fetching == []
    assert len(asyncio.all_tasks()) == 1


async def test_cancelling_the_reader_ends_all_fetching(store: GatedStore) -> None:
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(read(store, 0, 54))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(store.fetching) == 4
        reading.cancel()
    assert reading.cancelled()
    assert store.fetching == []


async def test_the_window_is_bounded_in_bytes_as_well(store: GatedStore) -> None:
    """The first chunks have 1, 2, 3 and 4 bytes."""
    for window_bytes, fetched in ((3, 2), (1, 1), (1000, 4)):
        async with BlobReader(store, RECIPE, 0, 54, window_bytes=window_bytes):
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(store.fetching) == fetched
    store.open_all()
    async with BlobReader(store, RECIPE, 0, 54, window_bytes=1) as reader:
        assert b"".join([bytes(piece) async for piece in reader]) == b"".join(DATA)[:55]


async def test_an_error_is_raised_at_its_piece_and_not_before(store: GatedStore) -> None:
    store.open_all()
    await store.delete(chunk_id_of(DATA[2]))
    async with BlobReader(store, RECIPE, 0, 54) as reader:
        for _ in range(20):
            await asyncio.sleep(0)
        assert bytes(await anext(reader)) == DATA[0]
        assert bytes(await anext(reader)) == DATA[1]
        with pytest.raises(ChunkUnknown):
            await anext(reader)


async def test_an_error_leaves_the_context_unwrapped(store: GatedStore) -> None:
    store.open_all()
    await store.delete(chunk_id_of(DATA[3]))
    with pytest.raises(ChunkUnknown):
        await read(store, 0, 54)


async def test_the_readers_own_error_leaves_the_context_unwrapped(store: GatedStore) -> None:
    with pytest.raises(KeyError):
        async with BlobReader(store, RECIPE, 0, 54):
            raise KeyError


async def test_a_recipe_that_lies_about_a_length_is_corrupt(store: GatedStore) -> None:
    store.open_all()
    lying = Recipe(DEFAULT, ((chunk_id_of(DATA[5]), len(DATA[5]) - 1),))
    async with BlobReader(store, lying, 0, 99) as reader:
        with pytest.raises(Corrupt):
            await anext(reader)


def test_readers_share_what_is_fetched_ahead() -> None:
    ahead = ReadAhead(10 * WINDOW_BYTES_MAX)
    shares = []
    for _ in range(20):
        ahead.enter()
        shares.append(ahead.share(6 * WINDOW_BYTES_MAX) / WINDOW_BYTES_MAX)
    assert shares[0] == 6  # all that was wanted
    assert shares[1] == 5
    assert shares[9:] == [1] * 11  # never less
    ahead.leave()
    assert ahead.share(WINDOW_BYTES_MAX // 2) == WINDOW_BYTES_MAX // 2


async def test_a_reader_counts_while_it_reads(store: GatedStore) -> None:
    store.open_all()
    ahead = ReadAhead(2 * WINDOW_BYTES_MAX)
    wanted = 2 * WINDOW_BYTES_MAX
    async with BlobReader(store, RECIPE, 0, 54, ahead=ahead):
        ahead.enter()
        assert ahead.share(wanted) == WINDOW_BYTES_MAX
    assert ahead.share(wanted) == wanted
