"""The room that all uploads of a process share."""

import asyncio

import pytest

from treescale.chunks.stream import memory_limit
from treescale.chunks.stream.memory_limit import (
    BATCH_BYTES_MAX,
    BATCH_BYTES_MIN,
    BYTES_IN_WORKER_MAX,
    BYTES_OF_MANY_MAX,
    FEW_UPLOADS_MAX,
    GATHERED_BYTES_MAX,
    MemoryLimit,
)


async def test_a_room_grows_and_never_shrinks() -> None:
    room = MemoryLimit(10)
    room.widen(30)
    room.widen(20)
    async with asyncio.timeout(1):
        for _ in range(3):
            await room.acquire(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await room.acquire(1)
    room.release(1)
    await room.acquire(1)


async def test_who_is_alone_gets_more_than_there_is() -> None:
    room = MemoryLimit(10)
    await room.acquire(11)
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        waiting = group.create_task(room.acquire(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        room.release(11)


async def test_who_asks_first_is_served_first_however_much_that_is() -> None:
    room, served = MemoryLimit(10), []

    async def acquire(size: int) -> None:
        await room.acquire(size)
        served.append(size)

    await room.acquire(6)
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        for size in (9, 1, 2):
            group.create_task(acquire(size))
        for _ in range(10):
            await asyncio.sleep(0)
        assert served == []  # 1 and 2 would fit
        room.release(6)
        for _ in range(10):
            await asyncio.sleep(0)
        assert served == [9, 1]
        room.release(9)
    assert served == [9, 1, 2]


async def test_who_leaves_the_queue_is_not_served() -> None:
    room = MemoryLimit(10)
    await room.acquire(10)
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        gone = group.create_task(room.acquire(5))
        group.create_task(room.acquire(10))
        await asyncio.sleep(0)
        gone.cancel()
        room.release(10)


def test_the_more_upload_the_less_each_gathers() -> None:
    room, most = MemoryLimit(), GATHERED_BYTES_MAX // BATCH_BYTES_MAX
    for _ in range(most):
        room.begin()
        assert room.batch_bytes == BATCH_BYTES_MAX
    room.begin()
    assert BATCH_BYTES_MIN <= room.batch_bytes < BATCH_BYTES_MAX
    for _ in range(20):
        room.begin()
    assert room.batch_bytes == BATCH_BYTES_MIN
    for _ in range(20):
        room.end()
    assert room.batch_bytes > BATCH_BYTES_MIN


async def test_many_uploads_have_less_on_their_way_than_few() -> None:
    room, served = MemoryLimit(), []

    async def upload() -> None:
        await room.acquire(BYTES_IN_WORKER_MAX - BYTES_OF_MANY_MAX)
        served.append("third")

    for _ in range(FEW_UPLOADS_MAX):
        room.begin()
    await room.acquire(BYTES_OF_MANY_MAX)
    assert room.bytes_max == BYTES_IN_WORKER_MAX
    room.begin()
    assert room.bytes_max == BYTES_OF_MANY_MAX
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        group.create_task(upload())
        await asyncio.sleep(0)
        assert not served
        room.end()  # who waits hears of it, with nothing released
    assert served == ["third"]


def test_a_limit_that_was_widened_holds_for_many() -> None:
    room = MemoryLimit()
    room.widen(2 * BYTES_IN_WORKER_MAX)
    for _ in range(FEW_UPLOADS_MAX + 1):
        room.begin()
    assert room.bytes_max == 2 * BYTES_IN_WORKER_MAX


async def timers() -> None:
    """Return when all timers that are due have been heard."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_free_buffers_are_kept_while_somebody_uploads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_limit, "FREE_SECONDS_MAX", 0)
    room = MemoryLimit()
    for _ in range(2):
        room.begin()
    room.buffers.lend(1000)
    room.end()
    await timers()
    assert room.buffers.free == 1
    room.end()
    assert room.buffers.free == 1, "for who comes next"
    room.begin()
    await timers()
    assert room.buffers.free == 1, "somebody came"
    room.end()
    await timers()
    assert not room.buffers.free
