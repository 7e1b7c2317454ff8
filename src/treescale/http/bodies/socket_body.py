"""The body of an upload between the socket and whoever reads it, without a copy.

While it arrives this is the transport's protocol: each read from the socket goes into the very
memory that `read_into` was given, framing and all, and the framing is taken out there. What comes
while nobody reads is kept, at most AHEAD_BYTES and what one read brings, and the transport paused.

To aiohttp it is a request's payload: of StreamReader it has what aiohttp's server asks of one.
"""

import asyncio
from collections import deque
from typing import Final

from treescale.errors import BodyIncomplete
from treescale.http.bodies.framing import Decoder

AHEAD_BYTES: Final = 64 * 1024
READ_BYTES_MAX: Final = 256 * 1024
"""At once: bounds how long a body of tiny chunks keeps the loop from others."""
GATHER_SECONDS: Final = 0.1
"""Whoever reads is woken when its memory is full, or so long after its first bytes."""
BROKEN_SECONDS: Final = 0.2
"""How long more is thrown away of a body that cannot be read, so that the answer is."""
_NOTHING: Final = memoryview(b"")


class SocketBody(asyncio.BufferedProtocol):
    """A body that is arriving; one task reads it."""

    def __init__(
        self, connection: asyncio.Protocol, transport: asyncio.Transport, decoder: Decoder
    ) -> None:
        """Serve as `connection` says again once the body has ended."""
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._transport = transport
        self._decoder = decoder
        self._ahead: deque[memoryview] = deque()
        self._target: memoryview | None = None
        self._filled = 0
        self._receiving = _NOTHING
        self._is_target = False
        self._waiter: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._exception: BaseException | None = None
        self._discards = False
        self._broken = False
        self._lost = False
        self._paused = False

    def begin(self, data: bytes) -> None:
        """Take the transport over; `data` is what came after the request's head."""
        self._hand_to(self)
        if data:
            self._receiving, self._is_target = memoryview(bytearray(data)), False
            self.buffer_updated(len(data))

    async def read_into(self, view: memoryview) -> int:
        """Fill the view and return how many bytes came; 0 at the end.

        Returns early, with some bytes, when more are slow to come. Raises BodyIncomplete, and the
        ConnectionError of a client that left; not before all that came was returned. A call that is
        cancelled loses what it had.
        """
        if self._ahead:
            return self.read_ready(view)
        if self._decoder.ended:
            return 0
        if self._exception is not None:
            raise self._exception
        self._target, self._filled = view, 0
        try:
            self._resume()
            self._waiter = self._loop.create_future()
            await self._waiter
        finally:
            self._target, self._waiter = None, None
            self._still()
        if not self._filled and self._exception is not None:
            raise self._exception
        return self._filled

    def read_ready(self, view: memoryview) -> int:
        """Fill the view with what is here, and return how many bytes that are."""
        count = 0
        while self._ahead and count < len(view):
            piece = self._ahead.popleft()
            size = min(len(piece), len(view) - count)
            view[count : count + size] = piece[:size]
            count += size
            if size < len(piece):
                self._ahead.appendleft(piece[size:])
        return count

    def discard(self) -> None:
        """Throw away what is here and what comes: nobody reads it any more."""
        self._discards = True
        self._ahead.clear()

    # What aiohttp asks of a payload.

    def is_eof(self) -> bool:
        """Return whether no more will come: all of the body is here, read or not."""
        return self._decoder.ended or self._lost

    def at_eof(self) -> bool:
        """Return whether all of the body has been read."""
        return self._decoder.ended and not self._ahead

    async def readany(self) -> bytes:
        """Throw away what comes next: aiohttp lingers so after an early answer."""
        self.discard()
        if self._broken:  # no end of it will ever be found
            await asyncio.sleep(BROKEN_SECONDS)
            self._lost = True
        elif not self.is_eof():
            self._resume()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return b""

    def exception(self) -> BaseException | None:
        """Return why no more will come."""
        return self._exception

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """Have whoever reads find that no more will come."""
        if exc_cause is not None:
            exc.__cause__ = exc_cause
        if self._exception is None:
            self._exception = exc
        self._wake()

    # What a transport asks of its protocol.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the memory to read into."""
        del sizehint
        target = self._target
        if target is None or self._filled == len(target) or self._discards:
            self._is_target = False
            view = memoryview(bytearray(AHEAD_BYTES))
        else:
            self._is_target = True
            view = target[self._filled : self._filled + READ_BYTES_MAX]
        self._receiving = view
        return view if self._discards else view[: self._decoder.wanted(len(view))]

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes that were just read."""
        received, self._receiving = self._receiving, _NOTHING
        if self._exception is not None:
            self._wake()
            return
        try:
            count, used = self._decoder.decode(received, nbytes)
        except BodyIncomplete as broken:
            self._discards = self._broken = True
            self.set_exception(broken)
            return
        rest = bytes(received[used:nbytes])
        self._keep(received, count)
        if self._decoder.ended:
            self._end(rest)

    def eof_received(self) -> bool | None:
        """Tell the connection: the client sends no more."""
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the connection, and whoever reads: the client has left."""
        self._connection.connection_lost(exc)
        self.set_exception(exc or ConnectionResetError("the client has left"))
        self._lost = True
        self._wake()

    def pause_writing(self) -> None:
        """Tell the connection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Tell the connection."""
        self._connection.resume_writing()

    def _keep(self, received: memoryview, count: int) -> None:
        """Count what was received into the target, or keep it until somebody reads."""
        if self._discards:
            self._wake()
        elif not self._is_target:
            if count:
                self._ahead.append(received[:count])
            self._pause()
        else:
            assert self._target is not None, "it was read into"
            self._filled += count
            if self._filled == len(self._target):
                self._pause()
                self._wake()
            elif self._filled and self._alarm is None:
                self._alarm = self._loop.call_later(GATHER_SECONDS, self._wake)

    def _end(self, rest: bytes) -> None:
        """Give the connection its transport back, and what follows the body."""
        self._wake()
        self._hand_to(self._connection)
        if rest:
            self._connection.data_received(rest)

    def _hand_to(self, protocol: asyncio.BaseProtocol) -> None:
        """Make it the transport's protocol; uvloop decides how to read when it begins to."""
        self._transport.pause_reading()
        self._transport.set_protocol(protocol)
        self._transport.resume_reading()
        self._paused = False

    def _pause(self) -> None:
        if not self._paused and not self.is_eof():
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and not self.is_eof():
            self._paused = False
            self._transport.resume_reading()

    def _wake(self) -> None:
        self._still()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _still(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
