"""Pings over real sockets: how fast another server is missed, and how fast it is seen again."""

import asyncio
import secrets
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from tests.contracts.chunk_store import ABSENT
from tests.fakes_disk import JumpingClock
from tests.fakes_network import Relay, silent_server, unused_port
from tests.peer.conftest import KEYS, Reach, Server
from treescale.clock import SystemClock
from treescale.errors import Unreachable
from treescale.peer.breaker import State
from treescale.peer.client import PeerClient
from treescale.peer.connection import encrypting
from treescale.peer.health import (
    PING_TIMEOUTS,
    PeerHealth,
    PingTimeouts,
    ping_once,
    why_unreachable,
)
from treescale.peer.signing import PeerKeys, Signer
from treescale.peer.store import PeerStore
from treescale.server.network.certificates import self_signed, server_context

FAST = PingTimeouts(seconds=0.2)
RARE = PingTimeouts(seconds=1000)
soon: float = 0.15 + PING_TIMEOUTS.lost_seconds + PING_TIMEOUTS.again_seconds
"""What is promised after a lost connection, and room for a busy machine."""


class Pinged:
    """A server's health and what was told of it."""

    def __init__(
        self,
        port: int,
        clock: JumpingClock,
        timeouts: PingTimeouts,
        *,
        keys: PeerKeys = KEYS,
        scheme: str = "http",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.states: list[State] = []
        self.url = f"{scheme}://localhost:{port}"
        self.signer = Signer("a", "b", lambda: keys, clock.now, lambda: secrets.token_hex(16))
        self.health = PeerHealth(
            self.signer,
            self.url,
            clock=clock,
            chance=lambda: 0.0,
            changed=self._note,
            tls=tls,
            timeouts=timeouts,
        )
        self._changed = asyncio.Event()

    def _note(self, state: State) -> None:
        self.states.append(state)
        self._changed.set()

    async def ponged(self) -> None:
        """Return when a ping is answered from now on."""
        self.health.boot = ""
        async with asyncio.timeout(5):
            while not self.health.boot:  # noqa: ASYNC110  a pong that changes nothing is not told
                await asyncio.sleep(0.01)

    async def is_state(self, state: State) -> float:
        """Return when it is, and how many seconds that took."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout(10):
            while self.health.state is not state:
                self._changed.clear()
                await self._changed.wait()
        return loop.time() - begun


@asynccontextmanager
async def watched(pinged: Pinged) -> AsyncIterator[PeerHealth]:
    """Have it ping."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pinged.health.watch())
        yield pinged.health
        task.cancel()


async def test_a_server_that_answers_is_up_and_says_which_start_of_it_this_is(
    wire: Relay, clock: JumpingClock
) -> None:
    it = Pinged(wire.port, clock, FAST)
    async with watched(it) as health:
        await asyncio.sleep(3 * FAST.seconds)
        assert health.boot == "boot-1"
        assert it.states == []
    assert wire.connections == 1
    async with asyncio.timeout(5):
        await wire.has_open(0)


async def test_a_killed_server_is_down_at_once_though_pings_are_rare(
    server: Server, clock: JumpingClock
) -> None:
    it = Pinged(server.port, clock, RARE)
    async with watched(it) as health:
        await it.ponged()
        await server.stop()
        assert await it.is_state(State.DOWN) < soon
        assert not health.is_up
        with pytest.raises(Unreachable, match="server b is down"):
            health.check()


async def test_a_server_behind_a_dead_wire_is_down_when_the_connection_was_reset(
    wire: Relay, clock: JumpingClock
) -> None:
    it = Pinged(wire.port, clock, RARE)
    async with watched(it):
        await it.ponged()
        wire.answered.hold()
        wire.reset_all()
        assert await it.is_state(State.DOWN) < soon


async def test_a_lost_connection_alone_is_no_lost_server(wire: Relay, clock: JumpingClock) -> None:
    """One of its workers ended, and the others serve on."""
    it = Pinged(wire.port, clock, RARE)
    async with watched(it):
        for count in range(1, 4):
            await it.ponged()
            assert wire.connections == count
            wire.reset_all()
    assert it.states == []


async def test_a_request_that_is_reset_has_the_server_pinged_at_once(
    wire: Relay, clock: JumpingClock
) -> None:
    it = Pinged(wire.port, clock, RARE)
    async with watched(it) as health:
        await wire.has_open(1)
        health.failed(reset=False)
        await asyncio.sleep(0.1)
        assert wire.connections == 1  # the control
        health.failed(reset=True)
        async with asyncio.timeout(5):
            await wire.has_open(0)
            await wire.has_open(1)
        assert wire.connections == 2


async def test_a_silent_server_is_suspect_then_down_and_up_when_it_answers(
    wire: Relay, clock: JumpingClock
) -> None:
    it = Pinged(wire.port, clock, FAST)
    async with watched(it) as health:
        await wire.has_open(1)
        wire.answered.hold()
        assert await it.is_state(State.SUSPECT) < 3 * FAST.seconds + 0.15
        assert not health.is_up
        await it.is_state(State.DOWN)
        wire.answered.release()
        assert await it.is_state(State.UP) < 2 * FAST.seconds + 0.15
        assert health.is_up
    assert it.states == [State.SUSPECT, State.DOWN, State.UP]


async def test_a_server_that_comes_back_is_up_soon(server: Server, clock: JumpingClock) -> None:
    port = unused_port()
    it = Pinged(port, clock, FAST)
    async with watched(it):
        await it.is_state(State.DOWN)
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", port)) as listener:
            back = await loop.create_server(server.connections, sock=listener)
            assert await it.is_state(State.UP) < 2 * FAST.seconds + 0.15
            back.close()


async def test_a_server_started_again_is_up_when_it_serves_though_pings_are_rare(
    server: Server, clock: JumpingClock
) -> None:
    port = unused_port()
    it = Pinged(port, clock, RARE)
    async with watched(it):
        await it.is_state(State.DOWN)
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", port)) as listener:
            await asyncio.sleep(PING_TIMEOUTS.refused_seconds + 0.1)  # it prepares to serve
            assert it.states == [State.DOWN]
            back = await loop.create_server(server.connections, sock=listener)
            assert await it.is_state(State.UP) < 0.15
            back.close()


async def test_other_keys_are_no_server_of_ours_until_they_are_accepted(
    server: Server, clock: JumpingClock, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = PeerKeys(b"f" * 32)
    it = Pinged(server.port, clock, FAST, keys=foreign)
    async with watched(it):
        await it.is_state(State.DOWN)
        assert "signed with a key of another cluster" in capsys.readouterr().out
        server.keys = PeerKeys(KEYS.signing, (foreign.signing,))
        await it.is_state(State.UP)


async def test_clocks_that_differ_are_told(server: Server, clock: JumpingClock) -> None:
    ahead = JumpingClock()
    ahead.seconds += 75
    it = Pinged(server.port, ahead, FAST)
    async with watched(it) as health:
        await it.is_state(State.DOWN)
        with pytest.raises(Unreachable, match=r"clock of server a is 75\.0 s ahead of that of b"):
            health.check()
        clock.seconds += 75
        await it.is_state(State.UP)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"x" * 200_000,
    ],
)
async def test_somebody_else_there_is_no_server_of_ours(clock: JumpingClock, said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(said)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    it = Pinged(server.sockets[0].getsockname()[1], clock, FAST)
    async with watched(it) as health:
        await it.is_state(State.DOWN)
        with pytest.raises(Unreachable, match=r"no server of ours|has not this cluster's key"):
            health.check()
    server.close()


async def test_a_server_that_has_started_looks_for_itself_where_others_will(
    server: Server, clock: JumpingClock
) -> None:
    here = f"http://localhost:{server.port}"
    assert await why_unreachable("b", here, KEYS, clock, encrypting()) is None
    somebody = await why_unreachable("c", here, KEYS, clock, encrypting())
    assert somebody is not None
    assert "b" in somebody
    nowhere = f"http://localhost:{unused_port()}"
    nobody = await why_unreachable("b", nowhere, KEYS, clock, encrypting())
    assert nobody is not None
    assert nobody.startswith(f"no connection to {nowhere}")
    encrypted = await why_unreachable(
        "b", f"https://localhost:{server.port}", KEYS, clock, encrypting()
    )
    assert encrypted is not None


async def test_one_ping_waits_for_so_long(clock: JumpingClock) -> None:
    signer = Signer("a", "b", lambda: KEYS, clock.now, lambda: secrets.token_hex(16))
    async with silent_server() as port:
        with pytest.raises(Unreachable, match="no answer in 0 s"):
            await ping_once(signer, f"http://localhost:{port}", seconds=0.05)


async def test_who_ends_every_connection_is_not_pinged_without_pause(
    server: Server, clock: JumpingClock, wire: Relay
) -> None:
    server.connections._ending = True  # each answer is the last on its connection
    it = Pinged(wire.port, clock, PingTimeouts(seconds=1000, again_seconds=0.1))
    async with watched(it):
        await asyncio.sleep(0.35)
        assert 1 < wire.connections <= 4
    assert it.states == []


async def test_a_connection_lost_during_a_ping_alone_is_no_lost_server(
    wire: Relay, clock: JumpingClock
) -> None:
    wire.answered.hold()
    it = Pinged(wire.port, clock, RARE)
    async with watched(it) as health:
        await wire.has_open(1)
        wire.reset_all()
        wire.answered.held = None
        async with asyncio.timeout(5):
            while not health.boot:  # noqa: ASYNC110  a pong that changes nothing is not told
                await asyncio.sleep(0.01)
    assert it.states == []


async def test_a_probe_is_told_and_one_that_is_given_up_too(clock: JumpingClock) -> None:
    it = Pinged(1, clock, FAST)
    for _ in range(5):
        it.health.failed(reset=False)
    clock.seconds += 1
    it.health.admit()
    with pytest.raises(Unreachable, match="is probing"):
        it.health.admit()
    it.health.cancelled()
    it.health.admit()
    it.health.answered()
    assert it.states == [
        State.FAILING,
        State.PROBING,
        State.FAILING,
        State.PROBING,
        State.UP,
    ]


async def test_a_request_that_is_given_up_while_probing_is_followed_by_another(
    reach: Reach, server: Server
) -> None:
    near = reach(server.port)
    for _ in range(5):
        near.health.failed(reset=False)
    server.clock.seconds += 1
    async with asyncio.TaskGroup() as group:
        task = group.create_task(near.store().have([ABSENT]))
        await asyncio.sleep(0)
        assert not near.health.is_up
        task.cancel()
    assert near.health.is_up  # as one that fails, and may be probed
    assert await near.store().have([ABSENT]) == [False]
    assert near.health.state is State.UP


# TLS


@pytest.fixture
async def secure(server: Server, tmp_path: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """Serve with a certificate of our own; yields the port and the context that trusts it."""
    files = self_signed(tmp_path / "tls", ["localhost"], SystemClock().now())
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = server_context(files)
        listening = await loop.create_server(server.connections, sock=listener, ssl=context)
        trusting = ssl.create_default_context(cafile=str(files.certificate))
        trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
        yield listener.getsockname()[1], trusting
        listening.close()


async def test_pings_and_requests_go_over_tls(
    secure: tuple[int, ssl.SSLContext], clock: JumpingClock, threads: Executor
) -> None:
    port, context = secure
    it = Pinged(port, clock, FAST, scheme="https", tls=context)
    async with watched(it) as health:
        with closing(PeerClient(it.signer, it.url, health, tls=context)) as client:
            assert await PeerStore("disk", client, threads).have([ABSENT]) == [False]
        await it.ponged()
    assert it.states == []


async def test_a_certificate_nobody_trusts_is_not_accepted(
    secure: tuple[int, ssl.SSLContext], clock: JumpingClock, threads: Executor
) -> None:
    port, _ = secure
    it = Pinged(port, clock, FAST, scheme="https")
    async with watched(it):
        await it.is_state(State.DOWN)
    it = Pinged(port, clock, FAST, scheme="https")
    with (
        closing(PeerClient(it.signer, it.url, it.health)) as client,
        pytest.raises(Unreachable, match="self-signed certificate"),
    ):
        await PeerStore("disk", client, threads).have([ABSENT])


async def test_a_server_says_how_much_its_clients_leave_to_a_walk(
    server: Server, clock: JumpingClock
) -> None:
    it = Pinged(server.port, clock, FAST)
    async with watched(it) as health:
        await it.ponged()
        assert health.walk_bytes_per_second == 0, "a server of 0.1.0 says nothing either"
        server.walk_rate = 4_000_000
        async with asyncio.timeout(5):
            while health.walk_bytes_per_second != server.walk_rate:
                await it.ponged()
