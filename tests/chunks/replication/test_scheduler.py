"""The read scheduler: a read goes to a store that has room; who waits longest is first."""

import asyncio

import pytest

from tests.virtualtime import LoopClock, virtual
from treescale.chunks.replication import scheduler
from treescale.chunks.replication.scheduler import LOCAL_READS_AT_ONCE_MAX, ReadScheduler


@pytest.fixture
def one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "READS_AT_ONCE_MAX", 1)


@virtual
async def test_the_first_that_has_room() -> None:
    turns = ReadScheduler()
    assert [await turns.acquire(("a", "b"), 1) for _ in range(4)] == ["a", "a", "b", "b"]
    assert (turns.busy("a"), turns.busy("b")) == (2, 2)
    turns.release("b")
    assert await turns.acquire(("a", "b"), 1) == "b"


@virtual
async def test_a_disk_of_this_server_has_more() -> None:
    turns = ReadScheduler(lambda name: name == "local")
    got = [await turns.acquire(("local", "far"), 1) for _ in range(LOCAL_READS_AT_ONCE_MAX + 1)]
    assert got == ["local"] * LOCAL_READS_AT_ONCE_MAX + ["far"]


@pytest.mark.usefixtures("one_at_once")
@virtual
async def test_room_goes_to_who_waits_longest_for_it() -> None:
    turns = ReadScheduler()
    for name in "ab":
        await turns.acquire((name,), 1)
    got: list[str] = []

    async def wait(who: str, *names: str) -> None:
        got.append(f"{who}{await turns.acquire(names, 10)}")

    async with asyncio.TaskGroup() as group:
        for who, names in (("1", "a"), ("2", "ab"), ("3", "ab")):
            group.create_task(wait(who, *names))
        await asyncio.sleep(0)
        turns.release("b")
        await asyncio.sleep(0)
        assert got == ["2b"]
        turns.release("a")
        await asyncio.sleep(0)
        assert got == ["2b", "1a"]
        turns.release("b")
    assert got == ["2b", "1a", "3b"]
    assert (turns.busy("a"), turns.busy("b")) == (1, 1)


@pytest.mark.usefixtures("one_at_once")
@virtual
async def test_who_waited_in_vain_is_told() -> None:
    turns = ReadScheduler()
    turns.begin("a")
    assert await turns.acquire(("a",), 2.0) is None
    assert LoopClock().monotonic() == pytest.approx(2.0)
    assert turns.busy("a") == 1
    turns.release("a")
    assert await turns.acquire(("a",), 2.0) == "a"


@pytest.mark.usefixtures("one_at_once")
@virtual
async def test_who_leaves_takes_no_room_along() -> None:
    turns = ReadScheduler()
    turns.begin("a")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(turns.acquire(("a",), 5))
        given = group.create_task(turns.acquire(("a",), 5))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.sleep(0.1)
        turns.release("a")
        given.cancel()  # it has been given the room, and does not know yet
    assert turns.busy("a") == 0
    assert await turns.acquire(("a",), 1) == "a"
