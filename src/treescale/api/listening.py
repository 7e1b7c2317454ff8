"""The socket that connections come from, and how it is closed without losing one.

The kernel completes connections before anybody accepts them, and resets those that still wait when
the last one to hold the socket closes it. So whoever stops accepts them first. (A rolling restart
fails no request: faults.md section 6.)
"""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Final, Self

from treescale.api.connection import ConnectionServer
from treescale.api.limits import LIMITS

arrive_seconds: Final = 0.1
"""The loop tells of an accepted connection a little later, of one with TLS after the handshake."""


class Listening:
    """A listening socket whose connections are served."""

    def __init__(
        self,
        connections: ConnectionServer,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        server: asyncio.Server,
    ) -> None:
        self._connections = connections
        self._listener = listener
        self._context = context
        self._server = server

    @classmethod
    async def begin(
        cls,
        connections: ConnectionServer,
        listener: socket.socket,
        context: ssl.SSLContext | None,
        *,
        backlog: int,
    ) -> Self:
        """Accept connections from now on; the listener is ours to close."""
        kept = listener.dup()  # beyond the end of the loop's own
        server = await asyncio.get_running_loop().create_server(
            connections,
            sock=listener,
            ssl=context,
            backlog=backlog,
            ssl_handshake_timeout=_patience(context),
            ssl_shutdown_timeout=_patience(context),
        )
        return cls(connections, kept, context, server)

    async def stop(self, seconds: float) -> None:
        """Accept nothing new, finish what has been connected, for a bounded time."""
        self._server.close()
        waiting = list(self._waiting())
        self._listener.close()
        async with asyncio.TaskGroup() as group:
            for each in waiting:
                group.create_task(self._serve(each))
        await asyncio.sleep(arrive_seconds)
        await self._connections.drain(seconds)

    def _waiting(self) -> Iterator[socket.socket]:
        """Yield the connections that nobody has accepted, until there is none left."""
        self._listener.setblocking(False)  # noqa: FBT003  the standard library's signature
        while True:
            try:
                yield self._listener.accept()[0]
            except ConnectionAbortedError:
                continue
            except OSError:  # none waits (BlockingIOError), or none can be had
                return

    async def _serve(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)  # noqa: FBT003  likewise
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connections,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=_patience(self._context),
                ssl_shutdown_timeout=_patience(self._context),
            )
        except OSError:  # it has gone, or failed the handshake: nobody is there to be told
            accepted.close()


def _patience(context: ssl.SSLContext | None) -> float | None:
    return None if context is None else LIMITS.handshake_seconds_max
