"""What `Organisations` promises, and what users and repositories have to do with it."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import ACTOR, NOW, small, user
from tests.examples import RACES
from treescale.auth.roles import EVERY_REPOSITORY, Role, Visibility
from treescale.errors import LastOwner, NamespaceUnknown, Refused, UserExists, UserUnknown
from treescale.metadata import namespaces as rows
from treescale.metadata import organisations as sql
from treescale.metadata.database import Database
from treescale.metadata.organisations import GRANTS_MAX, Holding, Member
from treescale.metadata.schema import events, members, namespaces, repositories, users

EVERY = EVERY_REPOSITORY


async def team(database: Database, *more: str) -> None:
    """Make alice's organisation acme, and these users."""
    for name in ("alice", *more):
        await database.users.add(user(name), actor=ACTOR)
    await database.organisations.add("acme", "alice", actor=ACTOR)


async def grant(
    database: Database, who: str, role: str, repository: str = EVERY, namespace: str = "acme"
) -> None:
    await database.organisations.grant(
        namespace, who, role=role, repository=repository, actor=ACTOR
    )


async def revoke(database: Database, who: str, repository: str | None = None) -> None:
    await database.organisations.revoke("acme", who, repository=repository, actor=ACTOR)


async def roles(database: Database, who: str, namespace: str = "acme") -> set[tuple[str, str]]:
    return set((await database.organisations.holding(who, namespace)).grants)


async def kinds(database: Database) -> list[str]:
    found = await database.connections.rows(
        select(events.c.kind, events.c.actor)
        .where(events.c.kind.like("%.%"), ~events.c.kind.like("user.%"))
        .order_by(events.c.at, events.c.event_id)
    )
    assert {row.actor for row in found} <= {ACTOR}
    return [row.kind for row in found]


async def changed_since(database: Database, generation: int) -> list[str]:
    found = await database.generations.since(generation, 100)
    return [one.subject for one in found.changes]


async def generation(database: Database) -> int:
    return (await database.generations.since(0, 1000)).present


class OrganisationsContract:
    """Subclass with a `database` fixture, and `other`: the same for another process."""

    def test_the_words_are_those_of_the_policy(self) -> None:
        assert Role.OWNER.value == rows.OWNER
        assert EVERY_REPOSITORY == rows.EVERY_REPOSITORY
        assert {rows.PRIVATE, rows.INTERNAL, rows.PUBLIC} == {each.value for each in Visibility}

    async def test_it_begins_with_an_owner(self, database: Database) -> None:
        await team(database)
        assert await roles(database, "alice") == {("owner", EVERY)}
        found = await database.organisations.get("acme")
        assert (found.kind, found.visibility) == ("organisation", "private")
        assert found.created is not None
        assert await kinds(database) == ["organisation.created", "member.granted"]

    async def test_its_owner_must_exist(self, database: Database) -> None:
        with pytest.raises(UserUnknown):
            await database.organisations.add("acme", "alice", actor=ACTOR)
        with pytest.raises(NamespaceUnknown):
            await database.organisations.get("acme")
        assert await kinds(database) == []

    async def test_a_name_is_one_users_or_one_organisations(self, database: Database) -> None:
        await team(database)
        with pytest.raises(UserExists, match="organisation acme"):
            await database.users.add(user("acme"), actor=ACTOR)
        with pytest.raises(UserExists, match="organisation acme"):
            await database.organisations.add("acme", "alice", actor=ACTOR)
        with pytest.raises(UserExists, match="user alice"):
            await database.organisations.add("alice", "alice", actor=ACTOR)

    async def test_of_two_who_want_a_name_one_gets_it(
        self, database: Database, other: Database
    ) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        both = await asyncio.gather(
            database.organisations.add("acme", "alice", actor=ACTOR),
            other.users.add(user("acme"), actor=ACTOR),
            return_exceptions=True,
        )
        assert [type(one) for one in both if one is not None] == [UserExists]

    async def test_version_0_1_0_gives_no_user_its_name(self, database: Database) -> None:
        await team(database)
        row = {"name": "acme", "password_hash": "", "admin": False, "created": NOW}

        def work(connection: Connection) -> int:
            return connection.execute(insert(users), row).rowcount

        assert await database.connections.write(work) == 0
        with pytest.raises(UserUnknown):
            await database.users.get("acme")

    async def test_repositories_of_an_earlier_user_are_nobodys_gift(
        self, database: Database
    ) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        await database.repositories.set_public("acme/app", public=False, now=NOW, actor=ACTOR)
        with pytest.raises(UserExists, match="acme/app"):
            await database.organisations.add("acme", "alice", actor=ACTOR)

    async def test_roles_are_for_globs_and_the_last_word_counts(self, database: Database) -> None:
        await team(database, "bob")
        before = await generation(database)
        await grant(database, "bob", "reader")
        await grant(database, "bob", "writer", "acme/web-*")
        await grant(database, "bob", "maintainer")
        expected = {("maintainer", EVERY), ("writer", "acme/web-*")}
        assert await roles(database, "bob") == expected
        assert await changed_since(database, before) == ["member:bob"]
        again = await generation(database)
        await grant(database, "bob", "maintainer")
        assert await generation(database) == again
        assert (await kinds(database))[2:] == ["member.granted"] * 3
        page = await database.organisations.members("acme", ("", ""), 2)
        page += await database.organisations.members("acme", ("bob", EVERY), 2)
        assert [(one.user, one.repository) for one in page] == [
            ("alice", EVERY),
            ("bob", EVERY),
            ("bob", "acme/web-*"),
        ]
        assert isinstance(page[0], Member)
        held = await database.organisations.holdings("bob")
        assert {name: set(one.grants) for name, one in held.items()} == {"acme": expected}

    async def test_a_user_has_members_too(self, database: Database) -> None:
        await team(database, "bob")
        await grant(database, "bob", "writer", "alice/app", "alice")
        assert await roles(database, "bob", "alice") == {("writer", "alice/app")}
        with pytest.raises(Refused, match="always"):
            await grant(database, "alice", "reader", namespace="alice")
        with pytest.raises(NamespaceUnknown):
            await grant(database, "bob", "reader", namespace="nobody")
        with pytest.raises(UserUnknown):
            await grant(database, "nobody", "reader")

    async def test_a_user_of_0_1_0_has_a_namespace_without_a_row(self, database: Database) -> None:
        row = {"name": "old", "password_hash": "", "admin": False, "created": NOW}
        await database.connections.change(insert(users).values(row))
        found = await database.organisations.get("old")
        assert (found.kind, found.visibility, found.created) == ("user", "private", None)
        await database.users.add(user("bob"), actor=ACTOR)
        await grant(database, "bob", "reader", namespace="old")
        assert await roles(database, "bob", "old") == {("reader", EVERY)}

    async def test_grants_are_bounded(self, database: Database) -> None:
        await team(database, "bob")
        for number in range(GRANTS_MAX):
            await grant(database, "bob", "reader", f"acme/{number}")
        with pytest.raises(Refused, match="patterns"):
            await grant(database, "bob", "reader", "acme/more")

    async def test_revoked_is_revoked_and_voids(self, database: Database) -> None:
        await team(database, "bob")
        await grant(database, "bob", "reader")
        await grant(database, "bob", "writer", "acme/app")
        before = await generation(database)
        await revoke(database, "bob", "acme/app")
        assert await roles(database, "bob") == {("reader", EVERY)}
        await revoke(database, "bob")
        assert await database.organisations.holding("bob", "acme") == Holding()
        assert await changed_since(database, before) == ["member:bob"]
        with pytest.raises(UserUnknown, match="no role"):
            await revoke(database, "bob")
        assert (await kinds(database))[-2:] == ["member.revoked"] * 2

    async def test_the_last_owner_stays(self, database: Database) -> None:
        await team(database, "bob")
        before = await kinds(database)
        with pytest.raises(LastOwner):
            await revoke(database, "alice")
        with pytest.raises(LastOwner):
            await grant(database, "alice", "maintainer")
        with pytest.raises(LastOwner):
            await database.users.remove("alice", actor=ACTOR)
        assert await kinds(database) == before
        assert (await database.users.get("alice")).name == "alice"
        assert await roles(database, "alice") == {("owner", EVERY)}
        await grant(database, "bob", "owner")
        await revoke(database, "alice")
        assert await roles(database, "bob") == {("owner", EVERY)}

    async def test_of_two_owners_who_leave_at_once_one_stays(
        self, database: Database, other: Database
    ) -> None:
        await team(database, "bob")
        await grant(database, "bob", "owner")
        both = await asyncio.gather(
            database.organisations.revoke("acme", "alice", repository=None, actor=ACTOR),
            other.users.remove("bob", actor=ACTOR),
            return_exceptions=True,
        )
        assert [type(one) for one in both if one is not None] == [LastOwner]
        left = await database.organisations.members("acme", ("", ""), 9)
        assert [one.role for one in left] == ["owner"]

    async def test_with_a_user_go_her_roles_and_those_she_gave(self, database: Database) -> None:
        await team(database, "bob", "carol")
        await grant(database, "bob", "writer")
        await grant(database, "carol", "writer", namespace="bob")
        before = await generation(database)
        await database.users.remove("bob", actor=ACTOR)
        assert set(await changed_since(database, before)) == {"user:bob", "member:carol"}
        await database.users.add(user("bob"), actor=ACTOR)
        assert await roles(database, "bob") == set()
        assert await roles(database, "carol", "bob") == set()

    async def test_whoever_gets_the_name_inherits_nothing(self, database: Database) -> None:
        await team(database, "bob", "carol")
        await grant(database, "bob", "owner")
        await database.organisations.set_visibility("acme", "public", actor=ACTOR)
        former = await database.organisations.get("acme")
        before = await generation(database)
        await database.organisations.remove("acme", actor=ACTOR)
        assert set(await changed_since(database, before)) == {"member:alice", "member:bob"}
        with pytest.raises(NamespaceUnknown):
            await database.organisations.get("acme")
        with pytest.raises(NamespaceUnknown):
            await database.organisations.remove("acme", actor=ACTOR)
        assert await database.organisations.page("", 10) == []
        await database.organisations.add("acme", "carol", actor=ACTOR)
        assert await roles(database, "bob") == set()
        found = await database.organisations.get("acme")
        assert found.visibility == "private"
        assert (found.created or 0) >= (former.created or 0)
        ids = await database.connections.rows(select(namespaces.c.namespace_id))
        await database.organisations.remove("acme", actor=ACTOR)
        await database.users.add(user("acme"), actor=ACTOR)
        assert len(await database.connections.rows(select(namespaces.c.namespace_id))) > len(ids)

    async def test_what_is_left_goes_with_it_and_no_more(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await team(database)
        names = ["acme/app", "acme/web"]
        for name in (*names, "acme-2/app"):
            await made(database, name)
        with monkeypatch.context() as limited:
            limited.setattr(sql, "LEFT_MAX", 1)
            with pytest.raises(Refused, match="acme/app"):
                await database.organisations.remove("acme", actor=ACTOR)
        assert await database.organisations.remove("acme", actor=ACTOR) == names
        found = await database.repositories.list_all("", 10)
        assert [one.name for one in found] == ["acme-2/app"]
        assert (await kinds(database)).count("repository.deleted") == len(names)

    async def test_nothing_is_pushed_to_one_that_is_gone(self, database: Database) -> None:
        """A member's bearer token is good for some seconds more."""
        await team(database)
        await made(database, "acme/app")
        await database.organisations.remove("acme", actor=ACTOR)
        with pytest.raises(NamespaceUnknown):
            await made(database, "acme/app")
        with pytest.raises(NamespaceUnknown):
            await database.repositories.set_visibility("acme/b", "public", now=NOW, actor=ACTOR)
        await made(database, "acme-2/app")
        found = await database.repositories.list_all("", 10)
        assert [one.name for one in found] == ["acme-2/app"]
        await database.organisations.add("acme", "alice", actor=ACTOR)
        await made(database, "acme/app")
        await database.organisations.remove("acme", actor=ACTOR)
        await database.users.add(user("acme"), actor=ACTOR)
        await made(database, "acme/app")

    @pytest.mark.parametrize("seed", RACES)
    async def test_what_is_pushed_while_it_goes_is_deleted_or_refused(
        self, database: Database, other: Database, seed: int
    ) -> None:
        await team(database)
        pushed = asyncio.Event()

        async def push(place: int) -> int:
            for turn in range(50):
                try:
                    await made(other if place % 2 else database, f"acme/{seed}-{place}-{turn}")
                except NamespaceUnknown:
                    return turn
                pushed.set()
            return 50

        async def remove() -> list[str]:
            await pushed.wait()
            return await database.organisations.remove("acme", actor=ACTOR)

        *turns, deleted = await asyncio.gather(push(0), push(1), push(2), remove())
        assert await database.repositories.list_all("", 10) == []
        assert len(deleted) == sum(turns)
        await database.organisations.add("acme", "alice", actor=ACTOR)

    async def test_lists_page_by_name(self, database: Database) -> None:
        await team(database, "bob")
        for name in ("b", "a-b", "a"):
            await database.organisations.add(name, "bob", actor=ACTOR)
        page = await database.organisations.page("", 2)
        assert [one.name for one in page] == ["a", "a-b"]
        page = await database.organisations.page("a-b", 9)
        assert [one.name for one in page] == ["acme", "b"]
        page = await database.organisations.page("", 9, user="alice")
        assert [one.name for one in page] == ["acme"]

    async def test_new_repositories_are_as_the_namespace_says(self, database: Database) -> None:
        await team(database)
        for visibility in ("internal", "public", "private"):
            await database.organisations.set_visibility("acme", visibility, actor=ACTOR)
            name = f"acme/{visibility}"
            await made(database, name)
            assert (await database.repositories.get(name)).visibility == visibility
        count = (await kinds(database)).count("namespace.visibility")
        await database.organisations.set_visibility("acme", "private", actor=ACTOR)
        assert (await kinds(database)).count("namespace.visibility") == count == 3

    async def test_a_visibility_is_one_of_three(self, database: Database) -> None:
        for visibility in ("internal", "public", "internal", "private"):
            await database.repositories.set_visibility("a/b", visibility, now=NOW, actor=ACTOR)
            found = await database.repositories.get("a/b")
            assert found.visibility == visibility
            assert found.public is (visibility == "public")
        told = (await kinds(database)).count("repository.visibility")
        await database.repositories.set_visibility("a/b", "private", now=NOW, actor=ACTOR)
        assert (await kinds(database)).count("repository.visibility") == told == 4

    async def test_what_0_1_0_opens_and_closes_is_private(self, database: Database) -> None:
        await database.repositories.set_visibility("a/b", "internal", now=NOW, actor=ACTOR)
        for public in (True, False):
            await old_set_public(database, "a/b", public=public)
        found = await database.repositories.get("a/b")
        assert found.visibility == "private"

    async def test_a_deleted_one_comes_back_private(self, database: Database) -> None:
        await database.repositories.set_visibility("a/b", "internal", now=NOW, actor=ACTOR)
        await database.repositories.delete("a/b", actor=ACTOR)
        (row,) = await database.connections.rows(select(repositories.c.internal))
        assert not row.internal

    async def test_members_see_what_they_may_see(self, database: Database) -> None:
        await team(database, "bob", "carol")
        await grant(database, "bob", "reader")
        for name, visibility in (
            ("acme/app", "private"),
            ("alice/inside", "internal"),
            ("alice/open", "public"),
            ("alice/own", "private"),
        ):
            await database.repositories.set_visibility(name, visibility, now=NOW, actor=ACTOR)

        async def seen(who: str | None) -> list[str]:
            page = await database.repositories.list_visible(who, "", 10)
            return [one.name for one in page]

        assert await seen(None) == ["alice/open"]
        assert await seen("carol") == ["alice/inside", "alice/open"]
        assert await seen("bob") == ["acme/app", "alice/inside", "alice/open"]
        assert len(await seen("alice")) == 4

    async def test_no_owner_is_found_where_the_check_is_off(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control of `test_the_last_owner_stays`."""
        await team(database)
        off: Any = lambda *_: None  # noqa: E731  what does nothing
        monkeypatch.setattr("treescale.metadata.organisations.check_owner_left", off)
        await revoke(database, "alice")
        assert await database.connections.rows(select(members)) == []


async def made(database: Database, name: str) -> None:
    """Have a repository come into being, as a push does."""
    await database.blobs.commit(name, small(1), upload_id=None, now=NOW, actor=ACTOR)


async def old_set_public(database: Database, name: str, *, public: bool) -> None:
    """Do as version 0.1.0 does."""
    statement = update(repositories).where(repositories.c.name == name).values(public=public)
    await database.connections.change(statement)
