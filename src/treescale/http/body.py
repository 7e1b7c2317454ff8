"""Request bodies: read in pieces, never more than allowed; a client that leaves is an error."""

from collections.abc import AsyncIterator

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from treescale.errors import BodyIncomplete, RequestInvalid, TooLarge
from treescale.http.limits import MinimumRate
from treescale.http.request_record import record_of
from treescale.metrics.traffic import Flow, TrafficCounters


class RequestBody:
    """The body of a request, as `registry.push.Body` wants it."""

    def __init__(self, request: web.BaseRequest, traffic: TrafficCounters) -> None:
        self._request = request
        self._traffic = traffic

    @property
    def length(self) -> int | None:
        """Return Content-Length; 0 when there is no body at all; None when it is streamed."""
        if not self._request.can_read_body:
            return 0
        return self._request.content_length

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives; raises BodyIncomplete (BodyTooSlow) when it ends early."""
        await self._expected()
        received = 0
        record = record_of(self._request)
        content, logged_in = self._request.content, bool(record.user)
        rate = MinimumRate(content, record.limits, logged_in=logged_in)
        try:
            # A fast client's next piece is here already: to wait for it would cost more than it.
            while piece := content.read_nowait() or await rate.wait():
                received += len(piece)
                rate.count(len(piece))
                self._traffic.count(Flow.FROM_CLIENTS, len(piece))
                yield piece
        except (ConnectionError, ClientError, HttpProcessingError) as broken:
            raise BodyIncomplete(f"the body broke off after {received} bytes") from broken
        finally:
            record.received += received

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
