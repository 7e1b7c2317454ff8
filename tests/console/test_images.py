"""What repositories hold by the API: for who may, and for nobody else there at all."""

from urllib.parse import quote

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.database import Database

APP = "/repositories/alice%2Fapp"


@pytest.fixture
async def filled(registry: Running, alice: Client) -> Database:
    """Two tags of alice's; bob reads."""
    for tag, layer in (("v1", b"one"), ("v2", b"two")):
        await alice.repository("alice/app").push_image(tag, layer)
    database = registry.parts.database
    await database.organisations.grant("alice", "bob", role="reader", repository="*", actor=ACTOR)
    return database


@pytest.mark.usefixtures("filled")
async def test_tags_are_listed_for_who_may_pull(alice: Client, bob: Client, root: Client) -> None:
    first = (await ask(bob, "GET", f"{APP}/tags?n=1")).expect(200).json
    assert [one["tag"] for one in first["tags"]] == ["v1"]
    assert first["tags"][0]["pushed_by"] == "alice"
    second = (await ask(bob, "GET", f"/repositories/alice/app/tags?after={first['next']}")).json
    assert [one["tag"] for one in second["tags"]] == ["v2"]
    assert second["next"] is None
    digest = first["tags"][0]["digest"]
    one = (await ask(alice, "GET", f"{APP}/manifests/{digest}")).expect(200).json
    assert (one["digest"], one["tags"]) == (digest, ["v1"])
    hidden = problem(await ask(root, "GET", f"{APP}/tags"), 404, "unknown")
    absent = problem(await ask(root, "GET", "/repositories/alice%2Fnone/tags"), 404, "unknown")
    assert hidden["detail"].replace("app", "none") == absent["detail"]


@pytest.mark.usefixtures("filled")
async def test_who_may_delete_deletes_and_restores(
    alice: Client, bob: Client, root: Client
) -> None:
    digest = (await ask(alice, "GET", f"{APP}/tags")).json["tags"][0]["digest"]
    for path in (f"{APP}/tags/v1", f"{APP}/manifests/{quote(digest)}", APP):
        problem(await ask(bob, "DELETE", path), 403, "forbidden")
        problem(await ask(root, "DELETE", path), 404, "unknown")
    assert (await ask(alice, "DELETE", f"{APP}/tags/v1")).expect(200).json["tag"] == "v1"
    problem(await ask(alice, "DELETE", f"{APP}/tags/v1"), 404, "unknown")
    back = {"name": "alice/app", "tag": "v1"}
    problem(await ask(bob, "POST", "/restorations", back), 403, "forbidden")
    restored = (await ask(alice, "POST", "/restorations", back)).expect(200).json
    assert restored == {"restored": "alice/app:v1", "missing": []}
    gone = (await ask(alice, "DELETE", f"{APP}/manifests/{digest}")).expect(200).json
    assert gone["tags"] == ["v1"]
    listed = (await ask(alice, "GET", "/deleted?namespace=alice")).expect(200).json["deleted"]
    assert [(one["tag"], one["digest"]) for one in listed] == [("v1", digest)]
    problem(await ask(bob, "GET", "/deleted?namespace=alice"), 403, "forbidden")
    problem(await ask(bob, "GET", "/deleted?namespace=none"), 404, "unknown")
    problem(await ask(bob, "GET", "/deleted"), 403, "forbidden")
    assert (await ask(root, "GET", "/deleted")).expect(200).json["deleted"] == listed
    problem(await ask(root, "GET", "/deleted?after=x"), 400, "page")
    again = {"name": "alice/app", "digest": digest}
    (await ask(alice, "POST", "/restorations", again)).expect(200)
    (await ask(alice, "DELETE", APP)).expect(200)
    elsewhere = {"name": "alice/app", "as": "bob/app"}
    problem(await ask(alice, "POST", "/restorations", elsewhere), 403, "forbidden")
    (await ask(alice, "POST", "/restorations", {"name": "alice/app", "as": "alice/old"})).expect(
        200
    )
    tags = (await ask(alice, "GET", "/repositories/alice%2Fold/tags")).expect(200).json["tags"]
    assert [one["tag"] for one in tags] == ["v1", "v2"]


@pytest.mark.usefixtures("filled")
async def test_where_it_lies_is_for_administrators(alice: Client, root: Client) -> None:
    report = (await ask(root, "GET", f"{APP}/report?tag=v1")).expect(200).json
    assert report["summary"]["tags"] == 2
    assert [one["tag"] for one in report["contents"]["tag_list"]] == ["v1"]
    problem(await ask(alice, "GET", f"{APP}/report"), 403, "forbidden")
    problem(await ask(root, "GET", f"{APP}/report?tag=none"), 404, "unknown")


async def test_an_owner_makes_an_empty_repository_open(alice: Client, bob: Client) -> None:
    path, body = "/visibility/alice%2Fnew", {"visibility": "public"}
    problem(await ask(alice, "PUT", path, body), 404, "unknown")
    (await ask(alice, "PUT", f"{path}?create=1", body)).expect(200)
    problem(await ask(bob, "PUT", "/visibility/alice%2Fmore?create=1", body), 404, "unknown")
    assert (await ask(bob, "GET", "/repositories/alice%2Fnew")).expect(200).json["public"]
