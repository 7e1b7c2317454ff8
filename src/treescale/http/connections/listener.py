"""The sockets that connections come from, and how they are closed without losing one.

The kernel completes connections before anybody accepts them, and resets those that still wait when
the last one to hold the socket closes it. So whoever stops accepts them first. (A rolling restart
fails no request: faults.md section 6.)
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Final, Self

from treescale.http.connections.connection import FIRST_REQUEST_SECONDS, ConnectionServer
from treescale.http.connections.entrance import Door, Entrance
from treescale.http.proxy.origin import Proxies

ARRIVE_SECONDS: Final = 0.1
"""The loop tells of an accepted connection a little later, of one with TLS after the handshake."""
LOOK_SECONDS: Final = 0.02


class Listener:
    """Listening sockets whose connections are served."""

    def __init__(self, connections: ConnectionServer, group: asyncio.TaskGroup) -> None:
        self._connections = connections
        self._group = group
        self._plain: list[tuple[socket.socket, asyncio.Server]] = []
        self._entrances: list[tuple[socket.socket, Entrance]] = []

    @classmethod
    async def begin(
        cls,
        connections: ConnectionServer,
        doors: Sequence[Door],
        *,
        backlog: int,
        proxies: Proxies | None = None,
    ) -> Self:
        """Accept connections from now on; the listeners are ours to close.

        `stop` must be called by the same task.
        """
        group = await asyncio.TaskGroup().__aenter__()
        self = cls(connections, group)
        for door in doors:
            if door.is_plain:
                kept = door.listener.dup()  # beyond the end of the loop's own
                loop = asyncio.get_running_loop()
                server = await loop.create_server(connections, sock=door.listener, backlog=backlog)
                self._plain.append((kept, server))
            else:
                entrance = Entrance(connections, door, proxies or Proxies(), group)
                entrance.open()
                self._entrances.append((door.listener, entrance))
        return self

    def encrypt_with(self, context: ssl.SSLContext) -> None:
        """Have TLS be spoken so on new connections; those that are there go on as they are."""
        for _, entrance in self._entrances:
            entrance.encrypt_with(context)

    async def stop(self, seconds: float) -> None:
        """Accept nothing new, finish what has been connected, for a bounded time."""
        for _, server in self._plain:
            server.close()
        for _, entrance in self._entrances:
            entrance.close()
        for listener, _ in self._plain:
            for wire in _waiting(listener):
                self._group.create_task(self._serve(wire))
        for listener, entrance in self._entrances:
            for wire in _waiting(listener):
                entrance.receive(wire)
        await asyncio.sleep(ARRIVE_SECONDS)
        await self._all_arrived()
        await self._connections.drain(seconds)
        for _, entrance in self._entrances:
            entrance.end_all()
        await self._group.__aexit__(None, None, None)

    async def _all_arrived(self) -> None:
        """Wait until nobody is on the way in, or has had the time for it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + FIRST_REQUEST_SECONDS
        while any(entrance.arriving for _, entrance in self._entrances):
            if loop.time() > until:
                break
            await asyncio.sleep(LOOK_SECONDS)

    async def _serve(self, wire: socket.socket) -> None:
        wire.setblocking(False)  # noqa: FBT003  the standard library's signature
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._connections, wire)
        except OSError:  # it has gone: nobody is there to be told
            wire.close()


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that nobody has accepted, until there is none left; then close it."""
    listener.setblocking(False)  # noqa: FBT003  likewise
    with listener:
        while True:
            try:
                yield listener.accept()[0]
            except ConnectionAbortedError:
                continue
            except OSError:  # none waits (BlockingIOError), or none can be had
                return
