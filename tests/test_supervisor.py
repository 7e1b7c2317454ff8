"""The supervisor with workers that do not work; the working ones are in tests/functional."""

import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from treescale.clock import SystemClock
from treescale.supervisor import Supervisor, WorkerFailed


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen, and give back the signals that a supervisor blocks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(
    "script",
    ["raise SystemExit(3)", "import os; os.close(0); raise SystemExit(3)", "print('not yet')"],
    ids=["ends", "reads nothing", "says something else"],
)
def test_a_worker_that_does_not_get_ready_ends_the_start(
    listener: socket.socket, script: str
) -> None:
    settings = b"x" * 1_000_000  # more than a pipe holds: writing it to a dead worker fails
    if script.startswith("print"):
        script = f"import sys; sys.stdin.read(); {script}"
    supervisor = Supervisor(
        [sys.executable, "-c", script], listener, settings, workers=2, clock=SystemClock()
    )
    with pytest.raises(WorkerFailed):
        supervisor.start()
