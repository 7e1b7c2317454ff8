"""Keeping worker processes alive: start them, restart the ones that die, end them all together.

A worker gets its settings on standard input, the listening socket as an inherited descriptor, and
says `ready` on standard output once it serves. It asks the kernel to be killed when its supervisor
goes (PR_SET_PDEATHSIG), so no worker outlives it and holds the port.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import IO, Final

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.log import get_logger

drain_seconds: Final = 60.0
"""How long requests in flight may take after SIGTERM."""
end_seconds: Final = 5.0
"""How long a worker may take to end once nothing is in flight any more."""
respawn_seconds: Final = 1.0
"""A worker that lived shorter than this is restarted only after this long."""
_PR_SET_PDEATHSIG: Final = 1
_WATCHED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


class WorkerFailed(Failed):
    """A worker ended before it served."""


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` goes; and unblock what it had blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")


class Supervisor:
    """A number of equal workers on one listening socket."""

    def __init__(
        self,
        command: list[str],
        listener: socket.socket,
        settings: bytes,
        *,
        workers: int,
        clock: Clock,
    ) -> None:
        self._command = command
        self._listener = listener
        self._settings = settings
        self._wanted = workers
        self._clock = clock
        self._workers: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
        self._log = get_logger()

    def start(self) -> None:
        """Start all workers and return when every one serves; raises WorkerFailed."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        started = [self._spawn() for _ in range(self._wanted)]
        for worker in started:
            assert worker.stdout is not None, "asked for below"
            if not _says_ready(worker.stdout):
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

    def _spawn(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        worker = subprocess.Popen(  # noqa: S603  our own interpreter, our own module
            [*self._command, str(descriptor), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[descriptor],
        )
        assert worker.stdin is not None, "asked for above"
        # One that died before it read this is found dead like any other.
        with suppress(BrokenPipeError), worker.stdin:
            worker.stdin.write(self._settings)
        self._workers[worker.pid] = (worker, self._clock.monotonic())
        return worker

    def _replace_dead(self) -> None:
        for pid, (worker, began) in list(self._workers.items()):
            if worker.poll() is None:
                continue
            del self._workers[pid]
            _forget(worker)
            self._log.error("worker.died", pid=pid, status=worker.returncode)
            if self._clock.monotonic() - began < respawn_seconds:
                stop = frozenset({signal.SIGTERM, signal.SIGINT})
                received = signal.sigtimedwait(stop, respawn_seconds)
                if received is not None:
                    os.kill(os.getpid(), received.si_signo)
                    return
            self._spawn()

    def _end(self, how: signal.Signals, grace_seconds: float) -> None:
        for worker, _ in self._workers.values():
            worker.send_signal(how)
        deadline = self._clock.monotonic() + grace_seconds
        for worker, _ in self._workers.values():
            try:
                worker.wait(timeout=max(0.0, deadline - self._clock.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            _forget(worker)


def _forget(worker: subprocess.Popen[bytes]) -> None:
    """Let go of what is left of a worker that ended."""
    assert worker.stdout is not None, "asked for when it was started"
    worker.stdout.close()


def _says_ready(output: IO[bytes]) -> bool:
    return output.readline() == b"ready\n"
