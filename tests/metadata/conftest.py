"""A database for each test; where it is, `url` says: each file of contracts has its own."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.postgres import empty_postgres_url, postgres, postgres_url
from treescale.metadata.migrations import migrate
from treescale.metadata.sql import SqlDatabase, open_database

__all__ = ["empty_postgres_url", "postgres", "postgres_url"]


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to copy, migrated once."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(empty_sqlite: Path, tmp_path: Path) -> str:
    """A migrated, empty database."""
    path = tmp_path / "treescale.db"
    shutil.copy(empty_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[SqlDatabase]:
    """The database under test."""
    opened = open_database(url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[SqlDatabase]:
    """The same again, with connections of its own, as another process has it."""
    opened = open_database(url)
    yield opened
    await opened.close()
