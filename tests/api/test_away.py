"""The database away (T57): pulls of what the server knows go on, pushes are a 503 at once."""

from tests.api.client import Client
from tests.api.running import Running
from tests.fakes_database import Away
from tests.oci.documents import digest

LAYER = bytes(range(256)) * 1000


async def test_a_whole_pull_goes_on_and_pushes_are_refused(
    registry: Running, alice: Client
) -> None:
    away = Away(registry.parts.database, counts_changes=False)
    repository = alice.repository("alice/app")
    await repository.push_image("latest", LAYER)
    (await repository.get("manifests/latest")).expect(200)
    await alice.token("repository:alice/app:pull,push")
    away.begin()
    token = await alice.token("repository:alice/app:pull")  # a new one, for a known password
    bearer = {"Authorization": f"Bearer {token}"}
    for headers in (bearer, alice.basic()):
        (await alice.raw("GET", "/v2/alice/app/manifests/latest", headers)).expect(200)
        layer = await alice.raw("GET", f"/v2/alice/app/blobs/{digest(LAYER)}", headers)
        assert layer.expect(200).body == LAYER
    missing = await alice.raw("GET", f"/v2/alice/app/blobs/{digest(b'unknown')}", bearer)
    begun = await repository.request("POST", "blobs/uploads/")
    ready = await alice.raw("GET", "/readyz")
    for refused in (missing, begun, ready):
        assert int(refused.expect(503).headers["Retry-After"]) >= 1
    stranger = Client(alice.session, alice.url, "alice", "a guess at it")
    assert (await stranger.ask_token()).status == 503
    away.end()
    await repository.push_image("latest", b"another layer")
    (await stranger.ask_token()).expect(401)
