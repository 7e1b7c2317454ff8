"""Limits of requests: as many as are allowed in a minute, of an account or an address."""

import pytest

from tests.fakes_disk import JumpingClock
from treescale.auth.counts import Counts
from treescale.errors import TooMany
from treescale.registry.counted.rates import Rates

HERE = "192.0.2.1"


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


def passed(rates: Rates, user: str = "alice", address: str = HERE, *, is_pull: bool = False) -> int:
    """Return how many pass now, of a thousand at once."""
    for number in range(1000):
        try:
            rates.check(user, address, is_pull=is_pull)
        except TooMany:
            return number
    return 1000


def test_a_minutes_worth_passes_at_once_and_then_as_many_as_a_minute_has(
    clock: JumpingClock,
) -> None:
    rates = Rates(Counts(64), clock)
    assert not rates.are_limited
    rates.limit(60, None)
    assert rates.are_limited
    assert passed(rates) == 60
    with pytest.raises(
        TooMany, match="more than 60 requests in a minute: try again in 1 s"
    ) as told:
        rates.check("alice", HERE, is_pull=False)
    assert told.value.retry_seconds == 1
    clock.seconds += 10
    assert passed(rates) == 10
    clock.seconds += 3600
    assert passed(rates) == 60


def test_accounts_and_addresses_count_apart(clock: JumpingClock) -> None:
    """Whoever logs in counts wherever she is; the anonymous by their address, of IPv6 its /64."""
    rates = Rates(Counts(64), clock)
    rates.limit(5, None)
    assert passed(rates, "alice") == 5
    assert passed(rates, "alice", "192.0.2.2") == 0
    assert passed(rates, "bob") == 5
    assert passed(rates, "") == 5
    assert passed(rates, "", "192.0.2.2") == 5
    assert passed(rates, "", "2001:db8::1") == 5
    assert passed(rates, "", "2001:db8::2") == 0
    assert passed(rates, "", "2001:db8:1::2") == 5


def test_pulls_are_counted_beside_requests(clock: JumpingClock) -> None:
    rates = Rates(Counts(64), clock)
    rates.limit(None, 3)
    assert passed(rates, is_pull=True) == 3
    assert passed(rates) == 1000
    with pytest.raises(TooMany, match="more than 3 pulls in a minute: try again in 20 s"):
        rates.check("alice", HERE, is_pull=True)


def test_workers_of_a_server_count_together(clock: JumpingClock) -> None:
    """The control: those of another server count by themselves."""
    counts = Counts(64)
    one, two, other = Rates(counts, clock), Rates(counts, clock), Rates(Counts(64), clock)
    for each in (one, two, other):
        each.limit(4, None)
    assert passed(one) == 4
    assert passed(two) == 0
    assert passed(other) == 4
