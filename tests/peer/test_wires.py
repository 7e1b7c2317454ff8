"""The wires chunks come over: what is no answer, and connections that end, are told apart."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from treescale.errors import Unreachable
from treescale.peer.wires import ChunkWires, Received, Refusal, head_bytes_max

BODY = bytes(range(256)) * 400
SIGNATURE = "ab" * 32
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(BODY)}\r\nTreeScale-Answer: {SIGNATURE}\r\n\r\n"
ANSWER = HEAD.encode() + BODY
SECONDS = 0.2
Serve = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def wires_to(serve: Serve) -> AsyncIterator[ChunkWires]:
    """Return wires to a server that answers the connections, counted from 1."""
    accepted = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        try:
            await serve(accepted, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with ChunkWires(
        URL(f"http://127.0.0.1:{port}"), None, connect_seconds=1, idle_seconds=5
    ) as wires:
        yield wires
    server.close()
    await server.wait_closed()


def once(answer: bytes, *, pieces: int = 1 << 20) -> Serve:
    """Answer each request with these bytes, in pieces."""

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for at in range(0, len(answer), pieces):
                writer.write(answer[at : at + pieces])
                await writer.drain()
                await asyncio.sleep(0)

    return serve


async def get(wires: ChunkWires) -> Received:
    return await wires.get("/peer/v1/x", "TreeScale-Request: y", 1 << 20, SECONDS)


@pytest.mark.parametrize("pieces", [7000, 1 << 20])
async def test_answers_come_whole_on_one_connection(pieces: int) -> None:
    async with wires_to(once(ANSWER, pieces=pieces)) as wires:
        for _ in range(3):
            assert await get(wires) == Received(200, SIGNATURE, BODY)
        assert len(wires._idle) == 1


async def test_a_connection_closed_while_idle_is_replaced() -> None:
    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await reader.read(1)  # the second request: it is hung up on

    async with wires_to(serve) as wires:
        assert (await get(wires)).body == BODY
        assert (await get(wires)).body == BODY


async def test_a_new_connection_that_ends_is_not_asked_again() -> None:
    asked = 0

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER[:5000])

    async with wires_to(serve) as wires:
        with pytest.raises(ConnectionError):
            await get(wires)
    assert asked == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        HEAD.replace(str(len(BODY)), str(1 << 21)).encode(),
        HEAD.replace("200 OK", "404 Not Found").encode() + BODY,
        HEAD.replace(str(len(BODY)), "3").encode() + b"more",
        b"x" * head_bytes_max,
    ],
)
async def test_what_is_no_answer(answer: bytes) -> None:
    async with wires_to(once(answer)) as wires:
        with pytest.raises(Unreachable):
            await get(wires)
        assert wires._idle == []


async def test_what_comes_unasked_ends_the_connection() -> None:
    async with wires_to(once(ANSWER + b"more")) as wires:
        assert (await get(wires)).body == BODY
        await asyncio.sleep(0.05)
        assert [wire.is_closed for wire in wires._idle] == [True]
        assert (await get(wires)).body == BODY


async def test_silence_ends_and_a_trickle_does_not() -> None:
    async def silent(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER[:5000])
        await reader.read(1)

    async def trickle(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(ANSWER), 20_000):
            writer.write(ANSWER[at : at + 20_000])
            await asyncio.sleep(SECONDS / 3)

    async with wires_to(silent) as wires:
        with pytest.raises(TimeoutError):
            await get(wires)
    async with wires_to(trickle) as wires:
        assert (await get(wires)).body == BODY


async def test_nobody_listens_and_nobody_asks_any_more() -> None:
    async with wires_to(once(ANSWER)) as wires:
        pass
    with pytest.raises(Unreachable, match="no longer there"):
        await get(wires)
    other = ChunkWires(URL("http://127.0.0.1:1"), None, connect_seconds=1, idle_seconds=1)
    with other, pytest.raises(Refusal):
        await get(other)


async def test_who_leaves_ends_the_connection() -> None:
    gone = asyncio.Event()

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER[:5000])
        await reader.read()
        gone.set()

    async with wires_to(serve) as wires:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SECONDS / 4):
                await get(wires)
        await asyncio.wait_for(gone.wait(), 1)
