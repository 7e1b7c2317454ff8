"""Rules for tags are gone by in a job of the cluster, which stands still as collection does."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.metadata_retention import MONTH
from tests.contracts.metadata_rules import FIRST, OF_APP, push, rule
from tests.contracts.metadata_values import ACTOR, APP
from tests.templates import empty_database
from treescale.lease_times import COLLECTION_SETTING, FROZEN, ON
from treescale.maintenance.collection.leaps import RowsState, packed
from treescale.maintenance.collection.row_turns import ROWS_SETTING
from treescale.metadata.database import Database, open_database
from treescale.metadata.retention.rules import Rules
from treescale.server.background import Job, Scope
from treescale.server.jobs import collection_jobs


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A tag that a confirmed rule lets go."""
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    await push(opened, FIRST, "old")
    made = await rule(opened, OF_APP, MONTH)
    await Rules(opened.connections).arm(OF_APP, [made], actor=ACTOR)
    yield opened
    await opened.close()


async def job(database: Database) -> Job:
    (found,) = (one for one in await collection_jobs(database, 60.0) if one.name == "retention.run")
    return found


async def tags(database: Database) -> list[str]:
    return await database.manifests.list_tags(APP, "", 10)


async def test_nothing_goes_after_a_restore_until_somebody_has_looked(database: Database) -> None:
    found = await job(database)
    assert found.scope is Scope.CLUSTER
    await database.settings.put(COLLECTION_SETTING, FROZEN)
    await found.work()
    assert await tags(database) == ["old"]
    await database.settings.put(COLLECTION_SETTING, ON)
    await found.work()
    assert await tags(database) == []


async def test_nothing_goes_after_a_leap_of_the_clock(database: Database) -> None:
    """As if a clock were set years ahead: what is old by it may have been pushed just now."""
    await database.settings.put(ROWS_SETTING, packed(RowsState(looked=1.0)))
    await (await job(database)).work()
    assert await tags(database) == ["old"]
