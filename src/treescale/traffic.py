"""How many bytes went in and out at a server's doors: counted by its workers in memory they share.

Each worker adds to numbers of its own, so none needs a lock to count, and whoever asks adds them
up. The numbers only grow, also over the end of a worker: the next one goes on with its place.
"""

import fcntl
import mmap
import os
from enum import IntEnum
from typing import Final


class Flow(IntEnum):
    """Which way bytes went: what blobs and manifests are made of, without what wraps them."""

    TO_CLIENTS = 0
    FROM_CLIENTS = 1
    TO_SERVERS = 2
    FROM_SERVERS = 3


_COUNT_BYTES: Final = 8


class Traffic:
    """The counts of one server: to be made before its workers are forked."""

    def __init__(self, workers: int = 1) -> None:
        self._places = workers
        # A lock on byte n says that place n is taken; the kernel lifts it when its process ends.
        self._locks = os.memfd_create("treescale-traffic")
        memory = mmap.mmap(-1, workers * len(Flow) * _COUNT_BYTES)  # shared with forks
        self._counts = memoryview(memory).cast("Q")
        self._place: int | None = None

    def __del__(self) -> None:
        """Let go of the place."""
        os.close(self._locks)

    def count(self, flow: Flow, size: int) -> None:
        """Add so many bytes; from one thread of each process."""
        if self._place is None:
            self._place = self._taken()
        self._counts[self._place * len(Flow) + flow] += size

    def total(self, flow: Flow) -> int:
        """Return what all processes counted."""
        return sum(self._counts[flow :: len(Flow)])

    def _taken(self) -> int:
        """Take a place that no living process has."""
        for place in range(self._places):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                continue
            return place
        raise AssertionError("more processes count than there are workers")
