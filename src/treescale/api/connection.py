"""The first byte of a connection: a TLS hello on the plain port is answered at once.

dockerd, skopeo, podman and crane try TLS first on any registry they may reach without it. A server
that waits for the rest of a request stalls each of their commands by ten seconds; one that answers
in plain HTTP is recognised ("server gave HTTP response to HTTPS client") and asked again plainly.

And the last one: a server that ends lets requests in flight finish, bodies that still arrive
included. (aiohttp's own shutdown throws away what a connection receives from then on.)
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from treescale.api.call import stamp
from treescale.api.errors import error_body
from treescale.log import get_logger

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

drain_look_seconds: Final = 0.05
TLS_HANDSHAKE: Final = 0x16
TEXT: Final = b"This port speaks plain HTTP; use http:// here\n"
ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(TEXT), TEXT)
)


class Connection(RequestHandler):
    """One HTTP/1.1 connection; what is no request at all is refused in the registry's words."""

    __slots__ = ()

    @property
    def idle(self) -> bool:
        """Return whether it waits for a request of which nothing, or not even the head, is here."""
        return self._waiter is not None and not self._messages

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

    def __init__(self, handler: Handler, *, tls: bool, **options: Any) -> None:
        """Pass `options` on to every connection."""
        super().__init__(self._handle, **options)
        self._kind = Connection if tls else PlainConnection
        self._handler = handler
        self._ending = False

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return self._kind(self, loop=self._loop, **self._kwargs)

    async def drain(self, seconds: float) -> None:
        """Return when every connection has ended: idle ones now, busy ones after their answer.

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
        response = await self._handler(request)
        if self._ending:
            response.force_close()
        return response

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            assert isinstance(connection, Connection), "made by __call__"
            if connection.idle:
                connection.force_close()
