"""Request bodies: read in pieces, never more than allowed; a client that leaves is an error."""

from collections.abc import AsyncIterator

from aiohttp import ClientError, StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError

from treescale.errors import BodyIncomplete, RequestInvalid, TooLarge
from treescale.http.bodies.socket_body import AHEAD_BYTES, SocketBody
from treescale.http.limits import MinimumRate
from treescale.http.request_record import record_of
from treescale.metrics.traffic import Flow, TrafficCounters


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
        size = AHEAD_BYTES if self.length is None else min(self.length, AHEAD_BYTES)
        view = memoryview(bytearray(size))
        while size and (count := await self.read_into(view)):
            yield bytes(view[:count])

    async def read_into(self, view: memoryview) -> int:
        """Fill the view as far as bytes are here and return how many; 0 at the end.

        Raises as `pieces` does.
        """
        record = record_of(self._request)
        if self._rate is None:
            await self._expected()
            self._rate = MinimumRate(record.limits, logged_in=bool(record.user))
        content: StreamReader | SocketBody = self._request.content
        try:
            # A fast client's next bytes are here already: to wait for them would cost more.
            if isinstance(content, SocketBody):
                count = content.read_ready(view) or await self._rate.wait(content.read_into(view))
            else:
                # No more than a stream keeps: it would keep twice as much from then on.
                limit = min(len(view), AHEAD_BYTES)
                piece = content.read_nowait(limit) or await self._rate.wait(content.read(limit))
                count = len(piece)
                view[:count] = piece
        except (OSError, ClientError, HttpProcessingError) as broken:  # also the wire's, or TLS's
            raise BodyIncomplete(f"the body broke off after {self._received} bytes") from broken
        self._received += count
        record.received += count
        self._rate.count(count)
        self._traffic.count(Flow.FROM_CLIENTS, count)
        return count

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
