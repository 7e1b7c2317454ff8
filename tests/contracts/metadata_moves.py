"""Moved repositories on either database: what is in them stays, their names are free at once."""

import pytest

from tests.contracts import metadata_quotas as quotas
from tests.contracts.metadata_usage import anew, kept
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    manifest,
    small,
    user,
)
from treescale.errors import (
    BlobUnknown,
    ManifestUnknown,
    NameUnknown,
    OverLimit,
    QuotaExceeded,
    ReadOnly,
    UserExists,
)
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.naming.moves import Moves
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.quotas import BYTES, REPOSITORIES, TAGS, Limit

NEW = "bob/renamed"
EACH_LIMIT = [
    (BYTES, 150, QuotaExceeded),
    (REPOSITORIES, 1, OverLimit),
    (TAGS, 1, OverLimit),
]


async def push(database: Database, name: str = APP) -> None:
    await database.blobs.commit(name, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(
        name, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
    )


async def bring(database: Database, way: str) -> None:
    if way == "move":
        await Moves(database).move(APP, NEW, actor=ACTOR)
    else:
        await Undelete(database.connections).repository(APP, to=NEW, actor=ACTOR)


class MovesContract:
    """Subclass with a `database` fixture."""

    async def test_all_of_it_has_the_other_name(self, database: Database) -> None:
        await push(database)
        await database.repositories.set_visibility(APP, "internal", now=NOW, actor=ACTOR)
        digest = (await database.manifests.resolve(APP, "v1")).digest
        await Moves(database).move(APP, NEW, actor=ACTOR)
        assert (await database.manifests.resolve(NEW, "v1")).digest == digest
        assert (await database.repositories.get(NEW)).visibility == "internal"
        assert (await database.blobs.find(NEW, small(1).blob.digest)).size
        for find in (database.manifests.resolve(APP, "v1"), database.manifests.get(APP, digest)):
            with pytest.raises(ManifestUnknown):
                await find
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)
        await push(database)
        assert [one.name for one in await database.repositories.list_all("", 9)] == [APP, NEW]

    async def test_another_process_does_not_answer_by_the_old_name(
        self, database: Database, other: Database
    ) -> None:
        await push(database)
        await push(database, NEW)
        await database.repositories.delete(NEW, actor=ACTOR)
        digest = (await other.manifests.resolve(APP, "v1")).digest
        await other.manifests.get(APP, digest)
        await other.blobs.promise(APP, small(1).blob.digest)
        await Moves(database).move(APP, NEW, actor=ACTOR)
        for gone in (
            other.manifests.resolve(APP, "v1"),
            other.manifests.get(APP, digest),
            other.blobs.find(APP, small(1).blob.digest),
            other.blobs.promise(APP, small(1).blob.digest),
        ):
            with pytest.raises((BlobUnknown, ManifestUnknown)):
                await gone
        assert (await other.manifests.resolve(NEW, "v1")).digest == digest

    async def test_sizes_go_with_it(self, database: Database) -> None:
        counter = UsageCounter(database.connections)
        await push(database)
        await counter.count()
        await Moves(database).move(APP, NEW, actor=ACTOR)
        await counter.count()
        assert await kept(database) == await anew(database)

    async def test_a_name_that_is_taken_is_kept(self, database: Database) -> None:
        await push(database)
        await push(database, NEW)
        with pytest.raises(UserExists) as refused:
            await Moves(database).move(APP, NEW, actor=ACTOR)
        assert refused.value.known == NEW
        with pytest.raises(NameUnknown):
            await Moves(database).move("alice/none", "alice/free", actor=ACTOR)

    async def test_nothing_leaves_or_enters_what_is_read_only(self, database: Database) -> None:
        await push(database)
        await push(database, NEW)
        for name in ("alice", "bob"):
            await database.read_only.set_namespace(name, read_only=True, actor=ACTOR)
            with pytest.raises(ReadOnly):
                await Moves(database).move(APP, "bob/other", actor=ACTOR)
            await database.read_only.set_namespace(name, read_only=False, actor=ACTOR)
        await Moves(database).move(APP, "bob/other", actor=ACTOR)

    @pytest.mark.parametrize(("limit", "to", "error"), EACH_LIMIT)
    @pytest.mark.parametrize("way", ["move", "restore"])
    async def test_what_does_not_fit_there_stays_where_it_is(
        self, database: Database, way: str, limit: Limit, to: int, error: type[Exception]
    ) -> None:
        await quotas.push(database, 1, repository="bob/has")
        for tag in ("v1", "v2"):
            await quotas.put(database, b"{}", tag)
        await quotas.push(database, 2)
        for name, most in (("alice", quotas.MUCH), ("bob", to)):
            await quotas.give(database, limit, most, name)
        if way == "restore":
            await database.repositories.delete(APP, actor=ACTOR)
        with pytest.raises(error):
            await bring(database, way)
        await quotas.give(database, limit, 1000, "bob")
        await bring(database, way)
        assert (await quotas.used(database, "bob")) == (202 if limit is BYTES else None)
        await quotas.count(database)
        if limit is BYTES:
            assert await quotas.kept(database) == await quotas.naive(database)

    async def test_what_is_there_already_and_what_is_over_is_no_more(
        self, database: Database
    ) -> None:
        for name in (APP, "bob/has"):
            await quotas.push(database, 1, repository=name)
        await quotas.give(database, BYTES, 50, "bob")
        await Moves(database).move(APP, NEW, actor=ACTOR)
        await Moves(database).move("bob/has", "bob/had", actor=ACTOR)
        await database.repositories.delete(NEW, actor=ACTOR)
        await Undelete(database.connections).repository(NEW, to=None, actor=ACTOR)
        assert await quotas.used(database, "bob") == 100

    async def test_what_came_before_under_that_name_is_not_its_history(
        self, database: Database
    ) -> None:
        await push(database)
        before = (await database.repositories.get(APP)).created
        first = await database.repositories.first_created()
        await Moves(database).move(APP, NEW, actor=ACTOR)
        assert (await database.repositories.get(NEW)).created > before
        assert await database.repositories.first_created() == first

    async def test_what_was_deleted_before_comes_back_to_who_has_the_name_now_alone(
        self, database: Database
    ) -> None:
        await database.users.add(user("bob"), actor=ACTOR)
        await database.organisations.add("acme", "bob", actor=ACTOR)
        await push(database, "acme/app")
        undelete = Undelete(database.connections)
        await database.repositories.delete("acme/app", actor=ACTOR)
        assert [one.repository for one in await undelete.list("acme", 9)] == ["acme/app"]
        await database.organisations.remove("acme", actor=ACTOR)
        await database.organisations.add("acme", "bob", actor=ACTOR)
        assert await undelete.list("acme", 9) == []
        assert [one.repository for one in await undelete.list(None, 9)] == ["acme/app"]
        with pytest.raises(NameUnknown):
            await undelete.repository("acme/app", to=None, actor=ACTOR, anybodys=False)
        await undelete.repository("acme/app", to=None, actor=ACTOR)
