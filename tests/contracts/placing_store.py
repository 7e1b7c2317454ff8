"""What every ReplicatingStore promises beside ChunkStore; `store` may have any number of stores."""

import pytest

from tests.contracts.chunk_store import chunk_of
from treescale.chunks.store import ChunkStore, ReplicatingStore
from treescale.errors import Corrupt


class PlacingStoreContract:
    """The promise."""

    async def test_what_was_placed_is_there(self, store: ChunkStore) -> None:
        assert isinstance(store, ReplicatingStore)
        chunk, data = chunk_of(1)
        placed = await store.write(chunk, data)
        assert placed.stores
        assert not set(placed.stores) & set(placed.owed)
        assert await store.get(chunk) == data

    async def test_placing_twice_is_placing_once(self, store: ChunkStore) -> None:
        assert isinstance(store, ReplicatingStore)
        chunk, data = chunk_of(1)
        assert await store.write(chunk, data) == await store.write(chunk, data)

    async def test_wrong_bytes_are_placed_nowhere(self, store: ChunkStore) -> None:
        assert isinstance(store, ReplicatingStore)
        chunk, data = chunk_of(1)
        with pytest.raises(Corrupt):
            await store.write(chunk, data[::-1])
        assert await store.have([chunk]) == [False]
