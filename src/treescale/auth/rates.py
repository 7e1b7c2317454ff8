"""How many requests in a minute are too many: a bucket that leaks. Pure.

It holds a minute's worth, so a burst of that is let through; then as many as leak out of it.
"""

from typing import Final

from treescale.auth.guessing import Count

MINUTE_SECONDS: Final = 60.0


def taken(count: Count, per_minute: int, now: float) -> tuple[Count, float]:
    """Return the count with one more, and 0; or as it is, and in how many seconds one fits."""
    per_second = per_minute / MINUTE_SECONDS
    level = max(0.0, count.level - max(0.0, now - count.last) * per_second)
    if level + 1 > per_minute:
        return Count(level, now, now, now), (level + 1 - per_minute) / per_second
    return Count(level + 1, now, now, now), 0.0
