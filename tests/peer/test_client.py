"""A store of another server keeps every promise of a store, over real sockets."""

import pytest

from tests.contracts.chunk_store import ChunkStoreContract
from tests.peer.conftest import Reach, Server
from treescale.peer.client import PeerStore


class TestPeerStoreOnDisk(ChunkStoreContract):
    @pytest.fixture
    async def store(self, server: Server, reach: Reach) -> PeerStore:
        return reach(server.port).store("disk")


class TestPeerStoreInMemory(ChunkStoreContract):
    @pytest.fixture
    async def store(self, server: Server, reach: Reach) -> PeerStore:
        return reach(server.port).store("memory")
