"""Statements that the processes of every server run: its start compiles them once for all.

Whoever compiles one takes megabytes of its own for it, most of them pages with SQLAlchemy's
compiler that all processes share until then (docs/performance.md, "Memory").
"""

from dataclasses import dataclass
from typing import Final, TypeVar

from sqlalchemy import Executable

from treescale.metadata.engine.upserts import Upsert

_Statement = TypeVar("_Statement", bound=Executable | Upsert)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A statement, the names of the parameters that it is run with, and if with many at once."""

    statement: Executable | Upsert
    names: tuple[str, ...]
    many: bool


AHEAD: Final[list[Ahead]] = []
"""All of them, of the modules that are imported."""


def ahead(statement: _Statement, names: str = "", *, many: bool = False) -> _Statement:
    """Return the statement, which is to be compiled ahead for parameters of these names.

    With `many` it is run with the parameters of several rows, too.
    """
    AHEAD.append(Ahead(statement, tuple(sorted(names.split())), many))
    return statement
