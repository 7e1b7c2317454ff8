"""Sizes are kept by one server of all, once a minute; each worker writes down what it was asked."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest, small
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from tests.unreadable import NO_NUMBER
from treescale.auth.counts import Counts
from treescale.errors import TooMany
from treescale.metadata.database import Database, open_database
from treescale.metadata.schema import namespaces, quota_blobs, repository_usage, tags
from treescale.metadata.schema import quotas as quotas_table
from treescale.metadata.usage.figures import Usage
from treescale.metadata.usage.pull_counts import PullCounts
from treescale.metadata.usage.quotas import Quotas
from treescale.oci.versions import version_key
from treescale.registry.counted.pulled import PullCounter
from treescale.registry.counted.rates import REQUESTS_SETTING, Rates
from treescale.server.background import Job, Scope
from treescale.server.usage_jobs import RECOUNTED_SETTING, limit_jobs, usage_jobs


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
        "tags.key": Scope.CLUSTER,
        "usage.count": Scope.CLUSTER,
        "usage.recount": Scope.CLUSTER,
        "usage.sample": Scope.CLUSTER,
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


async def test_tags_get_their_keys_while_an_earlier_version_has_the_lease_of_sizes(
    database: Database,
) -> None:
    """Such a server runs `usage.count`, and knows of no keys: it must not be part of that."""
    found = jobs(database, PullCounter(PullCounts(database.connections), JumpingClock()))
    await database.connections.change(update(tags).values(version_key=""))
    await found["tags.key"].work()
    (key,) = await database.connections.rows(select(tags.c.version_key))
    assert key.version_key == version_key("v1")


async def test_what_counts_for_a_quota_is_kept_too(database: Database) -> None:
    quotas = Quotas(database.connections)
    found = jobs(database, PullCounter(PullCounts(database.connections), JumpingClock()))
    await quotas.set_default("quota", 1000, actor=ACTOR)
    await found["usage.count"].work()
    (alice,) = await quotas.page("", 9)
    assert (alice.used, alice.waiting, alice.counting) == (4, 0, False)
    await database.connections.change(update(quotas_table).values(used=77))
    await database.connections.change(update(quota_blobs).values(size=77))
    await found["usage.count"].work()
    (alice,) = await quotas.page("", 9)
    assert alice.used == 77, "nobody has said that it is wrong"
    await database.connections.change(quota_blobs.delete())
    await database.connections.change(update(quotas_table).values(used=0))
    await found["usage.recount"].work()
    (alice,) = await quotas.page("", 9)
    assert alice.used == 4
    await database.manifests.delete(APP, manifest().digest, actor=ACTOR)
    await found["usage.sample"].work()
    (alice,) = await quotas.page("", 9)
    assert alice.waiting == 2


async def test_a_worker_goes_by_the_clusters_limits_of_requests(database: Database) -> None:
    rates = Rates(Counts(64), JumpingClock())
    (job,) = limit_jobs(database, rates)
    await job.work()
    assert not rates.are_limited
    await database.settings.put(REQUESTS_SETTING, "1")
    await job.work()
    rates.check("alice", "", is_pull=False)
    with pytest.raises(TooMany):
        rates.check("alice", "", is_pull=False)
    await database.settings.put(REQUESTS_SETTING, "none")
    await job.work()
    assert not rates.are_limited
    assert list(limit_jobs(database, None)) == []
