"""The way in: PROXY headers, TLS and who speaks plain HTTP to it, socket files, too many of all."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.loops import new_uvloop
from tests.tables import each_row
from treescale.http.clients import Clients
from treescale.http.connections import entrance
from treescale.http.connections.connection import ConnectionServer
from treescale.http.connections.crowd import Bounds
from treescale.http.connections.entrance import Door
from treescale.http.connections.listener import Listener
from treescale.http.limits import LIMITS, Limits
from treescale.http.proxy.origin import Proxies
from treescale.http.request_record import note_login
from treescale.server.network.certificates import self_signed, server_context

SECONDS: Final = 20
LOOPS: Final = [new_uvloop, asyncio.new_event_loop]
ASK: Final = b"GET /who HTTP/1.1\r\nHost: registry.example:5000\r\nConnection: close\r\n\r\n"
KEEP: Final = b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
LOG_IN: Final = b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n"
V1: Final = b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n"
V2: Final = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x10"
    + bytes([203, 0, 113, 7, 10, 0, 0, 1])
    + b"\x12\x67\x01\xbb"
    b"\x04\x00\x01x"
)
LOCAL: Final = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
LOOPBACK: Final = Proxies([ip_network("127.0.0.0/8")])
QUICK: Final = replace(LIMITS, handshake_seconds_max=0.3)

Scenario = Callable[[], Awaitable[None]]


@pytest.fixture(params=LOOPS, ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Return what runs a scenario on each kind of loop."""

    def run(scenario: Scenario) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(bounded(scenario))

    return run


async def bounded(scenario: Scenario) -> None:
    async with asyncio.timeout(SECONDS):
        await scenario()


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return what a server with TLS has."""
    return server_context(self_signed(tmp_path_factory.mktemp("tls"), ["127.0.0.1"], 1e9))


@pytest.fixture
def anybody() -> ssl.SSLContext:
    """Return a client's side of TLS that verifies nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Place:
    """A served door, and how to come to it."""

    def __init__(self, door: Door, connections: ConnectionServer) -> None:
        self.connections = connections
        self._door = door
        self.where = door.listener.getsockname()

    async def ask(self, *pieces: bytes, tls: ssl.SSLContext | None = None) -> bytes:
        """Send the pieces, one after the other, and return all that comes back."""
        reader, writer = await self.connect(tls)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01 if len(pieces) > 1 else 0)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()

    async def connect(
        self, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        if isinstance(self.where, str):
            return await asyncio.open_unix_connection(self.where)
        return await asyncio.open_connection(*self.where[:2], ssl=tls)

    async def ask_in_tls(self, before: bytes, request: bytes, tls: ssl.SSLContext) -> bytes:
        """Send something before the handshake, then a request within."""
        reader, writer = await self.connect()
        writer.write(before)
        await writer.start_tls(tls, server_hostname="x")
        writer.write(request)
        answer = await reader.read()
        writer.transport.abort()
        return answer


def serving(
    door: Door,
    *,
    proxies: Proxies = LOOPBACK,
    limits: Limits = LIMITS,
    is_proxy: Callable[[str], bool] = lambda _: False,
) -> contextlib.AbstractAsyncContextManager[Place]:
    clients = Clients(proxies)

    async def who(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/login":
            note_login(request)
        return web.Response(text=f"{request.scheme} {clients.address(request)}")

    @asynccontextmanager
    async def place() -> AsyncIterator[Place]:
        connections = ConnectionServer(
            who, tls=False, limits=limits, is_proxy=is_proxy, access_log=None
        )
        listening = await Listener.begin(connections, [door], backlog=100, proxies=proxies)
        yield Place(door, connections)
        await listening.stop(0.2)

    return place()


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=100)


class TestProxyProtocol:
    @each_row(
        ("pieces", "client"),
        [
            ([V1 + ASK], b"203.0.113.7"),
            ([V2 + ASK], b"203.0.113.7"),
            ([V1, ASK], b"203.0.113.7"),
            ([V2[:3], V2[3:15], V2[15:20], V2[20:] + ASK], b"203.0.113.7"),
            ([V1[:9], V1[9:], ASK], b"203.0.113.7"),
            ([LOCAL + ASK], b"127.0.0.1"),
            ([b"PROXY UNKNOWN\r\n" + ASK], b"127.0.0.1"),
        ],
    )
    def test_the_client_is_whom_the_header_names(
        self, run: Callable[[Scenario], None], pieces: list[bytes], client: bytes
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener(), proxied=True)) as place:
                answer = await place.ask(*pieces)
                assert answer.startswith(b"HTTP/1.1 200")
                assert answer.endswith(b"http " + client)

        run(scenario)

    def test_tls_begins_after_the_header(
        self, run: Callable[[Scenario], None], context: ssl.SSLContext, anybody: ssl.SSLContext
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener(), context, proxied=True)) as place:
                answer = await place.ask_in_tls(V2, ASK, anybody)
                assert answer.endswith(b"https 203.0.113.7")
                assert b"use https://registry.example:5000" in await place.ask(V1, ASK)

        run(scenario)

    @each_row("garbage", [ASK, b"\x16\x03\x01", V1[:-2] + b"\n" + ASK, b"\0" * 300])
    def test_without_a_header_nobody_is_let_in_and_the_log_is_not_flooded(
        self, run: Callable[[Scenario], None], garbage: bytes
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener(), proxied=True)) as place:
                for _ in range(10):
                    assert await place.ask(garbage) == b""
                assert (await place.ask(V1 + ASK)).startswith(b"HTTP/1.1 200")

        with capture_logs() as lines:
            run(scenario)
        assert len([line for line in lines if line["event"] == "proxy.refused"]) == 1

    def test_a_stranger_cannot_say_who_it_is(self, run: Callable[[Scenario], None]) -> None:
        async def scenario() -> None:
            proxies = Proxies([ip_network("10.0.0.0/8")])
            async with serving(Door(listener(), proxied=True), proxies=proxies) as place:
                assert await place.ask(V1 + ASK) == b""

        run(scenario)

    def test_a_header_that_does_not_come_is_cut_off(self, run: Callable[[Scenario], None]) -> None:
        begun = (b"", V1[:10], V2[:16], b"PROXY")

        async def scenario() -> None:
            async with serving(Door(listener(), proxied=True), limits=QUICK) as place:
                assert await asyncio.gather(*map(place.ask, begun)) == [b""] * len(begun)

        run(scenario)

    def test_what_the_client_forwards_itself_counts_only_when_it_is_a_proxy(
        self, run: Callable[[Scenario], None]
    ) -> None:
        forwarded = ASK.replace(b"Host", b"X-Forwarded-For: 192.0.2.9\r\nHost")

        near = V1.replace(b"203.0.113.7", b"127.0.0.9")

        async def scenario() -> None:
            async with serving(Door(listener(), proxied=True)) as place:
                assert (await place.ask(V1 + forwarded)).endswith(b"203.0.113.7")
                assert (await place.ask(near + forwarded)).endswith(b"192.0.2.9")

        run(scenario)

    @each_row(
        "nobody",
        [
            LOCAL,
            b"PROXY UNKNOWN\r\n",
            LOCAL.replace(b"\x20", b"\x21"),
            LOCAL[:12] + b"\x21\x31\x00\xd8" + bytes(216),
        ],
        ids=["local", "unknown", "unspecified", "socket"],
    )
    def test_nor_when_the_header_names_nobody(
        self, run: Callable[[Scenario], None], nobody: bytes
    ) -> None:
        """The bytes that follow may be a client's, whoever that is."""
        forwarded = ASK.replace(b"Host", b"X-Forwarded-For: 192.0.2.9\r\nHost")

        async def scenario() -> None:
            async with serving(Door(listener(), proxied=True)) as place:
                assert (await place.ask(nobody + forwarded)).endswith(b"127.0.0.1")

        run(scenario)


class TestTls:
    @each_row("method", [b"GET", b"HEAD", b"POST", b"PATCH", b"DELETE", b"OPTIONS"])
    def test_plain_http_is_told_to_use_https(
        self,
        run: Callable[[Scenario], None],
        context: ssl.SSLContext,
        anybody: ssl.SSLContext,
        method: bytes,
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener(), context)) as place:
                answer = await place.ask(ASK.replace(b"GET", method))
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 400 ")
                assert b"Content-Type: text/plain" in head
                assert b"Content-Length: %d" % len(body) in head
                assert b"use https://registry.example:5000\n" in body
                assert (await place.ask(ASK, tls=anybody)).endswith(b"https 127.0.0.1")

        run(scenario)

    @each_row("nonsense", [b"\0", b"hello\r\n\r\n", b'Host: evil"x\r\n\r\n'])
    def test_so_is_whatever_else_is_no_tls(
        self, run: Callable[[Scenario], None], context: ssl.SSLContext, nonsense: bytes
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener(), context)) as place:
                answer = await place.ask(nonsense)
                assert answer.endswith(b"use https:// here, not http://\n")

        run(scenario)

    def test_silence_and_half_a_handshake_end(
        self, run: Callable[[Scenario], None], context: ssl.SSLContext
    ) -> None:
        async def scenario() -> None:
            limits = replace(QUICK, handshake_seconds_max=0.5)
            async with serving(Door(listener(), context), limits=limits) as place:
                half = b"\x16\x03\x01\x02"
                assert [*await asyncio.gather(place.ask(b""), place.ask(half))] == [b"", b""]

        run(scenario)

    def test_handshakes_count_too(
        self, run: Callable[[Scenario], None], context: ssl.SSLContext, anybody: ssl.SSLContext
    ) -> None:
        """Whoever connects and sends nothing, or half a hello, holds a descriptor like others."""

        async def scenario() -> None:
            async with serving(Door(listener(), context)) as place:
                place.connections._crowd.bounds = Bounds(20, 20, 20)
                held = [await place.connect() for _ in range(60)]
                for _, writer in held[::2]:
                    writer.write(b"\x16\x03\x01")
                assert (await place.ask(ASK, tls=anybody)).endswith(b"https 127.0.0.1")
                assert len(place.connections._crowd) <= 21
                for _, writer in held:
                    writer.transport.abort()

        run(scenario)


class TestSocketFiles:
    def test_its_peer_is_a_trusted_proxy(
        self, run: Callable[[Scenario], None], tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            wire = socket.socket(socket.AF_UNIX)
            wire.bind(str(tmp_path / "socket"))
            wire.listen()
            async with serving(Door(wire), proxies=Proxies()) as place:
                assert (await place.ask(ASK)).endswith(b"http unix")
                forwarded = ASK.replace(b"Host", b"X-Forwarded-For: 192.0.2.9\r\nHost")
                assert (await place.ask(forwarded)).endswith(b"http 192.0.2.9")

        run(scenario)


class TestCrowds:
    def test_strangers_that_idle_are_closed_for_others_and_it_is_told_once(
        self, run: Callable[[Scenario], None]
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener())) as place:
                place.connections._crowd.bounds = Bounds(20, 20, 20)
                reader, writer = await place.connect()
                writer.write(LOG_IN)
                await reader.readuntil(b"127.0.0.1")
                held = [await place.connect() for _ in range(100)]
                assert (await place.ask(ASK)).startswith(b"HTTP/1.1 200")
                writer.write(KEEP)
                await reader.readuntil(b"127.0.0.1")
                writer.transport.abort()
                assert len(place.connections.connections) <= 20
                for _, each in held:
                    each.transport.abort()

        with capture_logs() as lines:
            run(scenario)
        assert len([line for line in lines if line["event"] == "connections.crowded"]) == 1

    @pytest.mark.parametrize("is_proxy", [True, False])
    def test_a_proxy_is_no_address_of_somebody(
        self, run: Callable[[Scenario], None], *, is_proxy: bool
    ) -> None:
        async def scenario() -> None:
            async with serving(Door(listener()), is_proxy=lambda _: is_proxy) as place:
                place.connections._crowd.bounds = Bounds(200, 200, 5)
                held = [await place.connect() for _ in range(50)]
                await place.ask(ASK)
                assert (len(place.connections.connections) >= 50) == is_proxy
                for _, each in held:
                    each.transport.abort()

        run(scenario)

    def test_when_no_descriptor_is_left_it_pauses_and_goes_on(
        self,
        run: Callable[[Scenario], None],
        context: ssl.SSLContext,
        anybody: ssl.SSLContext,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        accepts = 0
        wire = listener()

        class Exhausted:
            """A listener of a process that has no descriptor left, four times."""

            family = wire.family
            fileno, getsockname, close = wire.fileno, wire.getsockname, wire.close
            setblocking, __exit__, __enter__ = wire.setblocking, wire.__exit__, wire.__enter__

            def accept(self) -> tuple[socket.socket, object]:
                """Refuse at first."""
                nonlocal accepts
                accepts += 1
                if accepts <= 4:
                    raise OSError(errno.EMFILE, "Too many open files")
                return wire.accept()

        async def scenario() -> None:
            door = Door(Exhausted(), context)  # type: ignore[arg-type]
            async with serving(door) as place:
                assert (await place.ask(ASK, tls=anybody)).endswith(b"https 127.0.0.1")

        monkeypatch.setattr("treescale.http.connections.entrance.PAUSE_SECONDS", 0.05)
        run(scenario)
        assert 5 <= accepts <= 10, "it did not try again and again"


def test_one_connection_that_fails_for_an_unknown_reason_ends_no_other(
    run: Callable[[Scenario], None], context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with serving(Door(listener(), context)) as place:
            assert await place.ask(ASK) == b""
            monkeypatch.undo()
            assert b" 400 " in await place.ask(ASK)

    async def fail(*_: object) -> None:
        raise RuntimeError("nobody thought of it")

    monkeypatch.setattr(entrance, "_say_https", fail)
    with capture_logs() as lines:
        run(scenario)
    assert [line["event"] for line in lines] == ["connection.failed"]
