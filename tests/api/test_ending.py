"""How a server ends: what is in flight is finished, bodies that still arrive included."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from tests.loops import new_uvloop
from treescale.http.body import RequestBody
from treescale.http.connections.connection import DRAIN_LOOK_SECONDS, Connection, ConnectionServer
from treescale.http.connections.entrance import Door
from treescale.http.connections.listener import Listener
from treescale.metrics.traffic import TrafficCounters

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF = b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nfirst"


async def count(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with the body's length."""
    return web.Response(text=str(len(await RequestBody(request, TrafficCounters()).read(100))))


@pytest.fixture
async def connections() -> ConnectionServer:
    return ConnectionServer(count, tls=False)


@pytest.fixture
async def port(connections: ConnectionServer) -> AsyncIterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.get_running_loop().create_server(connections, sock=listener)
        yield listener.getsockname()[1]
        server.close()


async def ask(port: int, request: bytes) -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    return reader, writer


def busy(connections: ConnectionServer) -> int:
    """Return how many connections have a request."""
    found = [each for each in connections.connections if isinstance(each, Connection)]
    return sum(not each.idle for each in found)


async def accepted(connections: ConnectionServer, number: int) -> None:
    """Wait until the server has all these connections, and one of them a request."""
    async with asyncio.timeout(10):
        while len(connections.connections) < number or busy(connections) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_body_on_its_way_is_taken_to_its_end(
    connections: ConnectionServer, port: int
) -> None:
    silent, silent_writer = await ask(port, b"")
    kept, kept_writer = await ask(port, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert (await kept.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
    uploading, writer = await ask(port, HALF)
    await accepted(connections, 3)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        drained = group.create_task(connections.drain(60))
        assert await silent.read() == b""
        assert await kept.read() == b""
        assert not drained.done()
        writer.write(b"-last")
        answer = await uploading.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer
    assert answer.endswith(b"10")
    for each in (silent_writer, kept_writer, writer):
        each.close()


async def test_who_has_just_connected_is_answered(connections: ConnectionServer, port: int) -> None:
    reader, writer = await ask(port, b"")
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        while not connections.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
        group.create_task(connections.drain(60))
        await asyncio.sleep(2 * DRAIN_LOOK_SECONDS)
        writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("loop_kind", [new_uvloop, asyncio.new_event_loop])
def test_connections_that_nobody_has_accepted_are_not_reset(
    loop_kind: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def stopped_before_it_accepts() -> bytes:
        connections = ConnectionServer(count, tls=False)
        listener = socket.create_server(("127.0.0.1", 0))
        where = listener.getsockname()
        listening = await Listener.begin(connections, [Door(listener)], backlog=10)
        with socket.create_connection(where, timeout=10) as client:  # the kernel's work alone
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await listening.stop(5)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(where, timeout=10)
            return client.recv(1000)

    with asyncio.Runner(loop_factory=loop_kind) as runner:
        assert runner.run(stopped_before_it_accepts()).startswith(b"HTTP/1.1 200")


async def test_what_does_not_end_is_cut_off(connections: ConnectionServer, port: int) -> None:
    uploading, writer = await ask(port, HALF)
    await accepted(connections, 1)
    async with asyncio.timeout(10):
        await connections.drain(0)
        assert await uploading.read() == b""
    writer.close()
