"""The database's own clock, as an expression: what one server wrote another can compare."""

from typing import Any, Final

from sqlalchemy import Double, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class DatabaseNow(FunctionElement[float]):
    """Seconds since the epoch when the statement runs, to a millisecond or better.

    On SQLite that is the clock of the machine whose process asks: they all share one.
    """

    type = Double()
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _on_sqlite(_element: DatabaseNow, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(DatabaseNow, "postgresql")
def _on_postgresql(_element: DatabaseNow, _compiler: SQLCompiler, **_: Any) -> str:
    # Not now(), which stands still in a transaction that waited for a lock.
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


ASKED_ONCE: Final = select(DatabaseNow()).scalar_subquery()
"""The same, asked once in each statement, so that PostgreSQL searches an index by it: of what may
be another at each row it reads all rows, and takes a third of them for found."""
