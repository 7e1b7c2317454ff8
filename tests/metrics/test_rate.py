"""Bytes per second, from counts that only grow."""

from hypothesis import given
from hypothesis import strategies as st

from treescale.metrics.rate import SAMPLES_MAX, RateMeter

IDLE = (0, 0, 0, 0)


def test_nothing_is_known_at_the_first_look() -> None:
    meter = RateMeter()
    assert meter.sample((1000, 0, 0, 0), 7.0) is None
    assert meter.sample((1000, 0, 0, 0), 7.0) is None, "no time has passed"


def test_it_is_the_mean_of_the_last_seconds_and_ends_with_them() -> None:
    meter = RateMeter()
    meter.sample((0, 0, 0, 0), 0.0)
    assert meter.sample((3000, 0, 30, 0), 5.0) == (600, 0, 6, 0)
    assert meter.sample((3000, 0, 30, 0), 10.0) == (300, 0, 3, 0)
    assert meter.sample((3000, 0, 30, 0), 15.0) == (200, 0, 2, 0)
    assert meter.sample((3000, 0, 30, 0), 20.0) == IDLE


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=20), st.floats(0.1, 60.0))
def test_it_is_never_more_than_the_fastest_of_the_looks(sizes: list[int], seconds: float) -> None:
    meter, total = RateMeter(), 0
    for index, size in enumerate(sizes):
        total += size
        rates = meter.sample((0, total, 0, 0), index * seconds)
        recent = sizes[max(1, index - SAMPLES_MAX + 2) : index + 1]
        if index == 0:
            assert rates is None
            continue
        assert rates is not None
        assert min(recent) / seconds * 0.999 - 1 <= rates[1]
        assert rates[1] <= max(recent) / seconds * 1.001 + 1
