"""What a write relies on cannot be taken away before it ends; what it does not touch can be."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    manifest,
    small,
    user,
)
from tests.metadata.waiting import wait_for
from treescale.errors import DatabaseUnavailable
from treescale.metadata.blobs import _find_source
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.connect import connect
from treescale.metadata.manifest_push import hold_references
from treescale.metadata.repositories import lock_repository
from treescale.metadata.usage.quotas import BYTES, Quotas
from treescale.oci.manifests import Reference, ReferenceKind

SECONDS_MAX = 60
Call = Callable[[], Coroutine[Any, Any, object]]


@pytest.fixture(params=["sqlite_url", pytest.param("postgres_url", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
async def impatient(url: str) -> AsyncIterator[Database]:
    """Another process, which waits a tenth of a second."""
    opened = open_database(url, wait_seconds=0.1)
    await opened.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await opened.blobs.commit(APP, small(2), upload_id=None, now=NOW, actor=ACTOR)
    await opened.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    yield opened
    await opened.close()


async def while_held(url: str, hold: Callable[[Connection], object], call: Call) -> None:
    """Run `call` in the middle of a write that holds something."""
    loop = asyncio.get_running_loop()

    def work(connection: Connection) -> None:
        hold(connection)
        wait_for(connection, loop, call())

    holder = connect(parse_address(url))
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await holder.write(work)
    finally:
        await holder.close()


def hold_needed(connection: Connection) -> None:
    """Hold what a manifest put would, that refers to blob 1 and to a manifest."""
    row_id = lock_repository(connection, APP, actor=ACTOR, now=NOW)
    needed = Reference(manifest().digest, ReferenceKind.MANIFEST, required=True)
    hold_references(connection, row_id, [blob_reference(1), needed])


async def test_a_needed_blob_stays_linked(url: str, impatient: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await while_held(url, hold_needed, lambda: impatient.blobs.unlink(APP, digest(1)))
    await impatient.blobs.unlink(APP, digest(1))


async def test_a_needed_manifest_stays(url: str, impatient: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await while_held(
            url,
            hold_needed,
            lambda: impatient.manifests.delete(APP, manifest().digest, actor=ACTOR),
        )
    await impatient.manifests.delete(APP, manifest().digest, actor=ACTOR)


async def test_a_repository_stays_while_it_is_written_to(url: str, impatient: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await while_held(
            url,
            lambda connection: lock_repository(connection, APP, actor=ACTOR, now=NOW),
            lambda: impatient.repositories.delete(APP, actor=ACTOR),
        )
    await impatient.repositories.delete(APP, actor=ACTOR)


async def test_a_quota_is_given_once_those_who_push_without_are_done(
    url: str, impatient: Database
) -> None:
    await impatient.users.add(user(), actor=ACTOR)
    quotas = Quotas(impatient.connections)
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await while_held(
            url,
            lambda connection: lock_repository(connection, APP, actor=ACTOR, now=NOW),
            lambda: quotas.set("alice", {BYTES: 1000}, actor=ACTOR),
        )
    await quotas.set("alice", {BYTES: 1000}, actor=ACTOR)


async def test_a_mounts_source_stays_linked(url: str, impatient: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="busy"):
        await while_held(
            url,
            lambda connection: _find_source(connection, digest(1), [APP]),
            lambda: impatient.blobs.unlink(APP, digest(1)),
        )


async def test_pushes_to_one_repository_do_not_wait_for_each_other(postgres_url: str) -> None:
    database = open_database(postgres_url, wait_seconds=0.1)
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)

    async def push() -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW + 1, actor=ACTOR)
        await database.blobs.commit(APP, small(3), upload_id=None, now=NOW, actor=ACTOR)
        await database.manifests.put(
            APP, manifest(b"[]"), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
        )
        await database.blobs.unlink(APP, digest(3))

    await while_held(postgres_url, hold_needed, push)
    await database.close()
