"""The client against real servers: what it asks, what it refuses, and what ends it."""

import asyncio
import contextlib
import gzip
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from tests.certificates import DAY, Authority
from tests.outbounds import outbound
from tests.tables import each_row
from treescale.errors import AddressForbidden, OutboundFailed, SettingInvalid
from treescale.outbound.answers import Limits
from treescale.outbound.client import Outbound, OutboundClient, parse_proxy
from treescale.outbound.networks import Forbidden, Networks, Target, parse_targets
from treescale.outbound.urls import parse_url

HERE: Final = Networks(parse_targets("127.0.0.0/8"), never=())
"""What no server allows: its own machine."""
QUICK: Final = Limits(seconds=0.5, answer_bytes=1000)
CUT: Final = Limits(seconds=0.5, answer_bytes=1000, cut=True)
SECONDS_MAX: Final = 10.0
SECRET: Final = "hidden-word"
NAME: Final = "server.example"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(
    handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Answer by the handler, and return the port."""
    with socket.create_server((host, 0)) as listener:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=tls).start()
        yield listener.getsockname()[1]
        await runner.cleanup()


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    told = {"X-Asked": f"{request.method} {request.path_qs}", "Set-Cookie": "a=b"}
    return web.Response(body=await request.read() or b"hello", headers=told)


def client(networks: Networks = HERE, limits: Limits = QUICK, **more: str) -> OutboundClient:
    asks = Outbound(**more) if more else outbound()
    return asks.client(networks, limits)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what names lead to; each look-up takes the first list of several."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def found(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in known:
            return real(host, port, *rest, **more)
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (each, port)) for each in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return known


async def test_names_that_nobody_answers_for_hold_up_no_other(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's own look-ups too: of the database and of peers."""
    known, answered = socket.getaddrinfo, threading.Event()
    names["well.example"] = ["127.0.0.1"]

    def look(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "hangs.example":
            answered.wait(SECONDS_MAX)
        return known(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    async with serving(hello) as port, asyncio.timeout(SECONDS_MAX):
        asking = client()
        hanging = [asking.ask("GET", f"http://hangs.example:{port}/") for _ in range(8)]
        failed = asyncio.gather(*hanging, return_exceptions=True)
        await asyncio.sleep(0)
        answer = await asking.ask("GET", f"http://well.example:{port}/")
        await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port)
        assert answer.status == 200
        assert not failed.done()
        assert {type(each) for each in await failed} == {OutboundFailed}
    answered.set()


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    """Return what a server called `server.example` speaks TLS with."""
    now = time.time()  # noqa: TID251  certificates are of real time
    pair = authority.pair(now - DAY, now + DAY, NAME)
    (tmp_path / "pair.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pair.pem")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return context


async def test_a_request_is_sent_and_its_answer_comes_back() -> None:
    async with serving(hello) as port:
        asked = client()
        url = f"http://127.0.0.1:{port}/hook?x=1#part"
        answer = await asked.ask("POST", url, headers={"X-Mine": "1"}, body=b"told")
        assert (answer.status, answer.body) == (200, b"told")
        assert answer.headers["X-Asked"] == "POST /hook?x=1"
        assert (await asked.ask("GET", url)).body == b"hello"


@each_row("url", ["http://127.0.0.1:{}/", "http://localhost:{}/", "http://[::ffff:127.0.0.1]:{}/"])
async def test_this_machine_is_not_asked_whatever_it_is_called(url: str) -> None:
    async with serving(hello) as port:
        for networks in (Networks(), Networks(parse_targets("0.0.0.0/0,::/0"))):
            with pytest.raises(AddressForbidden, match="the server itself"):
                await client(networks).ask("GET", url.format(port))


async def test_the_address_that_counts_is_the_one_that_is_connected_to(
    names: dict[str, list[str]],
) -> None:
    """Control: a name that leads to this machine, and one that leads there as well."""
    never = (Forbidden(Target(ip_network("127.0.0.1/32")), "the server itself"),)
    networks = Networks(parse_targets("127.0.0.0/8"), never)
    async with serving(hello, host="127.0.0.2") as port, serving(hello) as other:
        names["inside.example"] = ["127.0.0.1"]
        names["both.example"] = ["127.0.0.1", "127.0.0.2"]
        with pytest.raises(AddressForbidden, match="the server itself"):
            await client(networks).ask("GET", f"http://inside.example:{other}/")
        assert (await client(networks).ask("GET", f"http://both.example:{port}/")).status == 200
        with pytest.raises((AddressForbidden, OutboundFailed)):
            await client(networks).ask("GET", f"http://both.example:{other}/")


async def test_a_name_that_leads_elsewhere_the_next_time_gains_nothing(
    names: dict[str, list[str]],
) -> None:
    async with serving(hello) as port:
        names["moving.example"] = ["127.0.0.2"]
        asked = client(Networks(parse_targets("127.0.0.2"), never=()))
        with pytest.raises(OutboundFailed):
            await asked.ask("GET", f"http://moving.example:{port}/")
        names["moving.example"] = ["127.0.0.1"]
        with pytest.raises(AddressForbidden, match="private network"):
            await asked.ask("GET", f"http://moving.example:{port}/")


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    asked: list[str] = []

    async def leading(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/secrets"})

    async with serving(leading) as port:
        answer = await client().ask("GET", f"http://127.0.0.1:{port}/")
    assert (answer.status, asked) == (302, ["/"])


async def test_no_cookie_is_kept_and_no_connection() -> None:
    seen: list[tuple[str | None, object]] = []

    async def noting(request: web.BaseRequest) -> web.StreamResponse:
        peer = request.transport.get_extra_info("peername") if request.transport else None
        seen.append((request.headers.get("Cookie"), peer))
        return await hello(request)

    async with serving(noting) as port:
        asked = client()
        for _ in range(2):
            await asked.ask("GET", f"http://127.0.0.1:{port}/")
    assert [cookie for cookie, _ in seen] == [None, None]
    assert len({peer for _, peer in seen}) == 2


async def test_an_authority_of_one_s_own_is_trusted_for_its_names(
    tls: ssl.SSLContext, names: dict[str, list[str]], tmp_path: Path
) -> None:
    names[NAME] = names["other.example"] = ["127.0.0.1"]
    ca = str(tmp_path / "ca.pem")
    async with serving(hello, tls=tls) as port:
        answer = await client(ca_file=ca).ask("GET", f"https://{NAME}:{port}/")
        assert answer.body == b"hello"
        for asked, host in ((client(), NAME), (client(ca_file=ca), "other.example")):
            with pytest.raises(OutboundFailed, match="no certificate for its name"):
                await asked.ask("GET", f"https://{host}:{port}/")


async def test_what_is_slow_endless_or_too_large_ends() -> None:
    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async def endless(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.05)

    async def large(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 1001)

    async def fitting(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 1000)

    loop = asyncio.get_running_loop()
    for handler, says in ((slow, "within 0.5 s"), (endless, "within 0.5 s"), (large, "1000 bytes")):
        async with serving(handler) as port:
            begun = loop.time()
            with pytest.raises(OutboundFailed, match=says):
                await client().ask("GET", f"http://127.0.0.1:{port}/")
            assert loop.time() - begun < 5
    async with serving(fitting) as port:
        assert len((await client().ask("GET", f"http://127.0.0.1:{port}/")).body) == 1000


async def test_what_is_small_on_the_way_and_large_unpacked_stays_packed() -> None:
    packed = gzip.compress(bytes(500_000))

    async def bomb(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with serving(bomb) as port:
        answer = await client().ask("GET", f"http://127.0.0.1:{port}/")
    assert answer.body == packed


async def raw(answer: bytes) -> tuple[asyncio.Server, int]:
    """Answer every connection with these bytes, and close it."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@each_row(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_answers_that_are_none_are_failures(answer: bytes) -> None:
    server, port = await raw(answer)
    async with server:
        with pytest.raises(OutboundFailed, match="cannot be reached, or broke off"):
            await client().ask("GET", f"http://127.0.0.1:{port}/")


@each_row(
    "answer, status, body",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", 200, b"half"),
        (b"HTTP/1.1 410 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", 410, b"abc"),
        (b"HTTP/1.1 429 x\r\nRetry-After: 9\r\nContent-Length: 10\r\n\r\n", 429, b""),
    ],
)
async def test_where_answers_are_cut_one_that_breaks_off_has_its_status(
    answer: bytes, status: int, body: bytes
) -> None:
    """Whoever has said that it took something has, whatever becomes of the rest."""
    server, port = await raw(answer)
    async with server:
        found = await client(limits=CUT).ask("POST", f"http://127.0.0.1:{port}/")
        assert (found.status, found.body) == (status, body)
        with pytest.raises(OutboundFailed):  # control: where it has to be whole
            await client().ask("POST", f"http://127.0.0.1:{port}/")


FLOOD_BYTES: Final = 500_000_000
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
HINTS: Final = b"HTTP/1.1 103 x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(60)) + b"\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\n"


@each_row(
    "head, again, status",
    [
        (b"", CONTINUE * 1000, None),
        (b"", HINTS * 50, None),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 5000 + b"\r\n.\r\n", 200),
        (OK + b"\r\n", b"." * 50_000, 200),
        (b"HTTP/1.1 503 x\r\n\r\n", b"." * 50_000, 503),
        (CONTINUE * 9 + HINTS + OK + b"\r\n", b"." * 50_000, 200),
    ],
)
async def test_an_answer_that_comes_without_end_keeps_nobody_busy(
    head: bytes, again: bytes, status: int | None
) -> None:
    """As fast as another thread can: no more is read than an answer has, and at once it is over."""
    sent = 0

    def flood(listener: socket.socket) -> None:
        nonlocal sent
        with listener.accept()[0] as asked, contextlib.suppress(OSError):
            asked.recv(4096)
            asked.sendall(head)
            while sent < FLOOD_BYTES:
                asked.sendall(again)
                sent += len(again)

    asking = client(limits=Limits(SECONDS_MAX, answer_bytes=1000, cut=True))
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flooding = loop.run_in_executor(None, flood, listener)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        begun = loop.time()
        if status is None:
            with pytest.raises(OutboundFailed):
                await asking.ask("POST", url)
        else:
            assert (await asking.ask("POST", url)).status == status
        took = loop.time() - begun
        await flooding
    assert sent < FLOOD_BYTES, "what the kernel holds is sent, and no more"
    assert took < SECONDS_MAX / 2


async def test_where_answers_are_cut_one_that_never_ends_has_its_status() -> None:
    async def drips(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=202)
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.05)

    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with serving(drips) as port:
        found = await client(limits=CUT).ask("POST", f"http://127.0.0.1:{port}/")
        assert found.status == 202
        assert 0 < len(found.body) < 20
    async with serving(slow) as port:
        with pytest.raises(OutboundFailed, match=r"within 0\.5 s"):
            await client(limits=CUT).ask("POST", f"http://127.0.0.1:{port}/")


async def test_nobody_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OutboundFailed, match="cannot be reached"):
        await client().ask("GET", f"http://127.0.0.1:{port}/")
    with pytest.raises(OutboundFailed, match="cannot be reached"):
        await client().ask("GET", "http://no.such.host.invalid/")


async def test_no_secret_is_in_an_error(names: dict[str, list[str]]) -> None:
    async def slow(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    headers = {"Authorization": f"Bearer {SECRET}"}
    names["inside.example"] = ["127.0.0.1"]
    async with serving(slow) as port:
        for asked, url in (
            (client(), f"http://127.0.0.1:{port}/{SECRET}?token={SECRET}"),
            (client(), f"http://127.0.0.1:1/{SECRET}?token={SECRET}"),
            (client(Networks()), f"http://inside.example:{port}/{SECRET}"),
            (client(), f"http://me:{SECRET}@127.0.0.1:{port}/"),
            (client(), f"ftp://{SECRET}"),
            (client(proxy=f"http://me:{SECRET}@127.0.0.1:1"), "http://example.com/"),
        ):
            with pytest.raises((OutboundFailed, AddressForbidden)) as told:
                await asked.ask("GET", url, headers=headers)
            assert SECRET not in str(told.value), url
            cause = None if told.value.__suppress_context__ else told.value.__context__
            assert cause is None, "what is logged has no cause with a URL in it"
            assert "127.0.0.1" not in str(told.value) or "127.0.0.1" in url


@each_row(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http:///path",
        "http://",
        "http://exa mple.com/",
        "http://example.com/\r\nX: y",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://[::1",
        "http://%31%32%37.0.0.1/",
        "http://example%2ecom/",
        "http://example.com/" + "x" * 2048,
        "//example.com/",
        "javascript:alert(1)",
        "https://xn--/",
        "https://xn--a-/in",
    ],
)
def test_what_is_no_url_to_be_asked_is_refused(url: str) -> None:
    with pytest.raises(AddressForbidden):
        parse_url(url)


SPELLINGS: Final = ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost.")


@each_row("host", SPELLINGS)
async def test_other_spellings_of_this_machine_are_not_asked(host: str) -> None:
    async with serving(hello) as port:
        with pytest.raises((AddressForbidden, OutboundFailed)):
            await client(Networks()).ask("GET", f"http://{host}:{port}/")


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[tuple[int, list[str]]]:
    """Be a proxy that connects to this port whatever is asked for; return what was."""
    asked: list[str] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode().partition("\r\n")[0])
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        if head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            far_writer.write(head)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(4096):
                target.write(data)
            target.close()

        await asyncio.gather(
            copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True
        )

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def test_a_proxy_connects_and_tls_is_with_the_host_behind_it(
    tls: ssl.SSLContext, tmp_path: Path
) -> None:
    """The name need not be known here."""
    ca = str(tmp_path / "ca.pem")
    async with serving(hello, tls=tls) as port, proxy_to(port) as (proxy, asked):
        through = client(Networks(), ca_file=ca, proxy=f"http://127.0.0.1:{proxy}")
        assert (await through.ask("GET", f"https://{NAME}/")).body == b"hello"
        with pytest.raises(OutboundFailed, match="no certificate"):
            await through.ask("GET", "https://other.example/")
    assert asked == [f"CONNECT {NAME}:443 HTTP/1.1", "CONNECT other.example:443 HTTP/1.1"]
    async with serving(hello) as port, proxy_to(port) as (proxy, asked):
        through = client(Networks(), proxy=f"http://127.0.0.1:{proxy}")
        assert (await through.ask("GET", "http://plain.example/x")).status == 200
    assert asked == ["GET http://plain.example/x HTTP/1.1"]


async def test_what_a_url_says_by_itself_is_refused_before_a_proxy_hears_of_it() -> None:
    async with serving(hello) as port, proxy_to(port) as (proxy, asked):
        through = client(Networks(), proxy=f"http://127.0.0.1:{proxy}")
        known = ("127.0.0.1", "localhost", "sub.localhost", "169.254.169.254", "10.0.0.1", "[::1]")
        for host in (*known, *SPELLINGS, "0xa9fea9fe", "[::ffff:0:a9fe:a9fe]"):
            with pytest.raises(AddressForbidden):
                await through.ask("GET", f"http://{host}/")
    assert asked == []


async def test_a_proxy_of_the_environment_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(hello) as port:
        assert (await client().ask("GET", f"http://127.0.0.1:{port}/")).status == 200


@each_row(
    "text", ["127.0.0.1:3128", "socks5://a:1", "http://", "http://a:1/path", "http://a?x", "["]
)
def test_what_is_no_proxy_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid, match="outbound_proxy"):
        parse_proxy(text)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("empty.pem", "none.pem"):
        with pytest.raises(SettingInvalid, match="outbound_ca"):
            Outbound(ca_file=str(tmp_path / name))
