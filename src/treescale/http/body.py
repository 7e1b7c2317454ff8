"""Request bodies: read in pieces, never more than allowed; a client that leaves is an error."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from treescale.errors import BodyIncomplete, RequestInvalid, TooLarge
from treescale.http.bodies.socket_body import AHEAD_BYTES, SocketBody
from treescale.http.limits import MinimumRate
from treescale.http.request_record import record_of
from treescale.metrics.traffic import Flow, TrafficCounters

_Piece = TypeVar("_Piece")


class RequestBody:
    """The body of a request, as `registry.push.Body` wants it."""

    def __init__(self, request: web.BaseRequest, traffic: TrafficCounters) -> None:
        self._request = request
        self._traffic = traffic
        self._rate: MinimumRate | None = None
        self._received = 0

    @property
    def length(self) -> int | None:
        """Return Content-Length; 0 when there is no body at all; None when it is streamed."""
        if not self._request.can_read_body:
            return 0
        return self._request.content_length

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises BodyIncomplete (BodyTooSlow) when it ends early."""
        while piece := await self._counted(len, self._piece):
            yield piece

    async def read_into(self, view: memoryview) -> int:
        """Fill the view as far as bytes are here and return how many; 0 at the end.

        Raises as `pieces` does.
        """
        return await self._counted(int, partial(self._fill, view))

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raises TooLarge over `limit` bytes, BodyIncomplete."""
        if (self.length or 0) > limit:
            raise TooLarge(f"this body may have at most {limit} bytes")
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"this body may have at most {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def _counted(
        self, size_of: Callable[[_Piece], int], read: Callable[[MinimumRate], Awaitable[_Piece]]
    ) -> _Piece:
        """Return what of the body is read next, and count it."""
        record = record_of(self._request)
        if self._rate is None:
            await self._expected()
            self._rate = MinimumRate(record.limits, logged_in=bool(record.user))
        try:
            piece = await read(self._rate)
        except (ConnectionError, ClientError, HttpProcessingError) as broken:
            raise BodyIncomplete(f"the body broke off after {self._received} bytes") from broken
        size = size_of(piece)
        self._received += size
        record.received += size
        self._rate.count(size)
        self._traffic.count(Flow.FROM_CLIENTS, size)
        return piece

    async def _piece(self, rate: MinimumRate) -> bytes:
        content = self._request.content
        if isinstance(content, SocketBody):
            view = memoryview(bytearray(AHEAD_BYTES))
            return bytes(view[: await self._fill(view, rate)])
        # A fast client's next piece is here already: to wait for it would cost more than it.
        return content.read_nowait() or await rate.wait(content.readany())

    async def _fill(self, view: memoryview, rate: MinimumRate) -> int:
        content = self._request.content
        if isinstance(content, SocketBody):
            return content.read_ready(view) or await rate.wait(content.read_into(view))
        # No more than a stream keeps: it would keep twice as much from then on.
        limit = min(len(view), AHEAD_BYTES)
        piece = content.read_nowait(limit) or await rate.wait(content.read(limit))
        view[: len(piece)] = piece
        return len(piece)

    async def _expected(self) -> None:
        """Ask for the body only now, when everything that could refuse it has agreed."""
        expect = self._request.headers.get("Expect")
        if expect is None or self._request.version < (1, 1):
            return
        if expect.lower() != "100-continue":
            raise RequestInvalid("Expect: only 100-continue is understood")
        transport = self._request.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
