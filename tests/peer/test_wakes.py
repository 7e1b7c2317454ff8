"""A long body wakes the loop a few times, however small the pieces are in which it comes."""

import asyncio

import pytest

from tests.contracts.chunk_store import chunk_of
from tests.peer.conftest import Server
from tests.peer.raw import Asker, written
from treescale.chunks.store import chunk_id_of
from treescale.http.connections.connection import Connection
from treescale.peer import server as server_module
from treescale.peer.protocol import Action, PeerRequest

LONG = bytes(range(256)) * 4001
PIECE_BYTES = 10_000


async def wakes(server: Server, monkeypatch: pytest.MonkeyPatch) -> int:
    """Put a long chunk and a short one on one connection; return how often bytes were received."""
    count = 0
    received = Connection.data_received

    def counted(connection: Connection, data: bytes) -> None:
        nonlocal count
        count += 1
        received(connection, data)

    monkeypatch.setattr(Connection, "data_received", counted)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    short, data = chunk_of(1)
    for chunk, body in ((chunk_id_of(LONG), LONG), (short, data), (chunk_id_of(LONG), LONG)):
        path = PeerRequest(Action.PUT, "memory", chunk).path
        request = written("PUT", path, body, header=Asker().sign("PUT", path, body).header)
        for at in range(0, len(request), PIECE_BYTES):
            writer.write(request[at : at + PIECE_BYTES])
            await writer.drain()
            await asyncio.sleep(0)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201 ")
    writer.transport.abort()
    return count


async def test_few_pieces_of_a_chunk_that_comes_wake_the_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await wakes(server, monkeypatch) < 30


async def test_each_piece_would_wake_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(server_module, "READ_AT_ONCE_BYTES", 1)
    assert await wakes(server, monkeypatch) > 60


async def test_a_body_that_ends_early_is_noticed_at_once(server: Server) -> None:
    """However little of it is there."""
    path = PeerRequest(Action.PUT, "memory", chunk_id_of(LONG)).path
    header = Asker(deadline_ms=30_000).sign("PUT", path, LONG).header
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(written("PUT", path, LONG, header=header)[:-1000])
    await asyncio.sleep(0.1)
    writer.write_eof()
    async with asyncio.timeout(5):
        assert not (await reader.read()).startswith(b"HTTP/1.1 201 ")
    writer.transport.abort()
