"""Numbers that the processes of a server count together, in memory they share.

Each process adds to numbers of its own, so none needs a lock to count, and whoever asks adds them
up. Those that only grow do so over the end of a process as well: the next one goes on with its
place. Those that say how much there is now end with their process, however it ended.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import Final

HUNG_WORKERS_MAX: Final = 4
"""So many places, and names, may be held by dead ones whose threads hang in the kernel."""
_COUNT_BYTES: Final = 8
_LOCK: Final = struct.Struct("hhqqi4x")
"""The kernel's `struct flock`, as 64-bit Linux has it."""


class SharedCounters:
    """So many numbers of each process: to be made before those are forked.

    `processes` is how many of them count at a time, at most. The last `present` numbers say how
    much there is now; they may go down again.
    """

    def __init__(self, numbers: int, processes: int = 1, *, present: int = 0) -> None:
        self._numbers = numbers
        self._lasting = numbers - present
        self._places = processes + HUNG_WORKERS_MAX
        # A lock on byte n says that place n is taken; the kernel lifts it when its process ends.
        self._locks = os.memfd_create("treescale-counters")
        memory = mmap.mmap(-1, self._places * numbers * _COUNT_BYTES)  # shared with forks
        self._counts = memoryview(memory).cast("q")
        self._place: int | None = None

    def __del__(self) -> None:
        """Let go of the place."""
        os.close(self._locks)

    @cached_property
    def row(self) -> "memoryview[int]":
        """Return the numbers of this process, to add to from one thread at a time.

        A place is taken by whoever asks first, so nobody may ask before the last fork.
        """
        return self._taken()

    @property
    def living(self) -> int:
        """Return how many processes count now."""
        return sum(map(self._is_held, range(self._places)))

    def total(self, index: int) -> int:
        """Return what all processes counted of a number that only grows."""
        return sum(self._counts[index :: self._numbers])

    def totals(self) -> list[int]:
        """Return the total of each number."""
        rows = [*self._rows_used()]
        return [sum(column) for column in zip(*rows, strict=True)] if rows else self._nothing()

    def rows(self) -> "list[memoryview[int]]":
        """Return the numbers of each place, of living processes and of those that were there."""
        return [self._row_of(place) for place in range(self._places)]

    def _rows_used(self) -> Iterator[list[int]]:
        """Yield the numbers of each place that ever had any."""
        for place in range(self._places):
            row = self._row_of(place)
            if not any(row.tobytes()):
                continue
            numbers = row.tolist()
            if not self._is_held(place):
                numbers[self._lasting :] = [0] * (self._numbers - self._lasting)
            yield numbers

    def _nothing(self) -> list[int]:
        return [0] * self._numbers

    def _row_of(self, place: int) -> "memoryview[int]":
        return self._counts[place * self._numbers : (place + 1) * self._numbers]

    def _is_held(self, place: int) -> bool:
        """Say whether a living process has the place; asks the kernel, and takes nothing."""
        if place == self._place:
            return True  # of its own locks the kernel does not tell a process
        asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
        kind, *_ = _LOCK.unpack(fcntl.fcntl(self._locks, fcntl.F_GETLK, asked))
        return bool(kind != fcntl.F_UNLCK)

    def _taken(self) -> "memoryview[int]":
        """Take a place that no living process has."""
        for place in range(self._places):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                continue
            self._place = place
            row = self._row_of(place)
            for index in range(self._lasting, self._numbers):
                row[index] = 0
            return row
        raise AssertionError("more processes count than were said to")
