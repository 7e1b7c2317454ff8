"""Pieces that several nouns' statements share: upserts for both dialects, a repository's row id."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Executable,
    ScalarSelect,
    Table,
    bindparam,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

from treescale.errors import DatabaseAway
from treescale.metadata.schema import repositories
from treescale.oci.names import namespace_of

_ensure_attempts_max: Final = 5


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


def id_of(parameter: str = "repository") -> ScalarSelect[int]:
    """Return a subquery for the row id of the repository named by a parameter."""
    query = select(repositories.c.repository_id).where(repositories.c.name == bindparam(parameter))
    return query.scalar_subquery()


_HOLD: Final = (
    select(repositories.c.repository_id)
    .where(repositories.c.name == bindparam("repository"))
    .with_for_update(read=True, key_share=True)
)
_CREATE: Final = insert_or_ignore(repositories)


def hold_repository(connection: Connection, name: str, *, now: float) -> int:
    """Return the repository's row id, creating it when absent.

    It cannot be deleted before the transaction ends. Always the first lock that a write takes, so
    that no two writes wait for each other.
    """
    for _ in range(_ensure_attempts_max):
        held = connection.execute(_HOLD, {"repository": name}).scalar_one_or_none()
        if held is not None:
            return int(held)
        connection.execute(
            _CREATE.on(connection),
            {"name": name, "namespace": namespace_of(name), "public": False, "created": now},
        )
    raise DatabaseAway(f"repository {name} is deleted as fast as it is created; try again")
