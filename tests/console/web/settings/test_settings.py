"""Settings of repositories and namespaces, from what they say of themselves to their removal."""

import re

from tests.api.client import Client
from tests.console.asked import ask
from tests.console.web.settings.conftest import At

APP, ACME = "/acme/app/-/settings", "/acme/-/settings"
HOSTILE = """<script>alert(1)</script> [x](javascript:alert(1)) "><img src=x onerror=alert(1)>"""


async def test_a_description_is_saved_and_shown(at: At) -> None:
    maintainer = await at("maintainer")
    for here in (APP, ACME):
        text = "# Our app\r\n\r\n*Good*: [site](https://e.example)"
        moved = (await maintainer.post(f"{here}/description", description=text)).expect(303)
        shown = await maintainer.get(moved.location)
        assert "The description is saved." in shown.words
        assert "<h3>Our app</h3>" in shown.text
        assert (
            '<a href="https://e.example" rel="nofollow noopener noreferrer">site</a>' in shown.text
        )
        assert "*Good*: [site]" in shown.words  # to be edited
        long = "\u00e9" * 12_501
        refused = (await maintainer.post(f"{here}/description", description=long)).expect(400)
        assert "at most 25,000 bytes" in refused.words
        assert long in refused.text
        (await maintainer.post(f"{here}/description", description=long[:-1])).expect(303)
        (await maintainer.post(f"{here}/description", description="")).expect(303)
        assert "described" not in (await maintainer.get(here)).text


async def test_hostile_descriptions_stay_text(at: At) -> None:
    alice = await at("alice")
    for here in (APP, ACME):
        (await alice.post(f"{here}/description", description=f"</textarea>{HOSTILE}")).expect(303)
        shown = (await alice.get(here)).expect(200)
        assert shown.text.count("<script") == 1  # ours
        assert "<img" not in shown.text
        assert 'href="javascript' not in shown.text
        assert shown.text.count("</textarea>") == 1


async def test_who_pulls_is_said_first_and_set(at: At, alice: Client) -> None:
    maintainer = await at("maintainer")
    shown = await maintainer.get(APP)
    assert "anybody pulls, without signing in" in shown.words
    assert re.search(r'value="private" checked', shown.text)
    moved = (await maintainer.post(f"{APP}/visibility", visibility="public")).expect(303)
    assert re.search(r'value="public" checked', (await maintainer.get(moved.location)).text)
    assert (await ask(alice, "GET", "/repositories/acme/app")).json["visibility"] == "public"
    refused = (await maintainer.post(f"{APP}/visibility", visibility="secret")).expect(400)
    assert "not a visibility" in refused.words
    owner = await at("alice")
    (await owner.post(f"{ACME}/visibility", visibility="internal")).expect(303)
    assert (await ask(alice, "GET", "/organisations/acme")).json["visibility"] == "internal"
    assert "Those that are there stay" not in (await maintainer.get(ACME)).words


async def test_an_administrator_makes_it_read_only(at: At) -> None:
    root, alice = await at("root"), await at("alice")
    (await alice.post(f"{APP}/read-only", read_only="on")).expect(403)
    assert "Make it read-only" not in (await alice.get(APP)).words
    for here, said in ((APP, "This repository is read-only."), (ACME, "The namespace is")):
        (await root.post(f"{here}/read-only", read_only="on")).expect(303)
        assert said in (await root.get(here)).words
        (await root.post(f"{here}/read-only", read_only="off")).expect(303)
        assert said not in (await root.get(here)).words


async def test_it_gets_another_name(at: At) -> None:
    alice = await at("alice")
    assert "whoever pulls acme/app finds nothing" in (await alice.get(APP)).words
    refused = await alice.post(f"{APP}/move", new="acme/ no")
    assert refused.status == 400
    assert 'value="acme/ no"' in refused.text
    moved = (await alice.post(f"{APP}/move", new="alice/app")).expect(303)
    assert moved.location == "/alice/app/-/settings?done=settings_moved"
    (await alice.get(moved.location)).expect(200)
    (await alice.get(APP)).expect(404)


async def test_what_it_takes_is_shown(at: At, root: Client) -> None:
    (await ask(root, "PUT", "/quotas/acme", {"quota": 1000, "tags_max": 7})).expect(200)
    alice, maintainer = await at("alice"), await at("maintainer")
    for here in (APP, ACME):
        shown = await alice.get(here)
        assert "of 1 kB are used" in shown.words
        assert "at most 7" in shown.words
        assert "<meter" in shown.text
        assert "<meter" not in (await maintainer.get(here)).text
    assert "blobs, each counted once; 1 tags." in (await alice.get(APP)).words


async def test_an_organisation_goes_when_its_name_is_typed(at: At, alice: Client) -> None:
    owner, maintainer = await at("alice"), await at("maintainer")
    assert "Type its name, acme" in (await owner.get(ACME)).words
    assert "Type its name" not in (await maintainer.get(ACME)).words
    (await maintainer.post(f"{ACME}/remove", name="acme")).expect(403)
    refused = (await owner.post(f"{ACME}/remove", name="acmee")).expect(400)
    assert "Nothing was removed" in refused.words
    moved = (await owner.post(f"{ACME}/remove", name="acme")).expect(303)
    assert moved.location == "/?done=settings_removed"
    assert (await ask(alice, "GET", "/organisations/acme")).status == 404
    own = await owner.get("/alice/-/settings")
    assert "Remove the organisation" not in own.expect(200).words
