"""The ways to the other servers of a cluster: to each one a client, its health, and its stores.

Which servers there are is said by whoever reads the cluster's rows (`cluster_view`). A server that
is new gets a client and is pinged; one that is gone, or elsewhere, loses them.
"""

import asyncio
import secrets
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final

from treescale.clock import Clock
from treescale.cluster.readiness import PeerCounts
from treescale.log import get_logger
from treescale.metadata.records import ServerRecord, Unreached
from treescale.peer.breaker import State
from treescale.peer.client import PeerClient, ask_all
from treescale.peer.connection import encrypting
from treescale.peer.health import PeerHealth
from treescale.peer.keyring import new_signer
from treescale.peer.signing import PeerKeys, is_server_id
from treescale.peer.store import PeerStore
from treescale.server.background import Background, Job

ANSWER_SECONDS_MAX: Final = 1.0
"""For a question to all servers: while the database is away, a client waits for it."""
UNREACHED_TOLD_MAX: Final = 32
REASON_CHARACTERS_MAX: Final = 200
"""Of each server that is not reached: it is written with each heartbeat."""


@dataclass(slots=True)
class _Peer:
    """The way to one other server, and to the stores it was asked for."""

    url: str
    health: PeerHealth
    client: PeerClient
    watching: asyncio.Task[None]
    stores: dict[str, PeerStore] = field(default_factory=dict)

    def part(self) -> None:
        """Ask it no more; requests in flight are Unreachable."""
        self.watching.cancel()
        self.client.close()


class Peers:
    """The other servers, as one process of this server reaches them.

    `keys` gives those by which servers know each other, in force then; `clock` tells the time they
    share. Pings are registered with `background`, which ends them with the process. `peer_tls`
    makes what encrypts on the way to one.
    """

    def __init__(
        self,
        server_id: str,
        background: Background,
        keys: Callable[[], PeerKeys],
        *,
        threads: Executor,
        clock: Clock,
        peer_tls: Callable[[], ssl.SSLContext] = encrypting,
    ) -> None:
        self._server_id = server_id
        self._background = background
        self._keys = keys
        self._threads = threads
        self._clock = clock
        self._peer_tls = peer_tls
        self._peers: dict[str, _Peer] = {}
        self._log = get_logger()

    def follow(self, servers: Iterable[ServerRecord]) -> None:
        """Have ways to exactly these servers; this one may be among them."""
        servers = list(servers)
        self._forget(servers)
        for server in servers:
            if server.server_id in {self._server_id, *self._peers}:
                continue
            if is_server_id(server.server_id):
                self._peers[server.server_id] = self._meet(server)
            else:
                self._log.error("neighbour.nameless", peer=server.server_id, url=server.address)

    def close(self) -> None:
        """End all connections; requests in flight are Unreachable."""
        for peer in self._peers.values():
            peer.part()

    def store(self, server_id: str, store_id: str) -> PeerStore | None:
        """Return the way to a store of a server; None when there is none to that server."""
        peer = self._peers.get(server_id)
        if peer is None:
            return None
        if store_id not in peer.stores:
            peer.stores[store_id] = PeerStore(
                store_id, peer.client, self._threads, clock=self._clock
            )
        return peer.stores[store_id]

    def is_up(self, server_id: str) -> bool:
        """Say whether pings and requests find that server; True of one that is not known."""
        peer = self._peers.get(server_id)
        return peer is None or peer.health.is_up

    def walk_rate(self) -> float:
        """Return how many bytes a second a walk may move, as the servers that answer say."""
        healths = (one.health for one in self._peers.values())
        told = [one.walk_bytes_per_second for one in healths if one.answers]
        return min(filter(None, told), default=float("inf"))

    async def ask(self, question: bytes) -> list[bytes]:
        """Return what the servers that are up answer in time; see `cache.exchange`."""
        up = [one.client for one in self._peers.values() if one.health.is_up]
        return await ask_all(up, question, ANSWER_SECONDS_MAX)

    def unreached(self) -> list[Unreached]:
        """Return whom requests do not go to; short, as each beat writes it."""
        told = [
            Unreached(name, _plain(one.health.trouble)[:REASON_CHARACTERS_MAX])
            for name, one in self._peers.items()
            if one.health.trouble
        ]
        return told[:UNREACHED_TOLD_MAX]

    def states(self) -> dict[str, bool]:
        """Return of each other server whether requests go to it."""
        return {name: one.health.is_up for name, one in self._peers.items()}

    def reached(self) -> dict[str, bool]:
        """Return of each other server whether it answers; one that is probed does not yet."""
        return {name: one.health.state is State.UP for name, one in self._peers.items()}

    def counts(self, *, clock_is_right: bool) -> PeerCounts:
        """Return how many other servers answer pings, and how many of those refuse this one.

        Who refuses a clock that the database calls right has a wrong one itself.
        """
        healths = [one.health for one in self._peers.values()]
        clocks = [one for one in healths if one.refusal is not None and one.refusal.clock]
        others = [one for one in healths if one.refusal is not None and not one.refusal.clock]
        return PeerCounts(
            answering=sum(one.answers for one in healths),
            refusing=len(others) + (0 if clock_is_right else len(clocks)),
            blamed=bool(clocks) and not clock_is_right,
        )

    def _forget(self, servers: Iterable[ServerRecord]) -> None:
        """Let go of servers that are gone, or elsewhere now."""
        addresses = {server.server_id: server.address for server in servers}
        for server_id, peer in list(self._peers.items()):
            if addresses.get(server_id) != peer.url:
                del self._peers[server_id]
                peer.part()
                self._log.info("neighbour.gone", peer=server_id, url=peer.url)

    def _meet(self, server: ServerRecord) -> _Peer:
        signer = new_signer(self._server_id, server.server_id, self._keys, self._clock)
        tls = self._peer_tls()
        chance = secrets.SystemRandom().random
        health = PeerHealth(signer, server.address, clock=self._clock, chance=chance, tls=tls)
        client = PeerClient(signer, server.address, health, tls=tls)
        self._log.info("neighbour.met", peer=server.server_id, url=server.address)
        means = "the server's state is not known; requests find out by themselves"
        watching = self._background.register(
            Job(f"peer.ping/{server.server_id}", health.watch, means)
        )
        return _Peer(server.address, health, client, watching)


def _plain(text: str) -> str:
    """Return what may stand in advice: whoever answers at an address may have said some of it."""
    return "".join(each if each.isprintable() and each != "`" else "?" for each in text)
