"""SQL statements compiled once a process for all its databases of a kind, and not once a database.

Each test has a database of its own, for which SQLAlchemy would compile every statement anew: a
third of such tests' time. The program itself has all of SQLite's databases remember together. Here
those of PostgreSQL do likewise: all servers of a run are of the one version that is installed.
"""

from typing import Final

import pytest
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache

from treescale.metadata.engine import sqlite

STATEMENTS_MAX: Final = 4000


def compile_once() -> None:
    """Let all engines that are made from now on, but SQLite's, remember statements together."""
    changes: list[tuple[type, str, object]] = [
        (Engine, "_compiled_cache", _remembers(LRUCache(STATEMENTS_MAX))),
        (PGDialect_asyncpg, "__hash__", _kind),
        (PGDialect_asyncpg, "__eq__", _same_kind),
    ]
    for owner, name, value in changes:
        setattr(owner, name, value)


class Compiled:
    """What is remembered apart from all else: by tests that change how statements are compiled."""

    def __init__(self) -> None:
        self.everywhere: LRUCache[object, object] = LRUCache(STATEMENTS_MAX)
        self.on_sqlite: dict[object, object] = {}


def compile_apart(patch: pytest.MonkeyPatch, compiled: Compiled) -> None:
    """Let all databases of this test, also those that are open already, remember there."""
    patch.setattr(Engine, "_compiled_cache", _remembers(compiled.everywhere), raising=False)
    patch.setattr(sqlite._compiled, "_data", compiled.on_sqlite)


def _remembers(compiled: LRUCache[object, object]) -> property:
    return property(lambda _: compiled, lambda _, __: None)


def _kind(dialect: object) -> int:
    return hash(type(dialect))


def _same_kind(dialect: object, other: object) -> bool:
    return type(dialect) is type(other)
