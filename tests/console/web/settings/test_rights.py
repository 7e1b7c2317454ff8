"""Who opens which page of settings, and that a form without its token is taken from nobody."""

import pytest

from tests.api.running import PASSWORD, Running
from tests.console.web.browser import Browser
from tests.console.web.settings.conftest import At
from treescale.console.web import dispatch
from treescale.console.web.rendering import Renderer
from treescale.console.web.settings import hooks

MAINTAINED = (
    "/acme/app/-/settings",
    "/acme/app/-/hooks",
    "/acme/app/-/rules/plan",
    "/acme/-/settings",
    "/acme/-/robots",
    "/acme/-/hooks",
    "/acme/-/rules/plan",
)
SEEN = ("/acme/app/-/rules", "/acme/-/rules", "/acme/-/members")
ADMINISTRATORS = ("/-/organisations/new", "/-/invite")
FORMS = (
    ("/acme/app/-/settings/description", {"description": "x"}),
    ("/acme/app/-/settings/visibility", {"visibility": "public"}),
    ("/acme/app/-/settings/read-only", {"read_only": "on"}),
    ("/acme/app/-/settings/move", {"new": "acme/else"}),
    ("/acme/-/settings/description", {"description": "x"}),
    ("/acme/-/settings/visibility", {"visibility": "public"}),
    ("/acme/-/settings/read-only", {"read_only": "on"}),
    ("/acme/-/settings/remove", {"name": "acme"}),
    ("/acme/-/members", {"user": "bob", "role": "owner", "repository": "*"}),
    ("/acme/-/members/revoke", {"user": "reader"}),
    ("/acme/-/robots", {"name": "ci", "allow": "pull", "repository": "*", "expires": "none"}),
    ("/acme/-/hooks", {"url": "https://example.com", "format": "harbor"}),
    ("/acme/app/-/rules", {"kind": "immutable", "tags": "v*"}),
    ("/acme/-/rules", {"kind": "immutable", "tags": "v*"}),
    ("/-/organisations/new", {"name": "theirs", "owner": "alice"}),
    ("/-/invite", {"name": "dora"}),
)


async def test_each_opens_what_their_role_lets_them(at: At, browser: Browser) -> None:
    for who, maintained in (
        ("alice", 200),
        ("maintainer", 200),
        ("root", 200),
        ("writer", 403),
        ("reader", 403),
        ("bob", 404),
    ):
        there = await at(who)
        for path in MAINTAINED:
            shown = await there.get(path)
            assert shown.status == maintained, (who, path, shown.words[:500])
        for path in SEEN:
            shown = await there.get(path)
            assert shown.status == (404 if who == "bob" else 200), (who, path, shown.words[:500])
        for path in ADMINISTRATORS:
            assert (await there.get(path)).status == (200 if who == "root" else 403), (who, path)
    for path in (*MAINTAINED, *SEEN, *ADMINISTRATORS):
        assert (await browser.get(path)).expect(303).location == f"/-/sign-in?next={path}"


async def test_what_is_not_there_is_told_like_what_one_may_not_see(at: At) -> None:
    bob = await at("bob")
    for path in (*MAINTAINED, *SEEN):
        absent = await bob.get(path.replace("acme", "none"))
        there = await bob.get(path)
        assert there.words.replace("acme", "none") == absent.expect(404).words
    for path in ("/acme/%3Cscript%3E/-/settings", "/ACME/-/settings", "/a..b/c/-/rules"):
        assert (await bob.get(path)).status in (400, 404)


async def test_who_may_not_changes_nothing(at: At, acme: Running) -> None:
    events = len(await acme.parts.database.event_log.after(0, 1000))
    for who in ("writer", "reader", "bob"):
        there = await at(who)
        for path, fields in FORMS:
            if fields == {"user": "reader"} and who == "reader":
                continue
            assert (await there.post(path, **fields)).status in (403, 404), (who, path)
    found = await acme.parts.database.event_log.after(0, 1000)
    kinds = {one.kind for one in found[events:]}
    assert kinds <= {"login.succeeded"}, kinds


async def test_a_form_without_its_token_is_refused(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    root = await at("root")
    token, root.form_token = root.form_token, ""
    for path, fields in FORMS:
        shown = (await root.post(path, **fields)).expect(403)
        assert "earlier session" in shown.words
    shown = await root.get("/acme/app/-/settings")
    assert "Read-only" in shown.words
    assert "Pushes and deletions go on." in shown.words
    monkeypatch.setattr(dispatch, "_check_form", lambda *_: None)
    (await root.post("/acme/app/-/settings/read-only", read_only="on")).expect(303)
    root.form_token = token
    assert "This repository is read-only." in (await root.get("/acme/app/-/settings")).words


def test_every_form_of_settings_has_its_token() -> None:
    environment = Renderer()._environment
    loader = environment.loader
    assert loader is not None
    names = [name for name in loader.list_templates() if name.startswith("settings/")]
    assert len(names) > 10
    for name in names:
        text = loader.get_source(environment, name)[0]
        assert text.count('<form method="post"') == text.count("{{ hidden() }}"), name
        assert "|safe" not in text
        assert "style=" not in text


async def test_who_has_signed_in_a_while_ago_proves_it_first(at: At, acme: Running) -> None:
    alice = await at("alice")
    acme.parts.clock.skip(601)
    for path in ("/acme/-/robots", "/acme/-/hooks", "/acme/app/-/hooks"):
        shown = (await alice.get(path)).expect(200)
        assert "Before secrets are made" in shown.words
        assert f'name="next" value="{path}"' in shown.text
    fields = dict(FORMS[10][1])
    assert "a while ago" in (await alice.post("/acme/-/robots", **fields)).expect(403).words
    fields = dict(FORMS[11][1])
    assert "a while ago" in (await alice.post("/acme/-/hooks", **fields)).expect(403).words
    moved = await alice.post("/-/account/prove", password="right horse", next="/acme/-/robots")
    assert moved.status == 403
    moved = await alice.post("/-/account/prove", password=PASSWORD, next="/acme/-/robots")
    assert moved.expect(303).location == "/acme/-/robots"
    assert "Make the robot" in (await alice.get(moved.location)).words


async def test_without_the_look_at_the_session_an_old_one_makes_a_secret(
    at: At, acme: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await at("alice")
    acme.parts.clock.skip(601)
    fields = dict(FORMS[11][1])
    (await alice.post("/acme/-/hooks", **fields)).expect(403)
    monkeypatch.setattr(hooks, "check_fresh", lambda _: None)
    (await alice.post("/acme/-/hooks", **fields)).expect(200)


async def test_without_the_look_at_its_scope_a_hook_is_shown_elsewhere(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await at("alice")
    hook = {"url": "https://example.com", "format": "harbor", "secret": "a-secret"}
    moved = (await alice.post("/alice/-/hooks", **hook)).expect(303)
    elsewhere = moved.location.replace("/alice/", "/acme/", 1).partition("?")[0]
    (await alice.get(elsewhere)).expect(404)
    monkeypatch.setattr(hooks, "_hears_of", lambda *_: True)
    (await alice.get(elsewhere)).expect(200)
