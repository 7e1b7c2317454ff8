"""Which stores are passed over because they let requests hang: a circuit breaker. Pure.

A store that refuses or fails costs nothing: the next one is asked at once. One that hangs costs
each request its patience, so after a few in a row it is passed over for a second; then one request
probes it, and each probe that hangs doubles the time (faults.md section 6). Any answer ends it.
"""

from typing import Final

LATE_MAX: Final = 3
"""Requests in a row that may hang before the store is passed over."""
OPEN_SECONDS_MIN: Final = 1.0
OPEN_SECONDS_MAX: Final = 30.0


class CircuitBreaker:
    """Whether one store is passed over. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._late = 0
        self._seconds = OPEN_SECONDS_MIN
        self._until = 0.0
        self._probing = False

    def is_open(self, now: float) -> bool:
        """Say whether the store should be passed over."""
        return self._late >= LATE_MAX and now < self._until

    def begin(self, now: float) -> None:
        """Count a request that begins; after that time it is the probe."""
        if self._late >= LATE_MAX and now >= self._until:
            self._probing = True
            self._until = now + self._seconds

    def on_answer(self) -> None:
        """Count a request that was answered, whatever the answer."""
        if self._late:
            self._late, self._seconds, self._probing = 0, OPEN_SECONDS_MIN, False

    def on_timeout(self, now: float) -> None:
        """Count a request that hung."""
        self._late += 1
        if self._probing:
            self._probing = False
            self._seconds = min(OPEN_SECONDS_MAX, 2 * self._seconds)
        elif self._late != LATE_MAX:
            return
        self._until = now + self._seconds
