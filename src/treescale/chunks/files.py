"""Chunks as open files: what a store of files offers beside ChunkStore, so that nobody copies them.

Only a file that is trusted is handed out (see `trust`), if need be after it was verified.
"""

import os
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from blake3 import blake3

from treescale.chunks.syscalls import Disk
from treescale.chunks.trust import Stamp, stamp_of
from treescale.errors import Corrupt

hashed_at_once_bytes: Final = 256 * 1024
"""What is hashed while it is still in the processor's cache: a whole chunk would not be."""


class ChunkFile:
    """The open file of a trusted chunk. Whoever asked for it closes it; losing it does so too."""

    def __init__(self, disk: Disk, fd: int, found: os.stat_result, name: str) -> None:
        self.size = found.st_size
        self.found = found
        self._disk = disk
        self._fd = fd
        self._stamp: Stamp = stamp_of(found)
        self._name = name

    def __del__(self) -> None:
        """Close it when nobody did, as when a reader is cancelled."""
        self.close()

    def close(self) -> None:
        """Close it; again is once."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    def send(self, to: int, offset: int, size: int) -> int:
        """Send some bytes to a socket that does not block; return how many.

        Raises Corrupt when the file is not what was verified any more, and the socket's errors.
        """
        if not self._unchanged():
            raise Corrupt(f"{self._name} changed while it was sent")
        return self._disk.sendfile(to, self._fd, offset, size)

    def is_cached(self, start: int, stop: int) -> bool:
        """Say whether these bytes can be had without waiting for the disk, as far as one can tell.

        The ends stand for the rest: the kernel reads and forgets in order.
        """
        try:
            return all(self._disk.read_cached(self._fd, 1, at) for at in (start, stop - 1))
        except OSError:
            return False

    def read_cached(self, start: int, stop: int) -> bytes | None:
        """Return these bytes if they need no waiting and are what was verified, else None."""
        try:
            return self.read(start, stop) if self.is_cached(start, stop) else None
        except (Corrupt, OSError):
            return None

    def read(self, start: int, stop: int) -> bytes:
        """Return these bytes; blocks. Raises Corrupt when they are not what was verified."""
        data = self._disk.pread(self._fd, stop - start, start)
        # Asked after reading: what was read cannot change any more.
        if len(data) != stop - start or not self._unchanged():
            raise Corrupt(f"{self._name} changed while it was read")
        return data

    def chunk_id(self) -> bytes:
        """Return the name that the file's bytes should have; blocks, once. Raises OSError."""
        hasher = blake3()
        while data := self._disk.read(self._fd, hashed_at_once_bytes):
            hasher.update(data)
        return hasher.digest()

    def _unchanged(self) -> bool:
        return stamp_of(self._disk.fstat(self._fd)) == self._stamp


@dataclass(frozen=True, slots=True)
class FileSlice:
    """The bytes `start` up to `stop` of a chunk's file."""

    file: ChunkFile
    start: int
    stop: int


@runtime_checkable
class ChunkFiles(Protocol):
    """A store whose chunks may be had as files; knows chunks as a ChunkStore does."""

    def opened(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if this process trusts it, else None; does not wait."""
        ...

    async def checked(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk as a file, verified and trusted now, or its bytes when that cannot be.

        Raises as `ChunkStore.get` does.
        """
        ...
