"""What only SQLite does."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.sql.compiler import SQLCompiler

from tests.compiled import Compiled, compile_apart
from treescale.metadata.database import Database
from treescale.metadata.engine import sqlite
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.sqlite import OneDialect, ready_engines, sqlite_reader
from treescale.metadata.engine.sqlite_file import DatabaseFile


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


def compiled(url: str, patch: pytest.MonkeyPatch) -> int:
    """Return how often a statement is compiled that two engines run, one after the other."""
    address, made = parse_address(url), list[object]()
    initialise = SQLCompiler.__init__

    def count(self: SQLCompiler, *words: object, **named: object) -> None:
        made.append(self)
        initialise(self, *words, **named)  # type: ignore[arg-type]

    compile_apart(patch, Compiled())
    patch.setattr(SQLCompiler, "__init__", count)
    statement = text("SELECT 1 AS of_this_test")
    assert address.path is not None
    for _ in range(2):
        engine = sqlite_reader(address, 1.0, 1, DatabaseFile(Path(address.path)))
        with engine.connect() as connection:
            assert connection.execute(statement).scalar_one() == 1
        engine.dispose()
    return len(made)


def test_what_one_engine_has_compiled_serves_the_next(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del database  # it has made the file
    assert compiled(url, monkeypatch) == 1


def test_control_engines_whose_dialects_differ_compile_by_themselves(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del database
    monkeypatch.setattr(OneDialect, "__eq__", object.__eq__)
    assert compiled(url, monkeypatch) == 2


def engines_made(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the engines that are made from now on."""
    made = list[str]()

    def make(*words: object, **named: object) -> Engine:
        made.append("an engine")
        return create_engine(*words, **named)  # type: ignore[call-overload, no-any-return]

    patch.setattr(sqlite, "create_engine", make)
    return made


def open_files(path: Path) -> int:
    """Return how often this process has a database's file open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(link.is_symlink() and str(link.readlink()) == str(path) for link in links)


async def test_engines_that_are_ready_serve_one_driver_and_bring_no_connection(
    database: Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forks would write to it both, and end each other's locks."""
    await database.close()
    address = parse_address(url)
    assert address.path is not None
    file = DatabaseFile(Path(address.path))
    made = engines_made(monkeypatch)
    ready_engines(address, file)
    assert len(made) == 2
    assert open_files(file.path) == 0
    for engines in (2, 4):  # the next one makes its own
        connections = connect(address, file=file)
        assert len(made) == engines
        assert await connections.rows(text("SELECT 1"))
        assert open_files(file.path) > 0
        await connections.examine(text("SELECT 1"))
        await connections.close()
    assert open_files(file.path) == 0
