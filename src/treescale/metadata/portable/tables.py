"""Which rows a backup carries, and which of those a database takes that is no move.

Every table is carried unless it is in `LEFT`. What is in `WITH_IDENTITY` is carried, and taken by a
restore that keeps the identity alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Double, Integer, LargeBinary, Table

from treescale.errors import BackupInvalid
from treescale.metadata.schema import metadata

Values = tuple[Any, ...]
"""A row, in the order of its table's columns."""

LEFT: Final[Mapping[str, str]] = {
    "jobs": "commands wait for them, and whoever wants one asks again",
    "sign_on_states": "a sign-on that is under way takes minutes, and is begun again",
    "leases": "they are over when a server starts, and no holder outlives the database",
    "walks": "what is on a disk is looked at anew, as after any start without them",
}
"""Tables of which a backup has no row, and why."""
WITH_IDENTITY: Final[Mapping[str, str]] = {
    "links": "a link that was used since would count again: make it anew",
    "peer_keys": "servers of the other database would be believed: the first server makes new ones",
    "sessions": "sessions that were ended since would count again: people sign in anew",
    "servers": "they may run on, and with the other database; each that starts is there again",
    "signing_keys": "tokens of the other database would count: the first server makes a new one",
    "upload_parts": "they go with their uploads",
    "uploads": "their chunks may have been collected since: clients begin again",
}
"""Tables that are restored only by a restore that keeps the identity, and why."""
ENGINES_COUNTERS: Final = frozenset({"answers", "commits"})
"""Rows of `counters` that are of SQLite's file itself, and not of what is in it."""
COUNTERS: Final = "counters"


@dataclass(frozen=True, slots=True)
class Carried:
    """A table as a database of some version has it."""

    name: str
    columns: tuple[str, ...]
    last_id: int = 0
    """The highest number that was given out as a row id; 0 when nobody counts."""

    @property
    def table(self) -> Table:
        """Return what the schema of this version says of it."""
        return metadata.tables[self.name]

    @property
    def numbered(self) -> str | None:
        """Return the column whose numbers the database gives out; None without one."""
        column = self.table.autoincrement_column
        return None if column is None else column.name


def carried_tables() -> list[Table]:
    """Return the tables that a backup carries, those that are referred to before the others."""
    return [table for table in metadata.sorted_tables if table.name not in LEFT]


def known(name: str, columns: Sequence[str], last_id: int) -> Carried:
    """Return a table that a backup names; raises BackupInvalid for one that is none of ours."""
    table = metadata.tables.get(name)
    if table is None or name in LEFT or not {*columns} <= {*table.columns.keys()}:
        raise BackupInvalid(f"the backup has rows that no table takes ({name!r})")
    if len({*columns}) < len(columns) or not columns:
        raise BackupInvalid(f"the backup names the columns of {name} wrongly")
    return Carried(name, tuple(columns), last_id)


def decoder(carried: Carried) -> msgspec.msgpack.Decoder[list[Values]]:
    """Return what reads its rows, and accepts nothing that is none."""
    kinds = tuple(_kind(carried.table.columns[name]) for name in carried.columns)
    row: Any = tuple.__class_getitem__(kinds)  # for msgspec, which reads it as it runs
    rows: Any = list.__class_getitem__(row)
    return msgspec.msgpack.Decoder(rows)


def flags(carried: Carried) -> tuple[int, ...]:
    """Return the places of its columns that are true or false: SQLite has numbers there."""
    return tuple(
        place
        for place, name in enumerate(carried.columns)
        if isinstance(carried.table.columns[name].type, Boolean)
    )


def quoted(names: Iterable[str]) -> str:
    """Return names as SQL has them: one of our columns is called `offset`."""
    return ", ".join(f'"{name}"' for name in names)


def _kind(column: Column[Any]) -> Any:
    kind = _KINDS.get(type(column.type), str)
    return kind | None if column.nullable else kind


_KINDS: Final[Mapping[type, Any]] = {
    BigInteger: int,
    Boolean: bool,
    Double: float,
    Integer: int,
    LargeBinary: bytes,
}
"""By type of column; everything else is text."""
