"""What is compressed: what is loaded, always; a page, unless another site had it asked for."""

import gzip

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD
from tests.console.web.browser import Browser
from treescale.console.web import dispatch

PAGE = "/-/account"
FIRST_PAGE_BYTES_MAX = 100_000


@pytest.fixture
async def signed_in(browser: Browser, alice: Client) -> Browser:
    await browser.sign_in(alice.user, PASSWORD)
    browser.headers = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    return browser


async def is_compressed(browser: Browser, asked_by: str) -> bool:
    headers = {"Sec-Fetch-Site": asked_by} if asked_by else {}
    shown = (await browser.ask("GET", PAGE, headers, b"")).expect(200)
    assert "Signed in as alice" in shown.words
    return shown.headers.get("Content-Encoding") == "gzip"


async def test_what_another_site_had_asked_for_is_not(signed_in: Browser) -> None:
    for asked_by in ("same-origin", "none"):
        assert await is_compressed(signed_in, asked_by)
    for asked_by in ("cross-site", "same-site", "", "none, same-origin"):
        assert not await is_compressed(signed_in, asked_by)
    signed_in.headers = {"Accept-Encoding": "br, gzip;q=0"}
    assert not await is_compressed(signed_in, "none")


async def test_without_that_its_length_would_tell_of_secrets(
    signed_in: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "BY_NO_OTHER_SITE", ("same-origin", "none", "cross-site"))
    assert await is_compressed(signed_in, "cross-site")


async def test_the_first_page_is_small(signed_in: Browser) -> None:
    signed_in.cookies.clear()
    page = await signed_in.ask("GET", "/-/sign-in", {"Sec-Fetch-Site": "none"}, b"")
    loaded = [part.partition('"')[0] for part in page.text.split('="/-/static/')[1:]]
    assert len(loaded) == 3  # icon, sheet, script
    size = int(page.headers["Content-Length"])
    for name in loaded:
        one = (await signed_in.get(f"/-/static/{name}")).expect(200)
        assert one.headers["Content-Encoding"] == "gzip"
        assert one.headers["Vary"] == "Accept-Encoding"
        size += int(one.headers["Content-Length"])
        plain = await signed_in.ask("GET", f"/-/static/{name}", {"Accept-Encoding": "br"}, b"")
        assert "Content-Encoding" not in plain.headers
        assert plain.text == one.text
    assert size < FIRST_PAGE_BYTES_MAX


async def test_a_head_says_the_length_that_comes(signed_in: Browser) -> None:
    asked = {"Sec-Fetch-Site": "none"}
    head = await signed_in.ask("HEAD", PAGE, asked, b"")
    page = await signed_in.ask("GET", PAGE, asked, b"")
    assert head.headers["Content-Length"] == page.headers["Content-Length"]
    assert int(page.headers["Content-Length"]) < len(gzip.compress(page.text.encode(), 1)) + 40
