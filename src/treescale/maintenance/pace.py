"""How fast the walks of a server may go: as fast as they can while nobody else wants anything.

Clients come first. How much passes to them, and how long they wait for it, is measured on every
server. While there are clients, a walk begins with a little, which it moves in any case so that it
gets on, goes faster as long as they are served as fast as without it, and gives way when they are
not. A server that has clients tells the others how much their walks may move: what they read from
it, and write to it, is theirs to hold back.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.metrics.traffic import Flow, TrafficCounters

LOOK_SECONDS: Final = 0.5
"""How often it is looked how much clients move."""
IDLE_BYTES_MAX: Final = 1024 * 1024
"""Bytes a second of clients that count as nobody."""
BESIDE_BYTES_MIN: Final = 1024 * 1024
"""Bytes a second that the walks move however slow clients are: a cluster that is busy for ever gets
its copies all the same."""
URGENT_BYTES_MIN: Final = 4 * 1024 * 1024
"""The same while one copy is left of what they move: the next loss would be for good."""
SHARE_MAX: Final = 1 / 3
"""The part of what clients move that the walks move beside them, at most."""
FASTER: Final = 1.25
"""From one look to the next, while clients are not slower."""
GIVES_WAY: Final = 0.5
"""And when they are."""
SLOWER: Final = 1.25
"""Clients that wait so many times as long as undisturbed are slower."""
LEARNT: Final = 0.2
"""Of the last look, in what is held to be undisturbed."""
LOOKING_SHARE_MAX: Final = 0.1
"""The part of the time in which is looked around beside clients, when nobody asked for it."""
READ_BACK_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes a second that are read back to be verified when nobody asked for it."""


@dataclass(frozen=True, slots=True)
class Served:
    """What clients of a server had since the last look."""

    rate: float
    """Bytes a second, to and from them."""
    slowness: float | None = None
    """Seconds that they waited for a byte of blobs; None when they pulled none."""


def nobody(_seconds: float) -> Served:
    """Return what the clients had of a server that has none: of a command."""
    return Served(0.0)


class Governor:
    """The rate of walks, from one look to the next. Pure.

    What is undisturbed is learnt while the walks move as little as they may: if clients are slow
    then as well, that is not for the walks to mend.
    """

    def __init__(self) -> None:
        self.rate = float("inf")
        """Bytes a second."""
        self._undisturbed: float | None = None

    @property
    def is_beside(self) -> bool:
        """Say whether clients are at work."""
        return self.rate < float("inf")

    def step(self, served: Served) -> float:
        """Take notice of how clients are served, and return the rate from now on."""
        if served.rate <= IDLE_BYTES_MAX:
            self.rate = float("inf")
            return self.rate
        limit = max(BESIDE_BYTES_MIN, SHARE_MAX * served.rate)
        if not self.is_beside:  # how fast they are served without a walk is still to be seen
            self.rate = BESIDE_BYTES_MIN
            self._undisturbed = None
        elif self._is_slower(served.slowness):
            self.rate = max(BESIDE_BYTES_MIN, GIVES_WAY * self.rate)
        else:
            self.rate = min(limit, FASTER * self.rate)
        return self.rate

    def _is_slower(self, slowness: float | None) -> bool:
        """Say whether clients wait longer than undisturbed; learn how long that is."""
        if slowness is None:
            return False
        usual = slowness if self._undisturbed is None else self._undisturbed
        if self.rate <= BESIDE_BYTES_MIN:
            self._undisturbed = usual + LEARNT * (slowness - usual)
        else:
            self._undisturbed = min(usual, slowness)
        return slowness > SLOWER * usual


class Clients:
    """How the clients of a server are served, from the counts that its processes share."""

    def __init__(self, traffic: TrafficCounters) -> None:
        self._traffic = traffic
        self._before = self._counts()

    def served(self, seconds: float) -> Served:
        """Return what they had since this was asked last, so many seconds ago."""
        counts = self._counts()
        moved, pulled, microseconds = (
            now - before for now, before in zip(counts, self._before, strict=True)
        )
        self._before = counts
        return Served(moved / seconds, microseconds / 1_000_000 / pulled if pulled else None)

    def _counts(self) -> tuple[int, int, int]:
        total = self._traffic.total
        return (
            total(Flow.TO_CLIENTS) + total(Flow.FROM_CLIENTS),
            total(Flow.PULLED),
            total(Flow.PULLED_MICROSECONDS),
        )


class Pace:
    """Bytes for all walks of a server.

    `served` says what its clients had in so many seconds, `told` how many bytes a second other
    servers allow. `rate_max` is a limit in bytes a second, whatever clients do; 0 is none.
    """

    def __init__(
        self,
        clock: Clock,
        served: Callable[[float], Served],
        *,
        told: Callable[[], float] = lambda: float("inf"),
        rate_max: int = 0,
    ) -> None:
        self._rate_max = rate_max or float("inf")
        self._clock = clock
        self._served = served
        self._told = told
        self._governor = Governor()
        self._looked = self._free_at = self._read_back_at = clock.monotonic()

    @property
    def is_beside(self) -> bool:
        """Say whether clients are at work, so that the walks hold back."""
        self._look()
        return self._governor.is_beside

    @property
    def allowed(self) -> int:
        """Return how many bytes a second the clients here leave to a walk; 0 is no limit."""
        self._look()
        return int(self._governor.rate) if self._governor.is_beside else 0

    async def moving(self, size: int, *, urgent: bool = False) -> None:
        """Return when a walk may move so many bytes; `urgent`: one copy is left of them."""
        self._look()
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        left = min(self._governor.rate, self._told())
        rate = min(self._rate_max, max(left, URGENT_BYTES_MIN) if urgent else left)
        self._free_at = begin + size / rate
        if begin > now:
            await asyncio.sleep(begin - now)

    async def reading_back(self, size: int) -> None:
        """Return when a walk may read back so many bytes, of its own accord."""
        await self.moving(size)
        now = self._clock.monotonic()
        begin = max(now, self._read_back_at)
        self._read_back_at = begin + size / READ_BACK_BYTES_MAX
        if begin > now:
            await asyncio.sleep(begin - now)

    async def looking(self, seconds: float, hurry: Callable[[], bool]) -> None:
        """Return when a walk may go on that has looked around for so long, of its own accord.

        Names and rows cost no bytes of wires and disks: they cost the cores that clients need. So
        it is sooner when the clients are gone; and when `hurry` says that something else is due.
        """
        left = seconds * (1 / LOOKING_SHARE_MAX - 1)
        while left > 0 and self.is_beside and not hurry():
            await asyncio.sleep(min(left, LOOK_SECONDS))
            left -= LOOK_SECONDS

    def _look(self) -> None:
        now = self._clock.monotonic()
        seconds = now - self._looked
        if seconds >= LOOK_SECONDS:
            self._looked = now
            self._governor.step(self._served(seconds))
