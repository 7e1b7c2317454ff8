"""Bytes per second from counts that only grow: the mean of the last seconds. Pure."""

from collections import deque
from typing import Final

from treescale.metadata.records import Throughput

looks_max: Final = 4
"""With a look every 5 s: the mean of 15 s. A shorter one would jump, a longer one lag behind."""

Totals = tuple[int, int, int, int]
"""In the order of the fields of Throughput."""


class Meter:
    """What was counted at the last looks. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Totals]] = deque(maxlen=looks_max)

    def look(self, totals: Totals, now: float) -> Throughput | None:
        """Return the mean since the oldest look that is kept; None at the first one."""
        self._looks.append((now, totals))
        since, before = self._looks[0]
        if now <= since:
            return None
        rates = (
            round((late - early) / (now - since))
            for early, late in zip(before, totals, strict=True)
        )
        return Throughput(*rates)
