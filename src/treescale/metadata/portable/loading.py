"""What an empty database promises that is filled with rows, on either engine.

Tables are made as the version had them that the rows are of, and brought up to this one when the
rows are in: what a migration fills in, it fills in for restored rows as well. What the triggers
would write is in the rows already, so they are away meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from treescale.errors import BackupInvalid, SettingInvalid
from treescale.metadata.portable.tables import ENGINES_COUNTERS, Carried, Values
from treescale.metadata.schema import counters, metadata

Change = Callable[[Connection], None]
"""What is done to the rows before anybody sees them, in a transaction of the caller's."""
NOT_EMPTY: Final = (
    "{where} is not empty (it has rows in {rows}): a backup is restored into an empty database "
    "alone. {advice}"
)


class Loading(Protocol):
    """An empty database that is being filled, within its block."""

    async def begin(self, carried: Carried) -> None:
        """Make ready for the rows of a table; each once, referred ones before others."""
        ...

    async def add(self, carried: Carried, rows: Sequence[Values]) -> None:
        """Add rows to it."""
        ...

    async def finish(self, rows: Mapping[str, int], change: Change) -> None:
        """Check how many rows are in each table, bring the tables up to date, and change them.

        Raises BackupInvalid when a table has more rows or fewer. Only when the block ends without
        an error is anything there.
        """
        ...


def check_empty(connection: Connection, where: str, advice: str) -> None:
    """Raise SettingInvalid when any of our tables has a row that no engine makes by itself."""
    for table in metadata.sorted_tables:
        if not connection.dialect.has_table(connection, table.name):
            continue
        rows = select(func.count()).select_from(table.select().limit(1).subquery())
        if table is counters:
            own = table.c.name.in_(ENGINES_COUNTERS)
            rows = select(func.count()).select_from(counters).where(~own)
        if connection.execute(rows).scalar_one():
            raise SettingInvalid(NOT_EMPTY.format(where=where, rows=table.name, advice=advice))


def check_rows(connection: Connection, expected: Mapping[str, int]) -> None:
    """Raise BackupInvalid when a table has not as many rows as were put into it."""
    for name, rows in expected.items():
        table = metadata.tables[name]
        count = select(func.count()).select_from(table)
        if table is counters:
            count = count.where(~table.c.name.in_(ENGINES_COUNTERS))
        there = connection.execute(count).scalar_one()
        if there != rows:
            raise BackupInvalid(
                f"{name} has {there:,} rows after the restore, and the backup says {rows:,}: "
                "nothing was restored"
            )
