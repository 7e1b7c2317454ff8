"""Sending the files of an answer's body: as they are, or through TLS in pieces the cache holds.

aiohttp sends the header and keeps the connection. What is in the page cache is sent at once, in the
loop; what has left it waits for its disk in a thread of that disk, for a bounded time. A slow
reader occupies no thread.

Plain connections: the files' pages are given to the socket uncopied (sendfile), by way of a
duplicate of its descriptor, since uvloop watches no descriptor of a transport for others.

Encrypted ones: each byte is copied several times on its way through OpenSSL and the loop, which
costs little while it stays in the processor's cache. So a piece is read only when its turn comes.
"""

import asyncio
import os
from types import TracebackType
from typing import Final, Protocol, Self

from aiohttp import web

from treescale.chunks.disk.file import FileSlice
from treescale.http.connections.nearby import is_nearby, send_at_once
from treescale.http.connections.progress import taken
from treescale.http.request_record import record_of

SENT_AT_ONCE_BYTES: Final = 1024 * 1024
"""After so much the loop sees to others: a fraction of a millisecond."""
ENCRYPTED_AT_ONCE_BYTES: Final = 128 * 1024
"""What is read, encrypted and copied while it is in the processor's cache."""


class Sender(Protocol):
    """What sends slices of files."""

    async def send(self, piece: FileSlice) -> None:
        """Send it after all that the answer was given.

        Raises Corrupt when the file is not what was verified, ConnectionError when the client has
        gone, TimeoutError when it takes nothing.
        """
        ...


class FileSender:
    """Sends slices of files on one plain connection; a context manager."""

    def __init__(self, transport: asyncio.Transport, *, idle_seconds: float) -> None:
        self._transport = transport
        self._fd = os.dup(transport.get_extra_info("socket").fileno())
        self._idle_seconds = idle_seconds

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the socket."""
        os.close(self._fd)

    async def send(self, piece: FileSlice) -> None:
        """Send it after all that the transport was given; return when the kernel has it."""
        while self._transport.get_write_buffer_size():
            await self._writable()
        at = piece.start
        while at < piece.stop:
            self._check_there()
            size = min(piece.stop - at, SENT_AT_ONCE_BYTES)
            try:
                if piece.file.is_cached(at, at + size):
                    sent = piece.file.send(self._fd, at, size)
                else:
                    sent = await piece.file.send_apart(self._fd, at, size)
            except BlockingIOError:
                await self._writable()
                continue
            if sent == 0:
                raise ConnectionResetError("a chunk's file is shorter than it was")
            at += sent
            if sent < size:  # the socket is full: to try again at once would be refused
                await self._writable()

    async def _writable(self) -> None:
        """Wait until the socket takes bytes, or has failed.

        To one that takes bytes slowly, much may lie in the socket for long: not before nothing of
        that arrives has the client gone.
        """
        loop = asyncio.get_running_loop()
        taken = False
        while not taken:
            self._check_there()
            before = self._acknowledged()
            # A future and a timer of our own: asyncio.wait takes several times as long.
            moved: asyncio.Future[bool] = loop.create_future()
            loop.add_writer(self._fd, _tell, moved, True)  # noqa: FBT003  add_writer's signature
            patience = loop.call_later(self._idle_seconds, _tell, moved, False)  # noqa: FBT003
            try:
                taken = await moved
            finally:
                patience.cancel()
                loop.remove_writer(self._fd)
            self._check_there()
            if not taken and self._acknowledged() == before:
                raise TimeoutError(f"the client took nothing for {self._idle_seconds:g} s")

    def _check_there(self) -> None:
        """Raise ConnectionResetError once the client has gone: its socket has no number then."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")

    def _acknowledged(self) -> bytes:
        """Return how much the client has confirmed."""
        return taken(self._transport.get_extra_info("socket"))


class EncryptedSender:
    """Sends slices of files with an answer whose transport encrypts; a context manager."""

    def __init__(self, response: web.StreamResponse) -> None:
        self._response = response

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    async def send(self, piece: FileSlice) -> None:
        """Send it; return when most of it has left. See Sender."""
        for start in range(piece.start, piece.stop, ENCRYPTED_AT_ONCE_BYTES):
            stop = min(start + ENCRYPTED_AT_ONCE_BYTES, piece.stop)
            data = piece.file.read_cached(start, stop)
            if data is None:
                data = await piece.file.read_apart(start, stop)
            await self._response.write(data)


def sender_for(
    request: web.BaseRequest, response: web.StreamResponse
) -> FileSender | EncryptedSender | None:
    """Return what sends files on the request's connection; None when that is gone already."""
    transport = request.transport
    if transport is None or transport.is_closing():
        return None
    sockname, peername = map(transport.get_extra_info, ("sockname", "peername"))
    if is_nearby(sockname, peername):
        send_at_once(transport.get_extra_info("socket"))
    if transport.get_extra_info("sslcontext") is not None:
        return EncryptedSender(response)
    idle_seconds = record_of(request).limits.answer_idle_seconds_max
    return FileSender(transport, idle_seconds=idle_seconds)


def _tell(waiting: "asyncio.Future[bool]", what: bool) -> None:  # noqa: FBT001  a callback
    if not waiting.done():
        waiting.set_result(what)
