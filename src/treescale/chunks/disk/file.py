"""Chunks as open files: what a store of files offers beside ChunkStore, so that nobody copies them.

Only a file that is trusted is handed out (see `verified`), if need be after it was verified.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

from blake3 import blake3

from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.verified import FileStamp, stamp_of
from treescale.errors import Corrupt

HASHED_AT_ONCE_BYTES: Final = 1024 * 1024
"""Nearly all of most chunks: each piece takes the interpreter twice from who serves."""


def in_any_thread(work: Callable[[], Any]) -> Awaitable[Any]:
    """Have the work done in a thread of the loop's own."""
    return asyncio.get_running_loop().run_in_executor(None, work)


class ChunkFile:
    """The open file of a trusted chunk. Whoever asked for it closes it; losing it does so too.

    `apart` does what may have to wait for the disk in a thread, for as long as its store waits.
    """

    def __init__(self, disk: Disk, fd: int, found: os.stat_result, name: str) -> None:
        self.size = found.st_size
        self.found = found
        self._disk = disk
        self._fd = fd
        self._verified = _Verified(stamp_of(found))
        self._name = name
        self.apart: Callable[[Callable[[], Any]], Awaitable[Any]] = in_any_thread

    def __del__(self) -> None:
        """Close it when nobody did, as when a reader is cancelled."""
        self.close()

    def close(self) -> None:
        """Close it; again is once."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._disk.close(fd)

    async def send_apart(self, to: int, offset: int, size: int) -> int:
        """Do as `send`, and wait for the disk; raises StoreSilent when that takes too long.

        The thread has descriptors of its own: it may stay behind, and those here be closed and
        their numbers used again for somebody else's connection.
        """
        sent: int = await self.apart(_Sending(self._duplicate(), os.dup(to), offset, size).do)
        return sent

    async def read_apart(self, start: int, stop: int) -> bytes:
        """Do as `read`, and wait for the disk; raises StoreSilent when that takes too long."""
        copy = self._duplicate()
        data: bytes = await self.apart(lambda: copy.read(start, stop))
        return data

    async def load_apart(self, start: int, stop: int) -> None:
        """Have the kernel read these bytes; raises StoreSilent when that takes too long.

        Whoever wants them then meets what the disk says of them.
        """
        # No name for it: who stays behind has it, and closes it by losing it.
        await self.apart(partial(self._duplicate().load, start, stop))

    def _duplicate(self) -> "ChunkFile":
        """Return the same file by a descriptor of its own, closed when it is lost."""
        copy = ChunkFile(self._disk, self._disk.dup(self._fd), self.found, self._name)
        copy._verified = self._verified
        return copy

    def send(self, to: int, offset: int, size: int) -> int:
        """Send some bytes to a socket that does not block; return how many.

        Raises Corrupt when the file is not what was verified any more, and the socket's errors.
        """
        if not self._unchanged():
            raise Corrupt(f"{self._name} changed while it was sent")
        return self._disk.sendfile(to, self._fd, offset, size)

    def is_cached(self, start: int, stop: int) -> bool:
        """Say whether these bytes can be had without waiting, as far as one can tell."""
        try:
            return self._disk.is_cached(self._fd, stop - start, start)
        except OSError:
            return False

    def load(self, start: int, stop: int) -> None:
        """Bring these bytes into the kernel's memory; blocks."""
        with suppress(OSError):  # whoever wants them gets it, too
            self._disk.read_ahead(self._fd, stop - start, start)
            self._disk.pread(self._fd, 1, stop - 1)

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
        while data := self._disk.read(self._fd, HASHED_AT_ONCE_BYTES):
            hasher.update(data)
        return hasher.digest()

    def _unchanged(self) -> bool:
        """Say whether the file's bytes are what was verified.

        New times alone are no damage: a chunk that is put again, or moved to the trash and back,
        gets them. Then the bytes are hashed, once (collection.md R9).
        """
        found = stamp_of(self._disk.fstat(self._fd))
        known = self._verified.stamp
        if found == known:
            return True
        if found[:3] != known[:3] or self._hashed() != self._name.rpartition("/")[2]:
            return False
        self._verified.stamp = found
        return True

    def _hashed(self) -> str:
        """Return the name that the bytes should have, whatever was read of them; blocks."""
        hasher, at = blake3(), 0
        while data := self._disk.pread(self._fd, HASHED_AT_ONCE_BYTES, at):
            hasher.update(data)
            at += len(data)
        return hasher.hexdigest()


@dataclass(slots=True)
class _Verified:
    """The stamp of a file whose bytes are right; one for all descriptors of it."""

    stamp: FileStamp


class _Sending:
    """A call of `send` with descriptors of its own, which are closed whether it is made or not.

    Once made they are closed at once: what it raises keeps its frames, and so this, for a while,
    and a connection that was cut is not over for its client as long as one descriptor is open.
    """

    def __init__(self, file: ChunkFile, to: int, offset: int, size: int) -> None:
        self._file = file
        self._to = to
        self._offset = offset
        self._size = size

    def __del__(self) -> None:
        self._close()

    def do(self) -> int:
        """Send; blocks."""
        try:
            return self._file.send(self._to, self._offset, self._size)
        finally:
            self._close()

    def _close(self) -> None:
        self._file.close()
        if self._to >= 0:
            to, self._to = self._to, -1
            os.close(to)


@dataclass(frozen=True, slots=True)
class FileSlice:
    """The bytes `start` up to `stop` of a chunk's file."""

    file: ChunkFile
    start: int
    stop: int


@runtime_checkable
class ChunkFiles(Protocol):
    """A store whose chunks may be had as files; knows chunks as a ChunkStore does."""

    def open_if_verified(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if this process trusts it, else None; does not wait."""
        ...

    async def open_verified(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk as a file, verified and trusted now, or its bytes when that cannot be.

        Raises as `ChunkStore.get` does.
        """
        ...
