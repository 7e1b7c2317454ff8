"""Turns: a read goes to a store that has room; who waits longest is first."""

import asyncio

import pytest

from tests.virtualtime import LoopClock, virtual
from treescale.chunks.turns import Turns


@virtual
async def test_the_first_that_has_room() -> None:
    turns = Turns(at_once=2)
    assert [await turns.choose(("a", "b"), 1) for _ in range(4)] == ["a", "a", "b", "b"]
    assert (turns.busy("a"), turns.busy("b")) == (2, 2)
    turns.end("b")
    assert await turns.choose(("a", "b"), 1) == "b"


@virtual
async def test_room_goes_to_who_waits_longest_for_it() -> None:
    turns = Turns(at_once=1)
    for name in "ab":
        await turns.choose((name,), 1)
    got: list[str] = []

    async def wait(who: str, *names: str) -> None:
        got.append(who + await turns.choose(names, 10))

    async with asyncio.TaskGroup() as group:
        for who, names in (("1", "a"), ("2", "ab"), ("3", "ab")):
            group.create_task(wait(who, *names))
        await asyncio.sleep(0)
        turns.end("b")
        await asyncio.sleep(0)
        assert got == ["2b"]
        turns.end("a")
        await asyncio.sleep(0)
        assert got == ["2b", "1a"]
        turns.end("b")
    assert got == ["2b", "1a", "3b"]
    assert (turns.busy("a"), turns.busy("b")) == (1, 1)


@virtual
async def test_a_store_that_never_has_room_is_asked_all_the_same() -> None:
    turns = Turns(at_once=1)
    turns.begin("a")
    assert await turns.choose(("a",), 2.0) == "a"
    assert LoopClock().monotonic() == pytest.approx(2.0)
    assert turns.busy("a") == 2
    turns.end("a")
    assert turns.busy("a") == 1


@virtual
async def test_who_leaves_takes_no_room_along() -> None:
    turns = Turns(at_once=1)
    turns.begin("a")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(turns.choose(("a",), 5))
        given = group.create_task(turns.choose(("a",), 5))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.sleep(0.1)
        turns.end("a")
        given.cancel()  # it has been given the room, and does not know yet
    assert turns.busy("a") == 0
    assert await turns.choose(("a",), 1) == "a"
