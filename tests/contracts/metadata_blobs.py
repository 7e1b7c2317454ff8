"""What every `Blobs` promises."""

import pytest

from tests.contracts.metadata_values import APP, NOW, digest, large, part, small, upload
from treescale.errors import BlobUnknown, NameUnknown, UploadUnknown
from treescale.metadata.protocols import Database
from treescale.metadata.records import NewBlob


class BlobsContract:
    """Subclass with a `database` fixture."""

    @pytest.mark.parametrize(
        "new",
        [small(1), small(2, b""), large(3, part(1), part(2))],
        ids=["small", "empty", "large"],
    )
    async def test_a_committed_blob_is_found(self, database: Database, new: NewBlob) -> None:
        await database.blobs.commit(APP, new, upload_id=None, now=NOW)
        assert await database.blobs.find(APP, new.blob.digest) == new.blob

    async def test_a_blob_is_found_where_it_is_linked_only(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW)
        for name in ("alice/other", "bob/app", "alice/ap", "alice/app/x", ""):
            with pytest.raises(BlobUnknown):
                await database.blobs.find(name, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(2))

    async def test_commit_ends_the_upload(self, database: Database) -> None:
        await database.uploads.create(upload())
        await database.blobs.commit(APP, small(1), upload_id="upload", now=NOW)
        with pytest.raises(UploadUnknown):
            await database.uploads.get("upload")

    async def test_commit_twice_is_commit_once(self, database: Database) -> None:
        await database.uploads.create(upload())
        new = large(1, part(1), part(2))
        for _ in range(3):
            await database.blobs.commit(APP, new, upload_id="upload", now=NOW)
        assert await database.blobs.find(APP, digest(1)) == new.blob
        assert (await database.repositories.cluster_usage()).bytes_pushed == 2000

    async def test_commit_replaces_a_recipe_and_its_chunks(self, database: Database) -> None:
        old, new = large(1, part(1), part(2)), large(1, part(2), part(3))
        await database.blobs.commit(APP, old, upload_id=None, now=NOW)
        await database.blobs.commit("bob/app", new, upload_id=None, now=NOW)
        assert await database.blobs.find(APP, digest(1)) == new.blob
        await database.blobs.commit(APP, large(2, part(1)), upload_id=None, now=NOW)
        assert (await database.repositories.usage(APP)).bytes_chunked == 3000
        inline = small(1, b"x" * 2000)
        await database.blobs.commit(APP, inline, upload_id=None, now=NOW)
        assert await database.blobs.find("bob/app", digest(1)) == inline.blob
        assert (await database.repositories.usage("bob/app")).bytes_chunked == 2000

    async def test_a_blob_of_many_chunks(self, database: Database) -> None:
        parts = [part(number, 4 * 1024 * 1024) for number in range(5000, 0, -1)]
        new = large(1, *parts)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW)
        assert (await database.blobs.find(APP, digest(1))).size == 5000 * 4 * 1024 * 1024
        assert (await database.repositories.cluster_usage()).chunks == 5000

    async def test_sizes_beyond_32_bits(self, database: Database) -> None:
        new = large(1, part(1, 2**62))
        await database.blobs.commit(APP, new, upload_id=None, now=NOW)
        assert (await database.blobs.find(APP, digest(1))).size == 2**62

    async def test_mount_links_from_a_given_source(self, database: Database) -> None:
        await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW)
        sources = ["carol/none", "bob/base", "bob/none"]
        assert await database.blobs.mount(APP, digest(1), sources, now=NOW)
        assert await database.blobs.find(APP, digest(1)) == small(1).blob
        assert await database.blobs.mount(APP, digest(1), sources, now=NOW + 1)
        await database.blobs.unlink("bob/base", digest(1))
        assert await database.blobs.find(APP, digest(1)) == small(1).blob

    async def test_mount_from_many_sources(self, database: Database) -> None:
        await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW)
        sources = [f"carol/{number}" for number in range(1200)]
        assert not await database.blobs.mount(APP, digest(1), sources, now=NOW)
        assert await database.blobs.mount(APP, digest(1), [*sources, "bob/base"], now=NOW)

    async def test_a_missed_mount_leaves_nothing(self, database: Database) -> None:
        await database.blobs.commit("bob/base", small(1), upload_id=None, now=NOW)
        mount = database.blobs.mount
        assert not await mount(APP, digest(1), [], now=NOW)
        assert not await mount(APP, digest(1), ["bob/other", "bob/", "%"], now=NOW)
        assert not await mount(APP, digest(2), ["bob/base"], now=NOW)
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)

    async def test_unlink(self, database: Database) -> None:
        for name in (APP, "bob/app"):
            await database.blobs.commit(name, small(1), upload_id=None, now=NOW)
        await database.blobs.unlink(APP, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))
        with pytest.raises(BlobUnknown):
            await database.blobs.unlink(APP, digest(1))
        assert await database.blobs.find("bob/app", digest(1)) == small(1).blob
        assert not await database.blobs.mount("carol/app", digest(1), [APP], now=NOW)

    async def test_list_pages_by_digest(self, database: Database) -> None:
        for number in (5, 1, 3, 2, 4):
            await database.blobs.commit(APP, small(number), upload_id=None, now=NOW)
        await database.blobs.commit("bob/app", small(9), upload_id=None, now=NOW)
        page = await database.blobs.list_repository(APP, "", 3)
        assert page == [small(number).blob for number in (1, 2, 3)]
        page = await database.blobs.list_repository(APP, page[-1].digest, 3)
        assert page == [small(number).blob for number in (4, 5)]
        assert await database.blobs.list_repository("alice/none", "", 3) == []
