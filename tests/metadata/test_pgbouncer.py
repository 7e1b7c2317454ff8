"""PostgreSQL through pgbouncer in transaction mode: nothing relies on a session.

The contracts of metadata hold there, with fewer sessions than one process has connections. Two
processes of ours share these.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.contracts.metadata_blobs import BlobsContract
from tests.contracts.metadata_event_groups import EventGroupsContract
from tests.contracts.metadata_event_log import EventLogContract
from tests.contracts.metadata_manifests import ManifestsContract
from tests.contracts.metadata_races import RacesContract
from tests.contracts.metadata_uploads import UploadsContract
from tests.pgbouncer import POOL, pgbouncer
from tests.postgres import EMPTIED, Postgres
from treescale.errors import DatabaseUnavailable
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.hosts.opening import Opener

__all__ = ["pgbouncer"]

pytestmark = pytest.mark.long

INSERT = text("INSERT INTO settings (name, value) VALUES (:name, '')")
SETTINGS = (
    ("synchronous_commit", "on"),
    ("transaction_isolation", "read committed"),
    ("lock_timeout", "10s"),
    ("statement_timeout", "30s"),
    ("jit", "off"),
)


@pytest.fixture
def url(postgres_url: str, pgbouncer: Postgres) -> str:
    assert postgres_url, "emptied"
    return pgbouncer.url(EMPTIED)


@pytest.fixture
async def pooled(url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(url))
    yield opened
    await opened.close()


class TestBlobs(BlobsContract): ...


class TestManifests(ManifestsContract): ...


class TestUploads(UploadsContract): ...


class TestRaces(RacesContract): ...


class TestEventLog(EventLogContract): ...


class TestEventGroups(EventGroupsContract): ...


async def ask_at_once(*databases: Database) -> None:
    """Have more calls under way than there are sessions; some ask the same, others not."""
    async with asyncio.TaskGroup() as group:
        for number in range(20 * POOL):
            where = databases[number % len(databases)]
            group.create_task(where.settings.put(f"a{number}", "b"))
            group.create_task(where.settings.get(f"a{number}"))


async def test_more_ask_at_once_than_it_has_sessions(database: Database, other: Database) -> None:
    await ask_at_once(database, other)
    assert await database.settings.get("a7") == "b"
    left = text("SELECT name FROM pg_prepared_statements WHERE name LIKE '%treescale%'")
    for _ in range(POOL):
        assert await database.connections.rows(left) == []


async def test_a_pooler_that_is_taken_for_a_server_fails(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: one meets another's prepared statements, or misses its own."""

    async def taken(*_: object) -> bool:
        return False

    monkeypatch.setattr(Opener, "_look", taken)
    both = [open_database(url) for _ in range(2)]
    failed = False
    try:
        await ask_at_once(*both)
    except* (DBAPIError, DatabaseUnavailable):
        failed = True
    for each in both:
        with suppress(DBAPIError):
            await each.close()
    assert failed


async def test_a_write_has_the_settings_of_a_session_of_ours(pooled: Connections) -> None:
    for durable in (True, False):
        for words, value in SETTINGS:
            expected = "off" if words == "synchronous_commit" and not durable else value
            show = text(f"SHOW {words}")
            found = await pooled.write(
                lambda connection, show=show: connection.execute(show).scalar_one(),  # type: ignore[misc]
                durable=durable,
            )
            assert found == expected, words


async def test_and_leaves_none_of_them_to_others(pooled: Connections) -> None:
    await pooled.change(INSERT, {"name": "a"}, durable=False)
    for _ in range(POOL):
        (row,) = await pooled.rows(text("SHOW lock_timeout"))
        assert row[0] == "0"
