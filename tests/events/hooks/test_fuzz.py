"""Any URL, any answer: what cannot be is refused, what comes back is a status or a failure."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.events.hooks.told import DELIVERY, hook, told
from tests.outbound.test_client import HERE
from tests.outbounds import outbound
from treescale.clock import SystemClock
from treescale.errors import AddressForbidden, OutboundFailed, Refused
from treescale.events.hooks.deliverer import ANSWER_BYTES_MAX, printable
from treescale.events.hooks.formats import message
from treescale.events.hooks.request import request_of
from treescale.events.hooks.schedule import Tried, outcome
from treescale.metadata.events.hook_records import DeliveryState, HookFormat
from treescale.outbound.answers import Limits
from treescale.outbound.networks import Networks
from treescale.registry.hooks import HookTerms, check_terms, namespace_of_scope, sample_url

LOOK_UP: Final = socket.getaddrinfo
LIMITS: Final = Limits(0.5, ANSWER_BYTES_MAX, cut=True)
HOSTS: Final = ["127.0.0.1", "::1", "localhost", "0x7f.1", "2130706433", "[", "]", ":", "@"]
SIGNS: Final = [
    "http://",
    "https://",
    "//",
    "%",
    "\\",
    "\t",
    "\r\n",
    "{tag}",
    "{",
    "?",
    "/",
    "#",
    "\0",
]
PIECES: Final = st.sampled_from([*HOSTS, *SIGNS])
URLS: Final = st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join)
HEADS: Final = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 429 x\r\nRetry-After: ",
        b"HTTP/1.1 999 x\r\n",
        b"HTTP/1.1 204\r\n\r\n",
        b"HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"",
    ]
)
ANSWERS: Final = st.tuples(HEADS, st.binary(max_size=200)).map(b"".join)


@given(URLS, st.sampled_from(HookFormat))
@example("http://[::1", HookFormat.TEMPLATE)
@example("http://example.com/{tag}", HookFormat.TEMPLATE)
def test_any_url_is_taken_or_refused(url: str, form: HookFormat) -> None:
    terms = HookTerms("alice", url, form)
    try:
        check_terms(terms)
    except Refused:
        return
    assert sample_url(terms).startswith(("http://", "https://"))


@given(URLS)
def test_no_url_leads_a_client_to_what_is_not_allowed(url: str) -> None:
    """Whatever parses: the server itself is not asked, and no other error comes out."""

    async def ask() -> None:
        client = outbound().client(Networks(), Limits(0.2, 100))
        try:
            await client.ask("POST", url)
        except (AddressForbidden, OutboundFailed):
            return
        raise AssertionError(url)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", numbers_only)
        asyncio.run(ask())


def numbers_only(host: Any, port: Any, *_: Any, **__: Any) -> Any:
    """Look up what is an address in any spelling; nobody is asked for a name."""
    return LOOK_UP(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


@given(st.text(max_size=40))
def test_any_scope_is_taken_or_refused(scope: str) -> None:
    try:
        namespace = namespace_of_scope(scope)
    except Refused:
        return
    assert namespace is None or scope.partition("/")[0] == namespace


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS)
def test_any_answer_is_a_status_or_a_failure(answer: bytes) -> None:
    async def deliver() -> Tried:
        async with answering(answer) as port:
            of, what = hook(url=f"http://127.0.0.1:{port}/"), told()
            content = message(of.format, what)
            assert content is not None
            request = request_of(of, what, content, 1, (of.secret,))
            client = outbound().client(HERE, LIMITS)
            try:
                came = await client.ask(
                    "POST", request.url, headers=request.headers, body=request.body
                )
            except OutboundFailed as error:
                return Tried(None, 0.0, str(error))
            assert len(came.body) <= ANSWER_BYTES_MAX
            text = printable(came.body)
            return Tried(came.status, 0.0, text, came.headers.get("Retry-After", ""))

    tried = asyncio.run(deliver())
    assert all(each.isprintable() or each == "\n" for each in tried.answer)
    found = outcome(tried, DELIVERY, 0.0, hook(), SystemClock().now(), lambda: 0.5)
    assert found.state in {DeliveryState.WAITING, DeliveryState.DELIVERED, DeliveryState.FAILED}
    assert found.pause <= 3600 * 1.2


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """Answer each connection with these bytes, whatever it asks, and close it."""

    async def heard(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(heard, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
