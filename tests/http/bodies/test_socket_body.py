"""Bodies of uploads over sockets: plain and in TLS, on the loop of servers and on asyncio's."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest

from tests.http.bodies.uploading import PATH, Uploading, upload
from tests.loops import new_uvloop
from treescale.http.bodies import socket_body
from treescale.http.connections.connection import Connection
from treescale.http.connections.crowd import Stage
from treescale.http.limits import LIMITS, Limits
from treescale.server.network.certificates import self_signed, server_context

SECONDS: Final = 50
DATA: Final = bytes(range(256)) * 12_000
"""Three MB: more than sockets keep."""
GET: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

Loop = Callable[[], asyncio.AbstractEventLoop]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Place:
    """Runs a scenario with connections to a server."""

    def __init__(self, loop: Loop, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> None:
        self._loop = loop
        self._contexts = contexts
        self._writers: list[asyncio.StreamWriter] = []

    def run(self, scenario: Callable[["Place"], Awaitable[None]], limits: Limits = LIMITS) -> None:
        """Run it on a loop of its own."""
        with asyncio.Runner(loop_factory=self._loop) as runner:
            runner.run(self._serve(scenario, limits))

    async def _serve(self, scenario: Callable[["Place"], Awaitable[None]], limits: Limits) -> None:
        self.uploading = Uploading(limits=limits)
        context = self._contexts[0] if self._contexts else None
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(self.uploading.server, "127.0.0.1", 0, ssl=context)
        self._where = listening.sockets[0].getsockname()
        try:
            async with asyncio.timeout(SECONDS):
                await scenario(self)
        finally:
            for writer in self._writers:
                writer.transport.abort()
            listening.close()
            await self.uploading.server.drain(5)

    async def connect(self) -> Streams:
        """Return a connection."""
        context = self._contexts[1] if self._contexts else None
        reader, writer = await asyncio.open_connection(*self._where, ssl=context)
        self._writers.append(writer)
        return reader, writer


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's and a client's side of TLS."""
    ours = server_context(self_signed(tmp_path_factory.mktemp("tls"), ["127.0.0.1"], 1e9))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return ours, client


@pytest.fixture(params=["plain", "tls"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "tls")


@pytest.fixture(params=[new_uvloop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def place(
    request: pytest.FixtureRequest,
    secure: bool,  # noqa: FBT001  a fixture
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> Place:
    return Place(request.param, contexts if secure else None)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return an answer's head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    return head, await reader.readexactly(int(length.rpartition(b" ")[2]))


@pytest.mark.parametrize("chunk", [None, 7000, 32 * 1024, 700_000])
def test_an_upload_and_what_follows(place: Place, chunk: int | None) -> None:
    async def scenario(at: Place) -> None:
        reader, writer = await at.connect()
        for _ in range(2):
            writer.write(upload(DATA, chunk) + GET)
            assert (await answer(reader))[1] == str(len(DATA)).encode()
            assert (await answer(reader))[1] == b"0"
        assert at.uploading.seen == [("PUT", PATH, DATA), ("GET", "/", b"")] * 2
        assert len(at.uploading.bodies) == 2

    place.run(scenario)


def test_little_is_kept_for_a_reader_that_is_slow(place: Place) -> None:
    async def scenario(at: Place) -> None:
        go_on = asyncio.Event()
        at.uploading.before_reading = go_on.wait
        reader, writer = await at.connect()
        data = DATA * 5  # more than sockets hold
        writer.write(upload(data, 32 * 1024, path=f"{PATH}?pieces"))
        await asyncio.sleep(0.3)
        body = at.uploading.bodies[0]
        assert 0 < sum(map(len, body._ahead)) <= 2 * socket_body.AHEAD_BYTES
        assert not body.is_eof()
        (connection,) = at.uploading.server.connections
        assert isinstance(connection, Connection)
        assert connection.stage is Stage.WORKING
        assert not connection.idle
        go_on.set()
        assert (await answer(reader))[1] == str(len(data)).encode()
        assert at.uploading.seen[0][2] == data

    place.run(scenario)


@pytest.mark.parametrize("chunk", [None, 32 * 1024])
def test_a_client_that_leaves(place: Place, chunk: int | None) -> None:
    async def scenario(at: Place) -> None:
        request = upload(DATA, chunk)
        _, writer = await at.connect()
        writer.write(request[: len(request) // 2])
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()
        await at.uploading.broke.wait()
        (arrived,) = at.uploading.broken
        assert len(arrived) > len(DATA) // 3
        assert DATA.startswith(arrived)

    place.run(scenario)


@pytest.mark.parametrize("chunk", [None, 32 * 1024])
def test_an_early_answer_says_that_the_connection_ends(place: Place, chunk: int | None) -> None:
    async def scenario(at: Place) -> None:
        reader, writer = await at.connect()
        writer.write(upload(DATA, chunk, path=f"{PATH}?look") + GET)
        head, _ = await answer(reader)
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close\r\n" in head
        await writer.drain()  # all of it is taken, and thrown away
        assert await reader.read() == b""
        assert not at.uploading.seen

    place.run(scenario)


def test_nothing_is_kept_of_a_body_that_nobody_has_read(place: Place) -> None:
    async def scenario(at: Place) -> None:
        reader, writer = await at.connect()
        writer.write(upload(DATA[:10_000], 5000, path=f"{PATH}?look"))
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 401 ")
        (body,) = at.uploading.bodies
        assert body.is_eof()
        assert body.read_ready(memoryview(bytearray(10))) == 0
        writer.write(GET)  # the connection goes on
        assert (await answer(reader))[0].startswith(b"HTTP/1.1 200 ")

    place.run(scenario)


@pytest.mark.parametrize("wrong", [OSError(113, "No route to host"), ssl.SSLError(1, "bad record")])
def test_a_wire_that_fails(place: Place, wrong: OSError) -> None:
    async def scenario(at: Place) -> None:
        _, writer = await at.connect()
        writer.write(upload(DATA)[:200_000])
        while not at.uploading.bodies:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        at.uploading.bodies[0].set_exception(wrong)
        await at.uploading.broke.wait()

    place.run(scenario)


def test_a_body_that_cannot_be_read(place: Place) -> None:
    async def scenario(at: Place) -> None:
        reader, writer = await at.connect()
        good = upload(DATA, 32 * 1024)
        writer.write(good.removesuffix(b"0\r\n\r\n") + b"5 \r\nabcde\r\n0\r\n\r\n" + GET)
        head, body = await answer(reader)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"Connection: close\r\n" in head
        assert b"size" in body
        assert await reader.read() == b""  # soon: nothing more of it is waited for
        assert not at.uploading.seen

    place.run(scenario, replace(LIMITS, linger_seconds_max=10 * SECONDS))


def test_a_body_that_hardly_moves(place: Place) -> None:
    async def scenario(at: Place) -> None:
        reader, writer = await at.connect()
        writer.write(upload(DATA)[:200_000])
        assert b"hardly moves" in (await answer(reader))[1]
        assert len(at.uploading.broken[0]) > 199_000

    limits = replace(LIMITS, body_window_seconds=0.4, linger_seconds_max=0.1)
    place.run(scenario, limits)


def test_first_bytes_are_not_kept_from_the_reader(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is kept alive, and its bytes are recorded, however slowly they come."""
    read: asyncio.Queue[int] = asyncio.Queue()
    into = socket_body.SocketBody.read_into

    async def watched(self: socket_body.SocketBody, view: memoryview) -> int:
        count = await into(self, view)
        read.put_nowait(count)
        return count

    monkeypatch.setattr(socket_body.SocketBody, "read_into", watched)

    async def scenario(at: Place) -> None:
        _, writer = await at.connect()
        head, _, body = upload(DATA).partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(body[:10])
        assert await read.get() == 10

    place.run(scenario)


@pytest.mark.parametrize("loop", [new_uvloop, asyncio.new_event_loop])
def test_a_server_that_ends_lets_an_upload_finish(loop: Loop) -> None:
    async def scenario(at: Place) -> None:
        request = upload(DATA, 32 * 1024)
        reader, writer = await at.connect()
        writer.write(request[: len(request) // 2])
        await asyncio.sleep(0.1)
        async with asyncio.TaskGroup() as group:
            group.create_task(at.uploading.server.drain(5))
            await asyncio.sleep(0.1)
            writer.write(request[len(request) // 2 :])
            head, body = await answer(reader)
            assert body == str(len(DATA)).encode()
            assert b"Connection: close\r\n" in head

    Place(loop, None).run(scenario)
