"""A database for the shells: which one makes no difference here, the contracts see to that."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treescale.metadata.migrations import migrate
from treescale.metadata.sql import SqlDatabase, open_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/treescale.db"
    asyncio.run(migrate(url))
    return url


@pytest.fixture
async def database(url: str) -> AsyncIterator[SqlDatabase]:
    opened = open_database(url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[SqlDatabase]:
    """The same again, as another server has it."""
    opened = open_database(url)
    yield opened
    await opened.close()
