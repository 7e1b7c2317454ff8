"""An empty database, which tests would make again and again: made once a process.

On SQLite it is a file to be copied, on PostgreSQL what Alembic said when it made the first one.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Connection, event, inspect

from treescale.metadata import migrations
from treescale.metadata.migrations import migrate

_SAID: Final[list[str]] = []
"""What made the first database on PostgreSQL, once there was one."""


def empty_database(path: Path) -> str:
    """Write a migrated, empty SQLite database there, and return its address."""
    path.write_bytes(migrated())
    return f"sqlite:///{path}"


def migrate_by_template(patch: pytest.MonkeyPatch) -> None:
    """Give an empty database its tables in a fraction of the time that Alembic takes."""
    # both before the patch: what makes the template is Alembic
    run, statements = migrations._run_alembic, _statements()

    def from_template(connection: Connection, version: str = "head") -> None:
        is_new = not inspect(connection).get_table_names()
        if not is_new or version not in ("head", migrations.HEAD):
            run(connection, version)
        elif connection.dialect.name == "sqlite":
            for statement in statements:
                connection.exec_driver_sql(statement)
        elif _SAID:
            connection.connection.run_async(lambda driver: driver.execute(_SAID[0]))
        else:
            _SAID.append(_listened(connection, partial(run, connection, version)))

    patch.setattr(migrations, "_run_alembic", from_template)


def _listened(connection: Connection, run: Callable[[], None]) -> str:
    """Return all that is said to PostgreSQL meanwhile, but questions, as one statement."""
    said: list[str] = []

    def listen(*heard: Any) -> None:
        statement, parameters = heard[2:4]
        if not statement.lstrip().startswith("SELECT"):
            assert not parameters, statement
            said.append(statement)

    event.listen(connection, "before_cursor_execute", listen)
    run()
    event.remove(connection, "before_cursor_execute", listen)
    return ";\n".join(said)


@cache
def _statements() -> tuple[str, ...]:
    file = bytearray(migrated())
    file[18:20] = b"\x01\x01"  # with no log beside it, which memory has no place for
    with closing(sqlite3.connect(":memory:")) as template:
        template.deserialize(bytes(file))
        return tuple(template.iterdump())[1:-1]  # without BEGIN and COMMIT


@cache
def migrated() -> bytes:
    """Return the file of an empty database."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as thread:
        path = Path(place) / "migrated.db"
        # A loop of its own: whoever asks may be in one.
        thread.submit(lambda: asyncio.run(migrate(f"sqlite:///{path}"))).result()
        return path.read_bytes()
