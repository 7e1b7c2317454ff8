"""A purge against whoever has looked at the fence and has not committed: only PostgreSQL has both.

SQLite has one writer.
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.engine import Connection

from tests.contracts.metadata_uploads import progress
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
    upload,
)
from tests.metadata.waiting import wait_for
from treescale.metadata import blobs as blobs_module
from treescale.metadata import uploads as uploads_module
from treescale.metadata.collection import purging as purging_module
from treescale.metadata.collection.purge_plan import PurgeReader
from treescale.metadata.collection.purging import InUse, Purging
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.manifest_push import UNFINISHED
from treescale.metadata.records import EMPTY_TAIL
from treescale.metadata.repositories import hold
from treescale.metadata.schema import manifests
from treescale.metadata.uploads import pack_parts

SECONDS_MAX: Final = 60
WAITS: Final = text("SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


@pytest.fixture
def url(postgres_url: str) -> str:
    return postgres_url


@pytest.fixture
async def purging(database: Database) -> Purging:
    """An image is deleted, and its purge begun: only the chunk's row is left."""
    await database.uploads.create(upload())
    await database.blobs.commit(APP, large(1, part(1)), upload_id=None, now=NOW, actor=ACTOR)
    made = manifest()
    await database.manifests.put(APP, made, [blob_reference(1)], ["v"], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    plan = await PurgeReader(database.connections).plan(APP, None, None)
    purging = Purging(database.connections)
    await purging.begin("p", APP, actor=ACTOR)
    await purging.take("p", plan, actor=ACTOR)
    return purging


def commits(connection: Connection) -> Callable[[], None]:
    """Begin as a commit does; return what it does next."""
    held = hold(connection, APP, actor=ACTOR, now=NOW)
    assert not held.any_purged

    def name() -> None:
        new = large(9, part(1))
        blob_id = blobs_module._write_blob(connection, new)
        blobs_module._link(connection, held.row_id, digest(9), blob_id)

    return name


def advances(connection: Connection) -> Callable[[], None]:
    """Begin as an advance does; return what it does next."""
    change = uploads_module._change("upload", progress(0, 1000, EMPTY_TAIL, part(1)))
    row = connection.execute(uploads_module.ADVANCE, change).one()
    assert not row.any_purged

    def name() -> None:
        entries = {"upload_id": "upload", "part": row.parts, "entries": pack_parts([part(1)])}
        connection.execute(uploads_module._ADD_PART, entries)

    return name


async def waiting_for_a_lock(database: Database, purge: asyncio.Task[None]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not purge.done() and not await database.connections.rows(WAITS):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("begins", [commits, advances])
async def test_a_purge_sees_what_is_named_by_who_has_passed_the_fence(
    url: str,
    database: Database,
    purging: Purging,
    begins: Callable[[Connection], Callable[[], None]],
    waits: bool,  # noqa: FBT001  a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the control, a purge that does not wait: it has unlinked what is named then."""
    if not waits:
        monkeypatch.setattr(purging_module, "_LOCK", text("SELECT 1"))
    loop, other = asyncio.get_running_loop(), open_database(url)
    purges: list[asyncio.Task[None]] = []

    def work(connection: Connection) -> None:
        name = begins(connection)
        purges.append(loop.create_task(purging.finish("p")))
        wait_for(connection, loop, waiting_for_a_lock(database, purges[0]))
        name()

    await other.connections.write(work)
    await purges[0]
    await other.close()
    named = await database.references.among([part(1)[0]])
    assert named == {part(1)[0]}
    assert await purging.chunks_of("p", b"") == ([] if waits else [part(1)[0]])


async def test_what_a_push_holds_is_in_use_and_nothing_of_the_step_is_done(
    url: str, database: Database
) -> None:
    await database.blobs.commit(APP, large(1, part(1)), upload_id=None, now=NOW, actor=ACTOR)
    made = manifest()
    await database.manifests.put(APP, made, [blob_reference(1)], ["v"], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    plan = await PurgeReader(database.connections).plan(APP, None, None)
    purging, other = Purging(database.connections), open_database(url)
    await purging.begin("p", APP, actor=ACTOR)

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT blob_id FROM repository_blobs FOR KEY SHARE"))
        wait_for(connection, asyncio.get_running_loop(), refused())

    async def refused() -> None:
        with pytest.raises(InUse):
            await purging.take("p", plan, actor=ACTOR)

    await other.connections.write(work)
    await other.close()
    assert (await PurgeReader(database.connections).plan(APP, None, None)).blobs == 1
    await purging.take("p", plan, actor=ACTOR)


@pytest.mark.parametrize("waits", [True, False])
async def test_what_a_deletion_has_left_that_is_locked_is_waited_for(
    url: str,
    database: Database,
    waits: bool,  # noqa: FBT001  a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the control, a purge that does not: it stays for good, and nobody knows of what it is."""
    if not waits:
        monkeypatch.setattr(purging_module, "take_along", lambda *_: (0, set()))
    made = manifest()
    said = manifest(b"said", subject=made.digest)
    for each in (said, made):
        await database.manifests.put(APP, each, [], ["v"], now=NOW, actor=ACTOR)
    broken_off = {"deleted": DatabaseNow(), "lease_until": UNFINISHED}
    await database.connections.change(
        update(manifests).where(manifests.c.digest == made.digest).values(**broken_off)
    )
    plan = await PurgeReader(database.connections).plan(APP, None, made.digest)
    purging, other = Purging(database.connections), open_database(url)
    await purging.begin("p", APP, actor=ACTOR)

    def work(connection: Connection) -> None:
        locked = {"said": said.digest}
        connection.execute(text("SELECT FROM manifests WHERE digest = :said FOR KEY SHARE"), locked)
        wait_for(connection, asyncio.get_running_loop(), taken())

    async def taken() -> None:
        with pytest.raises(InUse) if waits else nullcontext():
            await purging.take("p", plan, actor=ACTOR)

    await other.connections.write(work)
    await other.close()
    await purging.take("p", plan, actor=ACTOR)
    found = await database.connections.rows(select(manifests.c.digest, manifests.c.deleted))
    assert [(row.digest, row.deleted is not None) for row in found] == [(said.digest, waits)]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_repository_that_is_being_restored_keeps_its_images(
    url: str,
    database: Database,
    waits: bool,  # noqa: FBT001  a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the control, a purge that does not wait: the repository is there again without them."""
    if not waits:
        monkeypatch.setattr(purging_module, "_hold_repositories", lambda *_: None)
    made = manifest()
    await database.manifests.put(APP, made, [], ["v"], now=NOW, actor=ACTOR)
    await database.repositories.delete(APP, actor=ACTOR)
    plan = await PurgeReader(database.connections).plan(APP, None, None)
    purging, other = Purging(database.connections), open_database(url)
    await purging.begin("p", APP, actor=ACTOR)
    loop = asyncio.get_running_loop()
    purges: list[asyncio.Task[None]] = []

    def work(connection: Connection) -> None:
        connection.execute(text("UPDATE repositories SET deleted = NULL, name = :to"), {"to": APP})
        purges.append(loop.create_task(purging.take("p", plan, actor=ACTOR)))
        wait_for(connection, loop, waiting_for_a_lock(database, purges[0]))

    await other.connections.write(work)
    await purges[0]
    await other.close()
    found = await database.connections.rows(text("SELECT digest FROM manifests"))
    assert [row.digest for row in found] == ([made.digest] if waits else [])
