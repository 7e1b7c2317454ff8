"""How many bytes went in and out at a server's doors: counted by its workers in memory they share.

Each worker adds to numbers of its own, so none needs a lock to count, and whoever asks adds them
up. The numbers only grow, also over the end of a worker: the next one goes on with its place.
"""

import fcntl
import mmap
import os
from enum import IntEnum
from typing import Final

from treescale.metrics.rate import Totals


class Flow(IntEnum):
    """Which way bytes went: what blobs and manifests are made of, without what wraps them.

    The last two say how fast pulls are served.
    """

    TO_CLIENTS = 0
    FROM_CLIENTS = 1
    TO_SERVERS = 2
    FROM_SERVERS = 3
    PULLED = 4
    """Bytes of blobs sent to clients, and `PIECE_BYTES` for each piece."""
    PULLED_MICROSECONDS = 5
    """How long clients waited for those: until a piece was read, and until it was sent."""


PIECE_BYTES: Final = 256 * 1024
"""What a piece of a blob costs apart from its bytes, as so many bytes."""
_COUNT_BYTES: Final = 8
HUNG_WORKERS_MAX: Final = 4
"""So many places, and names, may be held by dead ones whose threads hang in the kernel."""


class TrafficCounters:
    """The counts of one server: to be made before its processes are forked.

    `processes` is how many of them count at a time, at most.
    """

    def __init__(self, processes: int = 1) -> None:
        self._places = processes + HUNG_WORKERS_MAX
        # A lock on byte n says that place n is taken; the kernel lifts it when its process ends.
        self._locks = os.memfd_create("treescale-traffic")
        memory = mmap.mmap(-1, self._places * len(Flow) * _COUNT_BYTES)  # shared with forks
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

    def count_pulled(self, size: int, seconds: float) -> None:
        """Add a piece of a blob that a client waited for so long."""
        self.count(Flow.PULLED, size + PIECE_BYTES)
        self.count(Flow.PULLED_MICROSECONDS, int(seconds * 1_000_000))

    def total(self, flow: Flow) -> int:
        """Return what all processes counted."""
        return sum(self._counts[flow :: len(Flow)])

    def totals(self) -> Totals:
        """Return the total of each flow, as `RateMeter` takes them."""
        return (
            self.total(Flow.TO_CLIENTS),
            self.total(Flow.FROM_CLIENTS),
            self.total(Flow.TO_SERVERS),
            self.total(Flow.FROM_SERVERS),
        )

    def _taken(self) -> int:
        """Take a place that no living process has."""
        for place in range(self._places):
            try:
                fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except BlockingIOError:
                continue
            return place
        raise AssertionError("more processes count than were said to")
