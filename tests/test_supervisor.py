"""The supervisor with workers that do not work; the working ones are in tests/functional."""

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from treescale.clock import SystemClock
from treescale.supervisor import Supervisor, Work, WorkerFailed


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Listen, and give back the signals that a supervisor blocks."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(_ready: Callable[[], None]) -> None:
    """Return without a word."""


def fail(_ready: Callable[[], None]) -> None:
    """Raise what nobody expected."""
    raise RuntimeError("a worker of a test")


def crash(_ready: Callable[[], None]) -> None:
    """Be gone."""
    os._exit(3)


@pytest.mark.parametrize("work", [end, fail, crash])
def test_a_worker_that_does_not_get_ready_ends_the_start(
    listener: socket.socket, work: Work
) -> None:
    supervisor = Supervisor(work, listener, workers=2, clock=SystemClock())
    with pytest.raises(WorkerFailed):
        supervisor.start()
