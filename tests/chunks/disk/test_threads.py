"""The threads of a disk: as many as are needed, in order, and nobody waits for one that hangs."""

import subprocess
import sys
from concurrent.futures import wait
from threading import Barrier, Event, current_thread

import pytest

from treescale.chunks.disk.threads import THREADS_MAX, DiskThreads, threads_for

HANGS = """
from threading import Event
from treescale.chunks.disk.threads import DiskThreads
begun = Event()
threads = DiskThreads()
threads.submit(lambda: (begun.set(), Event().wait()))
begun.wait()
threads.shutdown()
"""


def test_threads_are_begun_on_demand_and_bounded() -> None:
    threads = DiskThreads(3)
    for _ in range(3):
        threads.submit(lambda: None).result()
    one = {threads.submit(lambda: current_thread().name).result() for _ in range(9)}
    assert len(one) == 1, "one at a time needs one"
    meeting = Barrier(3)
    wait([threads.submit(meeting.wait) for _ in range(3)])
    go = Event()
    hung = [threads.submit(go.wait) for _ in range(3)]
    late = threads.submit(lambda: "late")
    assert not late.done()
    go.set()
    assert late.result() == "late"
    wait(hung)
    threads.shutdown()


def test_what_is_raised_is_told_and_a_cancelled_call_is_not_made() -> None:
    threads = DiskThreads(1)
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result()
    go = Event()
    made: list[int] = []
    first = threads.submit(go.wait)
    second = threads.submit(made.append, 1)
    assert second.cancel()
    go.set()
    first.result()
    threads.submit(lambda: None).result()
    assert made == []
    threads.shutdown()


def test_a_process_ends_although_a_call_of_its_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], timeout=30, check=False)
    assert done.returncode == 0


def test_many_disks_have_fewer_threads_each() -> None:
    assert threads_for(1) == threads_for(0) == THREADS_MAX
    assert threads_for(16) == 4
    assert threads_for(1000) == 2
