"""What `Blobs` promises."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    ending,
    large,
    manifest,
    part,
    small,
    upload,
)
from tests.database_clock import MovedClock
from treescale.errors import (
    BlobUnknown,
    NameUnknown,
    NotRecorded,
    Unsupported,
    UploadOutOfOrder,
    UploadUnknown,
)
from treescale.lease_times import LEASE_SETTING, LeaseTimes, stored
from treescale.metadata.database import Database
from treescale.metadata.records import EMPTY_TAIL, NewBlob, UploadProgress
from treescale.metadata.schema import SETTLED, repository_blobs


class BlobsContract:
    """Subclass with a `database` fixture."""

    @pytest.mark.parametrize(
        "new",
        [small(1), small(2, b""), large(3, part(1), part(2))],
        ids=["small", "empty", "large"],
    )
    async def test_a_committed_blob_is_found(self, database: Database, new: NewBlob) -> None:
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, new.blob.digest) == new.blob

    async def test_a_blob_is_found_where_it_is_linked_only(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        for name in ("alice/other", "bob/app", "alice/ap", "alice/app/x", ""):
            with pytest.raises(BlobUnknown):
                await database.blobs.find(name, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(2))

    async def test_commit_ends_the_upload(self, database: Database) -> None:
        await database.uploads.create(upload())
        await database.blobs.commit(APP, ending(small(1)), upload_id="upload", now=NOW, actor=ACTOR)
        with pytest.raises(UploadUnknown):
            await database.uploads.get("upload")

    async def test_an_upload_that_has_ended_ends_nothing(self, database: Database) -> None:
        """Its chunks may have gone with it; control: take it away without looking."""
        await database.uploads.create(upload())
        await database.uploads.delete("upload")
        new = ending(large(1, part(1)))
        with pytest.raises(UploadUnknown):
            await database.blobs.commit(APP, new, upload_id="upload", now=NOW, actor=ACTOR)
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))

    async def test_an_upload_that_has_gone_on_is_not_ended(self, database: Database) -> None:
        """Its tail is another by now; control: take it away whatever it has become."""
        await database.uploads.create(upload())
        further = UploadProgress(0, 1000, "further", (part(1),), EMPTY_TAIL)
        await database.uploads.advance("upload", further, now=NOW)
        new = ending(large(1, part(2)))
        with pytest.raises(UploadOutOfOrder) as caught:
            await database.blobs.commit(APP, new, upload_id="upload", now=NOW, actor=ACTOR)
        assert caught.value.offset == 1000
        assert (await database.uploads.get("upload")).offset == 1000
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))

    async def test_what_was_put_too_long_ago_is_not_named(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        """Control: no look at the base, or one before the transaction."""
        base, lease = await database.uploads.time()
        new = replace(large(1, part(1)), base=base)
        within = LeaseTimes(lease).record_within
        await database_clock.move(database, within - 60)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        await database_clock.move(database, 60)
        for late in (new, replace(large(2, part(2)), base=base)):
            with pytest.raises(NotRecorded):
                await database.blobs.commit(APP, late, upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(2))
        await database.blobs.commit(APP, small(3), upload_id=None, now=NOW, actor=ACTOR)

    async def test_the_lease_is_the_clusters_as_it_is_now(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        """A server that knew a longer one cannot name what is no longer kept for so long."""
        base, _ = await database.uploads.time()
        await database.settings.put(LEASE_SETTING, stored(60))
        assert (await database.uploads.time()).lease == 60
        await database_clock.move(database, 6)
        late = replace(large(2, part(2)), base=base)
        with pytest.raises(NotRecorded):
            await database.blobs.commit(APP, late, upload_id=None, now=NOW, actor=ACTOR)

    async def test_notes_end_with_the_commit(self, database: Database) -> None:
        await database.uploads.create(upload("notes"))
        new = replace(large(1, part(1)), notes="notes")
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(UploadUnknown):
            await database.uploads.get("notes")

    async def test_without_its_notes_it_is_no_blob(self, database: Database) -> None:
        """They expired, or a power cut took them: nothing named its chunks meanwhile."""
        new = replace(large(1, part(1)), notes="notes")
        with pytest.raises(UploadUnknown):
            await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))

    async def test_commit_twice_is_commit_once(self, database: Database) -> None:
        new = large(1, part(1), part(2))
        for _ in range(3):
            await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, digest(1)) == new.blob
        assert (await database.repositories.cluster_usage()).bytes_pushed == 2000

    async def test_commit_replaces_a_recipe_and_its_chunks(self, database: Database) -> None:
        old, new = large(1, part(1), part(2)), large(1, part(2), part(3))
        await database.blobs.commit(APP, old, upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit("bob/app", new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, digest(1)) == new.blob
        await database.blobs.commit(APP, large(2, part(1)), upload_id=None, now=NOW, actor=ACTOR)
        assert (await database.repositories.usage(APP)).bytes_chunked == 3000
        inline = small(1, b"x" * 2000)
        await database.blobs.commit(APP, inline, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.blobs.find("bob/app", digest(1)) == inline.blob
        assert (await database.repositories.usage("bob/app")).bytes_chunked == 2000

    async def test_a_blob_of_many_chunks(self, database: Database) -> None:
        parts = [part(number, 4 * 1024 * 1024) for number in range(5000, 0, -1)]
        new = large(1, *parts)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert (await database.blobs.find(APP, digest(1))).size == 5000 * 4 * 1024 * 1024
        assert (await database.repositories.cluster_usage()).chunks == 5000

    async def test_sizes_beyond_32_bits(self, database: Database) -> None:
        new = large(1, part(1, 2**62))
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert (await database.blobs.find(APP, digest(1))).size == 2**62

    async def test_mount_links_from_a_given_source(self, database: Database) -> None:
        await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW, actor=ACTOR)
        sources = ["carol/none", "bob/base", "bob/none"]
        assert await database.blobs.mount(APP, digest(1), sources, now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, digest(1)) == small(1).blob
        assert await database.blobs.mount(APP, digest(1), sources, now=NOW + 1, actor=ACTOR)
        await database.blobs.unlink("bob/base", digest(1))
        assert await database.blobs.find(APP, digest(1)) == small(1).blob

    async def test_mount_from_many_sources(self, database: Database) -> None:
        await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW, actor=ACTOR)
        sources = [f"carol/{number}" for number in range(1200)]
        assert not await database.blobs.mount(APP, digest(1), sources, now=NOW, actor=ACTOR)
        assert await database.blobs.mount(
            APP, digest(1), [*sources, "bob/base"], now=NOW, actor=ACTOR
        )

    async def test_a_missed_mount_leaves_nothing(self, database: Database) -> None:
        await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW, actor=ACTOR)
        mount = database.blobs.mount
        assert not await mount(APP, digest(1), [], now=NOW, actor=ACTOR)
        assert not await mount(APP, digest(1), ["bob/other", "bob/", "%"], now=NOW, actor=ACTOR)
        assert not await mount(APP, digest(2), ["bob/base"], now=NOW, actor=ACTOR)
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)

    async def test_who_is_told_that_it_is_there_has_a_day_to_build_on_it(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        """Control: `find`, which renews nothing, or a renewal by the clock of whoever asks."""
        times = LeaseTimes()
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        for _ in range(5):
            await database_clock.move(database, times.link_min + 60)
            found = await database.blobs.promise(APP, digest(1))
            base, _ = await database.uploads.time()
            assert found.promised_until >= base.time, "so much is left, and a day more"
            assert found == small(1).blob

    async def test_a_promise_is_written_once_a_day(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        first = (await database.blobs.promise(APP, digest(1))).promised_until
        await database_clock.move(database, LeaseTimes().link_min - 60)
        assert (await database.blobs.promise(APP, digest(1))).promised_until == first
        await database_clock.move(database, 120)
        assert (await database.blobs.promise(APP, digest(1))).promised_until > first

    async def test_what_is_settled_is_promised_anew(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database._connections.change(update(repository_blobs).values(lease_until=SETTLED))
        assert (await database.blobs.find(APP, digest(1))).promised_until < 0
        base, _ = await database.uploads.time()
        assert (await database.blobs.promise(APP, digest(1))).promised_until > base.time

    async def test_what_is_not_there_is_not_promised(self, database: Database) -> None:
        await database.blobs.commit("bob/app", small(1), upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(BlobUnknown):
            await database.blobs.promise(APP, digest(1))
        await database.blobs.unlink("bob/app", digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.promise("bob/app", digest(1))

    async def test_what_a_manifest_refers_to_is_not_unlinked(self, database: Database) -> None:
        """Control: unlink at once, and the image is broken."""
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit("bob/app", small(1), upload_id=None, now=NOW, actor=ACTOR)
        made = manifest()
        await database.manifests.put(APP, made, [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR)
        with pytest.raises(Unsupported, match=made.digest):
            await database.blobs.unlink(APP, digest(1))
        assert await database.blobs.find(APP, digest(1)) == small(1).blob
        await database.blobs.unlink("bob/app", digest(1))
        await database.manifests.delete(APP, made.digest, actor=ACTOR)
        await database.blobs.unlink(APP, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))

    async def test_what_was_unlinked_comes_back_with_a_push_or_a_mount(
        self, database: Database
    ) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.unlink(APP, digest(1))
        assert await database.blobs.list_repository(APP, "", 9) == []
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, digest(1)) == small(1).blob
        await database.blobs.commit("bob/app", small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.unlink(APP, digest(1))
        assert await database.blobs.mount(APP, digest(1), ["bob/app"], now=NOW, actor=ACTOR)
        assert await database.blobs.find(APP, digest(1)) == small(1).blob

    async def test_unlink(self, database: Database) -> None:
        for name in (APP, "bob/app"):
            await database.blobs.commit(name, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.unlink(APP, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.unlink(APP, digest(1))
        assert await database.blobs.find("bob/app", digest(1)) == small(1).blob
        assert not await database.blobs.mount("carol/app", digest(1), [APP], now=NOW, actor=ACTOR)

    async def test_list_pages_by_digest(self, database: Database) -> None:
        for number in (5, 1, 3, 2, 4):
            await database.blobs.commit(APP, small(number), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit("bob/app", small(9), upload_id=None, now=NOW, actor=ACTOR)
        page = await database.blobs.list_repository(APP, "", 3)
        assert page == [small(number).blob for number in (1, 2, 3)]
        page = await database.blobs.list_repository(APP, page[-1].digest, 3)
        assert page == [small(number).blob for number in (4, 5)]
        assert await database.blobs.list_repository("alice/none", "", 3) == []
