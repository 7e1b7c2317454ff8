"""What a server's processes use, read from /proc, and clients that run as processes of their own.

Clients are forked, so that none waits for another's interpreter lock and none holds more memory
than it needs. All begin at once; the time is from the first one's begin to the last one's end, by
the clock all processes share.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

FORK: Final = multiprocessing.get_context("fork")
_SCHEDULER_CLOCK: Final = 2
"""Of a process, by its id: what clock_getcpuclockid(3) returns. /proc tells of hundredths."""
BEGIN_SECONDS: Final = 60.0


def tree(pid: int) -> list[int]:
    """Return the process and all that descend from it."""
    found, seen = [pid], 0
    while seen < len(found):
        children = Path(f"/proc/{found[seen]}/task/{found[seen]}/children")
        seen += 1
        try:
            found += [int(child) for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of the process and its descendants until now, exactly."""
    return sum(time.clock_gettime(~member << 3 | _SCHEDULER_CLOCK) for member in tree(pid))


def pss_mb(pid: int) -> float:
    """Return megabytes that the process and its descendants hold now: proportional set sizes."""
    kilobytes = 0
    for member in tree(pid):
        try:
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()[1:]
        except (FileNotFoundError, ProcessLookupError):
            continue
        held = dict(line.split(":") for line in lines)
        kilobytes += int(held["Pss"].split()[0])
    return kilobytes * 1024 / 1e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """When a client began and ended, or why it did not."""

    began: float = 0.0
    ended: float = 0.0
    problem: str = ""


@dataclass(slots=True)
class Clients:
    """Client processes under way."""

    pipes: list[Pipe]

    def running(self, wait_seconds: float) -> bool:
        """Wait so long, or until all have ended; say whether one still runs."""
        left = [pipe for pipe in self.pipes if not pipe.poll()]
        if left:
            wait(left, wait_seconds)
        return any(not pipe.poll() for pipe in self.pipes)

    def ended(self) -> float:
        """Wait for all; return the seconds from first to last, or raise what a client raised."""
        outcomes: list[Outcome] = [pipe.recv() for pipe in self.pipes]
        for outcome in outcomes:
            if outcome.problem:
                raise RuntimeError(f"a client failed: {outcome.problem}")
        return max(one.ended for one in outcomes) - min(one.began for one in outcomes)


def start(work: Sequence[Callable[[], object]]) -> Clients:
    """Start one client process for each piece of work, all released together."""
    barrier = FORK.Barrier(len(work))
    pipes = []
    for one in work:
        ours, theirs = FORK.Pipe()
        FORK.Process(target=_client, args=(one, barrier, theirs), daemon=True).start()
        theirs.close()
        pipes.append(ours)
    return Clients(pipes)


def at_once(work: Sequence[Callable[[], object]]) -> float:
    """Run each piece of work in a client process; return the seconds all took."""
    return start(work).ended()


def _client(work: Callable[[], object], barrier: Barrier, pipe: Pipe) -> None:
    try:
        barrier.wait(BEGIN_SECONDS)
        began = time.perf_counter()
        work()
        pipe.send(Outcome(began, time.perf_counter()))
    except Exception as problem:  # noqa: BLE001  whatever it is, the parent raises it
        pipe.send(Outcome(problem=repr(problem)))
