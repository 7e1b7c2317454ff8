"""Moved repositories on either database: what is in them stays, their names are free at once."""

import asyncio

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
    LastOwner,
    ManifestUnknown,
    NamespaceUnknown,
    NameUnknown,
    OverLimit,
    QuotaExceeded,
    ReadOnly,
    UserExists,
    UserUnknown,
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

    @pytest.fixture(autouse=True)
    async def _bob(self, database: Database) -> None:
        await database.users.add(user("bob"), actor=ACTOR)

    async def test_what_nobody_would_own_stays(self, database: Database) -> None:
        await push(database)
        await database.users.remove("bob", actor=ACTOR)
        with pytest.raises(NamespaceUnknown):
            await Moves(database).move(APP, NEW, actor=ACTOR)
        await database.repositories.get(APP)

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


HEIR = "team"


async def names(database: Database) -> list[str]:
    return [one.name for one in await database.repositories.list_all("", 99)]


async def leave(database: Database, name: str) -> str:
    """Give all of a user away, as it is now, and remove the account; return how that ended."""
    theirs = [one for one in await names(database) if one.startswith(f"{name}/")]
    try:
        done = await Moves(database).give_and_remove(name, theirs, HEIR, actor=ACTOR)
    except LastOwner:
        return "last owner"
    return "gone" if done else "nothing"


class LeavingContract:
    """Subclass with `database` and `other`, a second one at the same place, as a fixture each."""

    @pytest.fixture
    async def users(self, database: Database) -> Database:
        for name in ("alice", "bob", "carol"):
            await database.users.add(user(name), actor=ACTOR)
        await database.organisations.add(HEIR, "carol", actor=ACTOR)
        for name in ("alice/a1", "alice/a2", "bob/b1", "bob/b2"):
            await push(database, name)
        return database

    async def test_all_goes_and_the_account_with_it(self, users: Database) -> None:
        assert await leave(users, "alice") == "gone"
        assert await names(users) == ["bob/b1", "bob/b2", "team/a1", "team/a2"]
        with pytest.raises(UserUnknown):
            await users.users.get("alice")
        with pytest.raises(UserUnknown):
            await Moves(users).give_and_remove("alice", [], HEIR, actor=ACTOR)

    async def test_nothing_goes_where_one_cannot(self, users: Database) -> None:
        await push(users, "team/a2")
        with pytest.raises(UserExists) as refused:
            await leave(users, "alice")
        assert refused.value.known == "team/a2"
        await users.organisations.add("only", "bob", actor=ACTOR)
        assert await leave(users, "bob") == "last owner"
        await quotas.give(users, REPOSITORIES, 1, HEIR)
        await users.repositories.delete("team/a2", actor=ACTOR)
        with pytest.raises(OverLimit):
            await leave(users, "alice")
        assert await names(users) == ["alice/a1", "alice/a2", "bob/b1", "bob/b2"]
        assert (await users.users.get("alice")).name == "alice"

    async def test_nothing_goes_when_there_are_others_by_now(self, users: Database) -> None:
        for seen in (["alice/a1"], ["alice/a1", "alice/a2", "alice/a3"]):
            assert not await Moves(users).give_and_remove("alice", seen, HEIR, actor=ACTOR)
        assert await names(users) == ["alice/a1", "alice/a2", "bob/b1", "bob/b2"]
        assert (await users.users.get("alice")).name == "alice"

    async def test_nothing_goes_to_whom_is_gone_by_now(self, users: Database) -> None:
        await users.organisations.remove(HEIR, actor=ACTOR)
        with pytest.raises(NamespaceUnknown):
            await leave(users, "alice")
        await users.users.remove("bob", actor=ACTOR)
        with pytest.raises(NamespaceUnknown):
            await Moves(users).give_and_remove(
                "alice", ["alice/a1", "alice/a2"], "bob", actor=ACTOR
            )
        assert await names(users) == ["alice/a1", "alice/a2", "bob/b1", "bob/b2"]
        assert (await users.users.get("alice")).name == "alice"

    async def test_of_two_who_give_to_each_other_one_stays_with_all(
        self, users: Database, other: Database
    ) -> None:
        async def give(database: Database, user: str, heir: str) -> str:
            theirs = [f"{user}/{user[0]}{number}" for number in (1, 2)]
            try:
                done = await Moves(database).give_and_remove(user, theirs, heir, actor=ACTOR)
            except NamespaceUnknown:
                return "nobody"
            return "gone" if done else "nothing"

        ends = await asyncio.gather(give(users, "alice", "bob"), give(other, "bob", "alice"))
        assert sorted(ends) == ["gone", "nobody"]
        stayed = ("alice", "bob")[ends.index("nobody")]
        await users.users.get(stayed)
        assert await names(users) == [f"{stayed}/{short}" for short in ("a1", "a2", "b1", "b2")]

    async def test_of_two_last_owners_one_stays_with_all_of_it(
        self, users: Database, other: Database
    ) -> None:
        """Who is refused has lost nothing: what is looked at first may be otherwise by then."""
        await users.organisations.add("both", "alice", actor=ACTOR)
        await users.organisations.grant("both", "bob", role="owner", repository="*", actor=ACTOR)
        ends = await asyncio.gather(leave(users, "alice"), leave(other, "bob"))
        assert sorted(ends) == ["gone", "last owner"]
        stayed = ("alice", "bob")[ends.index("last owner")]
        await users.users.get(stayed)
        letter = stayed[0]
        moved = "ab".replace(letter, "")
        expected = [f"{stayed}/{letter}{n}" for n in (1, 2)] + [f"team/{moved}{n}" for n in (1, 2)]
        assert await names(users) == expected

    async def test_what_is_pushed_meanwhile_goes_too_or_comes_later(
        self, users: Database, other: Database
    ) -> None:
        """Who leaves is gone with all that was there before, however the two meet."""

        async def pushed() -> None:
            for number in range(8):
                await other.blobs.commit(
                    f"alice/p{number}", small(1), upload_id=None, now=NOW, actor=ACTOR
                )

        async def left() -> list[str]:
            while await leave(users, "alice") == "nothing":
                pass
            return await names(users)

        _, then = await asyncio.gather(pushed(), left())
        assert {"team/a1", "team/a2"} <= set(then)
        shorts = sorted(one.partition("/")[2] for one in await names(users))
        assert [one for one in shorts if one[0] == "p"] == [f"p{number}" for number in range(8)]
        with pytest.raises(UserUnknown):
            await users.users.get("alice")
