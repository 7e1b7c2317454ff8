"""Another server that is killed, hangs, lies or is far away, and a wire that cuts and bends."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.fakes_network import Relay, silent_server, unused_port
from tests.peer.conftest import KEYS, Reach, Server
from treescale.chunks.store import MemoryStore, chunk_id_of
from treescale.errors import ChunkUnknown, Corrupt, Failed, TreeScaleError, Unreachable
from treescale.peer.breaker import State
from treescale.peer.client import TIMEOUTS
from treescale.peer.signing import PeerKeys
from treescale.peer.store import PeerStore

pytestmark = pytest.mark.long  # time passes: it is about what is late

SHORT = replace(TIMEOUTS, read_seconds=0.1, write_seconds=0.1, connect_seconds=0.1)
DATA = bytes(range(256)) * 4096
CHUNK = chunk_id_of(DATA)
SMALL, LITTLE = chunk_of(1)

Question = Callable[[PeerStore], Awaitable[object]]
QUESTIONS: dict[str, Question] = {
    "put": lambda store: store.put(SMALL, LITTLE),
    "get": lambda store: store.get(SMALL),
    "have": lambda store: store.have([SMALL]),
    "reserve": lambda store: store.check_space(1),
    "verify": lambda store: store.verify(SMALL),
    "usage": lambda store: store.usage(),
}
every_question = pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)


# Gone, hanging, cut


@every_question
async def test_nobody_there_is_unreachable_and_then_not_even_tried(
    reach: Reach, ask: Question
) -> None:
    port = unused_port()
    near = reach(port)
    with pytest.raises(Unreachable, match="did not answer"):
        await ask(near.store())
    assert near.health.state is State.DOWN
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.setblocking(False)  # noqa: FBT003  the standard library's signature
        with pytest.raises(Unreachable, match="server b is down"):
            await ask(near.store())
        with pytest.raises(BlockingIOError):
            listener.accept()


@every_question
async def test_a_hung_server_is_unreachable_in_time(reach: Reach, ask: Question) -> None:
    async with silent_server() as port:
        near = reach(port, SHORT)
        for _ in range(5):
            assert near.health.is_up
            with pytest.raises(Unreachable, match="did not answer"):
                await ask(near.store())
        assert near.health.state is State.FAILING
        with pytest.raises(Unreachable, match="is failing: it answers pings"):
            await ask(near.store())


async def test_a_failing_server_is_asked_again_by_one_request(
    server: Server, wire: Relay, reach: Reach
) -> None:
    near = reach(wire.port, SHORT)
    wire.answered.hold()
    for _ in range(5):
        with pytest.raises(Unreachable):
            await near.store().have([ABSENT])
    wire.answered.release()
    asked = wire.connections
    with pytest.raises(Unreachable):
        await near.store().have([ABSENT])
    assert wire.connections == asked
    server.clock.seconds += 1
    assert await near.store().have([ABSENT]) == [False]
    assert near.health.state is State.UP


@pytest.mark.parametrize("after", [0, 100, 500_000])
async def test_a_connection_lost_in_the_middle_of_a_put_leaves_nothing(
    server: Server, wire: Relay, reach: Reach, after: int
) -> None:
    wire.asked.reset_after = after
    near = reach(wire.port)
    with pytest.raises(Unreachable):
        await near.store().put(CHUNK, DATA)
    wire.asked.reset_after = None
    assert await near.store().have([CHUNK]) == [False]
    await near.store().put(CHUNK, DATA)
    assert await server.stores["disk"].get(CHUNK) == DATA


async def test_a_kept_connection_that_lay_idle_for_longer_than_our_patience_is_as_new(
    server: Server, reach: Reach
) -> None:
    """What is left of aiohttp's own timers would end the next request at once."""
    data = DATA * 3
    chunk = chunk_id_of(data)
    await server.stores["disk"].put(chunk, data)
    store = reach(server.port, replace(TIMEOUTS, read_seconds=0.5)).store()
    for _ in range(3):
        async with asyncio.TaskGroup() as group:
            for _ in range(TIMEOUTS.requests_max):
                group.create_task(store.get(chunk))
        await asyncio.sleep(0.6)


async def test_an_answer_that_trickles_is_given_up_in_the_end(
    server: Server, wire: Relay, reach: Reach
) -> None:
    await server.stores["disk"].put(CHUNK, DATA)
    wire.answered.delay_seconds = 0.05
    near = reach(wire.port, replace(TIMEOUTS, chunk_seconds=0.2))
    with pytest.raises(Unreachable):
        await near.store().get(CHUNK)


async def test_connections_are_kept(wire: Relay, reach: Reach) -> None:
    near = reach(wire.port)
    for _ in range(5):
        assert await near.store().have([ABSENT]) == [False]
        with pytest.raises(ChunkUnknown):
            await near.store().get(ABSENT)
        with pytest.raises(Corrupt):
            await near.store().put(ABSENT, LITTLE)
    assert wire.connections == 1


# Bent on the way


async def flipped(wire: Relay, reach: Reach, at: int, ask: Question) -> object:
    """Ask over a new connection on which one byte of the answer is flipped; return what came."""
    wire.answered.flip_at = at
    near = reach(wire.port, SHORT)
    try:
        return await ask(near.store())
    except TreeScaleError as error:
        return type(error)
    finally:
        wire.answered.flip_at = None
        near.client.close()


@pytest.mark.parametrize("known", [True, False])
async def test_no_flipped_byte_changes_what_is_known_of_chunks(
    server: Server, wire: Relay, reach: Reach, *, known: bool
) -> None:
    """Any byte of the head or the body: the right answer, or none (it decides what is kept)."""
    if known:
        await server.stores["disk"].put(SMALL, LITTLE)
    outcomes = [await flipped(wire, reach, at, QUESTIONS["have"]) for at in range(0, 340, 3)]
    unlike = [found for found in outcomes if found not in ([known], Unreachable)]
    assert unlike == []
    assert outcomes.count(Unreachable) > 20


async def test_no_flipped_byte_makes_a_full_store_an_acknowledgement(
    server: Server, wire: Relay, reach: Reach
) -> None:
    class Full(MemoryStore):
        async def put(self, chunk: bytes, data: bytes | bytearray | memoryview) -> None:
            raise ChunkUnknown(f"any error, for {chunk.hex()} of {len(data)}")

    server.stores["disk"] = Full()
    for at in range(0, 300, 7):
        assert await flipped(wire, reach, at, QUESTIONS["put"]) in (ChunkUnknown, Unreachable)


async def test_a_flipped_byte_of_a_chunk_is_never_data_and_says_nothing_of_the_copy(
    server: Server, wire: Relay, reach: Reach
) -> None:
    await server.stores["disk"].put(CHUNK, DATA)
    wire.answered.flip_at = 700_000
    with pytest.raises(Unreachable, match="its own copy is sound"):
        await reach(wire.port).store().get(CHUNK)
    wire.answered.flip_at = None
    assert await reach(wire.port).store().get(CHUNK) == DATA


async def test_a_chunk_damaged_on_its_way_there_is_not_the_senders_fault(
    server: Server, wire: Relay, reach: Reach
) -> None:
    wire.asked.flip_at = 700_000
    with pytest.raises(Unreachable, match="damaged on its way"):
        await reach(wire.port).store().put(CHUNK, DATA)
    assert await server.stores["disk"].have([CHUNK]) == [False]
    with pytest.raises(Corrupt):
        await reach(server.port).store().put(CHUNK, DATA[::-1])


# Somebody else


async def test_another_clusters_server_says_why(server: Server, reach: Reach) -> None:
    with pytest.raises(Unreachable, match=r"and says 401: .*signed with a key of another cluster"):
        await reach(server.port, keys=PeerKeys(b"f" * 32)).store().have([ABSENT])
    server.keys = PeerKeys(b"n" * 32, (KEYS.signing,))
    assert await reach(server.port).store().have([ABSENT]) == [False]


async def test_a_server_held_to_be_down_is_asked_when_somebody_insists(
    server: Server, reach: Reach
) -> None:
    await server.stores["disk"].put(SMALL, LITTLE)
    near = reach(server.port)
    near.health.refused("as it was a moment ago")
    with pytest.raises(Unreachable, match="server b is down: as it was"):
        await near.store().get(SMALL)
    assert await near.store().get_last_resort(SMALL, 5.0) == LITTLE
    assert near.health.state is State.DOWN, "pings tell when it is up"
    with pytest.raises(ChunkUnknown):
        await near.store().get_last_resort(ABSENT, 5.0)


async def test_a_slow_server_is_waited_for_when_somebody_insists(
    server: Server, wire: Relay, reach: Reach
) -> None:
    await server.stores["disk"].put(SMALL, LITTLE)
    near = reach(wire.port, SHORT)
    wire.answered.delay_seconds = 0.5
    for _ in range(5):
        with pytest.raises(Unreachable, match="did not answer"):
            await near.store().get(SMALL)
    assert not near.health.is_up
    assert await near.store().get_last_resort(SMALL, 5.0) == LITTLE
    assert near.health.is_up
    wire.answered.hold()
    with pytest.raises(Unreachable, match="did not answer"):
        await near.store().get_last_resort(SMALL, 0.1)


async def test_bad_bytes_are_no_chunk_however_much_somebody_insists(
    server: Server, wire: Relay, reach: Reach
) -> None:
    await server.stores["disk"].put(CHUNK, DATA)
    wire.answered.flip_at = 500_000
    with pytest.raises(Unreachable, match="damaged on their way"):
        await reach(wire.port).store().get_last_resort(CHUNK, 5.0)


# Many at once


class Counting(MemoryStore):
    """A store that counts how many ask at once, and answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.entered = asyncio.Semaphore(0)
        self.free = asyncio.Event()

    async def check_space(self, size: int) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.entered.release()
        await self.free.wait()
        self.now -= size


async def test_so_many_requests_and_no_more_are_under_way(
    server: Server, wire: Relay, reach: Reach
) -> None:
    store = server.stores["memory"] = Counting()
    near = reach(wire.port, replace(TIMEOUTS, requests_max=3))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(near.store("memory").check_space(1))
        for _ in range(3):
            await store.entered.acquire()
        store.free.set()
    assert store.most == 3
    assert wire.connections == 3


async def test_a_request_that_waited_is_not_sent_to_a_server_that_went_down(
    server: Server, reach: Reach
) -> None:
    store = server.stores["memory"] = Counting()
    near = reach(server.port, replace(TIMEOUTS, requests_max=1))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(near.store("memory").check_space(1))
        await store.entered.acquire()
        second = group.create_task(outcome(near.store("memory").check_space(1)))
        await asyncio.sleep(0)
        near.health.refused("told so by the test")
        store.free.set()
    assert first.result() is None
    assert isinstance(second.result(), Unreachable)
    assert store.most == 1


async def test_a_server_that_is_down_is_not_even_queued_for(server: Server, reach: Reach) -> None:
    store = server.stores["memory"] = Counting()
    near = reach(server.port, replace(TIMEOUTS, requests_max=1))
    async with asyncio.TaskGroup() as group:
        group.create_task(near.store("memory").check_space(1))
        await store.entered.acquire()
        near.health.refused("told so by the test")
        async with asyncio.timeout(1):
            with pytest.raises(Unreachable, match="told so by the test"):
                await near.store("memory").check_space(1)
        store.free.set()


async def outcome(work: Awaitable[object]) -> object:
    try:
        return await work
    except Failed as error:
        return error


async def test_a_busy_server_is_not_a_failing_one(server: Server, reach: Reach) -> None:
    server.app._limit = 0
    near = reach(server.port)
    for _ in range(10):
        with pytest.raises(Unreachable, match="answers 0 requests already"):
            await near.store().have([ABSENT])
    assert near.health.state is State.UP


async def test_a_server_that_is_late_is_a_failing_one(server: Server, reach: Reach) -> None:
    server.stores["memory"] = Counting()
    near = reach(server.port, replace(TIMEOUTS, read_seconds=2.0))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(outcome(near.store("memory").check_space(1))) for _ in range(5)]
    assert {str(task.result()) for task in tasks} == {"server b: not done within the 1.8 s given"}
    assert near.health.state is State.FAILING


async def test_many_ids_are_asked_for_in_several_requests(server: Server, reach: Reach) -> None:
    await server.stores["memory"].put(SMALL, LITTLE)
    ids = [ABSENT] * 4096 + [SMALL] + [ABSENT] * 5000 + [SMALL]
    found = await reach(server.port).store("memory").have(ids)
    assert [at for at, known in enumerate(found) if known] == [4096, 9097]


async def test_a_signed_answer_to_another_question_is_unreachable(
    server: Server, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def have(_chunks: Sequence[bytes]) -> list[bool]:
        return [True] * 100

    monkeypatch.setattr(server.stores["memory"], "have", have)
    with pytest.raises(Unreachable, match="server b speaks otherwise"):
        await reach(server.port).store("memory").have([ABSENT])


async def test_a_server_that_left_while_somebody_still_asks_is_unreachable(
    server: Server, reach: Reach
) -> None:
    near = reach(server.port)
    chunk, data = chunk_of(1)
    await near.store().put(chunk, data)
    near.client.close()
    with pytest.raises(Unreachable, match="no longer there"):
        await near.store().get(chunk)
