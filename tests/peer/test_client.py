"""Another server that is asked: what is asked again, what ends a connection, who is to blame.

On both loops, as the connections below it.
"""

import asyncio
import secrets
import ssl
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.chunk_store import ABSENT, chunk_of
from tests.fakes_disk import JumpingClock
from tests.fakes_network import silent_server, unused_port
from tests.peer.conftest import KEYS, Reach, Server
from tests.peer.raw import LENGTH, Serve, listening, signed
from tests.tables import each_row
from treescale.clock import SystemClock
from treescale.errors import ChunkUnknown, StoreFull, Unreachable
from treescale.peer.breaker import State
from treescale.peer.client import TIMEOUTS, PeerClient, ask_all
from treescale.peer.connection import PeerConnection, encrypting
from treescale.peer.health import PeerHealth
from treescale.peer.protocol import Action, PeerRequest
from treescale.peer.signing import Signer
from treescale.server.network.certificates import self_signed, server_context

HAVE = PeerRequest(Action.HAVE, "disk")
VERIFY = PeerRequest(Action.VERIFY, "disk", ABSENT)
PUT = PeerRequest(Action.PUT, "disk", ABSENT)
YES = signed(200, b"\x80")
SECONDS = 5.0
SHORT = replace(TIMEOUTS, connect_seconds=0.2)
UNREAD = bytes(64 << 20)
"""More than the kernel takes for a reader that does not read."""


class Asked:
    """A server that answers each request as `turns` has it, and keeps what it was asked.

    A turn is what it sends, cut short or not; after None, or a cut one, the connection ends.
    """

    def __init__(self, *turns: Callable[[bytes], bytes] | None) -> None:
        self.turns = list(turns)
        self.heads: list[bytes] = []
        self.connections = 0

    async def __call__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections = number
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            self.heads.append(head)
            turn = self.turns.pop(0)
            if turn is None:
                return
            answer = turn(head)
            writer.write(answer)
            if len(answer) < 100:
                return


def cut(head: bytes) -> bytes:
    """Answer half a head."""
    return YES(head)[:50]


# One repeat


@each_row("request_", [HAVE, VERIFY])
async def test_a_request_on_a_connection_closed_while_idle_is_sent_again_with_a_name_of_its_own(
    reach: Reach, request_: PeerRequest
) -> None:
    asked = Asked(YES, None, YES)
    async with listening(asked) as port:
        near = reach(port)
        for _ in range(2):
            assert await near.client.ask(request_, SECONDS) == b"\x80"
        assert near.health.state is State.UP
    assert asked.connections == 2
    _, second, third = (head.split(b"\r\n") for head in asked.heads)
    assert second[0] == third[0]
    assert second[2] != third[2], "a nonce never comes again"


async def test_it_is_sent_again_once(reach: Reach) -> None:
    asked = Asked(YES, None, None, YES)
    async with listening(asked) as port:
        near = reach(port)
        assert await near.client.ask(HAVE, SECONDS) == b"\x80"
        with pytest.raises(Unreachable, match="did not answer"):
            await near.client.ask(HAVE, SECONDS)
    assert len(asked.heads) == 3


@each_row("kept", [True, False])
async def test_a_request_whose_answer_broke_off_is_not_sent_again(
    reach: Reach, *, kept: bool
) -> None:
    asked = Asked(*[YES][: int(kept)], cut, YES)
    async with listening(asked) as port:
        near = reach(port)
        if kept:
            assert await near.client.ask(HAVE, SECONDS) == b"\x80"
        with pytest.raises(Unreachable, match="did not answer"):
            await near.client.ask(HAVE, SECONDS)
    assert len(asked.heads) == 1 + int(kept)


async def test_a_kept_connection_that_was_closed_when_nobody_listens_any_more(
    reach: Reach,
) -> None:
    asked = Asked(YES)
    async with listening(asked) as port:
        near = reach(port)
        assert await near.client.ask(HAVE, SECONDS) == b"\x80"
    with pytest.raises(Unreachable, match="no connection to"):
        await near.client.ask(HAVE, SECONDS)
    assert near.health.state is State.DOWN


# What ends a connection


def refusing(then: Callable[[asyncio.StreamReader], Awaitable[object]]) -> Serve:
    """Refuse a request before its body was read; a second connection is answered."""

    async def serve(
        number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if number > 1:
            writer.write(YES(head))
            await reader.read()
        writer.write(signed(507, b'{"error":"StoreFull","message":"full"}')(head))
        await then(reader)

    return serve


async def test_a_body_that_is_refused_before_it_is_read(reach: Reach) -> None:
    async def hang(_: asyncio.StreamReader) -> None:
        await asyncio.sleep(10)

    async with listening(refusing(hang)) as port:
        near = reach(port)
        with pytest.raises(StoreFull, match="server b: full"):
            await near.client.ask(PUT, SECONDS, UNREAD)
        assert near.health.state is State.UP
        assert await near.client.ask(HAVE, SECONDS) == b"\x80"


async def test_a_store_that_is_full_refuses_a_body_over_real_http(
    server: Server, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = reach(server.port).store("memory")

    async def check_space(_: int) -> None:
        raise StoreFull("no room")

    monkeypatch.setattr(server.stores["memory"], "check_space", check_space)
    for _ in range(3):
        with pytest.raises(StoreFull, match="no room"):
            await store.put(ABSENT, bytes(4 << 20))
    assert await store.have([ABSENT]) == [False]


@each_row("answered", [0, 30])
@each_row("body", [b"", UNREAD], ids=["no body", "a body"])
async def test_a_request_that_is_cancelled_leaves_no_connection(
    reach: Reach, answered: int, body: bytes
) -> None:
    got, gone = asyncio.Event(), asyncio.Event()

    async def serve(_: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(YES(head)[:answered])
        got.set()
        try:
            await reader.read()
        finally:
            gone.set()

    async with listening(serve) as port:
        near = reach(port)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(near.client.ask(PUT, SECONDS, body))
            await got.wait()
            task.cancel()
        await asyncio.wait_for(gone.wait(), 2)
        assert near.client._pool._all == set()
        assert near.health.state is State.UP, "it says nothing of the server"


async def test_a_request_that_is_cancelled_while_it_connects(reach: Reach) -> None:
    async with silent_server() as port:
        near = reach(port)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(near.client.ask(HAVE, SECONDS))
            await asyncio.sleep(0)
            task.cancel()
        assert near.client._pool._all == set()
        assert near.health.state is State.UP


# Who cannot be reached is to blame, and nobody else


def client_of(url: str, tls: ssl.SSLContext | None = None) -> tuple[PeerClient, PeerHealth]:
    clock = JumpingClock()
    signer = Signer("a", "b", lambda: KEYS, clock.now, lambda: secrets.token_hex(16))
    health = PeerHealth(signer, url, clock=clock, chance=lambda: 0.0)
    return PeerClient(signer, url, health, tls=tls, timeouts=SHORT), health


@each_row("url", ["http://nobody.invalid:5000", "https://nobody.invalid:5000", "http://[::1]:1"])
async def test_a_name_that_is_none_and_an_address_where_nobody_is(url: str) -> None:
    client, health = client_of(url, encrypting())
    with closing(client):
        with pytest.raises(Unreachable, match="server b did not answer: no connection to"):
            await client.ask(HAVE, SECONDS)
        assert health.state is State.DOWN
        with pytest.raises(Unreachable, match="server b is down"):
            await client.ask(HAVE, SECONDS)


async def test_tls_where_plain_is_expected_and_the_reverse(server: Server, tmp_path: Path) -> None:
    tls = server_context(self_signed(tmp_path / "tls", ["localhost"], SystemClock().now()))
    client, health = client_of(f"https://127.0.0.1:{server.port}", encrypting())
    with closing(client), pytest.raises(Unreachable, match="no connection to https"):
        await client.ask(HAVE, SECONDS)
    assert health.state is State.DOWN
    async with listening(Asked(YES), tls=tls) as port:
        client, health = client_of(f"http://127.0.0.1:{port}")
        with closing(client), pytest.raises(Unreachable):
            await client.ask(HAVE, SECONDS)
        client, health = client_of(f"https://127.0.0.1:{port}", encrypting())
        with closing(client):  # the control
            assert await client.ask(HAVE, SECONDS) == b"\x80"


async def test_a_handshake_that_nobody_answers_has_a_limit() -> None:
    async with silent_server() as port:
        client, health = client_of(f"https://127.0.0.1:{port}", encrypting())
        with closing(client):
            for _ in range(5):
                with pytest.raises(Unreachable, match="did not answer: TimeoutError"):
                    await asyncio.wait_for(client.ask(HAVE, SECONDS), 2)
        assert health.state is State.FAILING


async def test_what_nobody_foresaw_is_of_whoever_was_asked(
    server: Server,
    reach: Reach,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def watch(_: PeerConnection) -> None:
        raise AssertionError("a mistake of ours")

    near = reach(server.port)
    monkeypatch.setattr(PeerConnection, "_watch", watch)
    with pytest.raises(Unreachable, match="a mistake of ours"):
        await near.client.ask(HAVE, SECONDS)
    assert "peer.unforeseen" in capsys.readouterr().out
    assert near.client._pool._all == set()


# All at once


async def test_all_are_asked_and_those_count_that_answer_in_time(
    server: Server, reach: Reach
) -> None:
    async with silent_server() as silent, listening(Asked(None)) as ending:
        ports = (server.port, silent, ending, unused_port(), server.port)
        found = await ask_all([reach(port).client for port in ports], b"it", 0.2)
    assert found == [b"an answer to it"] * 2
    assert await ask_all([], b"it", 0.2) == []


async def test_who_is_held_to_be_down_is_asked_when_told_to(server: Server, reach: Reach) -> None:
    near = reach(server.port)
    near.health.refused("as it was a moment ago")
    assert await ask_all([near.client], b"it", 1.0) == []
    assert await ask_all([near.client], b"it", 1.0, anyway=True) == [b"an answer to it"]


async def test_what_the_other_server_tells_is_raised(server: Server, reach: Reach) -> None:
    chunk, data = chunk_of(1)
    near = reach(server.port)
    with pytest.raises(ChunkUnknown, match=r"server b: .*no chunk"):
        await near.client.ask(PeerRequest(Action.GET, "disk", chunk), SECONDS)
    await near.client.ask(PeerRequest(Action.PUT, "disk", chunk), SECONDS, data)
    assert await near.client.ask(PeerRequest(Action.GET, "disk", chunk), SECONDS) == data
