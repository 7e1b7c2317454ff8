"""The workers of a server ask each other, and nobody else is answered."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from treescale.clock import SystemClock
from treescale.http.connections.sending import sender_for
from treescale.metrics.traffic import TrafficCounters
from treescale.peer.protocol import Pong
from treescale.peer.server import Host, PeerServer
from treescale.peer.signing import PeerKeys
from treescale.server.processes.fellow_workers import FellowWorkers

KEYS, FOREIGN = PeerKeys(b"k" * 32), PeerKeys(b"f" * 32)


@pytest.fixture
def boot() -> str:
    return secrets.token_hex(8)


@asynccontextmanager
async def worker(
    boot: str, name: str, workers: int = 3, keys: PeerKeys = KEYS
) -> AsyncIterator[FellowWorkers]:
    """Run a worker that answers each question with its name."""

    async def tell(question: bytes) -> bytes:
        return f"{name} heard {question.decode()}".encode()

    clock = SystemClock()
    app = PeerServer(
        Host(Pong("a", boot), {}, tell, TrafficCounters()), lambda: keys, clock, sender_for
    )
    async with FellowWorkers("a", boot, workers, lambda: keys, clock, app.handle) as fellow_workers:
        yield fellow_workers


async def test_all_others_are_asked(boot: str) -> None:
    async with worker(boot, "one") as one, worker(boot, "two") as two:
        assert await one.ask(b"x") == [b"two heard x"]
        async with worker(boot, "three"):
            assert sorted(await one.ask(b"x")) == [b"three heard x", b"two heard x"]
            assert sorted(await two.ask(b"y")) == [b"one heard y", b"three heard y"]
        assert await one.ask(b"z") == [b"two heard z"]
        async with worker(boot, "again"):  # has the name of the one that ended
            assert sorted(await one.ask(b"x")) == [b"again heard x", b"two heard x"]


async def test_a_server_of_one_worker_has_nobody_to_ask(boot: str) -> None:
    async with worker(boot, "one", workers=1) as one, worker(boot, "two", workers=1):
        assert await one.ask(b"x") == []


async def test_whoever_has_not_the_key_is_neither_answered_nor_believed(boot: str) -> None:
    async with worker(boot, "one") as one, worker(boot, "stranger", keys=FOREIGN) as stranger:
        assert await stranger.ask(b"x") == []
        assert await one.ask(b"x") == []


async def test_another_start_is_another_server(boot: str) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(worker(boot, "one"))
        await stack.enter_async_context(worker(secrets.token_hex(8), "two"))
        assert await one.ask(b"x") == []
