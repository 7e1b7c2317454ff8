"""Guessing takes longer and longer, nobody is locked out, and memory is bounded."""

import pytest

from tests.fakes_disk import JumpingClock
from treescale.errors import TooMany
from treescale.registry.throttle import (
    Throttle,
    delay_seconds,
    delay_seconds_max,
    forgotten_seconds,
    free_failures,
)


def test_the_delay_grows_up_to_a_minute() -> None:
    delays = [delay_seconds(failures) for failures in range(40)]
    assert delays[:free_failures] == [0] * free_failures
    assert delays[free_failures : free_failures + 7] == [1, 2, 4, 8, 16, 32, 60]
    assert delays == sorted(delays)
    assert max(delays) == delay_seconds_max
    assert delay_seconds(10**9) == delay_seconds_max


def failed(throttle: Throttle, key: bytes, times: int) -> None:
    for _ in range(times):
        throttle.failed(key)


def test_too_many_failures_mean_waiting_and_no_more_than_that(clock: JumpingClock) -> None:
    throttle = Throttle(clock)
    failed(throttle, b"a", free_failures)
    with pytest.raises(TooMany) as refused:
        throttle.check(b"a")
    assert refused.value.retry_seconds == 1
    throttle.check(b"b")
    clock.seconds += 1
    throttle.check(b"a")
    throttle.failed(b"a")
    with pytest.raises(TooMany, match="2 s"):
        throttle.check(b"a")


def test_success_and_time_both_forgive(clock: JumpingClock) -> None:
    throttle = Throttle(clock)
    failed(throttle, b"a", 12)
    throttle.forget(b"a")
    throttle.check(b"a")
    failed(throttle, b"a", 12)
    clock.seconds += forgotten_seconds + 1
    throttle.failed(b"a")
    throttle.check(b"a")


def test_memory_is_bounded(clock: JumpingClock) -> None:
    throttle = Throttle(clock, keys=3)
    for number in range(100):
        failed(throttle, bytes([number]), free_failures)
    assert len(throttle._records) == 3
    throttle.check(bytes([0]))
    with pytest.raises(TooMany):
        throttle.check(bytes([99]))
