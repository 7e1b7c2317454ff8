"""What a server of 0.1.0 does beside this one, in an upgrade, is not taken for rubbish."""

from collections.abc import Sequence

import pytest
from sqlalchemy import false, select, text

from tests.contracts.metadata_collection import image, left
from tests.contracts.metadata_undelete import index, is_whole
from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, digest, manifest
from tests.database_clock import MovedClock
from treescale.errors import ManifestUnknown
from treescale.lease_times import UNDELETE_SECONDS, LeaseTimes
from treescale.metadata.collection import rows as rows_module
from treescale.metadata.collection.adoption import IS_PART, Adoption
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest
from treescale.metadata.schema import manifests

# As that version has them, but for how values are bound.
PUT = """INSERT INTO manifests
(repository_id, digest, media_type, size, annotations_bytes, pushed, annotations, payload)
VALUES ((SELECT repository_id FROM repositories WHERE name = :name),
:digest, 'x', 1, 0, :now, '{}', 'x')
ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type"""
REFER = """INSERT INTO manifest_references (repository_id, manifest, digest, kind)
VALUES ((SELECT repository_id FROM repositories WHERE name = :name), :digest, :needed, :kind)
ON CONFLICT DO NOTHING"""
TAG = """INSERT INTO tags (repository_id, name, digest, updated)
VALUES ((SELECT repository_id FROM repositories WHERE name = :name), :tag, :digest, :now)
ON CONFLICT (repository_id, name) DO UPDATE
SET digest = excluded.digest, updated = excluded.updated"""
LINK = """INSERT INTO repository_blobs (repository_id, digest, blob_id, lease_until)
VALUES ((SELECT repository_id FROM repositories WHERE name = :name), :digest,
(SELECT blob_id FROM blobs WHERE digest = :digest), :until)
ON CONFLICT (repository_id, digest) DO UPDATE
SET blob_id = excluded.blob_id, lease_until = excluded.lease_until
WHERE excluded.lease_until > repository_blobs.lease_until"""
DELETE_REPOSITORY = "DELETE FROM repositories WHERE name = :name"
LEASE_SECONDS_0_1_0 = 24 * 3600


class OlderServer:
    """Pushes and deletes as version 0.1.0 does, which says what it does by its own clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, made: Manifest, needed: Sequence[str], kind: str, *tags: str) -> None:
        now = await self._database.servers.now()
        this = {"name": APP, "digest": made.digest, "now": now}
        await self._run(PUT, this)
        for each in needed:
            await self._run(REFER, {**this, "needed": each, "kind": kind})
        for tag in tags:
            await self._run(TAG, {**this, "tag": tag})

    async def link(self, number: int) -> None:
        """Commit, or mount, a blob that is there."""
        until = await self._database.servers.now() + LEASE_SECONDS_0_1_0
        await self._run(LINK, {"name": APP, "digest": digest(number), "until": until})

    async def delete_repository(self) -> None:
        await self._run(DELETE_REPOSITORY, {"name": APP})

    async def _run(self, statement: str, values: dict[str, object]) -> None:
        names = {name for name in values if f":{name}" in statement}
        given = {name: values[name] for name in names}
        await self._database.connections.change(text(statement), given)


class OlderServersContract:
    """Subclass with a `database` fixture, whose clock `database_clock` moves."""

    @pytest.fixture
    def older(self, database: Database, database_clock: MovedClock) -> OlderServer:
        assert database_clock.ahead == 0
        return OlderServer(database)

    @pytest.fixture
    def adoption(self, database: Database) -> Adoption:
        return Adoption(database.connections)

    async def deleted(self, database: Database, database_clock: MovedClock) -> Manifest:
        """Have an image be deleted, and a layer of it by itself, a minute ago."""
        made = await image(database)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database.blobs.unlink(APP, digest(2))
        await database_clock.move(database, 60)
        return manifest(b"1")

    async def test_an_image_that_is_pushed_again_is_there_again(
        self,
        database: Database,
        database_clock: MovedClock,
        older: OlderServer,
        adoption: Adoption,
    ) -> None:
        made = await self.deleted(database, database_clock)
        await older.put(made, [digest(2), digest(3)], "blob", "v1")
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve(APP, "v1")
        assert await adoption.adopt() == 1
        assert (await database.manifests.resolve(APP, "v1")).digest == made.digest
        assert await is_whole(database, 1)
        assert await adoption.adopt() == 0

    @pytest.mark.parametrize("looks", [True, False])
    async def test_it_is_not_taken_away_if_nobody_saw_that(
        self,
        database: Database,
        database_clock: MovedClock,
        older: OlderServer,
        monkeypatch: pytest.MonkeyPatch,
        *,
        looks: bool,
    ) -> None:
        """And the control: without the second look it goes, though a tag points at it."""
        if not looks:
            blind = select(
                manifests.c.repository_id,
                manifests.c.digest,
                false().label("has_tag"),
                IS_PART.label("is_part"),
            ).where(rows_module._IS_MANIFEST)
            monkeypatch.setattr(rows_module, "_LOOK_AGAIN", blind)
        made = await self.deleted(database, database_clock)
        await older.put(made, [digest(2), digest(3)], "blob", "v1")
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        await RowCollector(database.connections).cycle()
        await database_clock.move(database, 1)
        await RowCollector(database.connections).cycle()
        assert await is_whole(database, 1) is looks

    async def test_the_parts_of_an_index_that_is_pushed_again_are_there_again(
        self,
        database: Database,
        database_clock: MovedClock,
        older: OlderServer,
        adoption: Adoption,
    ) -> None:
        """Deleted with it, or alone, from one that is tagged again; under it, or under another."""
        parts = [await image(database, number=number) for number in (1, 2)]
        outer = await index(database, *parts)
        await database.manifests.delete(APP, outer.digest, actor=ACTOR)
        await database.manifests.delete(APP, parts[0], actor=ACTOR)
        await database_clock.move(database, 60)
        await older.put(manifest(b"1"), [], "blob")
        await older.put(outer, parts, "manifest", "i")
        assert await adoption.adopt() == 2
        await database.manifests.delete(APP, parts[0], actor=ACTOR)
        await database_clock.move(database, 60)
        assert await adoption.adopt() == 0, "who deletes a part alone has it so"
        await older.put(outer, parts, "manifest", "i")
        assert await adoption.adopt() == 1
        await database.manifests.delete(APP, parts[1], actor=ACTOR)
        await database_clock.move(database, 60)
        await older.put(manifest(b"new index"), parts, "manifest")
        assert await adoption.adopt() == 1
        assert [await is_whole(database, number) for number in (1, 2)] == [True, True]

    async def test_a_part_that_was_deleted_alone_waits_for_its_index(
        self, database: Database, database_clock: MovedClock, adoption: Adoption
    ) -> None:
        part, collector = await image(database), RowCollector(database.connections)
        outer = await index(database, part)
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        await database.manifests.delete(APP, part, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        assert await adoption.adopt() == 0
        assert (await collector.cycle()).manifests == 0
        await Undelete(database.connections).manifest(APP, outer.digest, actor=ACTOR)
        assert await is_whole(database, 1)
        for each in (part, outer.digest):
            await database.manifests.delete(APP, each, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        assert (await collector.cycle()).manifests == 2

    async def test_a_layer_that_is_pushed_or_mounted_again_shows(
        self,
        database: Database,
        database_clock: MovedClock,
        older: OlderServer,
        adoption: Adoption,
    ) -> None:
        """Control: one that only waits for its end does not."""
        await self.deleted(database, database_clock)
        assert await adoption.adopt() == 0
        await older.link(2)
        assert await adoption.adopt() == 1
        assert (await database.blobs.find(APP, digest(2))).digest == digest(2)

    @pytest.mark.parametrize("settled", [True, False])
    async def test_a_layer_that_a_new_image_refers_to_shows(
        self,
        database: Database,
        database_clock: MovedClock,
        older: OlderServer,
        adoption: Adoption,
        *,
        settled: bool,
    ) -> None:
        """By adoption, and by the collector when it looks at it for the last time."""
        await self.deleted(database, database_clock)
        if settled:
            await RowCollector(database.connections).cycle()
        await older.put(manifest(b"new"), [digest(2)], "blob", "new")
        if settled:
            assert await adoption.adopt() == 1
        else:
            await RowCollector(database.connections).cycle()
        assert (await database.blobs.find(APP, digest(2))).digest == digest(2)

    async def test_what_a_deleted_repository_leaves_is_found(
        self, database: Database, database_clock: MovedClock, older: OlderServer
    ) -> None:
        await image(database)
        await older.delete_repository()
        await database_clock.move(database, LeaseTimes().link)
        collector = RowCollector(database.connections)
        assert (await collector.slow_pass()).found == 2
        await collector.cycle()
        assert await left(database) == {}

    async def test_a_push_of_ours_beside_it_is_not_disturbed(
        self, database: Database, database_clock: MovedClock, adoption: Adoption
    ) -> None:
        made = await self.deleted(database, database_clock)
        await image(database, number=4)
        needed = [blob_reference(8)]
        await database.manifests.put(APP, manifest(b"4"), needed, ["x"], now=NOW, actor=ACTOR)
        assert await adoption.adopt() == 0
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, made.digest)
