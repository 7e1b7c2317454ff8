"""Bytes counted by several processes of a server, and added up by any."""

import os
import signal

import pytest

from treescale.metrics.shared_counters import HUNG_WORKERS_MAX
from treescale.metrics.traffic import Flow, TrafficCounters


def child(traffic: TrafficCounters, size: int, *, dies: bool = False) -> int:
    """Count in another process; return its id, when it has counted and still runs."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        traffic.count(Flow.TO_CLIENTS, size)
        os.write(tell, b"1")
        signal.pause()
    os.read(told, 1)
    os.close(told)
    os.close(tell)
    if dies:
        end(pid)
    return pid


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_all_processes_count_into_one_total() -> None:
    traffic = TrafficCounters(3)
    pids = [child(traffic, size) for size in (1, 20)]
    traffic.count(Flow.TO_CLIENTS, 300)
    traffic.count(Flow.FROM_SERVERS, 7)
    assert traffic.totals() == (321, 0, 0, 7)
    for pid in pids:
        end(pid)


def test_the_place_of_one_that_died_is_another_s_and_what_it_counted_stays() -> None:
    traffic = TrafficCounters(1)
    for size in (1, 20, 300):
        child(traffic, size, dies=True)
    assert traffic.total(Flow.TO_CLIENTS) == 321


def test_two_never_share_a_place() -> None:
    """Else what one adds the other overwrites."""
    traffic = TrafficCounters(1)
    pids = [child(traffic, 1) for _ in range(1 + HUNG_WORKERS_MAX)]
    with pytest.raises(AssertionError, match="more processes"):
        traffic.count(Flow.TO_CLIENTS, 1)
    end(pids.pop())
    traffic.count(Flow.TO_CLIENTS, 1)
    assert traffic.total(Flow.TO_CLIENTS) == 2 + HUNG_WORKERS_MAX
    for pid in pids:
        end(pid)
