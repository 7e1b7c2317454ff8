"""What was sent to webhooks is removed until nothing is left to remove; a storm of hints is few."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from treescale.clock import SystemClock
from treescale.config import Settings
from treescale.events.signals import Signal
from treescale.metadata.database import Database
from treescale.metrics.meters import Meters
from treescale.server import jobs as under_test
from treescale.server.jobs import HOOKS_PRUNED_AT_ONCE, told_jobs
from treescale.server.shared import Shared


class MemoryHooks:
    """So many deliveries to remove."""

    def __init__(self, count: int) -> None:
        self.left = count

    async def prune(self, _age: float, _kept: int, limit: int) -> int:
        removed = min(self.left, limit)
        self.left -= removed
        return removed


class MemoryDatabase:
    """A database that has hooks and nothing else."""

    def __init__(self, count: int) -> None:
        self.hooks = MemoryHooks(count)
        self.event_log = self.settings = None


@dataclass(frozen=True)
class MemoryShared:
    """What is asked of what workers share."""

    settings: Settings
    meters: Meters
    server_id: str = "a"


async def test_a_run_removes_all_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hook of a busy namespace has more of them in ten minutes than one round removes."""
    monkeypatch.setattr(under_test, "HOOKS_PRUNE_PAUSE_SECONDS", 0.0)
    database = MemoryDatabase(5 * HOOKS_PRUNED_AT_ONCE + 1)
    shared = cast("Shared", MemoryShared(Settings(data=(str(tmp_path),)), Meters(1, ())))
    found = told_jobs(shared, cast("Database", database), SystemClock(), Signal())
    jobs: dict[str, Any] = {each.name: each for each in found}
    await jobs["hooks.prune"].work()
    assert database.hooks.left == 0


async def test_a_storm_of_hints_is_few_looks() -> None:
    signal, looks = Signal(), 0

    async def look() -> None:
        nonlocal looks
        looks += 1

    async with asyncio.TaskGroup() as group:
        task = group.create_task(under_test._whenever(signal, look))
        for _ in range(200):
            await asyncio.sleep(0.001)
            signal.set()
        await asyncio.sleep(2 * under_test.HINT_PAUSE_SECONDS)
        task.cancel()
    assert 2 <= looks < 20
