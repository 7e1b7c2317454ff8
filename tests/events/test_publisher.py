"""Events get their numbers as soon as they are told of, and a second later if they are not."""

import asyncio
from typing import cast

from treescale.errors import DatabaseUnavailable
from treescale.events import publisher
from treescale.events.publisher import Publisher
from treescale.events.signals import Signals
from treescale.metadata.events.log import NUMBERED_AT_ONCE_MAX, EventLog


class Waiting:
    """A log with so many events that have no number."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.transactions = 0

    async def has_waiting(self) -> bool:
        return self.count > 0

    async def number(self) -> int:
        self.transactions += 1
        numbered = min(self.count, NUMBERED_AT_ONCE_MAX)
        self.count -= numbered
        return numbered


async def running(
    log: Waiting, signals: Signals, seconds: float, poll_seconds: float, *, followed: bool = True
) -> int:
    """Publish for a while, with one event told of in the middle; return how often it grew."""
    grown = list[int]()
    publisher_ = Publisher(
        cast("EventLog", log), signals, lambda: grown.append(log.count), lambda: followed
    )
    before, publisher.POLL_SECONDS = publisher.POLL_SECONDS, poll_seconds  # type: ignore[misc]
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(publisher_.run())
            await asyncio.sleep(seconds / 2)
            log.count += 1
            if poll_seconds > seconds:
                signals.recorded.set()
            await asyncio.sleep(seconds / 2)
            task.cancel()
    finally:
        publisher.POLL_SECONDS = before  # type: ignore[misc]
    return len(grown)


async def test_what_is_told_of_is_numbered_at_once() -> None:
    log = Waiting(0)
    assert await running(log, Signals(), 0.3, poll_seconds=60.0) == 1
    assert log.count == 0


async def test_what_nobody_told_of_is_found() -> None:
    log = Waiting(0)
    assert await running(log, Signals(), 0.3, poll_seconds=0.02) == 1
    assert log.count == 0
    assert log.transactions <= 3, "looks lock nothing"


async def test_a_backlog_is_numbered_in_pieces() -> None:
    log = Waiting(2 * NUMBERED_AT_ONCE_MAX + 5)
    assert await running(log, Signals(), 0.3, poll_seconds=60.0) == 4
    assert log.count == 0


async def test_while_nobody_follows_many_share_a_transaction() -> None:
    numbered = list[int]()
    for followed in (True, False):
        log, signals = Waiting(0), Signals()
        publisher_ = Publisher(
            cast("EventLog", log),
            signals,
            lambda: None,
            lambda followed=followed: followed,  # type: ignore[misc]
        )
        async with asyncio.TaskGroup() as group:
            task = group.create_task(publisher_.run())
            for _ in range(20):
                log.count += 1
                signals.recorded.set()
                await asyncio.sleep(0.035)
            task.cancel()
        numbered.append(log.transactions)
    often, rarely = numbered
    assert often >= 10
    assert rarely <= 3


async def test_a_database_that_was_away_is_looked_at_again_as_often() -> None:
    """And no pause grows meanwhile, as that of background work does."""

    class Away(Waiting):
        def __init__(self) -> None:
            super().__init__(0)
            self.failed = 0

        async def number(self) -> int:
            if self.failed < 3:
                self.failed += 1
                raise DatabaseUnavailable("it is away")
            return await super().number()

    log = Away()
    assert await running(log, Signals(), 0.6, poll_seconds=0.02) == 1
    assert (log.failed, log.count) == (3, 0)
