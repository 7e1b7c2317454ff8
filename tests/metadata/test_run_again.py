"""Every write can run again: here the database undoes each of them once, when it has done all.

So a serialization failure, a deadlock or a primary that is lost before the commit changes nothing
of what the contracts promise: no write keeps anything of an attempt that was undone.
"""

from typing import Any

import pytest
from sqlalchemy.engine import Connection

from tests.contracts.metadata_blobs import BlobsContract
from tests.contracts.metadata_manifests import ManifestsContract, TagsContract
from tests.contracts.metadata_repositories import RepositoriesContract
from tests.contracts.metadata_uploads import UploadsContract
from treescale.metadata.engine import postgresql
from treescale.metadata.engine.connections import Result, Work

pytestmark = pytest.mark.long

UNDO = "DO $$ BEGIN RAISE EXCEPTION 'undone' USING ERRCODE = '40001'; END $$"


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo each write once."""
    transact = postgresql.PostgresqlDriver.transact

    async def twice(self: Any, work: Work[Result], *, durable: bool) -> Result:
        times = 0

        def again(connection: Connection) -> Result:
            nonlocal times
            times += 1
            result = work(connection)
            if times == 1:
                connection.exec_driver_sql(UNDO)
            return result

        return await transact(self, again, durable=durable)

    monkeypatch.setattr(postgresql.PostgresqlDriver, "transact", twice)
    monkeypatch.setattr(postgresql, "PAUSE_SECONDS", 0.0)


class TestRepositories(RepositoriesContract): ...


class TestBlobs(BlobsContract): ...


class TestManifests(ManifestsContract): ...


class TestTags(TagsContract): ...


class TestUploads(UploadsContract): ...
