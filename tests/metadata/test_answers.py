"""What is answered from memory is what the database would have answered."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, large, manifest, part, small
from treescale.cache.answers import AnswerCache
from treescale.clock import SystemClock
from treescale.errors import BlobUnknown, ManifestUnknown
from treescale.metadata.database import Database, open_database
from treescale.metadata.manifests import Manifests
from treescale.metadata.records import Blob, Manifest

PUSHES = 200
SECONDS_MAX = 60
LIBRARY = "alice/library"


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url


async def test_a_blob_deleted_by_another_process_is_gone(
    database: Database, other: Database
) -> None:
    """CVE-2026-35172: a cache made a deleted blob readable again."""
    for repository in (APP, LIBRARY):
        await other.blobs.commit(
            repository, large(1, part(1)), upload_id=None, now=NOW, actor=ACTOR
        )
        await database.blobs.find(repository, digest(1))
    await other.blobs.unlink(APP, digest(1))
    await database.blobs.find(LIBRARY, digest(1))
    with pytest.raises(BlobUnknown):
        await database.blobs.find(APP, digest(1))


async def test_a_manifest_deleted_by_another_process_is_gone(
    database: Database, other: Database
) -> None:
    put = manifest()
    await other.manifests.put(APP, put, [], ["v1", "v2"], now=NOW, actor=ACTOR)
    for tag in ("v1", "v2"):
        assert await database.manifests.resolve(APP, tag) == put
    assert await database.manifests.get(APP, put.digest) == put
    await other.manifests.delete_tag(APP, "v1", actor=ACTOR)
    with pytest.raises(ManifestUnknown):
        await database.manifests.resolve(APP, "v1")
    await other.manifests.delete(APP, put.digest, actor=ACTOR)
    with pytest.raises(ManifestUnknown):
        await database.manifests.resolve(APP, "v2")
    with pytest.raises(ManifestUnknown):
        await database.manifests.get(APP, put.digest)


async def test_a_deleted_repository_takes_everything_along(
    database: Database, other: Database
) -> None:
    await other.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await other.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    await database.blobs.find(APP, digest(1))
    await database.manifests.resolve(APP, "v1")
    await other.repositories.delete(APP, actor=ACTOR)
    with pytest.raises(BlobUnknown):
        await database.blobs.find(APP, digest(1))
    with pytest.raises(ManifestUnknown):
        await database.manifests.resolve(APP, "v1")


async def test_what_did_not_change_is_read_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    asked: list[object] = []
    rows = database._connections.rows

    async def counting(*arguments: object) -> object:
        asked.append(arguments)
        return await rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(database._connections, "rows", counting)
    for _ in range(3):
        assert isinstance(await database.blobs.find(APP, digest(1)), Blob)
        assert isinstance(await database.manifests.resolve(APP, "v1"), Manifest)
        assert isinstance(await database.manifests.get(APP, manifest().digest), Manifest)
    assert len(asked) == 3


async def test_its_own_write_is_a_change_too(database: Database) -> None:
    for content in (b"one", b"two"):
        await database.manifests.put(APP, manifest(content), [], ["v1"], now=NOW, actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).payload == content


def never_changing() -> AnswerCache[Manifest]:
    return AnswerCache(lambda: 1, SystemClock())


async def stale_reads(manifests: Manifests, url: str, told: Path) -> int:
    """Count the reads that did not see a push acknowledged before they began."""
    await asyncio.to_thread(told.write_bytes, b"%010d" % 0)
    pusher = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("pusher.py"))),
        *(url, str(told), str(PUSHES)),
    )
    stale = seen = 0
    async with asyncio.timeout(SECONDS_MAX):
        with told.open("rb", buffering=0) as acknowledged:
            while seen < PUSHES and pusher.returncode is None:
                acknowledged.seek(0)
                if not (pushed := int(acknowledged.read())):
                    await asyncio.sleep(0)
                    continue
                seen = int((await manifests.resolve(APP, "latest")).payload)
                stale += seen < pushed
                await asyncio.sleep(0)
        assert await pusher.wait() == 0
    return stale


@pytest.mark.long
async def test_a_tag_is_always_the_last_acknowledged_push_of_another_process(
    database: Database, url: str, tmp_path: Path
) -> None:
    assert await stale_reads(database.manifests, url, tmp_path / "told") == 0
    assert (await database.manifests.resolve(APP, "latest")).payload == b"%d" % PUSHES


@pytest.mark.long
async def test_without_the_number_of_changes_it_would_not_be(url: str, tmp_path: Path) -> None:
    """The control: the same, but nothing ever seems to change."""
    database = open_database(url)
    blind = Manifests(database._connections, never_changing(), never_changing())
    assert await stale_reads(blind, url, tmp_path / "told") > 0
    await database.close()
