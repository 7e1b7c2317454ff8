"""Chunks as files of one directory: the blocking half of the disk store, safe in many threads.

    <store>/store.json            the label
    <store>/chunks/ab/cd/<hex>    a chunk: exactly its bytes, named by them
    <store>/tmp/                  being written; never read
    <store>/quarantine/<hex>.<ns> what was found corrupt, and when: evidence
    <store>/trash/<hex>           deleted; its modification time says when

A chunk is hashed, written to tmp, synced, renamed and its directory synced, in this order, before a
put returns; several processes may do so in one directory at once. A disk that fails to sync or
rename is suspect: nothing is tried again, reads go on, writes end until a restart.
"""

import errno
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from treescale.chunks.files import ChunkFile
from treescale.chunks.label import Label
from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes, chunk_id_of, partition_of
from treescale.chunks.syscalls import Disk, read_all, write_all
from treescale.chunks.trust import Trust, dated_back_ns
from treescale.clock import Clock
from treescale.errors import ChunkUnknown, Corrupt, StoreFull, StoreUnusable

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING: Final = frozenset(
    {
        errno.EACCES,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOENT,
        errno.ENOMEM,
        errno.EPERM,
        errno.EROFS,
    }
)
"""What says nothing about the disk's health: away, read-only, forbidden, or too much at once."""
_numbers: Final = count()
"""Makes the names in tmp unique in this process, however often it opens the directory."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """What a store keeps free, so that deletes and a database beside it work when it is full."""

    fraction: float = 0.02
    bytes_min: int = 256 * 1024 * 1024
    inodes_min: int = 1000


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """How full a store is, and what is wrong with it (None when nothing is)."""

    bytes_total: int
    bytes_free: int
    inodes_free: int
    trouble: str | None
    restored: int
    """Chunks read after they had been deleted, and therefore brought back. Should stay 0."""


class ChunkDirectory:
    """The files of one store."""

    def __init__(
        self,
        root: Path,
        label: Label,
        *,
        clock: Clock,
        disk: Disk,
        reserve: Reserve,
        trust: Trust,
    ) -> None:
        token = disk.process_token(os.getpid())
        assert token is not None, "this process runs"
        self._root = root
        self._chunks = str(root / "chunks")
        self._label = label
        self._clock = clock
        self._disk = disk
        self._reserve = reserve
        self._trust = trust
        self._suspect: str | None = None
        self._token = token
        self._synced_directories: set[Path] = set()
        self._restored = 0

    def reserve(self, size: int) -> int:
        """Return the bytes left beside these `size` more; raises StoreFull or StoreUnusable."""
        self._check_healthy()
        return self._check_room(size)

    def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk, durably; see ChunkStore."""
        if len(data) > CHUNK_BYTES_MAX or chunk_id_of(data) != chunk:
            raise Corrupt(f"bytes put as chunk {chunk.hex()} are not that chunk")
        self._check_healthy()
        with self._judging(f"written to for chunk {chunk.hex()}"):
            if self._keeps(chunk):
                return
            self._check_room(len(data))
            self._write(chunk, data)

    def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified; a deleted one is brought back."""
        path, trashed = self._path(chunk), self._trash(chunk)
        # The second look at the path: another process may have brought it back between the others.
        for place in (path, trashed, path):
            with self._judging(f"read for chunk {chunk.hex()}"):
                try:
                    data = self._read(chunk, place)
                except FileNotFoundError:
                    continue
            if place is trashed:
                self._restore(chunk)
            return data
        self._label.check()
        raise ChunkUnknown(f"{self._root} has no chunk {chunk.hex()}")

    def verify(self, chunk: bytes) -> None:
        """Hash the chunk, whatever is trusted; raises Corrupt after quarantining it."""
        self._trust.forget(chunk)
        self.get(chunk)

    def opened(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file when it is trusted; None says only: use `checked`."""
        if not self._trust.knows(chunk):
            return None
        file = self._open(chunk)
        return file if file is not None and self._is_trusted(chunk, file) else None

    def checked(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk's open file, hashed unless trusted; its bytes if it cannot be trusted.

        Hashed in small pieces and then sent as a file, a chunk costs half of what it costs as one
        piece of fresh memory. Whatever is unusual is for `get` to judge; raises as that does.
        """
        file = self._open(chunk)
        return file if file is not None and self._verify(chunk, file) else self.get(chunk)

    def _verify(self, chunk: bytes, file: ChunkFile) -> bool:
        """Say whether the file can be trusted, hashing it if need be."""
        if self._is_trusted(chunk, file):
            return True
        try:
            if file.size > CHUNK_BYTES_MAX or file.chunk_id() != chunk:
                return False
        except OSError:
            return False
        self._remember(chunk, file.found, durable=False)
        return self._is_trusted(chunk, file)

    def _is_trusted(self, chunk: bytes, file: ChunkFile) -> bool:
        return self._trust.may_read(chunk, file.found, now=self._clock.monotonic())

    def _open(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file, None when there is none or it cannot be opened."""
        name = chunk.hex()
        path = f"{self._chunks}/{name[:2]}/{name[2:4]}/{name}"  # a tenth of what a Path costs
        try:
            fd = self._disk.open(path, os.O_RDONLY)
        except OSError:
            return None
        try:
            found = self._disk.fstat(fd)
        except OSError:
            self._disk.close(fd)
            return None
        return ChunkFile(self._disk, fd, found, path)

    def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here; raises StoreUnusable when the disk is away."""
        self._label.check()
        with self._judging("asked for chunks"):
            return [self._exists(chunk) for chunk in chunks]

    def delete(self, chunk: bytes) -> None:
        """Move the chunk to the trash, durably; raises ChunkUnknown."""
        self._check_healthy()
        path = self._path(chunk)
        with self._judging(f"made to delete chunk {chunk.hex()}"):
            try:
                self._disk.touch(path, self._clock.now())
                self._disk.rename(path, self._trash(chunk))
            except FileNotFoundError:
                raise ChunkUnknown(f"{self._root} has no chunk {chunk.hex()}") from None
            self._disk.fsync_directory(self._root / "trash")
            self._disk.fsync_directory(path.parent)

    def listed(self, first: int, partitions: Collection[int] | None) -> list[bytes]:
        """Return the chunks whose id begins with the byte `first`, of these partitions only."""
        self._label.check()
        top = self._root / "chunks" / f"{first:02x}"
        with self._judging("listed"):
            return [
                bytes.fromhex(name)
                for below in self._names(top)
                if len(below) == 2  # noqa: PLR2004  a directory of ours: two hex digits
                for name in self._names(top / below)
                if _HEX.fullmatch(name)
                and name.startswith(top.name + below)
                and (partitions is None or partition_of(bytes.fromhex(name)) in partitions)
            ]

    def usage(self) -> DiskUsage:
        """Return how full the store is; raises StoreUnusable when even that cannot be told."""
        with self._judging("asked for its free space"):
            space = self._disk.statvfs(self._root)
        return DiskUsage(
            bytes_total=space.f_blocks * space.f_frsize,
            bytes_free=space.f_bavail * space.f_frsize,
            inodes_free=space.f_favail,
            trouble=self._trouble(),
            restored=self._restored,
        )

    def clean_tmp(self) -> int:
        """Remove what processes that are no more left in tmp; return how many files."""
        removed = 0
        with self._judging("cleaned"):
            for name in self._disk.listdir(self._root / "tmp"):
                token = name.partition(".")[2].rpartition(".")[0]
                pid = token.partition("-")[0]
                if pid.isdecimal() and self._disk.process_token(int(pid)) == token:
                    continue
                self._disk.unlink(self._root / "tmp" / name)
                removed += 1
        return removed

    def _path(self, chunk: bytes) -> Path:
        name = chunk.hex()
        return self._root / "chunks" / name[:2] / name[2:4] / name

    def _trash(self, chunk: bytes) -> Path:
        return self._root / "trash" / chunk.hex()

    def _trouble(self) -> str | None:
        """Return why nothing can be written now, None when it can."""
        try:
            self.reserve(0)
        except (StoreFull, StoreUnusable) as error:
            return str(error)
        return None

    def _check_healthy(self) -> None:
        if self._suspect is not None:
            raise StoreUnusable(self._suspect)
        self._label.check()

    def _check_room(self, size: int) -> int:
        with self._judging("asked for its free space"):
            space = self._disk.statvfs(self._root)
        if space.f_flag & os.ST_RDONLY:
            raise StoreUnusable(f"{self._root} is mounted read-only; remount it to write again")
        kept = max(
            int(space.f_blocks * space.f_frsize * self._reserve.fraction), self._reserve.bytes_min
        )
        left = space.f_bavail * space.f_frsize - size - kept
        if left < 0:
            raise StoreFull(
                f"{self._root} has {space.f_bavail * space.f_frsize} bytes free and keeps {kept}: "
                f"no room for {size} more; add a disk or delete images"
            )
        # A file system without inodes of a fixed number says it has none at all.
        if space.f_files and space.f_favail < self._reserve.inodes_min:
            raise StoreFull(f"{self._root} has {space.f_favail} inodes left; add a disk")
        return left

    @contextmanager
    def _judging(self, doing: str) -> Iterator[None]:
        """Raise StoreFull or StoreUnusable for an OSError; a bad one makes the store suspect.

        Nothing that failed is tried again: after a failed fsync the kernel calls the lost pages
        clean, and a second fsync would succeed without them.
        """
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(f"{self._root} is full; add a disk or delete images") from error
            what = f"{self._root} failed when {doing}: {error.strerror}"
            if error.errno not in _PASSING:
                what += "; writing to it has ended: check the disk, then restart"
                self._suspect = what
            raise StoreUnusable(what) from error

    def _exists(self, chunk: bytes) -> bool:
        try:
            self._disk.stat(self._path(chunk))
        except FileNotFoundError:
            return False
        return True

    def _names(self, directory: Path) -> list[str]:
        try:
            return self._disk.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []

    # Writing

    def _keeps(self, chunk: bytes) -> bool:
        """Say whether a sound and durable copy is here already, making sure of both."""
        path = self._path(chunk)
        try:
            self._read(chunk, path, keep=True)
        except (FileNotFoundError, Corrupt):
            return False
        return True

    def _write(self, chunk: bytes, data: Bytes) -> None:
        temporary = self._root / "tmp" / f"{chunk.hex()}.{self._token}.{next(_numbers)}"
        path = self._path(chunk)
        self._make_directories(path)
        fd = self._disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            if data:
                self._disk.fallocate(fd, len(data))
            write_all(self._disk, fd, data)
            self._disk.date(fd, self._disk.stamp_ns() - dated_back_ns)
            self._disk.fsync(fd)
            self._disk.rename(temporary, path)
            self._sync_directories(path)
            self._remember(chunk, self._disk.fstat(fd), durable=True)
        except BaseException:
            # Best effort: clean_tmp removes what stays, and the first error is the one to tell.
            with suppress(OSError):
                self._disk.unlink(temporary)
            raise
        finally:
            self._disk.close(fd)

    def _make_directories(self, path: Path) -> None:
        """Make the chunk's directories; `_sync_directories` makes them durable afterwards."""
        for directory in (path.parent.parent, path.parent):
            if directory not in self._synced_directories:
                with suppress(FileExistsError):  # from before, or another process made it now
                    self._disk.mkdir(directory)

    def _sync_directories(self, path: Path) -> None:
        """Make the chunk's name durable and, once in this process, its directories' names.

        All after the rename: the first sync commits the file system's journal with everything in
        it, and the others find nothing left to do. Also for directories that were there: another
        process may have made them a moment ago.
        """
        self._disk.fsync_directory(path.parent)
        for directory in (path.parent, path.parent.parent):
            if directory not in self._synced_directories:
                self._disk.fsync_directory(directory.parent)
                self._synced_directories.add(directory)

    def _remember(self, chunk: bytes, found: os.stat_result, *, durable: bool) -> None:
        self._trust.record(
            chunk,
            found,
            now=self._clock.monotonic(),
            stamp_ns=self._disk.stamp_ns(),
            durable=durable,
        )

    # Reading

    def _read(self, chunk: bytes, path: Path, *, keep: bool = False) -> bytes:
        """Return the file's bytes, verified unless trusted; raises Corrupt after quarantining it.

        With `keep`, make sure that it is durable, and return nothing of it when that is known.
        """
        fd = self._disk.open(path, os.O_RDONLY)
        try:
            found = self._disk.fstat(fd)
            if keep and self._trust.may_keep(chunk, found, now=self._clock.monotonic()):
                return b""
            data = self._content(chunk, fd, found)
            if data is None:
                # While it is open, no other file can get its inode's number.
                what = f"chunk {chunk.hex()} in {self._root} is corrupt"
                raise Corrupt(what + self._quarantine(path, found))
        finally:
            self._disk.close(fd)
        if keep:
            self._sync_directories(path)
            self._remember(chunk, found, durable=True)
        return data

    def _content(self, chunk: bytes, fd: int, found: os.stat_result) -> bytes | None:
        """Return the bytes of the chunk's file, None when they are not the chunk's."""
        if found.st_size > CHUNK_BYTES_MAX:
            return None
        try:
            data = read_all(self._disk, fd, found.st_size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None  # a sector that cannot be read is as lost as one that reads wrong
        if len(data) == found.st_size and self._trust.may_read(
            chunk, found, now=self._clock.monotonic()
        ):
            return data
        if chunk_id_of(data) != chunk:
            return None
        self._remember(chunk, found, durable=False)
        return data

    def _restore(self, chunk: bytes) -> None:
        """Bring a chunk back from the trash; a store that is not written to leaves it there."""
        if self._suspect is not None:
            return
        path = self._path(chunk)
        with self._judging(f"made to restore chunk {chunk.hex()}"):
            self._make_directories(path)
            with suppress(FileNotFoundError):  # another reader was faster
                self._disk.rename(self._trash(chunk), path)
                self._restored += 1
            self._sync_directories(path)

    def _quarantine(self, path: Path, found: os.stat_result) -> str:
        """Move a corrupt file away and return what to add to the report about it."""
        if self._suspect is not None:
            return "; it stays where it is, since its disk is suspect"
        name = f"{path.name}.{int(self._clock.now() * 1e9)}"
        target = self._root / "quarantine" / name
        try:
            with self._judging(f"made to quarantine chunk {path.name}"):
                self._disk.rename(path, target)
                moved = self._disk.stat(target)
                if (moved.st_dev, moved.st_ino) != (found.st_dev, found.st_ino):
                    # Another process has replaced the bad file since it was read: put this back.
                    self._disk.rename(target, path)
                self._disk.fsync_directory(target.parent)
                self._disk.fsync_directory(path.parent)
        except (StoreFull, StoreUnusable) as error:
            return f", and could not be moved away: {error}"
        return f"; it is kept as quarantine/{name}"
