"""An image that nothing holds, asked for: it stays for whoever was told of it."""

import pytest
from sqlalchemy import text

from tests.api.client import Client, MakePublic
from tests.api.running import Running
from tests.fakes_database import Away
from tests.oci.documents import digest, encoded, image
from treescale.lease_times import LINK_LEASES, LeaseTimes
from treescale.registry.manifests import ManifestService

IMAGE = encoded(image())
PLACE = f"manifests/{digest(IMAGE)}"


async def marked(registry: Running, alice: Client) -> None:
    """Push an image without a tag, long ago."""
    repository = alice.repository("alice/app")
    await repository.push_blob(b"{}")
    (await repository.put_manifest(IMAGE)).expect(201)
    await registry.parts.database.connections.change(
        text("UPDATE manifests SET lease_until = 1, untagged_since = 1")
    )


async def times(registry: Running) -> tuple[float, float]:
    database = registry.parts.database
    row = await database.connections.row(text("SELECT lease_until, untagged_since FROM manifests"))
    assert row is not None
    now = await database.servers.now()
    return row.lease_until - now, now - row.untagged_since


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_it_is_kept_for_who_was_told_of_it(
    registry: Running, alice: Client, method: str
) -> None:
    await marked(registry, alice)
    (await alice.repository("alice/app").request(method, PLACE)).expect(200)
    left, ago = await times(registry)
    assert left == pytest.approx(LINK_LEASES * LeaseTimes().lease, abs=60)
    assert ago == pytest.approx(0, abs=60)


async def test_who_may_push_is_told_nothing_that_is_no_promise(
    registry: Running,
    alice: Client,
    anybody: Client,
    make_public: MakePublic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the database is away; who only pulls gets it."""
    await marked(registry, alice)
    await make_public("alice/app")
    for client in (alice, anybody):
        (await client.repository("alice/app").get(PLACE)).expect(200)
    Away(registry.parts.database, counts_changes=False).begin()
    (await alice.repository("alice/app").get(PLACE)).expect(200)
    monkeypatch.setattr(ManifestService, "is_to_renew", lambda *_: True)
    (await alice.repository("alice/app").get(PLACE)).expect(503)
    (await anybody.repository("alice/app").get(PLACE)).expect(200)
