"""The room that all uploads of a process share."""

import asyncio

import pytest

from treescale.chunks.room import (
    Room,
    batch_bytes_max,
    batch_bytes_min,
    gathered_bytes_max,
)


async def test_a_room_grows_and_never_shrinks() -> None:
    room = Room(10)
    room.widen(30)
    room.widen(20)
    async with asyncio.timeout(1):
        for _ in range(3):
            await room.enter(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await room.enter(1)
    room.leave(1)
    await room.enter(1)


async def test_who_is_alone_gets_more_than_there_is() -> None:
    room = Room(10)
    await room.enter(11)
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        waiting = group.create_task(room.enter(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        room.leave(11)


async def test_who_asks_first_is_served_first_however_much_that_is() -> None:
    room, served = Room(10), []

    async def enter(size: int) -> None:
        await room.enter(size)
        served.append(size)

    await room.enter(6)
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        for size in (9, 1, 2):
            group.create_task(enter(size))
        for _ in range(10):
            await asyncio.sleep(0)
        assert served == []  # 1 and 2 would fit
        room.leave(6)
        for _ in range(10):
            await asyncio.sleep(0)
        assert served == [9, 1]
        room.leave(9)
    assert served == [9, 1, 2]


async def test_who_leaves_the_queue_is_not_served() -> None:
    room = Room(10)
    await room.enter(10)
    async with asyncio.timeout(1), asyncio.TaskGroup() as group:
        gone = group.create_task(room.enter(5))
        group.create_task(room.enter(10))
        await asyncio.sleep(0)
        gone.cancel()
        room.leave(10)


def test_the_more_upload_the_less_each_gathers() -> None:
    room, most = Room(), gathered_bytes_max // batch_bytes_max
    for _ in range(most):
        room.begin()
        assert room.batch_bytes == batch_bytes_max
    room.begin()
    assert batch_bytes_min <= room.batch_bytes < batch_bytes_max
    for _ in range(20):
        room.begin()
    assert room.batch_bytes == batch_bytes_min
    for _ in range(20):
        room.end()
    assert room.batch_bytes > batch_bytes_min
