"""One connection: what is no answer and what ends are told apart, and every wait has its end.

On both loops: servers run on uvloop, whose transports are not asyncio's.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.certificates import DAY, Authority
from tests.fakes_network import silent_server, unused_port
from tests.peer.raw import Serve, listening
from tests.tables import each_row
from treescale.clock import SystemClock
from treescale.errors import Unreachable
from treescale.peer import connection as connection_module
from treescale.peer.connection import (
    HEAD_BYTES_MAX,
    SENT_AT_ONCE_BYTES,
    ClosedWhileIdle,
    ConnectionPool,
    PeerConnection,
    Refusal,
    connect,
    encrypting,
)
from treescale.peer.protocol import Received
from treescale.peer.wakes import READ_AT_ONCE_BYTES
from treescale.server.network.certificates import self_signed, server_context
from treescale.server.network.key_pair import context_of

BODY = bytes(range(256)) * 400
SIGNATURE = "ab" * 32
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nTreeScale-Answer: {SIGNATURE}\r\n\r\n"
ANSWER = HEAD.encode() + BODY
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUESTION = b"GET /peer/v1/x HTTP/1.1\r\nTreeScale-Request: y\r\n\r\n"
LENGTH = re.compile(rb"Content-Length: ([0-9]+)")
SECONDS = 0.2
LARGE = bytes(range(256)) * (16 * 1024)
UNREAD = bytes(64 << 20)
"""More than the kernel takes for a reader that does not read."""


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return what a server with TLS has."""
    return server_context(self_signed(tmp_path_factory.mktemp("tls"), ["127.0.0.1"], 1e9))


@asynccontextmanager
async def pool_to(
    serve: Serve, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ConnectionPool]:
    """Return a pool of connections to such a server."""
    async with listening(serve, tls=tls) as port:
        scheme = "http" if tls is None else "https"
        with closing(pool_at(f"{scheme}://127.0.0.1:{port}")) as pool:
            yield pool


def pool_at(url: str, socket_name: str = "") -> ConnectionPool:
    return ConnectionPool(
        url, encrypting(), connect_seconds=1, idle_seconds=5, socket_name=socket_name
    )


def once(answer: bytes, *, pieces: int = 1 << 20) -> Serve:
    """Answer each request, once it is there as a whole, with these bytes, in pieces."""

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            length = LENGTH.search(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(int(length[1]) if length else 0)
            for at in range(0, len(answer), pieces):
                writer.write(answer[at : at + pieces])
                await writer.drain()
                await asyncio.sleep(0)

    return serve


def at_first(answer: bytes, then: Callable[[asyncio.StreamReader], Awaitable[object]]) -> Serve:
    """Answer the head of the first request so, and do that then; the connection ends after it."""

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await then(reader)

    return serve


async def hang(_: asyncio.StreamReader) -> None:
    await asyncio.sleep(10)


async def end(_: asyncio.StreamReader) -> None:
    pass


async def ask(
    pool: ConnectionPool, head: bytes = QUESTION, body: bytes = b"", seconds: float = SECONDS
) -> Received:
    """Ask on a connection of the pool, as a client does."""
    connection = await pool.acquire()
    try:
        return await connection.ask(head, body, 1 << 20, seconds)
    finally:
        pool.release(connection)


def put(body: bytes) -> bytes:
    """Return the head of a request with this body."""
    return b"PUT /peer/v1/x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)


# Answers


@each_row("pieces", [100, 7000, 1 << 20])
async def test_answers_come_whole_on_one_connection(pieces: int) -> None:
    for answer, found in (
        (ANSWER, Received(200, SIGNATURE, BODY)),
        (SHORT, Received(200, None, b"ok")),
    ):
        async with pool_to(once(answer, pieces=pieces)) as pool:
            for _ in range(3):
                assert await ask(pool) == found
            assert len(pool._all) == len(pool._idle) == 1


def answer_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def wakes(body: bytes, tls: ssl.SSLContext | None = None) -> int:
    """Return how often the loop is woken for this body, which comes in small pieces; asked twice.

    Both ends are in one loop, so each piece is there before the next is sent.
    """
    count = 0
    updated = PeerConnection.buffer_updated

    def counted(connection: PeerConnection, nbytes: int) -> None:
        nonlocal count
        count += 1
        updated(connection, nbytes)

    with patch.object(PeerConnection, "buffer_updated", counted):
        async with pool_to(once(answer_of(body), pieces=10_000), tls=tls) as pool:
            for _ in range(2):
                assert (await ask(pool, seconds=5)).body == body
            assert len(pool._all) == 1
    return count // 2


LONG = bytes(range(256)) * 4001


async def test_few_pieces_of_a_long_body_wake_the_loop() -> None:
    assert await wakes(LONG) < 12


async def test_each_piece_would_wake_it() -> None:
    """The control."""
    with patch.object(connection_module, "READ_AT_ONCE_BYTES", len(LONG)):
        assert await wakes(LONG) > 25


async def test_records_of_tls_are_read_as_they_come(tls: ssl.SSLContext) -> None:
    """What is still to come of a body may have left the socket already, as half a record."""
    assert await wakes(LONG, tls) > 25


async def test_a_body_becomes_its_bytes_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that somebody still had would make it one, a thousandth of a second for each MiB."""
    filled, alone = connection_module._Body.filled, list[bool]()

    def looked_at(body: connection_module._Body) -> bytes:
        data = filled(body)
        body._file.close()  # BufferError while there is a view
        alone.append(True)
        return data

    monkeypatch.setattr(connection_module._Body, "filled", looked_at)
    for answer in (answer_of(LONG), SHORT):
        async with pool_to(once(answer)) as pool:
            assert answer.endswith((await ask(pool, seconds=5)).body)
    assert alone == [True, True]


async def test_a_trickle_is_progress() -> None:
    """Also when it does not wake the loop by itself within the time for it."""
    body = bytes(READ_AT_ONCE_BYTES + 50_000)

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = answer_of(body)
        for at in range(0, len(answer), 32_000):
            writer.write(answer[at : at + 32_000])
            await asyncio.sleep(0.15)

    async with pool_to(serve) as pool:
        assert (await ask(pool, seconds=1)).body == body


NO_ANSWERS = [
    b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    HEAD.replace(str(len(BODY)), str(1 << 21)).encode(),
    HEAD.replace("200 OK", "404 Not Found").encode() + BODY,
    HEAD.replace(str(len(BODY)), "3").encode() + b"more",
    b"HTTP/1.1 200 OK\r\nA: " + b"x" * HEAD_BYTES_MAX,
    b"x" * HEAD_BYTES_MAX,
]


@each_row("answer", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
async def test_what_is_no_answer(answer: bytes) -> None:
    async with pool_to(once(answer)) as pool:
        with pytest.raises(Unreachable, match="no server of ours"):
            await ask(pool)
        assert not pool._all


@each_row("length", [0, 1, 20, len(HEAD) - 1, len(HEAD), len(HEAD) + 1, 5000])
async def test_an_answer_that_ends_early(length: int) -> None:
    """On a new connection, and on a kept one: only there it may have been closed before."""
    async with pool_to(at_first(ANSWER[:length], end)) as pool:
        with pytest.raises(ConnectionResetError, match="ended"):
            await ask(pool)
        assert not pool._all

    async def second(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (ANSWER, ANSWER[:length]):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    async with pool_to(second) as pool:
        assert (await ask(pool)).body == BODY
        with pytest.raises(ClosedWhileIdle if length == 0 else ConnectionResetError):
            await ask(pool)
        assert not pool._all


async def test_a_reset_is_told() -> None:
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        wire = writer.get_extra_info("socket")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with pool_to(serve) as pool:
        with pytest.raises(ConnectionError):
            await ask(pool)


async def test_silence_ends_and_a_trickle_does_not() -> None:
    async def trickle(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(ANSWER), 20_000):
            writer.write(ANSWER[at : at + 20_000])
            await asyncio.sleep(SECONDS / 3)

    async def silence(begun: int) -> None:
        async with pool_to(at_first(ANSWER[:begun], hang)) as pool:
            with pytest.raises(TimeoutError, match=r"nothing came for 0\.2 s"):
                await ask(pool)
            assert not pool._all

    await asyncio.gather(*map(silence, (0, 30, 5000)))
    async with pool_to(trickle) as pool:
        assert (await ask(pool)).body == BODY


# Bodies


@each_row("size", [1, SENT_AT_ONCE_BYTES, SENT_AT_ONCE_BYTES + 1, len(LARGE)])
@each_row("encrypted", [False, True])
async def test_a_body_arrives_whole(tls: ssl.SSLContext, size: int, *, encrypted: bool) -> None:
    seen = []

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.01)  # what the kernel takes is full by then
            seen.append(await reader.readexactly(size))
            writer.write(SHORT)

    async with pool_to(serve, tls=tls if encrypted else None) as pool:
        for _ in range(2):
            found = await ask(pool, put(LARGE[:size]), LARGE[:size], seconds=5)
            assert found == Received(200, None, b"ok")
        assert len(pool._all) == 1
    assert seen == [LARGE[:size]] * 2


async def test_an_answer_before_the_bodys_end_counts_and_the_connection_does_not() -> None:
    """The other end refuses what it has not read: the rest would come before the next request."""
    async with pool_to(at_first(SHORT, hang)) as pool:
        assert await ask(pool, put(UNREAD), UNREAD) == Received(200, None, b"ok")
        assert not pool._all


async def test_a_body_that_nobody_reads_is_given_up() -> None:
    async with pool_to(at_first(b"", hang)) as pool:
        with pytest.raises(TimeoutError):
            await ask(pool, put(UNREAD), UNREAD)
        assert not pool._all


async def test_an_end_in_the_middle_of_a_body_is_told() -> None:
    async with pool_to(at_first(b"", end)) as pool:
        with pytest.raises(ConnectionError):
            await ask(pool, put(UNREAD), UNREAD)
        assert not pool._all


@each_row("body", [b"", UNREAD], ids=["no body", "a body"])
@each_row("answered", [0, 30, 5000])
async def test_who_leaves_ends_the_connection(answered: int, body: bytes) -> None:
    gone = asyncio.Event()

    async def until_gone(reader: asyncio.StreamReader) -> None:
        try:
            await reader.read()
        finally:
            gone.set()

    async with pool_to(at_first(ANSWER[:answered], until_gone)) as pool:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SECONDS / 4):
                await ask(pool, put(body), body)
        assert not pool._all
        await asyncio.wait_for(gone.wait(), 1)


# Kept connections


async def test_what_comes_unasked_ends_the_connection() -> None:
    async with pool_to(once(ANSWER + b"more")) as pool:
        assert (await ask(pool)).body == BODY
        await asyncio.sleep(0.05)
        assert all(one.is_closed for one in pool._idle)
        assert (await ask(pool)).body == BODY


async def test_a_connection_whose_end_is_announced_is_not_kept() -> None:
    last = SHORT.replace(b"\r\nContent", b"\r\nconnection:  Close\r\nContent")
    async with pool_to(at_first(last, hang)) as pool:
        assert (await ask(pool)).body == b"ok"
        assert not pool._all


async def test_an_idle_connection_is_kept_for_a_while() -> None:
    async with listening(once(SHORT)) as port:
        url = f"http://127.0.0.1:{port}"
        with closing(ConnectionPool(url, None, connect_seconds=1, idle_seconds=0.1)) as pool:
            first = await pool.acquire()
            await first.ask(QUESTION, b"", 100, SECONDS)
            pool.release(first)
            assert await pool.acquire() is first
            await first.ask(QUESTION, b"", 100, SECONDS)
            pool.release(first)
            await asyncio.wait_for(first.ended, 1)
            assert await pool.acquire() is not first


async def test_a_pool_that_is_closed_tells_who_waits_and_who_comes() -> None:
    async with pool_to(at_first(b"", hang)) as pool:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(outcome(ask(pool)))
            await asyncio.sleep(0.05)
            pool.close()
        assert isinstance(asked.result(), ConnectionError)
        with pytest.raises(Unreachable, match="no longer there"):
            await ask(pool)


async def test_a_pool_that_is_closed_while_one_connects_keeps_nothing() -> None:
    async with pool_to(once(SHORT)) as pool:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(outcome(ask(pool)))
            await asyncio.sleep(0)
            pool.close()
        assert isinstance(asked.result(), ConnectionError)
        assert not pool._all


async def outcome(work: Awaitable[object]) -> object:
    try:
        return await work
    except Exception as error:  # noqa: BLE001  it is what is looked at
        return error


# Connecting


async def test_nobody_listens() -> None:
    for url in (
        f"http://127.0.0.1:{unused_port()}",
        "https://127.0.0.1:1",
        "http://nobody.invalid:1",
    ):
        with pytest.raises(Refusal, match=f"no connection to {url}"):
            await connect(url, encrypting(), 5)


async def test_no_address_is_not_even_looked_up() -> None:
    for url in ("", "http://ts-2..x:5000", "gopher://127.0.0.1:1", "http://[::g]:1", "\udce9"):
        with pytest.raises(Unreachable, match="cannot work"):
            await connect(url, None, 1)


async def test_an_ipv6_address() -> None:
    async with listening(once(SHORT), host="::1") as port:
        with closing(pool_at(f"http://[::1]:{port}")) as pool:
            assert (await ask(pool)).body == b"ok"


async def test_a_unix_socket(tmp_path: Path) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SHORT)
        writer.close()

    name = str(tmp_path / "socket")
    server = await asyncio.start_unix_server(accept, name)
    with closing(pool_at("http://worker", name)) as pool:
        assert (await ask(pool)).body == b"ok"
    server.close()
    with closing(pool_at("http://worker", str(tmp_path / "none"))) as pool, pytest.raises(Refusal):
        await ask(pool)


async def test_tls(tls: ssl.SSLContext) -> None:
    async with pool_to(once(ANSWER), tls=tls) as pool:
        for _ in range(3):
            assert await ask(pool) == Received(200, SIGNATURE, BODY)
        assert len(pool._all) == 1


async def test_plain_where_tls_is_expected_and_the_reverse(tls: ssl.SSLContext) -> None:
    async def plain(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(SHORT.replace(b"200 OK", b"400 Bad Request"))

    async with listening(plain) as port:
        with pytest.raises(Refusal, match="no connection to https"):
            await connect(f"https://127.0.0.1:{port}", encrypting(), 1)
    async with listening(once(ANSWER), tls=tls) as port:
        with closing(pool_at(f"http://127.0.0.1:{port}")) as pool:
            assert isinstance(await outcome(ask(pool)), ConnectionError | Unreachable)


async def test_a_handshake_that_nobody_answers_is_given_up() -> None:
    async with silent_server() as port:
        with pytest.raises(TimeoutError):
            await connect(f"https://127.0.0.1:{port}", encrypting(), SECONDS)


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop's cannot be replaced
async def test_a_name_that_is_looked_up_for_ever_is_given_up() -> None:
    async def look_up(*_: object, **__: object) -> None:
        await asyncio.sleep(10)

    with (
        patch.object(asyncio.get_running_loop(), "getaddrinfo", look_up),
        pytest.raises(TimeoutError),
    ):
        await connect("http://nobody.example:1", None, SECONDS)


AUTHORITY = Authority()
TODAY = SystemClock().now()


@pytest.mark.parametrize(
    ("signed_by", "names", "days", "why"),
    [
        (AUTHORITY, ("127.0.0.1",), 1, ""),
        (AUTHORITY, ("127.0.0.1",), -1, ""),  # expired: a warning at its server, and no split
        (AUTHORITY, ("s1.example",), 1, "IP address mismatch"),
        (Authority("another"), ("127.0.0.1",), 1, "unable to get local issuer certificate"),
    ],
)
async def test_with_authorities_the_certificate_must_be_that_of_the_server_at_any_time(
    signed_by: Authority, names: tuple[str, ...], days: float, why: str
) -> None:
    pair = signed_by.pair(TODAY - 3 * DAY, TODAY + days * DAY, *names)
    async with listening(once(ANSWER), tls=context_of(pair)) as port:
        url = f"https://127.0.0.1:{port}"
        if not why:
            (await connect(url, encrypting(AUTHORITY.pem.decode()), 1)).close()
            return
        with pytest.raises(Refusal, match=f"{why}.*signed by an authority in peer_ca, and cover"):
            await connect(url, encrypting(AUTHORITY.pem.decode()), 1)
        (await connect(url, encrypting(), 1)).close()  # without, it is nobody's matter


async def test_a_certificate_that_is_its_own_authority_may_be_named_among_them(
    tmp_path: Path,
) -> None:
    files = self_signed(tmp_path, ["127.0.0.1"], TODAY)
    bundle = AUTHORITY.pem.decode() + files.certificate.read_text()
    async with listening(once(ANSWER), tls=server_context(files)) as port:
        (await connect(f"https://127.0.0.1:{port}", encrypting(bundle), 1)).close()


def test_what_encrypts_between_servers_verifies_nobody_and_reads_no_authorities() -> None:
    """Reading them takes tens of milliseconds for each peer, in which nobody is served."""
    context = encrypting()
    assert context.verify_mode is ssl.CERT_NONE
    assert context.cert_store_stats()["x509"] == 0
