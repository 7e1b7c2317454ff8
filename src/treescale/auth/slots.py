"""How many passwords a server looks at at once, over all its workers, and who is next.

A slot is a lock on one byte of a file in memory that all workers have: the kernel lifts it when its
process ends, so a worker that is killed takes no slot with it. The last slot is for the proven and
the clean alone: they find one free, and a flood never has all processors.

Each worker has a line of its own, for which it looks for free slots every few milliseconds.
"""

import asyncio
import fcntl
import os
from threading import Lock
from typing import Final

from treescale.auth.guessing import Urgency
from treescale.auth.line import Line, LineFull
from treescale.errors import TooMany

SLOTS_MAX: Final = 8
"""Each takes 46 MiB while it is used."""
SLOTS_MIN: Final = 2
WAITING_MAX: Final = 64
"""So many wait in each worker."""
WAIT_SECONDS_MAX: Final = 5.0
LOOK_SECONDS: Final = 0.004
RETRY_SECONDS: Final = 2


def slots_here() -> int:
    """Return how many passwords this machine should look at at once."""
    return min(max(len(os.sched_getaffinity(0)), SLOTS_MIN), SLOTS_MAX)


class Slots:
    """The slots of one server: to be made before its workers are forked."""

    def __init__(self, count: int = SLOTS_MIN) -> None:
        self.count = count
        self._locks = os.memfd_create("treescale-argon2")
        self._mine: set[int] = set()  # a process meets no resistance from its own locks
        self._guard = Lock()

    def __del__(self) -> None:
        """Let go of all slots."""
        os.close(self._locks)

    def take(self, urgency: Urgency) -> int | None:
        """Return a slot that was free and is taken now; None when there is none for this."""
        kept = urgency > Urgency.CLEAN and self.count > 1
        with self._guard:
            for slot in range(self.count - 1 if kept else self.count):
                if slot not in self._mine and self._lock(slot):
                    self._mine.add(slot)
                    return slot
        return None

    def give_back(self, slot: int) -> None:
        """Let others have a slot. From any thread."""
        with self._guard:
            self._mine.remove(slot)
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, slot)

    def _lock(self, slot: int) -> bool:
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        except BlockingIOError:
            return False
        return True


class SlotLine:
    """Those of one worker who wait for a slot."""

    def __init__(self, slots: Slots, waiting: int = WAITING_MAX) -> None:
        self._slots = slots
        self._line: Line[asyncio.Future[int]] = Line(waiting)
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._line)

    async def take(self, urgency: Urgency) -> int:
        """Return a slot once it is this one's turn.

        Raises TooMany when the line is full of those at least as urgent, when somebody more urgent
        needs the place, and when it takes longer than `WAIT_SECONDS_MAX`.
        """
        waits: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            leaves = self._line.enter(waits, urgency)
        except LineFull:
            raise _too_many() from None
        if leaves is not None:
            leaves.set_exception(_too_many())
        if self._timer is None:
            self._look()
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                return await waits
        except TimeoutError:
            self._return_unused(waits)
            raise _too_many() from None
        except asyncio.CancelledError:
            self._return_unused(waits)
            raise
        finally:
            self._line.leave(waits)

    def _look(self) -> None:
        """Give out the slots that are free, and look again while somebody waits."""
        self._timer = None
        while (first := self._line.first()) is not None:
            waits, urgency = first
            slot = None if waits.done() else self._slots.take(urgency)
            if slot is None and not waits.done():
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(LOOK_SECONDS, self._look)
                return
            self._line.leave(waits)
            if slot is not None:
                waits.set_result(slot)

    def _return_unused(self, waits: asyncio.Future[int]) -> None:
        """Give back a slot that came as its owner left."""
        if waits.done() and not waits.cancelled() and waits.exception() is None:
            self._slots.give_back(waits.result())


def _too_many() -> TooMany:
    return TooMany("too many logins at once; try again in a moment", retry_seconds=RETRY_SECONDS)
