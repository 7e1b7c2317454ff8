"""The memory store keeps the promise of ChunkStore."""

import pytest

from tests.contracts.chunk_store import ChunkStoreContract
from treescale.chunks.store import MemoryStore


class TestMemoryStore(ChunkStoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()
