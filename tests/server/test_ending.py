"""A process ends in time, whatever its threads wait for."""

import subprocess
import sys

import pytest

HANGS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from treescale.server.processes.ending import end_within
begun = Event()
ThreadPoolExecutor(1).submit(lambda: (begun.set(), Event().wait()))
begun.wait()
if sys.argv[1] == "limited":
    end_within(0.1, lambda: print("let go"))
"""
IN_TIME = """
from treescale.server.processes.ending import ending
with ending(0.05):
    pass
input()
print("lives")
"""
APART = """
import os, signal, sys
from treescale.server.processes.ending import apart
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
def fail():
    raise ValueError
def none(): raise OSError(11, "no process")
said = [apart(lambda: None, 20), apart(fail, 20), apart(signal.pause, 0.2)]
os.fork = none
print(*said, apart(lambda: None, 20), apart(fail, 20))
"""


def test_one_that_waits_for_ever_ends_and_lets_go_first() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, "limited"], capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"let go\n")


def test_what_ends_in_time_is_left_alone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IN_TIME], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(0.3)
        said, _ = running.communicate(b"\n", timeout=30)
    assert said == b"lives\n"


def test_what_is_done_apart_is_not_waited_for_longer_than_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", APART], capture_output=True, timeout=60, check=True, text=True
    )
    assert done.stdout.endswith("True False False True False\n")
