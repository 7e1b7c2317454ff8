"""One's own account: access tokens, sessions, the password; and that hostile text stays text."""

import re

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.web.browser import Browser, Shown
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.identity.states import AccountStates
from treescale.registry.accounts import TokenTerms
from treescale.registry.people.sessions import FRESH_SECONDS

ACCOUNT = "/-/account"
HOSTILE = """"><script>alert(1)</script>'{{7*7}}"""
TOKEN = {"name": "laptop", "allow": "pull,push", "repository": "*", "expires": "90d"}


@pytest.fixture
async def signed_in(browser: Browser, alice: Client) -> Browser:
    """Alice at her browser."""
    await browser.sign_in("alice", alice.password)
    return browser


async def test_a_token_is_shown_once_and_logs_in(
    signed_in: Browser, alice: Client, registry: Running
) -> None:
    shown = (await signed_in.post("/-/account/tokens", **TOKEN)).expect(200)
    found = re.search(r"ts_[A-Za-z0-9_-]+", shown.text)
    assert found is not None
    host = signed_in.url.partition("://")[2]
    assert f"docker login {host} -u alice" in shown.words
    assert f"podman login --tls-verify=false {host} -u alice" in shown.words  # it is plain HTTP
    page = await signed_in.learn()
    assert found[0] not in page.text
    assert "laptop" in page.words
    alice.password = found[0]
    alice.tokens.clear()
    await alice.repository("alice/app").push_image("1", b"a layer")
    (token,) = re.findall(r"/-/account/tokens/([0-9a-f]+)/revoke", page.text)
    moved = (await signed_in.post(f"/-/account/tokens/{token}/revoke")).expect(303)
    assert "revoked" in (await signed_in.get(moved.location)).words
    await registry.parts.tokens.refresh()
    (await alice.ask_token()).expect(401)
    (await signed_in.post(f"/-/account/tokens/{token}/revoke")).expect(404)


async def test_nobody_revokes_what_is_another_ones(
    signed_in: Browser, other: Browser, bob: Client
) -> None:
    await other.sign_in("bob", bob.password)
    (await other.post("/-/account/tokens", **TOKEN)).expect(200)
    (token,) = re.findall(r"tokens/([0-9a-f]+)/revoke", (await other.learn()).text)
    (session,) = re.findall(r"sessions/([0-9a-f]+)/end", (await _twice(other, bob)).text)
    (await signed_in.post(f"/-/account/tokens/{token}/revoke")).expect(404)
    (await signed_in.post(f"/-/account/sessions/{session}/end")).expect(404)
    assert "laptop" in (await other.learn()).words


async def _twice(browser: Browser, who: Client) -> Shown:
    """Sign in with a second browser; return what the first shows."""
    second = Browser(browser.session, browser.url)
    await second.sign_in(who.user, who.password)
    return await browser.learn()


@pytest.mark.usefixtures("alice")
async def test_what_is_wrong_with_a_token_is_said(signed_in: Browser) -> None:
    for changed, said in (
        ({"name": ""}, "say what the token is for"),
        ({"allow": "everything"}, "is not a right"),
        ({"repository": "bob/*"}, "matches no repository"),
        ({"expires": "soon"}, "is not a time"),
    ):
        shown = await signed_in.post("/-/account/tokens", **(TOKEN | changed))
        assert said in shown.expect(400).words


async def test_an_end_that_no_date_says_is_shown(signed_in: Browser, registry: Running) -> None:
    """Version 0.1.0 made such access tokens."""
    terms = TokenTerms("late", lasts_seconds=99_999 * 365 * 86_400.0)
    await registry.parts.accounts.create_token("alice", terms, actor=ACTOR)
    assert "9999-12-31" in (await signed_in.get(ACCOUNT)).expect(200).words


async def test_other_sessions_are_ended(signed_in: Browser, other: Browser, alice: Client) -> None:
    await other.sign_in("alice", alice.password)
    page = await signed_in.learn()
    (session,) = re.findall(r"sessions/([0-9a-f]+)/end", page.text)
    (await signed_in.post(f"/-/account/sessions/{session}/end")).expect(303)
    (await other.get(ACCOUNT)).expect(303)
    await other.sign_in("alice", alice.password)
    (await signed_in.post("/-/account/sessions/end")).expect(303)
    (await other.get(ACCOUNT)).expect(303)
    (await signed_in.get(ACCOUNT)).expect(200)


async def test_a_new_password_ends_all_sessions(
    signed_in: Browser, other: Browser, alice: Client
) -> None:
    await other.sign_in("alice", alice.password)
    new = "another password"
    path = "/-/account/password"
    (await signed_in.post(path, old="wrong", new=new, again=new)).expect(403)
    (await signed_in.post(path, old=PASSWORD, new=new, again="else")).expect(400)
    shown = await signed_in.post(path, old=PASSWORD, new="short", again="short")
    assert "at least 8" in shown.expect(400).words
    (await signed_in.post(path, old=PASSWORD, new=new, again=new)).expect(303)
    for browser in (signed_in, other):
        (await browser.get(ACCOUNT)).expect(303)
    await other.sign_in("alice", new)


async def test_hostile_text_stays_text(signed_in: Browser, registry: Running) -> None:
    second = Browser(signed_in.session, signed_in.url, headers={"User-Agent": HOSTILE})
    await second.sign_in("alice", PASSWORD)
    (await signed_in.post("/-/account/tokens", **(TOKEN | {"name": HOSTILE}))).expect(200)
    page = await signed_in.learn()
    assert page.words.count(HOSTILE) >= 2
    failed = await signed_in.post("/-/sign-in", name=HOSTILE, password="wrong")
    lost = await signed_in.get(f"/-/account?done={HOSTILE}".replace(" ", "+"))
    for shown in (page, failed, lost, await signed_in.get("/-/<script>alert(1)</script>")):
        assert "alert(1)</script>" not in shown.text
        assert shown.text.count("<script") == 1  # ours
        assert "49" not in shown.words or "7*7" in shown.words
    assert registry.url


async def test_who_is_suspended_has_nothing(
    signed_in: Browser, registry: Running, alice: Client, root: Client
) -> None:
    assert root.user
    states = AccountStates(registry.parts.database.connections)
    secret = (await signed_in.post("/-/account/tokens", **TOKEN)).text
    token = re.findall(r"ts_[A-Za-z0-9_-]+", secret)[0]
    by_token = Client(alice.session, alice.url, "alice", token)
    scope = "repository:alice/app:pull,push"
    bearers = [await each.token(scope) for each in (alice, by_token)]
    refresh = await alice.refresh_token()
    await states.suspend("alice", actor=ACTOR)
    await registry.parts.tokens.refresh()
    (await signed_in.get(ACCOUNT)).expect(303)
    shown = await signed_in.post("/-/sign-in", name="alice", password=PASSWORD)
    assert "The user name or the password is wrong." in shown.expect(401).words
    for who, bearer in zip((alice, by_token), bearers, strict=True):
        (await who.ask_token(scope)).expect(401)
        given = {"Authorization": f"Bearer {bearer}"}
        (await who.raw("GET", "/v2/", given)).expect(401)
        (await who.raw("GET", "/api/v1/repositories", who.basic())).expect(401)
    form = f"grant_type=refresh_token&service=registry&client_id=t&refresh_token={refresh}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    (await alice.raw("POST", "/token", headers, form.encode())).expect(401)
    await states.resume("alice", actor=ACTOR)
    await registry.parts.tokens.refresh()
    for who in (alice, by_token):
        (await who.ask_token(scope)).expect(200)
    (await alice.raw("POST", "/token", headers, form.encode())).expect(401)
    (await signed_in.get(ACCOUNT)).expect(303)


async def test_the_api_takes_a_session_with_the_header(
    signed_in: Browser, registry: Running
) -> None:
    path = "/api/v1/repositories"
    (await signed_in.ask("GET", path, {}, b"")).expect(403)
    (await signed_in.ask("GET", path, {"X-CSRF-Token": "wrong"}, b"")).expect(403)
    right = {"X-CSRF-Token": signed_in.form_token}
    (await signed_in.ask("GET", path, right, b"")).expect(200)
    foreign = right | {"Origin": "https://evil.example"}
    (await signed_in.ask("GET", path, foreign, b"")).expect(403)
    (await signed_in.ask("GET", "/v2/", right, b"")).expect(401)
    answer = await signed_in.ask(
        "GET", "/token?service=registry&scope=repository:alice/app:pull,push", right, b""
    )
    assert '"access_token"' in answer.expect(200).text
    granted = await registry.parts.tokens.verify(re.findall('"token":"([^"]+)', answer.text)[0])
    assert granted.principal.anonymous
    made = right | {"Content-Type": "application/json"}
    (await signed_in.ask("POST", "/api/v1/tokens", made, b'{"name": "one"}')).expect(200)
    registry.parts.clock.skip(FRESH_SECONDS + 1)
    late = await signed_in.ask("POST", "/api/v1/tokens", made, b'{"name": "two"}')
    assert "prove it once more" in late.expect(403).text
    await signed_in.post("/-/sign-out")
    signed_in.cookies["treescale"] = "A" * 43
    (await signed_in.ask("GET", path, right, b"")).expect(401)


async def test_the_address_of_a_form_leads_to_its_page(browser: Browser, alice: Client) -> None:
    await browser.sign_in("alice", alice.password)
    for path, page in (
        ("/-/account/tokens", "/-/account"),
        ("/-/account/tokens/1/revoke", "/-/account"),
        ("/alice/app/-/tags/delete", "/alice/app"),
        ("/alice/-/members/revoke", "/alice/-/members"),
        ("/-/sign-out", "/"),
    ):
        assert (await browser.get(path)).expect(303).location == page
