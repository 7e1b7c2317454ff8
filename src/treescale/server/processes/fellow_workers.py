"""The workers of one server as they reach each other: by an abstract socket for each.

They share the port, so nobody can choose by it whom to ask. A worker takes the first name that no
other has, and the kernel frees it when the worker ends. The names are no secret: what is asked is
signed with the cluster's key, as between servers.
"""

import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from treescale.clock import Clock
from treescale.metrics.shared_counters import HUNG_WORKERS_MAX
from treescale.peer.client import PeerClient, ask_all
from treescale.peer.health import PeerHealth
from treescale.peer.keyring import new_signer
from treescale.peer.signing import PeerKeys

ANSWER_SECONDS_MAX: Final = 0.5
"""It is memory of this machine: whoever takes longer has other troubles."""
_URL: Final = "http://sibling"
_END_SECONDS: Final = 0.1

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class FellowWorkers:
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
        self._alone = workers == 1
        places = range(workers + HUNG_WORKERS_MAX)
        self._names = [f"\0treescale-{boot}-{number}" for number in places]
        self._signer = new_signer(server_id, server_id, keys, clock)
        self._clock = clock
        self._runner = web.ServerRunner(
            web.Server(handle, access_log=None), shutdown_timeout=_END_SECONDS
        )
        self._clients: list[PeerClient] = []

    async def __aenter__(self) -> Self:
        """Begin to answer; whoever is alone has nobody to answer."""
        if not self._alone:
            await self._runner.setup()
            listener, mine = self._bound()
            await web.SockSite(self._runner, listener).start()
            self._clients = [self._client(name) for name in self._names if name != mine]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        for client in self._clients:
            client.close()
        await self._runner.cleanup()

    async def ask(self, question: bytes) -> list[bytes]:
        """Return what the others answer in time; see `cache.exchange`."""
        return await ask_all(self._clients, question, ANSWER_SECONDS_MAX, anyway=True)

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

    def _client(self, name: str) -> PeerClient:
        # Nobody pings a worker: it is there, or refuses at once.
        health = PeerHealth(self._signer, _URL, clock=self._clock, chance=lambda: 0.0)
        return PeerClient(self._signer, _URL, health, socket_name=name)
