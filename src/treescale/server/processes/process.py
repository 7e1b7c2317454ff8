"""What each process of a server sets up for itself, before anything else.

Its standard streams are there, whatever it was started with; it may open as many files as it is
allowed to; and nobody's hanging up ends it.
"""

import asyncio
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from treescale.server.processes.ending import end_within
from treescale.threads import Threads

HELPERS_MAX: Final = 8
"""Threads of the event loop's own executor."""
FILES_WANTED: Final = 4096
"""With fewer, a server under load refuses connections."""
STOP_SECONDS_MAX: Final = 1.5
"""For what is to be undone when the start is stopped: whatever it waits for, it then ends."""
_STANDARD: Final = ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY))
_PR_SET_PDEATHSIG: Final = 1


def ready_process() -> None:
    """Have standard streams, ignore SIGHUP and SIGPIPE, and not SIGCHLD; forks inherit all of it.

    A standard descriptor that was closed is opened on nothing: the next file opened would get its
    number, and what is meant for standard error would be written into it.
    """
    for number, how in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, how)  # gets the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  until the end
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  likewise
    # Settings are read at the start, logs go to standard error. What is looked at anew when it
    # comes, certificates, the supervisor has looked at.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # Where whoever starts us ignores it, we do, and nobody could wait for the end of a process.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def be_called(kind: str) -> None:
    """Have `ps` and `top` show this process as `ts-KIND`."""
    with suppress(OSError):  # without /proc it stays as it is
        Path("/proc/self/comm").write_text(f"ts-{kind}", encoding="ascii")


class Stopped(SystemExit):
    """SIGTERM or SIGINT came before the server served. The end is as after it: status 0."""


def stop_at_once() -> None:
    """Have SIGTERM and SIGINT end the start, wherever it is, within `STOP_SECONDS_MAX`."""

    def stop(_number: int, _frame: object) -> None:
        end_within(STOP_SECONDS_MAX)
        raise Stopped(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for the background
            signal.signal(number, stop)


def raise_file_limit() -> int:
    """Raise the limit on open files as far as it may be; return what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # more than the kernel gives: it stays as it is
            return soft
    return hard


async def have_threads() -> None:
    """Have the threads of this event loop now: later, perhaps, none can be had.

    libuv begins its own with the first name that is looked up, and aborts the process when it
    cannot. Who has some goes on with them.
    """
    loop = asyncio.get_running_loop()
    executor = Threads(HELPERS_MAX, thread_name_prefix="helper")
    executor.begin()
    loop.set_default_executor(executor)
    with suppress(OSError):
        await loop.getaddrinfo("localhost", 0)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` goes."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it is gone already


def teller(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says something to people, and goes on when nobody can be told.

    Standard output is then on nothing: what is buffered must not fail at the end once more.
    """

    def tell(text: str) -> None:
        try:
            say(text)
            sys.stdout.flush()
        except (OSError, ValueError):  # no reader, no room, closed
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.close(nothing)

    return tell
