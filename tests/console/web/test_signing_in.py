"""Signing in and out: whose session it is, and what nobody else can do with it."""

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.web.browser import FORM, Browser
from tests.tables import each_row
from treescale.console.web.page import local_path
from treescale.metadata.identity.sessions import IDLE_SECONDS, TOTAL_SECONDS
from treescale.registry.accounts import TokenTerms
from treescale.registry.people.sessions import FRESH_SECONDS

ACCOUNT = "/-/account"


@pytest.mark.usefixtures("alice")
async def test_a_password_begins_a_session(browser: Browser) -> None:
    shown = (await browser.get(ACCOUNT)).expect(303)
    assert shown.location == "/-/sign-in?next=/-/account"
    form = (await browser.get(shown.location)).expect(200)
    assert form.field("next") == ACCOUNT
    moved = await browser.post("/-/sign-in", name="alice", password=PASSWORD, next=ACCOUNT)
    assert moved.expect(303).location == ACCOUNT
    (cookie,) = moved.set_cookies
    assert cookie.startswith("treescale=")
    assert cookie.endswith("; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax")
    page = (await browser.get(ACCOUNT)).expect(200)
    assert "Signed in as alice" in page.words


@pytest.mark.usefixtures("alice")
async def test_what_is_wrong_is_not_told_apart(browser: Browser) -> None:
    for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("A/../B", "wrong")):
        shown = await browser.post("/-/sign-in", name=name, password=password)
        assert "The user name or the password is wrong." in shown.expect(401).words
        assert not shown.set_cookies


async def test_an_access_token_is_no_password(
    browser: Browser, registry: Running, alice: Client
) -> None:
    assert alice.user
    text, _ = await registry.parts.accounts.create_token("alice", TokenTerms("ci"), actor="alice")
    shown = await browser.post("/-/sign-in", name="alice", password=text)
    assert "use the password here" in shown.expect(401).words


@pytest.mark.usefixtures("alice", "bob")
async def test_a_session_is_new_at_each_sign_in(browser: Browser, other: Browser) -> None:
    other.cookies["treescale"] = "A" * 43
    await other.sign_in("bob", PASSWORD)
    assert other.cookies["treescale"] != "A" * 43
    await browser.sign_in("alice", PASSWORD)
    before = dict(browser.cookies)
    await browser.sign_in("bob", PASSWORD)
    assert browser.cookies != before
    browser.cookies = before
    (await browser.get(ACCOUNT)).expect(303)


@pytest.mark.usefixtures("alice")
async def test_signing_out_ends_it_everywhere(browser: Browser, other: Browser) -> None:
    await browser.sign_in("alice", PASSWORD)
    other.cookies = dict(browser.cookies)
    (await other.get(ACCOUNT)).expect(200)
    moved = (await browser.post("/-/sign-out")).expect(303)
    assert moved.location == "/-/sign-in?done=signed_out"
    assert browser.cookies == {}
    (await other.get(ACCOUNT)).expect(303)
    assert "You are signed out." in (await other.get(moved.location)).words


@pytest.mark.usefixtures("alice")
async def test_it_ends_by_itself(browser: Browser, registry: Running) -> None:
    clock = registry.parts.clock
    await browser.sign_in("alice", PASSWORD)
    clock.skip(IDLE_SECONDS - 60)
    (await browser.get(ACCOUNT)).expect(200)
    clock.skip(IDLE_SECONDS - 60)
    (await browser.get(ACCOUNT)).expect(200)
    clock.skip(IDLE_SECONDS + 60)
    (await browser.get(ACCOUNT)).expect(303)
    await browser.sign_in("alice", PASSWORD)
    last = 0
    for _ in range(int(TOTAL_SECONDS / IDLE_SECONDS) + 1):
        last = (await browser.get(ACCOUNT)).status
        clock.skip(IDLE_SECONDS - 60)
    assert last == 200
    (await browser.get(ACCOUNT)).expect(303)


@pytest.mark.usefixtures("alice")
async def test_forms_of_other_sites_do_nothing(browser: Browser) -> None:
    await browser.sign_in("alice", PASSWORD)
    fields = {"name": "theirs", "allow": "pull", "repository": "*", "expires": "30d"}
    right = browser.form_token
    for form_token, origin in (
        ("", None),
        ("A" * 43, None),
        (right, "https://evil.example"),
        (right, "null"),
    ):
        browser.form_token, browser.origin = form_token, origin
        (await browser.post("/-/account/tokens", **fields)).expect(403)
    browser.form_token, browser.origin = right, "https://evil.example"
    (await browser.post("/-/sign-in", name="alice", password=PASSWORD)).expect(403)
    silent = {"Content-Type": FORM}
    (await browser.ask("POST", "/-/sign-out", silent, b"form=" + right.encode())).expect(403)
    same = {**silent, "Sec-Fetch-Site": "cross-site"}
    (await browser.ask("POST", "/-/sign-out", same, b"form=" + right.encode())).expect(403)
    browser.origin = None
    page = (await browser.get(ACCOUNT)).expect(200)
    assert "theirs" not in page.text
    same = {**silent, "Sec-Fetch-Site": "same-origin"}
    (await browser.ask("POST", "/-/sign-out", same, b"form=" + right.encode())).expect(303)


@each_row(
    ("text", "path"),
    [
        ("/-/account", "/-/account"),
        ("/alice/app?tag=1", "/alice/app?tag=1"),
        ("//evil.example", ""),
        ("/\\evil.example", ""),
        ("/a\\b", ""),
        ("https://evil.example", ""),
        ("javascript:alert(1)", ""),
        ("/\t/evil.example", ""),
        ("\t//evil.example", ""),
        (" //evil.example", ""),
        ("///evil.example", ""),
        ("/\n/evil.example", ""),
        ("/\x00/evil.example", ""),
        ("\\\\evil.example", ""),
        ("evil.example", ""),
        ("@evil.example", ""),
        ("JaVaScRiPt:alert(1)", ""),
        ("data:text/html,x", ""),
        ("/\u2028/evil.example", ""),
        ("/%2f%2fevil.example", "/%2f%2fevil.example"),  # a path: nothing decodes it first
        ("/-/sign-in?next=//evil.example", "/-/sign-in?next=//evil.example"),  # asked again there
        ("/a\r\nSet-Cookie: x=y", ""),
        ("/" + "a" * 500, ""),
        ("", ""),
    ],
)
def test_only_paths_of_this_host_are_gone_to(text: str, path: str) -> None:
    assert local_path(text) == path


@pytest.mark.usefixtures("alice")
async def test_nobody_is_sent_to_another_host(browser: Browser) -> None:
    for elsewhere in ("https://evil.example/", "//evil.example", "/\\evil.example"):
        moved = await browser.post("/-/sign-in", name="alice", password=PASSWORD, next=elsewhere)
        assert moved.expect(303).location == "/"


@pytest.mark.usefixtures("alice")
async def test_every_page_keeps_others_out(browser: Browser) -> None:
    await browser.sign_in("alice", PASSWORD)
    for path in (ACCOUNT, "/-/sign-in", "/-/nothing", "/-/invitation/none"):
        headers = (await browser.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_stylesheet_is_kept_for_long(browser: Browser) -> None:
    page = await browser.get("/-/sign-in")
    path = page.text.partition('stylesheet" href="')[2].partition('"')[0]
    sheet = (await browser.get(path)).expect(200)
    assert "immutable" in sheet.headers["Cache-Control"]
    assert "prefers-color-scheme: dark" in sheet.text
    (await browser.get("/-/static/style.css")).expect(404)
    assert page.text.count("<script") == 1
    script = page.text.partition('<script src="')[2].partition('"')[0]
    assert "EventSource" in (await browser.get(script)).expect(200).text


@pytest.mark.usefixtures("alice")
async def test_where_others_read_along_nothing_is_taken(browser: Browser) -> None:
    browser.headers = {"Host": "registry.example.com"}
    browser.origin = "http://registry.example.com"
    shown = (await browser.get("/-/sign-in")).expect(403)
    assert "needs TLS" in shown.words
    shown = await browser.post("/-/sign-in", name="alice", password=PASSWORD)
    assert not shown.expect(403).set_cookies


@pytest.mark.usefixtures("alice")
async def test_making_secrets_asks_who_it_is_once_more(browser: Browser, registry: Running) -> None:
    await browser.sign_in("alice", PASSWORD)
    fields = {"name": "late", "allow": "pull", "repository": "*", "expires": "30d"}
    registry.parts.clock.skip(FRESH_SECONDS + 1)
    shown = (await browser.post("/-/account/tokens", **fields)).expect(403)
    assert "prove it" in shown.words
    (await browser.post("/-/account/prove", password="wrong")).expect(403)
    (await browser.post("/-/account/tokens", **fields)).expect(403)
    (await browser.post("/-/account/prove", password=PASSWORD)).expect(303)
    (await browser.post("/-/account/tokens", **fields)).expect(200)
