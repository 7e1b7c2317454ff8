"""What the audit log promises: who did what from where, by time, until time alone takes it away."""

import pytest
from sqlalchemy import update

from tests.contracts.metadata_event_log import happen
from tests.contracts.metadata_values import ACTOR, user
from treescale.metadata.database import Database
from treescale.metadata.events import log
from treescale.metadata.events.audit import AuditLog, Moment, Span
from treescale.metadata.events.log import following
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.events.recording import UNAUDITED, Event, Kind, record_once
from treescale.metadata.schema import events, users
from treescale.request_id import CLIENT

DAY = 86_400.0
YEAR = 365 * DAY


async def aged(database: Database, **days: float) -> None:
    """Let each of these actors' events have happened so many days ago."""
    for actor, many in days.items():
        older = update(events).where(events.c.actor == actor)
        await database.connections.change(older.values(at=events.c.at - many * DAY))


async def recorded(database: Database, *happened: Event) -> None:
    """Record them one after the other, and have them numbered."""
    for each in happened:
        await happen(database, [each])
    await database.event_log.number()


async def read(database: Database, span: Span, limit: int = 2) -> list[Recorded]:
    """Read it in pages."""
    audited = AuditLog(database.connections)
    found: list[Recorded] = []
    begin = span.begin
    while page := await audited.after(span, begin, limit):
        found += page
        begin = Moment(page[-1].at, page[-1].event_id)
    return found


def actors(found: list[Recorded]) -> list[str]:
    return [each.actor for each in found]


class AuditContract:
    """Subclass with fixtures `database` and `other`."""

    async def test_it_is_read_by_time_either_way(self, database: Database) -> None:
        names = ["e", "d", "c", "b", "a"]
        await recorded(database, *(Event(Kind.TOKEN_CREATED, each) for each in names))
        await aged(database, a=5.0, b=4.0, c=3.0, d=2.0, e=1.0)
        now = await database.servers.now()
        assert actors(await read(database, Span())) == sorted(names)
        assert actors(await read(database, Span(newest_first=True))) == sorted(names)[::-1]
        for newest_first in (False, True):
            span = Span(None, now - 4.5 * DAY, now - 1.5 * DAY, newest_first)
            assert sorted(actors(await read(database, span))) == ["b", "c", "d"]

    async def test_of_one_moment_each_is_there_once(self, database: Database) -> None:
        await recorded(database, *(Event(Kind.TOKEN_CREATED, f"{n}") for n in range(7)))
        await database.connections.change(update(events).values(at=1000.0))
        for newest_first in (False, True):
            found = actors(await read(database, Span(newest_first=newest_first), limit=3))
            assert sorted(found) == [f"{n}" for n in range(7)]

    async def test_of_a_namespace_there_is_nothing_of_others(self, database: Database) -> None:
        await recorded(
            database,
            Event(Kind.TAG_DELETED, "a", "acme/app"),
            Event(Kind.TAG_DELETED, "b", "acme-two/app"),
            Event(Kind.MEMBER_GRANTED, "c", namespace="acme"),
            Event(Kind.LAYOUT_CHANGED, "d"),
        )
        for newest_first in (False, True):
            span = Span("acme", newest_first=newest_first)
            assert sorted(actors(await read(database, span))) == ["a", "c"]

    async def test_what_nobody_did_is_not_in_it(self, database: Database) -> None:
        await recorded(database, *(Event(kind, "s", "alice/app") for kind in UNAUDITED))
        assert await read(database, Span()) == []
        assert len(await database.event_log.after(0, 99)) == len(UNAUDITED)

    async def test_it_has_the_address_of_a_request(self, database: Database) -> None:
        """Of a statement that asks first what is there, too; a command on the database has none."""
        begun = CLIENT.set("192.0.2.7")
        await recorded(database, Event(Kind.TOKEN_CREATED, "a"))
        await database.repositories.set_public("alice/app", public=True, now=0.0, actor="a")
        CLIENT.reset(begun)
        await recorded(database, Event(Kind.TOKEN_CREATED, "cli:root@here"))
        found = {(each.actor, each.address) for each in await read(database, Span())}
        assert found == {("a", "192.0.2.7"), ("cli:root@here", None)}

    async def test_what_leaves_the_log_of_events_stays_in_it(self, database: Database) -> None:
        """Whoever follows is told of a gap, and is given nothing of what has left."""
        await recorded(
            database,
            Event(Kind.IMAGE_PULLED, "old", "alice/app"),
            Event(Kind.IMAGE_PUSHED, "old", "alice/app"),
            Event(Kind.IMAGE_PULLED, "old", "alice/app"),
            Event(Kind.IMAGE_PUSHED, "new", "alice/app"),
        )
        await aged(database, old=31.0)
        before = await database.event_log.after(0, 9)
        assert await database.event_log.remove_older(30 * DAY) == 3
        assert await database.event_log.remove_older(30 * DAY) == 0
        assert await database.event_log.after(0, 9) == before[3:]
        assert await database.event_log.first() == before[3].sequence
        assert actors(await read(database, Span())) == ["old", "new"]
        who = {"name": "alice", "password_hash": "", "admin": False, "created": 0.0}
        await database.connections.change(users.insert(), who)
        group = await database.event_groups.ensure("alice", "ci", position=before[0].sequence)
        given = await database.event_groups.give(group, "alice", 9)
        assert (actors(given.events), given.gap) == (["new"], True)
        assert await following(database.event_log, before[0].place, 9) == before[3:]
        assert await following(database.event_log, before[3].place, 9) == []

    async def test_time_alone_takes_it_away(self, database: Database) -> None:
        """Nothing does before its time; nor with an account, nor what has not left the log."""
        await database.users.add(user(), actor="old")
        await recorded(database, *(Event(Kind.TOKEN_CREATED, "older") for _ in range(3)))
        await database.users.remove("alice", actor="old")
        await database.event_log.number()
        await aged(database, old=364.0, older=366.0)
        assert await database.event_log.forget(YEAR) == 0, "none has left the log yet"
        everything = len(await read(database, Span()))
        while await database.event_log.remove_older(30 * DAY, 2):
            assert len(await read(database, Span())) == everything
        await aged(database, old=0.0)
        assert await database.event_log.remove_all_but(0) == 0
        # Rows go from the beginning on: `old` has the first number.
        assert await database.event_log.forget(YEAR) == 0
        await aged(database, old=2.0)
        assert await database.event_log.forget(YEAR, 2) == 2
        while await database.event_log.forget(YEAR, 2):
            pass
        assert await read(database, Span()) == []
        assert await database.event_log.last() > 0

    async def test_control_without_a_floor_what_has_left_is_given_again(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What `test_what_leaves_the_log_of_events_stays_in_it` guards."""
        await recorded(database, Event(Kind.IMAGE_PUSHED, "old", "alice/app"))
        await aged(database, old=31.0)
        monkeypatch.setattr(log, "FLOOR", "elsewhere")
        assert await database.event_log.remove_older(30 * DAY) == 1
        assert len(await database.event_log.after(0, 9)) == 1

    async def test_of_several_that_tell_of_a_thing_one_does(
        self, database: Database, other: Database
    ) -> None:
        event = Event(Kind.LOGIN_SUCCEEDED, "alice", namespace="alice", address="192.0.2.7")
        for each in (database, other, database):
            await each.connections.write(lambda connection: record_once(connection, event))
        assert actors(await read(database, Span("alice"))) == ["alice"]

    async def test_a_place_is_known_by_its_event(self, database: Database) -> None:
        """As after a fail-over to a standby that had not got the last ones."""
        await recorded(database, *(Event(Kind.TOKEN_CREATED, ACTOR) for _ in range(4)))
        before = await database.event_log.after(0, 9)
        log_, last = database.event_log, before[-1].place
        assert await following(log_, last, 9) == []
        assert await following(log_, before[1].place, 1) == before[2:3]
        lost = events.delete().where(events.c.sequence > before[1].sequence)
        await database.connections.change(lost)
        assert await following(log_, last, 9) is None
        back = update(events).where(events.c.sequence == before[1].sequence)
        await database.connections.change(back.values(sequence=last.sequence))
        assert await following(log_, last, 9) is None, "another event has its number"
        assert await following(log_, Place(last.sequence), 9) == [], "a cursor of before"

    async def test_a_setting_that_is_changed_is_in_it(self, database: Database) -> None:
        for value in ("60d", "60d", None, None):
            await database.settings.change("events", value, actor=ACTOR)
        found = [each.payload for each in await read(database, Span())]
        assert found == [
            {"name": "events", "value": "60d", "before": None},
            {"name": "events", "value": None, "before": "60d"},
        ]
