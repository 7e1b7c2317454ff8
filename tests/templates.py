"""An empty database, which tests would make again and again: made once a process."""

import asyncio
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect

from treescale.metadata import migrations
from treescale.metadata.migrations import migrate


def empty_database(path: Path) -> str:
    """Write a migrated, empty SQLite database there, and return its address."""
    path.write_bytes(_migrated())
    return f"sqlite:///{path}"


def migrate_by_template(patch: pytest.MonkeyPatch) -> None:
    """Give an empty SQLite database its tables in a hundredth of the time that Alembic takes."""
    run, statements = migrations._run_alembic, _statements()

    def from_template(connection: Connection, version: str = "head") -> None:
        is_new = connection.dialect.name == "sqlite" and not inspect(connection).get_table_names()
        if not is_new or version not in ("head", migrations.HEAD):
            run(connection, version)
            return
        for statement in statements:
            connection.exec_driver_sql(statement)

    patch.setattr(migrations, "_run_alembic", from_template)


@cache
def _statements() -> tuple[str, ...]:
    file = bytearray(_migrated())
    file[18:20] = b"\x01\x01"  # with no log beside it, which memory has no place for
    with closing(sqlite3.connect(":memory:")) as template:
        template.deserialize(bytes(file))
        return tuple(template.iterdump())[1:-1]  # without BEGIN and COMMIT


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(1) as thread:
        path = Path(place) / "migrated.db"
        # A loop of its own: whoever asks may be in one.
        thread.submit(lambda: asyncio.run(migrate(f"sqlite:///{path}"))).result()
        return path.read_bytes()
