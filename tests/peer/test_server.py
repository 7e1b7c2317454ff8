"""What the server's end does with requests that no server of ours sends."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.examples import examples
from tests.fakes_network import unused_port
from tests.peer.conftest import KEYS, Reach, Server
from tests.peer.raw import Asker, Raw, answer_to, written
from tests.tables import each_row
from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes, MemoryStore, chunk_id_of
from treescale.errors import Corrupt, StoreFull, Unreachable
from treescale.metrics.traffic import Flow
from treescale.peer.client import ask_all
from treescale.peer.protocol import CHUNKS_ASKED_MAX, Action, PeerRequest
from treescale.peer.signing import PeerKeys

CHUNK, DATA = chunk_of(1)
PUT = PeerRequest(Action.PUT, "disk", CHUNK).path
PING = PeerRequest(Action.PING).path
HAVE = PeerRequest(Action.HAVE, "disk").path
FOREIGN = PeerKeys(b"f" * 32)


async def asked(
    server: Server, method: str, path: str, body: bytes = b"", *, by: Asker | None = None
) -> Raw:
    """Send a signed request, and see that its answer is signed."""
    request = (by or Asker()).sign(method, path, body)
    sent = written(method, path, body, header=request.header)
    answer = await answer_to(server.port, sent)
    assert answer.answers(request)
    return answer


async def kept(server: Server) -> list[bytes]:
    """Return all chunks that got in."""
    return [chunk for store in server.stores.values() async for chunk in store.list()]


# Who may speak


async def test_a_stranger_learns_nothing(server: Server) -> None:
    paths = (PUT, PING, HAVE, "/peer/v1/nothing", "/peer/")
    for method, path in itertools.product(("GET", "PUT", "POST", "DELETE", "PATCH"), paths):
        answer = await answer_to(server.port, written(method, path, DATA, header=None))
        assert (answer.status, answer.error) == (401, "NotTrusted"), (method, path)
        assert "treescale-answer" not in answer.headers
    assert await kept(server) == []


async def test_a_foreign_key_is_refused_and_its_answer_is_not_signed(server: Server) -> None:
    request = Asker(FOREIGN).sign("PUT", PUT, DATA)
    answer = await answer_to(server.port, written("PUT", PUT, DATA, header=request.header))
    assert (answer.status, answer.error) == (401, "NotTrusted")
    assert not answer.answers(request)
    assert await kept(server) == []
    server.keys = PeerKeys(KEYS.signing, (FOREIGN.signing,))  # the control
    assert (await asked(server, "PUT", PUT, DATA, by=Asker(FOREIGN))).status == 201


async def test_a_request_is_not_good_again_after_a_minute(server: Server) -> None:
    chunk_path = PeerRequest(Action.VERIFY, "disk", CHUNK).path
    sent = written("POST", chunk_path, header=Asker().sign("POST", chunk_path).header)
    await server.stores["disk"].put(CHUNK, DATA)
    server.clock.seconds += 60
    assert (await answer_to(server.port, sent)).status == 200  # the control
    server.clock.seconds += 0.1
    answer = await answer_to(server.port, sent)
    assert (answer.status, answer.error) == (401, "ClocksApart")
    assert "clock of server a is 60.1 s behind that of b" in answer.message
    assert await kept(server) == [CHUNK]


async def test_nobody_takes_away_what_another_asks_for(server: Server) -> None:
    """Version 0.1.0 knew the question, and never asked it: nobody had looked at the copy."""
    await server.stores["disk"].put(CHUNK, DATA)
    path = PeerRequest(Action.GET, "disk", CHUNK).path
    answer = await answer_to(
        server.port, written("DELETE", path, header=Asker().sign("DELETE", path).header)
    )
    assert answer.status == 405
    assert await kept(server) == [CHUNK]


async def test_two_signatures_are_none(server: Server) -> None:
    header = Asker().sign("GET", PING).header
    more = f"TreeScale-Request: {header}\r\n"
    answer = await answer_to(server.port, written("GET", PING, header=header, more=more))
    assert answer.status == 401


@given(path=some.binary(max_size=60), header=some.binary(max_size=60))
@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_no_bytes_make_it_fail(server: Server, path: bytes, header: bytes) -> None:
    text = (b"/peer/v1/" + path).decode(errors="surrogateescape")
    signature = header.decode(errors="surrogateescape")
    sent = written("GET", text, header=signature, more="Connection: close\r\n")
    with contextlib.suppress(asyncio.IncompleteReadError):  # not HTTP, or no answer to come
        assert (await answer_to(server.port, sent, end=True)).status < 500


# What is asked


@each_row(
    "path",
    [
        "/peer/v1/stores/disk/chunks/../../../../etc/passwd",
        "/peer/v1/stores/..%2f..%2fetc/chunks/" + CHUNK.hex(),
        "/peer/v1/stores/disk/chunks/" + CHUNK.hex().upper(),
        "/peer/v1/stores/disk/chunks/" + CHUNK.hex() + "?x",
        "/peer/v1/ping/../ping",
        "/peer/v1/stores/disk/chunks/%00",
    ],
)
@each_row("method", ["GET", "PUT", "DELETE"])
async def test_path_tricks_lead_nowhere(server: Server, method: str, path: str) -> None:
    answer = await asked(server, method, path)
    assert (answer.status, answer.error) == (400, "Invalid")


async def test_chunks_are_counted_both_ways(server: Server, reach: Reach) -> None:
    async def counted(sent: int, received: int) -> None:
        """An answer is counted a moment after it was sent."""
        async with asyncio.timeout(10):
            while server.traffic.total(Flow.TO_SERVERS) < sent:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert server.traffic.total(Flow.TO_SERVERS) == sent
        assert server.traffic.total(Flow.FROM_SERVERS) == received

    store = reach(server.port).store()
    await store.put(CHUNK, DATA)
    await counted(0, len(DATA))
    for times in (1, 2):  # read and verified, then as a file
        await store.get(CHUNK)
        await counted(times * len(DATA), len(DATA))
    with pytest.raises(Corrupt):
        await store.put(CHUNK, b"x")
    assert server.traffic.total(Flow.FROM_SERVERS) == len(DATA)
    assert await store.have([CHUNK]) == [True]
    assert server.traffic.total(Flow.TO_SERVERS) == 2 * len(DATA)


async def test_what_is_known_is_asked_and_answered_signed(server: Server, reach: Reach) -> None:
    known = PeerRequest(Action.KNOWN)
    client = reach(server.port).client
    assert await client.ask(known, 1.0, b"a question") == b"an answer to a question"
    with pytest.raises(Unreachable, match="no question"):
        await client.ask(known, 1.0)
    with pytest.raises(Unreachable, match="at most 4096 bytes"):
        await client.ask(known, 1.0, b"x" * 4097)
    assert await ask_all([client], b"it", 1.0) == [b"an answer to it"]
    client = reach(unused_port()).client
    assert await ask_all([client], b"it", 1.0) == []


@each_row("action", [action for action in Action if "{store}" in action.value[1]])
async def test_an_unknown_store_cannot_be_used(server: Server, action: Action) -> None:
    answer = await asked(server, action.method, PeerRequest(action, "other", CHUNK).path)
    assert (answer.status, answer.error) == (503, "StoreUnusable")
    assert "server b has no store other" in answer.message


@each_row(
    ("action", "body"),
    [
        (Action.HAVE, bytes(33)),
        (Action.LIST, b""),
        (Action.LIST, bytes(3)),
        (Action.LIST, b"\xff\xff"),
    ],
)
async def test_a_body_that_is_none_is_refused(server: Server, action: Action, body: bytes) -> None:
    answer = await asked(server, "POST", PeerRequest(action, "disk").path, body)
    assert (answer.status, answer.error) == (400, "Invalid")


@each_row(
    ("action", "length"),
    [
        (Action.PUT, CHUNK_BYTES_MAX + 1),
        (Action.PUT, 10**15),
        (Action.HAVE, 32 * CHUNKS_ASKED_MAX + 32),
        (Action.LIST, 34),
        (Action.GET, 1),
        (Action.VERIFY, 1),
        (Action.RESERVE, 1),
    ],
)
async def test_a_body_over_its_limit_is_refused_unread(
    server: Server, action: Action, length: int
) -> None:
    path = PeerRequest(action, "disk", CHUNK).path
    request = Asker().sign(action.method, path, length=length)
    sent = written(action.method, path, header=request.header, length=length)
    answer = await answer_to(server.port, sent)
    assert (answer.status, answer.error) == (413, "TooLarge")


async def test_the_longest_chunk_gets_in(server: Server) -> None:
    data = bytes(CHUNK_BYTES_MAX)
    path = PeerRequest(Action.PUT, "disk", chunk_id_of(data)).path
    assert (await asked(server, "PUT", path, data)).status == 201


async def test_a_short_body_leaves_nothing(server: Server) -> None:
    header = Asker().sign("PUT", PUT, DATA).header
    sent = written("PUT", PUT, DATA[:-1], header=header, length=len(DATA))
    with contextlib.suppress(asyncio.IncompleteReadError):
        answer = await answer_to(server.port, sent, end=True)
        assert (answer.status, answer.error) == (400, "Invalid")
    assert await kept(server) == []


@pytest.mark.parametrize("more", ["Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n"])
async def test_a_body_comes_with_its_length(server: Server, more: str) -> None:
    header = Asker().sign("PUT", PUT).header
    answer = await answer_to(server.port, written("PUT", PUT, header=header, more=more))
    assert (answer.status, answer.error) == (400, "Invalid")


async def test_another_length_than_was_signed_is_refused(server: Server) -> None:
    header = Asker().sign("PUT", PUT, DATA).header
    answer = await answer_to(server.port, written("PUT", PUT, DATA + b"x", header=header))
    assert answer.status == 401


async def test_another_body_than_was_signed_is_refused(server: Server) -> None:
    header = Asker().sign("POST", HAVE, CHUNK).header
    answer = await answer_to(server.port, written("POST", HAVE, ABSENT, header=header))
    assert (answer.status, answer.error) == (400, "Invalid")


async def test_wrong_bytes_of_a_chunk_are_corrupt(server: Server) -> None:
    answer = await asked(server, "PUT", PUT, DATA[::-1])
    assert (answer.status, answer.error) == (422, "Corrupt")
    assert await kept(server) == []


# Limits


class Held(MemoryStore):
    """A store that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Semaphore(0)
        self.free = asyncio.Event()

    async def have(self, chunks: Iterable[bytes]) -> list[bool]:
        self.entered.release()
        await self.free.wait()
        return [False for _ in chunks]


async def test_over_the_limit_it_is_busy_at_once_and_pings_are_answered(server: Server) -> None:
    held = Held()
    server.stores["memory"] = held
    path = PeerRequest(Action.HAVE, "memory").path
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asked(server, "POST", path, ABSENT)) for _ in range(20)]
        for _ in tasks:
            await held.entered.acquire()
        answer = await asked(server, "POST", path, ABSENT)
        assert (answer.status, answer.error) == (503, "Busy")
        assert (await asked(server, "GET", PING)).body == b'{"server":"b","boot":"boot-1"}'
        held.free.set()
    assert {task.result().status for task in tasks} == {200}
    assert (await asked(server, "POST", path, ABSENT)).status == 200


async def test_it_gives_up_at_the_deadline(server: Server) -> None:
    held = Held()
    server.stores["memory"] = held
    path = PeerRequest(Action.HAVE, "memory").path
    answer = await asked(server, "POST", path, ABSENT, by=Asker(deadline_ms=20))
    assert (answer.status, answer.error) == (504, "Late")
    held.free.set()  # the control
    assert (await asked(server, "POST", path, ABSENT, by=Asker(deadline_ms=20_000))).status == 200


async def test_a_body_that_does_not_come_is_given_up_at_the_deadline(server: Server) -> None:
    header = Asker(deadline_ms=20).sign("PUT", PUT, DATA).header
    sent = written("PUT", PUT, DATA[:5], header=header, length=len(DATA))
    answer = await answer_to(server.port, sent)
    assert (answer.status, answer.error) == (504, "Late")


class Full(MemoryStore):
    """A store without room."""

    async def check_space(self, size: int) -> None:
        raise StoreFull(f"no room for {size}")


async def test_a_full_store_says_so_before_the_body(server: Server) -> None:
    server.stores["memory"] = Full()
    path = PeerRequest(Action.PUT, "memory", CHUNK).path
    header = Asker().sign("PUT", path, DATA).header
    sent = written("PUT", path, header=header, length=len(DATA))
    answer = await answer_to(server.port, sent)  # not a byte of the body was sent
    assert (answer.status, answer.error) == (507, "StoreFull")


class Broken(MemoryStore):
    """A store with a bug."""

    async def get(self, chunk: bytes) -> bytes:
        raise KeyError(f"a secret about {chunk.hex()}")


async def test_a_fault_of_ours_tells_nothing(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stores["memory"] = Broken()
    answer = await asked(server, "GET", PeerRequest(Action.GET, "memory", CHUNK).path)
    assert (answer.status, answer.error) == (500, "Failed")
    assert b"secret" not in answer.body
    assert "a secret" in capsys.readouterr().out


async def test_a_store_that_cannot_say_how_full_it_is_says_that(server: Server) -> None:
    answer = await asked(server, "GET", PeerRequest(Action.USAGE, "memory").path)
    assert (answer.status, answer.error) == (405, "Unsupported")


class Endless(MemoryStore):
    """A store with more chunks than any list may have."""

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        del partitions
        while True:
            yield bytes(4 * 1024 * 1024)


async def test_no_list_is_endless(server: Server) -> None:
    server.stores["memory"] = Endless()
    answer = await asked(server, "POST", PeerRequest(Action.LIST, "memory").path, b"\0\0")
    assert (answer.status, answer.error) == (413, "TooLarge")


# Chunks as files


async def test_a_verified_chunk_leaves_as_its_file(
    server: Server, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(range(256)) * 4000
    chunk = chunk_id_of(data)
    disk = server.stores["disk"]
    await disk.put(chunk, data)
    await asyncio.sleep(0.15)  # what was written a moment ago is not trusted
    assert await disk.get(chunk) == data

    async def get(_chunk: bytes) -> bytes:
        raise AssertionError("read as a whole")

    monkeypatch.setattr(disk, "get", get)
    assert await reach(server.port).store().get(chunk) == data


async def rot(server: Server, chunk: bytes, data: bytes) -> None:
    """Have a trusted chunk's file change so that nobody can see it by looking at its stamp."""
    disk = server.stores["disk"]
    await disk.put(chunk, data)
    await asyncio.sleep(0.15)
    await disk.get(chunk)
    server.file_of(chunk).write_bytes(data[:-1] + b"?")
    trust = disk._directory._trust  # type: ignore[attr-defined]
    found = server.file_of(chunk).stat()
    trust.add(chunk, found, now=server.clock.seconds, stamp_ns=2**63, durable=True)


def quarantined(server: Server) -> list[Path]:
    return list((server.root / "quarantine").iterdir())


async def test_a_reader_that_finds_a_copy_bad_has_it_looked_at_again(
    server: Server, reach: Reach
) -> None:
    await rot(server, CHUNK, DATA)
    assert await server.stores["disk"].get(CHUNK) != DATA  # it is believed there, but not here
    with pytest.raises(Corrupt, match=r"is not that chunk; server b: chunk .* is corrupt"):
        await reach(server.port).store().get(CHUNK)
    assert len(quarantined(server)) == 1
    assert await server.stores["disk"].have([CHUNK]) == [False]


async def test_a_sound_copy_is_left_alone(server: Server, reach: Reach) -> None:
    for name in ("disk", "memory"):
        await server.stores[name].put(CHUNK, DATA)
        await reach(server.port).store(name).verify(CHUNK)
    assert quarantined(server) == []


async def test_usage_comes_over(server: Server, reach: Reach) -> None:
    usage = await reach(server.port).store().usage()
    assert usage.trouble is None
    assert usage.bytes_total >= usage.bytes_free > 0
    with pytest.raises(Unreachable, match="cannot say how full"):
        await reach(server.port).store("memory").usage()


async def test_a_put_is_refused_by_a_store_that_is_full(server: Server, reach: Reach) -> None:
    server.stores["memory"] = Full()
    near = reach(server.port)
    data: Bytes = bytes(CHUNK_BYTES_MAX)
    with pytest.raises(StoreFull, match="server b: no room"):
        await near.store("memory").put(chunk_id_of(data), data)
    with pytest.raises(StoreFull):
        await near.store("memory").check_space(5)
    await near.store("disk").put(CHUNK, DATA)
