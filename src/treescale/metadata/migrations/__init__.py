"""Brings a database's tables to what this version needs; Alembic runs only when they are not.

`HEAD` and `KNOWN` repeat what the files in `versions/` say (a test compares them), so that a start
needs neither Alembic nor a look at the files.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from threading import Event
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.metadata.engine.address import Address, parse_address
from treescale.metadata.engine.errors import is_locked_out, is_retryable, located, translate
from treescale.metadata.engine.sqlite import sqlite_reader, sqlite_writer
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metadata.schema import SCHEMA_VERSION, SCHEMA_VERSION_TABLE

HEAD: Final = SCHEMA_VERSION
KNOWN: Final = frozenset(f"{number:04}" for number in range(1, int(HEAD) + 1))
VERSION_TABLE: Final = SCHEMA_VERSION_TABLE
MIGRATION_SECONDS_MAX: Final = 3600.0
LOCK_SECONDS_MAX: Final = 600.0
LOCK_SECONDS: Final = 1.0
"""So long others wait behind a migration that waits for who reads a table, as a backup may for
hours; then it lets them go on for as long, and begins anew."""
_WAL_ATTEMPTS_MAX: Final = 200
_WAL_PAUSE_SECONDS: Final = 0.05
_FILE_MODE: Final = 0o600  # the signing keys are in it
_WAL: Final = text("PRAGMA journal_mode=WAL")
_VERSION: Final = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  a constant
_ANALYZE: Final = text("ANALYZE sqlite_schema")
_FORGET_STATISTIC: Final = text("DELETE FROM sqlite_stat1 WHERE tbl = :tbl AND idx = :idx")
_TELL_STATISTIC: Final = text(
    "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"
)
_STATISTICS: Final = (
    ("manifest_references", "manifest_references", "1000000 10000 10 1"),
    ("manifest_references", "ix_manifest_references_repository_id_digest", "1000000 10000 2"),
    ("tags", "tags", "1000000 1000 1"),
    ("tags", "ix_tags_repository_id_digest", "1000000 1000 2"),
    ("deleted_tags", "deleted_tags", "1000000 1000 10 1"),
    ("deleted_tags", "ix_deleted_tags_repository_id_digest", "1000000 1000 2"),
    ("deleted_tags", "ix_deleted_tags_deleted", "1000000 10"),
)
"""Of each table its primary key, under the table's name, and its other indexes: how many rows there
are, and how many of them share the first column, the first two, and so on (sqlite.org/fileformat2,
2.6.2)."""
LOCK_ON_POSTGRESQL: Final = text("SELECT pg_advisory_xact_lock(1953654117)")  # "tree"


ELSEWHERE: Final[ContextVar[Callable[[], Awaitable[None]] | None]] = ContextVar(
    "migrates_elsewhere", default=None
)
"""Tries the same in another process, for one that must not import Alembic. What that did not do,
for whatever reason, is done here."""


async def migrate(url: str) -> None:
    """Bring the database at `url` up to this version; returns at once when it is already.

    Several servers may start at the same time: one does the work, the others wait for it. Raises
    SettingInvalid when the database was written by a newer version; DatabaseUnavailable; StoreFull.
    """
    address = parse_address(url)
    elsewhere = ELSEWHERE.get()
    try:
        done = await _is_done(address)
        if not done and elsewhere is not None:
            await elsewhere()
            done = await _is_done(address)
        if not done:
            await _do(address)
    except (DBAPIError, OSError) as error:
        told = translate(error)
        if isinstance(told, DatabaseUnavailable):
            told = located(told, error, address)
        raise told from error


async def _is_done(address: Address) -> bool:
    """Return whether there is nothing to do; SQLite's file is made, where there is none."""
    if address.path is not None:
        return await asyncio.to_thread(_is_done_on_sqlite, address, Path(address.path))
    # Here, not above: it imports the driver and SQLAlchemy's ORM, of no use to whoever has SQLite.
    from treescale.metadata.engine.postgresql import postgresql_engine  # noqa: PLC0415

    engine = postgresql_engine(address, LOCK_SECONDS, MIGRATION_SECONDS_MAX)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_is_current)
    finally:
        await engine.dispose()


async def _do(address: Address) -> None:
    if address.path is None:
        await _migrate_postgresql(address)
    else:
        await asyncio.to_thread(_migrate_sqlite, address)


def _is_done_on_sqlite(address: Address, path: Path) -> bool:
    _create_file(path)
    engine = sqlite_reader(address, LOCK_SECONDS_MAX, 1, DatabaseFile(path))
    try:
        with engine.connect() as connection:
            _write_ahead(connection)
            return _is_current(connection)
    finally:
        engine.dispose()


def _migrate_sqlite(address: Address) -> None:
    writer = sqlite_writer(address, LOCK_SECONDS_MAX)
    try:
        # Its BEGIN IMMEDIATE waits for another migration to end, and finds the work done.
        with writer.begin() as connection:
            upgrade(connection)
    finally:
        writer.dispose()


def _write_ahead(connection: Connection) -> None:
    """Have the file in WAL mode, which stays with it; not possible in a transaction.

    Of several that do it at once SQLite tells all but one at once that the file is locked, however
    patient the connection is.
    """
    for _ in range(_WAL_ATTEMPTS_MAX):
        try:
            connection.execute(_WAL)
        except OperationalError:
            connection.rollback()
            Event().wait(_WAL_PAUSE_SECONDS)
        else:
            return
    connection.execute(_WAL)


async def _migrate_postgresql(address: Address) -> None:
    from treescale.metadata.engine.postgresql import postgresql_engine  # noqa: PLC0415  as above

    engine = postgresql_engine(address, LOCK_SECONDS, MIGRATION_SECONDS_MAX)
    try:
        left = LOCK_SECONDS_MAX
        while True:
            try:
                async with engine.begin() as connection:
                    await connection.execute(LOCK_ON_POSTGRESQL)
                    await connection.run_sync(upgrade)
            except DBAPIError as error:
                left -= 2 * LOCK_SECONDS
                if left < 0 or not (is_locked_out(error) or is_retryable(error)):
                    raise
                await asyncio.sleep(LOCK_SECONDS)
            else:
                return
    finally:
        await engine.dispose()


def upgrade(connection: Connection) -> None:
    """Run the missing migrations, in the caller's transaction, unless somebody else did so."""
    if not _is_current(connection):
        _run_alembic(connection)
        if connection.dialect.name == "sqlite":
            say_how_many(connection)


def say_how_many(connection: Connection) -> None:
    """Tell SQLite how many rows share the first columns of these keys.

    It takes them for ten, and so looks through all references, or tags, of a repository for what
    one index finds. Not measured by itself (ANALYZE): on an empty database that says nothing.
    """
    connection.execute(_ANALYZE)  # makes the table of them
    for table, index, rows in _STATISTICS:
        told = {"tbl": table, "idx": index}
        connection.execute(_FORGET_STATISTIC, told)
        connection.execute(_TELL_STATISTIC, {**told, "stat": rows})
    connection.execute(_ANALYZE)  # reads it


def _is_current(connection: Connection) -> bool:
    """Return whether the tables are of this version; raises SettingInvalid when of a newer one."""
    version = version_of(connection)
    if version is not None and version not in KNOWN:
        raise SettingInvalid(
            f"the database has schema {version}, this version knows up to {HEAD}: "
            "it was written by a newer TreeScale; upgrade this server"
        )
    return version == HEAD


def version_of(connection: Connection) -> str | None:
    """Return which version the tables are of; None when there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(_VERSION).scalar_one_or_none()
    return version


def make_tables(connection: Connection, version: str) -> None:
    """Make the tables as a version had them, where there are none; in the caller's transaction.

    On SQLite to `say_how_many` rows they have is still to be done.
    """
    _run_alembic(connection, version)


def _run_alembic(connection: Connection, version: str = "head") -> None:
    # Here, not above: importing Alembic takes longer than the rest of a start.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "treescale.metadata:migrations")
    config.set_main_option("path_separator", "os")
    command.upgrade(config, version)


def _create_file(path: Path) -> None:
    """Create an empty file that only its owner may read, unless there is one."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, _FILE_MODE))
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise DatabaseUnavailable(
            f"cannot open the database file {path}: {error.strerror}"
        ) from error
