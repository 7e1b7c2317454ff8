"""Who tells whom of the log: fellow workers at once, other servers while somebody follows there."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.contracts.metadata_event_log import happen, so_many
from tests.postgres import postgres, postgres_url
from tests.templates import empty_database
from treescale.cache.exchange import AnswerExchange
from treescale.clock import SystemClock
from treescale.metadata.database import Database, opened
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.events.recording import Event, Kind
from treescale.metadata.records import Repository
from treescale.metadata.schema import events
from treescale.server.events.bell import Bell
from treescale.server.events.work import EventWork, ThisWorker, event_work

__all__ = ["postgres", "postgres_url"]

SOON = 0.8
"""Less than the second after which it would be found anyhow."""


class Worker:
    """A worker's part in it, with its background work running."""

    def __init__(self, database: Database, exchange: AnswerExchange, work: EventWork) -> None:
        self.database, self.exchange, self.work = database, exchange, work

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for each in (self.work.number, self.work.live.run, self.work.tell, self.work.ask):
                group.create_task(each())


class Machines:
    """Servers with their workers, that ask each other by memory."""

    def __init__(self, url: str, parts: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self._url, self._parts, self._group = url, parts, group
        self._tasks: list[asyncio.Task[None]] = []
        self.workers: dict[str, list[Worker]] = {}

    async def worker(self, server: str) -> Worker:
        database = await self._parts.enter_async_context(opened(self._url))
        exchange = AnswerExchange()
        this = ThisWorker(server, f"{server}-{BOOT}", 2, self._url.startswith("sqlite:"))
        work = self._parts.enter_context(event_work(this, database, exchange, SystemClock()))
        made = Worker(database, exchange, work)

        async def nobody(_: bytes) -> Sequence[bytes]:
            return ()

        async def others(question: bytes) -> Sequence[bytes]:
            asked = [each[0] for name, each in self.workers.items() if name != server]
            return [await one.exchange.answer(question) for one in asked]

        exchange.connect(nobody, others)
        self.workers.setdefault(server, []).append(made)
        self._tasks.append(self._group.create_task(made.run()))
        return made

    def end(self) -> None:
        for each in self._tasks:
            each.cancel()


BOOT = secrets.token_hex(4)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return empty_database(tmp_path / "treescale.db")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def machines(url: str) -> AsyncIterator[Machines]:
    async with AsyncExitStack() as parts, asyncio.TaskGroup() as group:
        found = Machines(url, parts, group)
        yield found
        found.end()


def everything(event: Recorded, _: Repository | None) -> Recorded | None:
    return event


async def is_seen_soon(follower: Worker, recorder: Worker) -> bool:
    """Follow at one worker, record at another, and say whether it is seen before a look is due."""
    batches = follower.work.live.follow(everything, None, 60.0, "alice")
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))  # noqa: TID251
    await asyncio.sleep(0.7)  # until who is to be told has been heard of
    await happen(recorder.database, so_many(1))
    done, _ = await asyncio.wait([waiting], timeout=SOON / 2)
    if not done:
        waiting.cancel()
    return bool(done)


async def test_a_fellow_worker_sees_it_at_once(machines: Machines) -> None:
    one, two = await machines.worker("a"), await machines.worker("a")
    assert await is_seen_soon(two, one)
    assert await is_seen_soon(one, one)


@pytest.mark.long
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_another_server_sees_it_at_once(machines: Machines) -> None:
    one, two = await machines.worker("a"), await machines.worker("b")
    fellow = await machines.worker("b")
    assert await is_seen_soon(two, one)
    assert await is_seen_soon(fellow, one), "whom its fellow worker tells"


@pytest.mark.long
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_without_hints_it_is_seen_a_look_later(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poll is the truth: what is heard only has it look sooner."""
    monkeypatch.setattr(Bell, "ring", lambda *_: None)
    monkeypatch.setattr(AnswerExchange, "tell_servers", _nothing)
    one, two = await machines.worker("a"), await machines.worker("b")
    batches = two.work.live.follow(everything, None, 60.0, "alice")
    await anext(batches)
    await happen(one.database, so_many(1))
    async with asyncio.timeout(10):
        assert len((await anext(batches)).events) == 1


async def _nothing(*_: object) -> None:
    pass


async def test_what_is_old_is_removed_as_the_cluster_is_set(machines: Machines) -> None:
    one = await machines.worker("a")
    await happen(one.database, so_many(1200))
    while await one.database.event_log.number():
        pass
    await one.work.prune()
    assert await one.database.event_log.first() == 1
    await one.database.settings.put("events", "1000")
    await one.work.prune()
    assert await one.database.event_log.first() == 201
    await one.database.settings.put("events", "keep")
    await one.work.prune()
    assert await one.database.event_log.first() == 201


async def test_what_is_audited_is_kept_for_longer(machines: Machines) -> None:
    one = await machines.worker("a")
    database, now = one.database, await one.database.servers.now()
    happened = [Event(Kind.IMAGE_PULLED, "s", "alice/app"), *so_many(2)]
    for each in happened:
        await happen(database, [each])
    while await database.event_log.number():
        pass
    ids = [each.event_id for each in happened]

    async def kept(*days: float) -> list[str]:
        for event_id, ago in zip(ids, days, strict=True):
            older = update(events).where(events.c.event_id == event_id)
            await database.connections.change(older.values(at=now - ago * 86_400))
        await one.work.prune()
        rows = await database.connections.rows(select(events.c.event_id))
        return [each for each in ids if each in {row.event_id for row in rows}]

    assert await kept(31, 31, 1) == ids[1:]
    assert await kept(31, 364, 31) == ids[1:]
    assert await kept(31, 366, 364) == ids[2:]
    await database.settings.put("audit", "300d")
    assert await kept(31, 366, 364) == []
