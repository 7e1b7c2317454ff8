"""No list names what the caller may not see, not even as where its next page begins."""

import json

import pytest

from tests.api.client import Client
from tests.console.asked import ask
from tests.console.test_api import LAYER
from tests.tables import each_row
from treescale.metadata.shown import repository_pages

HIDDEN = ("app", "secret-a", "secret-b", "zz-secret")
SEEN = ("web", "web-2", "web-secret")


@pytest.fixture
async def bob_reads_some(root: Client, alice: Client, bob: Client) -> Client:
    """Have bob read some of the repositories of acme, which alice owns."""
    (await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})).expect(200)
    for name in (*HIDDEN, *SEEN):
        await alice.repository(f"acme/{name}").push_image("1", LAYER)
    role = {"role": "reader", "repository": "acme/web*"}
    (await ask(alice, "PUT", "/organisations/acme/members/bob", role)).expect(200)
    return bob


async def walk(who: Client, path: str, size: int) -> tuple[list[str], str]:
    """Return the names on all pages of a list, and all that was answered."""
    names: list[str] = []
    said, after = "", ""
    while True:
        page = (await ask(who, "GET", f"{path}&n={size}{after}")).expect(200)
        names += [one["name"] for one in page.json["repositories"]]
        said += page.body.decode() + page.headers.get("Link", "")
        if page.json["next"] is None:
            return names, said
        after = f"&after={page.json['next']}"


LISTS = {
    "/repositories?begin=": SEEN,
    "/repositories?begin=acme/": SEEN,
    "/search?q=acme": SEEN,
    "/search?q=secret": ("web-secret",),
    "/search?q=e": SEEN,
}


@each_row(("path", "found", "size"), [(*each, n) for each in LISTS.items() for n in (1, 2, 3, 50)])
async def test_pages_name_what_is_seen_alone(
    bob_reads_some: Client, path: str, found: tuple[str, ...], size: int
) -> None:
    names, said = await walk(bob_reads_some, path, size)
    assert names == [f"acme/{name}" for name in found]
    for name in HIDDEN:
        assert f"acme/{name}" not in said.replace("%2F", "/"), said


@each_row("scanned", [1, 2, 3])
async def test_a_search_that_stops_before_the_end_names_no_more(
    bob_reads_some: Client, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    monkeypatch.setattr(repository_pages, "SCANNED_MAX", scanned)
    names, said = await walk(bob_reads_some, "/search?q=secret", 2)
    assert names == ["acme/web-secret"]
    for name in HIDDEN:
        assert f"acme/{name}" not in said.replace("%2F", "/"), said


async def test_administrators_see_all(root: Client, bob_reads_some: Client) -> None:
    assert bob_reads_some.user
    names, _ = await walk(root, "/search?q=acme", 2)
    assert names == [f"acme/{name}" for name in sorted((*HIDDEN, *SEEN))]


@each_row("size", [1, 2, 50])
async def test_the_catalog_names_no_more(bob_reads_some: Client, size: int) -> None:
    names: list[str] = []
    last = ""
    while True:
        page = await bob_reads_some.request("GET", f"/v2/_catalog?n={size}&last={last}")
        names += page.json["repositories"]
        link = page.headers.get("Link", "").replace("%2F", "/")
        for name in HIDDEN:
            assert f"acme/{name}" not in link
        if not link:
            break
        last = names[-1]
    assert names == [f"acme/{name}" for name in SEEN]


async def test_strangers_are_told_nobodys_name(alice: Client, bob: Client, root: Client) -> None:
    await alice.repository("alice/open").push_image("1", LAYER)
    (await ask(alice, "PUT", "/visibility/alice/open", {"visibility": "public"})).expect(200)
    one = "/repositories/alice/open"
    for path in (f"{one}/tags", f"{one}/images", f"{one}/images/1"):
        strangers = (await ask(bob, "GET", path)).expect(200).json
        assert '"pushed_by": null' in json.dumps(strangers), path
        for who in (alice, root):
            known = (await ask(who, "GET", path)).expect(200).json
            assert '"pushed_by": "alice"' in json.dumps(known), path
    role = {"role": "reader"}
    (await ask(alice, "PUT", "/organisations/alice/members/bob", role)).expect(200)
    known = (await ask(bob, "GET", f"{one}/images")).expect(200).json
    assert known["images"][0]["pushed_by"] == "alice"
