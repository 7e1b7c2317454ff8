"""People of a real server: an invitation, a sign-on by a provider, what a suspension ends."""

import html
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.console.web.browser import FORM, Browser, Shown
from tests.functional.programs import Program, free_port, wait_until
from tests.functional.server import Account, Options, Server
from tests.functional.skopeo import Skopeo
from tests.functional.wire import Wire
from treescale.server.network.machine import address_for_others

FELT_SECONDS_MAX: Final = 60
PASSWORD: Final = "chosen by herself"
DORA: Final = {
    "sub": "dora-1",
    "preferred_username": "dora",
    "email": "dora@corp.example",
    "email_verified": True,
    "groups": ["developers"],
}


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Follows nothing."""

    def redirect_request(self, *_: object) -> None:
        return None


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run oidc-provider-mock at an address that is not the loopback; return its URL."""
    host, port = address_for_others(), free_port()
    assert host is not None, "the machine needs a network"
    words = (sys.executable, "-m", "oidc_provider_mock", "--host", host, "--port", str(port))
    log = tmp_path_factory.mktemp("provider") / "log"
    program = Program(*words, "--user-claims", json.dumps(DORA), log=log)
    url = f"http://{host}:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/jwks", timeout=2):  # noqa: S310  http alone
                return True
        except OSError:
            return False

    program.start_until("the provider answers", answers, seconds=30)
    yield url
    program.kill()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two workers that knows where its clients reach it, and has a team."""
    port = free_port()
    variables = (("TREESCALE_PUBLIC_URL", f"http://127.0.0.1:{port}"),)
    options = Options(port=port, variables=variables, workers=2)
    server = Server(tmp_path_factory.mktemp("people"), options).start()
    server.add_user("alice")
    server._administer("org", "add", "acme", "--owner", "alice")
    yield server
    assert server.stop() == 0


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def agree(location: str) -> str:
    """Log in at the provider; return the path that it sends the browser back to."""
    data = urllib.parse.urlencode({"sub": DORA["sub"]}).encode()
    request = urllib.request.Request(location, data, {"Content-Type": FORM})  # noqa: S310
    try:
        urllib.request.build_opener(Unmoved).open(request, timeout=10)
    except urllib.error.HTTPError as moved:
        back = urllib.parse.urlsplit(str(moved.headers["Location"]))
        moved.close()
        return f"{back.path}?{back.query}"
    raise AssertionError("the provider sends nobody back")


async def sign_on(browser: Browser) -> Shown:
    moved = (await browser.get("/-/sign-on/corp?next=/-/account")).expect(303)
    return await browser.get(agree(moved.location))


async def make_token(browser: Browser, user: str, allow: str = "pull,push") -> Account:
    """Make an access token on the account's page."""
    shown = await browser.post(
        "/-/account/tokens", name="laptop", allow=allow, repository="*", expires="30d"
    )
    found = re.search(r"ts_[A-Za-z0-9_-]+", html.unescape(shown.expect(200).text))
    assert found is not None
    return Account(user, found[0])


async def test_who_was_invited_works_until_suspended(
    registry: Server, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    made = registry.admin("user", "invite", "carol", "--role", "acme:writer").strip()
    origin, _, path = made.partition("/-/")
    browser = Browser(session, origin)
    (await browser.post(f"/-/{path}", new=PASSWORD, again=PASSWORD)).expect(303)
    await browser.sign_in("carol", PASSWORD)
    for _ in range(6):
        assert "acme writer" in (await browser.get("/-/account")).expect(200).words
    account = await make_token(browser, "carol")
    Skopeo(registry, account, tmp_path)  # logs in
    wire = Wire(registry, account)
    wire.push_blob("acme/app", b"a layer of carol's")
    bearer = [*wire._tokens.values()][-1]
    registry.admin("user", "suspend", "carol")

    def is_shut_out() -> bool:
        statuses = {
            wire._send("GET", "/v2/acme/app/tags/list", None, {}, bearer).status for _ in range(6)
        }
        basic = {
            Wire(registry, each).with_basic("GET", "/token").status
            for each in (account, Account("carol", PASSWORD))
        }
        return statuses | basic == {401}

    wait_until("nothing of hers counts", is_shut_out, seconds=FELT_SECONDS_MAX, every=0.3)
    for _ in range(4):
        (await browser.get("/-/account")).expect(303)
    code, said = registry.outcome("user", "suspend", "admin")
    assert (code, "with a password" in said) == (1, True)


async def test_who_comes_by_a_provider_has_its_groups_roles(
    registry: Server, provider: str, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    place = provider.removeprefix("http://")
    registry.admin("cluster", "set", f"issuer-networks={place}")
    words = ("sign-on", "add", "corp", "--issuer", provider, "--client-id", "registry")
    more = ("--domain", "corp.example", "--group", "developers=acme:writer")
    told = registry.admin(*words, "--client-secret-stdin", *more, text_in="a secret\n")
    assert "/-/sign-on/corp/callback" in told
    browser = Browser(session, f"http://{registry.address}")
    (await sign_on(browser)).expect(303)
    page = await browser.learn()
    assert "Signed in as dora" in page.words
    assert "acme writer" in page.words
    account = await make_token(browser, "dora")
    Skopeo(registry, account, tmp_path)  # logs in
    Wire(registry, account).push_blob("acme/app", b"a layer of dora's")
    registry.admin("cluster", "set", "passwords=off")
    wait_until(
        "alice's password counts no more",
        lambda: (
            Wire(registry, Account("alice", "password of alice")).with_basic("GET", "/token").status
            == 401
        ),
        seconds=FELT_SECONDS_MAX,
        every=0.3,
    )
    assert Wire(registry, registry.admin_account).with_basic("GET", "/token").status == 200
    assert Wire(registry, account).with_basic("GET", "/token").status == 200
    registry.admin("cluster", "set", "passwords=on")
    registry.admin("sign-on", "remove", "corp", "--yes")
    (await browser.get("/-/account")).expect(303)
    assert Wire(registry, account).with_basic("GET", "/token").status == 200
    log = registry.log.read_text()
    assert account.password not in log
