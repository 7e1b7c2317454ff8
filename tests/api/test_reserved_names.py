"""Users who have a name that is kept for our own pages now: whoever had it goes on as before."""

import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.contracts.metadata_values import ACTOR
from tests.oci.documents import digest
from treescale.errors import NameInvalid
from treescale.metadata.records import User

DATA = b"pushed by somebody with an old name"


@pytest.mark.parametrize("name", ["v2", "api", "token", "metrics"])
async def test_they_log_in_push_pull_and_change_their_password(
    registry: Running, alice: Client, name: str
) -> None:
    accounts, database = registry.parts.accounts, registry.parts.database
    password_hash = (await database.users.get("alice")).password_hash
    await database.users.add(User(name, password_hash, admin=False, created=0.0), actor=ACTOR)
    owner = Client(alice.session, alice.url, name, PASSWORD)
    await owner.repository(f"{name}/app").push_blob(DATA)
    pulled = await owner.repository(f"{name}/app").get(f"blobs/{digest(DATA)}")
    assert pulled.expect(200).body == DATA
    await accounts.set_password(name, "another password", actor=ACTOR)
    (await Client(alice.session, alice.url, name, "another password").ask_token()).expect(200)
    with pytest.raises(NameInvalid):
        await accounts.add_user(name, PASSWORD, actor=ACTOR)
