"""When a second copy is asked beside a late first one, and how often at most. Pure.

The rule is faults.md R4.
"""

from typing import Final

HEDGE_SECONDS_MIN: Final = 0.02
HEDGE_SECONDS_UNKNOWN: Final = 0.25
"""While nothing was read lately. Less, and every first chunk over a wire of 100 Mbit/s is late."""
HEDGE_PERCENT_MAX: Final = 5
HEDGES_SAVED_MAX: Final = 10
"""What a quiet time leaves for a bad moment."""
_PERCENTS_OF_ONE: Final = 100


def hedge_seconds(first: float | None, second: float | None) -> float:
    """Return how long to wait for the first store before the second is asked too.

    Both are 95th percentiles of the last minute. The lower one decides: measured by its own
    slowness, a store that is always slow would never be late.
    """
    known = [seconds for seconds in (first, second) if seconds is not None]
    return max(HEDGE_SECONDS_MIN, min(known, default=HEDGE_SECONDS_UNKNOWN))


class HedgeBudget:
    """A token bucket: each read earns a twentieth of a hedge."""

    def __init__(self) -> None:
        self._percents = HEDGES_SAVED_MAX * _PERCENTS_OF_ONE

    def earn(self) -> None:
        """Count a read."""
        self._percents = min(
            HEDGES_SAVED_MAX * _PERCENTS_OF_ONE, self._percents + HEDGE_PERCENT_MAX
        )

    def take(self) -> bool:
        """Say whether a hedge is allowed, and count it if so."""
        allowed = self._percents >= _PERCENTS_OF_ONE
        if allowed:
            self._percents -= _PERCENTS_OF_ONE
        return allowed
