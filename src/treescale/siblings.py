"""The workers of one server as they reach each other: by an abstract socket for each.

They share the port, so nobody can choose by it whom to ask. A worker takes the first name that no
other has, and the kernel frees it when the worker ends. The names are no secret: what is asked is
signed with the cluster's key, as between servers.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from treescale.clock import Clock
from treescale.peer.client import PeerChannel
from treescale.peer.health import PeerHealth
from treescale.peer.hearing import answers
from treescale.peer.signing import PeerKeys, Signer

answer_seconds_max: Final = 0.5
"""It is memory of this machine: whoever takes longer has other troubles."""
_URL: Final = "http://sibling"
_END_SECONDS: Final = 0.1

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Siblings:
    """The other workers of this server; an async context manager, within which it is one itself.

    `boot` is a text that the workers of this start share, and nobody else has.
    """

    def __init__(
        self,
        server_id: str,
        boot: str,
        workers: int,
        keys: Callable[[], PeerKeys],
        clock: Clock,
        handle: Handler,
    ) -> None:
        self._names = [f"\0treescale-{boot}-{number}" for number in range(workers)]
        self._signer = Signer(server_id, server_id, keys, clock.now, lambda: secrets.token_hex(16))
        self._clock = clock
        self._runner = web.ServerRunner(web.Server(handle), shutdown_timeout=_END_SECONDS)
        self._channels: list[PeerChannel] = []

    async def __aenter__(self) -> Self:
        """Begin to answer; whoever is alone has nobody to answer."""
        if len(self._names) > 1:
            await self._runner.setup()
            listener, mine = self._bound()
            await web.SockSite(self._runner, listener).start()
            self._channels = [self._channel(name) for name in self._names if name != mine]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        for channel in self._channels:
            await channel.__aexit__(None, None, None)
        await self._runner.cleanup()

    async def ask(self, question: bytes) -> list[bytes]:
        """Return what the others answer in time; see `metadata.hearsay`."""
        return await answers(self._channels, question, answer_seconds_max, anyway=True)

    def _bound(self) -> tuple[socket.socket, str]:
        """Take the first name that is free."""
        for name in self._names:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listener.bind(name)
            except OSError:
                listener.close()
                continue
            return listener, name
        raise AssertionError("there are more processes than workers")

    def _channel(self, name: str) -> PeerChannel:
        # Nobody pings a worker: it is there, or refuses at once.
        health = PeerHealth(self._signer, _URL, clock=self._clock, chance=lambda: 0.0)
        return PeerChannel(self._signer, _URL, health, socket_name=name)
