"""Keys of issuers: fetched once, kept for a while, and what happens when they cannot be had."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from tests.fakes_disk import JumpingClock
from tests.id_tokens import EC_KEY, RSA_KEY, jwk, jwks
from tests.outbounds import outbound
from tests.tables import each_row
from treescale.errors import IssuerAway, OutboundFailed
from treescale.outbound.answers import Answer, Limits
from treescale.outbound.client import OutboundClient
from treescale.outbound.networks import Networks, parse_targets
from treescale.registry.issuers.keys import (
    AGAIN_SECONDS,
    DISCOVERY,
    FAILED_SECONDS,
    FORBIDDEN_SECONDS,
    FRESH_SECONDS,
    ISSUERS_MAX,
    LIMITS,
    STALE_SECONDS_MAX,
    Asking,
    PublishedKeys,
)

ISSUER = "https://issuer.example"
KEYS_URL = f"{ISSUER}/keys"
NO_HEADERS: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


class World:
    """An issuer as a table of answers; None: it is down."""

    def __init__(self, issuer: str = ISSUER) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, bytes | int] = {}
        self.is_down = False
        document = {"issuer": issuer, "jwks_uri": f"{issuer}/keys", "more": 1}
        self.answers[issuer + DISCOVERY] = json.dumps(document).encode()
        self.answers[f"{issuer}/keys"] = jwks(jwk(RSA_KEY, "k1"))

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        assert (method, body) == ("GET", b"")
        assert headers
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.is_down:
            raise OutboundFailed("https://issuer.example:443 cannot be reached")
        found = self.answers.get(url, 404)
        status, body = (found, b"") if isinstance(found, int) else (200, found)
        return Answer(status, NO_HEADERS, body)

    async def client(self) -> Asking:
        return self


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def published(world: World, clock: JumpingClock) -> PublishedKeys:
    return PublishedKeys(world.client, clock)


async def test_keys_are_fetched_once_and_kept(
    world: World, published: PublishedKeys, clock: JumpingClock
) -> None:
    found = await asyncio.gather(*(published.keys(ISSUER, "k1") for _ in range(10)))
    assert all(keys.knows("k1") for keys in found)
    assert world.asked == [ISSUER + DISCOVERY, KEYS_URL]
    clock.seconds += FRESH_SECONDS - 1
    await published.keys(ISSUER, "k1")
    assert (await published.discover(ISSUER)).document["more"] == 1
    assert len(world.asked) == 2
    clock.seconds += 1
    await published.keys(ISSUER, "k1")
    assert len(world.asked) == 4


async def test_an_unknown_key_is_looked_for_once_a_minute(
    world: World, published: PublishedKeys, clock: JumpingClock
) -> None:
    await published.keys(ISSUER, "k1")
    world.answers[KEYS_URL] = jwks(jwk(EC_KEY, "k2"))
    assert not (await published.keys(ISSUER, "k2")).knows("k2")
    clock.seconds += AGAIN_SECONDS
    assert (await published.keys(ISSUER, "k2")).knows("k2")
    for number in range(100):
        await published.keys(ISSUER, f"made up {number}")
    assert len(world.asked) == 4


async def test_the_last_keys_count_while_the_issuer_is_down(
    world: World, published: PublishedKeys, clock: JumpingClock
) -> None:
    await published.keys(ISSUER, "k1")
    world.is_down = True
    clock.seconds += FRESH_SECONDS
    assert (await published.keys(ISSUER, "k1")).knows("k1")
    clock.seconds += STALE_SECONDS_MAX - FRESH_SECONDS
    with pytest.raises(IssuerAway, match="cannot be reached"):
        await published.keys(ISSUER, "k1")
    world.is_down = False
    clock.seconds += FAILED_SECONDS
    assert (await published.keys(ISSUER, "k1")).knows("k1")


async def test_what_failed_is_not_tried_at_once(
    world: World, published: PublishedKeys, clock: JumpingClock
) -> None:
    world.is_down = True
    for _ in range(5):
        with pytest.raises(IssuerAway):
            await published.keys(ISSUER, "k1")
        with pytest.raises(IssuerAway):
            await published.discover(ISSUER)
    assert len(world.asked) == 1
    clock.seconds += FAILED_SECONDS
    world.is_down = False
    assert (await published.keys(ISSUER, "k1")).knows("k1")


@each_row(
    ("url", "answer", "why"),
    [
        (ISSUER + DISCOVERY, 302, "answers 302"),
        (ISSUER + DISCOVERY, b"<html>", "cannot be read"),
        (ISSUER + DISCOVERY, b"{}", "another issuer"),
        (ISSUER + DISCOVERY, b'{"issuer": "https://issuer.example/"}', "another issuer"),
        (ISSUER + DISCOVERY, b'{"issuer": "https://issuer.example"}', "no jwks_uri"),
        (
            ISSUER + DISCOVERY,
            b'{"issuer": "https://issuer.example", "jwks_uri": "http://issuer.example/keys"}',
            "not encrypted",
        ),
        (
            ISSUER + DISCOVERY,
            b'{"issuer": "a", "issuer": "https://issuer.example", "jwks_uri": "https://a"}',
            "cannot be read",
        ),
        (KEYS_URL, 500, "answers 500"),
        (KEYS_URL, b"{}", "JWK set"),
        (KEYS_URL, jwks({"kty": "oct", "k": "AAAA"}), "no key that is taken"),
    ],
)
async def test_what_is_published_wrongly_is_not_taken(
    clock: JumpingClock, url: str, answer: bytes | int, why: str
) -> None:
    world = World()
    published = PublishedKeys(world.client, clock)
    world.answers[url] = answer
    with pytest.raises(IssuerAway, match=why):
        await published.keys(ISSUER, "k1")


async def test_as_many_issuers_are_kept(clock: JumpingClock) -> None:
    issuers = [f"https://issuer-{number}.example" for number in range(ISSUERS_MAX + 1)]
    world = World()
    for issuer in issuers:
        world.answers.update(World(issuer).answers)
    published = PublishedKeys(world.client, clock)
    for issuer in issuers:
        await published.keys(issuer, "k1")
    assert len(published._kept) == ISSUERS_MAX
    asked = len(world.asked)
    await published.keys(issuers[1], "k1")
    assert len(world.asked) == asked
    await published.keys(issuers[0], "k1")
    assert len(world.asked) == asked + 2


Real = tuple[dict[str, Any], Callable[[], PublishedKeys], str]


@pytest.fixture
async def real(clock: JumpingClock) -> AsyncIterator[Real]:
    """An issuer of real HTTP on this machine, whose answers a test may spoil."""
    state: dict[str, Any] = {"seconds": 0.0, "size": 0}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(state["seconds"])
        if request.path == DISCOVERY:
            return web.json_response(
                {"issuer": state["issuer"], "jwks_uri": state["issuer"] + "/k"}
            )
        return web.Response(body=jwks(jwk(RSA_KEY, "k1")) + b" " * state["size"])

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    state["issuer"] = f"http://127.0.0.1:{runner.addresses[0][1]}"
    limits = Limits(seconds=0.2, answer_bytes=LIMITS.answer_bytes)
    here = Networks(parse_targets("127.0.0.0/8"), never=())
    asks = outbound().client(here, limits)

    async def client() -> OutboundClient:
        return asks

    yield state, lambda: PublishedKeys(client, clock), state["issuer"]
    await runner.cleanup()


async def test_over_real_http(real: Real) -> None:
    state, published, issuer = real
    assert (await published().keys(issuer, "k1")).knows("k1")
    assert state["size"] == 0


@each_row(
    ("fault", "value", "why"),
    [("seconds", 5.0, "no whole answer"), ("size", LIMITS.answer_bytes, "more than")],
)
async def test_a_slow_or_huge_answer_is_given_up(
    real: Real, fault: str, value: float, why: str
) -> None:
    state, published, issuer = real
    state.update({"seconds": 0.0, "size": 0, fault: value})
    with pytest.raises(IssuerAway, match=why):
        await published().keys(issuer, "k1")


async def test_what_must_not_be_asked_is_not(clock: JumpingClock) -> None:
    async def client() -> OutboundClient:
        return outbound().client(Networks(), LIMITS)

    published = PublishedKeys(client, clock)
    for issuer in ("http://127.0.0.1:1", "https://169.254.169.254", "http://[::1]:1"):
        with pytest.raises(IssuerAway, match=r"not asked from here.*cluster set issuer-networks"):
            await published.keys(issuer, "k1")


async def test_what_is_allowed_by_now_is_asked_within_a_second(clock: JumpingClock) -> None:
    """Who sets `issuer-networks` tries it at once."""
    allowed = Networks()

    async def client() -> OutboundClient:
        return outbound().client(allowed, LIMITS)

    published = PublishedKeys(client, clock)
    issuer = "https://127.0.0.1:1"
    with pytest.raises(IssuerAway, match="not asked from here"):
        await published.keys(issuer, "k1")
    allowed = Networks(parse_targets("127.0.0.1"), ())
    with pytest.raises(IssuerAway, match="not asked from here"):
        await published.keys(issuer, "k1")
    clock.seconds += FORBIDDEN_SECONDS
    with pytest.raises(IssuerAway, match="cannot be reached"):
        await published.keys(issuer, "k1")
