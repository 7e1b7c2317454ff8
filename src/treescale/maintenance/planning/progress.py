"""Where the walk of one store stands, partition by partition. Pure.

A partition is due when it was not looked at under the present layout, when something of it is
missing or misplaced and a pause is over, and an hour after its last look. A look takes names and
rows only; bytes are read back in a cycle of their own.
"""

import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, Self

from treescale.chunks.format.placement import PARTITIONS

LOOK_SECONDS: Final = 3600.0
"""Between two looks at a partition of which nothing is missing or misplaced."""
FOLLOWED_SECONDS: Final = 60.0
"""So long after a layout came into force no worker puts chunks by an older one: they read which
one it is every few seconds. Then all is looked at once more."""
RETRY_SECONDS_MIN: Final = 5.0
RETRY_SECONDS_MAX: Final = 600.0
"""Between two looks at one of which something is."""
CYCLE_SECONDS: Final = 7 * 86_400.0
"""In this time every copy is read back once."""
_COUNTED_MAX: Final = 2**32 - 1
_VERSION: Final = 1
_NEVER: Final = 0.0


class Progress:
    """Monotonic seconds where nothing else is said; `wall` is by the database's clock."""

    def __init__(self) -> None:
        self.layout = 0
        """The number of the layout that is gone by."""
        self._followed = _NEVER
        """When it began to be gone by."""
        self._looked = array("d", [_NEVER]) * PARTITIONS
        self._retry = array("d", [_NEVER]) * PARTITIONS
        self._pause = array("d", [_NEVER]) * PARTITIONS
        self._hurried = bytearray(PARTITIONS)
        """Whether each was hurried since its names were read last."""
        self._under = array("I", [0]) * PARTITIONS
        """The layout under which each was looked at last."""
        self._missing = array("I", [0]) * PARTITIONS
        self._misplaced = array("I", [0]) * PARTITIONS
        self._verified = array("I", [0]) * PARTITIONS
        """Seconds since 1970 / 60."""

    def follow(self, layout: int, now: float) -> bool:
        """Go by this layout; say whether it is another one. Everything is then due."""
        if layout == self.layout:
            return False
        self.layout, self._followed = layout, now
        for number in range(PARTITIONS):
            self._pause[number] = self._retry[number] = _NEVER
        return True

    def due(self, now: float) -> list[int]:
        """Return the partitions that should be looked at, by number."""
        return [number for number in range(PARTITIONS) if self._is_due(number, now)]

    def _is_pending(self, number: int) -> bool:
        return self._under[number] != self.layout or self._looked[number] == _NEVER

    def _is_due(self, number: int, now: float) -> bool:
        if self._retry[number] > now:
            return False
        if self._is_pending(number):
            return True
        if self._missing[number] or self._misplaced[number]:
            return True
        again = self._followed + FOLLOWED_SECONDS
        return self._looked[number] + LOOK_SECONDS <= now or self._looked[number] < again <= now

    def begin_look(self, numbers: Iterable[int]) -> None:
        """Note that the names of these are read now; what is hurried later needs another look."""
        for number in numbers:
            self._hurried[number] = False

    def look(self, number: int, now: float, *, missing: int, misplaced: int) -> None:
        """Note what a look left: copies missing here, and copies here that belong elsewhere."""
        self._looked[number] = now
        self._under[number] = self.layout
        self._missing[number] = min(missing, _COUNTED_MAX)
        self._misplaced[number] = min(misplaced, _COUNTED_MAX)
        if missing or misplaced:
            self.postpone(number, now)
        else:
            self._pause[number] = self._retry[number] = _NEVER
        if self._hurried[number]:
            self.hurry(number)

    def postpone(self, number: int, now: float) -> None:
        """Look at it again after a pause that grows: something could not be done."""
        pause = min(RETRY_SECONDS_MAX, max(RETRY_SECONDS_MIN, 2 * self._pause[number]))
        self._pause[number], self._retry[number] = pause, now + pause

    def hurry(self, number: int) -> None:
        """Have it looked at as soon as can be."""
        self._looked[number] = self._retry[number] = self._pause[number] = _NEVER
        self._hurried[number] = True

    def hurry_all(self) -> None:
        """Have all looked at as soon as can be."""
        for number in range(PARTITIONS):
            self.hurry(number)

    def hurry_undone(self) -> None:
        """Look at those again soon of which something is missing or misplaced."""
        for number in range(PARTITIONS):
            if self._missing[number] or self._misplaced[number]:
                self._retry[number] = self._pause[number] = _NEVER

    def attempts(self, number: int) -> int:
        """Return how often in a row a look has left something undone: 0, 1, 2 …, or many."""
        count, pause = 0, self._pause[number]
        while pause >= RETRY_SECONDS_MIN:
            count, pause = count + 1, pause / 2
        return count

    def settled(self, attempts: int) -> list[bool]:
        """Say of each partition whether a look under the present layout has left nothing undone.

        Or so many in a row have left something: nothing can be done about it now.
        """
        return [
            self.attempts(number) >= attempts
            or not (
                self._looked[number] == _NEVER
                or self._under[number] != self.layout
                or self._missing[number]
                or self._misplaced[number]
            )
            for number in range(PARTITIONS)
        ]

    def left(self) -> list[int]:
        """Return the partitions of which something was missing or misplaced at the last look.

        And those that could not be looked at.
        """
        return [
            number
            for number in range(PARTITIONS)
            if self._missing[number] or self._misplaced[number] or self._pause[number]
        ]

    @property
    def lacking(self) -> list[int]:
        """Return the partitions of which something was missing at the last look."""
        return [number for number in range(PARTITIONS) if self._missing[number]]

    @property
    def looked_since(self) -> float:
        """Return since when all partitions were looked at; 0 before that."""
        return min(self._looked)

    @property
    def pending(self) -> int:
        """Return how many partitions are still to be looked at.

        Under the present layout, since the start, and since something was found to be wrong:
        until then it is not known what is missing.
        """
        return sum(map(self._is_pending, range(PARTITIONS)))

    @property
    def missing(self) -> int:
        """Return how many copies this store should have and has not, as far as was looked."""
        return sum(self._missing)

    @property
    def misplaced(self) -> int:
        """Return how many copies lie here that belong elsewhere, as far as was looked."""
        return sum(self._misplaced)

    @property
    def is_whole(self) -> bool:
        """Say whether nothing is left to do under the present layout."""
        return not (self.pending or self.missing or self.misplaced)

    # Reading back

    def verify_due(self, wall: float) -> int | None:
        """Return the partition whose bytes are to be read back next, None when none is due."""
        number = min(range(PARTITIONS), key=self._verified.__getitem__)
        return number if self._verified[number] * 60 + CYCLE_SECONDS <= wall else None

    def verify(self, number: int, wall: float) -> None:
        """Note that its bytes were read back now."""
        self._verified[number] = int(wall // 60)

    def begin_cycle(self, wall: float) -> None:
        """Spread what was never read back over the cycle: what is new was hashed as it came."""
        for number in range(PARTITIONS):
            if not self._verified[number]:
                early = CYCLE_SECONDS * (PARTITIONS - 1 - number) / PARTITIONS
                self._verified[number] = int((wall - early) // 60)

    @property
    def verified_since(self) -> float:
        """Return the time of the database's clock since when every copy was read back."""
        return min(self._verified) * 60.0

    # Kept over restarts

    def packed(self) -> bytes:
        """Return it in a compact form (docs/formats.md)."""
        arrays = (self._under, self._missing, self._misplaced, self._verified)
        body = b"".join(_swapped(values).tobytes() for values in arrays)
        return bytes([_VERSION]) + zlib.compress(body)

    @classmethod
    def of(cls, packed: bytes, layout: int) -> Self:
        """Return what was packed, going by this layout; a fresh one for what is not understood.

        All is looked at once more: the store may have been another's meanwhile.
        """
        self = cls()
        self.layout = layout
        try:
            arrays = list(_unpacked(packed))
        except (ValueError, zlib.error):
            return self
        self._under, self._missing, self._misplaced, self._verified = arrays
        return self


def _unpacked(packed: bytes) -> Iterator["array[int]"]:
    """Yield the four arrays; raises ValueError, zlib.error."""
    if packed[:1] != bytes([_VERSION]):
        raise ValueError("no progress of this version")
    body = zlib.decompress(packed[1:])
    size = PARTITIONS * 4
    if len(body) != 4 * size:
        raise ValueError("not as many partitions as there are")
    for start in range(0, len(body), size):
        yield _swapped(array("I", body[start : start + size]))


def _swapped(values: "array[int]") -> "array[int]":
    """Return the numbers from or to big-endian order."""
    swapped = array("I", values)
    if sys.byteorder == "little":
        swapped.byteswap()
    return swapped
