"""A database is filled whole, as it was, or it stays empty; on both engines."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests.metadata.portable.every_row import ROWS, Dump, dump, filled
from tests.postgres import CUT, Postgres
from tests.templates import empty_database
from treescale.errors import BackupInvalid, DatabaseUnavailable, SettingInvalid
from treescale.metadata.database import open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.events.hook_records import RESTORED
from treescale.metadata.migrations import HEAD
from treescale.metadata.portable.fill import filling
from treescale.metadata.portable.identity import RAISED_BY, a_move, no_twin
from treescale.metadata.portable.snapshot import Facts, snapshot

Change = Callable[[Connection], None]


async def copied(
    source: str,
    target: str,
    change: Change = a_move,
    alter: Callable[[Dump], None] = lambda _: None,
) -> Facts:
    """Fill one database with the rows of another."""
    rows = await dump(source)
    told = {name: len(each) for name, each in rows.items()}
    alter(rows)
    async with snapshot(source) as found:
        facts = found.facts
    async with filling(target, facts.schema) as loading:
        for each in facts.tables:
            await loading.begin(each)
            await loading.add(each, rows[each.name])
        await loading.finish(told, change)
    return facts


async def is_empty(url: str) -> bool:
    """Say whether there is nothing: no file, or no table with a row."""
    file = parse_address(url).file
    if file is not None:
        assert not file.with_name(file.name + ".restoring").exists()
        return not file.exists()
    try:
        return not any((await dump(url)).values())
    except SettingInvalid:
        return True  # not even tables


async def one(url: str, statement: str) -> Any:
    """Return the only value that a query answers with."""
    connections = connect(parse_address(url))
    try:
        ((found,),) = await connections.rows(text(statement))
    finally:
        await connections.close()
    return found


async def test_it_is_as_it_was(sqlite_full: str, target: str) -> None:
    await copied(sqlite_full, target)
    assert await dump(target) == await dump(sqlite_full)


@pytest.mark.long
async def test_there_and_back(sqlite_full: str, empty_postgres_url: str, tmp_path: Path) -> None:
    """SQLite, PostgreSQL, SQLite: equal rows, and the same tables, indexes and triggers."""
    back = tmp_path / "back.db"
    before = await dump(sqlite_full)
    await copied(sqlite_full, empty_postgres_url)
    await copied(empty_postgres_url, f"sqlite:///{back}")
    assert await dump(f"sqlite:///{back}") == before
    assert min(map(len, before.values())) == ROWS
    assert schema(back) == schema(parse_address(sqlite_full).file)


def schema(file: Path | None) -> list[tuple[str, ...]]:
    """Return all that SQLite has, but rows."""
    assert file is not None
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(
            "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY 1, 2"
        ).fetchall()
        return [*found, *connection.execute("SELECT * FROM sqlite_stat1 ORDER BY 1, 2")]


async def test_it_is_used_as_any_other(sqlite_full: str, target: str) -> None:
    """Its triggers write, its numbers go on, and it writes ahead as any other."""
    await copied(sqlite_full, target)
    changes = await one(target, "SELECT count(*) FROM usage_changes")
    database = open_database(target)
    try:
        name = "INSERT INTO namespaces (name) VALUES ('later')"
        await database.connections.change(text(name))
        made = await one(target, "SELECT namespace_id FROM namespaces WHERE name = 'later'")
        assert made > 3 * 2**40 + len("namespace_id")
        await database.connections.change(text("DELETE FROM tags"))
    finally:
        await database.close()
    assert await one(target, "SELECT count(*) FROM usage_changes") == changes + ROWS
    file = parse_address(target).file
    if file is not None:
        assert file.stat().st_mode & 0o777 == 0o600
        assert await one(target, "PRAGMA journal_mode") == "wal"
        assert await one(target, "PRAGMA integrity_check") == "ok"


async def test_a_number_of_a_namespace_that_is_gone_is_not_given_again(
    sqlite_full: str, target: str
) -> None:
    database = open_database(sqlite_full)
    await database.connections.change(text("INSERT INTO namespaces (name) VALUES ('gone')"))
    gone = await one(sqlite_full, "SELECT max(namespace_id) FROM namespaces")
    await database.connections.change(text("DELETE FROM namespaces WHERE name = 'gone'"))
    await database.close()
    await copied(sqlite_full, target)
    database = open_database(target)
    await database.connections.change(text("INSERT INTO namespaces (name) VALUES ('next')"))
    await database.close()
    assert await one(target, "SELECT max(namespace_id) FROM namespaces") == gone + 1


async def test_no_twin_is_frozen_and_counts_on_far_above(sqlite_full: str, target: str) -> None:
    before: dict[str, int] = dict((await dump(sqlite_full))["counters"])
    await copied(sqlite_full, target, no_twin)
    found: dict[str, int] = dict((await dump(target))["counters"])
    assert found == {name: number + RAISED_BY for name, number in before.items()} | {
        "generation": RAISED_BY
    }
    frozen = "SELECT value FROM settings WHERE name = 'collection'"
    assert await one(target, frozen) == "frozen"
    assert await one(target, _HOOKS) == RESTORED


async def test_webhooks_are_paused_in_no_move_and_where_there_are_none(
    sqlite_full: str, target: str, tmp_path: Path
) -> None:
    await copied(sqlite_full, target, a_move)
    assert await one(target, _COUNT_HOOKS) == 0
    for table in ("deliveries", "hooks"):
        database = open_database(sqlite_full)
        await database.connections.change(text(f"DELETE FROM {table}"))  # noqa: S608  a name above
        await database.close()
    other = f"sqlite:///{tmp_path}/without.db"
    await copied(sqlite_full, other, no_twin)
    assert await one(other, _COUNT_HOOKS) == 0


_HOOKS = "SELECT value FROM settings WHERE name = 'hooks'"
_COUNT_HOOKS = "SELECT count(*) FROM settings WHERE name = 'hooks'"


def altered(name: str, change: Callable[[list[Any]], object]) -> Callable[[Dump], None]:
    """Return what changes the rows of one table."""

    def alter(rows: Dump) -> None:
        change(rows[name])

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        altered("users", lambda rows: rows.pop()),
        altered("users", lambda rows: rows.append(rows[0])),
        altered("tags", lambda rows: rows.append((1, *rows[0][1:]))),
    ],
    ids=["one is missing", "one is there twice", "one refers to nothing"],
)
async def test_rows_that_do_not_fit_leave_it_empty(
    sqlite_full: str, target: str, alter: Callable[[Dump], None]
) -> None:
    with pytest.raises(BackupInvalid):
        await copied(sqlite_full, target, alter=alter)
    assert await is_empty(target)
    await copied(sqlite_full, target)
    assert await dump(target) == await dump(sqlite_full)


async def test_an_error_on_the_way_leaves_it_empty(sqlite_full: str, target: str) -> None:
    async def broken() -> None:
        async with filling(target, HEAD) as loading, snapshot(sqlite_full) as found:
            for each in found.facts.tables:
                await loading.begin(each)
                async for batch in found.batches(each):
                    await loading.add(each, batch)
            raise InterruptedError

    with pytest.raises(DatabaseUnavailable):
        await broken()
    assert await is_empty(target)


@pytest.mark.long
async def test_a_server_that_ends_meanwhile_has_nothing_of_it(
    sqlite_full: str, empty_postgres_url: str, postgres: Postgres
) -> None:
    name = str(parse_address(empty_postgres_url).url.database)

    async def lost() -> None:
        async with filling(empty_postgres_url, HEAD) as loading, snapshot(sqlite_full) as found:
            for each in found.facts.tables:
                await loading.begin(each)
                async for batch in found.batches(each):
                    await loading.add(each, batch)
                if each.name == "users":
                    await postgres.execute(name, CUT)

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await lost()
    assert await is_empty(empty_postgres_url)


async def test_a_number_that_no_column_holds_is_told(sqlite_full: str, target: str) -> None:
    def alter(rows: Dump) -> None:
        rows["layouts"][0] = (2**63, *rows["layouts"][0][1:])

    with pytest.raises(BackupInvalid, match="does not take"):
        await copied(sqlite_full, target, alter=alter)
    assert await is_empty(target)


async def test_a_database_with_rows_is_refused_and_untouched(full: str, tmp_path: Path) -> None:
    other = empty_database(tmp_path / "other.db")
    before = await dump(full)
    with pytest.raises(SettingInvalid, match="is not empty"):
        await copied(other, full)
    assert await dump(full) == before


async def test_tables_without_rows_are_an_empty_database(sqlite_full: str, tmp_path: Path) -> None:
    target = empty_database(tmp_path / "target.db")
    await copied(sqlite_full, target)
    assert await dump(target) == await dump(sqlite_full)


@pytest.mark.long
async def test_tables_without_rows_are_empty_on_postgresql(
    sqlite_full: str, postgres_url: str
) -> None:
    await copied(sqlite_full, postgres_url)
    assert await dump(postgres_url) == await dump(sqlite_full)


async def test_a_log_of_another_file_is_not_mixed_into_it(sqlite_full: str, tmp_path: Path) -> None:
    log = tmp_path / "target.db-wal"
    log.write_bytes(b"left behind")
    with pytest.raises(SettingInvalid, match="log of another database"):
        await copied(sqlite_full, f"sqlite:///{tmp_path / 'target.db'}")
    assert log.read_bytes() == b"left behind"
    assert not (tmp_path / "target.db").exists()


async def test_what_a_killed_restore_left_is_begun_anew(sqlite_full: str, tmp_path: Path) -> None:
    for end in ("", "-journal"):
        (tmp_path / f"target.db.restoring{end}").write_bytes(b"half")
    target = f"sqlite:///{tmp_path / 'target.db'}"
    await copied(sqlite_full, target)
    assert await dump(target) == await dump(sqlite_full)


async def test_a_directory_that_is_not_there_is_told(sqlite_full: str, tmp_path: Path) -> None:
    with pytest.raises(SettingInvalid, match="there is no directory"):
        await copied(sqlite_full, f"sqlite:///{tmp_path / 'absent' / 'target.db'}")


async def test_a_file_that_is_no_database_is_left_alone(sqlite_full: str, tmp_path: Path) -> None:
    (tmp_path / "target.db").write_text("dear diary " * 100)
    with pytest.raises(DatabaseUnavailable, match="damaged"):
        await copied(sqlite_full, f"sqlite:///{tmp_path / 'target.db'}")
    assert (tmp_path / "target.db").read_text().startswith("dear diary")


async def test_filled_twice_by_the_same_rows_is_equal(tmp_path: Path) -> None:
    """Equal databases give equal dumps: the filler itself has no chance in it."""
    one_, other = (empty_database(tmp_path / name) for name in ("a.db", "b.db"))
    await filled(one_)
    await filled(other)
    assert await dump(one_) == await dump(other)
