"""When to start a process in the place of one that died, or that could not be started.

At once as long as few died lately: of each place one in a minute, and one more. After that the
pauses grow, so that whatever ends processes does not also keep the machine busy.
"""

from collections import deque
from typing import Final

RESPAWN_SECONDS_MIN: Final = 0.5
RESPAWN_SECONDS_MAX: Final = 10.0
"""Before a process is started again, when they died often lately, or none can be started."""
OFTEN_SECONDS: Final = 60.0
"""What is lately."""


class Backoff:
    """The pauses of so many equal processes. Times are monotonic seconds."""

    def __init__(self, places: int) -> None:
        self._few = places + 1
        self._deaths: deque[float] = deque()
        self._failures = 0

    def died(self, now: float) -> float:
        """Take notice of a death; return after how many seconds to start another."""
        self._deaths.append(now)
        while self._deaths[0] < now - OFTEN_SECONDS:
            self._deaths.popleft()
        return _pause(len(self._deaths) - self._few)

    def unstarted(self) -> tuple[int, float]:
        """Take notice that none could be started.

        Return how often that was so in a row, and after how many seconds to try again.
        """
        self._failures += 1
        return self._failures, _pause(self._failures)

    def started(self) -> int:
        """Take notice that one was started; return how often it had failed."""
        failures, self._failures = self._failures, 0
        return failures


def _pause(number: int) -> float:
    """Return the length of the pause of this number; 0 is none."""
    if number <= 0:
        return 0.0
    return min(RESPAWN_SECONDS_MAX, RESPAWN_SECONDS_MIN * 2.0 ** min(number - 1, 16))
