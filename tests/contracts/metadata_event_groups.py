"""What `EventGroups` promises: each event to one consumer, again until one has acknowledged it."""

import asyncio
from itertools import chain

import pytest
from sqlalchemy import select, update

from tests.contracts.metadata_event_log import happen
from tests.contracts.metadata_values import NOW, user
from treescale.errors import Forbidden, NamespaceUnknown, NameUnknown, TooMany
from treescale.metadata.database import Database
from treescale.metadata.events import groups
from treescale.metadata.events.groups import WINDOW, Audience, Given
from treescale.metadata.events.recording import Event, Kind
from treescale.metadata.schema import event_groups, event_leases, events, namespaces, users

OVER = -1.0
"""A lease that ends before it begins: as if time had passed."""


async def pushed(database: Database, count: int, namespace: str = "alice") -> list[int]:
    """Record so many events, one after the other; return their numbers."""
    last = await database.event_log.last()
    for number in range(count):
        name = f"{namespace}/app"
        await happen(database, [Event(Kind.TAG_DELETED, "a", name, reference=f"{number}")])
    await database.event_log.number()
    return [each.sequence for each in await database.event_log.after(last, count)]


def numbers(given: Given) -> list[int]:
    return [each.sequence for each in given.events]


class EventGroupsContract:
    """Subclass with fixtures `database` and `other`."""

    @pytest.fixture(autouse=True)
    async def _people(self, database: Database) -> None:
        """Let there be some, of whose coming nothing is told."""
        for name in ("alice", "bob"):
            who = {"name": name, "password_hash": "", "admin": False, "created": NOW}
            await database.connections.change(users.insert(), who)

    async def test_a_namespace_that_is_nobody_s_has_no_group(self, database: Database) -> None:
        """A slip of an administrator makes nothing: neither the group nor the namespace."""
        with pytest.raises(NamespaceUnknown):
            await database.event_groups.ensure("alcie", "ci", position=0)
        await database.organisations.add("acme", "alice", actor="a")
        await database.event_groups.ensure("acme", "ci", position=0)
        rows = await database.connections.rows(select(namespaces.c.name))
        assert {row.name for row in rows} == {"acme"}

    async def test_each_event_is_given_once_and_in_order(self, database: Database) -> None:
        mine = await pushed(database, 5)
        await pushed(database, 3, "bob")
        group = await database.event_groups.ensure("alice", "ci", position=0)
        assert await database.event_groups.ensure("alice", "ci", position=99) == group
        first = await database.event_groups.give(group, "alice", 2)
        rest = await database.event_groups.give(group, "alice", 100)
        assert (numbers(first), numbers(rest)) == (mine[:2], mine[2:])
        assert await database.event_groups.give(group, "alice", 100) == Given([])

    async def test_who_gets_a_name_hears_nothing_of_before(self, database: Database) -> None:
        """Of the user who was called so, or the organisation."""
        await database.users.add(user("carol"), actor="a")
        await pushed(database, 2, "carol")
        await database.users.remove("carol", actor="a")
        await database.users.add(user("carol"), actor="a")
        await database.event_log.number()
        mine = await pushed(database, 1, "carol")
        group = await database.event_groups.ensure("carol", "ci", position=0)
        given = await database.event_groups.give(group, "carol", 100)
        told = [each.sequence for each in given.events if each.kind == Kind.TAG_DELETED]
        assert told == mine

    async def test_what_happens_to_others_is_passed_with_few_writes(
        self, database: Database
    ) -> None:
        """Each server's every consumer looks after each event: a hundred groups are no storm."""
        ask = database.event_groups
        group = await ask.ensure("alice", "ci", position=0)

        async def position() -> int:
            assert await ask.give(group, "alice", 100) == Given([])
            (one,) = await ask.list("alice")
            return one.position

        theirs = await pushed(database, 3, "bob")
        assert await position() == 0
        older = update(event_groups).values(seen=event_groups.c.seen - groups.PASSED_SECONDS)
        await database.connections.change(older)
        assert await position() == theirs[-1]
        more = await pushed(database, groups.PASSED_MAX - 1, "bob")
        assert await position() == theirs[-1]
        more += await pushed(database, 1, "bob")
        assert await position() == more[-1]
        await pushed(database, 1, "bob")
        mine = await pushed(database, 1)
        assert numbers(await ask.give(group, "alice", 100)) == mine

    async def test_what_is_not_acknowledged_comes_again(self, database: Database) -> None:
        mine = await pushed(database, 4)
        group = await database.event_groups.ensure("alice", "ci", position=0)
        await database.event_groups.give(group, "alice", 3, lease_seconds=OVER)
        assert await database.event_groups.acknowledge("alice", "ci", mine[:1]) == 1
        again = await database.event_groups.give(group, "alice", 100)
        assert numbers(again) == mine[1:]
        assert await database.event_groups.acknowledge("alice", "ci", mine) == 3
        assert await database.event_groups.acknowledge("alice", "ci", mine) == 0
        assert await database.event_groups.give(group, "alice", 100) == Given([])

    async def test_consumers_at_once_get_different_events(
        self, database: Database, other: Database
    ) -> None:
        mine = await pushed(database, 40)
        group = await database.event_groups.ensure("alice", "ci", position=0)

        async def consume(one: Database) -> list[int]:
            found: list[int] = []
            while more := numbers(await one.event_groups.give(group, "alice", 3)):
                found += more
            return found

        took = await asyncio.gather(*(consume(one) for one in (database, other, database)))
        assert sorted(chain.from_iterable(took)) == mine

    async def test_a_group_begins_where_it_is_told(self, database: Database) -> None:
        before = await pushed(database, 2)
        group = await database.event_groups.ensure("alice", "ci", position=before[-1])
        later = await pushed(database, 1)
        assert numbers(await database.event_groups.give(group, "alice", 9)) == later

    async def test_others_events_are_passed_over(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However many: a look goes through some, and the next one goes on."""
        assert WINDOW >= 100
        monkeypatch.setattr(groups, "_WINDOW", groups._WINDOW.limit(4))
        await pushed(database, 10, "bob")
        mine = await pushed(database, 1)
        group = await database.event_groups.ensure("alice", "ci", position=0)
        looks = [numbers(await database.event_groups.give(group, "alice", 9)) for _ in range(4)]
        assert looks == [[], [], mine, []]

    async def test_what_was_pruned_is_a_gap(self, database: Database) -> None:
        mine = await pushed(database, 6)
        group = await database.event_groups.ensure("alice", "ci", position=0)
        await database.event_groups.give(group, "alice", 2, lease_seconds=OVER)
        await database.connections.change(events.delete().where(events.c.sequence <= mine[3]))
        given = await database.event_groups.give(group, "alice", 9)
        assert (numbers(given), given.gap) == (mine[4:], True)
        assert await database.event_groups.acknowledge("alice", "ci", mine) == 2
        assert await database.event_groups.give(group, "alice", 9) == Given([])

    async def test_one_that_acknowledges_nothing_is_given_no_more(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(groups, "LEASED_MAX", 3)
        mine = await pushed(database, 5)
        group = await database.event_groups.ensure("alice", "ci", position=0)
        assert numbers(await database.event_groups.give(group, "alice", 3)) == mine[:3]
        assert numbers(await database.event_groups.give(group, "alice", 3)) == []
        await database.event_groups.acknowledge("alice", "ci", mine[:1])
        assert numbers(await database.event_groups.give(group, "alice", 3)) == mine[3:]

    async def test_groups_are_listed_and_removed(self, database: Database) -> None:
        for name in ("b", "a"):
            await database.event_groups.ensure("alice", name, position=7)
        await database.event_groups.ensure("bob", "c", position=0)
        found = await database.event_groups.list("alice")
        assert [(each.name, each.position) for each in found] == [("a", 7), ("b", 7)]
        now = await database.servers.now()
        assert all(abs(each.created - now) < 60 for each in found)
        await database.event_groups.remove("alice", "a")
        assert [each.name for each in await database.event_groups.list("alice")] == ["b"]
        for gone in (
            database.event_groups.remove("alice", "a"),
            database.event_groups.acknowledge("alice", "a", [1]),
            database.event_groups.give(10**6, "alice", 1),
        ):
            with pytest.raises(NameUnknown):
                await gone

    async def test_a_namespace_has_not_any_number_of_groups(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(groups, "GROUPS_MAX", 2)
        for name in ("a", "b", "a"):
            await database.event_groups.ensure("alice", name, position=0)
        with pytest.raises(TooMany):
            await database.event_groups.ensure("alice", "c", position=0)

    async def test_a_group_that_waits_writes_nothing(self, database: Database) -> None:
        await pushed(database, 1)
        group = await database.event_groups.ensure("alice", "ci", position=10**6)
        await database.connections.change(update(event_groups).values(seen=1.0))
        assert await database.event_groups.give(group, "alice", 9) == Given([])
        (found,) = await database.event_groups.list("alice")
        assert found.seen == 1.0

    async def test_a_clock_that_was_set_back_keeps_no_lease(self, database: Database) -> None:
        mine = await pushed(database, 2)
        group = await database.event_groups.ensure("alice", "ci", position=0)
        await database.event_groups.give(group, "alice", 2)
        later = update(event_leases).where(event_leases.c.sequence == mine[1])
        await database.connections.change(later.values(until=event_leases.c.until + 86_400))
        assert numbers(await database.event_groups.give(group, "alice", 9)) == mine[1:]
        assert numbers(await database.event_groups.give(group, "alice", 9)) == []

    async def test_an_event_is_acknowledged_by_its_id(self, database: Database) -> None:
        """After a fail-over its number may be another event's: an id never is."""
        mine = await pushed(database, 3)
        group = await database.event_groups.ensure("alice", "ci", position=0)
        given = await database.event_groups.give(group, "alice", 3)
        ids = [each.event_id for each in given.events]
        done = database.event_groups.acknowledge
        assert await done("alice", "ci", [], ids=["of no event", ids[0]]) == 1
        assert await done("alice", "ci", mine[:2], ids=ids) == 2
        assert await done("alice", "ci", [], ids=ids) == 0

    async def test_a_group_of_maintainers_is_given_what_they_are_shown(
        self, database: Database
    ) -> None:
        """Whoever asks for it; and they open none of an owner's."""
        ask, them = database.event_groups, Audience.MAINTAINER
        group = await ask.ensure("alice", "theirs", position=0, audience=them)
        await ask.ensure("alice", "hers", position=0)
        kinds = (Kind.TOKEN_CREATED, Kind.HOOK_ADDED, Kind.MEMBER_GRANTED)
        await happen(database, [Event(kind, "a", namespace="alice") for kind in kinds])
        await database.event_log.number()
        mine = await pushed(database, 1)
        assert await ask.ensure("alice", "theirs", position=0) == group
        given = await ask.give(group, "alice", 9)
        assert {each.kind for each in given.events} == {"hook.added", "tag.deleted"}
        assert await ask.acknowledge("alice", "theirs", mine, audience=them) == 1
        for refused in (
            ask.ensure("alice", "hers", position=0, audience=them),
            ask.acknowledge("alice", "hers", mine, audience=them),
            ask.remove("alice", "hers", them),
        ):
            with pytest.raises(Forbidden, match="another name"):
                await refused
        found = {each.name: each.audience for each in await ask.list("alice")}
        assert found == {"hers": Audience.OWNER, "theirs": them}
