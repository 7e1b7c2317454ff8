"""How robots log in: by a secret, by an ID token, by what that is exchanged for."""

from typing import Any

import pytest

from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away
from tests.fakes_disk import JumpingClock
from tests.id_tokens import EC_KEY, Maker
from tests.registry.conftest import CountingPasswords
from tests.registry.robots.conftest import AUDIENCE, ISSUER
from tests.tables import each_row
from treescale.auth.id_tokens import LEEWAY_SECONDS
from treescale.auth.policy import Principal
from treescale.auth.scopes import ALL_ACTIONS, Access, Action, Right, TokenScope
from treescale.errors import (
    CredentialsInvalid,
    IdTokenInvalid,
    IssuerAway,
    IssuerKeysInvalid,
    IssuerUnknown,
    RequestInvalid,
)
from treescale.metadata.database import Database
from treescale.metadata.identity.records import TrustRule
from treescale.metadata.identity.states import AccountStates
from treescale.registry.issuers.keys import PublishedKeys
from treescale.registry.issuers.service import IssuerService
from treescale.registry.login import REMEMBERED_SECONDS, Login
from treescale.registry.robots import login as robots_login
from treescale.registry.robots.login import EXCHANGED_SECONDS_MAX, RobotLogin, audiences_of
from treescale.registry.robots.service import RobotService, RobotTerms
from treescale.registry.token_service import TokenService

PULL, PUSH, DELETE = Action.PULL, Action.PUSH, Action.DELETE
APP = [Access("acme/app", ALL_ACTIONS)]
CLAIMS = {"repository": "acme/app"}


async def add(service: RobotService, name: str = "ci", **terms: Any) -> str:
    """Make a robot; return its secret."""
    return (await service.add("acme", RobotTerms(name, **terms), actor=ACTOR))[0]


async def trust(service: RobotService, name: str = "ci", **claims: str) -> TrustRule:
    wanted = claims or CLAIMS
    return await service.trust("acme", name, ISSUER, wanted, actor=ACTOR)


async def refused(login: Login, secret: str, name: str = "acme+ci") -> str:
    with pytest.raises(CredentialsInvalid) as caught:
        await login.authenticate(name, secret)
    return str(caught.value)


async def granted(tokens: TokenService, who: Principal, name: str = "acme/app") -> set[Action]:
    found = await tokens.granted(who, [Access(name, ALL_ACTIONS)])
    return {action for one in found for action in one.actions}


async def test_a_secret_proves_a_robot(
    service: RobotService, login: Login, tokens: TokenService
) -> None:
    allow = frozenset[Right]({PULL, TokenScope.API})
    secret = await add(service, allow=allow, repository="acme/a*")
    who = await login.authenticate("acme+ci", secret, source="10.0.0.9")
    assert (who.user, [*who.allow], [*who.scopes]) == ("acme+ci", [PULL], [TokenScope.API])
    assert await granted(tokens, who) == {PULL}
    assert await granted(tokens, who, "acme/web") == set()
    assert await granted(tokens, who, "alice/app") == set()
    robot = await service.get("acme", "ci")
    assert (robot.last_address, robot.last_used) == ("10.0.0.9", who.proven)


async def test_wrong_is_wrong_and_no_password_is_looked_at(
    service: RobotService, login: Login, passwords: CountingPasswords
) -> None:
    secret, other = await add(service), await add(service, "other")
    said = {
        await refused(login, one, name)
        for one, name in (
            (other, "acme+ci"),
            (secret, "acme+none"),
            (secret, "alice+ci"),
            (secret[:-1] + ("Q" if secret.endswith("A") else "A"), "acme+ci"),
            ("password", "acme+ci"),
            ("", "acme+ci"),
            (secret, "+"),
            (secret, "acme+ci+x"),
            (secret, "acme+ci\ud800"),
        )
    }
    assert len(said) == 1
    assert passwords.verified == 0
    await refused(login, secret, "acme")


async def test_its_end_is_the_end(
    service: RobotService, login: Login, tokens: TokenService, clock: JumpingClock
) -> None:
    secret = await add(service, lasts_seconds=100.0)
    who = await login.authenticate("acme+ci", secret)
    issued = await tokens.issue(who, APP)
    assert issued.expires_in <= 100
    clock.seconds += 101
    await refused(login, secret)


async def test_a_rotated_secret_ends(
    service: RobotService, login: Login, tokens: TokenService, clock: JumpingClock
) -> None:
    first = await add(service)
    second = await service.rotate("acme", "ci", actor=ACTOR)
    old, new = [await login.authenticate("acme+ci", one) for one in (first, second)]
    assert (old.expires is not None, new.expires) == (True, None)
    issued = await tokens.issue(old, APP)
    third = await service.rotate("acme", "ci", actor=ACTOR)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(issued.token)
    await refused(login, first)
    for secret in (second, third):
        assert (await login.authenticate("acme+ci", secret)).user == "acme+ci"
    clock.seconds += 25 * 3600
    await refused(login, second)
    assert (await login.authenticate("acme+ci", third)).user == "acme+ci"


async def remove_robot(service: RobotService, database: Database) -> None:
    del database
    await service.remove("acme", "ci", actor=ACTOR)


async def rotate_now(service: RobotService, database: Database) -> None:
    del database
    await service.rotate("acme", "ci", actor=ACTOR, at_once=True)


async def remove_namespace(service: RobotService, database: Database) -> None:
    del service
    await database.organisations.remove("acme", actor=ACTOR)


@pytest.mark.parametrize("change", [remove_robot, rotate_now, remove_namespace])
async def test_what_is_revoked_counts_for_nothing(
    service: RobotService, login: Login, tokens: TokenService, database: Database, change: Any
) -> None:
    secret = await add(service)
    who = await login.authenticate("acme+ci", secret)
    issued = await tokens.issue(who, APP)
    assert (await tokens.verify(issued.token)).access == {"acme/app": {PULL, PUSH}}
    await change(service, database)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(issued.token)
    assert await granted(tokens, who) == set()
    await refused(login, secret)


async def test_a_suspended_users_robots_may_nothing(
    service: RobotService, login: Login, tokens: TokenService, database: Database, issuer: Maker
) -> None:
    """Neither by their secrets nor keyless: else whoever is suspended goes on by them."""
    secret, _ = await service.add("alice", RobotTerms("ci"), actor=ACTOR)
    of_team = await add(service)
    claims = {"repository": "acme/app"}
    await service.trust("alice", "ci", ISSUER, claims, actor=ACTOR)
    who = await login.authenticate("alice+ci", secret)
    wanted = [Access("alice/app", frozenset({PULL}))]
    issued = await tokens.issue(who, wanted)
    assert (await tokens.verify(issued.token)).access == {"alice/app": {PULL}}
    states = AccountStates(database.connections)
    await states.suspend("alice", actor=ACTOR)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(issued.token)
    for brought in (secret, issuer.token()):
        await refused(login, brought, "alice+ci")
    assert (await login.authenticate("acme+ci", of_team)).user == "acme+ci"
    await states.resume("alice", actor=ACTOR)
    await tokens.refresh()
    assert (await login.authenticate("alice+ci", secret)).user == "alice+ci"


async def test_without_its_generation_a_removed_robot_goes_on(
    service: RobotService, login: Login, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: nobody hears of the removal where no number is drawn."""
    who = await login.authenticate("acme+ci", await add(service))
    issued = await tokens.issue(who, APP)
    monkeypatch.setattr("treescale.metadata.identity.robots.void", lambda *_: None)
    await service.remove("acme", "ci", actor=ACTOR)
    await tokens.refresh()
    assert (await tokens.verify(issued.token)).access


async def test_a_robot_logs_in_while_the_database_is_away(
    service: RobotService, login: Login, database: Database, clock: JumpingClock
) -> None:
    secret = await add(service)
    await login.authenticate("acme+ci", secret)
    away = Away(database, counts_changes=False)
    away.begin()
    clock.seconds += REMEMBERED_SECONDS + 1
    assert (await login.authenticate("acme+ci", secret)).user == "acme+ci"
    away.end()


async def test_an_id_token_is_a_password_again_and_again(
    service: RobotService, login: Login, tokens: TokenService, issuer: Maker, clock: JumpingClock
) -> None:
    """As kubelets and docker present what they have stored."""
    await add(service)
    await trust(service)
    token = issuer.token()
    who = Principal("")
    for _ in range(4):
        who = await login.authenticate("acme+ci", token)
        assert await granted(tokens, who) == {PULL, PUSH}
        clock.seconds += REMEMBERED_SECONDS + 1
    issued = await tokens.issue(who, APP)
    clock.seconds = issuer.now + 300 + LEEWAY_SECONDS
    assert "expired" in await refused(login, token)
    with pytest.raises(CredentialsInvalid):
        await tokens.issue(who, APP)
    assert (await tokens.verify(issued.token)).principal.user == "acme+ci"
    clock.seconds = issuer.now + 300 + LEEWAY_SECONDS + 300 + LEEWAY_SECONDS
    with pytest.raises(CredentialsInvalid, match="expired"):
        await tokens.verify(issued.token)
    assert (await tokens.verify(issued.token, grace=True)).access, "what was begun is finished"


@each_row("audience", [AUDIENCE, "registry.example", ["other", "registry.example"]])
async def test_the_audience_is_the_public_url_or_its_host(
    service: RobotService, login: Login, issuer: Maker, audience: object
) -> None:
    if "ci" not in [one.name async for one in service.each("acme")]:
        await add(service)
        await trust(service)
    assert (await login.authenticate("acme+ci", issuer.token(aud=audience))).login_ends


@each_row(
    ("claims", "why"),
    [
        ({"repository": "acme/web"}, "no trust rule"),
        ({"repository": None}, "no trust rule"),
        ({"aud": "https://other.example"}, "another audience"),
        ({"iss": f"{ISSUER}/"}, "none that an administrator"),
        ({"iss": "https://other.example"}, "none that an administrator"),
        ({"event_name": "pull_request_target"}, "stranger"),
        ({"iat": 9e9, "exp": 9e9 + 1}, "not valid yet"),
        ({"exp": 9e9}, "good for more"),
    ],
)
async def test_an_id_token_that_is_not_the_robots(
    service: RobotService, login: Login, issuer: Maker, claims: dict[str, Any], why: str
) -> None:
    if "ci" not in [one.name async for one in service.each("acme")]:
        await add(service)
        await trust(service)
    assert why in await refused(login, issuer.token(**claims))


async def test_no_robot_and_no_rule_look_the_same(
    service: RobotService, login: Login, issuer: Maker
) -> None:
    await add(service)
    for name in ("acme+none", "nobody+ci", "acme+ci"):
        said = await refused(login, issuer.token(), name)
        assert said.replace(name, "X") == (
            "no trust rule of a robot X takes this ID token: `treescale robot show X` lists them"
        )
    assert "NAMESPACE+NAME" in await refused(login, issuer.token(), "acme")


async def test_a_token_is_one_robots_alone(
    service: RobotService, login: Login, issuer: Maker
) -> None:
    for name in ("ci", "other"):
        await add(service, name)
        await trust(service, name)
    token = issuer.token()
    await login.authenticate("acme+ci", token)
    assert "another robot" in await refused(login, token, "acme+other")
    twin = Maker(ISSUER, issuer.now, AUDIENCE, EC_KEY, "ES256", "e1", {**CLAIMS, "jti": None})
    token = twin.token()
    await login.authenticate("acme+ci", token)
    assert "another robot" in await refused(login, token, "acme+other")


async def test_without_the_binding_two_robots_take_it(
    service: RobotService,
    login: Login,
    robots: RobotLogin,
    issuer: Maker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control."""

    async def nothing(*_: object, **__: object) -> None: ...

    monkeypatch.setattr(robots._uses, "bind", nothing)
    token = issuer.token()
    for name in ("ci", "other"):
        await add(service, name)
        await trust(service, name)
        assert (await login.authenticate(f"acme+{name}", token)).user == f"acme+{name}"


async def test_without_public_url_no_id_token_is_taken(
    service: RobotService,
    database: Database,
    published: PublishedKeys,
    clock: JumpingClock,
    issuer: Maker,
) -> None:
    await add(service)
    await trust(service)
    robots = RobotLogin(database, published, clock, audiences=audiences_of(""))
    with pytest.raises(IdTokenInvalid, match="public_url is not set"):
        await robots.authenticate("acme+ci", issuer.token(aud=""), "")


async def test_no_key_is_looked_for_before_its_issuer_is_known(
    service: RobotService,
    login: Login,
    published: PublishedKeys,
    issuer: Maker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add(service)
    asked: list[str] = []

    async def keys(issuer: str, key_id: str | None) -> None:
        asked.append(f"{issuer} {key_id}")
        raise IssuerAway("it is down")

    monkeypatch.setattr(published, "keys", keys)
    stranger = Maker("https://169.254.169.254", issuer.now)
    assert "none that an administrator" in await refused(login, stranger.token())
    assert asked == []


async def test_keys_that_are_published_are_asked_for(
    service: RobotService,
    login: Login,
    database: Database,
    published: PublishedKeys,
    issuer: Maker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add(service)
    await IssuerService(database).add(ISSUER, None, actor=ACTOR)

    async def keys(issuer: str, key_id: str | None) -> None:
        raise IssuerAway(f"{issuer} {key_id}")

    monkeypatch.setattr(published, "keys", keys)
    with pytest.raises(IssuerAway, match=f"{ISSUER} k1"):
        await login.authenticate("acme+ci", issuer.token())


async def test_an_exchange_gives_a_secret_once_for_an_hour(
    service: RobotService,
    login: Login,
    robots: RobotLogin,
    tokens: TokenService,
    issuer: Maker,
    clock: JumpingClock,
) -> None:
    await add(service)
    await trust(service)
    token = issuer.token()
    await login.authenticate("acme+ci", token)
    made = await robots.exchange("acme+ci", token, "10.0.0.9")
    assert (made.login, made.seconds) == ("acme+ci", EXCHANGED_SECONDS_MAX)
    with pytest.raises(IdTokenInvalid, match="exchanged before"):
        await robots.exchange("acme+ci", token, "")
    who = await login.authenticate("acme+ci", made.secret)
    assert await granted(tokens, who) == {PULL, PUSH}
    assert [one.rule is None for one in (await service.show("acme", "ci")).secrets] == [True, False]
    clock.seconds += EXCHANGED_SECONDS_MAX
    await refused(login, made.secret)


async def test_an_exchange_ends_with_its_robot_at_the_latest(
    service: RobotService, robots: RobotLogin, issuer: Maker
) -> None:
    await add(service, lasts_seconds=600.0)
    await trust(service)
    made = await robots.exchange("acme+ci", issuer.token(), "")
    assert 590 <= made.seconds <= 600


@pytest.mark.parametrize("what", ["rule", "issuer", "keys", "robot"])
async def test_with_what_made_it_goes_what_was_given(
    service: RobotService,
    login: Login,
    robots: RobotLogin,
    tokens: TokenService,
    database: Database,
    issuer: Maker,
    what: str,
) -> None:
    await add(service)
    rule = await trust(service)
    token = issuer.token()
    who = await login.authenticate("acme+ci", token)
    bearer = (await tokens.issue(who, APP)).token
    made = await robots.exchange("acme+ci", token, "")
    issuers = IssuerService(database)
    if what == "rule":
        await service.distrust("acme", "ci", rule.rule_id, actor=ACTOR)
    elif what == "issuer":
        assert await issuers.remove(ISSUER, actor=ACTOR) == 1
    elif what == "keys":
        await issuers.add(ISSUER, None, actor=ACTOR)
    else:
        await service.remove("acme", "ci", actor=ACTOR)
    await tokens.refresh()
    with pytest.raises(CredentialsInvalid):
        await tokens.verify(bearer)
    if what != "keys":
        await refused(login, token)
        await refused(login, made.secret)


async def test_a_rule_that_goes_meanwhile_gives_nothing(
    service: RobotService,
    robots: RobotLogin,
    issuer: Maker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add(service)
    rule = await trust(service)
    verified = robots._verified

    async def slowly(token: str) -> Any:
        found = await verified(token)
        monkeypatch.setattr(robots_login, "takes", lambda *_: True)
        return found

    monkeypatch.setattr(robots, "_verified", slowly)
    rules = await robots._robots.rules((await service.get("acme", "ci")).robot_id)

    async def known(_: str) -> Any:
        return rules

    monkeypatch.setattr(robots._robots, "rules", known)
    await service.distrust("acme", "ci", rule.rule_id, actor=ACTOR)
    with pytest.raises(IdTokenInvalid, match="no trust rule"):
        await robots.exchange("acme+ci", issuer.token(), "")


@each_row(
    ("issuer_url", "jwks"),
    [
        ("http://issuer.example", None),
        ("https://issuer.example/?a=b", None),
        ("https://issuer.example/#a", None),
        ("https://user:secret@issuer.example", None),
        ("issuer.example", None),
        ("", None),
        ("https://" + "a" * 1100, None),
        (ISSUER, "{}"),
        (ISSUER, "x" * 70_000),
    ],
)
async def test_what_is_no_issuer(database: Database, issuer_url: str, jwks: str | None) -> None:
    with pytest.raises((RequestInvalid, IssuerKeysInvalid)) as caught:
        await IssuerService(database).add(issuer_url, jwks, actor=ACTOR)
    assert "secret" not in str(caught.value)
    assert [one async for one in IssuerService(database).each()] == []


async def test_nobody_else_can_be_trusted(service: RobotService) -> None:
    await add(service)
    with pytest.raises(IssuerUnknown):
        await trust(service)
