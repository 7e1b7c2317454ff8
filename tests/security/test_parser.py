"""Requests told apart wrongly are requests smuggled: what ends a chunk, and who reads it."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

from aiohttp import http_parser

from tests.api.client import Client
from tests.tables import each_row

HEAD: Final = (
    b"POST /token HTTP/1.1\r\nHost: a\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
)
UPLOAD: Final = HEAD.replace(b"/token", b"/v2/a/b/blobs/uploads/")
"""Whose body is read by a decoder of our own."""
NEXT: Final = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


async def sent(anybody: Client, data: bytes) -> bytes:
    address = urlsplit(anybody.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(data)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


@each_row(
    "body",
    [
        b"5\r\nabcdeXX0\r\n\r\n",
        b"5\r\nabcdefg\r\n0\r\n\r\n",
        b"5\r\nabcde0\r\n\r\n",
        b"0x5\r\nabcde\r\n0\r\n\r\n",
        b"-1\r\nabcde\r\n0\r\n\r\n",
        b"ffffffffffffffff5\r\nabcde\r\n0\r\n\r\n",
        b"1_0\r\nabcdeabcdeabcdea\r\n0\r\n\r\n",
    ],
)
async def test_what_ends_no_chunk_ends_the_connection(anybody: Client, body: bytes) -> None:
    """S45: h11 did not look at the two bytes after a chunk (CVE-2025-43859)."""
    for head in (HEAD, UPLOAD):
        answer = await sent(anybody, head + body + NEXT)
        assert b"alive" not in answer
        assert b" 500 " not in answer.partition(b"\r\n")[0]


async def test_after_an_honest_chunk_the_next_request_is_answered(anybody: Client) -> None:
    """The control."""
    for head in (HEAD, UPLOAD):
        answer = await sent(anybody, head + b"5\r\nabcde\r\n0\r\n\r\n" + NEXT)
        assert b"alive" in answer


def test_the_parser_in_c_is_the_one_in_use() -> None:
    """S46: aiohttp's advisories are mostly about the one in Python."""
    assert http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy
