"""The first byte of a connection: a TLS hello on the plain port is answered at once.

dockerd, skopeo, podman and crane try TLS first on any registry they may reach without it. A server
that waits for the rest of a request stalls each of their commands by ten seconds; one that answers
in plain HTTP is recognised ("server gave HTTP response to HTTPS client") and asked again plainly.

And the last one: a server that ends lets requests in flight finish, bodies that still arrive
included. (aiohttp's own shutdown throws away what a connection receives from then on.)

In between, one look a second at all connections cuts those that are stuck (api.limits): a timer for
each would cost every request. aiohttp itself only knows how long an idle connection is kept.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, cast

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.web_protocol import RequestHandler

from treescale.api.call import stamp
from treescale.api.errors import error_body, error_response
from treescale.api.limits import LIMITS, LIMITS_KEY, Limits
from treescale.api.requestlog import request_id
from treescale.errors import RequestInvalid
from treescale.log import get_logger

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

drain_look_seconds: Final = 0.05
first_request_seconds: Final = 0.5
"""Whoever connected just before the end has its request on the way, and is answered."""
SPOKEN: Final = (HttpVersion10, HttpVersion11)
TLS_HANDSHAKE: Final = 0x16
TEXT: Final = b"This port speaks plain HTTP; use http:// here\n"
ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(TEXT), TEXT)
)

_TOO_SLOW: Final = error_body("UNSUPPORTED", "the request's head took too long to arrive")
HEAD_TOO_SLOW: Final = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"Docker-Distribution-Api-Version: registry/2.0\r\nServer: TreeScale\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_TOO_SLOW), _TOO_SLOW)
)
_ACKED: Final = slice(120, 128)
"""Where Linux's struct tcp_info has tcpi_bytes_acked."""


class Connection(RequestHandler):
    """One HTTP/1.1 connection; what is no request at all is refused in the registry's words."""

    __slots__ = ("_acked", "_begun_at", "_head_at", "_limits", "_moved_at", "_wire")

    def __init__(self, server: web.Server, *, limits: Limits, **options: Any) -> None:
        """Serve `server`'s handler within `limits`."""
        super().__init__(server, **options)
        self._limits = limits
        self._wire: asyncio.Transport | None = None
        self._begun_at = self._loop.time()
        self._head_at: float | None = None  # a head has begun, and not ended
        self._acked: bytes | None = None
        self._moved_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep hold of the transport: aiohttp forgets one that it closes, sent or not."""
        self._wire = cast("asyncio.Transport", transport)  # uvloop's are none by name
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Be an ordinary connection, and remember when a head began."""
        super().data_received(data)
        if not self.idle:
            self._head_at = None
        elif self._head_at is None:
            self._head_at = self._loop.time()

    def cut_if_stuck(self, now: float) -> str | None:
        """End the connection when it has used up its time, and return what it was stuck in."""
        assert self._wire is not None, "it was made"
        if self._reader_stuck(now):
            self._wire.abort()
            return "answer"
        if not self.idle:
            return None
        if self._head_at is not None and now - self._head_at > self._limits.head_seconds_max:
            self._wire.write(HEAD_TOO_SLOW)
            self.force_close()
            return "head"
        if self._request_count == 0 and now - self._begun_at > self._limits.silent_seconds_max:
            self.force_close()
            return "silence"
        return None

    def _reader_stuck(self, now: float) -> bool:
        """Return whether the client has for long acknowledged nothing of what waits for it."""
        assert self._wire is not None, "it was made"
        if self._wire.get_write_buffer_size() == 0:
            self._acked = None
            return False
        wire = self._wire.get_extra_info("socket")
        acked = wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED.stop)[_ACKED]
        if acked != self._acked:
            self._acked = acked
            self._moved_at = now
        return now - self._moved_at > self._limits.answer_idle_seconds_max

    @property
    def idle(self) -> bool:
        """Return whether it waits for a request of which nothing, or not even the head, is here."""
        return self._waiter is not None and not self._messages

    @property
    def expects(self) -> bool:
        """Return whether a request is on its way: its head has begun, or the client just came."""
        new = self._loop.time() - self._begun_at < first_request_seconds
        return self._head_at is not None or (self._request_count == 0 and new)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp's parser refused; an error of ours cannot get here (see api.app)."""
        del request, message  # they may repeat what was sent
        if exc is not None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            get_logger().error("connection.failed", exc_info=exc)
        reason = HTTPStatus(status).phrase.lower()
        body = error_body("UNSUPPORTED", f"this is not an HTTP request we can read: {reason}")
        response = web.Response(status=status, body=body, content_type="application/json")
        stamp(response)
        response.force_close()
        return response


def check_framing(request: web.BaseRequest) -> None:
    """Return when everybody before us found the same end of the body; raises RequestInvalid.

    aiohttp's parser refuses what is malformed. Left are versions it reads and nobody speaks on this
    port, and what RFC 9112 section 6.1 leaves to servers: codings below chunked, which we would
    store undecoded, and chunks in HTTP/1.0.
    """
    if request.version not in SPOKEN:
        raise RequestInvalid("this port speaks HTTP/1.1 and HTTP/1.0")
    codings = request.headers.getall("Transfer-Encoding", None)
    if codings is None:
        return
    if request.version < (1, 1):
        raise RequestInvalid("HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
    if [coding.lower() for coding in codings] != ["chunked"]:
        raise RequestInvalid("Transfer-Encoding: only chunked is understood")


class PlainConnection(Connection):
    """One plain HTTP/1.1 connection."""

    __slots__ = ("_begun",)

    def data_received(self, data: bytes) -> None:
        """Look at the first byte once, then be an ordinary connection."""
        if not getattr(self, "_begun", False):
            self._begun = True
            if data and data[0] == TLS_HANDSHAKE and self.transport is not None:
                self.transport.write(ANSWER)
                self.transport.close()
                return
        super().data_received(data)


class ConnectionServer(web.Server):
    """aiohttp's server, but with our connections; `tls` says that the transport is encrypted."""

    def __init__(
        self, handler: Handler, *, tls: bool, limits: Limits = LIMITS, **options: Any
    ) -> None:
        """Pass `options` on to every connection."""
        super().__init__(
            self._handle,
            keepalive_timeout=limits.idle_seconds_max,
            lingering_time=limits.linger_seconds_max,
            **options,
        )
        self._limits = limits
        self._looking: asyncio.TimerHandle | None = None
        self._kind = Connection if tls else PlainConnection
        self._handler = handler
        self._ending = False

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return self._kind(self, loop=self._loop, limits=self._limits, **self._kwargs)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Begin to look after connections when there is one."""
        super().connection_made(handler, transport)
        if self._looking is None:
            self._looking = self._loop.call_later(self._limits.look_seconds, self._look)

    def cut_stuck(self, now: float) -> None:
        """Cut the connections that are stuck at this time of the loop's."""
        stuck: Counter[str] = Counter()
        for connection in list(self.connections):
            assert isinstance(connection, Connection), "made by __call__"
            why = connection.cut_if_stuck(now)
            if why is not None:
                stuck[why] += 1
        if stuck:
            get_logger().info("connections.stuck", **stuck)

    def _look(self) -> None:
        """Look after the connections, and again as long as there are any."""
        self._looking = None
        self.cut_stuck(self._loop.time())
        if self.connections:
            self._looking = self._loop.call_later(self._limits.look_seconds, self._look)

    async def drain(self, seconds: float) -> None:
        """Return when every connection has ended: idle ones now, busy ones after their answer.

        A connection that is new, or on which a head has begun, is busy.

        What still runs after `seconds` is cut off.
        """
        self._ending = True
        try:
            async with asyncio.timeout(seconds):
                while self.connections:
                    self._close_idle()
                    await asyncio.sleep(drain_look_seconds)
        except TimeoutError:
            get_logger().warning("connections.cut", connections=len(self.connections))
            await self.shutdown(drain_look_seconds)  # 0 would mean: without limit

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        request[LIMITS_KEY] = self._limits
        try:
            check_framing(request)
        except RequestInvalid as odd:
            if request.version not in SPOKEN:  # aiohttp would answer as HTTP/0.9 or HTTP/2.0
                request._cache["version"] = HttpVersion10  # noqa: SLF001  nothing public sets it
            response: web.StreamResponse = error_response(odd, request_id(request))
            stamp(response)
            response.force_close()
            return response
        response = await self._handler(request)
        if (
            self._ending
            or response.status == HTTPStatus.REQUEST_TIMEOUT
            or "Upgrade" in request.headers  # aiohttp loses what follows one it does not know
        ):
            response.force_close()
        return response

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            assert isinstance(connection, Connection), "made by __call__"
            if connection.idle and not connection.expects:
                connection.force_close()
