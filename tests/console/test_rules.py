"""`/rules`, `/retention` and `/explain`: who may see and change what, and what others are told."""

from hashlib import sha256

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, problem
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.database import Database

APP, ACME, CLUSTER = "/rules/acme/app", "/rules/acme", "/rules"
IMMUTABLE = {"kind": "immutable", "tags": ["v*"]}
KEEP = {"kind": "retention", "keep_last": 1, "tags": ["pr-*"]}


@pytest.fixture
async def team(registry: Running, root: Client, alice: Client, bob: Client) -> Database:
    """Alice's organisation acme, in which bob may push, with a repository."""
    assert root.user
    database = registry.parts.database
    await database.organisations.add("acme", "alice", actor=ACTOR)
    await grant(database, "writer")
    for tag in ("v1", "pr-1", "pr-2"):
        await alice.repository("acme/app").push_image(tag, LAYER)
    assert bob.user
    return database


async def grant(database: Database, role: str) -> None:
    await database.organisations.grant("acme", "bob", role=role, repository="*", actor=ACTOR)


async def test_maintainers_make_rules_and_who_pulls_sees_them(
    team: Database, bob: Client, root: Client
) -> None:
    for path in (APP, ACME):
        problem(await ask(bob, "POST", path, IMMUTABLE), 403, "forbidden")
        assert (await ask(bob, "GET", path)).expect(200).json == {"rules": []}
    await grant(team, "maintainer")
    for number, path in enumerate((APP, ACME), 1):
        made = (await ask(bob, "POST", path, IMMUTABLE)).expect(200).json
        assert (made["rule"], made["confirmed"]) == (number, True)
    problem(await ask(bob, "POST", CLUSTER, IMMUTABLE), 403, "forbidden")
    (await ask(root, "POST", CLUSTER, KEEP)).expect(200)
    seen = (await ask(bob, "GET", APP)).expect(200).json["rules"]
    assert [one["scope"] for one in seen] == ["repository", "namespace", "cluster"]
    assert [one["rule"] for one in (await ask(bob, "GET", CLUSTER)).json["rules"]] == [3]
    problem(await ask(bob, "POST", APP, IMMUTABLE), 409, "exists")
    problem(await ask(bob, "DELETE", f"{APP}?rule=2"), 404, "unknown")
    problem(await ask(bob, "DELETE", f"{CLUSTER}?rule=3"), 403, "forbidden")
    problem(await ask(bob, "DELETE", f"{APP}?rule=a"), 400, "request")
    problem(await ask(bob, "DELETE", APP), 400, "request")
    (await ask(bob, "DELETE", f"{APP}?rule=1")).expect(200)


@pytest.mark.usefixtures("team")
async def test_what_is_immutable_neither_moves_nor_goes_by_any_way(alice: Client) -> None:
    (await ask(alice, "POST", ACME, IMMUTABLE)).expect(200)
    repository = alice.repository("acme/app")
    there = (await repository.get("manifests/v1")).expect(200)
    (await repository.put_manifest(there.body, "v1")).expect(201)
    refused = await repository.put_manifest(there.body + b" ", "v1")
    assert refused.status == 403
    (error,) = refused.json["errors"]
    assert error["code"] == "DENIED"
    assert "acme/app:v1 is immutable, by rule 1 of the namespace acme (v*)" in error["message"]
    digest = f"sha256:{sha256(there.body + b' ').hexdigest()}"
    beside = await repository.put_manifest(there.body + b" ", f"{digest}?tag=v1")
    assert (beside.status, "immutable" in str(beside.json)) == (403, True)
    for what in ("v1", there.headers["Docker-Content-Digest"]):
        deleted = await repository.delete(f"manifests/{what}")
        assert (deleted.status, "immutable" in str(deleted.json)) == (403, True)


@pytest.mark.usefixtures("team")
async def test_a_plan_is_looked_at_and_confirmed(alice: Client, bob: Client) -> None:
    path = "/retention/acme/app"
    assert not (await ask(alice, "POST", APP, KEEP)).expect(200).json["confirmed"]
    problem(await ask(bob, "GET", path), 403, "forbidden")
    plan = (await ask(alice, "GET", path)).expect(200).json
    assert ([one["tag"] for one in plan["tags"]], plan["kept"]) == (["pr-1"], 2)
    problem(await ask(alice, "POST", path, {"confirmed_digest": "sha256:0"}), 409, "plan-changed")
    problem(await ask(bob, "POST", path, {"confirmed_digest": plan["digest"]}), 403, "forbidden")
    explained = (await ask(bob, "GET", "/explain/acme/app?tag=pr-1")).expect(200).json
    assert (explained["why"], explained["kept"]) == ("unconfirmed", True)
    (await ask(alice, "POST", path, {"confirmed_digest": plan["digest"]})).expect(200)
    explained = (await ask(bob, "GET", "/explain/acme/app?tag=pr-1")).expect(200).json
    assert (explained["why"], explained["kept"]) == ("not-kept", False)
    problem(await ask(alice, "GET", "/explain/acme/app?tag=no"), 404, "unknown")
    problem(await ask(alice, "GET", "/explain/acme/app"), 400, "request")
    problem(await ask(alice, "GET", "/explain/acme?tag=v1"), 400, "name")


async def test_what_one_may_not_see_is_as_what_is_not_there(team: Database, bob: Client) -> None:
    await team.organisations.revoke("acme", "bob", repository=None, actor=ACTOR)
    for method, path, body in (
        ("GET", "/rules/{}", None),
        ("POST", "/rules/{}", KEEP),
        ("DELETE", "/rules/{}?rule=1", None),
        ("GET", "/retention/{}", None),
        ("POST", "/retention/{}", {"confirmed_digest": "sha256:0"}),
        ("GET", "/explain/{}?tag=v1", None),
    ):
        for there, absent in (("acme/app", "acme/none"), ("acme", "none")):
            if "explain" in path and "/" not in there:
                continue
            answers = [await ask(bob, method, path.format(name), body) for name in (there, absent)]
            told = [problem(each, 404, "unknown")["detail"] for each in answers]
            assert told[0].replace(there, "") == told[1].replace(absent, ""), path


@pytest.mark.usefixtures("team")
async def test_what_rules_keep_or_would_remove_is_moved_by_who_says_so_alone(
    team: Database, alice: Client, root: Client
) -> None:
    for name in ("prod", "free"):
        await team.organisations.add(name, "alice", actor=ACTOR)
    there = {"old": "acme/app", "new": "prod/app"}
    whole = {"old": "acme/", "new": "prod/"}
    (await ask(alice, "POST", "/rules/prod", KEEP)).expect(200)
    plan = (await ask(alice, "GET", "/retention/prod")).expect(200).json
    confirmed = {"confirmed_digest": plan["digest"]}
    (await ask(alice, "POST", "/retention/prod", confirmed)).expect(200)
    for who, move in ((alice, there), (root, there), (alice, whole)):
        refused = problem(await ask(who, "POST", "/moves", move), 409, "plan-changed")
        assert "would have 1 of its tags go" in refused["detail"]
    (await ask(alice, "POST", ACME, IMMUTABLE)).expect(200)
    for move in (there, whole, {"old": "acme/app", "new": "acme/other"}):
        refused = problem(await ask(alice, "POST", "/moves", move), 403, "immutable")
        assert "acme/app is not moved: acme/app:v1 is immutable" in refused["detail"]
    (await ask(alice, "POST", "/moves", there | {"force": True})).expect(200)
    (await alice.repository("prod/app").get("manifests/pr-1")).expect(200)
    back = {"old": "prod/app", "new": "free/app"}
    (await ask(alice, "POST", "/moves", back)).expect(200)
