"""Copies and moves by the API: what a pull and a push would do, and who may."""

import json

import pytest
from sqlalchemy import select

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import problem
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import OCI_CONFIG, descriptor, encoded, image, index
from treescale.metadata.database import Database
from treescale.metadata.schema import events

PUSHED = select(events).where(events.c.kind == "image.pushed").order_by(events.c.event_id)
MOVED = select(events).where(events.c.kind == "tag.moved")


@pytest.fixture
async def team(registry: Running) -> Database:
    """The organisations acme and prod: alice writes in both, bob reads acme."""
    database = registry.parts.database
    for name in ("acme", "prod"):
        await database.organisations.add(name, "alice", actor=ACTOR)
    await database.organisations.grant("acme", "bob", role="reader", repository="*", actor=ACTOR)
    return database


@pytest.mark.usefixtures("team")
async def test_an_image_with_all_that_is_said_of_it_has_another_name(
    team: Database, alice: Client
) -> None:
    """An index of two images, one of them signed; a signature of that; and one as cosign's tag."""
    acme, prod = alice.repository("acme/app"), alice.repository("prod/app")
    parts = [await acme.push_image(tag, tag.encode()) for tag in ("amd64", "arm64")]
    top = index(*(descriptor(encoded(one), one["mediaType"]) for one in parts))
    (await acme.put_manifest(top, "rc")).expect(201)
    for blob in (b"a signature", b"{}"):
        await acme.push_blob(blob)
    subject = descriptor(encoded(parts[0]), parts[0]["mediaType"])
    config = descriptor(b"{}", OCI_CONFIG)
    signature = image(descriptor(b"a signature"), config=config, subject=subject)
    (await acme.put_manifest(signature)).expect(201)
    digest = descriptor(encoded(top), top["mediaType"])["digest"]
    (await acme.put_manifest(parts[1], digest.replace(":", "-") + ".sig")).expect(201)
    done = (
        (await ask(alice, "POST", "/copies", {"source": "acme/app:rc", "target": "prod/app:1"}))
        .expect(200)
        .json
    )
    assert (done["digest"], done["previous_digest"], done["manifests"]) == (digest, None, 4)
    assert (await prod.get("manifests/1")).expect(200).body == encoded(top)
    for one in parts:
        found = descriptor(encoded(one), one["mediaType"])["digest"]
        (await prod.get(f"manifests/{found}")).expect(200)
        for layer in one["layers"]:
            (await prod.get(f"blobs/{layer['digest']}")).expect(200)
    first = descriptor(encoded(parts[0]), parts[0]["mediaType"])["digest"]
    referrers = (await prod.get(f"referrers/{first}")).expect(200).json["manifests"]
    assert len(referrers) == 1
    (await prod.get(f"manifests/{digest.replace(':', '-')}.sig")).expect(200)
    told = [
        row
        for row in await team.connections.rows(PUSHED)
        if (row.repository, row.reference) == ("prod/app", "1")
    ]
    assert [(row.actor, row.digest) for row in told] == [("alice", digest)]


@pytest.mark.usefixtures("team")
async def test_a_tag_is_moved_within_a_repository(team: Database, alice: Client) -> None:
    acme = alice.repository("acme/app")
    await acme.push_image("v1", b"one")
    await acme.push_image("v2", b"two")
    before = (await acme.head("manifests/v1")).headers["Docker-Content-Digest"]
    after = (await acme.head("manifests/v2")).headers["Docker-Content-Digest"]
    body = {"source": f"acme/app@{after}", "target": "acme/app:v1"}
    done = (await ask(alice, "POST", "/copies", body)).expect(200).json
    assert (done["digest"], done["previous_digest"]) == (after, before)
    (moved,) = await team.connections.rows(MOVED)  # and nothing was pushed
    assert (moved.reference, moved.digest, moved.previous_digest) == ("v1", after, before)
    same = {"source": "acme/app:v2", "target": "prod/app"}
    assert (await ask(alice, "POST", "/copies", same)).expect(200).json["target"] == "prod/app:v2"


@pytest.mark.usefixtures("team")
async def test_a_copy_is_for_who_may_pull_and_push(
    alice: Client, bob: Client, root: Client
) -> None:
    await alice.repository("acme/app").push_image("v1", b"one")
    await alice.repository("prod/secret").push_image("v1", b"two")
    for who, source, target, status, name in (
        (bob, "acme/app:v1", "bob/app:v1", 200, ""),
        (bob, "acme/app:v1", "prod/app:v1", 403, "forbidden"),
        (bob, "acme/app:v1", "prod/none:v1", 403, "forbidden"),
        (bob, "prod/secret:v1", "bob/app:v1", 404, "unknown"),
        (bob, "prod/none:v1", "bob/app:v1", 404, "unknown"),
        (root, "acme/app:v1", "root/app:v1", 404, "unknown"),
        (bob, "acme/app:none", "bob/app:v1", 404, "unknown"),
        (bob, "acme/app", "bob/app:v1", 400, "field"),
        (bob, "acme/app:v1", "bob/app@sha256:" + "0" * 64, 400, "field"),
        (bob, "acme", "bob/app:v1", 400, "name"),
    ):
        answer = await ask(who, "POST", "/copies", {"source": source, "target": target})
        if status == 200:
            answer.expect(200)
        else:
            problem(answer, status, name)


@pytest.mark.usefixtures("team")
async def test_a_repository_is_moved_by_who_may_on_both_sides(
    team: Database, alice: Client, bob: Client
) -> None:
    await alice.repository("acme/app").push_image("v1", b"one")
    move = {"old": "acme/app", "new": "prod/app"}
    problem(await ask(bob, "POST", "/moves", move), 403, "forbidden")
    problem(await ask(bob, "POST", "/moves", {"old": "prod/app", "new": "bob/app"}), 404, "unknown")
    away = {"old": "acme/app", "new": "bob/app"}
    problem(await ask(alice, "POST", "/moves", away), 403, "forbidden")
    done = (await ask(alice, "POST", "/moves", move)).expect(200).json
    assert done == {**move, "repositories": ["prod/app"]}
    (await alice.repository("prod/app").get("manifests/v1")).expect(200)
    (await alice.repository("acme/app").get("manifests/v1")).expect(404)
    again = problem(await ask(alice, "POST", "/moves", move), 404, "unknown")
    assert "acme/app" in again["detail"]
    rows = await team.connections.rows(select(events).where(events.c.kind == "repository.moved"))
    assert sorted((row.repository, json.loads(row.payload).get("to")) for row in rows) == [
        ("acme/app", "prod/app"),
        ("prod/app", None),
    ]


@pytest.mark.usefixtures("team")
async def test_all_of_a_namespace_goes_to_another(alice: Client, bob: Client, root: Client) -> None:
    for name in ("bob/app", "bob/tools"):
        await bob.repository(name).push_image("v1", b"one")
    problem(await ask(alice, "POST", "/moves", {"old": "bob/", "new": "acme/"}), 404, "unknown")
    problem(await ask(bob, "POST", "/moves", {"old": "bob/", "new": "acme/"}), 403, "forbidden")
    problem(await ask(root, "POST", "/moves", {"old": "bob/", "new": "none/"}), 404, "unknown")
    problem(await ask(root, "POST", "/moves", {"old": "bob/", "new": "bob/"}), 400, "request")
    await alice.repository("acme/tools").push_image("v1", b"two")
    taken = await ask(root, "POST", "/moves", {"old": "bob/", "new": "acme/"})
    assert problem(taken, 409, "exists")["id"] == "acme/tools"
    (await ask(bob, "GET", "/repositories/bob%2Fapp")).expect(200)
    done = (await ask(root, "POST", "/moves", {"old": "bob/", "new": "prod/"})).expect(200).json
    assert done["repositories"] == ["prod/app", "prod/tools"]
    (await alice.repository("prod/tools").get("manifests/v1")).expect(200)


@pytest.mark.usefixtures("team")
async def test_nothing_is_given_away_of_who_cannot_leave(
    team: Database, alice: Client, bob: Client, root: Client
) -> None:
    await bob.repository("bob/app").push_image("v1", b"one")
    await team.organisations.add("only", "bob", actor=ACTOR)
    left = await ask(root, "DELETE", "/users/bob?give_to=acme")
    assert "the organisation only would have no owner" in problem(left, 409, "last-owner")["detail"]
    (await bob.repository("bob/app").get("manifests/v1")).expect(200)
    await root.repository("root/app").push_image("v1", b"one")
    left = await ask(root, "DELETE", "/users/root?give_to=acme")
    problem(left, 409, "last-administrator")
    (await root.repository("root/app").get("manifests/v1")).expect(200)
    await team.organisations.grant("only", "alice", role="owner", repository="*", actor=ACTOR)
    (await ask(root, "DELETE", "/users/bob?give_to=acme")).expect(200)
    (await alice.repository("acme/app").get("manifests/v1")).expect(200)


def signed(payload: bytes, *keys: str) -> dict[str, object]:
    """Return what cosign pushes: one payload, and a signature of it by each key."""
    layer = descriptor(payload)
    layers = [{**layer, "annotations": {"dev.cosignproject.cosign/signature": key}} for key in keys]
    return image(*layers, config=descriptor(b"{}", OCI_CONFIG))


@pytest.mark.parametrize(
    ("there", "brought", "then"),
    [
        ([], ["a"], ["a"]),
        (["a"], ["a", "b"], ["a", "b"]),
        (["a", "b"], ["a"], ["a", "b"]),
        (["a"], ["a"], ["a"]),
        (["a"], ["b"], None),
        (["a", "c"], ["b", "a"], None),
    ],
)
@pytest.mark.usefixtures("team")
async def test_no_copy_loses_a_signature(
    alice: Client, there: list[str], brought: list[str], then: list[str] | None
) -> None:
    acme, prod = alice.repository("acme/app"), alice.repository("prod/app")
    digest = descriptor(encoded(await acme.push_image("rc", b"one")))["digest"]
    await prod.push_image("other", b"one")
    tag = digest.replace(":", "-") + ".sig"
    for repository, keys in ((acme, brought), (prod, there)):
        for blob in (b"what is signed", b"{}"):
            await repository.push_blob(blob)
        if keys:
            (await repository.put_manifest(signed(b"what is signed", *keys), tag)).expect(201)
    body = {"source": "acme/app:rc", "target": "prod/app:1"}
    answer = await ask(alice, "POST", "/copies", body)
    if then is None:
        assert f"prod/app:{tag} has signatures" in problem(answer, 400, "refused")["detail"]
        (await prod.get("manifests/1")).expect(404)
    else:
        answer.expect(200)
    found = (await prod.get(f"manifests/{tag}")).expect(200).body
    assert found == encoded(signed(b"what is signed", *(there if then is None else then)))
