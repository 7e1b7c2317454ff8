"""Statements that a server's start compiles are those that its jobs run; see tests/api, too."""

import pytest

from tests.compiled import Compiled, compile_apart
from treescale.metadata.database import Database
from treescale.metadata.engine import sqlite
from treescale.metadata.engine.sqlite import compile_ahead

RUN_MIN = 6


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> set[object]:
    """What is compiled ahead; nothing is compiled any more when the test begins."""
    compile_apart(monkeypatch, Compiled())
    compile_ahead()
    found = set(sqlite._compiled._data)
    sqlite._compiled._data.clear()
    return found


async def test_what_jobs_run_is_found_compiled(database: Database, ahead: set[object]) -> None:
    await database.leases.hold("some work", "me", 5.0)
    await database.leases.release("some work", "me")
    assert await database.walks.get("a store") is None
    assert await database.jobs.open_of("a store") == []
    assert await database.hooks.enabled() == []
    assert await database.event_log.last() == 0
    assert (await database.examine()).write is None
    ran = set(sqlite._compiled._data)
    assert len(ran & ahead) >= RUN_MIN
    assert ran <= ahead
