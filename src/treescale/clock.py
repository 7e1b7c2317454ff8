"""Time, as an argument: everything that needs the time is given a Clock, so tests own it."""

import time
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
