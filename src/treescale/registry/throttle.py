"""How long whoever guesses passwords has to wait: a growing delay, never a locked account.

Counted per key (an account as seen from one address), so that guessing an account's password from
elsewhere does not lock its owner out. Memory is bounded: the keys least lately guessed at are
forgotten first, and all after `forgotten_seconds` of peace.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.errors import TooMany

free_failures: Final = 5
delay_seconds_max: Final = 60.0
forgotten_seconds: Final = 900.0
keys_max: Final = 8192


@dataclass(frozen=True, slots=True)
class _Record:
    failures: int
    last: float


def delay_seconds(failures: int) -> float:
    """Return how long to wait after so many failures: 0, then 1, 2, 4 … up to a minute."""
    if failures < free_failures:
        return 0.0
    return min(2.0 ** min(failures - free_failures, 16), delay_seconds_max)


class Throttle:
    """Who failed how often."""

    def __init__(self, clock: Clock, *, keys: int = keys_max) -> None:
        self._clock = clock
        self._keys = keys
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def check(self, key: bytes) -> None:
        """Return when another attempt may be made; else raise TooMany, saying when it may."""
        record = self._records.get(key)
        if record is None:
            return
        left = record.last + delay_seconds(record.failures) - self._clock.monotonic()
        if left > 0:
            seconds = math.ceil(left)
            raise TooMany(
                f"too many failed logins: try again in {seconds} s", retry_seconds=seconds
            )

    def failed(self, key: bytes) -> None:
        """Count a failure."""
        now = self._clock.monotonic()
        before = self._records.pop(key, None)
        fresh = before is None or now - before.last > forgotten_seconds
        failures = 1 if before is None or fresh else before.failures + 1
        self._records[key] = _Record(failures, now)
        while len(self._records) > self._keys:
            self._records.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """Start from nothing: the right password was given."""
        self._records.pop(key, None)
