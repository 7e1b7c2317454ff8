"""Bytes per second from counts that only grow: the mean of the last seconds. Pure."""

from collections import deque
from typing import Final

SAMPLES_MAX: Final = 4
"""With one every 5 s: the mean of 15 s. A shorter one would jump, a longer one lag behind."""

Totals = tuple[int, int, int, int]
"""One number for each `Flow`, in its order."""


class RateMeter:
    """What was counted at the last samples. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, Totals]] = deque(maxlen=SAMPLES_MAX)

    def sample(self, totals: Totals, now: float) -> Totals | None:
        """Take a sample; return the mean since the oldest that is kept, None at the first."""
        self._samples.append((now, totals))
        since, before = self._samples[0]
        if now <= since:
            return None
        to_clients, from_clients, to_servers, from_servers = (
            round((late - early) / (now - since))
            for early, late in zip(before, totals, strict=True)
        )
        return to_clients, from_clients, to_servers, from_servers
