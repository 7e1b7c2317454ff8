"""The times of collection hold together, whatever the lease is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.errors import SettingInvalid
from treescale.lease_times import (
    KEPT_SECONDS_MAX,
    LEASE_SECONDS_MAX,
    UNSAFE_SECONDS_MIN,
    LeaseTimes,
    parse_lease,
    parse_seconds,
    stored,
)

LEASES = st.floats(UNSAFE_SECONDS_MIN, LEASE_SECONDS_MAX)


@given(LEASES)
def test_the_bounds_of_the_proof_hold_for_every_lease(lease: float) -> None:
    times = LeaseTimes(lease)
    assert times.lease >= times.renew_age + times.record_within + times.slack - 1e-6
    assert times.slack > 0
    assert times.record_within > 4 * times.checkpoint
    assert times.checkpoint > times.checkpoint_again
    assert times.quiet > times.record_within
    assert times.slack > times.clock_step
    assert times.link >= 2 * times.link_min
    assert times.link_min >= times.session_idle


HOUR, DAY = 3600.0, 86_400.0


@each_row("lease", [1.0, 5.0, 60.0, *(n * HOUR for n in (1, 2, 12, 24, 25, 48, 168, 720, 2160))])
def test_no_time_is_longer_than_that_of_a_day(lease: float) -> None:
    """However long copies are kept: 30 days are the longest lease that can be set."""
    times, day = LeaseTimes(lease), LeaseTimes()
    derived = [name for name, kind in vars(LeaseTimes).items() if isinstance(kind, property)]
    assert len(derived) == 13
    for name in derived:
        assert getattr(times, name) > 0, name
        if name != "slack":  # which is what is left of the lease
            assert getattr(times, name) <= getattr(day, name), name
    bounds = (times.checkpoint_again, times.checkpoint, times.record_within, times.quiet)
    assert list(bounds) == sorted(bounds)
    assert times.lease > times.renew_age + times.record_within
    assert times.clock_step < times.record_within < times.link_min <= times.link / 2
    if lease >= DAY:
        assert (times.record_within, times.checkpoint) == (2 * HOUR, 900)


def test_the_default_is_a_day_and_what_follows_from_it() -> None:
    times, hour = parse_lease(None), 3600
    assert (times.lease, times.renew_age, times.record_within) == (24 * hour, 6 * hour, 2 * hour)
    assert (times.checkpoint, times.checkpoint_again) == (900, 60)
    assert (times.quiet, times.slack, times.clock_step) == (3 * hour, 16 * hour, 60)
    assert (times.trash, times.look_every) == (24 * hour, hour)
    assert (times.link, times.link_min, times.session_idle) == (48 * hour, 24 * hour, 24 * hour)


@each_row(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), ("2w", 1209600), ("0d", 0)],
)
def test_a_time_has_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@each_row("text", ["", "24", "h", "-1h", "1.5h", "1y", "24 hours", "12345678901s"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(SettingInvalid, match="is not a time"):
        parse_seconds(text)


def test_a_time_ends_at_a_date() -> None:
    with pytest.raises(SettingInvalid, match="a hundred years"):
        parse_seconds("5300w")


@each_row("text", ["59m", "0h", "31d", "60s"])
def test_a_lease_is_an_hour_at_least(text: str) -> None:
    with pytest.raises(SettingInvalid, match="1h to 30d"):
        parse_lease(text)


def test_less_only_where_nothing_is_worth_keeping() -> None:
    assert parse_lease("60s", unsafe=True).record_within == 5
    with pytest.raises(SettingInvalid):
        parse_lease("0s", unsafe=True)


def test_uploads_are_idle_when_the_operator_says_but_not_in_a_test() -> None:
    assert LeaseTimes().idle(900.0) == 900
    assert LeaseTimes().idle(7 * 86_400.0) == 7 * 86_400
    assert LeaseTimes(5.0).idle(86_400.0) == 5
    assert LeaseTimes(600.0).idle(60.0) == 60


@given(st.integers(0, int(KEPT_SECONDS_MAX)))
def test_what_is_stored_is_read_again(seconds: int) -> None:
    assert parse_seconds(stored(seconds)) == seconds
