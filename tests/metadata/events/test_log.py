"""Why events are numbered after their commit: one that commits late is missed by nobody."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.postgres import connect
from treescale.metadata.database import Database, open_database
from treescale.metadata.migrations import migrate

NUMBERED_AT_INSERT = (
    "CREATE SEQUENCE at_insert",
    "ALTER TABLE events ALTER COLUMN sequence SET DEFAULT nextval('at_insert')",
)
"""What the log would be without the publisher."""
INSERT = (
    "INSERT INTO events (event_id, kind, actor, payload, at) "
    "VALUES ($1, 'tag.deleted', 'alice', '{}', extract(epoch FROM clock_timestamp()))"
)


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    opened = open_database(postgres_url)
    yield opened
    await opened.close()


class Reader:
    """Follows the log, as every follower does."""

    def __init__(self, database: Database) -> None:
        self._log = database.event_log
        self.read: list[str] = []
        self._after = 0

    async def look(self) -> None:
        await self._log.number()
        for each in await self._log.after(self._after, 100):
            self.read.append(each.event_id)
            self._after = each.sequence


async def committed_the_other_way_round(url: str, database: Database) -> list[str]:
    """Begin `early`, begin and commit `late`, then commit `early`; return what was read."""
    reader = Reader(database)
    early, late = await connect(url), await connect(url)
    try:
        await _insert_and_read(early, late, reader)
    finally:
        await early.close()
        await late.close()
    return reader.read


async def _insert_and_read(
    early: asyncpg.Connection, late: asyncpg.Connection, reader: Reader
) -> None:
    await early.execute("BEGIN")
    await early.execute(INSERT, "early")
    await late.execute(INSERT, "late")
    await reader.look()
    assert reader.read == ["late"]
    await early.execute("COMMIT")
    await reader.look()
    await reader.look()


async def test_transactions_that_commit_in_another_order_than_they_began(
    postgres_url: str, database: Database
) -> None:
    assert await committed_the_other_way_round(postgres_url, database) == ["late", "early"]


async def test_control_a_sequence_at_insert_loses_an_event(
    empty_postgres_url: str,
) -> None:
    """So the number after the commit is what the test above relies on."""
    await migrate(empty_postgres_url)
    connection = await connect(empty_postgres_url)
    for statement in NUMBERED_AT_INSERT:
        await connection.execute(statement)
    await connection.close()
    database = open_database(empty_postgres_url)
    try:
        assert await committed_the_other_way_round(empty_postgres_url, database) == ["late"]
    finally:
        await database.close()


async def test_a_publisher_that_dies_leaves_nothing_half_numbered(
    postgres_url: str, database: Database
) -> None:
    """Its transaction is whole or not at all: what it had not committed, the next one numbers."""
    connection = await connect(postgres_url)
    for each in ("a", "b"):
        await connection.execute(INSERT, each)
    await connection.execute("BEGIN")
    await connection.execute("INSERT INTO counters (name, value) VALUES ('events', 1)")
    await connection.execute("UPDATE events SET sequence = 1 WHERE event_id = 'b'")
    assert await database.event_log.after(0, 9) == []
    connection.terminate()
    reader = Reader(database)
    await reader.look()
    assert reader.read == ["a", "b"]
