"""Every row of the table of pages, also those that come later: who sends its form, what it says."""

import re
from collections.abc import Iterable

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.web.browser import FORM, Browser
from tests.functional.console.paths import NOT_LOOKED_AT, OF_ANYBODY, PATHS
from treescale.console.web import dispatch, rendering
from treescale.console.web.page import PageRoute, Who
from treescale.console.web.texts import TEXTS
from treescale.oci.digest import digest_of

HOSTILE = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"
SAMPLES = {
    "namespace": "alice",
    "name": "alice/app",
    "tag": "1",
    "digest": str(digest_of(b"nothing")),
}
QUERIES = ("", f"q={HOSTILE}", f"after={HOSTILE}&sort={HOSTILE}", f"done={HOSTILE}&next=//evil")


def path_of(row: PageRoute, other: str = "x") -> str:
    """Return a path that the row answers."""
    return re.sub(r"\{([a-z_]+)\}", lambda found: SAMPLES.get(found[1], other), row.path)


def rows_of(registry: Running, method: str) -> Iterable[tuple[PageRoute, str]]:
    """Yield the rows, each with a path that it answers, and no row before it."""
    for row in registry.pages:
        if row.method == method:
            path = path_of(row)
            first = next(
                one
                for one in registry.pages
                if one.method == method and one.match(path) is not None
            )
            assert first is row, f"{row.path} is hidden by {first.path}"
            yield row, path


@pytest.fixture
async def signed_in(browser: Browser, alice: Client, root: Client) -> Browser:
    """An administrator, for whom every page is, beside a repository of alice's."""
    await alice.repository("alice/app").push_image("1", b"a layer")
    await browser.sign_in(root.user, PASSWORD)
    return browser


async def test_no_form_of_another_site_is_taken(signed_in: Browser, registry: Running) -> None:
    right, count = signed_in.form_token, 0
    for row, path in rows_of(registry, "POST"):
        count += 1
        for origin in ("https://evil.example", "null", "http://127.0.0.1", "http://localhost:1"):
            signed_in.origin = origin
            shown = (await signed_in.post(path)).expect(403)
            assert "did not come from a page of" in shown.words, row
        signed_in.origin = None
        if row.who is Who.ANYBODY:
            continue
        for wrong in ("", "A" * 43, right[:-1], right + "A", right.swapcase()):
            shown = (await signed_in.post(path, form=wrong)).expect(403)
            assert TEXTS["form_stale"] in shown.words, row
    assert count > 9


async def test_without_the_check_each_form_would_be_taken(
    signed_in: Browser, registry: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_check_form", lambda *_: None)
    for row, path in rows_of(registry, "POST"):
        shown = await signed_in.post(path, form="")
        assert TEXTS["form_stale"] not in shown.words, row
        await signed_in.sign_in("root", PASSWORD)


async def test_an_empty_form_is_no_failure_of_ours(signed_in: Browser, registry: Running) -> None:
    for _, path in rows_of(registry, "POST"):
        shown = await signed_in.post(path)
        assert shown.status < 500, shown.text
        await signed_in.sign_in("root", PASSWORD)


async def test_who_is_not_meant_sees_nothing(
    browser: Browser, other: Browser, alice: Client, registry: Running
) -> None:
    await other.sign_in(alice.user, PASSWORD)
    for row, path in [*rows_of(registry, "GET"), *rows_of(registry, "POST")]:
        for_all = row.who is Who.ANYBODY
        if row.method == "GET" and not for_all:
            assert (await browser.get(path)).expect(303).location.startswith("/-/sign-in?next=/")
        if row.method == "POST" and not for_all:
            assert "Your session has ended" in (await browser.post(path)).expect(401).words
        if row.who is Who.ADMINISTRATOR:
            shown = await (other.get(path) if row.method == "GET" else other.post(path))
            assert TEXTS["for_administrators_alone"] in shown.expect(403).words


async def test_every_page_keeps_hostile_text_and_other_sites_out(
    signed_in: Browser, registry: Running
) -> None:
    for row, _ in rows_of(registry, "GET"):
        for other, query in [("x", one) for one in QUERIES] + [(HOSTILE, "")]:
            path = f"{path_of(row, other)}?{query}"
            head = await signed_in.ask("HEAD", path, {}, b"")
            assert head.status < 500, path
            policy = head.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert head.headers["Cache-Control"] == "no-store"
            assert head.headers["X-Frame-Options"] == "DENY"
            assert head.headers["X-Content-Type-Options"] == "nosniff"
            assert not head.location.startswith(("//", "http"))
            if not head.headers.get("Content-Type", "").startswith("text/html"):
                continue  # what is live never ends
            shown = await signed_in.get(path)
            assert "<script>alert" not in shown.text, path
            assert shown.text.count("<script") == 1, path
            assert not re.search(r"<[^>]+\s(?:on[a-z]+|style)=", shown.text), path


def test_the_policy_has_no_exception() -> None:
    rows = [row.split() for row in rendering.POLICY.split(";")]
    assert {name for name, *_ in rows} >= {"default-src", "script-src", "form-action", "base-uri"}
    for name, *sources in rows:
        assert len(sources) == 1, name
        assert sources[0] in ("'none'", "'self'"), name
    assert dict(rows)["default-src"] == dict(rows)["frame-ancestors"] == "'none'"


async def test_what_is_no_form_is_refused(signed_in: Browser, registry: Running) -> None:
    right = f"form={signed_in.form_token}"
    for kind, body, status in (
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"", 415),
        ("text/plain", right.encode(), 415),
        (FORM, f"{right}&a=1&a=2".encode(), 400),
        (FORM, f"{right}&form=".encode(), 400),
        (FORM, f"{right}&a=%ff".encode(), 400),
        (FORM, f"{right}&a=".encode() + "é".encode(), 400),
        (
            FORM,
            (right + "".join(f"&a{number}=" for number in range(dispatch.FIELDS_MAX))).encode(),
            400,
        ),
        (FORM, f"{right}&a={'a' * 17_000}".encode(), 413),
    ):
        headers = {"Content-Type": kind, "Origin": signed_in.url}
        (await signed_in.ask("POST", "/-/account/tokens", headers, body)).expect(status)
    assert registry.url


def test_each_page_is_looked_at_in_a_browser(registry: Running) -> None:
    paths = [
        path.partition("?")[0] for paths in (OF_ANYBODY, *PATHS.values()) for path in paths.values()
    ]
    pages = [
        row for row in registry.pages if row.method == "GET" and not row.path.endswith("/live")
    ]
    looked_at = {next(row.path for row in pages if row.match(path) is not None) for path in paths}
    assert looked_at.isdisjoint(NOT_LOOKED_AT)
    assert looked_at | {*NOT_LOOKED_AT} == {row.path for row in pages}
