"""Every call the disk store makes to the operating system, as one small object.

Tests pass one that fails on the n-th call, or forgets what was never synced. Each method is the
system call of its name, blocks, and raises OSError; it decides nothing.
"""

# ruff: noqa: PTH102, PTH104, PTH108, PTH116, PTH208  the calls themselves, without pathlib's own

import ctypes
import os
import time
from functools import cache
from pathlib import Path
from typing import Final

_CLOCK_REALTIME_COARSE: Final = 5
"""From <linux/time.h>; Python does not name it."""


class Disk:
    """The real disk."""

    def open(self, path: Path | str, flags: int, mode: int = 0o600) -> int:
        """Return a file descriptor that child processes do not inherit."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, fd: int) -> None:
        """Close it."""
        os.close(fd)

    def read(self, fd: int, size: int) -> bytes:
        """Return up to `size` bytes, in a buffer no longer than they are."""
        return os.read(fd, size)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        return os.pread(fd, size, offset)

    def read_cached(self, fd: int, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`, as many as need no waiting for the disk.

        Raises BlockingIOError when there are none, and OSError where that cannot be told.
        """
        data = bytearray(size)
        found = os.preadv(fd, [data], offset, os.RWF_NOWAIT)
        return bytes(data[:found])

    def sendfile(self, to: int, fd: int, offset: int, size: int) -> int:
        """Send some of the file's bytes to a socket; return how many."""
        return os.sendfile(to, fd, offset, size)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write some of `data`; return how many bytes."""
        return os.write(fd, data)

    def fallocate(self, fd: int, size: int) -> None:
        """Reserve the room for `size` bytes, so that a full disk says so before it is written."""
        os.posix_fallocate(fd, 0, size)

    def fsync(self, fd: int) -> None:
        """Return when the file's bytes are on the disk."""
        os.fsync(fd)

    def fsync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def syncfs(self, path: Path) -> None:
        """Return when all of the file system that holds `path` is on the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc().syncfs(fd) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(path))
        finally:
            os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within the file system, replacing `target`."""
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        """Make a directory that only its owner may enter."""
        os.mkdir(path, 0o700)

    def listdir(self, path: Path) -> list[str]:
        """Return the names in a directory."""
        return os.listdir(path)

    def stat(self, path: Path) -> os.stat_result:
        """Return what is known about a path."""
        return os.stat(path)

    def fstat(self, fd: int) -> os.stat_result:
        """Return what is known about an open file."""
        return os.fstat(fd)

    def statvfs(self, path: Path) -> os.statvfs_result:
        """Return what is known about the file system that holds `path`."""
        return os.statvfs(path)

    def touch(self, path: Path, seconds: float) -> None:
        """Set a file's modification time."""
        os.utime(path, (seconds, seconds))

    def date(self, fd: int, ns: int) -> None:
        """Set an open file's modification time, in nanoseconds since 1970."""
        os.utime(fd, ns=(ns, ns))

    def stamp_ns(self) -> int:
        """Return what a file changed now would get as its time: the kernel's own coarse clock."""
        return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)

    def process_token(self, pid: int) -> str | None:
        """Return a text that names this very process, in this boot; None when there is none.

        A process id alone is used again; with its start time and the boot it is not.
        """
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None
        started = stat.rpartition(")")[2].split()[19]
        return f"{pid}-{boot}-{started}"


def write_all(disk: Disk, fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`, as a rule in one call."""
    left = memoryview(data)
    while left:
        left = left[disk.write(fd, left) :]


def replace_file(disk: Disk, path: Path, draft: Path, data: bytes) -> None:
    """Make the file hold `data`, durably: it is the old one or the new one whenever power goes."""
    fd = disk.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(disk, fd, data)
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.rename(draft, path)
    disk.fsync_directory(path.parent)


def read_all(disk: Disk, fd: int, size: int) -> bytes:
    """Return up to `size` bytes, fewer only at the file's end; as a rule one call, no copy."""
    data = disk.read(fd, size)
    while 0 < len(data) < size:
        more = disk.read(fd, size - len(data))
        if not more:
            break
        data += more
    return data


@cache
def _libc() -> ctypes.CDLL:
    """Return the C library: Python offers no syncfs before 3.15."""
    return ctypes.CDLL(None, use_errno=True)
