"""Slots: a server's, in the order of urgency, and none is lost with whoever had it."""

import asyncio
import multiprocessing
import os
import signal

import pytest

from tests.virtualtime import virtual
from treescale.auth.guessing import Urgency
from treescale.auth.slots import (
    LOOK_SECONDS,
    SLOTS_MAX,
    SLOTS_MIN,
    WAIT_SECONDS_MAX,
    SlotLine,
    Slots,
    slots_here,
)
from treescale.errors import TooMany

FORK = multiprocessing.get_context("fork")


def test_a_server_has_as_many_as_processors_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, slots in ((1, SLOTS_MIN), (4, 4), (96, SLOTS_MAX)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=processors: set(range(n)))
        assert slots_here() == slots


def test_the_last_is_for_the_proven_and_the_clean() -> None:
    slots = Slots(2)
    assert slots.take(Urgency.DOUBTFUL) == 0
    assert slots.take(Urgency.DOUBTFUL) is None
    assert slots.take(Urgency.CROWDED) is None
    assert slots.take(Urgency.CLEAN) == 1
    assert slots.take(Urgency.PROVEN) is None
    slots.give_back(0)
    assert slots.take(Urgency.PROVEN) == 0
    assert Slots(1).take(Urgency.DOUBTFUL) == 0, "but the only one is for all"


def test_workers_share_them_and_a_killed_one_takes_none_along() -> None:
    slots = Slots(2)
    said, say = FORK.Pipe(duplex=False)

    def take_all() -> None:
        say.send([slots.take(Urgency.PROVEN) for _ in range(3)])
        signal.pause()

    worker = FORK.Process(target=take_all)
    worker.start()
    assert said.recv() == [0, 1, None]
    assert slots.take(Urgency.PROVEN) is None
    worker.kill()
    worker.join()
    assert slots.take(Urgency.PROVEN) == 0


async def waiting(line: SlotLine, urgency: Urgency, served: list[str], name: str) -> int:
    slot = await line.take(urgency)
    served.append(name)
    return slot


@virtual
async def test_the_more_urgent_go_first_whenever_they_came() -> None:
    slots, served = Slots(2), list[str]()
    line = SlotLine(slots)
    taken = [await line.take(Urgency.PROVEN), await line.take(Urgency.PROVEN)]
    coming = [
        (Urgency.DOUBTFUL, "guess"),
        (Urgency.CROWDED, "stranger"),
        (Urgency.CLEAN, "newcomer"),
        (Urgency.PROVEN, "owner"),
        (Urgency.CLEAN, "second newcomer"),
    ]
    async with asyncio.TaskGroup() as group:
        for urgency, name in coming:
            group.create_task(waiting(line, urgency, served, name))
        await asyncio.sleep(1)
        assert (served, len(line)) == ([], 5)
        for _ in range(5):
            slots.give_back(taken[0])
            await asyncio.sleep(2 * LOOK_SECONDS)
    assert served == ["owner", "newcomer", "second newcomer", "stranger", "guess"]
    assert line._timer is None, "nobody waits, so nobody looks"


@virtual
async def test_who_waits_too_long_is_told_to_come_back() -> None:
    slots = Slots(1)
    line = SlotLine(slots)
    await line.take(Urgency.PROVEN)
    with pytest.raises(TooMany) as refused:
        await line.take(Urgency.PROVEN)
    assert refused.value.retry_seconds >= 1
    assert asyncio.get_running_loop().time() == pytest.approx(WAIT_SECONDS_MAX, abs=0.1)
    assert len(line) == 0


@virtual
async def test_the_least_urgent_make_room_when_the_line_is_full() -> None:
    slots = Slots(1)
    line = SlotLine(slots, waiting=1)
    slot = await line.take(Urgency.PROVEN)
    async with asyncio.TaskGroup() as group:
        guess = group.create_task(expect_too_many(line, Urgency.DOUBTFUL))
        await asyncio.sleep(0.1)
        await expect_too_many(line, Urgency.DOUBTFUL)
        owner = group.create_task(line.take(Urgency.PROVEN))
        await guess
        slots.give_back(slot)
    assert owner.result() == slot


async def expect_too_many(line: SlotLine, urgency: Urgency) -> None:
    with pytest.raises(TooMany):
        await line.take(urgency)


@virtual
async def test_a_slot_that_comes_as_its_owner_leaves_is_not_lost() -> None:
    slots = Slots(1)
    line = SlotLine(slots)
    slot = await line.take(Urgency.PROVEN)
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(line.take(Urgency.PROVEN))
        await asyncio.sleep(LOOK_SECONDS / 2)
        slots.give_back(slot)
        line._look()
        leaving.cancel()
    assert slots.take(Urgency.PROVEN) == slot


@virtual
async def test_who_leaves_the_line_leaves_no_trace() -> None:
    slots = Slots(1)
    line = SlotLine(slots)
    slot = await line.take(Urgency.PROVEN)
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(line.take(Urgency.PROVEN))
        await asyncio.sleep(LOOK_SECONDS)
        leaving.cancel()
        await asyncio.sleep(LOOK_SECONDS)
    assert len(line) == 0
    slots.give_back(slot)
    assert await line.take(Urgency.DOUBTFUL) == slot
