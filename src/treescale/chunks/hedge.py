"""When a second copy is asked beside a late first one, and how often at most. Pure.

The rule is faults.md R4.
"""

from typing import Final

hedge_seconds_min: Final = 0.02
hedge_seconds_unknown: Final = 0.25
"""While nothing was read lately. Less, and every first chunk over a wire of 100 Mbit/s is late."""
hedge_percent_max: Final = 5
hedges_saved_max: Final = 10
"""What a quiet time leaves for a bad moment."""
_percents_of_one: Final = 100


def hedge_seconds(first: float | None, second: float | None) -> float:
    """Return how long to wait for the first store before the second is asked too.

    Both are 95th percentiles of the last minute. The lower one decides: measured by its own
    slowness, a store that is always slow would never be late.
    """
    known = [seconds for seconds in (first, second) if seconds is not None]
    return max(hedge_seconds_min, min(known, default=hedge_seconds_unknown))


class HedgeBudget:
    """A token bucket: each read earns a twentieth of a hedge."""

    def __init__(self) -> None:
        self._percents = hedges_saved_max * _percents_of_one

    def earn(self) -> None:
        """Count a read."""
        self._percents = min(
            hedges_saved_max * _percents_of_one, self._percents + hedge_percent_max
        )

    def take(self) -> bool:
        """Say whether a hedge is allowed, and count it if so."""
        allowed = self._percents >= _percents_of_one
        if allowed:
            self._percents -= _percents_of_one
        return allowed
