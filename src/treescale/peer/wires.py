"""The connections over which chunks come from one other server: bytes go where they stay at once.

A general HTTP client touches each piece of a body three times in the interpreter and copies it
twice; most of what a gateway did was that. Here a request has no body, the head of its answer says
how long the body is, and the socket is read straight into a buffer of that length. One request at a
time on each connection; one that was left before its answer's end is closed.
"""

import asyncio
import ssl
from dataclasses import dataclass
from io import BytesIO
from types import TracebackType
from typing import Final, Self, cast

from yarl import URL

from treescale.errors import Unreachable
from treescale.peer.wire import read_head, small_bytes_max

head_bytes_max: Final = 16 * 1024
_OK: Final = 200


class Refusal(ConnectionError):
    """No connection could be made: nobody listens there."""


@dataclass(frozen=True, slots=True)
class Received:
    """An answer: its status, the signature in its head, its body."""

    status: int
    signature: str | None
    body: bytes


class _Body:
    """Room for a body of known length, which becomes its bytes without a copy."""

    def __init__(self, length: int) -> None:
        # CPython's BytesIO writes into the bytes it was given, when nobody else has them, and
        # gives them back.
        self._file = BytesIO(bytes(length))
        self.left = self._file.getbuffer()
        """What is not filled yet."""

    def begin(self, data: memoryview) -> None:
        """Fill in the first bytes."""
        self.left[: len(data)] = data
        self.took(len(data))

    def took(self, count: int) -> None:
        """Take notice of so many bytes filled in."""
        self.left = self.left[count:]

    def filled(self) -> bytes:
        """Return all bytes; nothing is `left` to be filled."""
        return self._file.getvalue()


class _Wire(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self.used = False
        """Whether a request was sent on it before."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiting: asyncio.Future[Received] | None = None
        self._body_max = 0
        self._idle_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._moved_at = 0.0
        self._head = bytearray(head_bytes_max)
        self._got = 0
        self._status: tuple[int, str | None] | None = None
        self._body = _Body(0)

    # What the request's side calls

    async def ask(self, request: bytes, body_max: int, idle_seconds: float) -> Received:
        """Send the request and return its answer.

        Raises ConnectionError when the connection ends, TimeoutError after so long without a byte,
        Unreachable when what comes is no answer of ours.
        """
        if self.is_closed:
            raise ConnectionResetError("the connection was closed while it lay idle")
        self._waiting = self._loop.create_future()
        self._body_max, self._idle_seconds = body_max, idle_seconds
        self._got, self._status, self._moved_at = 0, None, self._loop.time()
        self._watch()
        self._transport.write(request)
        try:
            return await self._waiting
        except BaseException:  # cancelled as well: what still comes belongs to no request
            self.close()
            raise
        finally:
            self._rest()
            self._waiting, self._body, self.used = None, _Body(0), True

    @property
    def is_closed(self) -> bool:
        """Say whether nothing can be sent any more."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End it at once; who waits for an answer is told."""
        self._rest()
        self._transport.abort()

    def close_after(self, seconds: float) -> None:
        """End it then, unless it is asked something before."""
        self._timer = self._loop.call_later(seconds, self.close)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        """Give up when nothing came for too long, else look again when that may be."""
        self._rest()
        left = self._moved_at + self._idle_seconds - self._loop.time()
        if left <= 0:
            self._fail(TimeoutError(f"nothing came for {self._idle_seconds:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._watch)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._rest()
        self._fail(ConnectionResetError(str(exc or "the connection ended before the answer")))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  the loop's signature
        """Return where the next bytes go: into the body, once its length is known."""
        if self._status is not None and self._body.left:
            return self._body.left
        return memoryview(self._head)[self._got :] or memoryview(self._head)

    def buffer_updated(self, nbytes: int) -> None:
        """Take notice of bytes that have come."""
        if self._waiting is None or self._waiting.done():
            self.close()  # nobody asked for anything
            return
        self._moved_at = self._loop.time()
        if self._status is None:
            self._got += nbytes
            self._read_head()
        else:
            self._body.took(nbytes)
        if self._status is not None and not self._body.left:
            self._waiting.set_result(Received(*self._status, self._body.filled()))

    def _read_head(self) -> None:
        """Look for the head's end; what follows it is the body's beginning."""
        end = self._head.find(b"\r\n\r\n", 0, self._got)
        if end < 0:
            if self._got == head_bytes_max:
                self._fail(Unreachable("what answers there sends no end of a head"))
            return
        begin = end + 4
        try:
            status, length, signature = read_head(
                bytes(self._head[:begin]), max(self._body_max, small_bytes_max)
            )
        except ValueError as error:
            self._fail(Unreachable(f"what answers there is no server of ours: {error}"))
            return
        if self._got - begin > length or (status != _OK and length > small_bytes_max):
            self._fail(Unreachable("what answers there sends more than was asked for"))
            return
        self._body = _Body(length)
        self._body.begin(memoryview(self._head)[begin : self._got])
        self._status = status, signature


class ChunkWires:
    """The connections to one server, kept while they are used; a context manager."""

    def __init__(
        self,
        url: URL,
        tls: ssl.SSLContext | None,
        *,
        connect_seconds: float,
        idle_seconds: float,
    ) -> None:
        self._url = url
        self._tls = (tls or True) if url.scheme == "https" else None
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._idle: list[_Wire] = []
        self._all: set[_Wire] = set()
        self._closed = False

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections; requests in flight are told."""
        self._closed = True
        for wire in self._all:
            wire.close()

    async def get(self, path: str, header: str, body_max: int, seconds: float) -> Received:
        """Ask for `path` with this header line; `seconds` is how long nothing may come.

        Asks once more when a connection that had lain idle turns out to be closed: the request was
        then as a rule not even read. Raises Refusal, other ConnectionErrors, TimeoutError,
        Unreachable.
        """
        host = self._url.authority
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\n\r\n".encode()
        wire = await self._take()
        again = wire.used
        try:
            return await self._ask(wire, request, body_max, seconds)
        except ConnectionError:
            if not again:
                raise
        return await self._ask(await self._connect(), request, body_max, seconds)

    async def _ask(self, wire: _Wire, request: bytes, body_max: int, seconds: float) -> Received:
        self._all.add(wire)
        try:
            answer = await wire.ask(request, body_max, seconds)
        except BaseException:  # `ask` has closed it
            self._all.discard(wire)
            raise
        wire.close_after(self._idle_seconds)
        self._idle.append(wire)
        return answer

    async def _take(self) -> _Wire:
        """Return the connection used last, which is least likely to be closed, or a new one."""
        while self._idle:
            wire = self._idle.pop()
            if not wire.is_closed:
                return wire
            self._all.discard(wire)
        return await self._connect()

    async def _connect(self) -> _Wire:
        if self._closed:
            raise Unreachable(f"the server at {self._url} is no longer there")
        loop, url = asyncio.get_running_loop(), self._url
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, wire = await loop.create_connection(
                    _Wire, url.host or "", url.port or 0, ssl=self._tls
                )
        except TimeoutError:
            raise
        except OSError as error:
            raise Refusal(f"no connection to {self._url}: {error}") from error
        return wire
