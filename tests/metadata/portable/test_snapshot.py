"""A snapshot is of one moment, whatever is written meanwhile; on both engines."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest, small
from tests.metadata.portable.every_row import ROWS, counted, dump, rows_of
from tests.postgres import CUT, EMPTIED, Postgres
from tests.templates import empty_database
from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.metadata.database import Database, open_database
from treescale.metadata.migrations import HEAD
from treescale.metadata.portable import snapshot as snapshots
from treescale.metadata.portable.snapshot import cluster_of, snapshot
from treescale.metadata.portable.tables import LEFT, WITH_IDENTITY


@pytest.fixture
async def database(full: str) -> AsyncIterator[Database]:
    opened = open_database(full)
    yield opened
    await opened.close()


async def test_all_rows_come_in_the_order_of_their_keys(full: str) -> None:
    found, there = await dump(full), await counted(full)
    own = {"counters": 1 if full.startswith("sqlite") else 0}
    own["counters"] += 1 if there["counters"] > ROWS + 1 else 0
    assert {name: len(rows) for name, rows in found.items()} == {
        name: rows - own.get(name, 0) for name, rows in there.items() if name not in LEFT
    }
    assert min(map(len, found.values())) == ROWS
    for name in ("users", "settings", "blobs", "namespaces", *WITH_IDENTITY):
        keys = [row[0] for row in found[name]]
        assert keys == sorted(keys)


async def test_facts(full: str) -> None:
    async with snapshot(full) as found:
        facts = found.facts
    assert facts.schema == HEAD
    assert facts.cluster == cluster_of(bytes([0]) * 31 + b"\xff")
    assert facts.cluster != cluster_of(None) == ""
    sqlite = full.startswith("sqlite")
    assert facts.file == (full.removeprefix("sqlite:///") if sqlite else None)
    assert (facts.commits is None) != sqlite
    last = {each.name: each.last_id for each in facts.tables}
    assert last["users"] == 0
    if sqlite:
        assert last["namespaces"] == 3 * 2**40 + len("namespace_id")


async def push(database: Database) -> None:
    """Write a repository, a blob, a manifest and a tag."""
    await database.blobs.commit(APP, small(77), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(APP, manifest(), [], ["new"], now=NOW, actor=ACTOR)


async def is_seen(url: str, database: Database) -> bool:
    """Say whether a push that comes while the rows are read is among them."""
    async with snapshot(url) as found:
        assert found.facts.tables
        await push(database)
        tags = (await rows_of(found))["tags"]
    return any("new" in row for row in tags)


async def test_what_is_pushed_meanwhile_is_not_in_it(full: str, database: Database) -> None:
    assert not await is_seen(full, database)
    found = await database.manifests.resolve(APP, "new")
    assert found.digest == manifest().digest, "the push waited"


async def test_without_a_snapshot_it_is(
    full: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: what is read later has it, what was read before has not."""
    monkeypatch.setattr(snapshots, "BEGIN_ON_SQLITE", "SELECT 1")
    monkeypatch.setattr(snapshots, "ISOLATION_ON_POSTGRESQL", "read_committed")
    assert await is_seen(full, database)


async def test_what_is_no_database_of_ours_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()
    empty.touch()
    with pytest.raises(SettingInvalid, match="nothing to back up"):
        await dump(f"sqlite:///{empty}")
    with pytest.raises(DatabaseUnavailable):
        await dump(f"sqlite:///{tmp_path / 'absent.db'}")
    (tmp_path / "text").write_text("no database at all" * 100)
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        await dump(f"sqlite:///{tmp_path / 'text'}")


async def test_a_later_version_is_told(sqlite_full: str) -> None:
    with closing(sqlite3.connect(sqlite_full.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE schema_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SettingInvalid, match="schema 9999"):
        await dump(sqlite_full)


@pytest.mark.long
async def test_a_server_that_ends_meanwhile_is_told(postgres: Postgres, postgres_full: str) -> None:
    async def lost() -> None:
        async with snapshot(postgres_full) as found:
            await postgres.execute(EMPTIED, CUT)
            await rows_of(found)

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await lost()


async def test_a_connection_that_is_lost_is_an_error_of_ours(full: str) -> None:
    async def lost() -> None:
        async with snapshot(full) as found:
            assert found.facts.tables
            raise asyncpg.ConnectionDoesNotExistError

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await lost()


def left_log(place: Path) -> tuple[Path, Path]:
    """Return a database file, and the log that lies beside it, as a kill leaves them."""
    path = place / "treescale.db"
    empty_database(path)
    copy, log = place / "copy.db", place / "copy.db-wal"
    with closing(sqlite3.connect(path)) as one:
        one.execute("CREATE TABLE more (n)")
        log.write_bytes(path.with_name("treescale.db-wal").read_bytes())
        copy.write_bytes(path.read_bytes())
    return copy, log


async def test_a_log_that_another_file_left_stays_a_log(tmp_path: Path) -> None:
    """SQLite would write it into the file, which the start of a server refuses to do."""
    there = left_log(tmp_path)
    before = [path.read_bytes() for path in there]
    assert all(before)
    async with snapshot(f"sqlite:///{there[0]}"):
        pass
    assert [path.read_bytes() for path in there] == before
