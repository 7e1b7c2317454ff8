"""A store of another server keeps every promise of a store, over real sockets."""

import pytest

from tests.contracts.chunk_store import ChunkStoreContract
from tests.fakes_disk import JumpingClock
from tests.peer.conftest import Reach, Server
from treescale.chunks.disk.store import ROOMY_BYTES_MIN, ROOMY_SECONDS_MAX
from treescale.chunks.store import MemoryStore
from treescale.errors import StoreFull
from treescale.peer.store import TIGHT_SECONDS_MAX, PeerStore


class TestPeerStoreOnDisk(ChunkStoreContract):
    @pytest.fixture
    async def store(self, server: Server, reach: Reach) -> PeerStore:
        return reach(server.port).store("disk")


class TestPeerStoreInMemory(ChunkStoreContract):
    @pytest.fixture
    async def store(self, server: Server, reach: Reach) -> PeerStore:
        return reach(server.port).store("memory")


class Room(MemoryStore):
    """A store with so much room, which counts who asks for it."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.asked: list[int] = []

    async def check_space(self, size: int) -> None:
        self.asked.append(size)
        if size > self.room:
            raise StoreFull(f"{size} is more than {self.room}")


async def test_room_is_asked_for_once_in_a_while_when_there_is_much(
    server: Server, reach: Reach, clock: JumpingClock
) -> None:
    room = server.stores["memory"] = Room(2 * ROOMY_BYTES_MIN)
    store = reach(server.port).store("memory")
    for _ in range(10):
        await store.check_space(1000)
    assert room.asked == [ROOMY_BYTES_MIN + 1000]
    clock.seconds += ROOMY_SECONDS_MAX
    await store.check_space(1)
    assert len(room.asked) == 2
    await store.check_space(ROOMY_BYTES_MIN // 16 + 1)
    assert room.asked[2:] == [ROOMY_BYTES_MIN // 16 + 1], "much is always asked for"


async def test_where_there_is_little_room_each_asks_for_its_own(
    server: Server, reach: Reach, clock: JumpingClock
) -> None:
    """Remembering would let many uploads in where one has room."""
    room = server.stores["memory"] = Room(1000)
    store = reach(server.port).store("memory")
    await store.check_space(1000)
    for _ in range(2):
        with pytest.raises(StoreFull):
            await store.check_space(1001)
    await store.check_space(1)
    assert room.asked == [ROOMY_BYTES_MIN + 1000, 1000, 1001, 1001, 1]
    clock.seconds += TIGHT_SECONDS_MAX
    room.room = 2 * ROOMY_BYTES_MIN
    for _ in range(2):
        await store.check_space(1)
    assert room.asked[5:] == [ROOMY_BYTES_MIN + 1]
