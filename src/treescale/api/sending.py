"""Sending an answer's body below aiohttp: files go from the page cache to the socket uncopied.

aiohttp sends the header and keeps the connection; in between, the body's bytes are given to a
duplicate of the socket's descriptor, since uvloop watches no descriptor of a transport for others.
What has left the page cache is sent in a thread, since it waits for its disk (the last byte stands
for the rest: the kernel reads and forgets in order); what is there needs no hop to a thread. The
socket never blocks, so a slow reader occupies no thread.
"""

import asyncio
import os
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from treescale.chunks.files import FileSlice

idle_seconds_max: Final = 60.0
"""A client that takes nothing for so long is cut off."""
sent_at_once_bytes: Final = 1024 * 1024
"""After so much the loop sees to others: a fraction of a millisecond."""


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
        """Send it after all that the transport was given; return when the kernel has it.

        Raises Corrupt when the file is not what was verified, ConnectionError when the client has
        gone, TimeoutError when it takes nothing.
        """
        while self._transport.get_write_buffer_size():
            await self._writable()
        loop = asyncio.get_running_loop()
        at = piece.start
        while at < piece.stop:
            if self._transport.is_closing():
                raise ConnectionResetError("the client has gone")
            size = min(piece.stop - at, sent_at_once_bytes)
            try:
                if piece.file.read_cached(at + size - 1, at + size) is not None:
                    sent = piece.file.send(self._fd, at, size)
                else:
                    # Not to be left half-way: the descriptors are closed when this returns.
                    sent = await _finished(
                        loop.run_in_executor(None, piece.file.send, self._fd, at, size)
                    )
            except BlockingIOError:
                await self._writable()
                continue
            if sent == 0:
                raise ConnectionResetError("a chunk's file is shorter than it was")
            at += sent

    async def _writable(self) -> None:
        """Return when the socket takes bytes, or has failed."""
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(self._fd, lambda: None if ready.done() else ready.set_result(None))
        try:
            async with asyncio.timeout(self._idle_seconds):
                await ready
        finally:
            loop.remove_writer(self._fd)
        if self._transport.is_closing():
            raise ConnectionResetError("the client has gone")


def sender_for(request: web.BaseRequest) -> FileSender | None:
    """Return what sends files on the request's connection; None when they must be encrypted."""
    transport = request.transport
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        return None
    if transport.is_closing():
        return None
    return FileSender(transport, idle_seconds=idle_seconds_max)


async def _finished(running: "asyncio.Future[int]") -> int:
    """Return its result; when cancelled, only after it has ended."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
