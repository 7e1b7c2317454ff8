"""All rows of a database as they are at one moment, while others go on writing.

On SQLite that is a reading transaction, on PostgreSQL one that is REPEATABLE READ: neither keeps
anybody from writing. Rows come in the order of their primary keys, a batch at a time, so memory is
bounded, and equal databases give equal rows. A database of an earlier version is read as it is.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg
from blake3 import blake3
from sqlalchemy.exc import DBAPIError

from treescale.errors import SettingInvalid
from treescale.metadata.engine.address import Address, parse_address
from treescale.metadata.engine.errors import translate
from treescale.metadata.engine.sqlite_file import as_it_is
from treescale.metadata.migrations import HEAD, KNOWN
from treescale.metadata.portable.tables import (
    COUNTERS,
    ENGINES_COUNTERS,
    Carried,
    Values,
    carried_tables,
    flags,
    quoted,
)
from treescale.metadata.schema import SCHEMA_VERSION_TABLE
from treescale.threads import Threads

WAIT_SECONDS: Final = 10.0
FETCH_SECONDS_MAX: Final = 600.0
"""For one batch: the first of a table may have to be sorted."""
IDLE_SECONDS_MAX: Final = 3600
"""Between two batches: whoever takes the stream may be slow, and the snapshot must not go."""
ROWS: Final = 2000
FEW_ROWS: Final[dict[str, int]] = {"manifests": 16, "blobs": 64, "uploads": 64, "upload_parts": 64}
"""Of these a row may have megabytes."""
SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
BEGIN_ON_SQLITE: Final = "BEGIN"
ISOLATION_ON_POSTGRESQL: Final = "repeatable_read"
DRIVERS_ERRORS: Final = (
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    DBAPIError,
    OSError,
    TimeoutError,
)
_VERSION: Final = f"SELECT max(version_num) FROM {SCHEMA_VERSION_TABLE}"  # noqa: S608  a constant
_NO_TABLES: Final = "the database has no tables of ours: there is nothing to back up"
_KEY: Final = "SELECT secret FROM peer_keys ORDER BY number LIMIT 1"
_COMMITS: Final = "SELECT value FROM counters WHERE name = 'commits'"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot is of."""

    engine: str
    schema: str
    taken: float
    """When, by the database's clock."""
    tables: tuple[Carried, ...]
    commits: int | None = None
    """The number of the last commit that is in it; SQLite has one."""
    file: str | None = None
    """SQLite's file."""
    cluster: str = ""
    """What tells this cluster from others, and none of its secrets; empty without keys."""


class Snapshot(Protocol):
    """All rows at one moment, for as long as its block lasts."""

    facts: Facts

    def batches(self, carried: Carried) -> AsyncIterator[list[Values]]:
        """Yield the rows of a table."""
        ...


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Have a snapshot of the database at `url`; raises DatabaseUnavailable, SettingInvalid.

    An OSError within the block counts as the database's: files have errors of their own there.
    """
    address = parse_address(url)
    opened = _of_postgresql(address) if address.file is None else _of_sqlite(address.file)
    try:
        async with opened as found:
            yield found
    except DRIVERS_ERRORS as error:
        raise as_ours(error) from error


def cluster_of(secret: bytes | None) -> str:
    """Return what tells a cluster from others, by the secret that its servers share."""
    context = "TreeScale 2026-11 which cluster a backup is of"
    return "" if secret is None else blake3(secret, derive_key_context=context).hexdigest(16)


def as_ours(error: Exception) -> Exception:
    """Return the error of our tree for one of a driver, which SQLAlchemy has not wrapped."""
    if isinstance(error, sqlite3.Error | asyncpg.PostgresError):
        return translate(DBAPIError(None, None, error))
    lost = isinstance(error, asyncpg.InterfaceError)  # it went before the answer to an earlier call
    return translate(OSError() if lost else error)


def query(carried: Carried) -> str:
    """Return the statement that reads a table in the order of its primary key."""
    columns, key = quoted(carried.columns), quoted(carried.table.primary_key.columns.keys())
    but = ""
    if carried.name == COUNTERS:
        names = ", ".join(f"'{name}'" for name in sorted(ENGINES_COUNTERS))
        but = f" WHERE name NOT IN ({names})"
    return f'SELECT {columns} FROM "{carried.name}"{but} ORDER BY {key}'  # noqa: S608  our names


def _checked(schema: str | None) -> str:
    if not schema:
        raise SettingInvalid(_NO_TABLES)
    if schema not in KNOWN:
        raise SettingInvalid(
            f"the database has schema {schema}, this version knows up to {HEAD}: take the version "
            "that its servers have"
        )
    return schema


def _present(columns: dict[str, set[str]]) -> list[Carried]:
    """Return what of our tables a database of some version has."""
    return [
        Carried(
            str(table.name),
            tuple(str(column.name) for column in table.columns if column.name in there),
        )
        for table in carried_tables()
        if (there := columns.get(table.name))
    ]


@asynccontextmanager
async def _of_sqlite(path: Path) -> AsyncIterator["_SqliteSnapshot"]:
    file = as_it_is(path)
    connection = file.connect(timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
    # One: whoever gives up waits until it is free before the connection is closed.
    with closing(connection), Threads(1, "backup") as thread:
        connection.execute(BEGIN_ON_SQLITE)
        yield _SqliteSnapshot(connection, file.path, thread)


class _SqliteSnapshot:
    """Implements `Snapshot`; the first read, of its facts, takes it."""

    def __init__(self, connection: sqlite3.Connection, path: Path, thread: Threads) -> None:
        self._connection = connection
        self._thread = thread
        columns = self._columns()
        schema = self._one(_VERSION) if SCHEMA_VERSION_TABLE in columns else None
        self.facts = Facts(
            SQLITE,
            _checked(schema),
            taken=self._one("SELECT (julianday('now') - 2440587.5) * 86400.0"),
            tables=tuple(map(self._numbered, _present(columns))),
            commits=self._one(_COMMITS) if COUNTERS in columns else None,
            file=str(path),
            cluster=cluster_of(self._one(_KEY) if "peer_keys" in columns else None),
        )

    async def batches(self, carried: Carried) -> AsyncIterator[list[Values]]:
        """Yield the rows of a table."""
        cursor = self._connection.execute(query(carried))
        places, rows = flags(carried), FEW_ROWS.get(carried.name, ROWS)
        run = asyncio.get_running_loop().run_in_executor
        while batch := await run(self._thread, cursor.fetchmany, rows):
            yield [_flagged(row, places) for row in batch] if places else batch

    def _columns(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        every = (
            "SELECT s.name, c.name FROM sqlite_schema AS s, pragma_table_info(s.name) AS c "
            "WHERE s.type = 'table'"
        )
        for table, column in self._connection.execute(every):
            found.setdefault(table, set()).add(column)
        return found

    def _numbered(self, carried: Carried) -> Carried:
        column = carried.numbered
        if column is None:
            return carried
        last = self._one(f'SELECT max("{column}") FROM "{carried.name}"') or 0  # noqa: S608  our names
        if carried.table.dialect_options["sqlite"]["autoincrement"]:
            given = self._one("SELECT seq FROM sqlite_sequence WHERE name = ?", carried.name) or 0
            last = max(last, given)
        return Carried(carried.name, carried.columns, last)

    def _one(self, statement: str, *parameters: object) -> Any:
        row = self._connection.execute(statement, parameters).fetchone()
        return None if row is None else row[0]


def _flagged(row: Sequence[Any], places: Sequence[int]) -> Values:
    values = list(row)
    for place in places:
        values[place] = None if values[place] is None else bool(values[place])
    return tuple(values)


@asynccontextmanager
async def _of_postgresql(address: Address) -> AsyncIterator["_PostgresqlSnapshot"]:
    # A seventh of a command's start, and nothing to whoever has SQLite.
    from treescale.metadata.engine.postgresql import postgresql_engine  # noqa: PLC0415

    engine = postgresql_engine(address, WAIT_SECONDS, FETCH_SECONDS_MAX)
    try:
        async with engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            async with driver.transaction(isolation=ISOLATION_ON_POSTGRESQL, readonly=True):
                await driver.execute(idle_limit())
                yield await _PostgresqlSnapshot.taken(driver)
    finally:
        await engine.dispose()


def idle_limit() -> str:
    """Return what lets a transaction wait for a slow stream."""
    return f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_SECONDS_MAX}s'"


class _PostgresqlSnapshot:
    """Implements `Snapshot`."""

    def __init__(self, driver: Any, facts: Facts) -> None:
        self._driver = driver
        self.facts = facts

    @classmethod
    async def taken(cls, driver: Any) -> "_PostgresqlSnapshot":
        """Return it, with the first read of the transaction, which takes it."""
        columns: dict[str, set[str]] = {}
        for table, column in await driver.fetch(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = current_schema()"
        ):
            columns.setdefault(table, set()).add(column)
        schema = await driver.fetchval(_VERSION) if SCHEMA_VERSION_TABLE in columns else None
        facts = Facts(
            POSTGRESQL,
            _checked(schema),
            await driver.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8"),
            tuple([await _with_last(driver, each) for each in _present(columns)]),
            cluster=cluster_of(await driver.fetchval(_KEY) if "peer_keys" in columns else None),
        )
        return cls(driver, facts)

    async def batches(self, carried: Carried) -> AsyncIterator[list[Values]]:
        """Yield the rows of a table, by a cursor of the server."""
        # Of a statement without a name: a pooler's session may have one of that name already.
        cursor = await (await self._driver.prepare(query(carried))).cursor()
        rows = FEW_ROWS.get(carried.name, ROWS)
        fetch = partial(cursor.fetch, rows, timeout=FETCH_SECONDS_MAX)
        while batch := await fetch():
            yield [tuple(row) for row in batch]


async def _with_last(driver: Any, carried: Carried) -> Carried:
    if carried.numbered is None:
        return carried
    sequence = await driver.fetchval(
        "SELECT pg_get_serial_sequence($1, $2)", carried.name, carried.numbered
    )
    last = await driver.fetchval(
        f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"  # noqa: S608  ours
    )
    return Carried(carried.name, carried.columns, last)
