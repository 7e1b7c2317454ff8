"""Sign-on by a provider: who comes in, as whom; and every answer that lets nobody in."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.api.test_audited import logged
from tests.console.web.browser import Browser, Shown
from tests.console.web.provider import CLIENT, FakeProvider, providing
from tests.contracts.metadata_values import ACTOR
from tests.id_tokens import EC_KEY, jwk
from treescale.errors import UserUnknown
from treescale.metadata.database import Database
from treescale.metadata.identity.providers import Identities, Providers
from treescale.metadata.identity.sessions import VOUCHED_SECONDS, Sessions
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.identity.terms import INVITE, GroupRole
from treescale.registry.counted.logins import HOUR_SECONDS
from treescale.registry.people.accounts import People
from treescale.registry.people.openid import PENDING_SECONDS, read_pending, state_of
from treescale.registry.people.sessions import FRESH_SECONDS

ACCOUNT = "/-/account"
BEGIN = "/-/sign-on/corp"


@pytest.fixture
def database(registry: Running) -> Database:
    return registry.parts.database


@pytest.fixture
async def corp(registry: Running) -> AsyncIterator[FakeProvider]:
    """A provider that runs, and that nobody has added yet."""
    async with providing(registry.parts.clock.now) as fake:
        yield fake


async def added(database: Database, corp: FakeProvider, **terms: Any) -> None:
    await Providers(database.connections).add(corp.provider(**terms), actor=ACTOR)


async def come(browser: Browser, corp: FakeProvider, begin: str = BEGIN) -> Shown:
    """Go there and back."""
    moved = (await browser.get(begin)).expect(303)
    return await browser.get(corp.agree(moved.location))


async def refused(browser: Browser, corp: FakeProvider, said: str, status: int = 403) -> None:
    shown = (await come(browser, corp)).expect(status)
    assert said in shown.words, shown.words
    (await browser.get(ACCOUNT)).expect(303)


async def test_who_is_new_gets_an_account(
    browser: Browser, corp: FakeProvider, database: Database
) -> None:
    await added(database, corp)
    assert "Sign in with corp" in (await browser.get("/-/sign-in?next=/-/account")).words
    corp.claims = {"sub": "1", "preferred_username": "Dora.Meyer@corp.example"}
    moved = await come(browser, corp, f"{BEGIN}?next=/alice/app")
    assert moved.expect(303).location == "/alice/app"
    page = await browser.learn()
    assert "Signed in as dora-meyer" in page.words
    assert "This account has no password" in page.words
    user = await database.users.get("dora-meyer")
    assert (user.has_password, user.admin) == (False, False)
    made = await browser.post(
        "/-/account/tokens", name="laptop", allow="pull", repository="*", expires="30d"
    )
    made.expect(200)
    corp.claims = {"sub": "1", "preferred_username": "renamed"}
    other = Browser(browser.session, browser.url)
    (await come(other, corp)).expect(303)
    assert "dora-meyer" in (await other.learn()).words


async def test_the_account_is_bound_to_issuer_and_subject_alone(
    browser: Browser, corp: FakeProvider, database: Database, alice: Client
) -> None:
    await added(database, corp)
    corp.claims = {
        "sub": "2",
        "preferred_username": alice.user,
        "email": "alice@corp.example",
        "email_verified": True,
    }
    await refused(browser, corp, "the name alice is taken here")
    await browser.sign_in("alice", PASSWORD)
    page = await browser.learn()
    link = page.text.partition(f"{BEGIN}?link=")[2].partition('"')[0]
    (await browser.get(f"{BEGIN}?link={'A' * 43}")).expect(403)
    moved = await come(browser, corp, f"{BEGIN}?link={link}")
    assert moved.expect(303).location == f"{ACCOUNT}?done=linked"
    other = Browser(browser.session, browser.url)
    (await come(other, corp)).expect(303)
    assert "Signed in as alice" in (await other.learn()).words
    (identity,) = await Identities(database.connections).list("alice")
    await other.post(f"/-/account/identities/{identity.identity_id}/unlink")
    assert await Identities(database.connections).list("alice") == []


async def test_nobody_gets_an_account_without_a_name(
    browser: Browser, corp: FakeProvider, database: Database
) -> None:
    await added(database, corp)
    for claims in ({}, {"preferred_username": "v2"}, {"preferred_username": "!"}):
        corp.claims = {"sub": "1", **claims}
        await refused(browser, corp, "tells no name")
    assert [one.name for one in await database.users.list("", 9)] == ["alice", "bob"]


async def test_the_audit_log_has_who_comes_and_who_does_not(
    browser: Browser, other: Browser, corp: FakeProvider, registry: Running, alice: Client
) -> None:
    """By a provider as by a password, and from where a session is used."""
    await added(registry.parts.database, corp)
    corp.claims = {"sub": "1", "preferred_username": "dora"}
    (await come(browser, corp)).expect(303)
    found = {each.actor: each.address for each in await logged(registry, "login.succeeded")}
    assert found == {"dora": "127.0.0.1"}
    await other.sign_in(alice.user, PASSWORD)
    found = {each.actor: each.address for each in await logged(registry, "login.succeeded")}
    assert found == {"dora": "127.0.0.1", "alice": "127.0.0.1"}
    corp.claims = {"sub": "2", "preferred_username": "alice"}
    (await come(other, corp)).expect(403)
    (told,) = await logged(registry, "login.refused")
    assert (told.actor, told.payload["count"]) == ("anonymous", 1)
    registry.parts.clock.skip(HOUR_SECONDS)
    headers = {"X-CSRF-Token": other.form_token}
    (await other.ask("GET", "/api/v1/repositories", headers, b"")).expect(200)
    actors = [each.actor for each in await logged(registry, "login.succeeded")]
    assert sorted(actors) == ["alice", "alice", "dora"]


async def test_a_cookie_that_was_made_up_links_nothing_later_on(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running, alice: Client
) -> None:
    """Who has a session that was left open, and makes the cookie of a link: it takes a proof."""
    await added(database, corp)
    await browser.sign_in(alice.user, PASSWORD)
    (mine,) = await Sessions(database.connections).list("alice", now=registry.parts.clock.now())
    registry.parts.clock.skip(FRESH_SECONDS + 1)
    moved = (await browser.get(BEGIN)).expect(303)
    begun = read_pending(browser.cookies["treescale-sign-on"])
    made_up = msgspec.structs.replace(begun, session=mine.session_id)
    browser.cookies["treescale-sign-on"] = made_up.cookie()
    changed = moved.location.replace(state_of(begun.cookie()), state_of(made_up.cookie()))
    shown = await browser.get(corp.agree(changed))
    assert "prove it" in shown.expect(403).words
    assert await Identities(database.connections).list("alice") == []


async def test_linking_needs_the_session_that_asked(
    browser: Browser,
    corp: FakeProvider,
    database: Database,
    registry: Running,
    alice: Client,
    bob: Client,
) -> None:
    await added(database, corp)
    await browser.sign_in(alice.user, PASSWORD)
    page = await browser.learn()
    link = page.text.partition(f"{BEGIN}?link=")[2].partition('"')[0]
    moved = (await browser.get(f"{BEGIN}?link={link}")).expect(303)
    await browser.sign_in(bob.user, PASSWORD)
    (await browser.get(corp.agree(moved.location))).expect(403)
    assert await Identities(database.connections).list("bob") == []
    page = await browser.learn()
    link = page.text.partition(f"{BEGIN}?link=")[2].partition('"')[0]
    registry.parts.clock.skip(FRESH_SECONDS + 1)
    (await browser.get(f"{BEGIN}?link={link}")).expect(403)


async def test_an_invitation_is_accepted_with_a_provider(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    await added(database, corp, create=INVITE)
    await refused(browser, corp, "ask for an invitation")
    people = People(database, registry.parts.passwords, registry.parts.clock)
    secret, _ = await people.invite("carol", admin=False, roles=[], actor=ACTOR)
    page = await browser.get(f"/-/invitation/{secret}")
    assert "Come in with corp, without a password" in page.words
    (await come(browser, corp, f"{BEGIN}?invitation={secret}")).expect(303)
    assert "Signed in as carol" in (await browser.learn()).words
    (await browser.get(f"/-/invitation/{secret}")).expect(404)
    reset, _ = await people.reset("alice", actor=ACTOR)
    corp.claims = {"sub": "of alice"}
    (await come(browser, corp, f"{BEGIN}?reset={reset}")).expect(303)
    assert "Signed in as alice" in (await browser.learn()).words


async def test_groups_are_roles_for_as_long_as_the_provider_says(
    browser: Browser, corp: FakeProvider, database: Database, bob: Client
) -> None:
    for name in ("acme", "tools"):
        await database.organisations.add(name, bob.user, actor=ACTOR)
    groups = (
        GroupRole("dev", "acme", "writer"),
        GroupRole("lead", "acme", "maintainer"),
        GroupRole("dev", "tools", "reader"),
    )
    await added(database, corp, groups=groups)

    async def roles(*of: str) -> dict[str, list[tuple[str, str]]]:
        corp.claims = {"sub": "1", "email": "dora@corp.example"}
        corp.userinfo = {"groups": [*of]}
        (await come(browser, corp)).expect(303)
        found = await database.organisations.holdings("dora")
        return {name: [*held.grants] for name, held in found.items()}

    assert await roles("dev", "lead") == {
        "acme": [("maintainer", "*")],
        "tools": [("reader", "*")],
    }
    await database.organisations.grant(
        "tools", "dora", role="writer", repository="*", actor=bob.user
    )
    await database.organisations.grant(
        "acme", "dora", role="reader", repository="acme/x", actor=bob.user
    )
    before = (await database.generations.since(0, 1000)).present
    assert await roles("dev") == {
        "acme": [("writer", "*"), ("reader", "acme/x")],
        "tools": [("writer", "*")],
    }
    changed = (await database.generations.since(before, 1000)).changes
    assert "member:dora" in [one.subject for one in changed]
    assert await roles() == {"acme": [("reader", "acme/x")], "tools": [("writer", "*")]}


async def test_a_group_is_for_the_organisation_that_had_the_name(
    browser: Browser, corp: FakeProvider, database: Database, bob: Client
) -> None:
    await database.organisations.add("acme", bob.user, actor=ACTOR)
    await added(database, corp, groups=(GroupRole("dev", "acme", "owner"),))
    corp.claims = {"sub": "1", "email": "dora@corp.example", "groups": ["dev"]}
    (await come(browser, corp)).expect(303)
    assert "acme" in await database.organisations.holdings("dora")
    await database.organisations.remove("acme", actor=ACTOR)
    await database.organisations.add("acme", bob.user, actor=ACTOR)
    (await come(browser, corp)).expect(303)
    assert await database.organisations.holdings("dora") == {}


async def test_a_provider_is_asked_again_after_a_day(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    """So groups of a session are at most a day old."""
    await added(database, corp)
    (await come(browser, corp)).expect(303)
    for _ in range(3):
        registry.parts.clock.skip(VOUCHED_SECONDS / 3 - 60)
        (await browser.get(ACCOUNT)).expect(200)
    registry.parts.clock.skip(180)
    (await browser.get(ACCOUNT)).expect(303)


async def test_an_organisation_keeps_its_last_owner(
    browser: Browser, corp: FakeProvider, database: Database, bob: Client
) -> None:
    await database.organisations.add("acme", bob.user, actor=ACTOR)
    await added(database, corp, groups=(GroupRole("boss", "acme", "owner"),))
    corp.claims = {"sub": "1", "email": "dora@corp.example", "groups": ["boss"]}
    (await come(browser, corp)).expect(303)
    await database.organisations.revoke("acme", bob.user, repository=None, actor="dora")
    corp.claims["groups"] = []
    (await come(browser, corp)).expect(303)
    held = await database.organisations.holdings("dora")
    assert held["acme"].grants == (("owner", "*"),)


async def test_domains_need_a_verified_address(
    browser: Browser, corp: FakeProvider, database: Database
) -> None:
    await added(database, corp, domains=("corp.example",))
    for claims in (
        {"email": "dora@evil.example", "email_verified": True},
        {"email": "dora@corp.example", "email_verified": False},
        {"email": "dora@corp.example"},
        {"email": "dora@corp.example", "email_verified": "true"},
        {"email": "dora@corp.example@evil.example", "email_verified": True},
        {},
    ):
        corp.claims = {"sub": "1", **claims}
        await refused(browser, corp, "does not vouch")
    corp.claims = {"sub": "1", "email": "dora@CORP.example", "email_verified": True}
    (await come(browser, corp)).expect(303)


async def test_who_is_in_no_group_any_more_is_suspended(
    browser: Browser, corp: FakeProvider, database: Database
) -> None:
    await added(database, corp, required_groups=("staff",))
    corp.claims = {"sub": "1", "email": "dora@corp.example", "groups": ["staff"]}
    (await come(browser, corp)).expect(303)
    other = Browser(browser.session, browser.url)
    corp.claims["groups"] = ["guests"]
    (await come(other, corp)).expect(403)
    (await browser.get(ACCOUNT)).expect(303)
    assert (await database.users.get("dora")).is_suspended
    corp.claims["groups"] = ["staff"]
    (await come(other, corp)).expect(303)
    states = AccountStates(database.connections)
    await states.suspend("dora", actor=ACTOR)
    await refused(other, corp, "this account is suspended")


async def test_an_answer_counts_once_and_in_its_browser(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    await added(database, corp)
    other = Browser(browser.session, browser.url)
    moved = await browser.get(BEGIN)
    answer = corp.agree(moved.location)
    kept = dict(browser.cookies)
    for cookies in ({}, {"treescale-sign-on": "A" * 90}):
        other.cookies = cookies
        (await other.get(answer)).expect(403)
    await other.get(BEGIN)
    (await other.get(answer)).expect(403)
    (await browser.get(answer)).expect(303)
    assert "treescale-sign-on" not in browser.cookies
    other.cookies = kept
    (await other.get(answer)).expect(403)
    other.cookies = kept
    query = answer.partition("?")[2]
    state = query.partition("state=")[2]
    again = corp.agree(moved.location).partition("?")[2].partition("&")[0]
    (await other.get(f"{BEGIN}/callback?{again}&state={state}")).expect(403)
    moved = await other.get(BEGIN)
    answer = corp.agree(moved.location)
    registry.parts.clock.skip(PENDING_SECONDS + 1)
    (await other.get(answer)).expect(403)


async def test_two_providers_are_not_mixed_up(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    await added(database, corp)
    async with providing(registry.parts.clock.now) as evil:
        await Providers(database.connections).add(evil.provider("evil"), actor=ACTOR)
        moved = await browser.get(BEGIN)
        answer = corp.agree(moved.location).replace("/corp/", "/evil/")
        (await browser.get(answer)).expect(403)
        assert evil.asked == []
        moved = await browser.get(BEGIN)
        (await browser.get(corp.agree(moved.location, iss=evil.url))).expect(403)
        moved = await browser.get(BEGIN)
        (await browser.get(corp.agree(moved.location, iss=corp.url))).expect(303)
        corp.document = {"authorization_response_iss_parameter_supported": True}
        registry.parts.clock.skip(3700)
        other = Browser(browser.session, browser.url)
        (await come(other, corp)).expect(403)


async def test_what_the_provider_signs_is_looked_at(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    await added(database, corp)
    now = registry.parts.clock.now()
    for wrong in (
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"azp": "another"},
        {"iss": f"{corp.url}/"},
        {"exp": now - 100, "iat": now - 200, "nbf": None},
        {"sub": ""},
    ):
        corp.claims = {"sub": "1", "email": "dora@corp.example"} | wrong
        (await come(browser, corp)).expect(401)
    corp.claims = {"sub": "1", "email": "dora@corp.example"}
    corp.userinfo = {"sub": "2", "preferred_username": "admin"}
    await refused(browser, corp, "two things")
    with pytest.raises(UserUnknown):
        await database.users.get("dora")


async def test_keys_are_changed(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    await added(database, corp)
    (await come(browser, corp)).expect(303)
    corp.key_id = "k2"
    other = Browser(browser.session, browser.url)
    (await come(other, corp)).expect(401)
    corp.published.append(jwk(corp.key, "k2"))
    registry.parts.clock.skip(61)
    (await come(other, corp)).expect(303)
    corp.published = [jwk(EC_KEY, "k2")]
    registry.parts.clock.skip(3700)
    (await come(Browser(browser.session, browser.url), corp)).expect(401)


async def test_a_provider_that_is_away_lets_nobody_in(
    browser: Browser, corp: FakeProvider, database: Database, registry: Running
) -> None:
    await added(database, corp)
    moved = await browser.get(BEGIN)
    for status in (500, 302, 400, 401):
        corp.status = status
        answer = await browser.get(corp.agree(moved.location))
        assert answer.status in (403, 503)
        moved = await browser.get(BEGIN)
    corp.url = "http://127.0.0.1:9"
    await Providers(database.connections).remove("corp", actor=ACTOR)
    (await browser.get(BEGIN)).expect(404)
    await added(database, corp)
    shown = (await browser.get(BEGIN)).expect(503)
    assert "127.0.0.1" not in shown.words
    await browser.sign_in("alice", PASSWORD)
    assert registry.url


async def test_removing_a_provider_ends_its_sessions(
    browser: Browser, corp: FakeProvider, database: Database
) -> None:
    await added(database, corp)
    (await come(browser, corp)).expect(303)
    (await browser.get(ACCOUNT)).expect(200)
    await Providers(database.connections).remove("corp", actor=ACTOR)
    (await browser.get(ACCOUNT)).expect(303)


async def test_what_the_provider_refuses_is_said_in_its_one_word(
    browser: Browser, corp: FakeProvider, database: Database
) -> None:
    await added(database, corp)
    moved = await browser.get(BEGIN)
    state = corp.agree(moved.location).partition("state=")[2]
    shown = await browser.get(f"{BEGIN}/callback?error=access_denied&state={state}")
    assert "access_denied" in shown.expect(403).words
    moved = await browser.get(BEGIN)
    state = corp.agree(moved.location).partition("state=")[2]
    shown = await browser.get(f"{BEGIN}/callback?error=%3Cscript%3E&state={state}")
    assert "an error" in shown.expect(403).words
    assert "<script>" not in shown.text
