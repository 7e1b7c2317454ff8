"""What nothing holds, at the moments that matter, and by which index it is found."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update
from sqlalchemy.engine import Connection

from tests.contracts.metadata_untagged import DAY, KEPT, Images, child
from tests.contracts.metadata_values import ACTOR, APP, NOW, manifest
from tests.database_clock import MovedClock
from tests.metadata.test_collection_races import held_open
from tests.metadata.test_plans import plan_on_sqlite, scanned, sorted_in_memory
from tests.metadata.waiting import wait_for
from treescale.lease_times import UNTAGGED_SETTING, stored
from treescale.metadata.collection import untagged
from treescale.metadata.collection.untagged import UntaggedCollector
from treescale.metadata.database import Database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import Connections
from treescale.metadata.manifest_push import hold_references, manifest_row, refer, write_manifest
from treescale.metadata.repositories import lock_repository
from treescale.metadata.schema import manifests


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def rows(url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(url))
    yield opened
    await opened.close()


def test_what_is_due_is_found_by_an_index(sqlite_url: str) -> None:
    plan = plan_on_sqlite(untagged.DUE, sqlite_url.removeprefix("sqlite:///"))
    assert [step for step in plan if "ix_manifests_untagged_since" in step], plan
    assert not scanned(plan), plan
    # By the repository alone it would read all of its tags, and all that its images refer to.
    assert not [step for step in plan if step.endswith("(repository_id=?)")], plan
    assert not sorted_in_memory(plan), plan


@pytest.mark.long
@pytest.mark.parametrize("is_held", [True, False])
async def test_a_child_is_there_until_its_index_has_referred_to_it(
    url: str,
    database: Database,
    rows: Connections,
    database_clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    is_held: bool,  # noqa: FBT001  a parameter
) -> None:
    """An index is put, held open between its look and its rows. Control: a lock that lets it."""
    await database.settings.put(UNTAGGED_SETTING, stored(KEPT))
    images = Images(database, database_clock)
    leaf = await images.put(b"leaf")
    await images.after(DAY)
    await database_clock.move(database, KEPT)
    loop, collector, index = asyncio.get_running_loop(), UntaggedCollector(rows), manifest(b"i")
    if not is_held:
        weak = untagged.HOLD.with_for_update(key_share=True, skip_locked=True, of=manifests)
        monkeypatch.setattr(untagged, "HOLD", weak)
        monkeypatch.setattr(untagged, "delete_with_all_said_of_it", unheld)

    def work(connection: Connection) -> None:
        row_id = lock_repository(connection, APP, actor=ACTOR, now=NOW)
        hold_references(connection, row_id, [child(leaf)])
        wait_for(connection, loop, collector.take())
        write_manifest(connection, manifest_row(row_id, index, actor=ACTOR), (), None)
        refer(connection, row_id, index.digest, [child(leaf)])

    await held_open(url, work)
    await collector.take()
    assert await images.here(index, leaf) == [True, is_held]


def unheld(connection: Connection, row_id: int, *digests: str, stamp: float) -> frozenset[str]:
    """Mark them without a lock of its own."""
    these = (manifests.c.repository_id == row_id, manifests.c.digest.in_(digests))
    connection.execute(update(manifests).where(*these).values(deleted=stamp))
    return frozenset(digests)
