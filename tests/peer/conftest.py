"""A server with two stores on a loopback port, and ways to reach it, over a bad wire too."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.fakes_disk import JumpingClock
from tests.fakes_network import Relay, relay_to
from tests.loops import new_uvloop
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.store import ChunkStore, MemoryStore
from treescale.errors import RequestInvalid
from treescale.http.connections.connection import ConnectionServer
from treescale.http.connections.sending import sender_for
from treescale.metrics.traffic import TrafficCounters
from treescale.peer.client import TIMEOUTS, PeerClient, Timeouts
from treescale.peer.health import PeerHealth
from treescale.peer.protocol import Pong
from treescale.peer.server import Host, PeerServer
from treescale.peer.signing import PeerKeys, Signer
from treescale.peer.store import PeerStore

BOTH_LOOPS = ("test_connection.py", "test_client.py")
"""What they test is made of a loop's transports, and servers run on uvloop, not on asyncio's."""
KEYS = PeerKeys(b"k" * 32)
NO_RESERVE = Reserve(fraction=0.0, bytes_min=0, inodes_min=0)


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on asyncio's loop, and some tests on uvloop, too."""
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return loops | ({"uvloop": new_uvloop} if item.path.name in BOTH_LOOPS else {})


@dataclass
class Server:
    """A server whose parts a test may change."""

    port: int
    root: Path
    clock: JumpingClock
    stores: dict[str, ChunkStore]
    app: PeerServer
    connections: ConnectionServer
    listening: asyncio.Server
    traffic: TrafficCounters
    walk_rate: int = 0
    keys: PeerKeys = field(default=KEYS)

    def file_of(self, chunk: bytes) -> Path:
        """Return where the disk store keeps a chunk."""
        name = chunk.hex()
        return self.root / "chunks" / name[:2] / name[2:4] / name

    async def stop(self) -> None:
        """End, resetting what is open; nobody listens any more."""
        self.listening.close()
        await self.connections.shutdown(0.01)


@pytest.fixture
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


async def told(question: bytes) -> bytes:
    """Answer what is known, as a test sees it came."""
    if not question:
        raise RequestInvalid("no question")
    return b"an answer to " + question


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def server(tmp_path: Path, threads: Executor, clock: JumpingClock) -> AsyncIterator[Server]:
    """Run server b with the stores `disk` and `memory`."""
    disk = DiskStore.create_or_open(
        tmp_path / "store", threads=threads, clock=clock, reserve=NO_RESERVE
    )
    stores: dict[str, ChunkStore] = {"disk": disk, "memory": MemoryStore()}
    traffic = TrafficCounters()
    host = Host(Pong("b", "boot-1"), stores, told, traffic, lambda: running.walk_rate)
    app = PeerServer(host, lambda: running.keys, clock, sender_for, limit=20)
    connections = ConnectionServer(app.handle, tls=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listening = await asyncio.get_running_loop().create_server(connections, sock=listener)
        port = listener.getsockname()[1]
        root = tmp_path / "store"
        running = Server(port, root, clock, stores, app, connections, listening, traffic)
        yield running
        await running.stop()


@pytest.fixture
async def wire(server: Server) -> AsyncIterator[Relay]:
    """A relay to the server, whose faults a test sets."""
    async with relay_to(server.port) as relay:
        yield relay


@dataclass
class Near:
    """What server a asks server b through."""

    client: PeerClient
    health: PeerHealth
    threads: Executor
    clock: JumpingClock

    def store(self, name: str = "disk") -> PeerStore:
        """Return a store of the other server."""
        return PeerStore(name, self.client, self.threads, clock=self.clock)


Reach = Callable[..., Near]


@pytest.fixture
async def reach(threads: Executor, clock: JumpingClock) -> AsyncIterator[Reach]:
    """Return what reaches server b at a port, without pinging it."""
    with ExitStack() as closing:

        def reach(port: int, timeouts: Timeouts = TIMEOUTS, keys: PeerKeys = KEYS) -> Near:
            signer = Signer("a", "b", lambda: keys, clock.now, lambda: secrets.token_hex(16))
            url = f"http://127.0.0.1:{port}"
            health = PeerHealth(signer, url, clock=clock, chance=lambda: 0.0)
            client = PeerClient(signer, url, health, timeouts=timeouts)
            closing.callback(client.close)
            return Near(client, health, threads, clock)

        yield reach
