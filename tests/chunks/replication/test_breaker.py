"""The circuit breaker: a store that hangs is passed over, probed, and believed again."""

from treescale.chunks.replication.breaker import LATE_MAX, OPEN_SECONDS_MAX, CircuitBreaker


def hung(times: int = LATE_MAX, at: float = 100.0) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(times):
        breaker.begin(at)
        breaker.on_timeout(at)
    return breaker


def test_a_few_in_a_row_raise_it() -> None:
    assert not hung(LATE_MAX - 1).is_open(100)
    assert hung().is_open(100)
    assert hung(50).is_open(100.9)
    assert not hung(50).is_open(101.1)  # many at once are one event


def test_an_answer_ends_it() -> None:
    breaker = hung()
    breaker.on_answer()
    assert not breaker.is_open(100)
    breaker.on_timeout(100)
    assert not breaker.is_open(100)


def test_one_request_probes_while_the_others_pass_over() -> None:
    breaker = hung()
    assert not breaker.is_open(101.5)
    breaker.begin(101.5)
    assert breaker.is_open(101.6)


def test_each_probe_that_hangs_doubles_the_time_up_to_a_bound() -> None:
    breaker, now, waits = hung(), 100.0, []
    for _ in range(8):
        begun = now
        while breaker.is_open(now):
            now += 0.25
        waits.append(now - begun)
        breaker.begin(now)
        breaker.on_timeout(now)
    assert waits == [1, 2, 4, 8, 16, OPEN_SECONDS_MAX, OPEN_SECONDS_MAX, OPEN_SECONDS_MAX]


def test_a_probe_that_is_answered_begins_anew() -> None:
    breaker = hung()
    breaker.begin(102)
    breaker.on_timeout(102)
    breaker.begin(110)
    breaker.on_answer()
    for _ in range(LATE_MAX):
        breaker.on_timeout(120)
    assert breaker.is_open(120.9)
    assert not breaker.is_open(121.1)
