"""Latencies: a mean that forgets, and a percentile that is right within a bucket."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treescale.chunks.replication.latency import (
    BUCKET_GROWTH,
    HALF_LIFE_SECONDS,
    LATE_MEANS,
    LATE_SECONDS_MOST,
    Latency,
    late_seconds,
)


@given(st.lists(st.floats(0.0001, 60), min_size=1, max_size=200))
def test_the_percentile_is_right_within_a_bucket(samples: list[float]) -> None:
    latency = Latency()
    for seconds in samples:
        latency.record(seconds, 100.0)
    true = sorted(samples)[math.ceil(0.95 * len(samples)) - 1]
    found = latency.p95(100.0)
    assert found is not None
    assert true / 1.0001 <= found <= true * BUCKET_GROWTH * 1.0001


def test_the_percentile_is_of_the_last_minute() -> None:
    latency = Latency()
    assert latency.p95(0.0) is None
    latency.record(5.0, 0.0)
    latency.record(0.001, 30.0)
    assert latency.p95(59.0) == pytest.approx(5.0, rel=0.25)
    assert latency.p95(61.0) == pytest.approx(0.001, rel=0.25)
    assert latency.p95(100.0) is None


@given(st.lists(st.floats(0, 1000), max_size=20))
def test_any_length_is_counted(samples: list[float]) -> None:
    latency = Latency()
    for seconds in samples:
        latency.record(seconds, 0.0)
    assert (latency.p95(0.0) is None) == (not samples)


def test_the_mean_follows_and_forgets() -> None:
    latency = Latency()
    latency.record(1.0, 0.0)
    assert latency.mean(0.0) == 1.0
    for _ in range(50):
        latency.record(0.1, 0.0)
    assert latency.mean(0.0) == pytest.approx(0.1, rel=0.01)
    assert latency.mean(HALF_LIFE_SECONDS) == pytest.approx(latency.mean(0.0) / 2)
    latency.record(3.0, 1000.0)
    assert latency.mean(1000.0) == pytest.approx(3.0)


def test_a_request_given_up_counts_only_when_it_says_something() -> None:
    latency = Latency()
    latency.record(0.5, 0.0)
    latency.record_unfinished(0.1, 0.0)
    assert latency.mean(0.0) == 0.5
    latency.record_unfinished(2.0, 0.0)
    assert latency.mean(0.0) > 0.5


def test_late_is_who_takes_long_while_another_does_not() -> None:
    assert late_seconds(2.0, []) == 2.0
    assert late_seconds(2.0, [0.01, 5.0]) == 2.0
    assert late_seconds(2.0, [1.0, 5.0]) == LATE_MEANS * 1.0
    assert late_seconds(2.0, [60.0, 50.0]) == LATE_SECONDS_MOST
