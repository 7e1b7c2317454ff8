"""What the log says of rights and layouts is heard at once, by each worker of a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

from tests.contracts.metadata_values import ACTOR, server
from tests.templates import empty_database
from treescale.cache.exchange import AnswerExchange
from treescale.clock import SystemClock
from treescale.events.hints import Hint
from treescale.events.signals import Listener
from treescale.metadata.database import Database, open_database
from treescale.server.events.work import WATCH_SECONDS, EventWork, ThisWorker, event_work

SECONDS_MAX = 20.0
NOTHING_SECONDS = 2 * WATCH_SECONDS
TIMES_MAX = 10


@asynccontextmanager
async def two_workers(path: Path) -> AsyncIterator[tuple[EventWork, EventWork, Database]]:
    """Have two workers of one server, of which one reads; and the database as a command has it."""
    async with AsyncExitStack() as stack:
        url = empty_database(path / "treescale.db")
        databases = [open_database(url) for _ in range(3)]
        for each in databases:
            stack.push_async_callback(each.close)
        this = ThisWorker("a", path.name, 2, is_on_sqlite=True)
        reader, other = (
            stack.enter_context(event_work(this, each, AnswerExchange(), SystemClock()))
            for each in databases[:2]
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(reader.watch())
            yield reader, other, databases[2]
            task.cancel()


def listening(stack: ExitStack, *workers: EventWork) -> list[dict[Hint, Listener]]:
    return [
        {hint: stack.enter_context(work.signals.hints[hint].listening()) for hint in Hint}
        for work in workers
    ]


async def test_each_worker_hears_what_one_of_them_reads(tmp_path: Path) -> None:
    """Also what a command on the database has done, which tells nobody of it."""
    async with two_workers(tmp_path) as (reader, other, command):
        with ExitStack() as stack:
            heard = listening(stack, reader, other)
            names = [f"s{number}" for number in range(TIMES_MAX)]  # who begins hears of nothing
            while not await heard[0][Hint.LAYOUT].wait(2 * WATCH_SECONDS):
                await command.servers.register(server(names.pop()), live_seconds=15.0, actor=ACTOR)
            assert await heard[1][Hint.LAYOUT].wait(SECONDS_MAX)
            await heard[0][Hint.LAYOUT].wait(NOTHING_SECONDS)
            await command.read_only.set_cluster(read_only=True, actor=ACTOR)
            for each in heard:
                assert not await each[Hint.RIGHTS].wait(NOTHING_SECONDS)
                assert not await each[Hint.LAYOUT].wait(0.01)
