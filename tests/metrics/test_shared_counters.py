"""Numbers counted by several processes: added up, kept, and what is now ended with its process."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from treescale.metrics.shared_counters import HUNG_WORKERS_MAX, SharedCounters

Child = Callable[[SharedCounters, int], int]


def begun(counters: SharedCounters, size: int) -> int:
    """Count in another process; return its id, when it has counted and still runs."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        row = counters.row
        for index in range(len(row)):
            row[index] += size
        os.write(tell, b"1")
        signal.pause()
    os.read(told, 1)
    os.close(told)
    os.close(tell)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.fixture
def child() -> Iterator[Child]:
    pids: list[int] = []

    def begin(counters: SharedCounters, size: int) -> int:
        pids.append(begun(counters, size))
        return pids[-1]

    yield begin
    for pid in pids:
        try:
            end(pid)
        except (ProcessLookupError, ChildProcessError):
            continue


def test_whoever_asks_gets_the_sums_of_all(child: Child) -> None:
    counters = SharedCounters(3, 3, present=1)
    for size in (1, 20):
        child(counters, size)
    assert counters.totals() == [21, 21, 21], "of one that counts nothing itself"
    counters.row[0] += 300
    counters.row[2] += 1
    assert counters.totals() == [321, 21, 22]
    assert counters.total(0) == 321
    assert counters.living == 3


def test_what_one_that_was_killed_has_counted_stays_and_what_it_had_under_way_ends(
    child: Child,
) -> None:
    counters = SharedCounters(2, 2, present=1)
    lives = child(counters, 1)
    dies = child(counters, 20)
    assert counters.totals() == [21, 21]
    end(dies)
    assert counters.totals() == [21, 1]
    assert counters.living == 1
    child(counters, 300)  # it takes the place
    assert counters.totals() == [321, 301]
    end(lives)
    assert counters.totals() == [321, 300]


def test_nothing_is_counted_before_anybody_has_counted() -> None:
    counters = SharedCounters(2, present=1)
    assert counters.totals() == [0, 0]
    assert counters.living == 0


def test_there_is_room_for_those_that_hang_and_no_more(child: Child) -> None:
    counters = SharedCounters(1, 1)
    for _ in range(1 + HUNG_WORKERS_MAX):
        child(counters, 1)
    with pytest.raises(AssertionError, match="more processes"):
        _ = counters.row
