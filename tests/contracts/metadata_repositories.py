"""What `Repositories` promises."""

import pytest

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    large,
    manifest,
    part,
    small,
)
from tests.tables import each_row
from treescale.errors import BlobUnknown, ManifestUnknown, NameUnknown
from treescale.metadata.database import Database
from treescale.metadata.records import ClusterUsage, Repository


async def make(database: Database, *names: str) -> None:
    for name in names:
        await database.blobs.commit(name, small(1), upload_id=None, now=NOW, actor=ACTOR)


def names(repositories: list[Repository]) -> list[str]:
    return [repository.name for repository in repositories]


class RepositoriesContract:
    """Subclass with a `database` fixture."""

    async def test_it_comes_with_its_first_blob_and_is_private(self, database: Database) -> None:
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)
        await make(database, APP)
        assert await database.repositories.get(APP) == Repository(APP, public=False, created=NOW)

    async def test_it_comes_with_its_first_manifest(self, database: Database) -> None:
        await database.manifests.put(APP, manifest(), [], [], now=NOW, actor=ACTOR)
        assert await database.repositories.get(APP) == Repository(APP, public=False, created=NOW)

    async def test_public_opens_and_closes(self, database: Database) -> None:
        await make(database, APP)
        await database.repositories.set_public(APP, public=True, now=NOW + 1, actor=ACTOR)
        assert (await database.repositories.get(APP)).public
        await database.repositories.set_public(APP, public=False, now=NOW + 1, actor=ACTOR)
        assert await database.repositories.get(APP) == Repository(APP, public=False, created=NOW)

    async def test_public_creates_what_is_absent(self, database: Database) -> None:
        await database.repositories.set_public(APP, public=True, now=NOW, actor=ACTOR)
        assert await database.repositories.get(APP) == Repository(APP, public=True, created=NOW)

    async def test_several_are_told_by_name(self, database: Database) -> None:
        for name in ("alice/app", "bob/app"):
            await database.repositories.set_public(name, public=True, now=NOW, actor=ACTOR)
        found = await database.repositories.named({"alice/app", "alice/gone", "bob/app"})
        assert {*found} == {"alice/app", "bob/app"}
        assert found["bob/app"] == await database.repositories.get("bob/app")
        assert await database.repositories.named(set()) == {}

    async def test_lists_page_in_byte_order(self, database: Database) -> None:
        ordered = ["a-b/x", "a/b-c", "a/b.c", "a/b/c", "a/bc", "a/b_c", "a0/x", "a_b/x"]
        ordered.sort(key=str.encode)
        await make(database, *reversed(ordered))
        page = await database.repositories.list_all("", 3)
        assert names(page) == ordered[:3]
        page = await database.repositories.list_all(page[-1].name, 3)
        assert names(page) == ordered[3:6]
        assert names(await database.repositories.list_all(ordered[5], 3)) == ordered[6:]
        assert await database.repositories.list_all(ordered[-1], 3) == []

    async def test_visible_are_the_public_and_ones_own(self, database: Database) -> None:
        await make(database, "alice/a", "alice/c", "bob/a", "bob/b", "carol/x")
        for name in ("alice/c", "bob/b"):
            await database.repositories.set_public(name, public=True, now=NOW, actor=ACTOR)
        visible = database.repositories.list_visible
        assert names(await visible("alice", "", 9)) == ["alice/a", "alice/c", "bob/b"]
        assert names(await visible("alice", "", 2)) == ["alice/a", "alice/c"]
        assert names(await visible("alice", "alice/c", 2)) == ["bob/b"]
        assert names(await visible(None, "", 9)) == ["alice/c", "bob/b"]
        assert names(await visible(None, "alice/c", 9)) == ["bob/b"]
        assert names(await visible("nobody", "", 9)) == ["alice/c", "bob/b"]

    @each_row("namespace", ["team_", "team%", "%", "_", "team", "TEAM1", "team1/"])
    async def test_a_namespace_is_no_pattern(self, database: Database, namespace: str) -> None:
        await make(database, "team1/app", "teams/app", "team_x/app")
        assert await database.repositories.list_visible(namespace, "", 9) == []

    async def test_delete_takes_everything_but_the_blob(self, database: Database) -> None:
        await make(database, APP, "bob/app")
        await database.manifests.put(
            APP, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
        )
        await database.repositories.delete(APP, actor=ACTOR)
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)
        with pytest.raises(NameUnknown):
            await database.manifests.list_tags(APP, "", 9)
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve(APP, "v1")
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, manifest().digest)
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, small(1).blob.digest)
        assert await database.blobs.find("bob/app", small(1).blob.digest) == small(1).blob
        with pytest.raises(NameUnknown):
            await database.repositories.delete(APP, actor=ACTOR)

    async def test_the_first_of_all_is_remembered_when_it_is_deleted(
        self, database: Database
    ) -> None:
        """A blob that was mounted from it is as old as it was."""
        repositories = database.repositories
        assert await repositories.first_created() is None
        for name, created in (("a/1", 300.0), ("a/2", 1_700_000_000.5), ("a/3", 20.25)):
            await repositories.set_public(name, public=False, now=created, actor=ACTOR)
        assert await repositories.first_created() == 20.25
        await repositories.delete("a/3", actor=ACTOR)
        assert await repositories.first_created() == 20.25
        await repositories.delete("a/1", actor=ACTOR)
        assert await repositories.first_created() == 20.25
        await repositories.delete("a/2", actor=ACTOR)
        assert await repositories.first_created() is None, "nothing can be pulled"
        await repositories.set_public("a/4", public=False, now=5.0, actor=ACTOR)
        assert await repositories.first_created() == 5.0

    async def test_what_comes_after_a_delete_starts_empty(self, database: Database) -> None:
        await make(database, APP)
        await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
        await database.repositories.delete(APP, actor=ACTOR)
        await database.manifests.put(APP, manifest(b"[]"), [], ["v2"], now=NOW + 5, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["v2"]
        assert (await database.repositories.get(APP)).created == NOW + 5

    async def test_usage(self, database: Database) -> None:
        with pytest.raises(NameUnknown):
            await database.repositories.usage(APP)
        shared, own = part(1, 700), part(2, 300)
        commit = database.blobs.commit
        await commit(APP, large(10, shared, own), upload_id=None, now=NOW, actor=ACTOR)
        await commit(APP, large(11, own), upload_id=None, now=NOW, actor=ACTOR)
        await commit(APP, small(12, b"12345"), upload_id=None, now=NOW, actor=ACTOR)
        await commit(APP, small(13, b"123"), upload_id=None, now=NOW, actor=ACTOR)
        await commit("bob/app", large(20, shared), upload_id=None, now=NOW, actor=ACTOR)
        await commit("bob/app", small(13, b"123"), upload_id=None, now=NOW, actor=ACTOR)
        await database.manifests.put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR)
        usage = await database.repositories.usage(APP)
        assert (usage.tags, usage.manifests, usage.blobs) == (2, 1, 4)
        assert usage.bytes_logical == 1000 + 300 + 5 + 3
        assert usage.bytes_chunked == 700 + 300 + 5 + 3
        assert usage.bytes_exclusive == 300 + 5
        assert usage.repository == await database.repositories.get(APP)

    async def test_usage_of_an_empty_repository(self, database: Database) -> None:
        await database.repositories.set_public(APP, public=False, now=NOW, actor=ACTOR)
        usage = await database.repositories.usage(APP)
        assert (usage.tags, usage.manifests, usage.blobs) == (0, 0, 0)
        assert (usage.bytes_logical, usage.bytes_chunked, usage.bytes_exclusive) == (0, 0, 0)

    async def test_cluster_usage(self, database: Database) -> None:
        nothing = ClusterUsage(0, 0, 0, 0, 0, 0, 0)
        assert await database.repositories.cluster_usage() == nothing
        huge = 2**40
        for name in (APP, "bob/app"):
            await database.blobs.commit(
                name, large(1, part(1, huge), part(2, 5)), upload_id=None, now=NOW, actor=ACTOR
            )
        await database.blobs.commit(APP, large(2, part(2, 5)), upload_id=None, now=NOW, actor=ACTOR)
        await database.blobs.commit(APP, small(3, b"12"), upload_id=None, now=NOW, actor=ACTOR)
        assert await database.repositories.cluster_usage() == ClusterUsage(
            repositories=2,
            blobs=3,
            bytes_pushed=2 * (huge + 5) + 5 + 2,
            bytes_blobs=huge + 5 + 5 + 2,
            bytes_stored=huge + 5 + 2,
            bytes_unreferenced=0,
            chunks=2,
        )

    async def test_what_no_repository_has_any_more_is_counted_apart(
        self, database: Database
    ) -> None:
        commit = database.blobs.commit
        await commit(APP, large(1, part(1), part(2)), upload_id=None, now=NOW, actor=ACTOR)
        await commit("bob/app", large(2, part(2), part(3)), upload_id=None, now=NOW, actor=ACTOR)
        await commit("bob/app", small(3, b"12"), upload_id=None, now=NOW, actor=ACTOR)
        await database.repositories.delete("bob/app", actor=ACTOR)
        usage = await database.repositories.cluster_usage()
        assert (usage.bytes_pushed, usage.bytes_stored) == (2000, 3002)
        assert usage.bytes_unreferenced == 1002
        await database.blobs.unlink(APP, large(1).blob.digest)
        assert (await database.repositories.cluster_usage()).bytes_unreferenced == 3002
