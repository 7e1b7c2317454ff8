"""Chunks as files of one directory: the blocking half of the disk store, safe in many threads.

    <store>/store.json            the label
    <store>/chunks/ab/cd/<hex>    a chunk: exactly its bytes, named by them
    <store>/tmp/                  being written; never read
    <store>/quarantine/<hex>.<ns> what was found corrupt, and when: evidence
    <store>/trash/<hex>           deleted; its modification time says when

A chunk is hashed, written to tmp, synced, renamed and its directory synced, in this order, before a
put returns; several processes may do so in one directory at once. What a call that fails says of
the disk is for `errors` to judge.

Under a chunk's name anything may lie: a directory, a pipe, a link, a file nobody may read. That is
a bad copy like one of wrong bytes: it goes to quarantine, and a good one takes its place.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Final

from treescale.chunks.disk.errors import DiskErrors
from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.disk.label import LABEL_FILE, Label
from treescale.chunks.disk.silence import Kind
from treescale.chunks.disk.state import DiskState
from treescale.chunks.disk.syscalls import FILE_FLAGS, Disk, read_all, write_all
from treescale.chunks.disk.verified import DATED_BACK_NS, VerifiedFiles
from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes, chunk_id_of
from treescale.clock import Clock
from treescale.errors import ChunkUnknown, Corrupt, StoreFull, StoreUnusable
from treescale.lease_times import LEASE_SECONDS_MIN, LeaseTimes

CHUNK_NAME: Final = re.compile(r"[0-9a-f]{64}")
NO_FILE: Final = frozenset(
    {errno.EACCES, errno.EIO, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EPERM, errno.ESTALE}
)
"""What opening or reading says of something that is no good copy, on a disk that is there."""
FULL_WORD: Final = "full: "
"""How the trouble of a store begins that only has no room; `metadata.records.is_full` knows it."""
RENEW_SECONDS: Final = LeaseTimes(LEASE_SECONDS_MIN).renew_age
"""A put renews the time of a copy that is older: 15 min, a quarter of the shortest lease there is.

So the lease may be set to another while servers run.
"""
WRITE_SECONDS_MAX: Final = 600
"""So long a file in tmp is taken for one that is being written."""
_numbers: Final = count()
"""Makes the names in tmp unique in this process, however often it opens the directory."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """What a store keeps free, so that deletes and a database beside it work when it is full."""

    fraction: float = 0.02
    bytes_min: int = 256 * 1024 * 1024
    inodes_min: int = 1000


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """How full a store is, and what is wrong with it (None when nothing is)."""

    bytes_total: int
    bytes_free: int
    inodes_free: int
    trouble: str | None
    restored: int
    """Chunks read from the trash."""

    def with_trouble(self, trouble: str) -> "StoreUsage":
        """Return the same with this trouble."""
        return replace(self, trouble=trouble)


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
        trust: VerifiedFiles,
        state: DiskState,
    ) -> None:
        token = disk.process_token(os.getpid())
        assert token is not None, "this process runs"
        self._root = root
        self._chunks = str(root / "chunks")
        self.label = label
        self._clock = clock
        self._disk = disk
        self._reserve = reserve
        self._trust = trust
        self._state = state
        self.renew_seconds = RENEW_SECONDS
        self.errors = DiskErrors(root, state)
        self._token = token
        self._synced_directories: set[Path] = set()
        self._from_trash = 0

    def check_space(self, size: int) -> int:
        """Return the bytes left beside these `size` more; raises StoreFull or StoreUnusable."""
        self.check_healthy()
        return self._check_room(size)

    def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk, durably; see ChunkStore."""
        if len(data) > CHUNK_BYTES_MAX or chunk_id_of(data) != chunk:
            raise Corrupt(f"bytes put as chunk {chunk.hex()} are not that chunk")
        self.check_healthy()
        with self.errors.judging(f"written to for chunk {chunk.hex()}"):
            if self.keeps(chunk):
                return
            self._check_room(len(data))
            with self.errors.noting():
                self._write(chunk, data)

    def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified; if need be those in the trash, which stay there."""
        path, trashed = self.path_of(chunk), self.trash_of(chunk)
        # The second look at the path: another process may have put it again between the others.
        for place in (path, trashed, path):
            with self.errors.judging(f"read for chunk {chunk.hex()}"):
                try:
                    data = self._read(chunk, place)
                except (FileNotFoundError, NotADirectoryError):
                    continue
            self._from_trash += place is trashed
            return data
        self.label.check()
        if self._state.failed:
            raise StoreUnusable(
                f"{self._root} shows no chunk {chunk.hex()}, but {self._state.failed}"
            )
        raise ChunkUnknown(f"{self._root} has no chunk {chunk.hex()}")

    def verify(self, chunk: bytes) -> None:
        """Hash the chunk, whatever is trusted; raises Corrupt after quarantining it."""
        self._trust.forget(chunk)
        self.get(chunk)

    def open_if_verified(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file when it is trusted; None says only: use `open_verified`."""
        if not self._trust.knows(chunk):
            return None
        file = self._open(chunk, self._disk.open_cached)
        return file if file is not None and self._is_trusted(chunk, file) else None

    def open_verified(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk's open file, hashed unless trusted; its bytes if it cannot be trusted.

        Hashed in small pieces and then sent as a file, a chunk costs half of what it costs as one
        piece of fresh memory. Whatever is unusual is for `get` to judge; raises as that does.
        """
        file = self._open(chunk, lambda path: self._disk.open(path, FILE_FLAGS))
        if file is None:
            return self.get(chunk)
        if self._is_trusted(chunk, file):
            return file
        if stat.S_ISREG(file.found.st_mode) and file.size <= CHUNK_BYTES_MAX:
            with suppress(OSError):
                if file.chunk_id() == chunk:
                    self._remember(chunk, file.found, durable=False)
                    if self._is_trusted(chunk, file):
                        return file
        return self.get(chunk)

    def _is_trusted(self, chunk: bytes, file: ChunkFile) -> bool:
        return self._trust.is_verified(chunk, file.found, now=self._clock.monotonic())

    def _open(self, chunk: bytes, how: Callable[[str], int]) -> ChunkFile | None:
        """Return the chunk's open file, None when there is none or it cannot be opened."""
        name = chunk.hex()
        path = f"{self._chunks}/{name[:2]}/{name[2:4]}/{name}"  # a tenth of what a Path costs
        try:
            fd = how(path)
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
        self.label.check()
        with self.errors.judging("asked for chunks"):
            return [self._exists(chunk) for chunk in chunks]

    def listed(self, first: int, partitions: Collection[int] | None) -> list[bytes]:
        """Return the chunks whose id begins with the byte `first`, of these partitions only."""
        self.label.check()
        top = self._root / "chunks" / f"{first:02x}"
        found: list[bytes] = []
        with self.errors.judging("listed"):
            for below in self._names(top):
                if _holds_any(first, below, partitions):
                    names, begin = self._names(top / below), top.name + below
                    found += [
                        bytes.fromhex(name)
                        for name in names
                        if name.startswith(begin) and CHUNK_NAME.fullmatch(name)
                    ]
        return found

    def usage(self) -> StoreUsage:
        """Return how full the store is; raises StoreUnusable when even that cannot be told."""
        with self.errors.judging("asked for its free space"):
            space = self._disk.statvfs(self._root)
        return StoreUsage(
            bytes_total=space.f_blocks * space.f_frsize,
            bytes_free=space.f_bavail * space.f_frsize,
            inodes_free=space.f_favail,
            trouble=self._trouble(),
            restored=self._from_trash,
        )

    def probe(self) -> None:
        """Read a byte, then write, sync and read back one: return when the disk answers.

        Whatever it says: raises StoreUnusable, StoreFull when it is there, and is not to be written
        to. The first read asks the disk and not the kernel's memory, so that one that has failed,
        or is read-only, is not taken for one that answers.
        """
        with self.errors.judging("probed"):
            fd = self._disk.open(self._root / LABEL_FILE, os.O_RDONLY)
            try:
                self._disk.uncache(fd)
                self._disk.pread(fd, 1, 0)
            finally:
                self._disk.close(fd)
        self.check_healthy()
        path = self._root / "tmp" / f"probe.{self._token}.0"
        with self.errors.judging("probed"), self.errors.noting():
            fd = self._disk.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                write_all(self._disk, fd, b"\0")
                self._disk.fsync(fd)
                self._disk.uncache(fd)
                self._disk.pread(fd, 1, 0)
            finally:
                self._disk.close(fd)
                self._disk.unlink(path)

    def clean_tmp(self) -> int:
        """Remove what processes that are no more left in tmp; return how many files."""
        removed = 0
        with self.errors.judging("cleaned"):
            for name in self._disk.listdir(self._root / "tmp"):
                token = name.partition(".")[2].rpartition(".")[0]
                pid = token.partition("-")[0]
                if pid.isdecimal() and self._disk.process_token(int(pid)) == token:
                    continue
                with suppress(IsADirectoryError, PermissionError):  # not ours
                    self._disk.unlink(self._root / "tmp" / name)
                    removed += 1
        return removed

    def written_now(self) -> frozenset[str]:
        """Return the names of chunks that are in tmp, on their way to their places.

        Not what a process that lives could not remove: nobody waits so long for a put.
        """
        found, since = set[str](), self._disk.now_ns() - WRITE_SECONDS_MAX * 1_000_000_000
        for name in self._disk.listdir(self._root / "tmp"):
            with suppress(FileNotFoundError):  # it is there by now
                if self._disk.lstat(self._root / "tmp" / name).st_mtime_ns > since:
                    found.add(name.partition(".")[0])
        return frozenset(found)

    def path_of(self, chunk: bytes) -> Path:
        """Return where the chunk's file is."""
        name = chunk.hex()
        return self._root / "chunks" / name[:2] / name[2:4] / name

    def trash_of(self, chunk: bytes) -> Path:
        """Return where it is once deleted."""
        return self.trash / chunk.hex()

    @property
    def trash(self) -> Path:
        """Return where deleted chunks lie."""
        return self._root / "trash"

    @property
    def quarantine(self) -> Path:
        """Return where what was found corrupt lies."""
        return self._root / "quarantine"

    def _trouble(self) -> str | None:
        """Return why nothing can be written now, None when it can."""
        try:
            self.check_space(0)
        except StoreFull as error:
            return f"{FULL_WORD}{error}"
        except StoreUnusable as error:
            return str(error)
        return self._state.refused or None

    def check_healthy(self) -> None:
        """Raise StoreUnusable when the disk has failed, or is not there."""
        failed = self._state.failed
        if failed:
            raise StoreUnusable(failed)
        self.label.check()

    def _check_room(self, size: int) -> int:
        with self.errors.judging("asked for its free space"):
            space = self._disk.statvfs(self._root)
        if space.f_flag & os.ST_RDONLY:
            raise StoreUnusable(self.errors.read_only)
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

    def _exists(self, chunk: bytes) -> bool:
        try:
            found = self._disk.lstat(self.path_of(chunk))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISREG(found.st_mode)

    def _names(self, directory: Path) -> list[str]:
        try:
            return self._disk.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return []

    @contextmanager
    def locked(self, path: Path, *, alone: bool = False) -> Iterator[None]:
        """Hold the lock of a chunk's directory: `alone` for who takes something away.

        Between all processes that use the store (collection.md R2). Raises BlockingIOError when
        it is asked for alone and not to be had.
        """
        take = self._disk.lock_alone if alone else self._disk.lock_shared
        fd = take(path.parent)
        try:
            yield
        finally:
            self._disk.unlock(fd)

    # Writing

    def keeps(self, chunk: bytes) -> bool:
        """Say whether a sound and durable copy is here already, making sure of both.

        Its lease runs from now on, or has done so for less than `renew_seconds`.
        """
        path = self.path_of(chunk)
        try:
            self._read(chunk, path, keep=True)
        except (FileNotFoundError, NotADirectoryError, Corrupt):
            return False
        return True

    def _write(self, chunk: bytes, data: Bytes) -> None:
        temporary = self._root / "tmp" / f"{chunk.hex()}.{self._token}.{next(_numbers)}"
        path = self.path_of(chunk)
        self._make_directories(path)
        fd = self._disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            if data:
                self._disk.fallocate(fd, len(data))
            write_all(self._disk, fd, data)
            self._disk.date(fd, self._disk.stamp_ns() - DATED_BACK_NS)
            self._disk.fsync(fd)
            with self.locked(path):
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
            if directory in self._synced_directories:
                continue
            with suppress(FileExistsError):  # from before, or another process made it now
                self._disk.mkdir(directory)
                continue
            if not stat.S_ISDIR(self._disk.stat(directory).st_mode):
                self._move_away(directory)
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
        self._trust.add(
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
        try:
            fd = self._disk.open(path, FILE_FLAGS)
        except OSError as error:
            if error.errno not in NO_FILE:
                raise
            self.label.check()  # else it is the disk that is away
            raise Corrupt(self._unread(chunk, path, error)) from error
        try:
            found = self._disk.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise Corrupt(
                    f"chunk {chunk.hex()} in {self._root} is no file"
                    + self._quarantine(path, found)
                )
            durable = keep and self._trust.is_durable(chunk, found, now=self._clock.monotonic())
            if keep and self._is_old(found):
                found = self._renewed(path, fd, found)
            elif durable:
                return b""
            data = self._content(chunk, fd, found)
            if data is None:
                self._trust.forget(chunk)  # also should it not be possible to move it away
                # While it is open, no other file can get its inode's number.
                what = f"chunk {chunk.hex()} in {self._root} is corrupt"
                raise Corrupt(what + self._quarantine(path, found))
        finally:
            self._disk.close(fd)
        if keep:
            if not durable:
                self._sync_directories(path)
            self._remember(chunk, found, durable=True)
        return data

    def _is_old(self, found: os.stat_result) -> bool:
        age = (self._disk.now_ns() - found.st_mtime_ns) / 1e9
        return not 0 <= age < self.renew_seconds

    def _renewed(self, path: Path, fd: int, found: os.stat_result) -> os.stat_result:
        """Have the copy's lease begin now; return what is known of the file then.

        Under the lock, so that nobody moves it away between (collection.md R1, R2); not synced.
        Raises FileNotFoundError when the name is another file's by now, or the time cannot be set:
        then the chunk is written anew.
        """
        with self.locked(path):
            named = self._disk.lstat(path)
            if (named.st_dev, named.st_ino) != (found.st_dev, found.st_ino):
                raise FileNotFoundError(errno.ENOENT, "another file by now", str(path))
            try:
                self._disk.date(fd, self._disk.now_ns() - DATED_BACK_NS)
            except PermissionError as error:
                raise FileNotFoundError(errno.ENOENT, "not ours to date", str(path)) from error
        return self._disk.fstat(fd)

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
        if len(data) == found.st_size and self._trust.is_verified(
            chunk, found, now=self._clock.monotonic()
        ):
            return data
        if chunk_id_of(data) != chunk:
            return None
        self._remember(chunk, found, durable=False)
        return data

    def _must_not_write(self) -> bool:
        return bool(self._state.failed) or self._state.is_silent(Kind.WRITE)

    def _unread(self, chunk: bytes, path: Path, error: OSError) -> str:
        """Move away what cannot be opened; return what is reported of it."""
        what = f"chunk {chunk.hex()} in {self._root} cannot be opened ({error.strerror})"
        try:
            found = self._disk.lstat(path)
        except OSError:
            return what
        return what + self._quarantine(path, found)

    def _move_away(self, path: Path) -> None:
        """Move what lies where a directory of ours belongs to the quarantine."""
        name = f"{path.name}.{int(self._clock.now() * 1e9)}"
        self._disk.rename(path, self.quarantine / name)

    def _quarantine(self, path: Path, found: os.stat_result) -> str:
        """Move a corrupt file away and return what to add to the report about it."""
        if self._must_not_write():
            return "; it stays where it is, since its disk is suspect"
        name = f"{path.name}.{int(self._clock.now() * 1e9)}"
        target = self.quarantine / name
        try:
            with self.errors.judging(f"made to quarantine chunk {path.name}"):
                self._disk.rename(path, target)
                moved = self._disk.lstat(target)
                if (moved.st_dev, moved.st_ino) != (found.st_dev, found.st_ino):
                    # Another process has replaced the bad file since it was read: put this back.
                    self._disk.rename(target, path)
                self._disk.fsync_directory(target.parent)
                self._disk.fsync_directory(path.parent)
        except (StoreFull, StoreUnusable) as error:
            return f", and could not be moved away: {error}"
        return f"; it is kept as quarantine/{name}"


def _holds_any(first: int, below: str, partitions: Collection[int] | None) -> bool:
    """Say whether a directory below that of this byte may hold chunks of these partitions."""
    if not re.fullmatch("[0-9a-f]{2}", below):
        return False
    return partitions is None or first << 4 | int(below[0], 16) in partitions
