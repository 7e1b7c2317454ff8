"""Inserts that meet an existing row, compiled for both dialects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    Table,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement


@dataclass(frozen=True, slots=True)
class Upsert:
    """An insert that meets an existing row (by primary key), compiled for either dialect."""

    on_sqlite: Executable
    on_postgresql: Executable

    def on(self, connection: Connection) -> Executable:
        """Return the statement for this connection's dialect."""
        sqlite_speaks = connection.dialect.name == "sqlite"
        return self.on_sqlite if sqlite_speaks else self.on_postgresql


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
    lite = sqlite.insert(table).on_conflict_do_nothing()
    post = postgresql.insert(table).on_conflict_do_nothing()
    if computed:
        lite, post = lite.values(**computed), post.values(**computed)
    if returning is None:
        return Upsert(lite, post)
    return Upsert(lite.returning(returning), post.returning(returning))


def insert_or_update(table: Table, columns: Sequence[str], *, later: str | None = None) -> Upsert:
    """Return an insert that else sets `columns`; only if `later` grows, when that is given."""
    keys = [column.name for column in table.primary_key.columns]
    lite, post = sqlite.insert(table), postgresql.insert(table)
    return Upsert(
        lite.on_conflict_do_update(
            index_elements=keys,
            set_={name: lite.excluded[name] for name in columns},
            where=None if later is None else lite.excluded[later] > table.c[later],
        ),
        post.on_conflict_do_update(
            index_elements=keys,
            set_={name: post.excluded[name] for name in columns},
            where=None if later is None else post.excluded[later] > table.c[later],
        ),
    )


def insert_or_update_if(
    table: Table,
    columns: Sequence[str],
    computed: Computed,
    condition: Callable[[NewRow], ColumnElement[bool]],
) -> Upsert:
    """Return an insert that else sets `columns`, if `condition` holds of the row that is there.

    One statement, so nobody comes between condition and change; no row changes when it fails.
    """
    keys = [column.name for column in table.primary_key.columns]
    lite = sqlite.insert(table).values(**computed)
    post = postgresql.insert(table).values(**computed)
    return Upsert(
        lite.on_conflict_do_update(
            index_elements=keys,
            set_={**{name: lite.excluded[name] for name in columns}, **computed},
            where=condition(lite.excluded),
        ),
        post.on_conflict_do_update(
            index_elements=keys,
            set_={**{name: post.excluded[name] for name in columns}, **computed},
            where=condition(post.excluded),
        ),
    )
