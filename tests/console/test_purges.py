"""`/purges`: maintainers take away what was deleted, and nobody else learns that it was there."""

import pytest
from sqlalchemy import select

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.test_api import LAYER, problem
from treescale.metadata.collection.purging import InUse, Purging
from treescale.metadata.schema import events

APP = {"reference": "acme/app:1"}
PURGES = "/purges"


@pytest.fixture
async def deleted(registry: Running, root: Client, alice: Client, bob: Client) -> Running:
    """Alice's organisation acme with a quota, and an image there that was deleted."""
    assert bob.user
    (await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})).expect(200)
    app = alice.repository("acme/app")
    await app.push_image("1", LAYER)
    digest = (await app.head("manifests/1")).headers["Docker-Content-Digest"]
    (await ask(root, "PUT", "/quotas/acme", {"quota": "1GB"})).expect(200)
    (await app.delete(f"manifests/{digest}")).expect(202)
    return registry


async def test_maintainers_purge_and_the_quota_has_room(
    deleted: Running, alice: Client, bob: Client
) -> None:
    before = (await ask(alice, "GET", "/quotas/acme")).expect(200).json
    assert before["waiting"] > 0
    role = {"role": "maintainer", "repository": "acme/a*"}
    (await ask(alice, "PUT", "/organisations/acme/members/bob", role)).expect(200)
    gone = (await ask(bob, "POST", PURGES, APP)).expect(200).json
    assert (gone["reference"], gone["images"], gone["blobs"]) == ("acme/app:1", 1, 2)
    after = (await ask(alice, "GET", "/quotas/acme")).expect(200).json
    assert (after["waiting"], after["used"]) == (0, before["used"] - before["waiting"])
    rows = await deleted.parts.database.connections.rows(
        select(events.c.actor).where(events.c.kind == "image.purged")
    )
    assert {row.actor for row in rows} == {"bob"}
    again = (await ask(bob, "POST", PURGES, APP)).expect(200).json
    assert (again["images"], again["chunks"]) == (0, gone["chunks"]), "the stores are at it yet"


@pytest.mark.usefixtures("deleted")
async def test_others_do_not_and_are_not_told(alice: Client, bob: Client, root: Client) -> None:
    absent = {"reference": "acme/none"}
    there = problem(await ask(bob, "POST", PURGES, APP), 404, "unknown")["detail"]
    not_there = problem(await ask(bob, "POST", PURGES, absent), 404, "unknown")["detail"]
    assert there.replace("acme/app", "") == not_there.replace("acme/none", "")
    member = "/organisations/acme/members/bob"
    (await ask(alice, "PUT", member, {"role": "writer"})).expect(200)
    problem(await ask(bob, "POST", PURGES, APP), 403, "forbidden")
    role = {"role": "maintainer", "repository": "acme/web-*"}
    (await ask(alice, "PUT", member, role)).expect(200)
    problem(await ask(bob, "POST", PURGES, APP), 403, "forbidden")
    problem(await ask(alice, "POST", PURGES, absent), 404, "unknown")
    problem(await ask(alice, "POST", PURGES, {"reference": "acme"}), 400, "name")
    await alice.repository("acme/app").push_image("1", LAYER)
    problem(await ask(root, "POST", PURGES, {"reference": "acme/app"}), 412, "precondition")


@pytest.mark.usefixtures("deleted")
async def test_what_is_in_use_is_asked_for_again(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_use(*_: object, **__: object) -> None:
        raise InUse("somebody pushes it")

    with monkeypatch.context() as inside:
        inside.setattr("treescale.console.purges.IN_USE_SECONDS_MAX", 0.0)
        inside.setattr(Purging, "take", in_use)
        waits = await ask(alice, "POST", PURGES, APP)
        problem(waits, 503, "unavailable")
        assert waits.headers["Retry-After"]
    (await ask(alice, "POST", PURGES, APP)).expect(200)
