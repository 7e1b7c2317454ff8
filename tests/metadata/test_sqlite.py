"""What only SQLite does."""

import asyncio
import sqlite3

import pytest

from treescale.metadata.database import Database


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


async def test_who_asks_what_is_named_waits_for_open_writes(database: Database, url: str) -> None:
    """A gateway may sleep between its last statement and its commit (collection.md, section 5)."""
    writer = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    version = database._connections.answers_version()
    async with asyncio.TaskGroup() as group:
        asked = group.create_task(database.references.after_writers())
        done, _ = await asyncio.wait([asked], timeout=0.2)
        assert not done
        writer.execute("COMMIT")
    writer.close()
    assert database._connections.answers_version() == version, "all answers are known still"
