"""What `EventLog` promises: committed events, once each, in an order that never changes."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import update
from sqlalchemy.engine import Connection

from treescale.metadata.database import Database
from treescale.metadata.events.log import READ_AT_ONCE_MAX
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.events.recording import Event, Kind, record_all
from treescale.metadata.schema import events
from treescale.request_id import REQUEST_ID

PUSHED = Event(
    Kind.IMAGE_PUSHED,
    "alice",
    "alice/app",
    reference="v1",
    digest="sha256:new",
    payload={"size": 3, "platforms": ["linux/amd64"]},
)


async def happen(database: Database, these: Iterable[Event]) -> None:
    """Record events in one transaction."""
    happened = [*these]
    await database.connections.write(lambda connection: record_all(connection, happened))


def so_many(count: int) -> list[Event]:
    """Return new events, one after the other."""
    return [Event(Kind.TAG_DELETED, "alice", "alice/app", reference=f"{n}") for n in range(count)]


async def all_of(database: Database) -> list[Recorded]:
    """Number what waits, then read the log in small pages."""
    while await database.event_log.number():
        pass
    found: list[Recorded] = []
    while page := await database.event_log.after(found[-1].sequence if found else 0, 3):
        found += page
    return found


class EventLogContract:
    """Subclass with fixtures `database` and `other`."""

    async def test_an_event_is_read_as_it_was_recorded(self, database: Database) -> None:
        await happen(database, [PUSHED])
        (read,) = await all_of(database)
        assert read == Recorded(
            sequence=read.sequence,
            event_id=PUSHED.event_id,
            kind="image.pushed",
            at=read.at,
            actor="alice",
            namespace="alice",
            repository="alice/app",
            reference="v1",
            digest="sha256:new",
            payload={"size": 3, "platforms": ["linux/amd64"]},
        )
        assert abs(read.at - await database.servers.now()) < 60
        assert await database.event_log.of_id(PUSHED.event_id) == read
        assert await database.event_log.of_id("unknown") is None

    async def test_what_a_request_does_says_which(self, database: Database) -> None:
        """It is told beside the payload; what follows, or no request does, has none."""
        begun = REQUEST_ID.set("r-1")
        await happen(database, [PUSHED, *so_many(1)])
        await database.repositories.set_public("alice/app", public=True, now=0.0, actor="alice")
        REQUEST_ID.reset(begun)
        await happen(database, so_many(1))
        found = await all_of(database)
        assert {one.request_id for one in found[:-1]} == {"r-1"}
        assert found[0].payload == PUSHED.payload
        assert (found[-1].request_id, found[-1].payload) == (None, {})

    async def test_an_empty_log(self, database: Database) -> None:
        log = database.event_log
        assert (await log.after(0, 9), await log.last(), await log.first()) == ([], 0, 1)
        assert not await log.has_waiting()
        assert await log.number() == 0

    async def test_the_order_is_that_of_the_commits(self, database: Database) -> None:
        happened = so_many(10)
        for each in happened:
            await happen(database, [each])
        read = await all_of(database)
        assert [each.event_id for each in read] == [each.event_id for each in happened]
        numbers = [each.sequence for each in read]
        assert numbers == sorted(set(numbers))
        assert await database.event_log.first() == numbers[0] > 0
        assert await database.event_log.last() == numbers[-1]

    async def test_numbered_in_pieces_it_is_the_same(self, database: Database) -> None:
        happened = so_many(10)
        for each in happened:
            await happen(database, [each])
        numbered = [await database.event_log.number(3) for _ in range(4)]
        assert sum(numbered) in (0, 10)  # SQLite has numbered them already
        read = await all_of(database)
        assert [each.event_id for each in read] == [each.event_id for each in happened]

    async def test_a_page_has_a_limit(self, database: Database) -> None:
        await happen(database, so_many(READ_AT_ONCE_MAX + 2))
        await database.event_log.number()
        await database.event_log.number()
        assert len(await database.event_log.after(0, 7)) == 7
        assert len(await database.event_log.after(0, 10**6)) == READ_AT_ONCE_MAX + 1

    async def test_publishers_at_once_give_each_event_one_number(
        self, database: Database, other: Database
    ) -> None:
        happened = so_many(60)

        async def publish(one: Database) -> None:
            for _ in range(20):
                await one.event_log.number(5)

        async def push(one: Database, these: Iterable[Event]) -> None:
            for each in these:
                await happen(one, [each])

        await asyncio.gather(
            push(database, happened[::2]),
            push(other, happened[1::2]),
            *(publish(one) for one in (database, other, database)),
        )
        read = await all_of(database)
        assert sorted(each.event_id for each in read) == sorted(each.event_id for each in happened)
        assert len({each.sequence for each in read}) == len(happened)

    async def test_a_reader_misses_none_and_the_order_stays(
        self, database: Database, other: Database
    ) -> None:
        """Whatever is read while events are recorded and numbered is what is read afterwards."""
        happened, read, over = so_many(80), list[Recorded](), asyncio.Event()

        async def follow() -> None:
            while not over.is_set() or await other.event_log.has_waiting():
                await other.event_log.number(7)
                after = read[-1].sequence if read else 0
                read.extend(await other.event_log.after(after, 5))

        async def push() -> None:
            await asyncio.gather(*(happen(database, [each]) for each in happened))
            over.set()

        await asyncio.gather(push(), follow())
        last = read[-1].sequence if read else 0
        read += await other.event_log.after(last, READ_AT_ONCE_MAX)
        assert read == await all_of(database)
        assert {each.event_id for each in read} == {each.event_id for each in happened}

    async def test_what_has_no_number_is_not_in_the_log_yet(self, database: Database) -> None:
        """As after a restore, or of a server of an earlier version."""
        await happen(database, so_many(4))
        before = await all_of(database)

        def forget(connection: Connection) -> None:
            connection.execute(
                update(events).where(events.c.event_id == before[1].event_id).values(sequence=None)
            )

        await database.connections.write(forget)
        log = database.event_log
        assert await log.has_waiting()
        assert await log.of_id(before[1].event_id) is None
        assert await log.after(0, 9) == [before[0], *before[2:]]
        assert await log.number() == 1
        assert await all_of(database) == [
            before[0],
            *before[2:],
            replace(before[1], sequence=before[3].sequence + 1),
        ]

    async def test_what_is_old_goes_from_the_beginning(self, database: Database) -> None:
        for each in so_many(10):
            await happen(database, [each])
        before = await all_of(database)
        old = update(events).where(events.c.sequence <= before[5].sequence).values(at=1000.0)
        await database.connections.change(old)
        log = database.event_log
        assert await log.remove_older(86400.0, limit=4) == 4
        assert await log.first() == before[4].sequence
        assert [await log.remove_older(86400.0, limit=4) for _ in range(2)] == [2, 0]
        assert await all_of(database) == before[6:]
        assert await log.last() == before[-1].sequence

    async def test_of_what_is_kept_none_is_missing_in_between(self, database: Database) -> None:
        """One that is young keeps what follows it, whatever a clock has said of that."""
        for each in so_many(4):
            await happen(database, [each])
        before = await all_of(database)
        old = update(events).where(events.c.sequence != before[1].sequence).values(at=1000.0)
        await database.connections.change(old)
        assert await database.event_log.remove_older(86400.0) == 1
        assert len(await all_of(database)) == 3

    async def test_so_many_are_kept(self, database: Database) -> None:
        for each in so_many(10):
            await happen(database, [each])
        before = await all_of(database)
        log = database.event_log
        assert [await log.remove_all_but(3, limit=5) for _ in range(3)] == [5, 2, 0]
        assert await all_of(database) == before[7:]
        assert await log.remove_all_but(0) == 3
        assert (await log.first(), await log.last()) == (
            before[-1].sequence + 1,
            before[-1].sequence,
        )
        await happen(database, so_many(1))
        assert (await all_of(database))[0].sequence > before[-1].sequence
