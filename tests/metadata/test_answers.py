"""What is answered from memory is what the database would have answered."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.metadata_uploads import progress
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    digest,
    large,
    manifest,
    part,
    server,
    small,
    store,
    upload,
)
from treescale.cache.answers import AnswerCache
from treescale.clock import SystemClock
from treescale.errors import BlobUnknown, ManifestUnknown, Refused
from treescale.metadata.collection.open_purges import OpenPurges, Stand
from treescale.metadata.collection.purging import Purging, Round
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metadata.manifests import Manifests
from treescale.metadata.migrations.versions.v0011_answers import TABLES
from treescale.metadata.records import EMPTY_TAIL, Blob, Manifest, ServerRecord, StoreWalk
from treescale.metadata.usage.pull_counts import ImagePulls, PullCounts, Pulled

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


async def other_work(database: Database) -> None:
    """Do what goes on all the time, whether anybody pushes or not."""
    server = ServerRecord("s", "host", "http://s", "", started=NOW)
    await database.servers.register(server, live_seconds=20, actor=ACTOR)
    await database.servers.heartbeat("s", [])
    await database.leases.hold("work", "s", 60)
    await database.walks.put(StoreWalk("d", 1, 0, 0, 0, 0, NOW, NOW))
    await database.uploads.create(upload())
    arrived = progress(0, 1000, EMPTY_TAIL, part(7, 1000))
    await database.uploads.advance(upload().upload_id, arrived, now=NOW)
    pulled = ImagePulls(APP, "v1", "sha256:1", 1)
    await PullCounts(database.connections).add([Pulled(APP, "v1", NOW, 1)], [pulled], actor=ACTOR)


async def test_what_concerns_no_answer_leaves_all_of_them(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await other.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    await database.manifests.resolve(APP, "v1")
    await other_work(other)

    async def asked(*_: object) -> object:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(database.connections, "row", asked)
    monkeypatch.setattr(database.connections, "rows", asked)
    assert await database.manifests.resolve(APP, "v1") == manifest()


async def test_how_far_a_store_is_with_a_purge_concerns_none(database: Database) -> None:
    """It is noted every few seconds while stores unlink. Control: a setting concerns them."""
    await database.servers.register(server("s"), live_seconds=15, actor=ACTOR)
    await database.stores.register(store("a", "s"))
    purging = Purging(database.connections)
    await purging.begin("p", APP, actor=ACTOR)
    before = database.connections.answers_version()
    await purging.note("a", Round("p", 0), 100)
    stands = (await OpenPurges(database.connections).stands(["p"]))["p"]
    assert stands == {"a": Stand(0, 100)}
    assert database.connections.answers_version() == before
    await database.settings.put("a", "b")
    assert database.connections.answers_version() != before


async def test_a_change_of_any_row_that_answers_are_of_is_counted(
    database: Database, url: str
) -> None:
    """Also one by a statement that no version says yet, and by a cascade."""
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
    await database.settings.put("lease", "24h")
    versions = [database.connections.answers_version()]
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as process:
        process.execute("PRAGMA foreign_keys = OFF")
        for table in TABLES:
            columns = process.execute(f"PRAGMA table_info({table})").fetchall()
            row = process.execute("SELECT * FROM this".replace("this", table)).fetchone()
            for statement, values in (
                ("UPDATE this SET one = one", ()),
                ("DELETE FROM this", ()),
                ("INSERT INTO this VALUES (many)", row),
            ):
                words = statement.replace("this", table).replace("one", columns[0][1])
                process.execute(words.replace("many", ", ".join("?" * len(columns))), values)
                versions.append(database.connections.answers_version())
    assert len(set(versions)) == len(versions) == 1 + 3 * len(TABLES)


async def test_answers_are_of_no_other_table(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite reads for them, it says itself."""
    read: set[str] = set()
    plain = DatabaseFile.connect

    def connected(self: DatabaseFile, **how: Any) -> sqlite3.Connection:
        def look(action: int, table: str | None, *_: str | None) -> int:
            if action == sqlite3.SQLITE_READ and table:
                read.add(table)
            return sqlite3.SQLITE_OK

        connection = plain(self, **how)
        connection.set_authorizer(look)
        return connection

    monkeypatch.setattr(DatabaseFile, "connect", connected)
    database = open_database(url)
    for asked in (
        database.blobs.find(APP, digest(1)),
        database.blobs.promise(APP, digest(1)),
        database.manifests.get(APP, digest(1)),
        database.manifests.resolve(APP, "v1"),
        database.repositories.get(APP),
    ):
        with pytest.raises(Refused):
            await asked
    await database.close()
    assert read - {"counters"} == set(TABLES)


async def test_without_what_counts_changes_a_moved_tag_stays_where_it_was(
    database: Database, other: Database, url: str
) -> None:
    """The control."""
    await other.manifests.put(APP, manifest(b"one"), [], ["v1"], now=NOW, actor=ACTOR)
    await database.manifests.resolve(APP, "v1")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as process:
        for table in TABLES:
            for change in ("insert", "update", "delete"):
                process.execute(f"DROP TRIGGER answers_{table}_{change}")
    await other.manifests.put(APP, manifest(b"two"), [], ["v1"], now=NOW, actor=ACTOR)
    assert (await database.manifests.resolve(APP, "v1")).payload == b"one"


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
