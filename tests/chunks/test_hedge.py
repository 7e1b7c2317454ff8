"""Hedges: late enough, and few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.hedge import (
    HedgeBudget,
    hedge_percent_max,
    hedge_seconds,
    hedge_seconds_min,
    hedge_seconds_unknown,
    hedges_saved_max,
)


@given(st.lists(st.booleans(), max_size=2000))
def test_never_more_than_a_twentieth_beyond_what_was_saved(steps: list[bool]) -> None:
    budget = HedgeBudget()
    hedges = 0
    for reads, wants in enumerate(steps, 1):
        budget.earn()
        hedges += wants and budget.take()
        assert hedges <= hedges_saved_max + reads * hedge_percent_max / 100


def test_a_twentieth_is_allowed_for_ever() -> None:
    budget = HedgeBudget()
    allowed = 0
    for _ in range(10_000):
        budget.earn()
        allowed += budget.take()
    assert allowed == pytest.approx(500 + hedges_saved_max, abs=1)


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [
        (None, None, hedge_seconds_unknown),
        (0.001, 0.001, hedge_seconds_min),
        (0.1, None, 0.1),
        (0.1, 0.2, 0.1),
        (0.3, 0.001, hedge_seconds_min),  # always slow is still late
    ],
)
def test_the_time_to_wait(first: float | None, second: float | None, seconds: float) -> None:
    assert hedge_seconds(first, second) == seconds
