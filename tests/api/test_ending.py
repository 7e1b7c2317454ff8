"""How a server ends: what is in flight is finished, bodies that still arrive included."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from treescale.api.body import RequestBody
from treescale.api.connection import Connection, ConnectionServer

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF = b"PUT / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nfirst"


async def count(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with the body's length."""
    return web.Response(text=str(len(await RequestBody(request).read(100))))


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


async def test_what_does_not_end_is_cut_off(connections: ConnectionServer, port: int) -> None:
    uploading, writer = await ask(port, HALF)
    await accepted(connections, 1)
    async with asyncio.timeout(10):
        await connections.drain(0)
        assert await uploading.read() == b""
    writer.close()
