"""Sizes are kept by one server of all, once a minute; each worker writes down what it was asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest, small
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from tests.unreadable import NO_NUMBER
from treescale.metadata.database import Database, open_database
from treescale.metadata.schema import namespaces, repository_usage
from treescale.metadata.usage.figures import Usage
from treescale.metadata.usage.pull_counts import PullCounts
from treescale.registry.counted.pulled import PullCounter
from treescale.server.background import Job, Scope
from treescale.server.jobs import RECOUNTED_SETTING, usage_jobs


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    await opened.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await opened.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    yield opened
    await opened.close()


def jobs(database: Database, counter: PullCounter) -> dict[str, Job]:
    return {each.name: each for each in usage_jobs(database, counter, "s1")}


async def test_sizes_and_pulls_are_kept(database: Database) -> None:
    counter = PullCounter(PullCounts(database.connections), JumpingClock())
    found = jobs(database, counter)
    assert {name: job.scope for name, job in found.items()} == {
        "usage.count": Scope.CLUSTER,
        "usage.recount": Scope.CLUSTER,
        "pulls.write": Scope.WORKER,
    }
    await found["usage.count"].work()
    row = await database.connections.row(select(namespaces))
    assert row is not None
    assert (row.name, row.bytes, row.blobs) == ("alice", 2, 1)
    await database.connections.change(update(repository_usage).values(bytes=77))
    await found["usage.recount"].work()
    (app,) = await Usage(database.connections).repositories("", 9)
    assert app.bytes == 2
    await database.connections.change(update(repository_usage).values(bytes=77))
    await found["usage.recount"].work()
    (app,) = await Usage(database.connections).repositories("", 9)
    assert app.bytes == 77, "once a day, whichever process it is"
    for text in NO_NUMBER:  # nobody can tell when that was
        await database.settings.put(RECOUNTED_SETTING, text)
        await database.connections.change(update(repository_usage).values(bytes=77))
        await found["usage.recount"].work()
        (app,) = await Usage(database.connections).repositories("", 9)
        assert app.bytes == 2, text
    counter.note(APP, manifest().digest, "v1")
    await found["pulls.write"].work()
    (tag,) = await Usage(database.connections).tags(APP, "", 9)
    assert tag.pulled == JumpingClock().now()
    *_, told = await database.event_log.after(0, 100)
    assert (told.kind, told.actor, told.payload) == ("image.pulled", "server:s1", {"count": 1})
