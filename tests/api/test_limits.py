"""Stuck connections end, slow ones do not. The server is told what time it is: nothing waits."""

import asyncio
import math
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol

from treescale.errors import BodyTooSlow
from treescale.http.connections.connection import Connection, ConnectionServer
from treescale.http.limits import LIMITS, Limits, MinimumRate

SECONDS = 20
PIECE = b"x" * 64 * 1024
FOREVER = replace(
    LIMITS,
    head_seconds_max=math.inf,
    silent_seconds_max=math.inf,
    answer_idle_seconds_max=math.inf,
)


class Peer:
    """A client, and the server it talks to."""

    def __init__(
        self, server: ConnectionServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer

    @property
    def connection(self) -> Connection:
        """Return the server's end."""
        (only,) = self.server.connections
        assert isinstance(only, Connection)
        return only

    async def until(self, happened: Callable[[], bool]) -> None:
        """Return when it has happened."""
        async with asyncio.timeout(SECONDS):
            while not happened():  # noqa: ASYNC110  the server tells nobody
                await asyncio.sleep(0.001)

    async def send(self, data: bytes) -> None:
        """Send it, and return when the server has seen the begin of a head."""
        self.writer.write(data)
        await self.until(lambda: self.connection._head_at is not None)

    def later(self, seconds: float) -> None:
        """Let the server look after its connections, so much later than now."""
        self.server.cut_stuck(asyncio.get_running_loop().time() + seconds)

    async def rest(self) -> bytes:
        """Return what comes until the server ends the connection."""
        async with asyncio.timeout(SECONDS):
            return await self.reader.read()

    def cut(self) -> bool:
        """Return whether the server gave up."""
        return not self.server.connections


async def answer_at_once(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="here")


@asynccontextmanager
async def peer(
    limits: Limits,
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = answer_at_once,
) -> AsyncIterator[Peer]:
    server = ConnectionServer(handler, tls=False, limits=limits, access_log=None)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server, "127.0.0.1", 0)
    where = listening.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*where[:2])
    found = Peer(server, reader, writer)
    await found.until(lambda: bool(server.connections))
    yield found
    writer.transport.abort()
    listening.close()
    await server.shutdown(1)


class TestHeads:
    async def test_a_head_has_its_time_and_no_more(self) -> None:
        async with peer(LIMITS) as slow:
            await slow.send(b"GET / HTTP/1.1\r\n")
            slow.later(LIMITS.head_seconds_max - 1)
            slow.writer.write(b"Host: a\r\nX: ")
            await asyncio.sleep(0.01)  # one turn of the loop, which is the server's too
            slow.later(LIMITS.head_seconds_max + 1)  # the bytes in between gave it no more
            answer = await slow.rest()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"Content-Type: application/json\r\n" in answer
            assert answer.endswith(b'"detail":null}]}')

    async def test_the_control(self) -> None:
        async with peer(FOREVER) as slow:
            await slow.send(b"GET / HTTP/1.1\r\n")
            slow.later(1_000_000)
            slow.writer.write(b"Host: a\r\nConnection: close\r\n\r\n")
            assert b" 200 OK" in await slow.rest()

    async def test_the_second_head_of_a_connection_too(self) -> None:
        async with peer(LIMITS) as slow:
            slow.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await slow.reader.readuntil(b"here")
            slow.later(LIMITS.silent_seconds_max + 1)
            assert not slow.cut(), "between requests it may be silent"
            await slow.send(b"GET")
            slow.later(LIMITS.head_seconds_max + 1)
            assert (await slow.rest()).startswith(b"HTTP/1.1 408 ")

    async def test_a_whole_head_stops_the_watch(self) -> None:
        async with peer(LIMITS) as slow:
            await slow.send(b"GET / HTTP/1.1\r\n")
            slow.writer.write(b"Host: a\r\n\r\n")
            await slow.reader.readuntil(b"here")
            slow.later(LIMITS.head_seconds_max + 1)
            assert not slow.cut()

    @pytest.mark.parametrize(("limits", "cut"), [(LIMITS, True), (FOREVER, False)])
    async def test_silence(self, limits: Limits, *, cut: bool) -> None:
        async with peer(limits) as silent:
            silent.later(LIMITS.silent_seconds_max - 1)
            assert not silent.connection._force_close
            silent.later(LIMITS.silent_seconds_max + 1)
            assert silent.connection._force_close == cut

    async def test_it_looks_when_it_is_told_to(self) -> None:
        async with peer(replace(LIMITS, silent_seconds_max=0.0, look_seconds=0.01)) as silent:
            assert silent.server.look_seconds == 0.01
            await silent.until(lambda: bool(silent.server.connections))
            await silent.server.look()
            assert await silent.rest() == b""
            await silent.until(silent.cut)

    async def test_a_request_at_work_is_not_stuck(self) -> None:
        go_on = asyncio.Event()

        async def work(_: web.BaseRequest) -> web.StreamResponse:
            await go_on.wait()
            return web.Response(text="done")

        async with peer(LIMITS, work) as patient:
            patient.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await patient.until(lambda: patient.connection._current_request is not None)
            patient.later(1_000_000)
            go_on.set()
            assert (await patient.rest()).endswith(b"done")


class TestReaders:
    """An answer that never ends, and a client that takes of it what the test says."""

    @staticmethod
    async def pour(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(PIECE)

    async def asked(self, reader: Peer) -> None:
        """Ask, and return when the server has more to send than the client takes."""
        reader.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.until(lambda: reader.connection.writing_paused)

    async def test_one_that_takes_nothing_is_cut(self) -> None:
        async with peer(LIMITS, self.pour) as reader:
            await self.asked(reader)
            for look in range(10):  # what was under way is acknowledged meanwhile
                reader.later((LIMITS.answer_idle_seconds_max + 1) * look)
                await asyncio.sleep(0.001)
            await reader.until(reader.cut)

    async def test_the_control(self) -> None:
        async with peer(FOREVER, self.pour) as reader:
            await self.asked(reader)
            for look in range(10):
                reader.later((LIMITS.answer_idle_seconds_max + 1) * look)
                await asyncio.sleep(0.001)
            assert not reader.cut()

    async def test_one_that_takes_a_little_is_not(self) -> None:
        async with peer(LIMITS, self.pour) as reader:
            await self.asked(reader)
            for look in range(10):
                reader.later((LIMITS.answer_idle_seconds_max + 1) * look)
                await reader.reader.readexactly(8 * 1024 * 1024)
            assert not reader.cut()

    async def test_it_costs_no_more_than_the_window(self) -> None:
        async with peer(FOREVER, self.pour) as reader:
            await self.asked(reader)
            wire = reader.connection._wire
            assert wire is not None
            assert wire.get_write_buffer_size() <= 4 * len(PIECE)


class Jumps(selectors.SelectSelector):
    """Waits for nothing: the time it should have waited has passed at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready."""
        self.now += timeout or 0.0
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes by its timers alone."""

    def __init__(self) -> None:
        self._jumps = Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        """Return the time that was waited for."""
        return self._jumps.now


class TestBodies:
    async def drip(
        self, size: int, every: float, times: int, limits: Limits = LIMITS, *, logged_in: bool
    ) -> int:
        """Return how many bytes of a dripping body were read; raises BodyTooSlow."""
        loop = asyncio.get_running_loop()
        protocol = BaseProtocol(loop)
        protocol.transport = asyncio.Transport()  # only that there is one
        content = StreamReader(protocol, 2**16, loop=loop)
        for number in range(1, times + 1):
            loop.call_later(every * number, content.feed_data, b"x" * size)
        loop.call_later(every * times + 0.5, content.feed_eof)
        rate = MinimumRate(limits, logged_in=logged_in)
        received = 0
        while piece := await rate.wait(content.readany()):
            received += len(piece)
            rate.count(len(piece))
        return received

    def run(
        self,
        size: int,
        every: float,
        times: int,
        limits: Limits = LIMITS,
        *,
        logged_in: bool = False,
    ) -> int:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(self.drip(size, every, times, limits, logged_in=logged_in))

    def test_a_byte_a_second_is_cut(self) -> None:
        with pytest.raises(BodyTooSlow, match="15360 bytes in 60 seconds"):
            self.run(1, 1, 1000)

    def test_nothing_at_all_is_cut(self) -> None:
        with pytest.raises(BodyTooSlow):
            self.run(1, 61, 1)

    def test_the_control(self) -> None:
        assert self.run(1, 1, 1000, replace(LIMITS, body_window_seconds=math.inf)) == 1000

    def test_who_is_logged_in_is_waited_for(self) -> None:
        assert self.run(64 * 1024, 3500, 3, logged_in=True) == 3 * 64 * 1024
        with pytest.raises(BodyTooSlow, match="3600 seconds"):
            self.run(1, 3601, 1, logged_in=True)

    def test_a_modem_is_not_cut(self) -> None:
        assert self.run(300, 1, 10_000) == 3_000_000

    def test_pauses_are_not_cut(self) -> None:
        assert self.run(64 * 1024, 59, 100) == 6_553_600

    def test_the_end_may_be_small(self) -> None:
        assert self.run(10, 1, 50) == 500
