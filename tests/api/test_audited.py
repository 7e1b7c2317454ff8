"""What a request changes says from where it came; logins, and those refused, are told as rows."""

from ipaddress import IPv4Network
from typing import Final
from urllib.parse import urlencode

import pytest

from tests.api.client import Client
from tests.api.running import Running
from treescale.auth.policy import Principal
from treescale.metadata.events.recorded import Recorded
from treescale.registry.robots.service import RobotService, RobotTerms

LAYER: Final = b"one layer"
WRONG_PASSWORDS: Final = 12


async def logged(registry: Running, kind: str) -> list[Recorded]:
    """Return the events of a kind, with what is counted written down."""
    logins = registry.rooms.authenticator.logins
    assert logins is not None
    await logins.write()
    found = await registry.parts.database.event_log.after(0, 1000)
    return [each for each in found if each.kind == kind]


async def test_a_push_says_from_where(registry: Running, alice: Client) -> None:
    await alice.repository("alice/app").push_image("v1", LAYER)
    (pushed,) = await logged(registry, "image.pushed")
    assert (pushed.actor, pushed.address) == ("alice", "127.0.0.1")
    created = await logged(registry, "user.created")
    assert {each.address for each in created} == {None}, "a command on the database"


@pytest.mark.parametrize("trusted_proxies", [[IPv4Network("127.0.0.0/8")]])
async def test_a_trusted_proxy_says_from_where(registry: Running, alice: Client) -> None:
    told = {**alice.basic(), "X-Forwarded-For": "203.0.113.9"}
    (await alice.raw("POST", "/v2/alice/app/blobs/uploads/", told)).expect(202)
    (await alice.raw("GET", "/token?service=x", told)).expect(200)
    (login,) = await logged(registry, "login.succeeded")
    assert (login.actor, login.namespace, login.address) == ("alice", "alice", "203.0.113.9")


async def test_a_refresh_token_and_a_robot_log_in(registry: Running, alice: Client) -> None:
    """Whatever it is that somebody logs in with."""
    refresh = await registry.parts.tokens.refresh_token(Principal("alice", generation=1 << 40))
    form = {"grant_type": "refresh_token", "refresh_token": refresh}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    (await alice.raw("POST", "/token", headers, urlencode(form).encode())).expect(200)
    robots = RobotService(registry.parts.database)
    secret, robot = await robots.add("alice", RobotTerms("ci"), actor="alice")
    ci = Client(alice.session, alice.url, robot.login, secret)
    (await ci.raw("GET", "/token?service=x", ci.basic())).expect(200)
    found = await logged(registry, "login.succeeded")
    told = {(each.actor, each.namespace, each.address) for each in found}
    assert told == {("alice", "alice", "127.0.0.1"), ("alice+ci", "alice", "127.0.0.1")}


async def test_logins_are_told_once_and_refusals_as_a_count(
    registry: Running, alice: Client
) -> None:
    wrong = Client(alice.session, alice.url, "alice", "wrong")
    for number in range(WRONG_PASSWORDS):
        answer = await wrong.raw("GET", "/token?service=x", wrong.basic())
        assert answer.status in (401, 429), number
        (await alice.raw("GET", "/token?service=x", alice.basic())).expect(200)
    found = await logged(registry, "login.refused")
    assert {(each.actor, each.address) for each in found} == {("alice", "127.0.0.0/24")}
    assert sum(each.payload["count"] for each in found) == WRONG_PASSWORDS
    assert len(await logged(registry, "login.succeeded")) == 1
