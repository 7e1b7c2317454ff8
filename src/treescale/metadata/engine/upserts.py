"""Inserts that meet an existing row, in the dialect of the database they are run on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Table,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

Insert = Callable[[Table], sqlite.Insert]
"""Begins an insert. PostgreSQL's has all methods of SQLite's that are used here."""


class Upsert:
    """An insert that meets an existing row (by primary key), of either dialect.

    It is made for a dialect when it is first run there: PostgreSQL's takes 2 MB of SQLAlchemy, of
    no use to whoever has SQLite.
    """

    def __init__(self, make: Callable[[Insert], Executable]) -> None:
        self._make = make
        self._made: dict[str, Executable] = {}

    def on(self, connection: Connection) -> Executable:
        """Return the statement for this connection's dialect."""
        return self.for_dialect(connection.dialect.name)

    def for_dialect(self, name: str) -> Executable:
        """Return the statement for the dialect of this name."""
        made = self._made.get(name)
        if made is None:  # by two threads at once, perhaps: both are the same
            made = self._made[name] = self._make(_insert_of(name))
        return made


def _insert_of(dialect: str) -> Insert:
    if dialect == "sqlite":
        return sqlite.insert
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  see `Upsert`

    insert: Any = postgresql.insert
    return insert  # type: ignore[no-any-return]


Computed = Mapping[str, ColumnElement[Any]]
"""Columns that the database fills in itself, with what."""
NewRow = ReadOnlyColumnCollection[str, KeyedColumnElement[Any]]
"""The row that was to be inserted, in the condition of an update."""
_NOTHING: Final[Computed] = {}


def insert_or_ignore(
    table: Table, *, returning: Column[Any] | None = None, computed: Computed = _NOTHING
) -> Upsert:
    """Return an insert that leaves an existing row as it is (any unique key counts).

    `returning` is read from the row if it is new; there is no answer when it is not.
    """

    def make(insert: Insert) -> Executable:
        new = insert(table).on_conflict_do_nothing()
        if computed:
            new = new.values(**computed)
        return new if returning is None else new.returning(returning)

    return Upsert(make)


def insert_or_update(table: Table, columns: Sequence[str], *, later: str | None = None) -> Upsert:
    """Return an insert that else sets `columns`; only if `later` grows, when that is given."""

    def condition(new: NewRow) -> ColumnElement[bool] | None:
        return None if later is None else new[later] > table.c[later]

    return _upsert(table, columns, None, condition)


def insert_or_update_if(
    table: Table,
    columns: Sequence[str],
    computed: Computed,
    condition: Callable[[NewRow], ColumnElement[bool]],
) -> Upsert:
    """Return an insert that else sets `columns`, if `condition` holds of the row that is there.

    One statement, so nobody comes between condition and change; no row changes when it fails.
    """
    return _upsert(table, columns, computed, condition)


def _upsert(
    table: Table,
    columns: Sequence[str],
    computed: Computed | None,
    condition: Callable[[NewRow], ColumnElement[bool] | None],
) -> Upsert:
    keys = [column.name for column in table.primary_key.columns]

    def make(insert: Insert) -> Executable:
        new = insert(table) if computed is None else insert(table).values(**computed)
        return new.on_conflict_do_update(
            index_elements=keys,
            set_={**{name: new.excluded[name] for name in columns}, **(computed or _NOTHING)},
            where=condition(new.excluded),
        )

    return Upsert(make)
