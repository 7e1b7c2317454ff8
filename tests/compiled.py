"""SQL statements compiled once a process for all its databases of a kind, and not once a database.

Each test has a database of its own, for which SQLAlchemy would compile every statement anew: a
third of such tests' time. What a statement becomes depends on the kind of database alone: of
PostgreSQL, all servers of a run are of the one version that is installed.
"""

from typing import Final

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache

KINDS: Final = (SQLiteDialect_pysqlite, PGDialect_asyncpg)
STATEMENTS_MAX: Final = 4000


def compile_once() -> None:
    """Let all engines that are made from now on remember statements together."""
    compiled: LRUCache[object, object] = LRUCache(STATEMENTS_MAX)
    changes: list[tuple[type, str, object]] = [
        (Engine, "_compiled_cache", property(lambda _: compiled, lambda _, __: None)),
        *((kind, "__hash__", _kind) for kind in KINDS),
        *((kind, "__eq__", _same_kind) for kind in KINDS),
    ]
    for owner, name, value in changes:
        setattr(owner, name, value)


def compile_apart(patch: pytest.MonkeyPatch) -> None:
    """Let this test's databases remember their own: what it changes is compiled into statements."""
    apart: LRUCache[object, object] = LRUCache(STATEMENTS_MAX)
    patch.setattr(Engine, "_compiled_cache", property(lambda _: apart, lambda _, __: None))


def _kind(dialect: object) -> int:
    return hash(type(dialect))


def _same_kind(dialect: object, other: object) -> bool:
    return type(dialect) is type(other)
