"""Which store a chunk is read from is decided when one has room for it, not before.

A reader asks for many chunks ahead, each on several stores. Bound at once, they pile up at some
stores while others run dry, and what is wanted first waits behind what is wanted last. So each
store is given a few reads at a time, and when one ends it takes the read that has waited longest of
those it has a copy for: every wire is busy, and chunks come nearly in the order of asking.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

READS_AT_ONCE_MAX: Final = 2
"""To one store, from one process: one on the wire, and one to follow it."""
LOCAL_READS_AT_ONCE_MAX: Final = 8
"""To a disk of this server, which spares the wire: see read_order.local_advantage."""


class ReadScheduler:
    """The reads under way, by store, and those that wait; used from one event loop."""

    def __init__(self, is_local: Callable[[str], bool] = lambda _: False) -> None:
        self._is_local = is_local
        self._busy: Counter[str] = Counter()
        self._waiting: deque[tuple[Sequence[str], asyncio.Future[str]]] = deque()

    def busy(self, name: str) -> int:
        """Return how many reads the store has been given and not ended."""
        return self._busy[name]

    def begin(self, name: str) -> None:
        """Count a read given to the store, whether or not it has room; `release` must follow."""
        self._busy[name] += 1

    def release(self, name: str) -> None:
        """Count the end of a read, and let another begin."""
        self._busy[name] -= 1
        self._give(name)

    async def acquire(self, names: Sequence[str], seconds: float) -> str | None:
        """Return the first of the stores that has room, the read counted as begun.

        Who waits longest gets the first room there is. None when there was none for so long: ask
        again, of the stores that can be expected to answer then.
        """
        for name in names:
            if self._has_room(name):
                self.begin(name)
                return name
        turn: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        place = names, turn
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                return await turn
        except TimeoutError:
            return turn.result() if turn.done() and not turn.cancelled() else None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release(turn.result())
            raise
        finally:
            if place in self._waiting:
                self._waiting.remove(place)

    def _has_room(self, name: str) -> bool:
        most = LOCAL_READS_AT_ONCE_MAX if self._is_local(name) else READS_AT_ONCE_MAX
        return self._busy[name] < most

    def _give(self, name: str) -> None:
        """Give the store's room to who has waited longest for it."""
        if not self._has_room(name):
            return
        for place in self._waiting:
            names, turn = place
            if name in names and not turn.done():
                self._waiting.remove(place)
                self.begin(name)
                turn.set_result(name)
                return
