"""A server that reads the bodies of all requests, and notes what it was sent and how it came."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from treescale.errors import BodyIncomplete
from treescale.http.bodies.socket_body import SocketBody
from treescale.http.body import RequestBody
from treescale.http.connections.connection import ConnectionServer
from treescale.http.limits import LIMITS, Limits
from treescale.metrics.traffic import TrafficCounters

PATH: Final = "/v2/a/blobs/uploads/x"
Seen = tuple[str, str, bytes]


class Uploading:
    """What a connection of a registry is told; `path?look` is answered without reading."""

    def __init__(self, view_bytes: int = 100_000, limits: Limits = LIMITS) -> None:
        self.server = ConnectionServer(
            self._handle,
            tls=True,  # only: that no look is taken at the first byte
            limits=limits,
            read_bufsize=2**16,
            auto_decompress=False,
            access_log=None,
        )
        self._view_bytes = view_bytes
        self.seen: list[Seen] = []
        self.broken: list[bytes] = []
        self.broke = asyncio.Event()
        self.bodies: list[SocketBody] = []
        self.before_reading: Callable[[], Any] = lambda: asyncio.sleep(0)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        content: object = request.content
        if isinstance(content, SocketBody):
            self.bodies.append(content)
        if request.query_string == "look":
            return web.Response(status=401)
        await self.before_reading()
        body, data = RequestBody(request, TrafficCounters()), b""
        try:
            if request.query_string == "pieces":
                async for piece in body.pieces():
                    data += piece
            else:
                view = memoryview(bytearray(self._view_bytes))
                while count := await body.read_into(view):
                    data += view[:count]
        except BodyIncomplete as broken:
            self.broken.append(data)
            self.broke.set()
            return web.Response(status=400, text=str(broken))
        self.seen.append((request.method, request.raw_path, data))
        return web.Response(text=str(len(data)))


def chunked(data: bytes, size: int) -> bytes:
    """Return the data in chunks of this size."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def upload(
    data: bytes, chunk: int | None = None, *, method: str = "PUT", path: str = PATH
) -> bytes:
    """Return an upload's request, in chunks of this size or with a length."""
    framing = "Transfer-Encoding: chunked" if chunk else f"Content-Length: {len(data)}"
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode()
    return head + (chunked(data, chunk) if chunk else data)
