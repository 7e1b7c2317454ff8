"""What only PostgreSQL has."""

import pytest
from sqlalchemy import select, true

from treescale.errors import DatabaseUnavailable
from treescale.metadata import blobs
from treescale.metadata.database import Database

pytestmark = pytest.mark.long


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


async def test_a_replica_is_not_asked_what_is_named(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may not know yet: a look never goes there (collection.md, guards)."""
    monkeypatch.setattr(blobs, "_IS_REPLICA", select(true()))
    with pytest.raises(DatabaseUnavailable, match="replica"):
        await database.references.after_writers()
