"""A database for each test; where it is, `url` says: each file of contracts has its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.database_clock import database_clock
from tests.postgres import empty_postgres_url, postgres, postgres_url
from tests.templates import empty_database
from treescale.metadata.database import Database, open_database

__all__ = ["database_clock", "empty_postgres_url", "postgres", "postgres_url"]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A migrated, empty database."""
    return empty_database(tmp_path / "treescale.db")


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The database under test."""
    opened = open_database(url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[Database]:
    """The same again, with connections of its own, as another process has it."""
    opened = open_database(url)
    yield opened
    await opened.close()
