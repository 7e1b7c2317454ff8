"""`/quotas`, `/usage` and `/limits`: who sets them, who sees them, and what a push is told."""

import hashlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from tests.api.client import Answer, Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, problem
from tests.contracts.metadata_values import ACTOR
from treescale.metadata.schema import uploads as table

QUOTA = "/quotas/acme"
MEMBER = "/organisations/acme/members/bob"


@pytest.fixture
async def team(registry: Running, root: Client, alice: Client, bob: Client) -> Running:
    """Alice's organisation acme, with a repository."""
    assert bob.user
    (await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})).expect(200)
    await alice.repository("acme/app").push_image("1", LAYER)
    return registry


@pytest.mark.usefixtures("team")
async def test_administrators_set_them_owners_see_them(
    alice: Client, bob: Client, root: Client
) -> None:
    set_ = (await ask(root, "PUT", QUOTA, {"quota": "50GB", "tags_max": 1000})).expect(200).json
    assert (set_["quota"], set_["tags_max"], set_["repositories_max"]) == (50 * 10**9, 1000, None)
    assert set_["own"] == {"quota": 50 * 10**9, "repositories_max": "default", "tags_max": 1000}
    assert set_["used"] > len(LAYER)
    assert set_["waiting"] == 0
    assert (await ask(alice, "GET", QUOTA)).expect(200).json == set_
    listed = (await ask(root, "GET", "/quotas")).expect(200).json
    assert listed == {"quotas": [set_], "next": None}
    problem(await ask(alice, "PUT", QUOTA, {"quota": "1TB"}), 403, "forbidden")
    problem(await ask(alice, "GET", "/quotas"), 403, "forbidden")
    problem(await ask(bob, "GET", QUOTA), 404, "unknown")
    (await ask(alice, "PUT", MEMBER, {"role": "maintainer"})).expect(200)
    problem(await ask(bob, "GET", QUOTA), 403, "forbidden")
    for wrong, kind in (({"quota": "much"}, "field"), ({}, "field"), ({"tags_max": 0}, "field")):
        problem(await ask(root, "PUT", QUOTA, wrong), 400, kind)
    problem(await ask(root, "PUT", "/quotas/nobody", {"quota": 1}), 404, "unknown")
    none = (await ask(root, "PUT", QUOTA, {"quota": "none"})).expect(200).json
    assert (none["quota"], none["used"], none["share"]) == (None, None, None)


@pytest.mark.usefixtures("team")
async def test_usage_is_for_maintainers(alice: Client, bob: Client, root: Client) -> None:
    path = "/usage/acme"
    problem(await ask(bob, "GET", path), 404, "unknown")
    (await ask(alice, "PUT", MEMBER, {"role": "writer"})).expect(200)
    problem(await ask(bob, "GET", path), 403, "forbidden")
    (await ask(alice, "PUT", MEMBER, {"role": "maintainer"})).expect(200)
    assert (await ask(bob, "GET", path)).expect(200).json == {"months": []}
    assert (await ask(root, "GET", "/usage?month=2026-11")).expect(200).json["months"] == []
    problem(await ask(bob, "GET", "/usage"), 403, "forbidden")
    problem(await ask(root, "GET", "/usage?month=2026-13"), 400, "request")


async def test_what_is_pulled_is_counted_by_month(
    team: Running, alice: Client, root: Client
) -> None:
    acme = alice.repository("acme/app")
    manifest = (await acme.get("manifests/1")).expect(200).json
    layer = manifest["layers"][0]
    assert len((await acme.get(f"blobs/{layer['digest']}")).expect(200).body) == layer["size"]
    (await acme.get(f"blobs/{layer['digest']}", Range="bytes=0-3")).expect(206)
    await team.rooms.publishing.counter.write(actor=ACTOR)
    (month,) = (await ask(root, "GET", "/usage")).expect(200).json["months"]
    assert (month["namespace"], month["pulled"], month["pulls"]) == ("acme", layer["size"] + 4, 1)


@pytest.mark.usefixtures("team")
async def test_a_push_that_does_not_fit_is_refused_in_words(
    alice: Client, root: Client, registry: Running
) -> None:
    """Where it begins, when its length is told, while it comes, and at its end; nothing stays."""
    acme = alice.repository("acme/app")
    used = (await ask(root, "PUT", QUOTA, {"quota": "1GB"})).expect(200).json["used"]
    (await ask(root, "PUT", QUOTA, {"quota": used + 100_000})).expect(200)
    document = await acme.push_image("1", LAYER)
    blob, uploads = b"y" * 150_000, "blobs/uploads/"
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"

    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, len(blob), 50_000):
            yield blob[start : start + 50_000]

    async def in_pieces(*pieces: bytes) -> Answer:
        location = await acme.start_upload()
        for piece in pieces:
            location = (await acme.request("PATCH", location, data=piece)).headers["Location"]
        return await acme.request("PUT", f"{location}?digest={digest}")

    whole = f"{uploads}?digest={digest}"
    for refused in (
        await acme.request("POST", whole, data=blob),
        await acme.request("POST", whole, data=chunked()),
        await acme.request("PUT", f"{await acme.start_upload()}?digest={digest}", data=blob),
        await acme.request("PATCH", await acme.start_upload(), data=blob),
        await acme.request("PATCH", await acme.start_upload(), data=chunked()),
        await acme.put_manifest({**document, "annotations": {"a": "x" * 150_000}}, "2"),
    ):
        message = refused.expect(403, "DENIED").json["errors"][0]["message"]
        assert message.startswith("acme has used"), message
        assert "more. The largest: acme/app" in message
    found = (await ask(root, "GET", QUOTA)).json
    assert (found["used"], found["waiting"]) == (used, 0)
    rows = await registry.parts.database.connections.rows(select(table))
    assert len(rows) == 0, "no session is left"
    (await ask(root, "PUT", QUOTA, {"quota": used})).expect(200)
    full = (await acme.request("POST", uploads)).expect(403, "DENIED")
    assert "and no more can be pushed" in full.json["errors"][0]["message"]
    await acme.put_manifest((await acme.get("manifests/1")).body, "1")
    (await acme.get("manifests/1")).expect(200)
    (await ask(root, "PUT", QUOTA, {"quota": used + len(blob)})).expect(200)
    (await in_pieces(blob[:70_000], blob[70_000:])).expect(201)
    assert (await ask(root, "GET", QUOTA)).json["share"] == 1


@pytest.mark.usefixtures("team")
async def test_limits_of_the_cluster(alice: Client, root: Client, registry: Running) -> None:
    limits = {"quota": "1TB", "requests_max": 2, "pulls_max": 1}
    problem(await ask(alice, "PUT", "/limits", limits), 403, "forbidden")
    said = (await ask(root, "PUT", "/limits", limits)).expect(200).json
    assert said == {
        "quota": 10**12,
        "repositories_max": None,
        "tags_max": None,
        "requests_max": 2,
        "pulls_max": 1,
    }
    assert (await ask(root, "GET", "/limits")).expect(200).json == said
    problem(await ask(root, "PUT", "/limits", {"tags_max": "default"}), 400, "field")
    await registry.parts.rates.read(registry.parts.database.settings)
    acme = alice.repository("acme/app")
    (await acme.get("manifests/1")).expect(200)
    waits = (await acme.get("manifests/1")).expect(429, "TOOMANYREQUESTS")
    assert waits.headers["Retry-After"] == "60"
    (await acme.get("tags/list")).expect(429)
    problem(await ask(alice, "GET", "/repositories"), 429, "too-many")
    (await ask(root, "GET", "/limits")).expect(200)
    registry.parts.rates.limit(None, None)
    (await acme.get("manifests/1")).expect(200)
