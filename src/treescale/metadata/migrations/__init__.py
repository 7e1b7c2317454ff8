"""Brings a database's tables to what this version needs; Alembic runs only when they are not.

`HEAD` and `KNOWN` repeat what the files in `versions/` say (a test compares them), so that a start
needs neither Alembic nor a look at the files.
"""

import asyncio
import os
from pathlib import Path
from threading import Event
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from treescale.errors import DatabaseAway, SettingInvalid
from treescale.metadata.sql.address import Address, parse_address
from treescale.metadata.sql.faults import located, meaning
from treescale.metadata.sql.postgresql import postgresql_engine
from treescale.metadata.sql.sqlite import sqlite_reader, sqlite_writer

HEAD: Final = "0003"
KNOWN: Final = frozenset({"0001", "0002", "0003"})
VERSION_TABLE: Final = "schema_version"
migration_seconds_max: Final = 3600.0
lock_seconds_max: Final = 600.0
_wal_attempts_max: Final = 200
_wal_pause_seconds: Final = 0.05
_FILE_MODE: Final = 0o600  # the signing keys are in it
_WAL: Final = text("PRAGMA journal_mode=WAL")
_VERSION: Final = text(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608  a constant
_LOCK_ON_POSTGRESQL: Final = text("SELECT pg_advisory_xact_lock(1953654117)")  # "tree"


async def migrate(url: str) -> None:
    """Bring the database at `url` up to this version; returns at once when it is already.

    Several servers may start at the same time: one does the work, the others wait for it. Raises
    SettingInvalid when the database was written by a newer version; DatabaseAway; StoreFull.
    """
    address = parse_address(url)
    try:
        if address.path is None:
            await _migrate_postgresql(address)
        else:
            await asyncio.to_thread(_migrate_sqlite, address, Path(address.path))
    except (DBAPIError, OSError) as error:
        told = meaning(error)
        if isinstance(told, DatabaseAway):
            told = located(told, error, address)
        raise told from error


def _migrate_sqlite(address: Address, path: Path) -> None:
    _create_file(path)
    engine = sqlite_reader(address, lock_seconds_max, 1)
    try:
        with engine.connect() as connection:
            _write_ahead(connection)
            current = _is_current(connection)
    finally:
        engine.dispose()
    if current:
        return
    writer = sqlite_writer(address, lock_seconds_max)
    try:
        # Its BEGIN IMMEDIATE waits for another migration to end, and finds the work done.
        with writer.begin() as connection:
            _upgrade(connection)
    finally:
        writer.dispose()


def _write_ahead(connection: Connection) -> None:
    """Have the file in WAL mode, which stays with it; not possible in a transaction.

    Of several that do it at once SQLite tells all but one at once that the file is locked, however
    patient the connection is.
    """
    for _ in range(_wal_attempts_max):
        try:
            connection.execute(_WAL)
        except OperationalError:
            connection.rollback()
            Event().wait(_wal_pause_seconds)
        else:
            return
    connection.execute(_WAL)


async def _migrate_postgresql(address: Address) -> None:
    engine = postgresql_engine(address, lock_seconds_max, migration_seconds_max)
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(_is_current)
        if not current:
            async with engine.begin() as connection:
                await connection.execute(_LOCK_ON_POSTGRESQL)
                await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    """Run the missing migrations, unless somebody else did meanwhile."""
    if not _is_current(connection):
        _run_alembic(connection)


def _is_current(connection: Connection) -> bool:
    """Return whether the tables are of this version; raises SettingInvalid when of a newer one."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return False
    version = connection.execute(_VERSION).scalar_one_or_none()
    if version is not None and version not in KNOWN:
        raise SettingInvalid(
            f"the database has schema {version}, this version knows up to {HEAD}: "
            "it was written by a newer TreeScale; upgrade this server"
        )
    return version == HEAD


def _run_alembic(connection: Connection) -> None:
    # Here, not above: importing Alembic takes longer than the rest of a start.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "treescale.metadata:migrations")
    config.set_main_option("path_separator", "os")
    command.upgrade(config, "head")


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
        raise DatabaseAway(f"cannot open the database file {path}: {error.strerror}") from error
