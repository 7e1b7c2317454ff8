"""Clusters that collect: what is named is never missing, and in the end nothing else is left.

A failure names its seed and what happened; `SIMULATION_SEED=…` runs that one alone, and
`COLLECTION_SEEDS=…` so many of them. What chance finds soon without a rule is tried here; the other
rules are switched off in `test_collect_steps`, where every order is tried.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import structlog

from tests.simulation.collecting import CollectWorld, collected
from tests.simulation.world import Broken
from treescale.maintenance.collection import orphans

pytestmark = [pytest.mark.long, pytest.mark.early]
SEEDS = int(os.environ.get("COLLECTION_SEEDS", "6"))
ONLY = os.environ.get("SIMULATION_SEED")
SEEDS_FOR_ALL = 6
"""In so many all that can happen does."""
SEEDS_TO_CATCH = 200
"""A rule that is switched off must show within so many seeds."""


@pytest.fixture(autouse=True)
def _silent() -> Any:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def live_all(seeds: Iterable[int], world: type[CollectWorld]) -> None:
    for seed in seeds:
        collected(seed, world)


def test_what_is_named_is_there_and_nothing_else_stays() -> None:
    worlds = [collected(seed) for seed in (range(SEEDS) if ONLY is None else [int(ONLY)])]
    if len(worlds) >= SEEDS_FOR_ALL:
        much_happened(worlds)


def much_happened(worlds: Sequence[CollectWorld]) -> None:
    """Fail unless what can happen did."""
    trace = "\n".join(line for world in worlds for line in world.trace)
    for event in (
        "takes",
        "trims",
        "clock",
        "power",
        "layout 2",
        "is cancelled",
        "is committed",
        "in a blob",
        "is deleted",
    ):
        assert event in trace, event
    assert min(sum(world.removed for world in worlds), sum(w.refused for w in worlds)) > 0


class Untimed(CollectWorld):
    """Pushes record whenever they wake up."""

    checks_time = False


class TimedBefore(CollectWorld):
    """The time is looked at before the transaction, as a gateway's own check would be."""

    async def may_record(self, base: float) -> bool:
        """Look, and sleep after it."""
        in_time = await super().may_record(base)
        await self.sleep()
        return in_time


def no_lease(patch: pytest.MonkeyPatch) -> None:
    """R3: also what was put just now may go."""
    patch.setattr(orphans, "candidates", lambda copies, lease: list(copies))  # noqa: ARG005


def nothing(patch: pytest.MonkeyPatch) -> None:
    """Leave the stores as they are: it is the pushes that break a rule."""
    del patch


@pytest.mark.parametrize(
    ("spoil", "world"),
    [(no_lease, CollectWorld), (nothing, Untimed), (nothing, TimedBefore)],
    ids=["no lease", "no time check", "time check before the transaction"],
)
def test_a_rule_that_is_switched_off_loses_something(
    spoil: Callable[[pytest.MonkeyPatch], None],
    world: type[CollectWorld],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(monkeypatch)
    monkeypatch.setattr(CollectWorld, "looks_at_homes", False)
    with pytest.raises(Broken, match="is lost"):
        live_all(range(SEEDS_TO_CATCH), world)
