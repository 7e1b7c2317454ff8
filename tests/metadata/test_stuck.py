"""A disk that hangs under SQLite: writes are refused in time, cancelled ones leave, reads go on."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from tests.templates import empty_database
from treescale.clock import SystemClock
from treescale.errors import DatabaseTrouble, DatabaseUnavailable
from treescale.metadata.engine import sqlite, sqlite_writer
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.sqlite import SqliteDriver


@pytest.fixture
async def connections(tmp_path: Path) -> AsyncIterator[Connections]:
    url = empty_database(tmp_path / "a.db")
    connections = Connections(SqliteDriver(parse_address(url), 1.0, SystemClock()))
    await connections.write(_make)
    yield connections
    await connections.close()


def _make(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE IF NOT EXISTS a (x)"))


class Hanging:
    """A transaction that hangs as if its disk did."""

    def __init__(self) -> None:
        self.begun = Event()
        self.go = Event()

    def __call__(self, connection: Connection) -> None:
        _make(connection)
        self.begun.set()
        self.go.wait()


async def test_whoever_waits_for_a_commit_that_hangs_is_told_and_others_at_once(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging()

    async def refused(work: Hanging) -> None:
        with pytest.raises(DatabaseUnavailable, match="does not answer writes"):
            await connections.write(work)

    async with asyncio.TaskGroup() as group:
        monkeypatch.setattr(sqlite_writer, "LOOK_SECONDS", 0.01)
        group.create_task(refused(hanging))
        await asyncio.to_thread(hanging.begun.wait)
        group.create_task(refused(hanging))
        await asyncio.sleep(0)
        monkeypatch.setattr(sqlite_writer, "STUCK_SECONDS_MAX", 0.0)
    await refused(hanging)
    assert await connections.rows(text("SELECT * FROM a")) == [], "reads go on"
    monkeypatch.undo()
    hanging.go.set()
    await connections.write(_make)


async def test_a_lock_that_another_process_keeps_is_not_called_a_disk_that_hangs(
    connections: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(sqlite_writer, "STUCK_SECONDS_MAX", 0.1)
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(DatabaseUnavailable, match="locked") as raised:
                await connections.write(_make)
            assert raised.value.trouble is DatabaseTrouble.BUSY
        other.execute("ROLLBACK")
    monkeypatch.undo()
    await connections.write(_make)


async def test_a_cancelled_caller_does_not_wait_for_a_commit_that_hangs(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_writer, "CANCELLED_SECONDS_MAX", 0.01)
    hanging = Hanging()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(connections.write(hanging))
        await asyncio.to_thread(hanging.begun.wait)
        waiting.cancel()
    assert waiting.cancelled()
    hanging.go.set()
    await connections.write(_make)


async def test_a_read_that_hangs_is_given_up(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "READ_SECONDS_MAX", 0.0)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await connections.rows(text("SELECT 1"))


async def test_who_watches_over_it_opens_all_connections_before_they_are_needed(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root changes the owner of SQLite's files when it opens them: that hangs on a frozen disk."""
    opened = []
    connect = sqlite.SqliteDriver._open_readers

    def counted(driver: SqliteDriver) -> None:
        connect(driver)
        opened.append(len(driver._idle))

    monkeypatch.setattr(sqlite.SqliteDriver, "_open_readers", counted)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(connections.run())
        while connections.answers_version() is None or not opened:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        watching.cancel()
    assert opened == [sqlite.READERS_MAX]
