"""The migrations lead to the schema, on both databases, whoever starts first."""

import asyncio
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fixtures.v010 import DUMP, Left, unpacked
from tests.postgres import connect
from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.metadata import migrations
from treescale.metadata.database import open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.migrations import HEAD, KNOWN, VERSION_TABLE, migrate
from treescale.metadata.records import EMPTY_TAIL, ServerRecord, StoreRecord, Throughput
from treescale.metadata.schema import metadata

START = "import asyncio, sys; from treescale.metadata.migrations import migrate; "
SECONDS_MAX = 60
Result = TypeVar("Result")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/treescale.db"
    return str(request.getfixturevalue("empty_postgres_url"))


async def on(url: str, work: Callable[[Connection], Result]) -> Result:
    """Run `work` in one transaction, on a connection made by none of our code."""
    address = parse_address(url)
    if address.path is None:
        asynchronous = create_async_engine(url.replace("postgresql", "postgresql+asyncpg", 1))
        async with asynchronous.begin() as connection:
            result = await connection.run_sync(work)
        await asynchronous.dispose()
        return result
    return await asyncio.to_thread(_on_file, f"sqlite:///{address.path}", work)


def _on_file(url: str, work: Callable[[Connection], Result]) -> Result:
    engine = create_engine(url)
    with engine.begin() as connection:
        result = work(connection)
    engine.dispose()
    return result


def executed(*statements: str) -> Callable[[Connection], None]:
    """Return what executes the statements."""

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    return work


def upgraded(revision: str) -> Callable[[Connection], None]:
    """Return what brings a database to an older version."""

    def work(connection: Connection) -> None:
        command.upgrade(alembic(connection), revision)

    return work


def alembic(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "treescale.metadata:migrations")
    config.set_main_option("path_separator", "os")
    return config


def differences(connection: Connection) -> list[object]:
    """Return what the schema has and the database has not, or the other way round."""
    context = MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "compare_server_default": True}
    )
    return list(compare_metadata(context, metadata))


def tables(connection: Connection) -> list[str]:
    return list(inspect(connection).get_table_names())


def collations(connection: Connection) -> dict[str, str | None]:
    rows = connection.execute(
        text(
            "SELECT table_name || '.' || column_name, collation_name "
            "FROM information_schema.columns WHERE table_schema = 'public'"
        )
    )
    return {row[0]: row[1] for row in rows}


async def test_they_lead_to_the_schema(empty_url: str) -> None:
    await migrate(empty_url)
    assert await on(empty_url, differences) == []
    await on(empty_url, executed("DROP TABLE upload_parts", "DROP INDEX ix_manifests_subject"))
    assert len(await on(empty_url, differences)) == 2


async def test_names_sort_by_bytes_on_postgresql(empty_postgres_url: str) -> None:
    await migrate(empty_postgres_url)
    found = await on(empty_postgres_url, collations)
    keys = {
        f"{table.name}.{column.name}"
        for table in metadata.sorted_tables
        for columns in (table.primary_key.columns, *(index.columns for index in table.indexes))
        for column in columns
        if column.type.python_type is str
    }
    assert len(keys) > 15
    assert {key: found[key] for key in keys} == dict.fromkeys(keys, "C")


def test_what_is_said_to_be_known_is_what_the_files_say() -> None:
    scripts = ScriptDirectory.from_config(alembic())
    assert scripts.get_heads() == [HEAD]
    assert {script.revision for script in scripts.walk_revisions()} == KNOWN


async def test_twice_keeps_what_is_there(empty_url: str) -> None:
    await migrate(empty_url)
    database = open_database(empty_url)
    await database.settings.put("a", "b")
    await migrate(empty_url)
    assert await database.settings.get("a") == "b"
    await database.close()


FIRST = (
    "INSERT INTO users VALUES ('alice', 'x', true, 1)",
    "INSERT INTO settings VALUES ('copies', '2')",
    "INSERT INTO repositories VALUES (7, 'alice/app', 'alice', false, 1)",
    (
        "INSERT INTO uploads VALUES "
        "('u', 'alice/app', 'alice', 'sha256', 0, 'h', 0, 0, NULL, NULL, 1, 1, :nothing)"
    ),
    "INSERT INTO stores VALUES ('d1', 'host', '/data', 'east', 1.5, 1700000000)",
)
"""What a database of the first version may hold."""


async def test_a_database_of_the_first_version_is_brought_along(empty_url: str) -> None:
    await on(empty_url, upgraded("0001"))
    words = "X''" if empty_url.startswith("sqlite") else "''::bytea"
    await on(empty_url, executed(*(each.replace(":nothing", words) for each in FIRST)))
    assert "layouts" not in await on(empty_url, tables)
    await migrate(empty_url)
    assert await on(empty_url, differences) == []
    database = open_database(empty_url)
    assert (await database.users.get("alice")).admin
    assert await database.settings.get("copies") == "2"
    assert (await database.repositories.get("alice/app")).name == "alice/app"
    assert (await database.uploads.get("u")).tail == EMPTY_TAIL
    disk = StoreRecord("d1", "host", "/data", "east", 1.5, 1_700_000_000)
    assert await database.stores.list() == [disk]
    assert await database.stores.register(disk), "as one server did before, and may again"
    assert await database.stores.register(replace(disk, server_id="s"))
    assert await database.layouts.latest() is None
    await database.close()


SECOND = (
    (
        "INSERT INTO servers (server_id, name, address, zone, started, seen) VALUES "
        "('s', 'host', 'http://s', 'east', 1, 2) ON CONFLICT (server_id) DO UPDATE SET seen = 2"
    ),
    "UPDATE servers SET seen = 3 WHERE servers.server_id = 's'",
    "SELECT server_id, name, address, zone, started, seen FROM servers",
)
"""What a server of the second version goes on saying while another is of the third already."""


async def test_servers_of_the_version_before_go_on_with_the_new_tables(empty_url: str) -> None:
    await on(empty_url, upgraded("0002"))
    await on(empty_url, executed(*SECOND))
    await migrate(empty_url)
    await on(empty_url, executed(*SECOND))
    database = open_database(empty_url)
    expected = ServerRecord("s", "host", "http://s", "east", started=1.0, seen=3.0)
    assert await database.servers.list() == [expected], "its throughput is not known"
    await database.servers.heartbeat("s", [], Throughput(1, 2, 3, 4))
    await on(empty_url, executed(*SECOND))
    (found,) = await database.servers.list()
    assert found.throughput == Throughput(1, 2, 3, 4)
    await database.close()


async def left(name: str, home: Path, empty_postgres_url: str) -> tuple[str, Left]:
    """Return the database that version 0.1.0 left, and what else is known of it."""
    found = unpacked(name, home)
    if name == "sqlite":
        return f"sqlite:///{found.data[0][0] / 'treescale.db'}", found
    lines = (home / DUMP).read_text().splitlines()
    bare = "\n".join(line for line in lines if not line.startswith("\\"))  # psql's own commands
    connection = await connect(empty_postgres_url)
    await connection.execute(bare)
    await connection.close()
    return empty_postgres_url, found


def shape(connection: Connection) -> dict[str, dict[str, tuple[str, bool, bool]]]:
    """Return each table's columns: of which type, whether NULL may be in it, or may be left out."""
    looked = inspect(connection)
    return {
        table: {
            one["name"]: (
                str(one["type"]),
                one["nullable"],
                one["nullable"] or one["default"] is not None,
            )
            for one in looked.get_columns(table)
        }
        for table in looked.get_table_names()
    }


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
async def test_what_0_1_0_left_is_added_to_and_nothing_else(
    name: str, tmp_path: Path, empty_postgres_url: str
) -> None:
    """So a server of that version that runs already goes on: columns stay, new ones may be left."""
    url, _ = await left(name, tmp_path, empty_postgres_url)
    before = await on(url, shape)
    await migrate(url)
    after = await on(url, shape)
    assert after != before
    for table, columns in before.items():
        for column, kind in columns.items():
            assert after[table][column] == kind, f"{table}.{column}"
        for column in after[table].keys() - columns.keys():
            assert after[table][column][2], f"{table}.{column} must be given, and is not by 0.1.0"
    assert await on(url, differences) == []


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
async def test_every_statement_of_0_1_0_is_one_still(
    name: str, tmp_path: Path, empty_postgres_url: str
) -> None:
    url, found = await left(name, tmp_path, empty_postgres_url)
    await migrate(url)
    statements: list[str] = found.expected["statements"]
    assert len(statements) > 50
    if name == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            for one in statements:
                file.execute(f"EXPLAIN {one}", [None] * one.count("?")).fetchall()
            with pytest.raises(sqlite3.OperationalError, match="no such column"):
                file.execute("EXPLAIN SELECT renamed FROM servers")
        return
    connection = await connect(url)
    for one in statements:
        await connection.prepare(one)
    with pytest.raises(asyncpg.UndefinedColumnError):
        await connection.prepare("SELECT renamed FROM servers")
    await connection.close()


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
async def test_what_happens_after_0_1_0_is_recorded(
    name: str, tmp_path: Path, empty_postgres_url: str
) -> None:
    """And nothing of what happened before."""
    url, _ = await left(name, tmp_path, empty_postgres_url)
    await migrate(url)
    database = open_database(url)
    (repository,) = await database.repositories.list_all("", 1)
    await database.repositories.set_public(
        repository.name, public=not repository.public, now=1.0, actor="alice"
    )
    await database.close()
    assert await on(url, happened) == [("repository.visibility", repository.name, "alice")]


def happened(connection: Connection) -> list[tuple[str, ...]]:
    rows = connection.execute(text("SELECT kind, repository, actor FROM events"))
    return [tuple(row) for row in rows]


@pytest.mark.long
async def test_several_processes_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/treescale.db"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", START + "asyncio.run(migrate(sys.argv[1]))", url
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(SECONDS_MAX):
        assert [await process.wait() for process in processes] == [0] * 3
    database = open_database(url)
    await database.settings.put("a", "b")
    await database.close()


async def test_several_at_once(empty_url: str) -> None:
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(migrate(empty_url))
    database = open_database(empty_url)
    await database.settings.put("a", "b")
    await database.close()


async def test_nobody_waits_for_long_behind_one_that_waits_for_a_backup(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    await on(empty_postgres_url, upgraded("0006"))
    backup, other = await connect(empty_postgres_url), await connect(empty_postgres_url)
    reads = backup.transaction()
    await reads.start()
    await backup.execute("SELECT FROM manifests")
    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        upgrade = group.create_task(migrate(empty_postgres_url))
        while not await other.fetch("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            await other.execute("SELECT FROM repositories")
        assert not upgrade.done()
        await reads.rollback()
    assert await on(empty_postgres_url, differences) == []
    await backup.close()
    await other.close()


async def test_whoever_finds_the_file_locked_for_a_moment_waits(tmp_path: Path) -> None:
    """As by another server that starts: SQLite itself does not wait where the mode changes."""
    path = tmp_path / "treescale.db"
    holder = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.2, holder.execute, "ROLLBACK")
    async with asyncio.timeout(SECONDS_MAX):
        await migrate(f"sqlite:///{path}")
    holder.close()


@pytest.mark.long
async def test_a_current_database_starts_without_alembic(sqlite_url: str) -> None:
    check = "asyncio.run(migrate(sys.argv[1])); sys.exit('alembic' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", START + check, sqlite_url)
    assert await process.wait() == 0


async def test_a_newer_database_is_left_alone(empty_url: str) -> None:
    await migrate(empty_url)
    await on(empty_url, executed("UPDATE schema_version SET version_num = '9999'"))
    with pytest.raises(SettingInvalid, match=r"9999.*newer.*upgrade"):
        await migrate(empty_url)


async def test_a_migration_that_fails_leaves_nothing(empty_url: str) -> None:
    await on(empty_url, executed("CREATE TABLE upload_parts (in_the_way INTEGER)"))
    with pytest.raises(DBAPIError, match="upload_parts"):
        await migrate(empty_url)
    assert await on(empty_url, tables) == ["upload_parts"]


async def test_the_file_is_its_owners_alone_and_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "treescale.db"
    await migrate(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"absent/treescale.db: No such file"):
        await migrate(f"sqlite:///{tmp_path}/absent/treescale.db")


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await migrate(f"postgresql://u@/db?host={tmp_path}")
