"""What `LostChunks` promises, and what follows from it for blobs and manifests."""

import asyncio
from dataclasses import replace

import pytest

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
    server,
    small,
    store,
)
from treescale.errors import ChunksLost, ManifestBlobUnknown
from treescale.metadata.database import Database
from treescale.metadata.records import LostData, Noted, StoreReport
from treescale.oci.manifests import Reference, ReferenceKind

STORES = ("s1", "s2")
NOTHING = LostData(chunks=0, blobs=0, links=0, since=None, listed=())


def chunk(number: int) -> bytes:
    return part(number)[0]


async def two_stores(database: Database) -> None:
    for name in STORES:
        await database.servers.register(server(f"on-{name}"), live_seconds=15, actor=ACTOR)
        await database.stores.register(store(name, f"on-{name}"))


async def is_lost(database: Database, number: int, repository: str = APP) -> bool:
    blob = await database.blobs.find(repository, digest(number))
    return blob.lost_since is not None


class LostChunksContract:
    """Subclass with a `database` fixture."""

    @pytest.fixture(autouse=True)
    async def _pushed(self, database: Database) -> None:
        """Blobs 1 and 2 share chunk 2; blob 3 has nothing of theirs."""
        await two_stores(database)
        blobs = database.blobs
        await blobs.commit(APP, large(1, part(1), part(2)), upload_id=None, now=NOW, actor=ACTOR)
        await blobs.commit(
            "bob/app", large(2, part(2), part(3)), upload_id=None, now=NOW, actor=ACTOR
        )
        await blobs.commit(APP, large(3, part(4)), upload_id=None, now=NOW, actor=ACTOR)

    async def test_a_lost_chunk_is_lost_to_all_blobs_that_have_it(self, database: Database) -> None:
        before = await database.servers.now()
        assert await database.lost.note(chunk(2), STORES) is Noted.NEW
        assert await database.lost.note(chunk(2), STORES) is Noted.KNOWN
        assert await is_lost(database, 1)
        assert await is_lost(database, 2, "bob/app")
        assert not await is_lost(database, 3)
        since = (await database.blobs.find(APP, digest(1))).lost_since
        assert since is not None
        assert before - 1 <= since <= await database.servers.now() + 1
        assert await database.lost.among([chunk(n) for n in range(9)]) == [chunk(2)]

    async def test_a_second_loss_keeps_the_time_of_the_first(self, database: Database) -> None:
        await database.lost.note(chunk(1), STORES)
        since = (await database.blobs.find(APP, digest(1))).lost_since
        await database.lost.note(chunk(2), STORES)
        assert (await database.blobs.find(APP, digest(1))).lost_since == since

    async def test_a_store_that_has_not_answered_may_have_it(self, database: Database) -> None:
        for answered in ((), ("s1",), ("s1", "forgotten")):
            assert await database.lost.note(chunk(2), answered) is Noted.UNPROVEN
        assert not await is_lost(database, 1)
        assert await database.lost.among([chunk(2)]) == []
        await database.stores.remove("s2", actor=ACTOR)
        assert await database.lost.note(chunk(2), ["s1"]) is Noted.NEW

    @pytest.mark.parametrize(
        ("trouble", "noted"),
        [
            ("/disk failed when read: Input/output error; check the disk", Noted.UNPROVEN),
            ("/disk is mounted read-only; remount it to write again", Noted.UNPROVEN),
            ("full: /disk has 5 bytes free and keeps 9: no room for 0 more", Noted.NEW),
            ("/disk has 5 bytes free and keeps 9: no room for 0 more; add a disk", Noted.NEW),
            ("/disk has 5 inodes left; add a disk", Noted.NEW),
            ("/disk is full; add a disk or delete images", Noted.NEW),
        ],
    )
    async def test_a_store_in_trouble_may_have_it_unless_it_is_only_full(
        self, database: Database, trouble: str, noted: Noted
    ) -> None:
        await database.servers.heartbeat("on-s2", [StoreReport("s2", 9, 5, trouble)])
        assert await database.lost.note(chunk(2), STORES) is noted

    async def test_blobs_are_whole_when_all_their_chunks_are_there_again(
        self, database: Database
    ) -> None:
        for number in (1, 2):
            await database.lost.note(chunk(number), STORES)
        assert await database.lost.heal([chunk(2), chunk(3)]) == [chunk(2)]
        assert not await is_lost(database, 2, "bob/app")
        assert await is_lost(database, 1)
        assert await database.lost.heal([chunk(1), chunk(2)]) == [chunk(1)]
        assert not await is_lost(database, 1)
        assert await database.lost.overview(9) == NOTHING

    async def test_a_commit_does_not_build_on_lost_chunks(self, database: Database) -> None:
        await database.lost.note(chunk(2), STORES)
        for new in (large(1, part(1), part(2)), large(9, part(2))):
            with pytest.raises(ChunksLost) as refused:
                await database.blobs.commit("carol/app", new, upload_id=None, now=NOW, actor=ACTOR)
            assert refused.value.chunks == (chunk(2),)
        await database.blobs.commit(
            "carol/app", large(8, part(8)), upload_id=None, now=NOW, actor=ACTOR
        )
        await database.lost.heal([chunk(2)])
        await database.blobs.commit(
            "carol/app", large(9, part(2)), upload_id=None, now=NOW, actor=ACTOR
        )
        assert not await is_lost(database, 9, "carol/app")

    async def test_of_very_many_chunks_the_lost_ones_are_found(self, database: Database) -> None:
        parts = [part(number) for number in range(100, 1700)]
        await database.blobs.commit(APP, large(7, *parts), upload_id=None, now=NOW, actor=ACTOR)
        lost = [chunk(number) for number in range(100, 1700, 300)]
        for each in lost:
            await database.lost.note(each, STORES)
        with pytest.raises(ChunksLost) as refused:
            await database.blobs.commit(APP, large(7, *parts), upload_id=None, now=NOW, actor=ACTOR)
        assert refused.value.chunks == tuple(lost)
        assert await database.lost.heal(each for each, _ in parts) == lost
        assert not await is_lost(database, 7)

    async def test_other_chunks_make_a_lost_blob_whole(self, database: Database) -> None:
        await database.lost.note(chunk(4), STORES)
        await database.blobs.commit(APP, large(3, part(5)), upload_id=None, now=NOW, actor=ACTOR)
        assert not await is_lost(database, 3)
        assert await database.lost.overview(9) == NOTHING

    async def test_what_is_lost_is_not_mounted(self, database: Database) -> None:
        await database.lost.note(chunk(2), STORES)
        assert not await database.blobs.mount("carol/app", digest(1), [APP], now=NOW, actor=ACTOR)
        assert await database.blobs.mount("carol/app", digest(3), [APP], now=NOW, actor=ACTOR)
        await database.lost.heal([chunk(2)])
        assert await database.blobs.mount("carol/app", digest(1), [APP], now=NOW, actor=ACTOR)

    async def test_a_manifest_needs_whole_blobs(self, database: Database) -> None:
        put, references = database.manifests.put, [blob_reference(1), blob_reference(3)]
        await put(APP, manifest(b"{1}"), references, ["before"], now=NOW, actor=ACTOR)
        await database.lost.note(chunk(2), STORES)
        with pytest.raises(ManifestBlobUnknown, match=digest(1)):
            await put(APP, manifest(b"{1}"), references, ["again"], now=NOW, actor=ACTOR)
        assert (await database.manifests.resolve(APP, "before")).payload == b"{1}"
        optional = [blob_reference(1, required=False), blob_reference(3)]
        await put(APP, manifest(b"{2}"), optional, ["optional"], now=NOW, actor=ACTOR)
        await database.lost.heal([chunk(2)])
        await put(APP, manifest(b"{1}"), references, ["again"], now=NOW, actor=ACTOR)

    async def test_inline_blobs_are_never_lost(self, database: Database) -> None:
        await database.blobs.commit(APP, small(5), upload_id=None, now=NOW, actor=ACTOR)
        await database.lost.note(chunk(2), STORES)
        assert not await is_lost(database, 5)
        await database.blobs.commit(APP, small(6), upload_id=None, now=NOW, actor=ACTOR)

    async def test_the_overview_names_repositories_and_tags(self, database: Database) -> None:
        image, other = manifest(b"{image}"), manifest(b"{other}")
        index = manifest(b"{index}")
        signature = replace(manifest(b"{signature}"), subject=image.digest)
        child = Reference(image.digest, ReferenceKind.MANIFEST, required=False)
        put = database.manifests.put
        await put(APP, image, [blob_reference(1)], ["b", "a"], now=NOW, actor=ACTOR)
        await put(APP, index, [child], ["multi"], now=NOW, actor=ACTOR)
        await put(APP, signature, [child, blob_reference(3)], ["signature"], now=NOW, actor=ACTOR)
        await put(APP, other, [blob_reference(3)], ["whole"], now=NOW, actor=ACTOR)
        for number in (1, 2):
            await database.lost.note(chunk(number), STORES)
        seen = await database.lost.overview(9)
        assert (seen.chunks, seen.blobs, seen.links) == (2, 2, 2)
        mine, theirs = seen.listed
        assert (mine.repository, mine.digest, mine.size) == (APP, digest(1), 2000)
        assert (mine.chunk_count, mine.chunks) == (2, (chunk(1), chunk(2)))
        assert mine.tags == ("a", "b", "multi")
        assert (theirs.repository, theirs.chunks, theirs.tags) == ("bob/app", (chunk(2),), ())
        assert seen.since is not None
        assert mine.since >= seen.since
        (first,) = (await database.lost.overview(1)).listed
        assert first.repository == APP
        assert (await database.lost.overview(1)).links == 2

    async def test_what_no_repository_has_is_no_loss(self, database: Database) -> None:
        await database.lost.note(chunk(4), STORES)
        await database.lost.note(chunk(99), STORES)
        await database.blobs.unlink(APP, digest(3))
        assert await database.lost.overview(9) == NOTHING

    async def test_what_hangs_together_is_found(self, database: Database) -> None:
        await database.manifests.put(
            APP, manifest(), [blob_reference(1), blob_reference(3)], [], now=NOW, actor=ACTOR
        )
        assert await database.lost.repositories(chunk(2), 9) == [APP, "bob/app"]
        assert await database.lost.repositories(chunk(2), 1) == [APP]
        assert set(await database.lost.related(chunk(1), 9)) == {chunk(n) for n in (1, 2, 4)}
        assert set(await database.lost.related(chunk(2), 9)) == {chunk(n) for n in (1, 2, 3, 4)}
        assert len(await database.lost.related(chunk(2), 2)) == 2
        assert await database.lost.related(chunk(99), 9) == []

    async def test_many_at_once_do_not_wait_for_each_other(
        self, database: Database, other: Database
    ) -> None:
        noting = [
            each.lost.note(chunk(number), STORES)
            for number in (1, 2, 3, 2, 1)
            for each in (database, other)
        ]
        async with asyncio.timeout(30):
            found = await asyncio.gather(*noting)
        assert sum(noted is Noted.NEW for noted in found) == 3
        async with asyncio.timeout(30):
            healed = await asyncio.gather(
                *(each.lost.heal([chunk(3), chunk(1), chunk(2)]) for each in (database, other))
            )
        assert sorted(each for found in healed for each in found) == [chunk(n) for n in (1, 2, 3)]
        assert await database.lost.overview(9) == NOTHING

    async def test_another_process_learns_of_it_at_once(
        self, database: Database, other: Database
    ) -> None:
        assert not await is_lost(other, 1)
        await database.lost.note(chunk(2), STORES)
        assert await is_lost(other, 1)
        assert await is_lost(database, 1)
        await other.lost.heal([chunk(2)])
        assert not await is_lost(database, 1)
