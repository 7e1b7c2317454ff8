"""Our decoders beside aiohttp's parser: the same bodies, and nothing that it would refuse."""

import asyncio
from functools import partial
from typing import Final, cast

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as some

from tests.tables import each_row
from treescale.errors import BodyIncomplete
from treescale.http.bodies import framing
from treescale.http.bodies.framing import ChunkedDecoder, Decoder, LengthDecoder

HEAD: Final = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FOLLOWS: Final = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
END: Final = b"0\r\n\r\n"
NAMES: Final = some.text("abcXYZ019!#$%&'*+-.^_`|~", min_size=1, max_size=5).map(str.encode)
QUOTED: Final = some.lists(
    some.sampled_from([b"a", b" ", b"\t", b"~", b";", b"=", b'\\"', b"\\\\", b"\\a"]), max_size=4
).map(lambda parts: b'"' + b"".join(parts) + b'"')
EXTENSIONS: Final = some.lists(
    some.one_of(NAMES, some.tuples(NAMES, some.one_of(NAMES, QUOTED)).map(b"=".join)), max_size=2
).map(lambda each: b"".join(b";" + one for one in each))
TRAILERS: Final = some.lists(
    some.tuples(NAMES, some.sampled_from([b"", b" 1", b"\tx y", b"\xe9"])).map(b":".join),
    max_size=2,
).map(lambda lines: b"".join(line + b"\r\n" for line in lines))
TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b";", b"=", b'"', b"\\", b"0", b"-1", b"+1", b"0x1",
    b"1_0", b"f" * 16, b"0" * 20, b"\x0b", b"\x0c", b"\x7f", b"\x80", b"0\r\n", b"5;a=b",
    b"a: b\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n",
    b"no colon\r\n",
)  # fmt: skip


@some.composite
def chunked(draw: some.DrawFn) -> bytes:
    """Return a body in chunks, in the ways there are to write one."""
    parts: list[bytes] = []
    for data in draw(some.lists(some.binary(min_size=1, max_size=40), max_size=4)):
        zeros, upper = draw(some.sampled_from([b"", b"0", b"0" * 16])), draw(some.booleans())
        size = b"%X" % len(data) if upper else b"%x" % len(data)
        parts += [zeros, size, draw(EXTENSIONS), b"\r\n", data, b"\r\n"]
    return b"".join([*parts, b"0", draw(EXTENSIONS), b"\r\n", draw(TRAILERS), b"\r\n"])


@some.composite
def damaged(draw: some.DrawFn) -> bytes:
    """Return such a body with bytes changed, left out or put in."""
    data = draw(chunked())
    for _ in range(draw(some.integers(1, 3))):
        at = draw(some.integers(0, len(data)))
        left_out = draw(some.integers(0, 3))
        data = data[:at] + draw(some.sampled_from(TOKENS)) + data[at + left_out :]
    return data


def decoded(
    decoder: Decoder, data: bytes, splits: list[int], behind: bytes = b"\r\n"
) -> tuple[bytes, bytes] | None:
    """Return the body and what follows it; None for one that does not end.

    `behind` is what the memory holds behind each piece, of whatever it was used for before.
    """
    body, at, number = b"", 0, 0
    while at < len(data) and not decoder.ended:
        size = min(splits[number % len(splits)] if splits else len(data), len(data) - at)
        number += 1
        view = memoryview(bytearray(data[at : at + size] + behind))
        size = decoder.wanted(size)
        count, used = decoder.decode(view, size)
        body += view[:count]
        at += used
        assert used == size or decoder.ended
    return (body, data[at:]) if decoder.ended else None


def read_by_aiohttp(data: bytes) -> bytes | None:
    """Return the body as aiohttp's parser reads it; None for one that does not end."""
    loop = cast("asyncio.AbstractEventLoop", object())  # which nobody asks
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**20)
    (_, content), *_ = parser.feed_data(HEAD)[0]
    parser.feed_data(data)
    assert isinstance(content, StreamReader)
    return content.read_nowait() if content.is_eof() else None


SPLITS: Final = some.lists(some.integers(1, 30), max_size=4)


class TestChunked:
    @given(chunked(), SPLITS)
    def test_it_is_read_as_aiohttp_reads_it(self, data: bytes, splits: list[int]) -> None:
        found = decoded(ChunkedDecoder(), data + FOLLOWS, splits)
        assert found == (read_by_aiohttp(data), FOLLOWS)

    @given(damaged(), SPLITS)
    @example(b"5\r\nabcde\r\n0\r\nHost: b\r\n\r\n", [])
    def test_what_is_read_is_read_by_aiohttp_too(self, data: bytes, splits: list[int]) -> None:
        try:
            found = decoded(ChunkedDecoder(), data, splits)
        except BodyIncomplete:
            return
        if found is not None:
            body, rest = found
            assert read_by_aiohttp(data[: len(data) - len(rest)]) == body

    @given(some.one_of(chunked(), damaged(), some.binary(max_size=60)), SPLITS, SPLITS)
    def test_how_it_is_split_makes_no_difference(
        self, data: bytes, one: list[int], other: list[int]
    ) -> None:
        assert outcome(data, one) == outcome(data, other)

    @each_row("behind", [b"", b"\r\n", b"\n", b"0\r\n", b"\n0\r\n", b"\r\n1\r\n"])
    def test_what_stands_behind_the_bytes_makes_no_difference(self, behind: bytes) -> None:
        body, data = b"abcde" + b"x" * 16, b"5\r\nabcde\r\n10\r\n" + b"x" * 16 + b"\r\n" + END
        for at in range(1, len(data)):
            splits = [at, len(data)]
            assert decoded(ChunkedDecoder(), data + FOLLOWS, splits, behind) == (body, FOLLOWS)

    @each_row("follows", [b"5\r\nabcde\r\n" + END, b"a\r\n", END])
    def test_no_chunk_comes_after_the_last(self, follows: bytes) -> None:
        data = b"5\r\nabcde\r\n" + END
        assert decoded(ChunkedDecoder(), data + follows, []) == (b"abcde", follows)

    @each_row(
        "data",
        [
            b"0x5\r\nabcde\r\n0\r\n\r\n",
            b"5 \r\nabcde\r\n0\r\n\r\n",
            b" 5\r\nabcde\r\n0\r\n\r\n",
            b"-1\r\nabcde\r\n0\r\n\r\n",
            b"+5\r\nabcde\r\n0\r\n\r\n",
            b"1_0\r\nabcdeabcdeabcdea\r\n0\r\n\r\n",
            b"f" * 16 + b"\r\nabcde\r\n0\r\n\r\n",
            b"\r\nabcde\r\n0\r\n\r\n",
            b";a\r\nabcde\r\n0\r\n\r\n",
            b"5\r\nabcdeXX0\r\n\r\n",
            b"5\r\nabcdefg\r\n0\r\n\r\n",
            b"5\r\nabcde0\r\n\r\n",
            b"5\nabcde\n0\n\n",
            b"5\r\nabcde\n0\r\n\r\n",
            b"5\r\nabcde\r0\r\n\r\n",
            b"5;\nabcde\r\n0\r\n\r\n",
            b'5;a="\r\n"\r\nabcde\r\n0\r\n\r\n',
            b"5\r\nabcde\r\n0\r\nContent-Length: 5\r\n\r\n",
            b"5\r\nabcde\r\n0\r\ntransfer-encoding: chunked\r\n\r\n",
            b"5\r\nabcde\r\n0\r\nno colon\r\n\r\n",
            b"5\r\nabcde\r\n0\r\n\nX",
            b"5\r\nabcde\r\n0\r\nX: a\rb\r\n\r\n",
            b"5\r\nabcde\r\n0\r\nX: a\0b\r\n\r\n",
            b"5;" + b"a" * framing.SIZE_LINE_BYTES_MAX + b"\r\nabcde\r\n" + END,
            b"5;" + b"a" * framing.SIZE_LINE_BYTES_MAX,
            b"0\r\n" + b"X: a\r\n" * framing.TRAILER_BYTES_MAX,
            b"0\r\nX: " + b"a" * framing.TRAILER_BYTES_MAX,
        ],
        ids=lambda data: repr(data[:40]),
    )
    @pytest.mark.parametrize("splits", [[], [1]])
    def test_what_cannot_be_read_is_refused(self, data: bytes, splits: list[int]) -> None:
        with pytest.raises(BodyIncomplete):
            decoded(ChunkedDecoder(), data, splits)

    @each_row("begun", [b"X", b"5\r\nabcdeX", b"5\r\nabcde\rX", b"5\r\nabcde\r\nX", b"5\rX", b"5 "])
    def test_it_is_refused_as_soon_as_it_shows(self, begun: bytes) -> None:
        with pytest.raises(BodyIncomplete):
            decoded(ChunkedDecoder(), begun, [])

    def test_many_chunks_of_one_byte(self) -> None:
        data = b"1\r\nx\r\n" * 10_000 + END
        assert decoded(ChunkedDecoder(), data, [257]) == (b"x" * 10_000, b"")


class TestLength:
    @given(some.binary(max_size=60), some.binary(max_size=20), SPLITS)
    def test_nothing_behind_it_is_taken(
        self, data: bytes, follows: bytes, splits: list[int]
    ) -> None:
        found = decoded(LengthDecoder(len(data)), data + follows, splits)
        assert found == (data, follows)

    def test_less_is_no_end(self) -> None:
        assert decoded(LengthDecoder(5), b"abcd", []) is None


def outcome(data: bytes, splits: list[int]) -> object:
    """Return what comes of it."""
    read = partial(decoded, ChunkedDecoder(), data)
    try:
        return read(splits)
    except BodyIncomplete:
        return "refused"


def test_the_control_aiohttp_refuses() -> None:
    with pytest.raises(HttpProcessingError):
        read_by_aiohttp(b"5 \r\nabcde\r\n0\r\n\r\n")
