"""What people come to the console for, done in Chromium: with a mouse, by keys, without scripts."""

import re

import pytest
from playwright.sync_api import Browser

from tests.functional.console.visitor import WITHOUT_SCRIPTS, Visitor, visiting
from tests.functional.console.world import World
from tests.functional.programs import free_port
from tests.functional.server import Account
from tests.functional.wire import Wire

ACCOUNT = "/-/account"


def token_on(visitor: Visitor, world: World, user: str) -> Account:
    """Return the login with the access token that the page shows."""
    found = re.search(r"\bts_[A-Za-z0-9_-]+", visitor.words)
    assert found is not None, visitor.words
    assert found[0] not in visitor.page.url
    world.secrets.append(found[0])
    return Account(user, found[0])


def test_signing_in_making_a_token_and_out_by_keys_alone(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        visitor.open("/-/sign-in?next=/-/account")
        visitor.page.keyboard.press("Tab")
        visitor.page.keyboard.press("Enter")  # skips to the content
        visitor.type_into("User name", world.alice.name)
        visitor.type_into("Password", world.alice.password)
        with visitor.page.expect_navigation():
            visitor.page.keyboard.press("Enter")
        assert visitor.page.url.endswith(ACCOUNT)
        visitor.type_into("What it is for", "by keys")
        visitor.press("Make an access token")
        login = token_on(visitor, world, world.alice.name)
        Wire(world.server, login).push_blob("alice/app", b"pushed with it")
        visitor.open(ACCOUNT)
        visitor.press("Revoke the access token by keys")
        assert "The access token is revoked." in visitor.words
        visitor.press("Sign out")
        assert "You are signed out." in visitor.words


def test_the_same_without_scripts(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server, WITHOUT_SCRIPTS) as visitor:
        visitor.sign_in(world.alice)
        visitor.open(ACCOUNT)
        visitor.field("What it is for").fill("without scripts")
        visitor.click("Make an access token")
        login = token_on(visitor, world, world.alice.name)
        Wire(world.server, login).push_blob("alice/app", b"pushed with that")
        visitor.open(ACCOUNT)
        visitor.click("Revoke the access token without scripts")
        assert "The access token is revoked." in visitor.words
        visitor.page.get_by_role("button", name="Sign out").click()
        assert "You are signed out." in visitor.words


def test_the_cookie_of_a_session_opens_pages_alone(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        visitor.sign_in(world.alice)
        (cookie,) = visitor.page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
        assert visitor.page.evaluate("() => document.cookie") == ""
        given, anybody = {"Cookie": f"{cookie['name']}={cookie['value']}"}, Wire(world.server)
        for path in ("/v2/", "/v2/acme/web/tags/list", "/peer/v1/chunks", "/peer/v1/info"):
            with_it = anybody._send("GET", path, None, given, "")
            assert with_it.status == anybody._send("GET", path, None, {}, "").status
            assert with_it.status in (401, 403, 404), path
        path = "/token?service=registry&scope=repository:acme/web:pull"
        token = anybody._send("GET", path, None, given, "").json()["token"]
        assert anybody._send("GET", "/v2/acme/web/tags/list", None, {}, token).status == 401
        world.secrets.append(cookie["value"])


FRAMED = """(address) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.src = address;
  frame.onload = () => done(0);
  document.body.append(frame);
})"""


def test_no_other_site_shows_a_page_in_a_frame(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        visitor.sign_in(world.alice)
        theirs = f"http://localhost:{free_port()}/"
        visitor.page.route(f"{theirs}**", lambda route: route.fulfill(body="theirs"))
        visitor.page.goto(theirs)
        for address, is_shown in (
            (f"{theirs}frame", True),
            (f"http://{world.server.address}/-/account", False),
        ):
            visitor.page.evaluate(FRAMED, address)
            place = visitor.page.frames[-1].evaluate("() => location.href")
            assert place.startswith("chrome-error:") is not is_shown, address
        visitor.problems.clear()


@pytest.mark.parametrize(
    "elsewhere",
    ["//evil.example", "/%09/evil.example", "/%5Cevil.example", "https:evil.example", "%0d%0a//x"],
)
def test_no_link_leads_to_another_host(world: World, chromium: Browser, elsewhere: str) -> None:
    with visiting(chromium, world.server) as visitor:
        visitor.open(f"/-/sign-in?next={elsewhere}")
        visitor.field("User name").fill(world.bob.name)
        visitor.page.get_by_label("Password", exact=True).fill(world.bob.password)
        visitor.click("Sign in")
        assert visitor.page.url.startswith(f"http://{world.server.address}/")
        assert "Signed in as bob" in visitor.words
