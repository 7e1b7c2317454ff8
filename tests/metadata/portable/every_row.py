"""A database with rows in every table there is, and all that it holds, to be compared."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    MetaData,
    Table,
    insert,
    select,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.portable.snapshot import Snapshot, snapshot
from treescale.metadata.schema import metadata

ROWS: Final = 3
"""Of each table; whatever may be NULL is so in the last."""
EITHER: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "blobs": [{"recipe": None}, {"inline": None}, {"inline": None, "lost_since": 7.5}],
    "uploads": [{"tail_inline": None}, {"tail_chunk": None}, {"tail_chunk": None}],
}
"""Where a check wants one of two columns."""
Dump = dict[str, list[tuple[Any, ...]]]


def value(column: Column[Any], number: int) -> Any:
    """Return what no other column, or row, has; not everything compresses, or is ASCII."""
    kind = column.type
    values = {
        bool: number % 2 == 0,
        float: 1_700_000_000.0625 + number,
        bytes: bytes([number]) * 31 + b"\xff",
        int: number + 1,
        str: f"{column.table.name}.{column.name} {number} ü",
    }
    if isinstance(kind, BigInteger) or column.primary_key:
        values[int] = 2**40 * (number + 1) + len(column.name)
    return values[kind.python_type]


def row(table: Table, number: int) -> dict[str, Any]:
    """Return a row of a table, that refers to the rows of this number."""
    found = {}
    for column in table.columns:
        target = column
        while target.foreign_keys:
            target = next(iter(target.foreign_keys)).column
        is_last = number == ROWS - 1 and column.nullable and not column.foreign_keys
        found[column.name] = None if is_last else value(target, number)
    found |= EITHER.get(table.name, [{}] * ROWS)[number]
    if table.name in EITHER:
        kept = {"blobs": ("inline", "recipe"), "uploads": ("tail_inline", "tail_chunk")}
        for name in kept[table.name]:
            if name not in EITHER[table.name][number]:
                found[name] = bytes([number]) * 40
    return found


def fill(connection: Connection, tables: MetaData = metadata) -> None:
    """Put rows into every table."""
    for table in tables.sorted_tables:
        connection.execute(insert(table), [row(table, number) for number in range(ROWS)])


async def filled(url: str) -> None:
    """Put rows into every table of the database at `url`."""
    connections = connect(parse_address(url))
    try:
        await connections.write(fill)
    finally:
        await connections.close()


async def dump(url: str) -> Dump:
    """Return what a backup of the database would carry."""
    async with snapshot(url) as found:
        return await rows_of(found)


async def rows_of(found: Snapshot) -> Dump:
    """Return all rows of a snapshot."""
    return {
        each.name: [each_row async for batch in found.batches(each) for each_row in batch]
        for each in found.facts.tables
    }


async def counted(url: str) -> Mapping[str, int]:
    """Return how many rows each table has, by a reader of none of our backup's code."""
    connections = connect(parse_address(url))
    try:
        return {
            name: len(await connections.rows(select(table)))
            for name, table in metadata.tables.items()
        }
    finally:
        await connections.close()
