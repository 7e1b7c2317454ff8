"""Turns: a read goes to a store that has room; who waits longest is first."""

import asyncio

import pytest

from tests.virtualtime import LoopClock, virtual
from treescale.chunks import turns as chunks_turns
from treescale.chunks.turns import Turns, local_reads_at_once_max


@pytest.fixture
def one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_turns, "reads_at_once_max", 1)


@virtual
async def test_the_first_that_has_room() -> None:
    turns = Turns()
    assert [await turns.choose(("a", "b"), 1) for _ in range(4)] == ["a", "a", "b", "b"]
    assert (turns.busy("a"), turns.busy("b")) == (2, 2)
    turns.end("b")
    assert await turns.choose(("a", "b"), 1) == "b"


@virtual
async def test_a_disk_of_this_server_has_more() -> None:
    turns = Turns(lambda name: name == "local")
    got = [await turns.choose(("local", "far"), 1) for _ in range(local_reads_at_once_max + 1)]
    assert got == ["local"] * local_reads_at_once_max + ["far"]


@pytest.mark.usefixtures("one_at_once")
@virtual
async def test_room_goes_to_who_waits_longest_for_it() -> None:
    turns = Turns()
    for name in "ab":
        await turns.choose((name,), 1)
    got: list[str] = []

    async def wait(who: str, *names: str) -> None:
        got.append(f"{who}{await turns.choose(names, 10)}")

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


@pytest.mark.usefixtures("one_at_once")
@virtual
async def test_who_waited_in_vain_is_told() -> None:
    turns = Turns()
    turns.begin("a")
    assert await turns.choose(("a",), 2.0) is None
    assert LoopClock().monotonic() == pytest.approx(2.0)
    assert turns.busy("a") == 1
    turns.end("a")
    assert await turns.choose(("a",), 2.0) == "a"


@pytest.mark.usefixtures("one_at_once")
@virtual
async def test_who_leaves_takes_no_room_along() -> None:
    turns = Turns()
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
