"""The controls: each protection of pages, switched off, lets through what it is there for."""

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.web.browser import Browser
from tests.console.web.provider import providing
from tests.console.web.test_sign_on import BEGIN, added
from treescale.console.web import dispatch
from treescale.http.sessions.visitor import Visitors
from treescale.metadata.identity import sessions
from treescale.metadata.identity import sign_on as finishing
from treescale.metadata.identity.sessions import Sessions
from treescale.registry.people import openid

TOKEN = {"name": "theirs", "allow": "pull", "repository": "*", "expires": "30d"}


def nothing(*_: object, **__: object) -> None:
    """Check nothing."""


async def test_without_the_check_of_forms_another_site_sends_them(
    browser: Browser, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.sign_in(alice.user, PASSWORD)
    browser.form_token = ""
    (await browser.post("/-/account/tokens", **TOKEN)).expect(403)
    monkeypatch.setattr(dispatch, "_check_form", nothing)
    (await browser.post("/-/account/tokens", **TOKEN)).expect(200)


async def test_without_the_check_of_origins_another_site_signs_in(
    browser: Browser, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.origin = "https://evil.example"
    form = {"name": alice.user, "password": PASSWORD}
    (await browser.post("/-/sign-in", **form)).expect(403)
    monkeypatch.setattr(Visitors, "check_origin", nothing)
    (await browser.post("/-/sign-in", **form)).expect(303)


async def test_without_the_comparison_an_old_password_begins_a_session(
    registry: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = registry.parts.database
    before = (await database.users.get("alice")).generation
    await database.users.set_password("alice", "another", actor="alice")
    monkeypatch.setattr(sessions, "check_unchanged", nothing)
    begun = sessions.Session("s", "secret", "alice", "", "", "", 1.0, 1.0, 1.0)
    await Sessions(database.connections).add(begun, generation=before)
    assert await Sessions(database.connections).list("alice", now=2.0) != []


async def test_without_the_note_of_states_an_answer_counts_again(
    browser: Browser, registry: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with providing(registry.parts.clock.now) as corp:
        await added(registry.parts.database, corp)
        moved = await browser.get(BEGIN)
        kept, codes = dict(browser.cookies), [corp.agree(moved.location) for _ in range(3)]
        (await browser.get(codes[0])).expect(303)
        browser.cookies = dict(kept)
        (await browser.get(codes[1])).expect(403)
        monkeypatch.setattr(finishing, "use_state", nothing)
        browser.cookies = dict(kept)
        (await browser.get(codes[2])).expect(303)


async def test_without_the_check_of_the_issuer_another_provider_answers(
    browser: Browser, registry: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with providing(registry.parts.clock.now) as corp:
        await added(registry.parts.database, corp)
        moved = await browser.get(BEGIN)
        (await browser.get(corp.agree(moved.location, iss="https://evil.example"))).expect(403)
        monkeypatch.setattr(openid, "_check_issuer", nothing)
        moved = await browser.get(BEGIN)
        (await browser.get(corp.agree(moved.location, iss="https://evil.example"))).expect(303)
