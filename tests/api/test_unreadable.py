"""A setting of the cluster that cannot be read keeps nobody from pushing and pulling."""

from sqlalchemy import text

from tests.api.client import Client
from tests.api.running import Running
from tests.oci.documents import digest, encoded, image
from tests.tables import each_row
from tests.unreadable import SOME

IMAGE = encoded(image())


@each_row("name, value", SOME)
async def test_push_and_pull(registry: Running, alice: Client, name: str, value: str) -> None:
    database = registry.parts.database
    await database.settings.put(name, value)
    app = alice.repository(f"alice/app{SOME.index((name, value))}")
    layer = await app.push_blob(b"a layer " * 20_000)
    await app.push_blob(b"{}")
    (await app.head(f"blobs/{layer}")).expect(200)
    (await app.get(f"blobs/{layer}")).expect(200)
    (await app.put_manifest(IMAGE)).expect(201)
    place = f"manifests/{digest(IMAGE)}"
    await database.connections.change(
        text("UPDATE manifests SET lease_until = 1, untagged_since = 1")
    )
    (await app.get(place)).expect(200)
    (await app.delete(place)).expect(202)
    await database.settings.remove(name)
