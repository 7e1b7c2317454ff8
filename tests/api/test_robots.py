"""Robots at the registry: what a client as one sees, keyless and with a secret."""

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.api.client import Answer, Client
from tests.api.running import PUBLIC_URL, Running
from tests.contracts.metadata_values import ACTOR
from tests.id_tokens import RSA_KEY, Maker, jwk, jwks
from tests.tables import each_row
from treescale.api.token import ACCESS_TOKEN, EXCHANGE
from treescale.auth.scopes import Action, Right, TokenScope
from treescale.registry.issuers.service import IssuerService
from treescale.registry.robots.service import RobotService, RobotTerms

ISSUER = "https://issuer.example"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"
LAYER = b"a layer of alice"
Robot = Callable[..., Awaitable[Client]]


@pytest.fixture
def robot(registry: Running, session: aiohttp.ClientSession) -> Robot:
    """What makes a robot of alice's namespace."""
    service = RobotService(registry.parts.database)

    async def made(name: str = "ci", **terms: object) -> Client:
        wanted = RobotTerms(name, **terms)  # type: ignore[arg-type]
        secret, robot = await service.add("alice", wanted, actor=ACTOR)
        return Client(session, registry.url, robot.login, secret)

    return made


@pytest.fixture
async def issuer(registry: Running) -> Maker:
    """An issuer whose tokens are those of the robot alice+ci, as soon as there is one."""
    keys = jwks(jwk(RSA_KEY, "k1")).decode()
    await IssuerService(registry.parts.database).add(ISSUER, keys, actor=ACTOR)
    return Maker(ISSUER, registry.parts.clock.now(), PUBLIC_URL)


async def trust(registry: Running, name: str = "ci") -> None:
    service = RobotService(registry.parts.database)
    await service.trust("alice", name, ISSUER, {"sub": "repo:acme/app:*"}, actor=ACTOR)


async def exchange(who: Client, token: str, **fields: str) -> Answer:
    form = {
        "grant_type": EXCHANGE,
        "subject_token": token,
        "subject_token_type": ID_TOKEN,
        "robot": "alice+ci",
        **fields,
    }
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return await who.raw("POST", "/token", headers, urlencode(form).encode())


async def test_it_pushes_and_pulls_in_its_namespace_and_nowhere_else(
    robot: Robot, alice: Client, bob: Client
) -> None:
    ci = await robot(repository="alice/a*")
    await ci.repository("alice/app").push_image("1", LAYER)
    await alice.repository("alice/web").push_image("1", LAYER)
    await bob.repository("bob/app").push_image("1", LAYER)
    (await ci.repository("alice/app").get("manifests/1")).expect(200)
    for name in ("alice/web", "alice/none", "bob/app", "bob/none"):
        (await ci.repository(name).get("manifests/1")).expect(401)
    (await ci.repository("alice/app").delete("manifests/1")).expect(401)
    (await alice.repository("alice/app").get("manifests/1")).expect(200)
    (await bob.repository("alice/app").get("manifests/1")).expect(401)


async def test_it_is_told_of_what_it_may_pull(robot: Robot, alice: Client, bob: Client) -> None:
    ci = await robot(repository="alice/app")
    for name in ("alice/app", "alice/web"):
        await alice.repository(name).push_image("1", LAYER)
    await bob.repository("bob/app").push_image("1", LAYER)
    listed = (await ci.request("GET", "/v2/_catalog")).expect(200)
    assert listed.json["repositories"] == ["alice/app"]


async def test_its_denial_says_what_it_may(robot: Robot) -> None:
    ci = await robot(allow=frozenset[Right]({Action.PULL}), repository="alice/app")
    denied = await ci.raw("POST", "/v2/alice/app/blobs/uploads/", ci.basic())
    assert "its robot allows pull only" in denied.expect(401).json["errors"][0]["message"]
    denied = await ci.raw("GET", "/v2/alice/web/manifests/1", ci.basic())
    assert "its robot is for alice/app" in denied.expect(401).json["errors"][0]["message"]


async def test_one_for_scopes_alone_is_not_for_the_registry(robot: Robot) -> None:
    ci = await robot(allow=frozenset[Right]({TokenScope.API}))
    assert "not for the registry" in (await ci.ask_token()).expect(401).body.decode()


async def test_it_gets_no_refresh_token(robot: Robot) -> None:
    ci = await robot()
    form = {"grant_type": "password", "username": ci.user, "password": ci.password}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    asked = urlencode({**form, "access_type": "offline", "client_id": "tests"}).encode()
    answer = (await ci.raw("POST", "/token", headers, asked)).expect(200)
    assert "refresh_token" not in answer.json


async def test_an_id_token_is_the_password(registry: Running, robot: Robot, issuer: Maker) -> None:
    ci = await robot()
    await trust(registry)
    ci.password = issuer.token()
    await ci.repository("alice/app").push_image("1", LAYER)
    other = await robot("other")
    await trust(registry, "other")
    other.password = ci.password
    assert "another robot" in (await other.ask_token()).expect(401).body.decode()


async def test_the_host_header_is_no_audience(
    registry: Running, robot: Robot, issuer: Maker
) -> None:
    ci = await robot()
    await trust(registry)
    ci.password = issuer.token(aud="https://evil.example")
    headers = {**ci.basic(), "Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    refused = (await ci.raw("GET", "/token", headers)).expect(401)
    assert f"have it made for {PUBLIC_URL}" in refused.body.decode()


async def test_an_exchange_is_as_the_rfc_has_it(
    registry: Running, robot: Robot, issuer: Maker, anybody: Client
) -> None:
    ci = await robot()
    await trust(registry)
    token = issuer.token()
    answer = (await exchange(anybody, token)).expect(200)
    found = answer.json
    assert answer.headers["Cache-Control"] == "no-store"
    assert found["issued_token_type"] == ACCESS_TOKEN
    assert (found["token_type"], found["username"]) == ("N_A", "alice+ci")
    assert 3500 < found["expires_in"] <= 3600
    ci.password = found["access_token"]
    await ci.repository("alice/app").push_image("1", LAYER)
    assert "exchanged before" in (await exchange(anybody, token)).expect(401).body.decode()
    (await exchange(anybody, issuer.token(), robot="alice ci")).expect(200)


@each_row(
    ("fields", "status"),
    [
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, 400),
        ({"subject_token_type": ""}, 400),
        ({"requested_token_type": ID_TOKEN}, 400),
        ({"robot": ""}, 400),
        ({"robot": "alice"}, 401),
        ({"robot": "alice+none"}, 401),
        ({"subject_token": ""}, 401),
        ({"subject_token": "x"}, 401),
        ({"subject_token": "eyJ" + "A" * 20_000 + ".A.A"}, 401),
        ({"subject_token": "eyJ" + "A" * 1_000_000 + ".A.A"}, 413),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_an_exchange_that_is_refused(
    issuer: Maker, anybody: Client, fields: dict[str, str], status: int
) -> None:
    refused = (await exchange(anybody, issuer.token(), **fields)).expect(status)
    assert "AAAA" not in refused.body.decode()
