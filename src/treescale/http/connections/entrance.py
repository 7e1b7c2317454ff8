"""The way in for connections that something precedes: a PROXY header, or a TLS handshake.

A plain listener is left to the loop, which accepts faster than we could. Here a connection counts
from its first moment, long before it is one of HTTP; and its first bytes are looked at on the bare
socket, before a transport has it:

    accepted ─> PROXY header (from trusted proxies alone) ─> TLS hello, or "use https" ─> HTTP

The bytes are looked at with MSG_PEEK and only those of the header are taken, so that what follows
goes through the same transports as ever: TLS by the loop, files by sendfile.
"""

import asyncio
import errno
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from typing import Final

from treescale.http.connections.connection import TLS_HANDSHAKE, ConnectionServer
from treescale.http.connections.crowd import Stage, origin_of
from treescale.http.limits import Limits
from treescale.http.proxy.header import HEADER_BYTES_MAX, NotProxied, read_header
from treescale.http.proxy.origin import LOCAL_SOCKET, Proxies, parse_host, plain_address
from treescale.log import get_logger

ACCEPTED_AT_ONCE: Final = 64
"""Then the loop sees to others."""
PAUSE_SECONDS: Final = 0.1
"""When the system has no more to give, nobody is accepted for so long."""
TOLD_SECONDS: Final = 60.0
"""How often a listener tells of connections that it has refused."""
HEAD_BYTES_MAX: Final = 4096
GOODBYE_SECONDS: Final = 2.0
"""How long a client may take to read that it must use https."""
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Door:
    """A listening socket, and what comes first on its connections."""

    listener: socket.socket
    context: ssl.SSLContext | None = None
    proxied: bool = False
    """Each connection begins with a PROXY header, and comes from a trusted proxy."""

    @property
    def is_plain(self) -> bool:
        """Say whether HTTP begins with the first byte, and connections are TCP's."""
        local = self.listener.family == socket.AF_UNIX
        return self.context is None and not self.proxied and not local


class Arriving:
    """A connection before it is one of HTTP; a guest of `crowd`."""

    logged_in = False

    def __init__(self, wire: socket.socket, origin: str | None, since: float) -> None:
        self.wire = wire
        self.origin = origin
        self.since = since
        self.stage = Stage.WAITING
        self.patience: asyncio.TimerHandle | None = None

    def end(self) -> None:
        """Close it: whoever waits for its bytes finds the end of them, and closes it."""
        try:
            self.wire.shutdown(socket.SHUT_RDWR)
        except OSError:  # it has gone already
            return


class Entrance:
    """Accepts the connections of one door, and hands them over to HTTP."""

    def __init__(
        self, connections: ConnectionServer, door: Door, proxies: Proxies, group: asyncio.TaskGroup
    ) -> None:
        self._connections = connections
        self._door = door
        self._context = door.context
        self._proxies = proxies
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._limits: Limits = connections.limits
        self._arriving: set[Arriving] = set()
        self._again: asyncio.TimerHandle | None = None
        self._refusals = 0
        self._told = -TOLD_SECONDS

    def encrypt_with(self, context: ssl.SSLContext) -> None:
        """Have TLS be spoken so on connections that come from now on; nothing without TLS."""
        if self._door.context is not None:
            self._context = context

    def open(self) -> None:
        """Accept from now on."""
        self._door.listener.setblocking(False)  # noqa: FBT003  the standard library's signature
        self._again = None
        self._loop.add_reader(self._door.listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept nothing any more; the listener is the caller's."""
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._door.listener.fileno())

    @property
    def arriving(self) -> int:
        """Return how many are on their way in."""
        return len(self._arriving)

    def end_all(self) -> None:
        """End those that are still on their way in."""
        for each in list(self._arriving):
            each.end()

    def receive(self, wire: socket.socket) -> None:
        """Take a connection that has been accepted."""
        wire.setblocking(False)  # noqa: FBT003  likewise
        if self._door.proxied or self._door.context is None:
            self._group.create_task(self._admit(wire))
        else:
            self._await_hello(wire)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                wire, _ = self._door.listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as wrong:
                self._pause(wrong)
                return
            self.receive(wire)

    def _pause(self, wrong: OSError) -> None:
        """Make room, and try again in a while: the listener stays readable meanwhile."""
        if wrong.errno not in EXHAUSTED:
            get_logger().error("accept.failed", error=str(wrong))
        self._connections.make_room()
        self.close()
        self._again = self._loop.call_later(PAUSE_SECONDS, self.open)

    def _await_hello(self, wire: socket.socket) -> None:
        """See to a connection whose first byte tells all: what `_admit` does, for less.

        A task is made when the byte is here, and nothing is wrapped around what it awaits: clients
        that connect for each request pay for this again and again.
        """
        try:
            peer = _peer_of(wire)
        except OSError:  # it has gone before we looked
            wire.close()
            return
        guest = Arriving(wire, self._origin(peer), self._loop.time())
        if not self._connections.enter(guest):
            self._connections.leave(guest)
            wire.close()
            return
        self._arriving.add(guest)
        guest.patience = self._loop.call_later(self._limits.handshake_seconds_max, guest.end)
        self._look_at_hello(guest, waited=False)

    def _look_at_hello(self, guest: Arriving, *, waited: bool) -> None:
        """Go on with the first byte, when it is here."""
        try:
            first = guest.wire.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            if not waited:
                look = partial(self._look_at_hello, guest, waited=True)
                self._loop.add_reader(guest.wire.fileno(), look)
            return
        except OSError:
            first = b""
        if waited:
            self._loop.remove_reader(guest.wire.fileno())
        if first:
            self._group.create_task(self._go_on(guest, tls=first[0] == TLS_HANDSHAKE))
        else:
            self._drop(guest)

    async def _go_on(self, guest: Arriving, *, tls: bool) -> None:
        """Hand a connection over that has begun TLS; tell one that has not."""
        try:
            if tls:
                await self._hand_over(guest, None)
                self._forget(guest)
                return
            await _say_https(guest.wire)
        except (OSError, TimeoutError):
            pass  # it has gone, or failed the handshake: nobody is to be told
        except Exception as error:  # noqa: BLE001  one connection's fault must not end the others
            get_logger().error("connection.failed", exc_info=error)
        self._drop(guest)

    def _drop(self, guest: Arriving) -> None:
        self._forget(guest)
        guest.wire.close()

    def _forget(self, guest: Arriving) -> None:
        if guest.patience is not None:
            guest.patience.cancel()
        self._arriving.discard(guest)
        self._connections.leave(guest)

    async def _admit(self, wire: socket.socket) -> None:
        """See to a connection until it is HTTP's, or has ended."""
        try:
            peer = _peer_of(wire)
        except OSError:  # it has gone before we looked
            wire.close()
            return
        guest = Arriving(wire, self._origin(peer), self._loop.time())
        self._arriving.add(guest)
        try:
            if self._connections.enter(guest):
                async with asyncio.timeout(self._limits.handshake_seconds_max):
                    await self._introduce(guest, peer)
                return
        except NotProxied as wrong:
            self._refuse(peer, str(wrong))
        except (OSError, TimeoutError):
            pass  # it has gone, said nothing in time, or failed the handshake: nobody is to be told
        except Exception as error:  # noqa: BLE001  one connection's fault must not end the others
            get_logger().error("connection.failed", exc_info=error)
        finally:
            self._forget(guest)
        wire.close()

    async def _introduce(self, guest: Arriving, peer: str) -> None:
        """Read what comes before HTTP, and hand the connection over."""
        wire, source = guest.wire, None
        if self._door.proxied:
            if peer != LOCAL_SOCKET and not self._is_trusted(peer):
                raise NotProxied("it comes from no trusted proxy")
            source = await _read_proxy_header(wire)
        if self._door.context is not None and not await _begins_tls(wire):
            await _say_https(wire)
            wire.close()
            return
        await self._hand_over(guest, source)

    async def _hand_over(self, guest: Arriving, source: tuple[str, int] | None) -> None:
        """Make it a connection of HTTP, after the handshake where there is TLS."""
        guest.stage = Stage.ARRIVING
        began = self._loop.time()
        patience = max(1.0, self._limits.handshake_seconds_max - (began - guest.since))
        tls, proxied = self._door.context is not None, self._door.proxied
        await self._loop.connect_accepted_socket(
            lambda: self._connections.protocol(source, tls=tls, proxied=proxied),
            guest.wire,
            ssl=self._context,
            ssl_handshake_timeout=patience if tls else None,
            ssl_shutdown_timeout=self._limits.handshake_seconds_max if tls else None,
        )

    def _origin(self, peer: str) -> str | None:
        """Return whom the connection counts for; nobody while others stand behind the peer."""
        if self._door.proxied or peer == LOCAL_SOCKET or self._is_trusted(peer):
            return None
        return origin_of(peer)

    def _is_trusted(self, peer: str) -> bool:
        address = plain_address(peer)
        return address is not None and self._proxies.trusts(address)

    def _refuse(self, peer: str, reason: str) -> None:
        """Count a refusal, and tell of the first, and of all since once a minute."""
        self._refusals += 1
        now = self._loop.time()
        if now - self._told >= TOLD_SECONDS:
            get_logger().warning(
                "proxy.refused", connections=self._refusals, peer=peer, reason=reason
            )
            self._told, self._refusals = now, 0


def _peer_of(wire: socket.socket) -> str:
    if wire.family == socket.AF_UNIX:
        return LOCAL_SOCKET
    return str(wire.getpeername()[0])


async def _readable(wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(wire.fileno(), _tell, ready)
    try:
        await ready
    finally:
        loop.remove_reader(wire.fileno())


def _tell(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


async def _peek(wire: socket.socket, size: int) -> bytes:
    """Return what is here, at least a byte, and leave it there; raises ConnectionError."""
    while True:
        try:
            found = wire.recv(size, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            await _readable(wire)
            continue
        if not found:
            raise ConnectionResetError("it ended before it said anything")
        return found


async def _read_proxy_header(wire: socket.socket) -> tuple[str, int] | None:
    """Take the header; return whom the connection is from, None for the proxy itself."""
    begun = b""
    while True:
        here = await _peek(wire, HEADER_BYTES_MAX)
        header = read_header(begun + here)
        # Of one that is not whole, all that is here belongs to it.
        wire.recv(len(here) if header is None else header.length - len(begun))
        if header is not None:
            return None if header.source is None else (str(header.source[0]), header.source[1])
        begun += here


async def _begins_tls(wire: socket.socket) -> bool:
    return (await _peek(wire, 1))[0] == TLS_HANDSHAKE


async def _say_https(wire: socket.socket) -> None:
    """Answer who speaks plain HTTP to a port that has TLS, in words that people can read."""
    head = wire.recv(HEAD_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(wire, https_answer(head))
    wire.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(GOODBYE_SECONDS):
        # Closed with bytes unread, the connection would be reset, and the answer lost.
        while await loop.sock_recv(wire, HEAD_BYTES_MAX):
            continue


def https_answer(head: bytes) -> bytes:
    """Return the answer to a request without TLS, whose head begins so."""
    lines = head.split(b"\r\n")
    hosts = [line[5:] for line in lines if line[:5].lower() == b"host:"]
    host = parse_host(hosts[0].decode("ascii", "replace")) if hosts else None
    advice = f"use https://{host}" if host else "use https:// here, not http://"
    text = f"This port speaks HTTPS: {advice}\n".encode()
    return (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(text), text)
    )
