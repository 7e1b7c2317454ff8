"""/metrics: who may ask it, how it answers, and that what clients do is counted as what it is."""

import asyncio
import base64
import gzip
import re
import socket
from collections.abc import AsyncIterator
from functools import partial

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.fakes_readiness import metrics_desk
from tests.images import noise
from treescale.api.metrics import answer_anybody
from treescale.auth.scopes import ALL_ACTIONS, Action, Right, TokenScope
from treescale.metrics.page import CONTENT_TYPE, page
from treescale.registry.accounts import TokenTerms
from treescale.registry.credential_cache import AWAY_SECONDS_MAX
from treescale.server.serving import new_connections

LAYER = bytes(range(256)) * 1000


@pytest.fixture
async def root(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be an administrator."""
    await registry.parts.accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
    return Client(session, registry.url, "root", PASSWORD)


@pytest.fixture
async def watched(registry: Running, session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    """Be somebody on the address that has this page alone."""
    meters = registry.parts.meters
    desk = metrics_desk(registry.parts.database, meters)
    handle = partial(answer_anybody, desk.page)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        runner = web.ServerRunner(new_connections(handle, tls=False, meters=meters))
        await runner.setup()
        await web.SockSite(runner, listener).start()
        yield Client(session, f"http://127.0.0.1:{listener.getsockname()[1]}")
        await runner.cleanup()


def counted(registry: Running, name: str) -> dict[str, float]:
    """Return what the page says of a metric, by labels, without what is 0."""
    text = page(registry.parts.meters.families()).decode()
    lines = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in lines if float(value)}


def labels(route: str, method: str, status: int | str) -> str:
    return f'route="{route}",method="{method}",status="{status}"'


async def test_an_administrator_gets_it_on_the_registry_s_address(root: Client) -> None:
    answer = (await root.raw("GET", "/metrics", root.basic())).expect(200)
    assert answer.headers["Content-Type"] == CONTENT_TYPE
    assert answer.headers["Cache-Control"] == "no-store"
    assert b"treescale_processes" in answer.body
    head = (await root.raw("HEAD", "/metrics", root.basic())).expect(200)
    assert head.body == b""
    assert int(head.headers["Content-Length"]) >= len(answer.body)
    refused = (await root.raw("POST", "/metrics", root.basic())).expect(405, "UNSUPPORTED")
    assert refused.headers["Allow"] == "GET, HEAD"


async def test_nobody_else_does(
    registry: Running, root: Client, alice: Client, anybody: Client
) -> None:
    (await anybody.raw("GET", "/metrics")).expect(401, "UNAUTHORIZED")
    wrong = Client(root.session, root.url, "root", "a guess at it")
    answer = (await wrong.raw("GET", "/metrics", wrong.basic())).expect(401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="treescale"'
    (await alice.raw("GET", "/metrics", alice.basic())).expect(401)
    bearer = {"Authorization": f"Bearer {await root.token()}"}
    (await root.raw("GET", "/metrics", bearer)).expect(401)
    rows: tuple[tuple[frozenset[Right], int], ...] = (
        (frozenset({Action.PULL}), 401),
        (ALL_ACTIONS, 401),
        (frozenset({TokenScope.METRICS}), 200),
    )
    for allow, status in rows:
        terms = TokenTerms("prometheus", allow)
        secret, _ = await registry.parts.accounts.create_token("root", terms, actor=ACTOR)
        who = Client(root.session, root.url, "root", secret)
        (await who.raw("GET", "/metrics", who.basic())).expect(status)


async def test_it_is_compressed_for_who_takes_that(root: Client) -> None:
    for accepts, coding in (
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("gzip; q=0", None),
        ("x-gzip,", None),
        ("", None),
    ):
        headers = {**root.basic(), "Accept-Encoding": accepts}
        answer = (await root.raw("GET", "/metrics", headers)).expect(200)
        assert answer.headers.get("Content-Encoding") == coding, accepts
        body = gzip.decompress(answer.body) if coding else answer.body
        assert body.startswith(b"# HELP ")


async def test_the_address_of_its_own_has_nothing_else_and_asks_nobody(
    watched: Client, root: Client
) -> None:
    (await watched.raw("GET", "/metrics")).expect(200)
    (await watched.raw("GET", "/metrics?x=1", {"Accept-Encoding": "gzip"})).expect(200)
    for path in ("/v2/", "/v2/alice/app/manifests/1", "/token", "/peer/v1/ping", "/", "/metrics/"):
        (await watched.raw("GET", path, root.basic())).expect(404, "NAME_UNKNOWN")
    (await watched.raw("DELETE", "/metrics")).expect(405, "UNSUPPORTED")
    (await watched.raw("TRACE", "/v2/")).expect(404)


async def test_many_may_ask_at_once(watched: Client) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(watched.raw("GET", "/metrics")) for _ in range(100)]
    assert {each.result().status for each in asked} == {200}


async def test_a_database_that_is_away_leaves_an_administrator_known_for_a_while(
    registry: Running, root: Client, watched: Client
) -> None:
    (await root.raw("GET", "/metrics", root.basic())).expect(200)
    Away(registry.parts.database).begin()
    registry.parts.clock.skip(60)
    (await root.raw("GET", "/metrics", root.basic())).expect(200)
    registry.parts.clock.skip(AWAY_SECONDS_MAX)
    (await root.raw("GET", "/metrics", root.basic())).expect(503)
    (await watched.raw("GET", "/metrics")).expect(200)


async def test_one_who_is_no_administrator_any_more_is_not_remembered_as_one(
    registry: Running, root: Client
) -> None:
    (await root.raw("GET", "/metrics", root.basic())).expect(200)
    await registry.parts.accounts.add_user("boss", PASSWORD, actor=ACTOR, admin=True)
    await registry.parts.accounts.remove_user("root", actor=ACTOR)
    registry.parts.clock.skip(60)
    (await root.raw("GET", "/metrics", root.basic())).expect(401)
    Away(registry.parts.database).begin()
    assert (await root.raw("GET", "/metrics", root.basic())).status in {401, 503}


async def test_a_push_and_a_pull_are_counted_as_what_they_are(
    registry: Running, alice: Client
) -> None:
    app = alice.repository("alice/app")
    await app.push_image("latest", LAYER)
    for _ in range(3):
        (await app.get("manifests/latest")).expect(200)
    (await app.get("manifests/none")).expect(404)
    (await alice.raw("GET", "/v2/")).expect(401)
    (await alice.raw("GET", "/_nothing/here")).expect(404)
    await alice.raw("TRACE", "/v2/alice/app/tags/list")
    found = counted(registry, "treescale_http_requests_total")
    assert found[labels("manifest", "PUT", 201)] == 1
    assert found[labels("manifest", "GET", 200)] == 3
    assert found[labels("manifest", "GET", 404)] == 1
    assert found[labels("root", "GET", 401)] == 1
    assert found[labels("other", "GET", 404)] == 1
    assert found[labels("tags", "other", 401)] == 1
    assert "alice" not in str(found)
    times = counted(registry, "treescale_http_request_duration_seconds_count")
    assert times['route="manifest",method="GET"'] == 4
    assert in_flight(registry) == {}


async def test_an_upload_under_way_is_in_flight(registry: Running, alice: Client) -> None:
    app = alice.repository("alice/app")
    begun = (await app.request("POST", "blobs/uploads/")).expect(202)
    sent, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield LAYER
        sent.set()
        await go_on.wait()
        yield LAYER

    async with asyncio.TaskGroup() as group:
        place = begun.headers["Location"].removeprefix(registry.url)
        upload = group.create_task(alice.request("PATCH", place, data=body()))
        await sent.wait()
        async with asyncio.timeout(10):
            while in_flight(registry) != {'route="upload"': 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert in_flight(registry) == {'route="upload"': 1}
        go_on.set()
    upload.result().expect(202)
    assert in_flight(registry) == {}


def in_flight(registry: Running) -> dict[str, float]:
    """Return what is answered at this look at the connections."""
    registry.connections.count_in_flight()
    return counted(registry, "treescale_http_requests_in_flight")


async def test_refused_credentials_are_counted_and_wrong_logins_told_of(
    registry: Running, alice: Client, anybody: Client
) -> None:
    wrong = Client(alice.session, alice.url, "alice", "a guess at it")
    typed = Client(alice.session, alice.url, "My Password!", "alice")
    with capture_logs() as lines:
        (await wrong.raw("GET", "/v2/", wrong.basic() | {"X-Request-Id": "mine"})).expect(401)
        (await typed.ask_token()).expect(401)
        form = b"grant_type=password&username=bob&password=wrong"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        (await anybody.raw("POST", "/token", kind, form)).expect(401)
        (await anybody.raw("GET", "/v2/", {"Authorization": "Basic !"})).expect(401)
        refresh = b"grant_type=refresh_token&refresh_token=none"
        (await anybody.raw("POST", "/token", kind, refresh)).expect(401)
        (await anybody.raw("GET", "/v2/", {"Authorization": "Bearer none"})).expect(401)
        (await anybody.raw("GET", "/v2/")).expect(401)
    told = [line for line in lines if line["event"] == "login.refused"]
    assert [(line["user"], line["reason"], line["client"]) for line in told] == [
        ("alice", "credentials", "127.0.0.1"),
        ("", "credentials", "127.0.0.1"),
        ("bob", "credentials", "127.0.0.1"),
        ("", "credentials", "127.0.0.1"),
    ]
    assert told[0]["request_id"] == "mine"
    assert "My Password" not in str(lines)
    assert counted(registry, "treescale_authentication_failures_total") == {
        'reason="credentials"': 4,
        'reason="token"': 2,
    }


async def test_attempts_that_are_not_looked_at_are_counted_apart(
    registry: Running, alice: Client
) -> None:
    for number in range(40):
        guess = Client(alice.session, alice.url, "alice", f"a guess: {number}")
        if (await guess.raw("GET", "/v2/", guess.basic())).status == 429:
            break
    assert counted(registry, "treescale_authentication_failures_total")['reason="throttled"'] == 1


async def test_a_body_that_breaks_off_counts_as_cut(registry: Running, alice: Client) -> None:
    app = alice.repository("alice/app")
    digest = await app.push_blob(noise(12_000_000))
    registry.parts.store._chunks.popitem()  # the last
    secret = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {secret}"}
    url = f"{registry.url}/v2/alice/app/blobs/{digest}"
    async with alice.session.get(url, headers=headers) as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    found = counted(registry, "treescale_http_requests_total")
    assert found.get(labels("blob", "GET", "cut"), 0) == 1, found
