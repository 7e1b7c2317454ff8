"""Deleting: what goes is said first, it comes back, and nobody does it who may not."""

import html
import re

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.web.browser import Browser
from tests.console.web.content.pushed import Pushed
from tests.console.web.content.test_repository import tags_of
from tests.contracts.metadata_values import ACTOR
from treescale.oci import pages

APP = "/alice/app"
TWO = {"tag.1.9": "1", "tag.1.10": "1"}


@pytest.mark.usefixtures("pushed")
async def test_tags_go_and_come_back(signed_in: Browser) -> None:
    asked = (await signed_in.post(f"{APP}/-/tags/delete", **TWO)).expect(200)
    assert "Delete these tags?" in asked.words
    assert "1.9" in tags_of((await signed_in.get(APP)).text)
    moved = (await signed_in.post(f"{APP}/-/tags/delete", sure="1", **TWO)).expect(303)
    page = (await signed_in.get(moved.location)).expect(200)
    assert "The tags are deleted." in page.words
    assert tags_of(page.text) == ["latest", "2.0", "chart"]
    undone = re.findall(r'name="(tag\.1\.\d+)" value="1">', page.text)
    assert sorted(undone) == sorted(TWO)
    listed = (await signed_in.get(f"{APP}/-/deleted")).expect(200)
    assert "1.10" in listed.words
    back = (await signed_in.post(f"{APP}/-/restore", **TWO)).expect(303)
    page = (await signed_in.get(back.location)).expect(200)
    assert tags_of(page.text) == ["latest", "2.0", "1.10", "1.9", "chart"]
    none = (await signed_in.post(f"{APP}/-/tags/delete")).expect(303)
    assert "No tag was chosen." in (await signed_in.get(none.location)).words


async def test_an_image_goes_with_its_tags_and_comes_back(
    signed_in: Browser, pushed: Pushed
) -> None:
    form = {"digest": pushed.index}
    asked = (await signed_in.post(f"{APP}/-/images/delete", **form)).expect(200)
    assert "latest" in asked.words
    moved = (await signed_in.post(f"{APP}/-/images/delete", sure="1", **form)).expect(303)
    assert "2.0" in (await signed_in.get(moved.location)).expect(200).words
    (await signed_in.get(f"{APP}:2.0")).expect(404)
    (await signed_in.post(f"{APP}/-/restore", **form)).expect(303)
    page = (await signed_in.get(f"{APP}:2.0")).expect(200)
    assert "signed" in page.words
    (await signed_in.post(f"{APP}/-/restore", digest="sha256:none")).expect(400)
    (await signed_in.post(f"{APP}/-/images/delete", digest="none")).expect(400)


async def test_a_tag_goes_back_to_what_it_was(signed_in: Browser, alice: Client) -> None:
    repository = alice.repository("alice/app")
    await repository.push_image("1", b"the first")
    before = (await repository.head("manifests/1")).headers["Docker-Content-Digest"]
    await repository.push_image("1", b"the second")
    page = (await signed_in.get(f"{APP}:1")).expect(200)
    assert "What 1 pointed at" in page.words
    assert before[7:19] in page.words
    moved = await signed_in.post(f"{APP}/-/tags/move", tag="1", digest=before)
    assert moved.expect(303).location == "/alice/app:1?done=content_tag_moved"
    assert (await repository.head("manifests/1")).headers["Docker-Content-Digest"] == before
    assert "pointed here, nothing pushed" in (await signed_in.get(f"{APP}:1")).expect(200).words
    for tag, digest in (("", before), ("1", "none"), ("1", "sha256:" + "0" * 64)):
        answer = await signed_in.post(f"{APP}/-/tags/move", tag=tag, digest=digest)
        assert answer.status in (400, 404), (tag, digest)


@pytest.mark.usefixtures("pushed")
async def test_a_repository_goes_and_comes_back(signed_in: Browser) -> None:
    page = (await signed_in.get(f"{APP}/-/delete")).expect(200)
    assert "Pulls of it fail" in page.words
    wrong = (await signed_in.post(f"{APP}/-/delete", name="alice/ap")).expect(400)
    assert "Type the name" in wrong.words
    moved = (await signed_in.post(f"{APP}/-/delete", name="alice/app")).expect(303)
    page = (await signed_in.get(moved.location)).expect(200)
    assert "Undo: restore alice/app" in page.words
    (await signed_in.get(APP)).expect(404)
    assert "alice/app" in (await signed_in.get("/alice/-/deleted")).expect(200).words
    back = (await signed_in.post("/alice/-/restore", name="alice/app")).expect(303)
    assert "2.0" in (await signed_in.get(back.location)).expect(200).words
    (await signed_in.post("/alice/-/restore", name="alice/app")).expect(409)
    (await signed_in.post("/alice/-/restore", name="bob/app")).expect(400)


@pytest.mark.parametrize("role", ["", "reader", "writer"])
async def test_who_may_not_delete_does_not(
    registry: Running, browser: Browser, bob: Client, pushed: Pushed, role: str
) -> None:
    organisations = registry.parts.database.organisations
    if role:
        await organisations.grant("alice", "bob", role=role, repository="*", actor=ACTOR)
    await browser.sign_in("bob", bob.password)
    refused = 403 if role else 404
    for path, form in (
        ("tags/delete", TWO),
        ("tags/delete", TWO | {"sure": "1"}),
        ("images/delete", {"digest": pushed.index}),
        ("images/delete", {"digest": pushed.index, "sure": "1"}),
        ("delete", {"name": "alice/app"}),
        ("restore", TWO),
    ):
        assert (await browser.post(f"{APP}/-/{path}", **form)).status == refused, path
    (await browser.get(f"{APP}/-/delete")).expect(refused)
    (await browser.get(f"{APP}/-/deleted")).expect(refused)
    moved = await browser.post(f"{APP}/-/tags/move", tag="1.9", digest=pushed.hostile)
    assert moved.status == (303 if role == "writer" else refused)


@pytest.mark.usefixtures("pushed")
async def test_a_maintainer_deletes(registry: Running, browser: Browser, bob: Client) -> None:
    await registry.parts.database.organisations.grant(
        "alice", "bob", role="maintainer", repository="*", actor=ACTOR
    )
    await browser.sign_in("bob", bob.password)
    assert 'type="checkbox"' in (await browser.get(APP)).text
    (await browser.post(f"{APP}/-/tags/delete", sure="1", **TWO)).expect(303)
    assert "1.9" in (await browser.get("/alice/-/deleted")).expect(200).words


@pytest.mark.usefixtures("pushed")
async def test_a_form_of_nobody_deletes_nothing(signed_in: Browser) -> None:
    for path in ("tags/delete", "images/delete", "delete", "restore", "tags/move"):
        (await signed_in.post(f"{APP}/-/{path}", form="x", sure="1", **TWO)).expect(403)
    signed_in.origin = "https://elsewhere.example"
    (await signed_in.post(f"{APP}/-/tags/delete", sure="1", **TWO)).expect(403)
    signed_in.cookies.clear()
    signed_in.origin = None
    (await signed_in.post(f"{APP}/-/tags/delete", sure="1", **TWO)).expect(401)
    assert (await signed_in.get(f"{APP}/-/deleted")).expect(303).location.startswith("/-/sign-in")


async def test_who_maintains_one_repository_brings_back_what_went_there(
    browser: Browser, alice: Client, bob: Client
) -> None:
    for name in ("app", "other"):
        await alice.repository(f"alice/{name}").push_image("1", b"layer")
    role = {"role": "maintainer", "repository": "alice/app"}
    (await ask(alice, "PUT", "/organisations/alice/members/bob", role)).expect(200)
    (await ask(alice, "DELETE", "/repositories/alice/other/tags/1")).expect(200)
    await browser.sign_in("bob", bob.password)
    page = (await browser.get(f"{APP}:1")).expect(200)
    form = {"digest": page.field("digest")}
    gone = (await browser.post(f"{APP}/-/images/delete", sure="1", **form)).expect(303)
    page = (await browser.get(gone.location)).expect(200)
    assert "Restore" in page.words
    assert "other" not in page.words
    (await browser.post(f"{APP}/-/restore", **{"tag.1": "1"})).expect(303)
    (await browser.get(f"{APP}:1")).expect(200)
    listed = await ask(bob, "GET", "/deleted?repository=alice/other")
    assert "no repository alice/other that you may see" in listed.expect(404).json["detail"]
    (await ask(bob, "GET", "/deleted?repository=alice/app&namespace=alice")).expect(400)
    (await ask(alice, "PUT", "/organisations/alice/members/bob", role | {"role": "writer"}))
    (await ask(bob, "GET", "/deleted?repository=alice/app")).expect(403)


async def test_what_was_deleted_has_pages(
    signed_in: Browser, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE_ENTRIES_MAX", 2)
    app = alice.repository("alice/app")
    for tag in ("1", "2", "3", "4", "5"):
        await app.push_image(tag, b"layer")
        (await ask(alice, "DELETE", f"/repositories/alice/app/tags/{tag}")).expect(200)
    for first in (f"{APP}/-/deleted", "/alice/-/deleted"):
        path, found = first, set[str]()
        while path:
            page = (await signed_in.get(path)).expect(200)
            found |= {*re.findall(r'name="tag(?:\.|" value=")(\d)"', page.text)}
            further = re.search(r'rel="next" href="([^"]+)"', page.text)
            path = "" if further is None else html.unescape(further[1])
        assert len(found) == 5, found
