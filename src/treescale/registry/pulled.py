"""What clients pull, counted in memory until it is written: one write a minute, if there is any."""

from collections.abc import Iterable
from typing import Final

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.metadata.usage.pull_counts import PullCounts, Pulled

NAMES_MAX: Final = 10_000
"""Tags and digests that are counted between two writes: some megabytes."""


class PullCounter:
    """The pulls that this worker has served since it wrote last. A crash loses them."""

    def __init__(self, counts: PullCounts, clock: Clock) -> None:
        self._counts = counts
        self._clock = clock
        self._pulled: dict[tuple[str, str], Pulled] = {}

    def note(self, repository: str, references: Iterable[str]) -> None:
        """Count a pull of a manifest, by its tag and by its digest. Waits for nothing."""
        now = self._clock.now()
        for reference in references:
            self._add(Pulled(repository, reference, now, 1))

    async def write(self) -> None:
        """Write them down, if there are any; raises DatabaseUnavailable, and keeps them."""
        pulled, self._pulled = self._pulled, {}
        try:
            await self._counts.add(pulled.values())
        except Failed:
            for one in pulled.values():
                self._add(one)
            raise

    def _add(self, one: Pulled) -> None:
        key = one.repository, one.reference
        known = self._pulled.get(key)
        if known is not None:
            at, times = max(known.at, one.at), known.times + one.times
            self._pulled[key] = Pulled(one.repository, one.reference, at, times)
        elif len(self._pulled) < NAMES_MAX:
            self._pulled[key] = one
