"""What the row collector promises on either database: what nothing needs goes, nothing else."""

from typing import Any

import pytest
from sqlalchemy import func, select, text

from tests.contracts.broken_off import broken_off
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
    small,
)
from tests.database_clock import MovedClock
from treescale.errors import (
    BlobUnknown,
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
)
from treescale.lease_times import (
    COLLECTION_SETTING,
    FROZEN,
    UNDELETE_SECONDS,
    UNDELETE_SETTING,
    LeaseTimes,
    stored,
)
from treescale.metadata import manifest_push
from treescale.metadata.collection import rows
from treescale.metadata.collection.explained import COLLECTED_SETTING
from treescale.metadata.collection.pieces import CHUNKS_AT_ONCE
from treescale.metadata.collection.rows import Collected, RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    manifests,
    repositories,
    repository_blobs,
)
from treescale.oci.manifests import Reference, ReferenceKind
from treescale.oci.names import namespace_of

TIMES = LeaseTimes()
COUNTED = (blobs, chunks, blob_chunks, manifests, repository_blobs, repositories)
NOTHING = Collected()


async def left(database: Database) -> dict[str, int]:
    """Return how many rows of images there are."""
    found = {}
    for table in COUNTED:
        row = await database.connections.row(select(func.count()).select_from(table))
        assert row is not None
        found[table.name] = int(row[0])
    return {name: count for name, count in found.items() if count}


async def image(database: Database, name: str = APP, number: int = 1) -> str:
    """Push an image of a large and a small blob; return its digest."""
    made = manifest(b"%d" % number)
    new = large(2 * number, part(2 * number), part(2 * number + 1))
    await database.blobs.commit(name, new, upload_id=None, now=NOW, actor=ACTOR)
    small_one = small(2 * number + 1)
    await database.blobs.commit(name, small_one, upload_id=None, now=NOW, actor=ACTOR)
    needed = [blob_reference(2 * number), blob_reference(2 * number + 1)]
    await database.manifests.put(name, made, needed, [f"v{number}"], now=NOW, actor=ACTOR)
    return made.digest


class CollectionContract:
    """Subclass with a `database` fixture, whose clock `database_clock` moves."""

    @pytest.fixture
    def collector(self, database: Database, database_clock: MovedClock) -> RowCollector:
        assert database_clock.ahead == 0
        return RowCollector(database.connections)

    async def image(self, database: Database, name: str = APP, number: int = 1) -> str:
        return await image(database, name, number)

    async def test_what_is_referred_to_stays(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        await self.image(database)
        before = await left(database)
        await database_clock.move(database, TIMES.link + 60)
        assert (await collector.cycle()).links == 2
        assert await left(database) == before
        assert await collector.cycle() == NOTHING, "looked at: they wait for nothing"

    async def test_a_cycle_that_finds_nothing_writes_nothing(
        self,
        database: Database,
        collector: RowCollector,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await self.image(database)

        async def write(*_: object, **__: object) -> object:
            raise AssertionError("any commit empties what workers remember")

        monkeypatch.setattr(database.connections, "write", write)
        assert await collector.cycle() == NOTHING

    async def test_what_no_manifest_refers_to_goes_with_its_lease(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """Control: a lease that is running is waited for."""
        new = large(1, part(1), part(2))
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link - 60)
        assert await collector.cycle() == NOTHING
        assert await database.blobs.find(APP, digest(1)) == new.blob
        await database_clock.move(database, 120)
        assert (await collector.cycle()).links == 1
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))
        assert await left(database) == {"repositories": 1}

    async def test_a_promise_keeps_it(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """HEAD, then 23 hours, then the manifest: 201. Control: a HEAD that renews nothing."""
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link - 60)
        await database.blobs.promise(APP, digest(1))
        await database_clock.move(database, 23 * 3600)
        await collector.cycle()
        put = database.manifests.put
        await put(APP, manifest(), [blob_reference(1)], ["v"], now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link)
        await collector.cycle()
        assert await database.blobs.find(APP, digest(1)) == small(1).blob

    async def test_without_a_promise_it_is_gone(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """The control: `find` renews nothing."""
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link - 60)
        await database.blobs.find(APP, digest(1))
        await database_clock.move(database, 23 * 3600)
        await collector.cycle()
        with pytest.raises(ManifestBlobUnknown):
            await database.manifests.put(
                APP, manifest(), [blob_reference(1)], ["v"], now=NOW, actor=ACTOR
            )

    async def test_a_deleted_image_holds_its_blobs_until_it_cannot_be_restored(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        made = await self.image(database)
        before = await left(database)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS - 60)
        await collector.cycle()
        assert await left(database) == before
        await database_clock.move(database, 120)
        assert (await collector.cycle()).manifests == 1
        await database_clock.move(database, 1)
        await collector.cycle()
        assert await left(database) == {"repositories": 1}

    async def test_a_deleted_image_comes_back_whole(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        made = await self.image(database)
        undelete = Undelete(database.connections)
        await database.manifests.delete(APP, made, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, made)
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve(APP, "v1")
        await database.blobs.unlink(APP, digest(3))
        await database_clock.move(database, TIMES.link + 60)
        await collector.cycle()
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(3))
        (listed,) = await undelete.list(None, 9)
        assert (listed.repository, listed.tag, listed.digest) == (APP, "v1", made)
        assert listed.until == pytest.approx(listed.deleted + UNDELETE_SECONDS)
        assert await undelete.list("bob", 9) == []
        await undelete.manifest(APP, made, actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        assert (await database.blobs.find(APP, digest(3))).digest == digest(3)
        assert await undelete.list(None, 9) == []
        with pytest.raises(ManifestUnknown):
            await undelete.manifest(APP, made, actor=ACTOR)

    async def test_a_push_of_a_deleted_image_brings_it_back(self, database: Database) -> None:
        made = await self.image(database)
        await database.manifests.delete(APP, made, actor=ACTOR)
        assert await self.image(database) == made
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        await database.manifests.delete(APP, made, actor=ACTOR)
        bare = manifest(b"1")
        await database.manifests.put(APP, bare, [blob_reference(2)], [], now=NOW, actor=ACTOR)
        assert await database.manifests.get(APP, made) == bare

    async def test_a_deleted_tag_comes_back(self, database: Database) -> None:
        made, undelete = await self.image(database), Undelete(database.connections)
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        assert (await database.manifests.get(APP, made)).digest == made
        assert (await undelete.tag(APP, "v1", actor=ACTOR)).digest == made
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        with pytest.raises(ManifestUnknown):
            await undelete.tag(APP, "v1", actor=ACTOR)
        await database.manifests.delete(APP, made, actor=ACTOR)
        other = manifest(b"other")
        await database.manifests.put(APP, other, [], ["v1"], now=NOW, actor=ACTOR)
        with pytest.raises(PreconditionFailed, match=made):
            await undelete.tag(APP, "v1", actor=ACTOR)
        await undelete.manifest(APP, made, actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).digest == other.digest

    async def test_what_is_said_of_an_image_goes_and_comes_back_with_it(
        self, database: Database
    ) -> None:
        """Referrers, theirs, and cosign's tags; one with a tag of its own stays."""
        made, put = await self.image(database), database.manifests.put
        bom = manifest(b"bom", subject=made)
        signed = manifest(b"signed bom", subject=bom.digest)
        named = manifest(b"named", subject=made)
        cosign = manifest(b"cosign")
        await put(APP, bom, [], [], now=NOW, actor=ACTOR)
        await put(APP, signed, [], [], now=NOW, actor=ACTOR)
        await put(APP, named, [], ["report"], now=NOW, actor=ACTOR)
        tag = made.replace(":", "-") + ".sig"
        await put(APP, cosign, [], [tag], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, made, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["report"]
        for gone in (bom, signed, cosign):
            with pytest.raises(ManifestUnknown):
                await database.manifests.get(APP, gone.digest)
        (kept,) = await database.manifests.referrers(APP, made, None, "", 9, 1000)
        assert kept.digest == named.digest
        await Undelete(database.connections).manifest(APP, made, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["report", tag, "v1"]
        for back in (bom, signed, cosign):
            assert await database.manifests.get(APP, back.digest) == back

    async def test_very_much_that_is_said_of_an_image_goes_in_several_transactions(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All of it before the answer, and what has one time comes back together."""
        monkeypatch.setattr(manifest_push, "_DIGESTS_AT_ONCE", 3)
        monkeypatch.setattr(manifest_push, "_SUBJECTS_AT_ONCE", 2)
        made, put = await self.image(database), database.manifests.put
        said = [manifest(b"%d" % number, subject=made) for number in range(100, 107)]
        said += [manifest(b"of %d" % number, subject=said[number].digest) for number in range(4)]
        for one in said:
            await put(APP, one, [], [], now=NOW, actor=ACTOR)
        writes: list[object] = []
        write = database.connections.write

        async def counted(work: Any, **named: Any) -> Any:
            writes.append(work)
            return await write(work, **named)

        with monkeypatch.context() as patch:
            patch.setattr(database.connections, "write", counted)
            await database.manifests.delete(APP, made, actor=ACTOR)
        assert len(writes) > 2
        for one in said:
            with pytest.raises(ManifestUnknown):
                await database.manifests.get(APP, one.digest)
        await Undelete(database.connections).manifest(APP, made, actor=ACTOR)
        for one in said:
            assert await database.manifests.get(APP, one.digest) == one

    async def test_a_deletion_that_broke_off_is_finished_and_comes_back_whole(
        self,
        database: Database,
        collector: RowCollector,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """By the slow pass, with what is said of that in turn. One with a tag of its own stays."""
        monkeypatch.setattr(manifest_push, "_DIGESTS_AT_ONCE", 3)
        made, put = await self.image(database), database.manifests.put
        said = [manifest(b"%d" % number, subject=made) for number in range(100, 107)]
        said += [manifest(b"of %d" % number, subject=said[number].digest) for number in range(7)]
        named = manifest(b"named", subject=made)
        for one in said:
            await put(APP, one, [], [], now=NOW, actor=ACTOR)
        await put(APP, named, [], ["report"], now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link + 60)
        await broken_off(database, made, monkeypatch)
        assert 0 < (await collector.slow_pass()).found < len(said)
        live = select(manifests.c.digest).where(manifests.c.deleted.is_(None))
        assert [row.digest for row in await database.connections.rows(live)] == [named.digest]
        await Undelete(database.connections).manifest(APP, made, actor=ACTOR)
        for one in said:
            assert await database.manifests.get(APP, one.digest) == one

    async def test_who_had_a_tag_when_its_subject_went_stays_without_it(
        self,
        database: Database,
        collector: RowCollector,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Images without a tag stay; also when the deletion was one of several pieces."""
        monkeypatch.setattr(manifest_push, "_DIGESTS_AT_ONCE", 3)
        made, put = await self.image(database), database.manifests.put
        for number in range(100, 107):
            said = manifest(b"%d" % number, subject=made)
            await put(APP, said, [], [], now=NOW, actor=ACTOR)
        named = manifest(b"named", subject=made)
        await put(APP, named, [], ["report"], now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link + 60)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database.manifests.delete_tag(APP, "report", actor=ACTOR)
        assert (await collector.slow_pass()).found == 0
        assert await database.manifests.get(APP, named.digest) == named

    async def test_what_is_restored_meanwhile_is_not_deleted_further(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(manifest_push, "_DIGESTS_AT_ONCE", 3)
        made, put = await self.image(database), database.manifests.put
        said = [manifest(b"%d" % number, subject=made) for number in range(100, 107)]
        for one in said:
            await put(APP, one, [], [], now=NOW, actor=ACTOR)
        write, undelete = database.connections.write, Undelete(database.connections)

        async def restored(work: Any, **named: Any) -> Any:
            done = await write(work, **named)
            monkeypatch.setattr(database.connections, "write", write)
            await undelete.manifest(APP, made, actor=ACTOR)
            return done

        monkeypatch.setattr(database.connections, "write", restored)
        await database.manifests.delete(APP, made, actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        for one in said:
            assert await database.manifests.get(APP, one.digest) == one

    async def test_what_is_said_of_two_images_stays_with_the_other(
        self, database: Database
    ) -> None:
        """A list of parts with cosign's tags for both, and a referrer that an index has."""
        made, put = await self.image(database), database.manifests.put
        both, listed = manifest(b"both"), manifest(b"listed", subject=made)
        names = [each.replace(":", "-") + ".sbom" for each in (made, digest(77))]
        await put(APP, both, [], names, now=NOW, actor=ACTOR)
        await put(APP, listed, [], [], now=NOW, actor=ACTOR)
        child = Reference(listed.digest, ReferenceKind.MANIFEST, required=True)
        await put(APP, manifest(b"index"), [child], ["i"], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, made, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == sorted(["i", *names])
        for kept in (both, listed):
            assert await database.manifests.get(APP, kept.digest) == kept

    async def test_a_signature_that_is_a_part_of_an_index_stays(self, database: Database) -> None:
        made, put = await self.image(database), database.manifests.put
        signed = manifest(b"signed")
        await put(APP, signed, [], [made.replace(":", "-") + ".sig"], now=NOW, actor=ACTOR)
        part_of = [Reference(signed.digest, ReferenceKind.MANIFEST, required=True)]
        await put(APP, manifest(b"index"), part_of, ["i"], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, made, actor=ACTOR)
        assert await database.manifests.get(APP, signed.digest) == signed

    async def test_a_deleted_child_does_not_count(self, database: Database) -> None:
        made = await self.image(database)
        await database.manifests.delete(APP, made, actor=ACTOR)
        child = Reference(made, ReferenceKind.MANIFEST, required=True)
        with pytest.raises(ManifestBlobUnknown):
            await database.manifests.put(
                APP, manifest(b"index"), [child], ["i"], now=NOW, actor=ACTOR
            )

    async def test_a_deleted_repository_is_restored_or_collected(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        made, undelete = await self.image(database), Undelete(database.connections)
        await database.repositories.delete(APP, actor=ACTOR)
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)
        assert await database.repositories.list_all("", 9) == []
        assert await database.repositories.list_visible(namespace_of(APP), "", 9) == []
        (listed,) = await undelete.list(namespace_of(APP), 9)
        assert (listed.repository, listed.tag) == (APP, None)
        await undelete.repository(APP, to=None, actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        assert [one.name for one in await database.repositories.list_visible("alice", "", 9)] == [
            APP
        ]
        await database.repositories.delete(APP, actor=ACTOR)
        other = await self.image(database, APP, 5)
        with pytest.raises(PreconditionFailed):
            await undelete.repository(APP, to=None, actor=ACTOR)
        await undelete.repository(APP, to="alice/old", actor=ACTOR)
        assert (await database.manifests.resolve("alice/old", "v1")).digest == made
        assert (await database.manifests.resolve(APP, "v5")).digest == other
        for name in (APP, "alice/old"):
            await database.repositories.delete(name, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        for _ in range(2):
            await collector.cycle()
            await database_clock.move(database, 1)
        await collector.cycle()
        assert await left(database) == {}
        with pytest.raises(NameUnknown):
            await undelete.repository(APP, to=None, actor=ACTOR)

    async def test_a_repository_does_not_come_back_in_part(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """When the time to restore it is made longer while it is taken away."""
        for number in range(rows.MANIFESTS_AT_ONCE + 1):
            await database.manifests.put(
                APP, manifest(b"%d" % number), [], [], now=NOW, actor=ACTOR
            )
        await database.repositories.delete(APP, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        (due,) = await database.connections.rows(rows.DUE_REPOSITORIES)
        await database.connections.write(rows._manifests_of(due.repository_id))
        await database.settings.put(UNDELETE_SETTING, stored(2 * UNDELETE_SECONDS))
        undelete = Undelete(database.connections)
        assert await undelete.list(None, 9) == []
        with pytest.raises(NameUnknown):
            await undelete.repository(APP, to=None, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS)
        assert (await collector.cycle()).repositories == 1

    async def test_deleted_tags_of_an_image_that_is_there_are_forgotten_in_time(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        made = await self.image(database)
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS - 60)
        assert (await collector.cycle()).tags == 0
        await database_clock.move(database, 120)
        assert (await collector.cycle()).tags == 1
        assert await Undelete(database.connections).list(None, 9) == []
        assert (await database.manifests.get(APP, made)).digest == made
        assert await collector.cycle() == NOTHING

    async def test_a_repository_waits_for_its_leases_alone_and_without_a_write(
        self,
        database: Database,
        collector: RowCollector,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await database.settings.put(UNDELETE_SETTING, stored(0))
        await self.image(database, "a/idle")
        await database_clock.move(database, TIMES.link + 1)
        await self.image(database, "a/leased", 5)
        for name in ("a/leased", "a/idle"):
            await database.repositories.delete(name, actor=ACTOR)
            await database_clock.move(database, 1)
        assert (await collector.cycle()).repositories == 1, "what waits holds up nobody"

        async def write(*_: object, **__: object) -> object:
            raise AssertionError("it waits for a lease")

        with monkeypatch.context() as patch:
            patch.setattr(database.connections, "write", write)
            assert await collector.cycle() == NOTHING
        await database.settings.put("any", "thing")
        await database_clock.move(database, TIMES.link)
        assert (await collector.cycle()).repositories == 1
        assert await left(database) == {}

    async def test_undelete_may_be_nothing(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        await database.settings.put(UNDELETE_SETTING, stored(0))
        made = await self.image(database)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database_clock.move(database, 1)
        assert (await collector.cycle()).manifests == 1
        assert (await left(database))["repository_blobs"] == 2, "leases are waited for"

    async def test_frozen_it_takes_nothing(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """A restored backup; control: the setting is not looked at."""
        made = await self.image(database)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database.blobs.commit("b/c", small(9), upload_id=None, now=NOW, actor=ACTOR)
        await database.repositories.delete("b/c", actor=ACTOR)
        before = await left(database)
        await database_clock.move(database, UNDELETE_SECONDS + TIMES.link)
        await database.settings.put(COLLECTION_SETTING, FROZEN)
        assert await collector.cycle() == NOTHING
        assert (await collector.slow_pass()).found == 0
        assert await left(database) == before
        await database.settings.remove(COLLECTION_SETTING)
        assert await collector.cycle() != NOTHING

    async def test_a_shared_blob_stays_for_the_other_repository(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        await self.image(database)
        new = large(2, part(2), part(3))
        assert await database.blobs.mount("b/c", digest(2), [APP], now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link + 1)
        await collector.cycle()
        assert await database.blobs.find(APP, digest(2)) == new.blob
        with pytest.raises(BlobUnknown):
            await database.blobs.find("b/c", digest(2))

    async def test_a_large_blob_goes_in_pieces_and_its_name_is_free_at_once(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        count = 2 * CHUNKS_AT_ONCE + 7
        new = large(1, *(part(number) for number in range(count)))
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit("b/c", large(2, part(3)), upload_id=None, now=NOW, actor=ACTOR)
        made = manifest()
        await database.manifests.put("b/c", made, [blob_reference(2)], ["v"], now=NOW, actor=ACTOR)
        await database_clock.move(database, TIMES.link + 1)
        assert await collector.links() == 2
        assert await collector.piece() == 1
        assert (await left(database))["blob_chunks"] == count + 1 - CHUNKS_AT_ONCE
        assert (await left(database))["chunks"] == count - CHUNKS_AT_ONCE + 1, "one is shared"
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, digest(1)) == new.blob
        await collector.cycle()
        assert await left(database) == {
            "blobs": 2,
            "chunks": count,
            "blob_chunks": count + 1,
            "manifests": 1,
            "repository_blobs": 2,
            "repositories": 2,
        }

    async def test_the_slow_pass_finds_what_nobody_queued(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """As a server of an older version leaves it, which deletes rows at once."""
        await self.image(database)
        kept = await self.image(database, APP, 5)
        await database_clock.move(database, TIMES.link + 1)
        await collector.cycle()
        older = text("DELETE FROM manifests WHERE digest <> :kept")
        await database.connections.change(older, {"kept": kept})
        assert await collector.cycle() == NOTHING
        assert (await collector.slow_pass()).found == 2
        await database_clock.move(database, 1)
        await collector.cycle()
        assert await left(database) == {
            "blobs": 2,
            "chunks": 2,
            "blob_chunks": 2,
            "manifests": 1,
            "repository_blobs": 2,
            "repositories": 1,
        }
        assert (await collector.slow_pass()).found == 0

    async def test_what_deletions_leave_without_a_row_is_counted(
        self, database: Database, collector: RowCollector, database_clock: MovedClock
    ) -> None:
        """And what the slow pass finds is not: nobody has deleted it."""
        await database.settings.put(UNDELETE_SETTING, stored(0))
        for number in (1, 5):
            await database.manifests.delete(
                APP, await self.image(database, APP, number), actor=ACTOR
            )
            await database_clock.move(database, TIMES.link + 1)
            await collector.cycle()
            await database_clock.move(database, 1)
            await collector.cycle()
        assert await database.settings.get(COLLECTED_SETTING) == "4"
        await database.connections.change(
            text("INSERT INTO chunks VALUES (:chunk, 1)"), {"chunk": b"x"}
        )
        assert (await collector.slow_pass()).found == 1
        assert await database.settings.get(COLLECTED_SETTING) == "4"
