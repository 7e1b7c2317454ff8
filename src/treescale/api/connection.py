"""The first byte of a connection: a TLS hello on the plain port is answered at once.

dockerd, skopeo, podman and crane try TLS first on any registry they may reach without it. A server
that waits for the rest of a request stalls each of their commands by ten seconds; one that answers
in plain HTTP is recognised ("server gave HTTP response to HTTPS client") and asked again plainly.
"""

from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

TLS_HANDSHAKE: Final = 0x16
TEXT: Final = b"This port speaks plain HTTP; use http:// here\n"
ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(TEXT), TEXT)
)


class PlainConnection(RequestHandler):
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


class PlainServer(web.Server):
    """aiohttp's server, but with connections that know a TLS hello when they see one."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return PlainConnection(self, loop=self._loop, **self._kwargs)
