"""Which chunks are read for clients and from where, while somebody looks on; in shared memory.

Each process writes into a ring of its own, and only until a deadline that whoever looks sets, in
seconds of the clock that never goes back, which all processes of a machine share. So while nobody
looks a read pays for a look at that number, and nobody has to say that they went. Entries are
overwritten unlocked: one that is torn names a chunk or a store that nobody knows, and is dropped.
"""

import mmap
from collections.abc import Iterator
from struct import calcsize
from typing import Final, NamedTuple

from treescale.clock import Clock
from treescale.metrics.shared_counters import SharedCounters

ENTRIES: Final = 1024
"""Of each process: a second of reads, at a gigabyte a second."""
WATCHED_SECONDS: Final = 5.0
"""So long after somebody looked reads are noted."""
_CHUNK_BYTES: Final = 8
"""The begin of a chunk's id tells it from all others of an image."""
_FIELDS: Final = 4
_COUNT: Final = 0
_FIRST: Final = 1
_NANOSECONDS: Final = 1e9


class Read(NamedTuple):
    """A chunk that was read."""

    chunk: bytes
    """The first `CHUNK_BYTES` of its id."""
    store_id: str
    at: float
    """Monotonic seconds."""


def begin_of(chunk: bytes) -> bytes:
    """Return what of a chunk's id stands in a `Read`."""
    return chunk[:_CHUNK_BYTES]


class ChunkReads:
    """The rings of one server: to be made before its processes are forked.

    `processes` is how many of them read at a time, at most.
    """

    def __init__(self, clock: Clock, processes: int = 1) -> None:
        self._clock = clock
        memory = mmap.mmap(-1, calcsize("d"))  # shared with forks
        self.until = memoryview(memory).cast("d")
        """When nobody looks any more; 0.0 for long. To be looked at before `note`."""
        self._rings = SharedCounters(_FIRST + _FIELDS * ENTRIES, processes)

    def watch(self) -> None:
        """Have reads noted for a while from now."""
        self.until[0] = self._clock.monotonic() + WATCHED_SECONDS

    def note(self, chunk: bytes, store_id: str) -> None:
        """Note a read, if somebody looks still; from one thread of each process."""
        now = self._clock.monotonic()
        if now > self.until[0]:
            self.until[0] = 0.0
            return
        ring = self._rings.row
        place = _FIRST + ring[_COUNT] % ENTRIES * _FIELDS
        store = _store_number(store_id)
        ring[place] = _signed(int.from_bytes(chunk[:_CHUNK_BYTES]))
        ring[place + 1] = _signed(store >> 64)
        ring[place + 2] = _signed(store & _LOW)
        ring[place + 3] = int(now * _NANOSECONDS)
        ring[_COUNT] += 1

    def since(self, seconds: float) -> list[Read]:
        """Return what was read in the last seconds, as far as the rings reach, in any order."""
        oldest = self._clock.monotonic() - seconds
        return [read for ring in self._rings.rows() for read in _newest(ring, oldest)]


def _newest(ring: "memoryview[int]", oldest: float) -> Iterator[Read]:
    """Yield what was noted there since then, the newest first."""
    count = ring[_COUNT]
    for number in range(count - 1, max(0, count - ENTRIES) - 1, -1):
        place = _FIRST + number % ENTRIES * _FIELDS
        chunk, high, low, at = ring[place : place + _FIELDS]
        if at < oldest * _NANOSECONDS:
            return
        store = (high & _LOW) << 64 | low & _LOW
        yield Read((chunk & _LOW).to_bytes(_CHUNK_BYTES), f"{store:032x}", at / _NANOSECONDS)


_LOW: Final = (1 << 64) - 1


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _store_number(store_id: str) -> int:
    """Return a store's id as a number; 0 for one that is none of ours."""
    try:
        return int(store_id, 16) & ((1 << 128) - 1)
    except ValueError:
        return 0
