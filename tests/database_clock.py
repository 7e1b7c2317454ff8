"""The database's clock, put forward and back by tests: a setting says by how many seconds."""

from typing import Any, Final

import pytest
from sqlalchemy.sql.compiler import SQLCompiler

from tests.compiled import Compiled, compile_apart
from treescale.metadata.database import Database
from treescale.metadata.engine import clock

AHEAD: Final = "test_clock"
_AHEAD: Final = (
    f"coalesce((SELECT CAST(value AS DOUBLE PRECISION) FROM settings WHERE name = '{AHEAD}'), 0)"  # noqa: S608
)

_COMPILED: Final = Compiled()
"""What is compiled with it is the same in each test."""


class MovedClock:
    """By how much the clock of a database is ahead of the machine's."""

    def __init__(self) -> None:
        self.ahead = 0.0

    async def move(self, database: Database, seconds: float) -> None:
        """Put it forward, or back."""
        self.ahead += seconds
        await database.settings.put(AHEAD, f"{self.ahead}")


@pytest.fixture
def database_clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    """Have every database opened in this test go by its setting."""
    compile_apart(monkeypatch, _COMPILED)
    specs = vars(clock.DatabaseNow)["_compiler_dispatcher"].specs
    for dialect in ("sqlite", "postgresql"):
        original = specs[dialect]

        def moved(
            element: clock.DatabaseNow,
            compiler: SQLCompiler,
            _original: Any = original,
            **named: Any,
        ) -> str:
            return f"({_original(element, compiler, **named)} + {_AHEAD})"

        monkeypatch.setitem(specs, dialect, moved)
    return MovedClock()
