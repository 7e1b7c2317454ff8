"""Time, as an argument: everything that needs the time is given a Clock, so tests own it."""

import time
from collections.abc import Awaitable, Callable
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        """Return wall-clock seconds since the epoch (UTC)."""
        return time.time()  # noqa: TID251  the one place that may ask

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class DatabaseClock:
    """The database's time, carried on by this machine's monotonic clock between two readings.

    So all servers of a cluster have one time, whatever their own clocks say, and a clock that is
    set while a server runs changes nothing. Before the first reading it is the machine's.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: float | None = None
        """Of our monotonic clock."""

    def now(self) -> float:
        """Return the database's seconds since the epoch (UTC)."""
        if self._ahead is None:
            return self._clock.now()
        return self._clock.monotonic() + self._ahead

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    async def read(self, ask: Callable[[], Awaitable[float]]) -> None:
        """Ask for the database's time, as often as it may be set; raises as `ask` does.

        When exactly it was told is known as well as the answer was quick: a slow one does not move
        what a quicker one said.
        """
        before = self._clock.monotonic()
        told = await ask()
        least, most = told - self._clock.monotonic(), told - before
        if self._ahead is None or not least <= self._ahead <= most:
            self._ahead = (least + most) / 2
