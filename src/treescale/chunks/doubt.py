"""Which stores are passed over because they let requests hang: a circuit breaker. Pure.

A store that refuses or fails costs nothing: the next one is asked at once. One that hangs costs
each request its patience, so after a few in a row it is passed over for a second; then one request
probes it, and each probe that hangs doubles the time (faults.md section 6). Any answer ends it.
"""

from typing import Final

late_max: Final = 3
"""Requests in a row that may hang before the store is in doubt."""
doubt_seconds_min: Final = 1.0
doubt_seconds_max: Final = 30.0


class Doubt:
    """Whether one store is in doubt. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._late = 0
        self._seconds = doubt_seconds_min
        self._until = 0.0
        self._probing = False

    def holds(self, now: float) -> bool:
        """Say whether the store should be passed over."""
        return self._late >= late_max and now < self._until

    def begin(self, now: float) -> None:
        """Count a request that begins; after a time of doubt it is the probe."""
        if self._late >= late_max and now >= self._until:
            self._probing = True
            self._until = now + self._seconds

    def answer(self) -> None:
        """Count a request that was answered, whatever the answer."""
        if self._late:
            self._late, self._seconds, self._probing = 0, doubt_seconds_min, False

    def late(self, now: float) -> None:
        """Count a request that hung."""
        self._late += 1
        if self._probing:
            self._probing = False
            self._seconds = min(doubt_seconds_max, 2 * self._seconds)
        elif self._late != late_max:
            return
        self._until = now + self._seconds
