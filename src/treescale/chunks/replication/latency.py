"""How long requests take: a mean that forgets, the 95th percentile of a minute, the limits. Pure.

The mean halves every `HALF_LIFE_SECONDS` without a request, so a store that was slow is tried
again. The percentile comes from counts in buckets a quarter apart, ten seconds to a set: bounded
however many requests there are, and at most a quarter too high.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

HALF_LIFE_SECONDS: Final = 10.0
NEW_WEIGHT: Final = 0.2
"""What a request counts beside the mean of those just before it."""
SLOT_SECONDS: Final = 10.0
SLOTS_MAX: Final = 6
BUCKET_GROWTH: Final = 1.25
BUCKET_SECONDS_MIN: Final = 0.0001
BUCKETS_MAX: Final = 64
"""The last but one ends at 100 seconds."""
LATE_SECONDS_MAX: Final = 2.0
"""A store that has not answered by then is asked no longer alone, unless all are slow."""
REQUEST_SECONDS_MAX: Final = 30.0
"""Whatever was asked, and whoever has not answered: by then it has failed."""
LATE_MEANS: Final = 3.0
LATE_SECONDS_MOST: Final = 8.0
"""However slow all are: whoever asked waits no longer than this for one alone."""


def late_seconds(least: float, usual: Iterable[float]) -> float:
    """Return after how long a request is late: after `least`, or more when all are slow.

    `usual` are the means of the stores that could answer it. The fastest decides: when even that
    one takes its time everybody is busy, and asking others beside it would make it worse.
    """
    return max(least, min(LATE_SECONDS_MOST, LATE_MEANS * min(usual, default=0.0)))


class Latency:
    """The requests of one kind to one store. All times are monotonic seconds.

    `queue` is how many requests the store had when one began, that one included: they share it.
    """

    def __init__(self) -> None:
        self._mean = 0.0
        self._service = 0.0
        self._at = -math.inf
        self._slots: deque[tuple[int, list[int]]] = deque(maxlen=SLOTS_MAX)
        self._p95: tuple[int, float | None] = (-1, None)

    def record(self, seconds: float, now: float, queue: int = 1) -> None:
        """Count a request that took so long."""
        kept = (1 - NEW_WEIGHT) * self._kept(now)
        self._mean = kept * self._mean + (1 - kept) * seconds
        self._service = kept * self._service + (1 - kept) * seconds / queue
        self._at = now
        slot = int(now // SLOT_SECONDS)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, [0] * BUCKETS_MAX))
        self._slots[-1][1][_bucket(seconds)] += 1

    def record_unfinished(self, seconds: float, now: float, queue: int = 1) -> None:
        """Count a request given up after so long, if that says anything: it took at least this."""
        if seconds > self.mean(now):
            self.record(seconds, now, queue)

    def mean(self, now: float) -> float:
        """Return the recent mean in seconds, fading to 0 when nothing is asked."""
        return self._mean * self._kept(now)

    def service_seconds(self, now: float) -> float:
        """Return the recent mean of what a request takes of a store that has no other."""
        return self._service * self._kept(now)

    def p95(self, now: float) -> float | None:
        """Return what 95 of 100 requests of the last minute stayed under; None when none came.

        Computed once a second.
        """
        second = int(now)
        if self._p95[0] != second:
            self._p95 = second, self._computed_p95(now)
        return self._p95[1]

    def _kept(self, now: float) -> float:
        return float(0.5 ** ((now - self._at) / HALF_LIFE_SECONDS))

    def _computed_p95(self, now: float) -> float | None:
        oldest = int(now // SLOT_SECONDS) - SLOTS_MAX + 1
        counts = [sum(row) for row in zip(*self._recent(oldest), strict=True)]
        wanted = math.ceil(0.95 * sum(counts))
        if wanted == 0:
            return None
        bucket = bisect_left(list(accumulate(counts)), wanted)
        return BUCKET_SECONDS_MIN * BUCKET_GROWTH**bucket

    def _recent(self, oldest: int) -> list[list[int]]:
        return [counts for slot, counts in self._slots if slot >= oldest]


def _bucket(seconds: float) -> int:
    """Return the first bucket whose bound is not below."""
    ratio = max(seconds, BUCKET_SECONDS_MIN) / BUCKET_SECONDS_MIN
    return min(BUCKETS_MAX - 1, math.ceil(math.log(ratio, BUCKET_GROWTH) - 1e-9))
