"""Blobs sent as files: byte-exact, nothing left open, cut when a file is not what was verified."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from aiohttp import web
from blake3 import blake3

from tests.api.running import LateClock
from tests.http.connections.test_nearby import ANOTHER
from treescale.chunks.disk.file import FileSlice
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.recipe import Recipe
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import chunk_id_of
from treescale.chunks.stream.reader import BlobReader
from treescale.errors import ChunkUnknown
from treescale.http.connections.connection import ConnectionServer
from treescale.http.connections.nearby import PLAINEST
from treescale.http.connections.sending import FileSender, sender_for
from treescale.http.limits import LIMITS, Limits

CHUNKS = [blake3(bytes([seed])).digest(length=2_000_000 + seed) for seed in range(6)]
IDS = [chunk_id_of(data) for data in CHUNKS]
RECIPE = Recipe(DEFAULT, tuple(zip(IDS, map(len, CHUNKS), strict=True)))
BLOB = b"".join(CHUNKS)
GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Serving:
    """A server of one blob, which counts the slices it sent as files."""

    def __init__(self, root: Path, threads: Executor) -> None:
        self.root = root
        self.threads = threads
        self.forget()
        self.slices = 0
        self.errors: list[BaseException] = []
        self.controls: list[bytes] = []
        """By which congestion control each answer was sent."""
        self.before = asyncio.Event()
        self.before.set()

    def path(self, chunk: bytes) -> Path:
        name = chunk.hex()
        return self.root / "chunks" / name[:2] / name[2:4] / name

    def forget(self) -> None:
        """Go on as another process, which knows nothing of the chunks."""
        self.store = DiskStore.create_or_open(self.root, threads=self.threads, clock=LateClock())

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(BLOB)
        await response.prepare(request)
        sender = sender_for(request, response)
        assert isinstance(sender, FileSender)
        assert request.transport is not None
        wire = request.transport.get_extra_info("socket")
        self.controls.append(wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16))
        try:
            with sender:
                await self._send(response, sender)
        except Exception as error:
            self.errors.append(error)
            if request.transport is not None:
                request.transport.abort()
            raise
        await response.write_eof()
        return response

    async def _send(self, response: web.StreamResponse, sender: FileSender) -> None:
        last = len(BLOB) - 1
        async with BlobReader(self.store, RECIPE, 0, last, files=True) as reader:
            while (piece := await reader.next_piece()) is not None:
                await self.before.wait()
                if isinstance(piece, FileSlice):
                    self.slices += 1
                    try:
                        await sender.send(piece)
                    finally:
                        piece.file.close()
                else:
                    await response.write(piece)


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    with ThreadPoolExecutor(4) as threads:
        serving = Serving(tmp_path / "s", threads)
        for chunk, data in zip(IDS, CHUNKS, strict=True):
            await serving.store.put(chunk, data)
        yield serving


@pytest.fixture
def limits() -> Limits:
    return LIMITS


@pytest.fixture
async def port(serving: Serving, limits: Limits) -> AsyncIterator[int]:
    connections = ConnectionServer(serving.answer, tls=False, limits=limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = await asyncio.get_running_loop().create_server(connections, sock=listener)
        yield listener.getsockname()[1]
        server.close()
        await connections.shutdown(1)


async def ask(port: int, request: bytes = GET) -> Stream:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return reader, writer


async def body(reader: asyncio.StreamReader) -> bytes:
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    return await reader.readexactly(len(BLOB))


async def test_trusted_chunks_leave_as_files_and_the_connection_is_kept(
    serving: Serving, port: int
) -> None:
    reader, writer = await ask(port, GET + GET)
    assert await body(reader) == BLOB
    assert await body(reader) == BLOB
    assert serving.slices == 2 * len(CHUNKS)
    writer.close()


async def test_only_who_is_on_the_same_machine_is_sent_to_without_pacing(
    serving: Serving, limits: Limits
) -> None:
    connections = ConnectionServer(serving.answer, tls=False, limits=limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, ANOTHER)
        server = await asyncio.get_running_loop().create_server(connections, sock=listener)
        for source in ("127.0.0.1", "127.0.0.2"):
            reader, writer = await asyncio.open_connection(
                *listener.getsockname(), local_addr=(source, 0)
            )
            writer.write(GET)
            assert await body(reader) == BLOB
            writer.close()
        server.close()
        await connections.shutdown(1)
    assert [found.rstrip(b"\0") for found in serving.controls] == [PLAINEST, ANOTHER]


async def test_what_is_not_trusted_is_hashed_and_sent_as_a_file(
    serving: Serving, port: int
) -> None:
    serving.forget()
    reader, writer = await ask(port)
    assert await body(reader) == BLOB
    writer.close()
    assert serving.slices == len(CHUNKS)


async def test_what_is_not_trusted_and_wrong_is_not_sent(serving: Serving, port: int) -> None:
    with serving.path(IDS[1]).open("r+b") as file:
        file.write(b"wrong")
    serving.forget()
    reader, writer = await ask(port)
    await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(20):
        assert await reader.read() == CHUNKS[0]
    assert "is corrupt" in str(serving.errors[0])
    writer.close()


async def test_a_file_that_changed_after_it_was_opened_cuts_the_answer(
    serving: Serving, port: int
) -> None:
    serving.before.clear()
    reader, writer = await ask(port)
    await reader.readuntil(b"\r\n\r\n")
    with serving.path(IDS[0]).open("r+b") as file:
        file.write(b"wrong")
    serving.before.set()
    async with asyncio.timeout(5):
        assert len(await reader.read()) < len(BLOB)
    assert "changed while it was sent" in str(serving.errors[0])
    writer.close()


async def test_a_file_that_changed_before_it_is_opened_is_not_sent(
    serving: Serving, port: int
) -> None:
    with serving.path(IDS[-1]).open("r+b") as file:
        file.write(b"wrong")
    reader, writer = await ask(port)
    with pytest.raises(asyncio.IncompleteReadError):
        await body(reader)
    assert "corrupt" in str(serving.errors[0])
    with pytest.raises(ChunkUnknown):
        await serving.store.get(IDS[-1])
    writer.close()


async def test_a_client_that_leaves_frees_every_descriptor(serving: Serving, port: int) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(5):
        reader, writer = await ask(port)
        await reader.readexactly(100_000)
        writer.transport.abort()
    async with asyncio.timeout(20):
        while len(serving.errors) < 5 or len(os.listdir("/proc/self/fd")) > before:  # noqa: ASYNC110, PTH208
            await asyncio.sleep(0.01)
    assert [error for error in serving.errors if not isinstance(error, ConnectionError)] == []


@pytest.mark.parametrize("limits", [Limits(answer_idle_seconds_max=0.2)])
async def test_a_reader_that_takes_nothing_is_cut(serving: Serving, port: int) -> None:
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)  # noqa: FBT003  the standard library's signature
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, ("127.0.0.1", port))
        await loop.sock_sendall(slow, GET)
        async with asyncio.timeout(20):
            while not serving.errors:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert isinstance(serving.errors[0], TimeoutError)


@pytest.mark.parametrize("limits", [Limits(answer_idle_seconds_max=0.05)])
async def test_a_reader_is_left_alone_while_it_confirms_anything(
    serving: Serving, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Much lies in a slow reader's socket, which is not writable for minutes."""
    asked = count()
    monkeypatch.setattr(FileSender, "_acknowledged", lambda _: min(next(asked), 8))
    _reader, writer = await ask(port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while not serving.errors:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert isinstance(serving.errors[0], TimeoutError)
    assert next(asked) > 8
    writer.close()
