"""When dead processes are started again."""

from treescale.server.processes.backoff import RESPAWN_SECONDS_MAX, RESPAWN_SECONDS_MIN, Backoff


def test_few_deaths_cost_no_time() -> None:
    backoff = Backoff(2)
    assert [backoff.died(now) for now in (0.0, 1.0, 2.0)] == [0.0, 0.0, 0.0]


def test_many_cost_more_and_more_up_to_a_limit() -> None:
    backoff = Backoff(2)
    pauses = [backoff.died(float(now)) for now in range(12)]
    assert pauses[3:6] == [
        RESPAWN_SECONDS_MIN,
        2 * RESPAWN_SECONDS_MIN,
        4 * RESPAWN_SECONDS_MIN,
    ]
    assert pauses[-1] == RESPAWN_SECONDS_MAX


def test_those_of_a_minute_ago_are_forgotten() -> None:
    backoff = Backoff(1)
    for now in range(20):
        backoff.died(float(now))
    assert backoff.died(100.0) == 0.0


def test_failures_to_start_are_counted_until_one_succeeds() -> None:
    backoff = Backoff(1)
    assert [backoff.unstarted() for _ in range(3)] == [(1, 0.5), (2, 1.0), (3, 2.0)]
    assert [backoff.started(), backoff.started()] == [3, 0]
    assert backoff.unstarted() == (1, 0.5)
