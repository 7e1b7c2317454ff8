"""The life of a process that has an event loop: from the fork to an end within a bounded time."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Final

import uvloop

from treescale.log import log_in_background, tell_of_loop
from treescale.server.processes.ending import end_within
from treescale.server.processes.process import have_threads

SWITCH_SECONDS: Final = 0.001
"""A thread that has its answer waits so long, at most, for the event loop to let it run. Python's
own 5 ms are a multiple of what a small write takes."""
PARTS_END_SECONDS: Final = 3.0
"""For what is left when nothing is in flight any more: before the supervisor kills."""


def run_loop(main: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run `main` in an event loop, in a process that has just been forked."""
    log_in_background()
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(main))


async def _run(main: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.get_running_loop().set_exception_handler(tell_of_loop)
    await have_threads()
    await main()


def stop_signals() -> asyncio.Event:
    """Return what is set by SIGTERM or SIGINT. Until now they ended this process, as they end any.

    To be called when there is something in flight that must be finished.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for received in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(received, stop.set)
    return stop


@contextmanager
def parts_end_within(let_go: Callable[[], None]) -> Iterator[None]:
    """After the block, the end of the parts around it has `PARTS_END_SECONDS`; then it is over.

    Also after a broken invariant: what hangs is not waited for. `let_go` is as in `ending`.
    """
    try:
        yield
    except BaseException:
        end_within(PARTS_END_SECONDS, let_go, status=1)
        raise
    end_within(PARTS_END_SECONDS, let_go)
