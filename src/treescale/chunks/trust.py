"""What a process remembers of the chunk files it has checked, so as not to check each time.

A file counts as unchanged while device, inode, size, mtime and ctime are what they were when it
was verified; every write, truncation or replacement changes one of them. Two things stay invisible
to that: a change within the kernel's clock tick of the check (so a file that changed a moment
before it was verified is not remembered for reading), and a sector that rots under a file whose
pages have left the cache (so reads are believed for ten minutes only, then verified again).
Bounded; used from several threads.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Final

entries_max: Final = 65_536
read_seconds_max: Final = 600.0
"""For so long a verified chunk is read without hashing it again."""
keep_seconds_max: Final = 86_400.0
"""For so long a checked chunk answers a repeated put without being read (faults.md, N6)."""
settled_ns_min: Final = 100_000_000
"""A file must have been left alone for so long when it is verified: well over a clock tick."""

Stamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    stamp: Stamp
    checked: float
    settled: bool
    durable: bool


class Trust:
    """The files checked lately. Times are monotonic seconds."""

    def __init__(self, entries: int = entries_max) -> None:
        self._entries_max = entries
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = Lock()

    def record(
        self, chunk: bytes, found: os.stat_result, *, now: float, stamp_ns: int, durable: bool
    ) -> None:
        """Remember that the bytes were right; `durable` when its directory entry is synced too."""
        stamp = stamp_of(found)
        settled = stamp_ns - max(found.st_ctime_ns, found.st_mtime_ns) >= settled_ns_min
        with self._lock:
            known = self._entries.pop(chunk, None)
            durable = durable or (known is not None and known.stamp == stamp and known.durable)
            self._entries[chunk] = _Entry(stamp, now, settled, durable)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)

    def forget(self, chunk: bytes) -> None:
        """Trust the chunk's file no longer: somebody says that it is bad."""
        with self._lock:
            self._entries.pop(chunk, None)

    def knows(self, chunk: bytes) -> bool:
        """Say whether the chunk's file was checked at all: if not, it need not be looked at."""
        with self._lock:
            return chunk in self._entries

    def may_read(self, chunk: bytes, found: os.stat_result, *, now: float) -> bool:
        """Say whether the file's bytes need no hashing."""
        entry = self._same(chunk, found)
        return entry is not None and entry.settled and now - entry.checked <= read_seconds_max

    def may_keep(self, chunk: bytes, found: os.stat_result, *, now: float) -> bool:
        """Say whether the file is known to be sound and durable."""
        entry = self._same(chunk, found)
        return entry is not None and entry.durable and now - entry.checked <= keep_seconds_max

    def _same(self, chunk: bytes, found: os.stat_result) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(chunk)
            if entry is None or entry.stamp != stamp_of(found):
                return None
            self._entries.move_to_end(chunk)
            return entry


def stamp_of(found: os.stat_result) -> Stamp:
    """Return what changes with every write, truncation or replacement of a file."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
