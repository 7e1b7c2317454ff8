"""The row collector against everything else at once, and at the moments that matter.

PostgreSQL's deadlocks (40P01) are run again by us, and so would hide: here they are counted. SQLite
has one writer, and nothing to order.
"""

import asyncio
import os
import random  # noqa: TID251  from a seed
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from tests.contracts.metadata_values import (
    ACTOR,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
)
from tests.database_clock import MovedClock
from tests.examples import RACES
from tests.metadata.waiting import wait_for
from treescale.errors import (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    Unsupported,
)
from treescale.lease_times import (
    LEASE_SETTING,
    UNDELETE_SETTING,
    LeaseTimes,
    stored,
)
from treescale.metadata import blobs as blobs_module
from treescale.metadata.collection.adoption import Adoption
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Restored, Undelete
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import postgresql
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.errors import is_retryable
from treescale.metadata.manifest_push import hold_references
from treescale.metadata.repositories import lock_repository

SECONDS_MAX: Final = 120
ROUNDS: Final = int(os.environ.get("COLLECTION_ROUNDS", "60"))
"""Of each of eight connections: 60 are some seconds; more by hand."""
APP: Final = "alice/app"
EXPECTED: Final = (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    Unsupported,
)
DANGLING: Final = text(
    "SELECT r.digest FROM manifest_references r JOIN manifests m ON "
    "m.repository_id = r.repository_id AND m.digest = r.manifest LEFT JOIN repository_blobs l "
    "ON l.repository_id = r.repository_id AND l.digest = r.digest WHERE l.digest IS NULL"
)
UNQUEUED: Final = text(
    "SELECT l.digest FROM repository_blobs l WHERE l.lease_until < 0 AND NOT EXISTS (SELECT 1 "
    "FROM manifest_references r WHERE r.repository_id = l.repository_id AND r.digest = l.digest)"
)
HIDDEN: Final = text(
    "SELECT l.digest FROM repository_blobs l JOIN manifest_references r ON "
    "r.repository_id = l.repository_id AND r.digest = l.digest JOIN manifests m ON "
    "m.repository_id = r.repository_id AND m.digest = r.manifest "
    "WHERE l.hidden IS NOT NULL AND m.deleted IS NULL"
)
POINTING_NOWHERE: Final = text(
    "SELECT t.name FROM tags t JOIN manifests m ON m.repository_id = t.repository_id "
    "AND m.digest = t.digest WHERE m.deleted IS NOT NULL"
)
UNNAMED: Final = text(
    "SELECT c.chunk FROM chunks c WHERE NOT EXISTS "
    "(SELECT 1 FROM blob_chunks b WHERE b.chunk = c.chunk)"
)
Act = Callable[[Database, random.Random], Awaitable[object]]


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def rows(url: str) -> AsyncIterator[Connections]:
    opened = connect(parse_address(url))
    yield opened
    await opened.close()


async def commit(database: Database, chance: random.Random) -> None:
    number = chance.randrange(8)
    new = large(number, *(part(number + each) for each in range(4)))
    await database.blobs.commit(name(chance), new, upload_id=None, now=NOW, actor=ACTOR)


async def mount(database: Database, chance: random.Random) -> None:
    number = digest(chance.randrange(8))
    sources = [f"alice/{each}" for each in range(3)]
    await database.blobs.mount(name(chance), number, sources, now=NOW, actor=ACTOR)


async def head(database: Database, chance: random.Random) -> None:
    await database.blobs.promise(name(chance), digest(chance.randrange(8)))


async def put(database: Database, chance: random.Random) -> None:
    number = chance.randrange(6)
    needed = [blob_reference(each) for each in (number, number + 1, number + 2)]
    made = manifest(b"%d" % number)
    await database.manifests.put(name(chance), made, needed, ["v"], now=NOW, actor=ACTOR)


async def delete(database: Database, chance: random.Random) -> None:
    made = manifest(b"%d" % chance.randrange(6))
    await database.manifests.delete(name(chance), made.digest, actor=ACTOR)


async def unlink(database: Database, chance: random.Random) -> None:
    await database.blobs.unlink(name(chance), digest(chance.randrange(8)))


async def undelete(database: Database, chance: random.Random) -> None:
    made = manifest(b"%d" % chance.randrange(6))
    await Undelete(database.connections).manifest(name(chance), made.digest, actor=ACTOR)


async def untag(database: Database, chance: random.Random) -> None:
    await database.manifests.delete_tag(name(chance), "v", actor=ACTOR)


async def tag_back(database: Database, chance: random.Random) -> None:
    await Undelete(database.connections).tag(name(chance), "v", actor=ACTOR)


async def leave(database: Database, chance: random.Random) -> None:
    await database.repositories.delete(name(chance), actor=ACTOR)


async def collect(database: Database, _: random.Random) -> None:
    await Adoption(database.connections).adopt()
    await RowCollector(database.connections).cycle()


def name(chance: random.Random) -> str:
    return f"alice/{chance.randrange(3)}"


ACTS: Final[tuple[Act, ...]] = (
    *(commit,) * 4,
    *(put,) * 4,
    *(mount, head, delete, unlink, undelete, untag, tag_back) * 2,
    leave,
)


async def found(rows: Connections, query: Any) -> list[Any]:
    return [tuple(row) for row in await rows.rows(query)]


@pytest.mark.parametrize("seed", RACES)
async def test_nothing_that_is_referred_to_is_taken_and_nobody_waits_in_a_circle(
    url: str, rows: Connections, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone: list[str] = []

    def noted(error: DBAPIError) -> bool:
        undone.append(str(error))
        return is_retryable(error)

    monkeypatch.setattr(postgresql, "is_retryable", noted)
    database = [open_database(url) for _ in range(3)]
    await database[0].settings.put(LEASE_SETTING, "0s")
    await database[0].settings.put(UNDELETE_SETTING, stored(1))

    async def act(number: int) -> None:
        chance = random.Random(f"{seed} {number}")  # noqa: S311
        for _ in range(ROUNDS):
            with suppress(*EXPECTED):
                which = collect if number < 2 else chance.choice(ACTS)
                await which(database[number % 3], chance)

    async with asyncio.timeout(max(SECONDS_MAX, ROUNDS)), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(act(number))
    assert await found(rows, DANGLING) == []
    assert await found(rows, UNQUEUED) == []
    assert await found(rows, HIDDEN) == []
    assert await found(rows, POINTING_NOWHERE) == []
    await RowCollector(rows).slow_pass()
    assert await found(rows, UNNAMED) == []
    assert undone == [], "a deadlock, or a reference to what is gone"
    for each in database:
        await each.close()


async def held_open(url: str, work: Callable[[Connection], None]) -> None:
    holder = connect(parse_address(url))
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await holder.write(work)
    finally:
        await holder.close()


async def idle_blob(database: Database, database_clock: MovedClock, number: int = 1) -> None:
    """Let a blob be there that nothing refers to, and whose lease is over."""
    new = large(number, part(number))
    await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
    await database_clock.move(database, LeaseTimes().link + 1)


async def test_a_manifest_that_is_being_put_keeps_what_it_has_looked_at(
    url: str, database: Database, rows: Connections, database_clock: MovedClock
) -> None:
    """Control: the look in the statement that deletes, which waits, and goes on as it began."""
    await idle_blob(database, database_clock)
    loop, made, collector = asyncio.get_running_loop(), manifest(), RowCollector(rows)

    def work(connection: Connection) -> None:
        row_id = lock_repository(connection, APP, actor=ACTOR, now=NOW)
        hold_references(connection, row_id, [blob_reference(1)])
        wait_for(connection, loop, collector.cycle())
        connection.execute(
            text(
                "INSERT INTO manifests (repository_id, digest, media_type, size, "
                "annotations_bytes, pushed, annotations, payload) "
                "VALUES (:row_id, :digest, 'x', 1, 0, 1, '{}', 'x')"
            ),
            {"row_id": row_id, "digest": made.digest},
        )
        connection.execute(
            text("INSERT INTO manifest_references VALUES (:row_id, :made, :digest, 'blob')"),
            {"row_id": row_id, "made": made.digest, "digest": digest(1)},
        )

    await held_open(url, work)
    await collector.cycle()
    assert await found(rows, DANGLING) == []
    assert (await database.blobs.find(APP, digest(1))).digest == digest(1)


@pytest.mark.parametrize("holds", [True, False])
async def test_chunk_rows_are_there_until_a_push_has_referred_to_them(
    url: str,
    database: Database,
    rows: Connections,
    database_clock: MovedClock,
    holds: bool,  # noqa: FBT001  a parameter
) -> None:
    """And the control: a push that inserts and does not hold refers to what is gone."""
    await idle_blob(database, database_clock)
    loop, collector = asyncio.get_running_loop(), RowCollector(rows)

    def work(connection: Connection) -> None:
        if holds:
            blobs_module._hold_chunks(connection, [part(1)])
        else:
            statement = blobs_module._INSERT_CHUNK.on(connection)
            connection.execute(statement, blobs_module._chunk_rows([part(1)]))
        wait_for(connection, loop, collector.cycle())

    await held_open(url, work)
    there = text("SELECT chunk FROM chunks")
    assert len(await found(rows, there)) == (1 if holds else 0)
    assert ((await collector.slow_pass()).found == 1) is holds


async def test_what_a_purge_asks_for_is_looked_at_again(
    url: str, database: Database, rows: Connections, database_clock: MovedClock
) -> None:
    """Though a collector has just found it in use. Control: lock only what is not queued yet."""
    await idle_blob(database, database_clock)
    made = manifest()
    await database.manifests.put(APP, made, [blob_reference(1)], ["v"], now=NOW, actor=ACTOR)
    await database.settings.put(UNDELETE_SETTING, stored(0))
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    await database_clock.move(database, 1)
    loop, collector = asyncio.get_running_loop(), RowCollector(rows)

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT blob_id FROM repository_blobs FOR UPDATE"))
        purging = loop.create_task(collector.purge())
        wait_for(connection, loop, waiting_for_a_lock(database))
        connection.execute(text("UPDATE repository_blobs SET lease_until = -1"))
        purged.append(purging)

    purged: list[asyncio.Task[int]] = []
    await held_open(url, work)
    assert await purged[0] == 1
    assert await found(rows, UNQUEUED) == []


async def test_a_layer_that_is_deleted_meanwhile_shows_when_its_image_is_restored(
    url: str, database: Database, rows: Connections
) -> None:
    """Control: show what is hidden without holding all first. Then it does not wait."""
    made = manifest()
    await database.blobs.commit(APP, large(1, part(1)), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(APP, made, [blob_reference(1)], ["v"], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    loop, restoring = asyncio.get_running_loop(), list[asyncio.Task[Restored]]()

    def work(connection: Connection) -> None:
        this = {"repository": APP, "this": digest(1)}
        row_id = connection.execute(blobs_module.HOLD_LINK, this).scalar_one()
        wanted = {"row_id": row_id, "digest": digest(1)}
        assert connection.execute(blobs_module.REFERRING, wanted).all() == []
        connection.execute(blobs_module.HIDE, this)
        undelete = Undelete(rows).manifest(APP, made.digest, actor=ACTOR)
        restoring.append(loop.create_task(undelete))
        wait_for(connection, loop, waiting_for_a_lock(database))

    await held_open(url, work)
    assert (await restoring[0]).manifests == (made.digest,)
    assert (await database.blobs.find(APP, digest(1))).digest == digest(1)


async def test_a_repository_that_is_begun_meanwhile_keeps_its_name(
    url: str, database: Database, rows: Connections
) -> None:
    await database.repositories.set_public(APP, public=True, now=NOW, actor=ACTOR)
    await database.repositories.delete(APP, actor=ACTOR)
    loop, restoring = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    def work(connection: Connection) -> None:
        lock_repository(connection, APP, actor=ACTOR, now=NOW)
        undelete = Undelete(rows).repository(APP, to=None, actor=ACTOR)
        restoring.append(loop.create_task(undelete))
        wait_for(connection, loop, waiting_for_a_lock(database))

    await held_open(url, work)
    with pytest.raises(PreconditionFailed, match="restore it --as another name"):
        await restoring[0]


async def test_what_gets_a_tag_while_its_subject_is_deleted_stays(
    url: str, database: Database
) -> None:
    """Control: look for what has none, and hold it after that."""
    made = manifest()
    said = manifest(b"said", subject=made.digest)
    for each in (made, said):
        await database.manifests.put(APP, each, [], [], now=NOW, actor=ACTOR)
    loop, deleting = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    def work(connection: Connection) -> None:
        this = {"digest": said.digest}
        connection.execute(text("SELECT 1 FROM manifests WHERE digest = :digest FOR UPDATE"), this)
        deleting.append(loop.create_task(database.manifests.delete(APP, made.digest, actor=ACTOR)))
        wait_for(connection, loop, waiting_for_a_lock(database))
        connection.execute(
            text(
                "INSERT INTO tags (repository_id, name, digest, updated) "
                "SELECT repository_id, 'v', digest, 1 FROM manifests WHERE digest = :digest"
            ),
            this,
        )

    await held_open(url, work)
    await deleting[0]
    assert (await database.manifests.resolve(APP, "v")).digest == said.digest


async def test_the_manifest_is_held_before_its_tags(
    url: str, database: Database, rows: Connections
) -> None:
    """Who deletes a tag has them in the order of who deletes the manifest: no deadlock.

    Control: the tag first. Then it is not free here, and each waits for the other.
    """
    await database.manifests.put(APP, manifest(), [], ["v"], now=NOW, actor=ACTOR)
    loop, deleting = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT digest FROM manifests FOR UPDATE"))
        deleting.append(loop.create_task(database.manifests.delete_tag(APP, "v", actor=ACTOR)))
        wait_for(connection, loop, waiting_for_a_lock(database))
        free = connection.execute(text("SELECT name FROM tags FOR UPDATE SKIP LOCKED"))
        assert [tuple(row) for row in free] == [("v",)]

    await held_open(url, work)
    await deleting[0]
    assert await found(rows, text("SELECT name FROM tags")) == []


async def test_a_tag_that_is_moved_meanwhile_is_deleted_where_it_points_then(
    url: str, database: Database, rows: Connections
) -> None:
    made, other = manifest(), manifest(b"other")
    await database.manifests.put(APP, made, [], ["v"], now=NOW, actor=ACTOR)
    await database.manifests.put(APP, other, [], ["w"], now=NOW, actor=ACTOR)
    loop, deleting = asyncio.get_running_loop(), list[asyncio.Task[None]]()

    def work(connection: Connection) -> None:
        moved = text("UPDATE tags SET digest = :digest WHERE name = 'v'")
        connection.execute(moved, {"digest": other.digest})
        deleting.append(loop.create_task(database.manifests.delete_tag(APP, "v", actor=ACTOR)))
        wait_for(connection, loop, waiting_for_a_lock(database))

    await held_open(url, work)
    await deleting[0]
    aside = text("SELECT name, digest FROM deleted_tags")
    assert await found(rows, aside) == [("v", other.digest)]


async def waiting_for_a_lock(database: Database) -> None:
    waits = text("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with asyncio.timeout(SECONDS_MAX):
        while not await database.connections.rows(waits):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
