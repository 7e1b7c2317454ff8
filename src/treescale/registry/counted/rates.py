"""Requests and pulls of an account in a minute, as many as the cluster's settings allow.

Counted by all workers of a server together, in memory that they share; each server counts by
itself, so that behind a balancer an account may have as often as much as there are servers. Who is
anonymous counts by address. While nothing is set nothing is counted.
"""

import math
from functools import partial
from typing import Final

from treescale.auth.counts import Counts
from treescale.auth.guessing import Count, address_key
from treescale.auth.rates import taken
from treescale.clock import Clock
from treescale.errors import TooMany
from treescale.metadata.settings.settings import Settings
from treescale.metadata.usage.quotas import limit_of

REQUESTS_SETTING: Final = "requests-max"
PULLS_SETTING: Final = "pulls-max"
RATE_SETTINGS: Final = (REQUESTS_SETTING, PULLS_SETTING)
"""Settings of the cluster: how many in a minute, of an account; unset: any number."""


class Rates:
    """What is counted of requests; `counts` are those of the server."""

    def __init__(self, counts: Counts, clock: Clock) -> None:
        self._counts = counts
        self._clock = clock
        self._requests_max: int | None = None
        self._pulls_max: int | None = None
        self.are_limited = False
        """Whether anything is counted."""

    async def read(self, settings: Settings) -> None:
        """Go by what the cluster's settings say now; raises DatabaseUnavailable."""
        found = await settings.several(RATE_SETTINGS)
        self.limit(limit_of(found.get(REQUESTS_SETTING)), limit_of(found.get(PULLS_SETTING)))

    def limit(self, requests_max: int | None, pulls_max: int | None) -> None:
        """Allow so many in a minute; None is any number."""
        self._requests_max, self._pulls_max = requests_max or None, pulls_max or None
        self.are_limited = bool(requests_max or pulls_max)

    def check(self, user: str, address: str, *, is_pull: bool) -> None:
        """Count a request of the user, "" being whoever comes from the address.

        Raises TooMany, with the time to come back, when it is one too many.
        """
        who = f"user\0{user}" if user else f"address\0{address_key(address)}"
        key = who.encode("utf-8", "surrogatepass")
        if self._requests_max is not None:
            self._take(b"request\0" + key, self._requests_max, "requests")
        if is_pull and self._pulls_max is not None:
            self._take(b"pull\0" + key, self._pulls_max, "pulls")

    def _take(self, key: bytes, per_minute: int, noun: str) -> None:
        now, waits = self._clock.monotonic(), list[float]()
        self._counts.change(key, partial(_change, per_minute, now, waits), now=now)
        wait = math.ceil(waits[0])
        if wait > 0:
            raise TooMany(
                f"more than {per_minute:,} {noun} in a minute: try again in {wait} s",
                retry_seconds=wait,
            )


def _change(per_minute: int, now: float, waits: list[float], count: Count) -> Count:
    changed, wait = taken(count, per_minute, now)
    waits.append(wait)
    return changed
