"""Rows into an empty database of PostgreSQL: one transaction from the first table to the last row.

Every table is locked from its beginning, so a server that starts meanwhile waits, and one that
runs already has rows there, which are refused.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from treescale.errors import SettingInvalid
from treescale.metadata.engine.address import Address
from treescale.metadata.engine.postgresql import postgresql_engine
from treescale.metadata.migrations import (
    LOCK_ON_POSTGRESQL,
    LOCK_SECONDS,
    MIGRATION_SECONDS_MAX,
    make_tables,
    upgrade,
    version_of,
)
from treescale.metadata.portable.loading import Change, check_empty, check_rows
from treescale.metadata.portable.snapshot import idle_limit
from treescale.metadata.portable.tables import Carried, Values, quoted
from treescale.metadata.schema import metadata

_ADVICE: Final = (
    "Restore into another one, or drop this one and create it anew if nothing in it is needed"
)


@asynccontextmanager
async def into_postgresql(address: Address, schema: str) -> AsyncIterator["_Filled"]:
    """Have the database to fill, in one transaction that is committed when the block ends well."""
    where = f"the database {address.url.database} on {address.place}"
    engine = postgresql_engine(address, LOCK_SECONDS, MIGRATION_SECONDS_MAX)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(idle_limit()))
            await connection.execute(LOCK_ON_POSTGRESQL)
            await connection.run_sync(lambda sync: _prepare(sync, schema, where))
            filled = _Filled(connection)
            yield filled
            assert filled.finished, "nobody has said how many rows it has"
    finally:
        await engine.dispose()


def _prepare(connection: Connection, schema: str, where: str) -> None:
    """Have empty tables of that version, locked, and without what writes rows by itself."""
    there = version_of(connection)
    if there is None:
        make_tables(connection, schema)
    else:
        tables = [
            each for each in metadata.tables if connection.dialect.has_table(connection, each)
        ]
        connection.execute(text(f"LOCK TABLE {quoted(tables)} IN ACCESS EXCLUSIVE MODE"))
        check_empty(connection, where, _ADVICE)
        if there != schema:
            raise SettingInvalid(
                f"{where} has tables of schema {there}, and the backup is of {schema}: drop it, "
                "create it anew, and the restore makes the tables"
            )
    _triggers(connection, "DISABLE")


def _triggers(connection: Connection, do: str) -> None:
    """Switch off, or on, what writes rows by itself; foreign keys are looked at all the same."""
    for name in metadata.tables:
        if connection.dialect.has_table(connection, name):
            connection.execute(text(f'ALTER TABLE "{name}" {do} TRIGGER USER'))


class _Filled:
    """Implements `Loading`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.finished = False
        self._connection = connection
        self._last_ids: dict[tuple[str, str], int] = {}

    async def begin(self, carried: Carried) -> None:
        """Make ready for the rows of a table."""
        if carried.numbered is not None:
            self._last_ids[carried.name, carried.numbered] = carried.last_id

    async def add(self, carried: Carried, rows: Sequence[Values]) -> None:
        """Add rows to it."""
        driver: Any = (await self._connection.get_raw_connection()).driver_connection
        await driver.copy_records_to_table(carried.name, records=rows, columns=carried.columns)

    async def finish(self, rows: Mapping[str, int], change: Change) -> None:
        """Check it all, bring the tables up to date and change the rows."""

        def work(connection: Connection) -> None:
            check_rows(connection, rows)
            for (table, column), last in self._last_ids.items():
                _count_on(connection, table, column, last)
            _triggers(connection, "ENABLE")
            upgrade(connection)
            change(connection)

        await self._connection.run_sync(work)
        self.finished = True


def _count_on(connection: Connection, table: str, column: str, last: int) -> None:
    """Have the next row id be higher than any that was given out."""
    id_column = metadata.tables[table].c[column]
    highest = max(last, connection.execute(select(func.max(id_column))).scalar_one() or 0)
    sequence = func.pg_get_serial_sequence(table, column)
    connection.execute(select(func.setval(sequence, max(highest, 1), highest > 0)))
