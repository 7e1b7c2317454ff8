"""What the processes of a server remember of the chunk files checked, so as not to check each time.

A file counts as unchanged while device, inode, size, mtime and ctime are what they were when its
bytes were known to be right: read back and hashed, or hashed and then written. Every write,
truncation or replacement changes one of them. Two things stay invisible to that: a change within
the kernel's clock tick of the last one (so a file counts only with an mtime well before the check;
the store dates the files it writes back), and a sector that rots under a file whose pages have left
the cache (so reads are believed for ten minutes only, then verified again).

The table has a fixed size, is used from several threads, and by all workers when it lies in memory
that they share. They do not lock it against each other: an entry carries a checksum, and one that
was torn by two writers is as good as none.
"""

import mmap
import os
import struct
import zlib
from dataclasses import dataclass
from threading import Lock
from typing import Final

ENTRIES_MAX: Final = 65_536
READ_SECONDS_MAX: Final = 600.0
"""For so long a verified chunk is read without hashing it again."""
KEEP_SECONDS_MAX: Final = 86_400.0
"""For so long a checked chunk answers a repeated put without being read (faults.md, N6)."""
SETTLED_NS_MIN: Final = 100_000_000
"""A file's mtime must lie so far back when it is checked: well over a clock tick."""
DATED_BACK_NS: Final = 1_000_000_000
"""So far back the store dates what it writes: a later write by anybody is then seen at once."""
WAYS: Final = 8
"""Entries that a chunk may take, of which the one checked longest ago makes room."""

_ENTRY: Final = struct.Struct("<32s 2Q3q d ?? 2x I")
_SUM_BYTES: Final = 4
_BUCKET_BYTES: Final = WAYS * _ENTRY.size

FileStamp = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    chunk: bytes
    stamp: FileStamp
    checked: float
    settled: bool
    durable: bool

    def packed(self) -> bytes:
        flags = self.settled, self.durable
        packed = _ENTRY.pack(self.chunk, *self.stamp, self.checked, *flags, 0)
        return packed[:-_SUM_BYTES] + _sum_of(packed)


class VerifiedFiles:
    """The files checked lately. Times are seconds of the clock that all processes share."""

    def __init__(self, entries: int = ENTRIES_MAX) -> None:
        self._buckets = -(-entries // WAYS)
        self._table = mmap.mmap(-1, self._buckets * _BUCKET_BYTES)  # shared with forks
        self._lock = Lock()

    def add(
        self, chunk: bytes, found: os.stat_result, *, now: float, stamp_ns: int, durable: bool
    ) -> None:
        """Remember that the bytes were right; `durable` when its directory entry is synced too."""
        stamp = stamp_of(found)
        settled = stamp_ns - found.st_mtime_ns >= SETTLED_NS_MIN
        with self._lock:
            entries = self._bucket(chunk)
            known = next((entry for entry in entries if entry and entry.chunk == chunk), None)
            durable = durable or (known is not None and known.stamp == stamp and known.durable)
            way = entries.index(known) if known else _oldest(entries)
            at = self._place(chunk) + way * _ENTRY.size
            entry = _Entry(chunk, stamp, now, settled, durable)
            self._table[at : at + _ENTRY.size] = entry.packed()

    def forget(self, chunk: bytes) -> None:
        """Trust the chunk's file no longer: somebody says that it is bad."""
        with self._lock:
            known = self._table.find(chunk, self._place(chunk), self._place(chunk) + _BUCKET_BYTES)
            if known >= 0:
                self._table[known : known + _ENTRY.size] = bytes(_ENTRY.size)

    def knows(self, chunk: bytes) -> bool:
        """Say whether the chunk's file was checked at all: if not, it need not be looked at."""
        at = self._place(chunk)
        return self._table.find(chunk, at, at + _BUCKET_BYTES) >= 0

    def is_verified(self, chunk: bytes, found: os.stat_result, *, now: float) -> bool:
        """Say whether the file's bytes need no hashing."""
        entry = self._same(chunk, found)
        return entry is not None and entry.settled and now - entry.checked <= READ_SECONDS_MAX

    def is_durable(self, chunk: bytes, found: os.stat_result, *, now: float) -> bool:
        """Say whether the file is known to be sound and durable."""
        entry = self._same(chunk, found)
        return entry is not None and entry.durable and now - entry.checked <= KEEP_SECONDS_MAX

    def _same(self, chunk: bytes, found: os.stat_result) -> _Entry | None:
        entry = self._find(chunk)
        return None if entry is None or entry.stamp != stamp_of(found) else entry

    def _find(self, chunk: bytes) -> _Entry | None:
        at = self._place(chunk)
        found = self._table.find(chunk, at, at + _BUCKET_BYTES)
        if found < 0 or (found - at) % _ENTRY.size:  # or by chance across two fields
            return None
        return _entry(self._table[found : found + _ENTRY.size])

    def _bucket(self, chunk: bytes) -> list[_Entry | None]:
        at = self._place(chunk)
        places = range(at, at + _BUCKET_BYTES, _ENTRY.size)
        return [_entry(self._table[place : place + _ENTRY.size]) for place in places]

    def _place(self, chunk: bytes) -> int:
        return int.from_bytes(chunk[-4:]) % self._buckets * _BUCKET_BYTES


def _entry(packed: bytes) -> _Entry | None:
    """Return the entry; None for one that was never written, or torn."""
    if packed[-_SUM_BYTES:] != _sum_of(packed):
        return None
    chunk, *stamp, checked, settled, durable, _ = _ENTRY.unpack(packed)
    device, inode, size, mtime_ns, ctime_ns = stamp
    return _Entry(chunk, (device, inode, size, mtime_ns, ctime_ns), checked, settled, durable)


def _sum_of(packed: bytes) -> bytes:
    """Return the checksum of an entry; never that of one that was never written."""
    return (zlib.crc32(packed[:-_SUM_BYTES]) or 1).to_bytes(_SUM_BYTES, "little")


def _oldest(entries: list[_Entry | None]) -> int:
    return min(range(WAYS), key=lambda way: entry.checked if (entry := entries[way]) else -1.0)


def stamp_of(found: os.stat_result) -> FileStamp:
    """Return what changes with every write, truncation or replacement of a file."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
