"""Hedges: late enough, and few."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.chunks.replication.hedge import (
    HEDGE_PERCENT_MAX,
    HEDGE_SECONDS_MIN,
    HEDGE_SECONDS_UNKNOWN,
    HEDGES_SAVED_MAX,
    HedgeBudget,
    hedge_seconds,
)


@given(st.lists(st.booleans(), max_size=2000))
def test_never_more_than_a_twentieth_beyond_what_was_saved(steps: list[bool]) -> None:
    budget = HedgeBudget()
    hedges = 0
    for reads, wants in enumerate(steps, 1):
        budget.earn()
        hedges += wants and budget.take()
        assert hedges <= HEDGES_SAVED_MAX + reads * HEDGE_PERCENT_MAX / 100


def test_a_twentieth_is_allowed_for_ever() -> None:
    budget = HedgeBudget()
    allowed = 0
    for _ in range(10_000):
        budget.earn()
        allowed += budget.take()
    assert allowed == pytest.approx(500 + HEDGES_SAVED_MAX, abs=1)


@each_row(
    ("first", "second", "seconds"),
    [
        (None, None, HEDGE_SECONDS_UNKNOWN),
        (0.001, 0.001, HEDGE_SECONDS_MIN),
        (0.1, None, 0.1),
        (0.1, 0.2, 0.1),
        (0.3, 0.001, HEDGE_SECONDS_MIN),  # always slow is still late
    ],
)
def test_the_time_to_wait(first: float | None, second: float | None, seconds: float) -> None:
    assert hedge_seconds(first, second) == seconds
