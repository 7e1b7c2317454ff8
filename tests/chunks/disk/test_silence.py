"""When a disk counts as silent, and when it is asked again."""

import pytest

from treescale.chunks.disk.silence import (
    CALL_SECONDS_MAX,
    IDLE_SECONDS_MAX,
    PROBE_PAUSE_SECONDS_MAX,
    PROBE_PAUSE_SECONDS_MIN,
    SILENT_SECONDS,
    Kind,
    is_over,
    is_probe_due,
    is_silent,
    next_pause,
)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_disk_is_silent_once_a_call_has_waited_and_no_other_was_answered(kind: Kind) -> None:
    limit = SILENT_SECONDS[kind]
    assert not is_silent(kind, 100.0, 0.0, 100.0 + limit - 0.01)
    assert is_silent(kind, 100.0, 0.0, 100.0 + limit)
    slow_not_silent = 100.0 + limit
    assert not is_silent(kind, 100.0, slow_not_silent, slow_not_silent + limit - 0.01)
    assert is_silent(kind, 100.0, slow_not_silent, slow_not_silent + limit)


def test_one_call_is_given_up_whatever_the_others_do() -> None:
    assert not is_over(10.0, 10.0 + CALL_SECONDS_MAX - 0.01)
    assert is_over(10.0, 10.0 + CALL_SECONDS_MAX)


def test_a_silent_disk_is_probed_after_its_pause_and_one_nobody_writes_to_after_a_while() -> None:
    assert not is_probe_due(9.9, silent=True, probe_at=10.0, written=9.0)
    assert is_probe_due(10.0, silent=True, probe_at=10.0, written=9.0)
    busy = 10.0 + IDLE_SECONDS_MAX
    assert not is_probe_due(busy - 0.01, silent=False, probe_at=0.0, written=10.0)
    assert is_probe_due(busy, silent=False, probe_at=0.0, written=10.0)
    assert not is_probe_due(busy, silent=False, probe_at=busy + 1, written=10.0)


def test_the_pause_grows_up_to_a_limit() -> None:
    pauses = [0.0]
    while pauses[-1] < PROBE_PAUSE_SECONDS_MAX:
        pauses.append(next_pause(pauses[-1]))
    assert pauses[1] == PROBE_PAUSE_SECONDS_MIN
    assert pauses[1:] == sorted(set(pauses[1:]))
    assert next_pause(PROBE_PAUSE_SECONDS_MAX) == PROBE_PAUSE_SECONDS_MAX
