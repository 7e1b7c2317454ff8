"""The session's cookie: how it is set, where it counts, and that nobody brings their own."""

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_network

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD
from tests.console.web.browser import Browser
from treescale.http.sessions.cookies import read_cookie

TLS = {"Host": "registry.example.com", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}


@pytest.fixture
def trusted_proxies() -> Sequence[IPv4Network]:
    """A proxy on this machine that speaks TLS."""
    network = ip_network("127.0.0.1/32")
    assert isinstance(network, IPv4Network)
    return [network]


@pytest.fixture
def by_tls(browser: Browser) -> Browser:
    """A browser that comes by the proxy."""
    browser.headers, browser.origin = TLS, "https://registry.example.com"
    return browser


async def test_over_tls_it_is_of_this_host_alone(by_tls: Browser, alice: Client) -> None:
    moved = await by_tls.post("/-/sign-in", name=alice.user, password=PASSWORD)
    (cookie,) = moved.expect(303).set_cookies
    name, _, rest = cookie.partition("=")
    assert name == "__Host-treescale"
    assert set(rest.split("; ")[1:]) == {
        "Path=/",
        "Max-Age=2592000",
        "HttpOnly",
        "SameSite=Lax",
        "Secure",
    }
    (await by_tls.get("/-/account")).expect(200)
    by_tls.cookies = {"treescale": by_tls.cookies["__Host-treescale"]}
    (await by_tls.get("/-/account")).expect(303)


async def test_no_program_is_let_in_by_it(browser: Browser, alice: Client) -> None:
    await alice.repository("alice/app").push_image("1", b"a layer")
    await browser.sign_in(alice.user, PASSWORD)
    scope = "scope=repository:alice/app:pull"
    for path in ("/v2/", "/v2/alice/app/manifests/1", "/v2/alice/app/tags/list"):
        (await browser.get(path)).expect(401)
    token = (await browser.get(f"/token?service=registry&{scope}")).text
    alice.tokens.clear()
    bearer = token.partition('"token":"')[2].partition('"')[0]
    given = {"Authorization": f"Bearer {bearer}"}
    (await alice.raw("GET", "/v2/alice/app/manifests/1", given)).expect(401)
    (await browser.get("/api/v1/repositories")).expect(403)  # without the header that a form lacks


async def test_a_session_that_was_given_is_not_taken(
    browser: Browser, other: Browser, alice: Client, bob: Client
) -> None:
    await other.sign_in(bob.user, PASSWORD)
    given = other.cookies["treescale"]
    browser.cookies["treescale"] = given
    await browser.sign_in(alice.user, PASSWORD)
    assert browser.cookies["treescale"] != given
    (await other.get("/-/account")).expect(303)  # it has ended, and was never alice's
    browser.cookies["treescale"] = "A" * 43
    (await browser.get("/-/account")).expect(303)


def test_of_two_none_is_taken() -> None:
    ours, theirs = "treescale=" + "A" * 43, "treescale=" + "B" * 43
    assert read_cookie([ours], "treescale", secure=False) == "A" * 43
    assert read_cookie([f"{theirs}; {ours}"], "treescale", secure=False) == ""
    assert read_cookie([theirs, ours], "treescale", secure=False) == ""
    assert read_cookie([ours], "treescale", secure=True) == ""
