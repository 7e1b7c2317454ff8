"""The end of a process, within a bounded time: also when a disk hangs, or the database on it.

A thread that waits for such a disk cannot be ended, and Python would wait for those of its own
executors. So whoever ends has so many seconds, and then the process ends as it is. Nothing is lost
by that: what was acknowledged is durable, and what was not is as after a power cut.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from treescale.clock import SystemClock
from treescale.log import close_log, get_logger

_CLOCK: Final = SystemClock()


def leave(let_go: Callable[[], None] = lambda: None, status: int = 0) -> None:
    """End this process now, whatever its threads wait for."""
    with suppress(OSError):
        let_go()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def end_within(
    seconds: float, let_go: Callable[[], None] = lambda: None, status: int = 0
) -> threading.Timer:
    """Have this process end after so long, if it has not by then; `let_go` is called before."""
    patience = threading.Timer(seconds, leave, [let_go, status])
    patience.daemon = True
    try:
        patience.start()
    except RuntimeError:  # no more threads can be had: the kernel ends it, with a signal
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    return patience


@contextmanager
def ending(seconds: float) -> Iterator[None]:
    """Do within what is left to do; a process that is still at it after so long ends then."""
    patience = end_within(seconds)
    try:
        yield
    finally:
        patience.cancel()
        signal.setitimer(signal.ITIMER_REAL, 0)


def apart(work: Callable[[], None], seconds: float) -> bool:
    """Do something in a process of its own; say whether it was done within so long.

    For one that has no threads: where a thread waits for a disk that hangs, nobody sees the end of
    its process. SIGCHLD is blocked. When no process can be made it is done here, and what takes
    longer ends this one.
    """
    try:
        child = os.fork()
    except OSError:
        with ending(seconds):
            return _done(work)
    if child == 0:
        status = 1
        try:
            status = 0 if _done(work) else 1
        finally:
            close_log()
            os._exit(status)
    deadline = _CLOCK.monotonic() + seconds
    while (left := deadline - _CLOCK.monotonic()) > 0:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        signal.sigtimedwait({signal.SIGCHLD}, left)
    os.kill(child, signal.SIGKILL)
    return False


def _done(work: Callable[[], None]) -> bool:
    try:
        work()
    except Exception as error:  # noqa: BLE001  it is told here, and ends nobody
        get_logger().warning("process.failed", error=str(error))
        return False
    return True
