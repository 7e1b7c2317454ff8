"""How many bytes went in and out at a server's doors, as its workers count it together."""

from enum import IntEnum
from typing import Final

from treescale.metrics.rate import Totals
from treescale.metrics.shared_counters import SharedCounters


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


class TrafficCounters:
    """The counts of one server: to be made before its processes are forked.

    `processes` is how many of them count at a time, at most.
    """

    def __init__(self, processes: int = 1) -> None:
        self._counters = SharedCounters(len(Flow), processes)

    def count(self, flow: Flow, size: int) -> None:
        """Add so many bytes; from one thread of each process."""
        self._counters.row[flow] += size

    def count_pulled(self, size: int, seconds: float) -> None:
        """Add a piece of a blob that a client waited for so long."""
        self.count(Flow.PULLED, size + PIECE_BYTES)
        self.count(Flow.PULLED_MICROSECONDS, int(seconds * 1_000_000))

    def total(self, flow: Flow) -> int:
        """Return what all processes counted."""
        return self._counters.total(flow)

    def totals(self) -> Totals:
        """Return the total of each flow, as `RateMeter` takes them."""
        return (
            self.total(Flow.TO_CLIENTS),
            self.total(Flow.FROM_CLIENTS),
            self.total(Flow.TO_SERVERS),
            self.total(Flow.FROM_SERVERS),
        )
