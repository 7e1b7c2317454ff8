"""Failures counted by all workers of a server together, in memory they share; keys are not kept.

A table of fixed size: a key is hashed with a secret of this start, so nobody can choose where it
falls, and takes one of eight places there. When all are taken, the lowest count makes room. Whoever
wants a high count out would have to make eight as high just there, and each costs a password looked
at: at forty a second nobody gets to fill the table before what it holds is forgotten anyway.

A lock that the kernel lifts when its process ends keeps two workers from counting at once. A worker
that was stopped while it held the lock must not stop the others: after some tries they go on
without, and may lose a count.
"""

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from treescale.auth.guessing import FORGOTTEN_SECONDS, NOTHING, Count

ENTRIES_MAX: Final = 131_072
WAYS: Final = 8
LOCK_ATTEMPTS_MAX: Final = 200
"""Each takes about a microsecond, and whoever holds the lock a few dozen."""
KEY_BYTES: Final = 16
_TAG_BYTES: Final = 8
_ENTRY: Final = struct.Struct("<8sdddd")
_BUCKET_BYTES: Final = WAYS * _ENTRY.size
_FREE: Final = bytes(_TAG_BYTES)


class Counts:
    """The counts of one server: to be made before its workers are forked. For one thread each."""

    def __init__(self, entries: int = ENTRIES_MAX, *, secret: bytes | None = None) -> None:
        self._buckets = -(-entries // WAYS)
        self._table = mmap.mmap(-1, self._buckets * _BUCKET_BYTES)  # shared with forks
        self._secret = secrets.token_bytes(KEY_BYTES) if secret is None else secret
        self._lock = os.memfd_create("treescale-failures")

    def __del__(self) -> None:
        """Let go of the lock's file."""
        os.close(self._lock)

    def read(self, key: bytes) -> Count:
        """Return a key's count. It may miss what another worker changes at this moment."""
        tag, at = self._place(key)
        return next((count for _, known, count in self._bucket(at) if known == tag), NOTHING)

    def change(self, key: bytes, change: Callable[[Count], Count], *, now: float) -> None:
        """Replace a key's count by what `change` makes of it; `now` says which are forgotten."""
        tag, at = self._place(key)
        with self._held():
            entries = list(self._bucket(at))
            mine = next((one for one in entries if one[1] == tag), None)
            place, _, count = mine or (
                min(entries, key=lambda one: _worth(one[1], one[2], now))[0],
                tag,
                NOTHING,
            )
            changed = change(count)
            if changed == NOTHING:
                packed = bytes(_ENTRY.size)
            else:
                packed = _ENTRY.pack(
                    tag, changed.level, changed.last, changed.failed, changed.right
                )
            self._table[place : place + _ENTRY.size] = packed

    def _place(self, key: bytes) -> tuple[bytes, int]:
        digest = hashlib.blake2b(key, digest_size=2 * _TAG_BYTES, key=self._secret).digest()
        bucket = int.from_bytes(digest[_TAG_BYTES:]) % self._buckets
        tag = digest[:_TAG_BYTES]
        return tag if tag != _FREE else b"\1" * _TAG_BYTES, bucket * _BUCKET_BYTES

    def _bucket(self, at: int) -> Iterator[tuple[int, bytes, Count]]:
        for place in range(at, at + _BUCKET_BYTES, _ENTRY.size):
            tag, *numbers = _ENTRY.unpack_from(self._table, place)
            yield place, tag, Count(*numbers)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock, if it can be had."""
        held = any(self._try_lock() for _ in range(LOCK_ATTEMPTS_MAX))
        try:
            yield
        finally:
            if held:
                fcntl.lockf(self._lock, fcntl.LOCK_UN, 1)

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except BlockingIOError:
            os.sched_yield()  # whoever holds it may have been interrupted
            return False
        return True


def _worth(tag: bytes, count: Count, now: float) -> tuple[float, float]:
    """Return what an entry is worth keeping: nothing when it is free or forgotten, else its level.

    Of equals the one that failed longest ago is worth the least.
    """
    if tag == _FREE or now - count.last >= FORGOTTEN_SECONDS:
        return -1.0, 0.0
    return count.level, count.last
