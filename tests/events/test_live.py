"""The log is read once for all who follow it, and each is given what it is shown, whole."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.events.values import PRIVATE, recorded
from treescale.errors import TooMany, Unreachable
from treescale.events.fan_out import QUEUE_MAX
from treescale.events.live import PAGE, Batch, LiveLog
from treescale.events.signals import Signals
from treescale.metadata.events.log import EventLog
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.records import Repository
from treescale.metadata.repositories import Repositories

BEAT = 5.0
USER = "alice"
SECONDS_MAX = 10.0


class MemoryLog:
    """A log in memory, which counts how often it is read."""

    def __init__(self) -> None:
        self.events: list[Recorded] = []
        self.begin = 1
        self.reads = 0
        self.lives = 1

    def happen(self, count: int = 1, **columns: Any) -> None:
        for _ in range(count):
            event = recorded(self.begin + len(self.events), **columns)
            self.events.append(replace(event, event_id=f"{event.event_id}-{self.lives}"))

    def prune(self, count: int) -> None:
        self.begin += count
        del self.events[:count]

    def go_back(self, count: int) -> None:
        """Lose the last ones, and give other events their numbers from now on."""
        del self.events[len(self.events) - count :]
        self.lives += 1

    async def after(self, sequence: int, limit: int) -> list[Recorded]:
        self.reads += 1
        await asyncio.sleep(0)
        return [one for one in self.events if one.sequence > sequence][:limit]

    async def last(self) -> int:
        return self.begin + len(self.events) - 1

    async def first(self) -> int:
        return self.begin


class MemoryRepositories:
    """Only alice/app is there; counts how often it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    async def named(self, names: Collection[str]) -> dict[str, Repository]:
        self.asked += 1
        return {PRIVATE.name: PRIVATE} if PRIVATE.name in names else {}


class Here:
    """A live log on memory."""

    def __init__(self, followers_max: int = 2000) -> None:
        self.log, self.repositories, self.signals = MemoryLog(), MemoryRepositories(), Signals()
        self.live = LiveLog(
            cast("EventLog", self.log),
            cast("Repositories", self.repositories),
            self.signals,
            followers_max=followers_max,
        )

    def happen(self, count: int = 1, **columns: Any) -> None:
        self.log.happen(count, **columns)
        self.signals.grown.set()


@pytest.fixture
async def here() -> AsyncIterator[Here]:
    found = Here()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(found.live.run())
        yield found
        task.cancel()


def everything(event: Recorded, _: Repository | None) -> Recorded | None:
    return event


async def first(batches: AsyncIterator[Batch], count: int) -> list[int]:
    """Return the sequences of so many events that come."""
    found: list[int] = []
    async with asyncio.timeout(SECONDS_MAX):
        async for batch in batches:
            found += [event.sequence for event in batch.events]
            if len(found) >= count:
                return found
    return found


async def test_what_follows_is_given_in_order(here: Here) -> None:
    here.happen(3)
    async with aclosing(here.live.follow(everything, Place(1), BEAT, USER)) as batches:
        assert await first(batches, 2) == [2, 3]
        here.happen(2)
        assert await first(batches, 2) == [4, 5]


async def test_a_thousand_followers_cost_as_many_reads_as_one(here: Here) -> None:
    told: list[int] = []
    here.live.on_followers = told.append
    followers = [here.live.follow(everything, None, BEAT, USER) for _ in range(1000)]
    async with asyncio.timeout(SECONDS_MAX):
        for each in followers:
            await anext(each)
    waiting = [asyncio.ensure_future(first(each, 3)) for each in followers]  # noqa: TID251
    await asyncio.sleep(0.2)
    before = here.log.reads, here.repositories.asked
    for _ in range(3):
        here.happen()
        await asyncio.sleep(0.05)
    assert {*map(tuple, await asyncio.gather(*waiting))} == {(1, 2, 3)}
    assert here.log.reads - before[0] <= 5
    assert here.repositories.asked - before[1] == 3
    with pytest.raises(TooMany):
        await anext(here.live.follow(everything, None, BEAT, USER))
    for each in followers:
        await each.aclose()
    assert here.live.followers == 0
    assert told == [*range(1, 1001), *range(999, -1, -1)], "the figure that is told of them"


async def test_one_user_keeps_nobody_out() -> None:
    live = Here(followers_max=4).live
    mine = [live.follow(everything, None, BEAT, USER) for _ in range(2)]
    for each in mine:
        await anext(each)
    with pytest.raises(TooMany, match="of yours"):
        await anext(live.follow(everything, None, BEAT, USER))
    with pytest.raises(TooMany, match="of yours"):
        await live.wait_for_more(1.0, USER)
    bobs = live.follow(everything, None, BEAT, "bob")
    await anext(bobs)
    for each in (*mine, bobs):
        await each.aclose()
    again = live.follow(everything, None, BEAT, USER)
    await anext(again)
    await again.aclose()
    assert not live._of_user


async def test_one_that_reads_slowly_misses_nothing_and_keeps_nobody(here: Here) -> None:
    slow, quick = (here.live.follow(everything, None, BEAT, USER) for _ in range(2))
    await anext(slow)
    await anext(quick)
    level = asyncio.ensure_future(anext(slow))  # noqa: TID251
    count = 3 * QUEUE_MAX
    here.happen()
    assert (await level).events[0].sequence == 1
    reading = asyncio.ensure_future(first(quick, count))  # noqa: TID251
    for _ in range(3):
        await asyncio.sleep(0.02)
        here.happen(QUEUE_MAX)
    assert len(await reading) >= count
    assert await first(slow, count) == [*range(2, count + 2)]


async def test_what_was_pruned_is_told(here: Here) -> None:
    here.happen(10)
    here.log.prune(5)
    batch = await anext(here.live.follow(everything, Place(3), BEAT, USER))
    assert batch.gap
    assert not (await anext(here.live.follow(everything, Place(5), BEAT, USER))).gap
    assert not (await anext(here.live.follow(everything, Place(0), BEAT, USER))).gap
    other = await anext(here.live.follow(everything, Place(1000), BEAT, USER))
    assert (other.gap, other.place.sequence) == (True, 10)
    assert (await here.live.page(everything, Place(3), 9)).gap


async def test_what_is_pruned_while_one_reads_on_is_told(here: Here) -> None:
    """By itself, and before what follows: a cursor never stands for what was not given."""
    here.happen(3 * PAGE)
    async with aclosing(here.live.follow(everything, Place(1), BEAT, USER)) as batches:
        assert not (await anext(batches)).gap
        assert await first(batches, PAGE) == [*range(2, PAGE + 2)]
        here.log.prune(2 * PAGE)
        batch = await anext(batches)
        assert (batch.events, batch.place.sequence, batch.gap) == ([], 2 * PAGE, True)
        assert await first(batches, PAGE) == [*range(2 * PAGE + 1, 3 * PAGE + 1)]


async def test_what_is_pruned_before_it_was_read_for_the_level_is_told(here: Here) -> None:
    """As when only this server's way to the database was away for long; what waits is given."""
    here.happen()
    batches = here.live.follow(everything, None, BEAT, USER)
    await anext(batches)
    waiting = asyncio.ensure_future(anext(batches))  # noqa: TID251
    await asyncio.sleep(0.05)
    here.happen()
    assert [one.sequence for one in (await waiting).events] == [2]
    here.happen()
    await asyncio.sleep(0.05)  # the third waits, as nobody takes it
    here.log.happen(9)
    here.log.prune(7)
    here.signals.grown.set()
    await asyncio.sleep(0.05)
    found = [await anext(batches) for _ in range(3)]
    assert [([one.sequence for one in each.events], each.gap) for each in found] == [
        ([3], False),
        ([], True),
        ([8, 9, 10, 11, 12], False),
    ]
    await batches.aclose()


async def test_what_is_pruned_as_a_page_is_read_is_told(here: Here) -> None:
    here.happen(10)
    read = here.log.after

    async def pruned(sequence: int, limit: int) -> list[Recorded]:
        here.log.prune(5)
        return await read(sequence, limit)

    here.log.after = pruned  # type: ignore[method-assign]
    page = await here.live.page(everything, Place(3), 9)
    assert (page.events[0].sequence, page.gap) == (6, True)


async def test_without_events_there_is_a_beat(here: Here) -> None:
    here.happen(2)
    batches = here.live.follow(everything, None, 0.01, USER)
    async with asyncio.timeout(SECONDS_MAX):
        found = [await anext(batches) for _ in range(3)]
    assert {(len(each.events), each.place.sequence) for each in found} == {(0, 2)}


async def test_a_long_log_that_is_not_shown_is_passed_over(here: Here) -> None:
    here.happen(3 * PAGE)

    def last(event: Recorded, _: Repository | None) -> Recorded | None:
        return event if event.sequence == 3 * PAGE else None

    assert await first(here.live.follow(last, Place(0), BEAT, USER), 1) == [3 * PAGE]
    page = await here.live.page(last, Place(0), 5)
    assert [event.sequence for event in page.events] == [3 * PAGE]


async def test_pages_lead_to_each_other(here: Here) -> None:
    here.happen(5)
    page = await here.live.page(everything, Place(0), 2)
    assert ([one.sequence for one in page.events], page.place.sequence, page.more) == (
        [1, 2],
        2,
        True,
    )
    page = await here.live.page(everything, Place(2), 3)
    assert ([one.sequence for one in page.events], page.place.sequence, page.more) == (
        [3, 4, 5],
        5,
        False,
    )
    page = await here.live.page(everything, None, 3)
    assert (page.events, page.place.sequence, page.more, page.gap) == ([], 5, False, False)


async def test_a_page_of_many_repositories_costs_one_question(here: Here) -> None:
    """Whoever reads is judged by what they may pull: a stranger must not cost a query an event."""
    for number in range(PAGE):
        here.happen(repository=f"alice/{number}")
    await here.live.page(lambda *_: None, Place(0), 9)
    assert here.repositories.asked == 1


async def test_repositories_that_are_gone_are_told_as_none(here: Here) -> None:
    here.happen(repository="alice/gone")
    here.happen(repository=None)
    seen: list[Repository | None] = []

    def look(event: Recorded, repository: Repository | None) -> Recorded | None:
        seen.append(repository)
        return event

    await here.live.page(look, Place(0), 9)
    assert seen == [None, None]


async def test_what_nobody_tells_of_is_found_within_a_second(here: Here) -> None:
    batches = here.live.follow(everything, None, BEAT, USER)
    await anext(batches)
    waiting = asyncio.ensure_future(first(batches, 1))  # noqa: TID251
    await asyncio.sleep(0.05)
    here.log.happen()
    assert await waiting == [1]


async def test_who_comes_as_it_ends_is_sent_elsewhere(here: Here) -> None:
    batches = here.live.follow(everything, None, BEAT, USER)
    await anext(batches)
    here.live.close()
    with pytest.raises(StopAsyncIteration):
        await anext(batches)
    with pytest.raises(Unreachable, match="another"):
        await anext(here.live.follow(everything, None, BEAT, USER))
    with pytest.raises(Unreachable, match="another"):
        await here.live.wait_for_more(1.0, USER)


async def test_a_log_that_has_gone_back_is_told_to_whoever_comes_back(here: Here) -> None:
    """As after a fail-over to a standby that lagged: numbers are given again."""
    here.happen(10)
    begin, seen = here.log.events[4].place, here.log.events[8].place
    here.log.go_back(3)
    for grown in (0, 1, 5):
        here.happen(grown)
        page = await here.live.page(everything, seen, 99)
        assert page.gap
        assert [one.sequence for one in page.events] == [*range(10, 8 + grown)]
        batch = await anext(here.live.follow(everything, seen, BEAT, USER))
        assert batch.gap
        here.log.go_back(grown)
    here.happen(5)
    assert not (await here.live.page(everything, begin, 99)).gap, "which all have"
    assert not (await here.live.page(everything, Place(9), 99)).gap, "a cursor without a mark"
    assert not (await here.live.page(everything, None, 99)).gap


@pytest.mark.parametrize("after", [Place(2), None])
async def test_a_log_that_goes_back_is_told_to_all_who_follow(
    here: Here, after: Place | None
) -> None:
    """Whether or not it has already as many events again; each hears it once, and misses none."""
    here.happen(5)
    followers = [here.live.follow(everything, after, BEAT, USER) for _ in range(3)]
    waiting: list[asyncio.Future[Batch]] = []
    for each in followers:
        await anext(each)
        if after is not None:
            assert await first(each, 3) == [3, 4, 5]
        waiting.append(asyncio.ensure_future(anext(each)))  # noqa: TID251
    await asyncio.sleep(0.05)
    here.log.go_back(2)
    here.happen(4)
    async with asyncio.timeout(SECONDS_MAX):
        assert [(await each).gap for each in waiting] == [True] * 3
        for each in followers:
            assert await first(each, 2) == [6, 7]
    here.happen()
    for each in followers:
        assert await first(each, 1) == [8]
        await each.aclose()
