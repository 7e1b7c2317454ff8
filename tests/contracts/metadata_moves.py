"""Moved repositories on either database: what is in them stays, their names are free at once."""

import pytest

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
from treescale.errors import ManifestUnknown, NameUnknown, ReadOnly, UserExists
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.naming.moves import Moves
from treescale.metadata.usage.counting import UsageCounter

NEW = "bob/renamed"


async def push(database: Database, name: str = APP) -> None:
    await database.blobs.commit(name, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.manifests.put(
        name, manifest(), [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR
    )


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
