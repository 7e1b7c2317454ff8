"""The loop with virtual time: timers fire in order, at their time, and nobody sleeps."""

import asyncio
import time

import pytest

from tests.virtualtime import LoopClock, NothingToWaitFor, virtually


def test_a_day_passes_at_once_and_in_order() -> None:
    seen: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, LoopClock().monotonic()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait("day", 86400))
            group.create_task(wait("minute", 60))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wait("never", 100), 3)

    begun = time.monotonic()
    virtually(main)
    assert [name for name, _ in seen] == ["minute", "day"]
    assert [at for _, at in seen] == pytest.approx([60.0, 86400.0])
    assert time.monotonic() - begun < 5


def test_waiting_for_nothing_is_noticed() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingToWaitFor):
        virtually(main)
