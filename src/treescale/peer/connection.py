"""The one kind of connection to another server, and the pool of them: bytes go where they stay.

A general HTTP client touches each piece of a body three times in the interpreter and copies it
twice; most of what a gateway did was that. Here the head of an answer says how long its body is,
and the socket is read straight into a buffer of that length. One request at a time is on a
connection, and one that was left before its answer's end is closed: no answer can be taken for that
to another request.
"""

import asyncio
import socket
import ssl
from io import BytesIO
from typing import Final, cast

from treescale.chunks.store import Bytes
from treescale.errors import Unreachable
from treescale.peer.address import reachable
from treescale.peer.protocol import AnswerHead, Received, read_head
from treescale.peer.wakes import READ_AT_ONCE_BYTES, wake_at

HEAD_BYTES_MAX: Final = 16 * 1024
SENT_AT_ONCE_BYTES: Final = 256 * 1024
"""Of a body, which waits in pieces for the socket to take more: TLS would copy all of it."""
PEEK_SECONDS: Final = 0.05
"""To be given what has come of a body when that is less."""
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME, which Python has no name for."""
_NOTHING: Final = memoryview(b"")


class Refusal(Unreachable):
    """No connection could be made: nobody listens there."""


class ClosedWhileIdle(ConnectionError):
    """A kept connection ended before a byte of the answer: it had been closed while it lay idle."""


class _Body:
    """Room for a body of known length, which becomes its bytes without a copy."""

    def __init__(self, length: int) -> None:
        # CPython's BytesIO writes into the bytes it was given, when nobody else has them, and
        # gives them back; but a copy of them while anybody has a view.
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
        """Return all bytes, once: nothing is `left` to be filled, and the loop has let go of it."""
        self.left.release()
        return self._file.getvalue()


_NO_BODY: Final = _Body(0)


class PeerConnection(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done once the connection has ended, whoever ended it."""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._is_kept = False  # a request was on it before
        self._buffer = bytearray(HEAD_BYTES_MAX)
        # Of the request that is on it:
        self._waiting: asyncio.Future[AnswerHead] | None = None
        self._unsent = _NOTHING
        self._may_send = True
        self._wakes_at = 1
        self._answer_bytes_max = 0
        self._idle_seconds = 0.0
        self._moved_at = 0.0
        self._got = 0  # of the head
        self._head: AnswerHead | None = None
        self._body = _NO_BODY

    # What the request's side calls

    async def ask(
        self, head: bytes, body: Bytes, answer_bytes_max: int, idle_seconds: float
    ) -> Received:
        """Send a request and return its answer, which is not read further than it may be long.

        Raises ConnectionError when the connection ends (ClosedWhileIdle: ask again on another),
        TimeoutError after so long without a byte, Unreachable when what comes is no answer of ours.
        """
        if self.is_closed:
            raise ClosedWhileIdle("the connection was closed while it lay idle")
        self._waiting = self._loop.create_future()
        self._answer_bytes_max, self._idle_seconds = answer_bytes_max, idle_seconds
        self._got, self._head, self._moved_at = 0, None, self._loop.time()
        try:
            self._watch()
            view = memoryview(body)
            self._unsent = view[SENT_AT_ONCE_BYTES:]
            self._transport.writelines((head, view[:SENT_AT_ONCE_BYTES]))
            self._send_more()
            answer = await self._waiting
            return Received(answer.status, answer.signature, self._body.filled())
        except BaseException:  # cancelled as well: what still comes belongs to no request
            self.close()
            raise
        finally:
            self._rest()
            self._waiting, self._unsent, self._body = None, _NOTHING, _NO_BODY
            self._is_kept = True

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

    def _send_more(self) -> None:
        while self._unsent and self._may_send:
            piece = self._unsent[:SENT_AT_ONCE_BYTES]
            self._unsent = self._unsent[SENT_AT_ONCE_BYTES:]
            self._transport.write(piece)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        """Give up when nothing came for too long, else look again when that may be."""
        self._rest()
        left = self._moved_at + self._idle_seconds - self._loop.time()
        if self._wakes_at > 1 and left <= self._idle_seconds / 2:
            self._wake_at(1)  # something may have come
            left = max(left, PEEK_SECONDS)
        if left <= 0:
            self._fail(TimeoutError(f"nothing came for {self._idle_seconds:g} s"))
        else:
            self._timer = self._loop.call_later(left, self._watch)

    def _wake_at(self, count: int) -> None:
        if count != self._wakes_at and wake_at(self._transport, count):
            self._wakes_at = count

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
        why = str(exc or "the connection ended before the answer")
        closed_before = self._is_kept and self._got == 0
        self._fail(ClosedWhileIdle(why) if closed_before else ConnectionResetError(why))
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        """Wait: the other end does not take more now."""
        self._may_send = False

    def resume_writing(self) -> None:
        """Go on with the body."""
        self._may_send = True
        self._send_more()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  the loop's signature
        """Return where the next bytes go: into the body, once its length is known."""
        if self._head is not None and self._body.left:
            return self._body.left
        return memoryview(self._buffer)[self._got :] or memoryview(self._buffer)

    def buffer_updated(self, nbytes: int) -> None:
        """Take notice of bytes that have come."""
        if self._waiting is None or self._waiting.done():
            self.close()  # nobody asked for anything
            return
        self._moved_at = self._loop.time()
        if self._head is None:
            self._got += nbytes
            self._read_head()
        else:
            self._body.took(nbytes)
            if len(self._body.left) < self._wakes_at:
                self._wake_at(len(self._body.left) or 1)
        if self._head is not None and not self._body.left:
            # While this runs, the loop has a view of the body.
            self._waiting.set_result(self._head)
            if self._head.closes or self._unsent:  # no other request can follow
                self.close()

    def _read_head(self) -> None:
        """Look for the head's end; what follows it is the body's beginning."""
        end = self._buffer.find(b"\r\n\r\n", 0, self._got)
        if end < 0:
            if self._got == HEAD_BYTES_MAX:
                self._fail(_not_ours("no end of a head"))
            return
        begin = end + 4
        try:
            head = read_head(bytes(self._buffer[:begin]), self._answer_bytes_max)
        except ValueError as error:
            self._fail(_not_ours(str(error)))
            return
        if self._got - begin > head.length:
            self._fail(_not_ours("more came than was asked for"))
            return
        self._body = _Body(head.length)
        self._body.begin(memoryview(self._buffer)[begin : self._got])
        self._head = head
        if len(self._body.left) > READ_AT_ONCE_BYTES:
            self._wake_at(READ_AT_ONCE_BYTES)


def encrypting(authorities: str = "") -> ssl.SSLContext:
    """Return what encrypts between servers. Who is there the signatures tell, not certificates.

    With `authorities`, certificates in PEM, a server's own must be signed by one of them and cover
    the name in its address, so that nobody in between can read along. Its time is nobody's reason:
    a certificate that somebody forgot to renew must not split the cluster, and is told of by its
    own server. Raises ssl.SSLError when there is no certificate in `authorities`.

    A default context would read all authorities of this machine, for tens of milliseconds in which
    nobody is served.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authorities:
        context.load_verify_locations(cadata=authorities)
        context.verify_flags |= _NO_CHECK_TIME
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _not_ours(why: str) -> Unreachable:
    return Unreachable(f"what answers there is no server of ours: {why}")


async def connect(
    url: str, tls: ssl.SSLContext | None, seconds: float, *, socket_name: str = ""
) -> PeerConnection:
    """Return a new connection to what is at `url`; with `socket_name` a Unix socket leads there.

    Raises Refusal, TimeoutError, or Unreachable when `url` is no address.
    """
    loop, address = asyncio.get_running_loop(), reachable(url)
    try:
        async with asyncio.timeout(seconds):
            if socket_name:
                near = _connected(socket_name)
                return (await loop.create_unix_connection(PeerConnection, sock=near))[1]
            context = (tls or True) if address.is_encrypted else None
            host, port = address.host, address.port
            return (await loop.create_connection(PeerConnection, host, port, ssl=context))[1]
    except TimeoutError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise Refusal(
            f"no connection to {url}: {error.verify_message}. Its certificate must be signed by an "
            f"authority in peer_ca, and cover {address.host}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a name that cannot be looked up
        raise Refusal(f"no connection to {url}: {error}") from error


def _connected(name: str) -> socket.socket:
    """Return a socket that leads to this Unix socket: at once, or there is nobody, or no room.

    Done here because uvloop cannot: it takes a name that begins with a NUL for an empty one.
    """
    near = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        near.settimeout(0)
        near.connect(name)
    except BaseException:
        near.close()
        raise
    return near


class ConnectionPool:
    """The connections to one server, kept while they are used."""

    def __init__(
        self,
        url: str,
        tls: ssl.SSLContext | None,
        *,
        connect_seconds: float,
        idle_seconds: float,
        socket_name: str = "",
    ) -> None:
        self._url = url
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._socket_name = socket_name
        self._idle: list[PeerConnection] = []
        self._all: set[PeerConnection] = set()
        self._closed = False

    async def acquire(self) -> PeerConnection:
        """Return the connection used last, which is least likely to be closed, or a new one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                return connection
            self._all.discard(connection)
        return await self.connect()

    async def connect(self) -> PeerConnection:
        """Return a new connection; raises as the function of this name does."""
        if self._closed:
            raise Unreachable(f"the server at {self._url} is no longer there")
        connection = await connect(
            self._url, self._tls, self._connect_seconds, socket_name=self._socket_name
        )
        self._all.add(connection)
        if self._closed:
            connection.close()
        return connection

    def release(self, connection: PeerConnection) -> None:
        """Keep a connection for another request, if it is fit for one."""
        if connection.is_closed:
            self._all.discard(connection)
        else:
            connection.close_after(self._idle_seconds)
            self._idle.append(connection)

    def close(self) -> None:
        """Close all connections; requests in flight are told."""
        self._closed = True
        for connection in self._all:
            connection.close()
