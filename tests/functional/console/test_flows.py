"""What people come to the console for, done in Chromium: with a mouse, by keys, without scripts."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.functional.console.visitor import DESKTOP, WITHOUT_SCRIPTS, Look, Visitor, visiting
from tests.functional.console.world import World
from tests.functional.programs import free_port
from tests.functional.server import Account
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from tests.images import Image, Layout

ACCOUNT = "/-/account"


def token_on(visitor: Visitor, world: World, user: str) -> Account:
    """Return the login with the access token that the page shows."""
    secret = visitor.page.locator(".secret code").inner_text()
    assert secret.startswith("ts_")
    assert secret not in visitor.page.url
    world.secrets.append(secret)
    return Account(user, secret)


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


@pytest.mark.parametrize("look", [DESKTOP, WITHOUT_SCRIPTS], ids=["scripts", "without"])
def test_from_signing_in_to_bringing_back(
    world: World, chromium: Browser, busybox: Image, tmp_path: Path, look: Look
) -> None:
    """What issue 19 has somebody do who has never seen it."""
    name = "first" if look.scripts else "second"
    repository, colleague = f"acme/{name}", world.bob if look.scripts else world.carol
    with visiting(chromium, world.server, look) as visitor:
        visitor.sign_in(world.alice)
        visitor.open("/-/account")
        visitor.field("What it is for").fill(f"the laptop of {name}")
        visitor.click("Make an access token")
        login = token_on(visitor, world, world.alice.name)
        skopeo = Skopeo(world.server, login, tmp_path)
        image = Layout(tmp_path / "image").tagged(busybox, "1.0")
        skopeo.copy(image, skopeo.at(f"{repository}:1.0"))
        visitor.open("/")
        visitor.page.get_by_role("searchbox").first.fill(name)
        visitor.page.get_by_role("searchbox").first.press("Enter")
        visitor.click(repository, "link")
        visitor.click("1.0", "link")
        assert f"docker pull {world.server.address}/{repository}:1.0" in visitor.text
        share(visitor, "acme", colleague)
        with visiting(chromium, world.server, look) as other:
            other.sign_in(colleague)
            other.open("/")
            other.click(repository, "link")
            other.click("1.0", "link")
            assert f"{repository}:1.0" in other.words
            assert other.page.get_by_role("button", name="Delete").count() == 0
        delete_and_bring_back(visitor, skopeo, repository)


def share(visitor: Visitor, namespace: str, colleague: Account) -> None:
    """Give somebody a role."""
    visitor.open(f"/{namespace}")
    visitor.click("Members", "link")
    visitor.field("User name").fill(colleague.name)
    visitor.page.locator("select#role").select_option("reader")
    visitor.page.locator("section[aria-labelledby=grant] button").click()
    visitor.page.get_by_role("rowheader", name=colleague.name).wait_for()


def delete_and_bring_back(visitor: Visitor, skopeo: Skopeo, repository: str) -> None:
    """Delete the tag 1.0, see that it is gone, and undo that."""
    visitor.open(f"/{repository}")
    visitor.field("Choose 1.0").check()
    visitor.click("Delete the chosen tags")
    visitor.click("Delete 1 now")
    assert "The tags are deleted." in visitor.words
    with pytest.raises(AssertionError, match="manifest unknown"):
        skopeo.inspect(f"{repository}:1.0")
    visitor.click("Undo: restore 1.0")
    assert "It is there again." in visitor.words
    assert skopeo.inspect(f"{repository}:1.0")["Architecture"] == "amd64"


def test_a_tag_goes_and_comes_back_by_keys_alone(world: World, chromium: Browser) -> None:
    with visiting(chromium, world.server) as visitor:
        visitor.sign_in(world.alice)
        visitor.open("/")
        visitor.type_into("Search", "web")
        with visitor.page.expect_navigation():
            visitor.page.keyboard.press("Enter")
        visitor.press("acme/web")
        visitor.tab_to("Choose 1.8.0")
        visitor.page.keyboard.press("Space")
        visitor.press("Delete the chosen tags")
        visitor.press("Delete 1 now")
        assert "The tags are deleted." in visitor.words
        visitor.press("Undo: restore 1.8.0")
        assert "It is there again." in visitor.words
        visitor.press("1.8.0")
        assert "acme/web:1.8.0" in visitor.words
        visitor.tab_to("Copy")
        visitor.page.keyboard.press("Enter")
        visitor.page.get_by_role("button", name="Copied").wait_for()
        copied = visitor.page.evaluate("() => navigator.clipboard.readText()")
        assert copied == f"docker pull {world.server.address}/acme/web:1.8.0"


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
