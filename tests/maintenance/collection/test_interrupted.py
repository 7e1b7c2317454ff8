"""A collector that ends at any step (T67): whoever goes on loses nothing and leaves nothing."""

import pytest

from tests.maintenance.collection.collecting import LEASE, Rig
from treescale.maintenance import collector
from treescale.maintenance.collector import Cycle
from treescale.maintenance.planning import planner


async def steps_until(rig: Rig, last: int) -> bool:
    """Go on for so many steps, and end there; say whether there were more."""
    steps = rig.collector.steps(Cycle(resume=True))
    for _ in range(last):
        if await anext(steps, None) is None:
            return False
    await steps.aclose()
    return True


async def test_a_collector_that_ends_at_any_step_loses_and_leaves_nothing(
    rig: Rig, named: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "BATCH_MAX", 1024)
    monkeypatch.setattr(collector, "REMOVED_AT_ONCE", 1)
    orphans = [await rig.put(number) for number in range(100, 104)]
    rig.go(LEASE)
    last = 0
    while await steps_until(rig, last):
        last += 1
        assert await rig.here(named) == [True]
    assert last > len(orphans), "also between two removals"
    assert await rig.here(named, *orphans) == [True, *[False] * len(orphans)]


async def test_what_pushes_left_that_broke_off_goes_with_their_sessions(rig: Rig) -> None:
    """T71: nothing before a session is over, everything after it."""
    left = [await rig.put(number) for number in range(200, 240)]
    for number, chunk in enumerate(left):
        await rig.open_session(f"session{number}", chunk)
    rig.go(2 * LEASE)
    await rig.cycle(resume=True)
    assert await rig.here(*left) == [True] * len(left)
    for number in range(len(left)):
        await rig.database.uploads.delete(f"session{number}")
    await rig.cycle(resume=True)
    assert await rig.here(*left) == [False] * len(left)
