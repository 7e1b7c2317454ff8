"""Who waits, who is refused and who goes first: for any counts, and in the cases people meet."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.auth.guessing import (
    ACCOUNT,
    ACCOUNT_FREE,
    ADDRESS,
    ADDRESS_AT_ONCE,
    ADDRESS_FREE,
    FORGOTTEN_SECONDS,
    HOLD_SECONDS_MAX,
    NETWORK_FREE,
    NOTHING,
    PAIR,
    PAIR_DELAY_SECONDS_MAX,
    PAIR_FREE,
    Count,
    Limit,
    Seen,
    Urgency,
    Verdict,
    account_delay_seconds,
    address_key,
    judge,
    network_key,
    pair_delay_seconds,
)

NOW = 10_000.0
TIMES = st.floats(0, NOW)
LEVELS = st.floats(0, 200)
COUNTS = st.one_of(
    st.just(NOTHING),
    st.builds(Count, LEVELS, TIMES, TIMES | st.just(-math.inf), TIMES | st.just(-math.inf)),
)
SEEN = st.builds(Seen, COUNTS, COUNTS, COUNTS, COUNTS)
LIMITS = st.sampled_from([PAIR, ADDRESS, ACCOUNT])


def failed(limit: Limit, times: int, *, at: float = NOW) -> Count:
    count = NOTHING
    for _ in range(times):
        count = limit.failed(limit.begun(count, at), at)
    return count


def test_the_delay_of_a_pair_grows_up_to_a_minute() -> None:
    delays = [pair_delay_seconds(level) for level in range(40)]
    assert delays[:PAIR_FREE] == [0] * PAIR_FREE
    assert delays[PAIR_FREE : PAIR_FREE + 7] == [1, 2, 4, 8, 16, 32, 60]
    assert delays == sorted(delays)
    assert max(delays) == PAIR_DELAY_SECONDS_MAX
    assert pair_delay_seconds(10**9) == PAIR_DELAY_SECONDS_MAX


def test_the_delay_of_an_account_grows_up_to_ten_seconds() -> None:
    delays = [account_delay_seconds(level) for level in range(200)]
    assert delays[: ACCOUNT_FREE + 1] == [0] * (ACCOUNT_FREE + 1)
    assert delays == sorted(delays)
    assert max(delays) == HOLD_SECONDS_MAX == 10


class TestCounts:
    @given(COUNTS, LIMITS, st.floats(0, 2000))
    def test_they_only_go_down_by_themselves(
        self, count: Count, limit: Limit, later: float
    ) -> None:
        assert 0 <= limit.level(count, NOW + later) <= limit.level(count, NOW)

    @given(COUNTS, LIMITS, st.floats(0, 2000))
    def test_an_attempt_taken_back_leaves_no_more_than_before(
        self, count: Count, limit: Limit, later: float
    ) -> None:
        for done in (limit.taken_back, limit.right):
            after = done(limit.begun(count, NOW), NOW + later)
            assert limit.level(after, NOW + later) <= limit.level(count, NOW) + 1e-9
            assert after.failed in (count.failed, -math.inf)

    @given(LIMITS, st.integers(1, 300))
    def test_all_is_forgotten_and_none_goes_without_end(self, limit: Limit, times: int) -> None:
        count = failed(limit, times)
        assert limit.level(count, NOW) == min(times, limit.level_max)
        assert limit.level(count, NOW + FORGOTTEN_SECONDS) == 0

    def test_nothing_is_left_of_an_attempt_that_was_neither(self) -> None:
        assert PAIR.taken_back(PAIR.begun(NOTHING, NOW), NOW + 1) == NOTHING

    def test_a_failure_is_not_forgotten_by_a_right_password_from_there(self) -> None:
        count = ADDRESS.right(ADDRESS.begun(failed(ADDRESS, 1), NOW + 9), NOW + 9)
        assert count.failed == NOW


class TestVerdict:
    @given(SEEN, st.booleans())
    def test_nobody_waits_for_long(self, seen: Seen, known: bool) -> None:  # noqa: FBT001
        verdict = judge(seen, NOW, known=known)
        assert 0 <= verdict.hold_seconds <= HOLD_SECONDS_MAX
        assert 0 <= verdict.refuse_seconds <= PAIR_DELAY_SECONDS_MAX
        assert not (verdict.hold_seconds and verdict.refuse_seconds)

    @given(SEEN)
    def test_a_known_pair_is_never_refused_and_goes_first(self, seen: Seen) -> None:
        verdict = judge(seen, NOW, known=True)
        assert verdict.refuse_seconds == 0
        assert verdict.urgency is Urgency.PROVEN

    @given(COUNTS, COUNTS, COUNTS)
    def test_what_others_did_is_nothing_to_a_known_pair(
        self, address: Count, network: Count, account: Count
    ) -> None:
        seen = Seen(address=address, network=network, account=account)
        assert judge(seen, NOW, known=True) == Verdict(Urgency.PROVEN)

    @given(COUNTS, COUNTS)
    def test_who_is_new_and_clean_is_held_and_not_refused(
        self, network: Count, account: Count
    ) -> None:
        verdict = judge(Seen(network=network, account=account), NOW, known=False)
        assert verdict.refuse_seconds == 0
        assert verdict.urgency <= Urgency.CROWDED

    @given(SEEN)
    def test_the_refused_are_let_in_who_come_when_they_are_told(self, seen: Seen) -> None:
        """Whoever failed very often is told at most ten seconds each time."""
        rounds_max = 100
        told = judge(seen, NOW, known=False).refuse_seconds
        for _ in range(rounds_max):
            later = judge(seen, NOW + told + 1e-6, known=False).refuse_seconds
            if later == 0:
                return
            told += later
        pytest.fail(f"refused again and again: {seen}")

    @given(SEEN)
    def test_a_failure_never_moves_anybody_forward(self, seen: Seen) -> None:
        worse = Seen(*(PAIR.failed(PAIR.begun(one, NOW), NOW) for one in vars_of(seen)))
        before, after = (judge(one, NOW, known=False) for one in (seen, worse))
        assert after.urgency >= before.urgency


def vars_of(seen: Seen) -> tuple[Count, Count, Count, Count]:
    return seen.pair, seen.address, seen.network, seen.account


class TestWhatPeopleMeet:
    def test_a_flood_from_one_address_is_refused_and_goes_last(self) -> None:
        seen = Seen(address=failed(ADDRESS, ADDRESS_FREE + 1))
        verdict = judge(seen, NOW, known=False)
        assert verdict.urgency is Urgency.DOUBTFUL
        assert 0 < verdict.refuse_seconds <= 10

    def test_a_flood_at_one_account_holds_who_is_new_there_alone(self) -> None:
        account = failed(ACCOUNT, 90)
        assert judge(Seen(account=account), NOW, known=False).hold_seconds == HOLD_SECONDS_MAX
        assert judge(Seen(account=account), NOW, known=True).hold_seconds == 0

    def test_who_mistyped_comes_back_after_ten_seconds_at_most(self) -> None:
        seen = Seen(pair=failed(PAIR, 1), address=failed(ADDRESS, 1), account=failed(ACCOUNT, 90))
        verdict = judge(seen, NOW, known=False)
        assert 0 < verdict.refuse_seconds <= HOLD_SECONDS_MAX
        assert judge(seen, NOW + HOLD_SECONDS_MAX, known=False).refuse_seconds == 0

    def test_a_stranger_in_a_bad_network_goes_behind_strangers_elsewhere(self) -> None:
        network = failed(ADDRESS, NETWORK_FREE + 1)
        assert judge(Seen(network=network), NOW, known=False).urgency is Urgency.CROWDED
        assert judge(Seen(), NOW, known=False).urgency is Urgency.CLEAN
        trusted = Seen(address=Count(right=NOW - 60), network=network)
        assert judge(trusted, NOW, known=False).urgency is Urgency.CLEAN

    def test_many_at_once_from_one_address_go_behind(self) -> None:
        count = NOTHING
        for _ in range(ADDRESS_AT_ONCE):
            assert judge(Seen(address=count), NOW, known=False).urgency is Urgency.CLEAN
            count = ADDRESS.begun(count, NOW)
        assert judge(Seen(address=count), NOW, known=False).urgency is Urgency.DOUBTFUL


@each_row(
    ("source", "address", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0/24"),
        ("::ffff:c000:201", "192.0.2.1", "192.0.2.0/24"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("[2001:db8:1:2::9]", "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/64", "fe80::/48"),
        ("", "", ""),
        ("what a proxy said", "what a proxy said", "what a proxy said"),
        ("x" * 500, "x" * 64, "x" * 64),
    ],
)
def test_what_is_one_address_and_one_network(source: str, address: str, network: str) -> None:
    assert address_key(source) == address
    assert network_key(source) == network
