"""Doubt: a store that hangs is passed over, probed, and believed again."""

from treescale.chunks.doubt import Doubt, doubt_seconds_max, late_max


def hung(times: int = late_max, at: float = 100.0) -> Doubt:
    doubt = Doubt()
    for _ in range(times):
        doubt.begin(at)
        doubt.late(at)
    return doubt


def test_a_few_in_a_row_raise_it() -> None:
    assert not hung(late_max - 1).holds(100)
    assert hung().holds(100)
    assert hung(50).holds(100.9)
    assert not hung(50).holds(101.1)  # many at once are one event


def test_an_answer_ends_it() -> None:
    doubt = hung()
    doubt.answer()
    assert not doubt.holds(100)
    doubt.late(100)
    assert not doubt.holds(100)


def test_one_request_probes_while_the_others_pass_over() -> None:
    doubt = hung()
    assert not doubt.holds(101.5)
    doubt.begin(101.5)
    assert doubt.holds(101.6)


def test_each_probe_that_hangs_doubles_the_time_up_to_a_bound() -> None:
    doubt, now, waits = hung(), 100.0, []
    for _ in range(8):
        begun = now
        while doubt.holds(now):
            now += 0.25
        waits.append(now - begun)
        doubt.begin(now)
        doubt.late(now)
    assert waits == [1, 2, 4, 8, 16, doubt_seconds_max, doubt_seconds_max, doubt_seconds_max]


def test_a_probe_that_is_answered_begins_anew() -> None:
    doubt = hung()
    doubt.begin(102)
    doubt.late(102)
    doubt.begin(110)
    doubt.answer()
    for _ in range(late_max):
        doubt.late(120)
    assert doubt.holds(120.9)
    assert not doubt.holds(121.1)
