"""Whose silence is measured by whose clock, and how far a clock is off."""

from dataclasses import replace

from tests.cluster.cluster import row
from tests.tables import each_row
from treescale.cluster.liveness import WATCH, clock_error, watched


@each_row(
    ("before", "database", "after", "error"),
    [(10, 11, 12, 0), (10, 10, 10, 0), (10, 4, 11, 6), (10, 15, 11, -4), (10, 11, 11, 0)],
)
def test_a_clock_is_off_by_what_cannot_be_the_way(
    before: float, database: float, after: float, error: float
) -> None:
    assert clock_error(before, database, after) == error


def test_a_watch_measures_silence_by_its_own_clock() -> None:
    store = row("a")
    watch = watched(WATCH, [store], 100.0, gap_seconds=15)
    assert watch.silence("a") == watch.silence("unheard of") == 0
    watch = watched(watch, [store], 110.0, gap_seconds=15)
    assert watch.silence("a") == 10
    watch = watched(watch, [replace(store, seen=1.0)], 115.0, gap_seconds=15)
    assert watch.silence("a") == 0, "another time, even an earlier one, is news"
    watch = watched(watch, [replace(store, seen=1.0)], 130.1, gap_seconds=15)
    assert watch.silence("a") == 0, "we were away"
    assert watched(watch, [], 131.0, gap_seconds=15).noticed == {}
