"""Levels of a quota: told of once when they are reached, and again only after the use fell."""

from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.metadata.limits.level import NOTHING, REACHED, WARNED, level_of

LEVELS = st.sampled_from((NOTHING, WARNED, REACHED))


@each_row(
    "used, told, expected",
    [
        (0, NOTHING, NOTHING),
        (79, NOTHING, NOTHING),
        (80, NOTHING, WARNED),
        (100, NOTHING, REACHED),
        (130, WARNED, REACHED),
        (76, WARNED, WARNED),
        (75, WARNED, WARNED),
        (74, WARNED, NOTHING),
        (99, REACHED, REACHED),
        (95, REACHED, REACHED),
        (94, REACHED, WARNED),
        (79, REACHED, WARNED),
        (74, REACHED, NOTHING),
    ],
)
def test_levels(used: int, told: int, expected: int) -> None:
    assert level_of(used, 100, told) == expected


def test_without_a_quota_there_is_none_and_of_nothing_all_is_used() -> None:
    assert level_of(10**12, None, REACHED) == NOTHING
    assert level_of(0, 0, NOTHING) == REACHED


@given(st.integers(0, 200), LEVELS)
def test_it_never_falls_below_what_is_used(used: int, told: int) -> None:
    level = level_of(used, 100, told)
    assert level >= level_of(used, 100, NOTHING)
    assert level_of(used, 100, level) == level
