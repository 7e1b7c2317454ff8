"""Keeping worker processes alive: start them, restart the ones that die, end them all together.

A worker is a fork of the supervisor, which has imported everything and has neither threads nor an
event loop: it starts at once, and shares the memory of what is the same in all. It says when it
serves. It asks the kernel to be killed when its supervisor goes (PR_SET_PDEATHSIG), so no worker
outlives it and holds the port.
"""

import ctypes
import gc
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Final

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.log import get_logger

Work = Callable[[Callable[[], None]], None]
"""What a worker does until a signal ends it; it is given what to call once it serves."""

drain_seconds: Final = 60.0
"""How long requests in flight may take after SIGTERM."""
end_seconds: Final = 5.0
"""How long a worker may take to end once nothing is in flight any more."""
respawn_seconds: Final = 1.0
"""A worker that lived shorter than this is restarted only after this long."""
_PR_SET_PDEATHSIG: Final = 1
_FORK: Final = multiprocessing.get_context("fork")
_WATCHED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


class WorkerFailed(Failed):
    """A worker ended before it served."""


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` goes; and unblock what it had blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


class Supervisor:
    """A number of equal workers on one listening socket."""

    def __init__(self, work: Work, listener: socket.socket, *, workers: int, clock: Clock) -> None:
        self._work = work
        self._listener = listener
        self._wanted = workers
        self._clock = clock
        self._workers: dict[int, tuple[ForkProcess, float]] = {}
        self._log = get_logger()

    def start(self) -> None:
        """Start all workers and return when every one serves; raises WorkerFailed."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        # What exists now is never collected: looking at it would only unshare its memory.
        gc.collect()
        gc.freeze()
        for said in [self._spawn() for _ in range(self._wanted)]:
            if not _says_ready(said):
                self._end(signal.SIGKILL, 0)
                raise WorkerFailed("a worker ended before it served; its error is above")

    def run(self) -> None:
        """Restart workers that die until a signal says stop; return when all have ended."""
        while True:
            received = signal.sigwait(_WATCHED)
            if received is not signal.SIGCHLD:
                self._log.info("server.stopping", signal=signal.Signals(received).name)
                # The last one to hold it: a new connection is refused then, not left waiting.
                self._listener.close()
                self._end(signal.SIGTERM, drain_seconds + end_seconds)
                return
            self._replace_dead()

    def _spawn(self) -> Connection:
        """Start a worker; return where it says that it serves, or hangs up."""
        said, say = _FORK.Pipe(duplex=False)
        worker = _FORK.Process(target=_be_worker, args=(self._work, say, os.getpid()))
        worker.start()
        say.close()
        assert worker.pid is not None, "it was started"
        self._workers[worker.pid] = (worker, self._clock.monotonic())
        return said

    def _replace_dead(self) -> None:
        for pid, (worker, began) in list(self._workers.items()):
            if worker.is_alive():
                continue
            del self._workers[pid]
            self._log.error("worker.died", pid=pid, status=worker.exitcode)
            worker.close()
            if self._clock.monotonic() - began < respawn_seconds:
                stop = frozenset({signal.SIGTERM, signal.SIGINT})
                received = signal.sigtimedwait(stop, respawn_seconds)
                if received is not None:
                    os.kill(os.getpid(), received.si_signo)
                    return
            self._spawn().close()

    def _end(self, how: signal.Signals, grace_seconds: float) -> None:
        for pid, (worker, _) in self._workers.items():
            if worker.is_alive():
                os.kill(pid, how)
        deadline = self._clock.monotonic() + grace_seconds
        for worker, _ in self._workers.values():
            worker.join(max(0.0, deadline - self._clock.monotonic()))
            if worker.is_alive():
                worker.kill()
                worker.join()


def _be_worker(work: Work, say: Connection, parent: int) -> None:
    _die_with_parent(parent)
    with say:
        work(lambda: say.send_bytes(b"ready"))


def _says_ready(said: Connection) -> bool:
    with said:
        try:
            return bool(said.recv_bytes())
        except EOFError:
            return False
