"""Whose bodies are read past aiohttp, and that nobody can tell: any requests, split anywhere."""

import asyncio
import re
from collections.abc import Iterator
from time import process_time
from typing import Final, cast

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as some

from tests.http.bodies.uploading import PATH, Seen, Uploading, upload
from tests.tables import each_row
from treescale.http.bodies.framing import ChunkedDecoder, LengthDecoder
from treescale.http.connections import upload_heads
from treescale.http.connections.connection import Connection
from treescale.http.connections.upload_heads import LENGTH_MIN, UploadHeads

CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
GET: Final = b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"


def head(lines: bytes, first: bytes = b"PUT /v2/a/blobs/uploads/x HTTP/1.1") -> bytes:
    """Return a head."""
    return first + b"\r\nHost: a\r\n" + lines + b"\r\n"


class Wire(asyncio.Transport):
    """Hands its protocol bytes as a loop does, while it is not paused."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._paused = self._closing = False
        self.answered = b""

    async def deliver(self, data: bytes) -> None:
        """Hand all of it over."""
        while data and not self._closing:
            protocol = self._protocol
            if self._paused:
                await asyncio.sleep(0)
            elif isinstance(protocol, asyncio.BufferedProtocol):
                buffer = memoryview(protocol.get_buffer(-1))
                count = min(len(buffer), len(data))
                buffer[:count], data = data[:count], data[count:]
                protocol.buffer_updated(count)
            else:
                assert isinstance(protocol, asyncio.Protocol)
                piece, data = data, b""
                protocol.data_received(piece)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answered += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture(autouse=True, scope="module")
def small_bodies_count() -> Iterator[None]:
    """Have bodies be read past aiohttp that are small enough to be tried by the thousand."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upload_heads, "LENGTH_MIN", 1)
        patch.setattr(upload_heads, "_BODY", re.compile(rb"\n(?i:transfer|content-length:)"))
        yield


@some.composite
def requests(draw: some.DrawFn) -> bytes:
    """Return some requests, one after the other."""
    parts: list[bytes] = []
    for _ in range(draw(some.integers(1, 4))):
        data = draw(some.one_of(some.binary(max_size=60), some.just(GET)))
        chunk = draw(some.sampled_from([None, 1, 7, 50]))
        path = draw(some.sampled_from([PATH, f"{PATH}?pieces", "/v2/a/manifests/1"]))
        method = draw(some.sampled_from(["PATCH", "PUT", "POST"]))
        parts.append(
            draw(some.sampled_from([GET, b"\r\n" + GET])) if draw(some.booleans()) else b""
        )
        parts.append(upload(data, chunk, method=method, path=path))
    return b"".join(parts)


def read_by_aiohttp(data: bytes) -> list[Seen]:
    """Return what aiohttp's parser finds."""
    loop = cast("asyncio.AbstractEventLoop", object())  # which nobody asks
    messages, _, _ = HttpRequestParser(BaseProtocol(loop), loop, 2**20).feed_data(data)
    assert all(content.is_eof() for _, content in messages)
    return [(each.method, each.path, content.read_nowait(-1)) for each, content in messages]


async def served(data: bytes, splits: list[int], view_bytes: int) -> tuple[Uploading, bytes]:
    """Return what a server was asked that gets the bytes in pieces, and what it answered."""
    uploading = Uploading(view_bytes)
    connection = uploading.server()
    wire = Wire(connection)
    connection.connection_made(wire)
    at, number = 0, 0
    async with asyncio.timeout(20):
        while at < len(data):
            size = splits[number % len(splits)] if splits else len(data)
            await wire.deliver(data[at : at + size])
            at += size
            if number % 3 == 0:
                await asyncio.sleep(0)
            number += 1
        assert isinstance(connection, Connection)
        while not connection.idle and connection.transport is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    wire.close()
    await asyncio.sleep(0)
    return uploading, wire.answered


class TestAnySplit:
    @given(requests(), some.lists(some.integers(1, 90), max_size=5), some.integers(1, 80))
    def test_requests_are_those_that_aiohttp_finds(
        self, data: bytes, splits: list[int], view_bytes: int
    ) -> None:
        uploading, answered = asyncio.run(served(data, splits, view_bytes))
        assert uploading.seen == read_by_aiohttp(data)
        assert answered.count(b"HTTP/1.1 200 OK") == len(uploading.seen)

    async def test_the_control_bodies_are_taken_over(self) -> None:
        uploading, _ = await served(upload(b"abc") + upload(b"abc", 2), [], 10)
        assert len(uploading.bodies) == 1  # the second came with the first
        uploading, _ = await served(upload(b"abc", 2), [7], 10)
        assert len(uploading.bodies) == 0  # its head came in pieces


HIDDEN: Final = head(CHUNKED) + b"0\r\n\r\n"
"""The end of a header's value, another header, and the empty body they announce."""


class TestWhereAHeadBegins:
    """What looks like an upload within another head, or in a body, is none."""

    @each_row(
        "before",
        [
            b"GET /b HTTP/1.1\r\nX: ",
            GET + b"GET /b HTTP/1.1\r\nX: ",
            upload(b"abc", 2) + b"GET /b HTTP/1.1\r\nX: ",
        ],
    )
    async def test_within_a_head(self, before: bytes) -> None:
        seen = await self.seen_of(before, HIDDEN)  # whose Host is that of the head around it
        assert seen == read_by_aiohttp(before + HIDDEN)
        assert seen[-1][:2] == ("GET", "/b")

    async def test_within_a_body(self) -> None:
        before = head(b"Content-Length: %d\r\n" % len(HIDDEN), b"PUT /v2/a/manifests/1 HTTP/1.1")
        assert await self.seen_of(before, HIDDEN) == [("PUT", "/v2/a/manifests/1", HIDDEN)]

    async def test_the_control(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the look at the last bytes, one is found within a head."""
        monkeypatch.setattr(Connection, "_clean", property(lambda _: True, lambda *_: None))
        before = GET + b"GET /b HTTP/1.1\r\nX: "
        assert ("PUT", PATH, b"") in await self.seen_of(before, HIDDEN)

    async def seen_of(self, before: bytes, after: bytes) -> list[Seen]:
        """Return what is found when the second bytes come once all of the first is answered."""
        uploading = Uploading()
        connection = uploading.server()
        wire = Wire(connection)
        connection.connection_made(wire)
        await asyncio.sleep(0)
        for data in (before, after):
            await wire.deliver(data)
            for _ in range(50):
                await asyncio.sleep(0)
        wire.close()
        await asyncio.sleep(0)
        return uploading.seen


class TestHeads:
    @each_row(
        "first",
        [
            b"GET /v2/a/blobs/uploads/x HTTP/1.1",
            b"PUT /v2/a/manifests/1 HTTP/1.1",
            b"PUT /v2/a/blobs/uploads/x HTTP/1.0",
            b"PUT /v2/a/blobs/uploads/x HTTP/2.0",
            b"PUT http://a/v2/a/blobs/uploads/x HTTP/1.1",
            b"PUT /v2//blobs/uploads/x HTTP/1.1",
            b"PUT /v2/a HTTP/1.1\r\nX: /blobs/uploads/x HTTP/1.1",
        ],
    )
    async def test_other_requests_are_left_alone(self, first: bytes) -> None:
        assert self.read(head(CHUNKED, first)) is None

    @each_row(
        "lines",
        [
            b"",
            b"Content-Length: 0\r\n",
            b"Content-Length: 100000\r\n" + CHUNKED,
            b"Content-Length: 100000\r\nContent-Length: 100000\r\n",
            b"Content-Length: +100000\r\n",
            b"Content-Length: 100000000000000000000\r\n",
            CHUNKED * 2,
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding: chun\xe2\x84\xaaed\r\n",
            CHUNKED + b"Upgrade: h2c\r\n",
            CHUNKED + b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
            CHUNKED + b"Content-Encoding: gzip\r\n",
            CHUNKED + b"Host: b\r\n",
            CHUNKED + b"X: a\0b\r\n",
            CHUNKED + b"X: a\n b\r\n",
            CHUNKED + b"no colon\r\n",
            CHUNKED + b"X: " + b"a" * 9000 + b"\r\n",
        ],
    )
    async def test_odd_ones_are_left_to_aiohttp(self, lines: bytes) -> None:
        heads = UploadHeads(asyncio.get_running_loop())
        assert heads.read(head(lines)) is None
        assert heads.read(head(CHUNKED)) is not None  # nothing of it is left behind

    async def test_what_is_read(self) -> None:
        upload = self.read(head(b"Transfer-Encoding: Chunked\r\nX: y\r\n") + b"rest")
        assert upload is not None
        assert (upload.message.method, upload.message.path) == ("PUT", PATH)
        assert upload.message.headers["X"] == "y"
        assert isinstance(upload.decoder, ChunkedDecoder)
        assert upload.rest == b"rest"
        upload = self.read(head(b"Content-Length: 70000\r\nExpect: 100-continue\r\n"))
        assert upload is not None
        assert isinstance(upload.decoder, LengthDecoder)

    async def test_one_that_ends_its_connection_leaves_the_next_alone(self) -> None:
        heads = UploadHeads(asyncio.get_running_loop())
        for _ in range(2):
            assert heads.read(head(CHUNKED + b"Connection: close\r\n")) is not None

    async def test_a_long_line_takes_no_longer_than_its_bytes(self) -> None:
        """It comes from anybody, before a limit is looked at."""
        line = b"PUT /v2/a" + b"/blobs/uploads/" * 17_000
        begun = process_time()
        assert self.read(line) is None
        assert self.read(line + b" HTTP/1.1\r\n\r\n") is None
        assert process_time() - begun < 1

    async def test_half_a_head_is_left_to_aiohttp(self) -> None:
        assert self.read(head(CHUNKED)[:-1]) is None

    async def test_limits_are_the_connections(self) -> None:
        long = head(CHUNKED + b"X: " + b"a" * 9000 + b"\r\n")
        heads = UploadHeads(asyncio.get_running_loop(), max_field_size=10_000, tcp_keepalive=True)
        assert heads.read(long) is not None

    async def test_small_bodies_are_not_worth_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(upload_heads, "LENGTH_MIN", LENGTH_MIN)
        assert self.read(head(b"Content-Length: %d\r\n" % (LENGTH_MIN - 1))) is None
        assert self.read(head(b"Content-Length: %d\r\n" % LENGTH_MIN)) is not None

    def read(self, data: bytes) -> upload_heads.UploadHead | None:
        return UploadHeads(asyncio.get_running_loop()).read(data)
