"""Read-only: pushes and deletions get a clear answer in the registry's form, and pulls go on."""

import json
from typing import Final

import pytest

from tests.api.client import Answer, Client, Repository
from tests.api.running import Running
from tests.contracts.metadata_values import ACTOR
from tests.images import sha256_of
from tests.oci.documents import encoded
from treescale.http.errors import READ_ONLY_RETRY_SECONDS

LAYER: Final = bytes(range(256)) * 1000
NEW: Final = LAYER[1:]
SWITCHES: Final = {"cluster": (503, "UNAVAILABLE"), "alice": (403, "DENIED")}
APP: Final = "alice/app"


async def put(registry: Running, what: str, *, read_only: bool) -> None:
    switches = registry.parts.database.read_only
    if what == "cluster":
        await switches.set_cluster(read_only=read_only, actor=ACTOR)
    elif "/" in what:
        await switches.set_repository(what, read_only=read_only, actor=ACTOR)
    else:
        await switches.set_namespace(what, read_only=read_only, actor=ACTOR)


async def changes(app: Repository, place: str, document: dict[str, object]) -> dict[str, Answer]:
    """Try all that changes what a repository holds."""
    digest, new = sha256_of(encoded(document)), sha256_of(NEW)
    mount = f"blobs/uploads/?mount={sha256_of(LAYER)}&from={app.name}"
    return {
        "begin": await app.request("POST", "blobs/uploads/"),
        "whole": await app.request("POST", f"blobs/uploads/?digest={new}", data=NEW),
        "mount": await app.request("POST", mount),
        "append": await app.request("PATCH", place, data=NEW),
        "finish": await app.request("PUT", f"{place}?digest={new}", data=NEW),
        "manifest": await app.put_manifest(document, "again"),
        "tag": await app.delete("manifests/latest"),
        "image": await app.delete(f"manifests/{digest}"),
        "blob": await app.delete(f"blobs/{sha256_of(LAYER)}"),
    }


@pytest.mark.parametrize("what", ["cluster", "alice", APP])
async def test_changes_are_refused_with_the_reason_and_pulls_go_on(
    registry: Running, alice: Client, what: str
) -> None:
    app = alice.repository(APP)
    document = await app.push_image("latest", LAYER)
    place = await app.start_upload()
    await put(registry, what, read_only=True)
    status, code = SWITCHES.get(what, SWITCHES["alice"])
    for name, answer in (await changes(app, place, document)).items():
        assert (answer.status, answer.code) == (status, code), name
        assert "read-only" in answer.json["errors"][0]["message"]
        assert ("Retry-After" in answer.headers) is (what == "cluster"), name
        assert answer.headers.get("Retry-After") in {None, str(READ_ONLY_RETRY_SECONDS)}
    await registry.rooms.refused.write()
    told = await registry.parts.database.event_log.after(0, 100)
    (refused,) = [one for one in told if one.kind == "upload.refused"]
    assert (refused.actor, refused.repository) == ("alice", APP)
    assert refused.payload == {"reason": "read-only", "count": 6}, "pushes, and no deletions"
    (await app.get("manifests/latest")).expect(200)
    assert (await app.get(f"blobs/{sha256_of(LAYER)}")).expect(200).body == LAYER
    (await app.head(f"blobs/{sha256_of(LAYER)}")).expect(200)
    (await app.get("tags/list")).expect(200)
    (await app.get(place)).expect(204)
    await put(registry, what, read_only=False)
    (await app.request("PATCH", place, data=NEW)).expect(202)
    (await app.request("PUT", f"{place}?digest={sha256_of(NEW)}")).expect(201)
    (await app.put_manifest(document, "again")).expect(201)


async def test_an_upload_may_be_given_up_meanwhile(registry: Running, alice: Client) -> None:
    app = alice.repository(APP)
    place = await app.start_upload()
    await put(registry, "cluster", read_only=True)
    (await app.request("DELETE", place)).expect(204)


async def test_what_was_finished_before_is_said_to_be_there(
    registry: Running, alice: Client
) -> None:
    """A client whose 201 was lost asks again: its blob is there, and nothing is changed."""
    app = alice.repository(APP)
    place = await app.start_upload()
    final = f"{place}?digest={sha256_of(NEW)}"
    (await app.request("PUT", final, data=NEW)).expect(201)
    await put(registry, "cluster", read_only=True)
    (await app.request("PUT", final, data=NEW)).expect(201)


async def test_a_body_that_was_on_its_way_is_not_committed(
    registry: Running, alice: Client
) -> None:
    """The switch is looked at in the transaction that would make the blob, too."""
    app = alice.repository(APP)
    place = await app.start_upload()
    (await app.request("PATCH", place, data=NEW)).expect(202)
    await put(registry, "alice", read_only=True)
    (await app.request("PUT", f"{place}?digest={sha256_of(NEW)}")).expect(403, "DENIED")
    await put(registry, "alice", read_only=False)
    (await app.head(f"blobs/{sha256_of(NEW)}")).expect(404)


async def test_who_may_not_push_hears_nothing_of_it(
    registry: Running, alice: Client, bob: Client
) -> None:
    await alice.repository(APP).push_image("latest", LAYER)
    await put(registry, APP, read_only=True)
    (await bob.repository(APP).request("POST", "blobs/uploads/")).expect(401, "UNAUTHORIZED")
    (await bob.repository("bob/Wrong").request("POST", "blobs/uploads/")).expect(400)
    await registry.rooms.refused.write()
    told = await registry.parts.database.event_log.after(0, 100)
    (refused,) = [one for one in told if one.kind == "upload.refused"]
    assert (refused.actor, refused.namespace, refused.repository) == ("bob", "bob", None)
    assert refused.payload == {"reason": "name", "count": 1}


async def test_others_push_as_ever(registry: Running, alice: Client, bob: Client) -> None:
    await alice.repository(APP).push_image("latest", LAYER)
    await put(registry, APP, read_only=True)
    await alice.repository("alice/other").push_image("latest", LAYER)
    await put(registry, "alice", read_only=True)
    await bob.repository("bob/app").push_image("latest", LAYER)


async def test_the_message_says_what_ends_it(registry: Running, alice: Client) -> None:
    app = alice.repository(APP)
    await app.push_image("latest", LAYER)
    told = {}
    for what in ("cluster", "alice", APP):
        await put(registry, what, read_only=True)
        answer = await app.request("POST", "blobs/uploads/")
        told[what] = json.loads(answer.body)["errors"][0]["message"]
        await put(registry, what, read_only=False)
    assert "Try again later" in told["cluster"]
    assert "`treescale repo read-only alice off`" in told["alice"]
    assert f"`treescale repo read-only {APP} off`" in told[APP]
