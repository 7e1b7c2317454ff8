"""What `Manifests` promises, of tags too."""

from dataclasses import replace

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, digest, manifest, small
from treescale.errors import ManifestBlobUnknown, ManifestUnknown, NameUnknown
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest, ReferrerDescriptor
from treescale.oci.digest import digest_of
from treescale.oci.manifests import Reference, ReferenceKind

SUBJECT = digest(77)
PLENTY = 1 << 20


def manifest_reference(target: str, *, required: bool = True) -> Reference:
    return Reference(target, ReferenceKind.MANIFEST, required)


class ManifestsContract:
    """Subclass with a `database` fixture."""

    async def test_every_byte_and_field_comes_back(self, database: Database) -> None:
        payload = b'{ "a":\r\n "\xc3\xa9\\u0000" }\x00\xff'
        put = Manifest(
            digest=str(digest_of(payload)),
            media_type="application/vnd.example+json; charset=utf-8",
            payload=payload,
            subject=SUBJECT,
            artifact_type="application/example",
            annotations={"org.example": "\x00\n\"'é\U0001f333", "": ""},
        )
        await database.manifests.put(APP, put, [], ["v1"], now=NOW, actor=ACTOR)
        assert await database.manifests.get(APP, put.digest) == put
        assert await database.manifests.resolve(APP, "v1") == put

    async def test_unknown_ones(self, database: Database) -> None:
        for _ in range(2):
            with pytest.raises(ManifestUnknown):
                await database.manifests.get(APP, manifest().digest)
            with pytest.raises(ManifestUnknown):
                await database.manifests.resolve(APP, "v1")
            with pytest.raises(ManifestUnknown):
                await database.manifests.delete(APP, manifest().digest, actor=ACTOR)
            with pytest.raises(ManifestUnknown):
                await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
            await database.manifests.put(APP, manifest(b"[]"), [], ["v2"], now=NOW, actor=ACTOR)

    async def test_a_repository_does_not_see_anothers(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
        await database.manifests.put("bob/app", manifest(b"[]"), [], ["v2"], now=NOW, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.get("bob/app", manifest().digest)
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve("bob/app", "v1")

    async def test_put_twice_is_put_once(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        for _ in range(3):
            await database.manifests.put(
                APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
            )
        assert (await database.repositories.usage(APP)).manifests == 1

    async def test_the_same_bytes_under_another_type(self, database: Database) -> None:
        other = replace(manifest(), media_type="application/other+json")
        await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
        await database.manifests.put(APP, other, [], [], now=NOW, actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == other

    async def test_several_tags_at_once_and_twice_the_same(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], ["b", "a", "b"], now=NOW, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["a", "b"]

    async def test_a_tag_moves(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR)
        await database.manifests.put(APP, manifest(b"[]"), [], ["v1"], now=NOW, actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == manifest(b"[]")
        assert await database.manifests.resolve(APP, "v2") == manifest()

    async def test_tags_differ_by_case(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], ["V1"], now=NOW, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve(APP, "v1")

    async def test_a_required_reference_must_be_here(self, database: Database) -> None:
        await database.blobs.commit("bob/app", small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit(APP, small(2), upload_id=None, now=NOW, actor=ACTOR)
        with pytest.raises(ManifestBlobUnknown, match=digest(1)):
            await database.manifests.put(
                APP,
                manifest(),
                [blob_reference(2), blob_reference(1)],
                ["v1"],
                now=NOW,
                actor=ACTOR,
            )
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, manifest().digest)
        assert await database.manifests.list_tags(APP, "", 9) == []

    async def test_a_refused_put_creates_no_repository(self, database: Database) -> None:
        with pytest.raises(ManifestBlobUnknown):
            await database.manifests.put(
                APP, manifest(), [blob_reference(1)], [], now=NOW, actor=ACTOR
            )
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)

    async def test_an_unlinked_blob_is_not_here(self, database: Database) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.unlink(APP, digest(1))
        with pytest.raises(ManifestBlobUnknown):
            await database.manifests.put(
                APP, manifest(), [blob_reference(1)], [], now=NOW, actor=ACTOR
            )

    async def test_an_optional_reference_need_not_be_here(self, database: Database) -> None:
        absent = blob_reference(1, required=False)
        await database.manifests.put(APP, manifest(), [absent], ["v1"], now=NOW, actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == manifest()

    async def test_either_kind_meets_either_need(self, database: Database) -> None:
        child, index = manifest(b"child"), manifest(b"index")
        await database.manifests.put(APP, child, [], [], now=NOW, actor=ACTOR)
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        crossed = [
            Reference(child.digest, ReferenceKind.BLOB, required=True),
            manifest_reference(digest(1)),
        ]
        await database.manifests.put(APP, index, crossed, ["v1"], now=NOW, actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == index

    async def test_thousands_of_references(self, database: Database) -> None:
        for number in range(3):
            await database.blobs.commit(APP, small(number), upload_id=None, now=NOW, actor=ACTOR)
        optional = [blob_reference(number, required=number < 3) for number in range(1200)]
        await database.manifests.put(APP, manifest(), optional * 2, ["v1"], now=NOW, actor=ACTOR)
        with pytest.raises(ManifestBlobUnknown, match=digest(1199)):
            await database.manifests.put(
                APP, manifest(b"[]"), [*optional, blob_reference(1199)], [], now=NOW, actor=ACTOR
            )

    async def test_delete_takes_its_tags_with_it(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR)
        await database.manifests.put(APP, manifest(b"[]"), [], ["v3"], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, manifest().digest, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve(APP, "v1")
        with pytest.raises(ManifestUnknown):
            await database.manifests.delete(APP, manifest().digest, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["v3"]

    async def test_a_manifest_may_go_before_the_index_over_it(self, database: Database) -> None:
        child, index = manifest(b"child"), manifest(b"index")
        await database.manifests.put(APP, child, [], [], now=NOW, actor=ACTOR)
        await database.manifests.put(
            APP, index, [manifest_reference(child.digest)], ["v1"], now=NOW, actor=ACTOR
        )
        await database.manifests.delete(APP, child.digest, actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == index


class ReferrersContract:
    """Subclass with a `database` fixture."""

    async def put(self, database: Database, count: int, annotation: str = "") -> list[Manifest]:
        made = [
            replace(
                manifest(b"%d" % number, subject=SUBJECT, artifact_type=f"type/{number % 2}"),
                annotations={"note": annotation} if annotation else {},
            )
            for number in range(count)
        ]
        for each in made:
            await database.manifests.put(APP, each, [], [], now=NOW, actor=ACTOR)
        return sorted(made, key=lambda each: each.digest)

    async def test_none(self, database: Database) -> None:
        assert await database.manifests.referrers(APP, SUBJECT, None, "", 9, PLENTY) == []
        await database.manifests.put(APP, manifest(), [], [], now=NOW, actor=ACTOR)
        assert await database.manifests.referrers(APP, SUBJECT, None, "", 9, PLENTY) == []

    async def test_each_line_says_what_the_manifest_is(self, database: Database) -> None:
        (made,) = await self.put(database, 1, "é")
        assert await database.manifests.referrers(APP, SUBJECT, None, "", 9, PLENTY) == [
            ReferrerDescriptor(made.digest, made.media_type, 1, "type/0", {"note": "é"})
        ]
        assert await database.manifests.referrers("bob/app", SUBJECT, None, "", 9, PLENTY) == []
        await database.manifests.delete(APP, made.digest, actor=ACTOR)
        assert await database.manifests.referrers(APP, SUBJECT, None, "", 9, PLENTY) == []

    async def test_pages_by_digest(self, database: Database) -> None:
        made = [each.digest for each in await self.put(database, 5)]
        pages, after = [], ""
        while page := await database.manifests.referrers(APP, SUBJECT, None, after, 2, PLENTY):
            pages.append([line.digest for line in page])
            after = pages[-1][-1]
        assert pages == [made[:2], made[2:4], made[4:]]

    async def test_only_of_a_type(self, database: Database) -> None:
        made = await self.put(database, 6)
        wanted = [each.digest for each in made if each.artifact_type == "type/1"]
        page = await database.manifests.referrers(APP, SUBJECT, "type/1", "", 2, PLENTY)
        rest = await database.manifests.referrers(APP, SUBJECT, "type/1", page[-1].digest, 9, 9)
        assert [line.digest for line in page + rest] == wanted
        assert await database.manifests.referrers(APP, SUBJECT, "type/%", "", 9, PLENTY) == []

    async def test_annotations_end_a_page_but_never_the_first_line(
        self, database: Database
    ) -> None:
        made = [each.digest for each in await self.put(database, 4, "x" * 1000)]

        async def page(bytes_max: int) -> list[str]:
            lines = await database.manifests.referrers(APP, SUBJECT, None, "", 9, bytes_max)
            return [line.digest for line in lines]

        assert await page(0) == made[:1]
        assert await page(2 * len(b'{"note":""}') + 2000) == made[:2]
        assert await page(2 * len(b'{"note":""}') + 1999) == made[:1]
        assert await page(PLENTY) == made


class TagsContract:
    """Subclass with a `database` fixture."""

    async def test_an_absent_repository_has_no_list(self, database: Database) -> None:
        with pytest.raises(NameUnknown):
            await database.manifests.list_tags(APP, "", 9)

    async def test_pages_in_byte_order(self, database: Database) -> None:
        ordered = sorted(
            ["10", "9", "A", "Z", "_x", "a", "a.b", "a-b", "a_b", "ab"], key=str.encode
        )
        await database.manifests.put(APP, manifest(), [], ordered[::-1], now=NOW, actor=ACTOR)
        await database.manifests.put("bob/app", manifest(), [], ["zz"], now=NOW, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 4) == ordered[:4]
        assert await database.manifests.list_tags(APP, ordered[3], 4) == ordered[4:8]
        assert await database.manifests.list_tags(APP, ordered[7], 4) == ordered[8:]
        assert await database.manifests.list_tags(APP, ordered[-1], 4) == []
        assert await database.manifests.list_tags(APP, "B", 1) == ["Z"]

    async def test_delete_takes_the_tag_alone(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR)
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["v2"]
        await database.manifests.delete_tag(APP, "v2", actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == []
        assert await database.manifests.get(APP, manifest().digest) == manifest()
