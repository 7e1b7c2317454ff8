"""Another server that answers anything at all: what comes of it is a value, or an error of ours.

With the cluster's key and without; over TLS that breaks in the middle too. Whatever it does, it is
that server that cannot be reached, and nothing else happens.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.examples import examples
from tests.fakes_disk import JumpingClock
from tests.peer.conftest import KEYS, Near, Reach, Server
from tests.peer.raw import LENGTH, Answer, signed
from tests.tables import each_row
from treescale.cache.exchange import AnswerExchange
from treescale.clock import SystemClock
from treescale.errors import TreeScaleError, Unreachable
from treescale.peer.client import TIMEOUTS, PeerClient, ask_all
from treescale.peer.connection import PeerConnection, encrypting
from treescale.peer.health import PeerHealth, PingTimeouts, ping_once
from treescale.peer.protocol import Pong
from treescale.peer.signing import Signer
from treescale.peer.store import PeerStore
from treescale.server.network.certificates import self_signed, server_context

SHORT = replace(TIMEOUTS, read_seconds=0.2, write_seconds=0.2, connect_seconds=0.2)
PINGS = PingTimeouts(seconds=0.2)
SMALL, LITTLE = chunk_of(1)
ALREADY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


async def listed(store: PeerStore) -> list[bytes]:
    return [chunk async for chunk in store.list(range(16))]


def asked(near: Near) -> list[Awaitable[object]]:
    """Return every kind of question."""
    store = near.store()
    return [
        store.put(SMALL, LITTLE),
        store.get(SMALL),
        store.have([SMALL]),
        store.check_space(1),
        store.verify(SMALL),
        store.usage(),
        listed(store),
        heard(near.client),
    ]


async def heard(client: PeerClient) -> object:
    """Ask what is known, as a worker does."""
    exchange = AnswerExchange()

    async def ask(question: bytes) -> list[bytes]:
        return await ask_all([client], question, 0.2, anyway=True)

    exchange.connect(ask, ask)
    return await exchange.topic("tag", str).ask("a/b", "c")


@contextmanager
def all_foreseen() -> Iterator[None]:
    """Fail for an error that is hidden behind one of ours. For all that is asked meanwhile."""
    with capture_logs() as logs:
        try:
            yield
        finally:
            assert [line for line in logs if line["event"] == "peer.unforeseen"] == []


async def answer_to(question: Awaitable[object]) -> object:
    """Return what came; fails for an error of any other tree."""
    try:
        return await question
    except TreeScaleError as error:
        return error


async def outcome(question: Awaitable[object]) -> object:
    """Return what came; fails for an error of any other tree, and for a hidden one."""
    with all_foreseen():
        return await answer_to(question)


@asynccontextmanager
async def answering(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run a server that reads a request and answers so."""
    wires: set[asyncio.WriteTransport] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wires.add(writer.transport)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(answer(head))
                await writer.drain()
                if tls is not None:  # what follows is no TLS any more
                    writer.get_extra_info("socket")._sock.send(b"\x17\x03\x03\x00\x05wrong")
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for _ in range(10):  # what is just being accepted has no transport yet
        await asyncio.sleep(0)
    for wire in wires:
        wire.abort()
    await asyncio.sleep(0)


BODIES = [
    b"",
    b"\0",
    b"null",
    b"[]",
    b"{}",
    b'{"error":"ChunkUnknown","message":"gone"}',
    b'{"error":"Nonsense","message":"\xff"}',
    b'{"error":1,"message":2}',
    b'{"age":-1e308,"value":"x"}',
    b'{"age":1e999,"value":"x"}',
    b'{"age":1,"value":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"age":1,"value":{"a":1}}',
    b'{"server":"b","boot":7}',
    b'{"server":"b","boot":"' + b"x" * 3000 + b'"}',
    b'{"bytes_total":-1,"bytes_free":1e400,"trouble":[]}',
    b'{"bytes_total":"many"}',
    b"\x81\xa1a\xc1",
    b"[" * 4000,
    LITTLE,
    LITTLE[:-1],
    bytes(4096),
]
STATUSES = [200, 204, 302, 404, 422, 500, 504, 599]


@each_row("status", STATUSES)
async def test_signed_nonsense(reach: Reach, status: int) -> None:
    """A server of another version, or one that has gone mad: it has the key."""

    async def ask(body: bytes) -> None:
        async with answering(signed(status, body)) as port:
            for question in asked(reach(port, SHORT)):
                await answer_to(question)

    with all_foreseen():
        await asyncio.gather(*map(ask, BODIES))


RAW = [
    b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 000 None\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 99999 Many\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: \x00=\xff; a=;;=\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::g]:99999/\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 " + b"x" * 100_000,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x15\x03\x01\x00\x02\x02\x0a",
    b"\x00" * 20_000,
    bytes(range(256)),
    # what would be an answer, if it were signed
    b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\0",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(LITTLE), LITTLE),
    b"HTTP/1.1 404 No\r\nContent-Length: 41\r\n\r\n" + BODIES[5],
    b"HTTP/1.1 200 OK\r\nTreeScale-Answer: %b\r\nContent-Length: 1\r\n\r\n\0" % (b"0" * 64),
    b"HTTP/1.1 503 No\r\nContent-Length: 26\r\n\r\n<html>Bad gateway</html>\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(10_000_000),
]


async def test_no_http_of_ours(reach: Reach) -> None:
    async def ask(answer: bytes) -> None:
        async with answering(lambda _: answer) as port:
            for question in asked(reach(port, SHORT)):
                found = await answer_to(question)
                assert found is None or isinstance(found, Unreachable), (answer[:80], "not signed")

    with all_foreseen():
        await asyncio.gather(*map(ask, RAW))


@settings(ALREADY, max_examples=examples(40))
@given(status=st.sampled_from(STATUSES), body=st.binary(max_size=200), number=st.integers(0, 7))
async def test_any_signed_bytes(reach: Reach, status: int, body: bytes, number: int) -> None:
    async with answering(signed(status, body)) as port:
        questions = asked(reach(port, SHORT))
        await outcome(questions.pop(number))
        for question in questions:
            question.close()  # type: ignore[attr-defined]


@settings(ALREADY, max_examples=examples(40))
@given(answer=st.binary(min_size=1, max_size=200), number=st.integers(0, 7))
async def test_any_bytes(reach: Reach, answer: bytes, number: int) -> None:
    async with answering(lambda _: answer) as port:
        questions = asked(reach(port, replace(SHORT, read_seconds=0.02, write_seconds=0.02)))
        await outcome(questions.pop(number))
        for question in questions:
            question.close()  # type: ignore[attr-defined]


@each_row("number", range(8))
async def test_an_answer_that_ends_at_any_byte(reach: Reach, number: int) -> None:
    whole = signed(200, b"\x80")
    timeouts = replace(SHORT, read_seconds=0.01, write_seconds=0.01)

    async def ask(length: int) -> None:
        async with answering(lambda head: whole(head)[:length]) as port:
            questions = asked(reach(port, timeouts))
            await answer_to(questions.pop(number))
            for question in questions:
                question.close()  # type: ignore[attr-defined]

    with all_foreseen():
        await asyncio.gather(*map(ask, range(0, 170, 5)))


# Pings


def signer(clock: JumpingClock) -> Signer:
    return Signer("a", "b", lambda: KEYS, clock.now, lambda: "0" * 32)


ALL = [(lambda _, raw=raw: raw) for raw in RAW] + [
    signed(status, body) for status in (200, 500) for body in BODIES
]


async def test_a_ping_is_answered_or_unreachable(clock: JumpingClock) -> None:
    async def ping(answer: Answer) -> None:
        async with answering(answer) as port:
            url = f"http://127.0.0.1:{port}"
            found = await answer_to(ping_once(signer(clock), url, seconds=0.2))
            assert isinstance(found, TreeScaleError | Pong)

    with all_foreseen():
        await asyncio.gather(*map(ping, ALL))


async def watched(health: PeerHealth, seconds: float = 0.3) -> None:
    """Watch for a while; fails when the watch ends by itself."""
    watching = asyncio.get_running_loop().create_task(health.watch())
    done, _ = await asyncio.wait({watching}, timeout=seconds)
    watching.cancel()
    assert not done, f"it ended: {watching.exception()!r}"


async def test_the_watch_goes_on(clock: JumpingClock) -> None:
    async def watch(answer: Answer) -> None:
        async with answering(answer) as port:
            url = f"http://127.0.0.1:{port}"
            health = PeerHealth(signer(clock), url, clock=clock, chance=lambda: 0.0, timeouts=PINGS)
            await watched(health)

    await asyncio.gather(*map(watch, ALL))


IMPOSSIBLE = [
    "",
    " ",
    "http://ts-2..x:5000",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:-1",
    "gopher://127.0.0.1:1",
    "http://\0:1",
    "http://a\r\nHost: b:1",
    f"http://{'a' * 64}:1",
    "http://" + "a" * 100_000,
    "http://[::g]:1",
    "https://ts-2..x:5000",
    "http://0x7f.1:1",
    "\udce9",
]


@each_row("url", IMPOSSIBLE)
async def test_a_server_whose_row_has_no_address_cannot_be_reached(
    clock: JumpingClock, threads: Executor, url: str
) -> None:
    who = signer(clock)
    health = PeerHealth(who, url, clock=clock, chance=lambda: 0.0, timeouts=PINGS)
    with closing(PeerClient(who, url, health, tls=encrypting(), timeouts=SHORT)) as client:
        for question in asked(Near(client, health, threads, clock)):
            found = await outcome(question)
            assert found is None or isinstance(found, Unreachable)
        await watched(health, seconds=0.05)  # it fails at once
        assert not health.is_up
        with pytest.raises(Unreachable, match="cannot work"):
            await ping_once(who, url)
        with pytest.raises(Unreachable, match="cannot work"):
            health.check()


# TLS


async def test_tls_that_breaks_in_the_middle(
    clock: JumpingClock, threads: Executor, tmp_path: Path
) -> None:
    """One wrong byte on a kept connection: OpenSSL's error is no ConnectionError."""
    tls = server_context(self_signed(tmp_path / "tls", ["localhost"], SystemClock().now()))
    pong = signed(200, b'{"server":"b","boot":"1"}')
    async with answering(pong, tls) as port:
        who, url = signer(clock), f"https://localhost:{port}"
        health = PeerHealth(
            who, url, clock=clock, chance=lambda: 0.0, tls=encrypting(), timeouts=PINGS
        )
        with closing(PeerClient(who, url, health, tls=encrypting(), timeouts=SHORT)) as client:
            await watched(health)
            near = Near(client, health, threads, clock)
            for _ in range(3):
                for question in asked(near):
                    await outcome(question)


async def test_what_nobody_foresaw_is_unreachable_too_and_told(
    server: Server, reach: Reach
) -> None:
    """An error of a library's own: of whoever answered so, not of all."""
    near = reach(server.port, SHORT)
    with (
        patch.object(PeerConnection, "ask", side_effect=AssertionError("a library's")),
        pytest.raises(Unreachable, match="a library's"),
    ):
        await near.store().have([ABSENT])
    assert await near.store().have([ABSENT]) == [False]
