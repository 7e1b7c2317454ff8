"""Every call the disk store makes to the operating system, as one small object.

Tests pass one that fails on the n-th call, or forgets what was never synced. Each method is the
system call of its name, blocks, and raises OSError; it decides nothing.
"""

# ruff: noqa: PTH102, PTH104, PTH108, PTH116, PTH208  the calls themselves, without pathlib's own

import ctypes
import errno
import fcntl
import mmap
import os
import time
from functools import cache
from pathlib import Path
from typing import Final

_CLOCK_REALTIME_COARSE: Final = 5
"""From <linux/time.h>; Python does not name it."""
_OPENAT2: Final = 437
_CACHESTAT: Final = 451
"""System calls, the same everywhere; Python offers neither. cachestat is of Linux 6.5."""
_AT_FDCWD: Final = -100
_RESOLVE_CACHED: Final = 0x20
_PAGE: Final = os.sysconf("SC_PAGESIZE")
FILE_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
"""How a file is opened under whose name anything may lie: a pipe, a socket, a link. It is a file
only when `fstat` says so."""


class Disk:
    """The real disk."""

    def open(self, path: Path | str, flags: int, mode: int = 0o600) -> int:
        """Return a file descriptor that child processes do not inherit."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def open_cached(self, path: str) -> int:
        """Return a descriptor of a file with FILE_FLAGS if its name is in the kernel's memory.

        Raises BlockingIOError when the disk would have to be asked, and OSError.
        """
        how = _OpenHow(FILE_FLAGS | os.O_CLOEXEC, 0, _RESOLVE_CACHED)
        fd: int = _libc().syscall(
            _OPENAT2, _AT_FDCWD, os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(_HOW_BYTES)
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM, errno.EINVAL):  # an old kernel, or a strict jail
            return self.open(path, FILE_FLAGS)
        raise OSError(number, os.strerror(number), path)

    def dup(self, fd: int) -> int:
        """Return another descriptor of the same open file."""
        return os.dup(fd)

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

    def is_cached(self, fd: int, size: int, offset: int) -> bool:
        """Say whether all these bytes can be had without waiting for the disk.

        Raises OSError where that cannot be told; before Linux 6.5 the ends stand for the rest,
        since the kernel reads and forgets in order.
        """
        for at in (offset, offset + size - 1):
            if not self.read_cached(fd, 1, at):
                return False
        asked, told = _CacheRange(offset, size), _CacheStat()
        if _libc().syscall(_CACHESTAT, fd, ctypes.byref(asked), ctypes.byref(told), 0) != 0:
            return True
        pages = (offset + size - 1) // _PAGE - offset // _PAGE + 1
        return bool(told.cached >= pages)

    def read_ahead(self, fd: int, size: int, offset: int) -> None:
        """Have the kernel begin to read these bytes, all at once."""
        os.posix_fadvise(fd, offset, size, os.POSIX_FADV_WILLNEED)

    def uncache(self, fd: int) -> None:
        """Have the kernel forget the file's synced bytes, so that the next read asks the disk."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

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

    def lock_shared(self, path: Path) -> int:
        """Return a descriptor that holds the directory's lock, with others, until it is closed.

        Between all processes; waits for who holds it alone.
        """
        return self._locked(path, fcntl.LOCK_SH)

    def lock_alone(self, path: Path) -> int:
        """Return a descriptor that holds the directory's lock alone until it is closed.

        Raises BlockingIOError when another holds it.
        """
        return self._locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(self, fd: int) -> None:
        """Let go of a lock and its descriptor; processes forked meanwhile may have that, too."""
        try:
            fcntl.flock(fd, fcntl.LOCK_UN)
        finally:
            self.close(fd)

    def _locked(self, path: Path, how: int) -> int:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, how)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read_past_cache(self, path: Path | str, size: int) -> bytes | memoryview:
        """Return up to `size` bytes as the disk has them, and leave the kernel's memory as it is.

        A file system that cannot do so (one in memory) is read as usual.
        """
        try:
            fd = os.open(path, FILE_FLAGS | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            fd = os.open(path, FILE_FLAGS | os.O_CLOEXEC)
        try:
            room = mmap.mmap(-1, -(-size // _PAGE) * _PAGE)  # O_DIRECT wants whole pages
            found = os.preadv(fd, [room], 0)
            return memoryview(room)[: min(found, size)]
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

    def lstat(self, path: Path) -> os.stat_result:
        """Return what is known about a path, of a link itself."""
        return os.lstat(path)

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

    def now_ns(self) -> int:
        """Return nanoseconds since 1970, another number at each call but by an accident."""
        return time.time_ns()

    def stamp_ns(self) -> int:
        """Return what a file changed now would get as its time: the kernel's own coarse clock."""
        return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)

    def clocks(self) -> tuple[float, float]:
        """Return seconds since 1970, and since the machine was started: those nobody sets."""
        return time.clock_gettime(time.CLOCK_REALTIME), time.clock_gettime(time.CLOCK_BOOTTIME)

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


class _OpenHow(ctypes.Structure):
    """The kernel's struct open_how."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _CacheRange(ctypes.Structure):
    """The kernel's struct cachestat_range."""

    _fields_ = (("offset", ctypes.c_uint64), ("length", ctypes.c_uint64))


class _CacheStat(ctypes.Structure):
    """The kernel's struct cachestat; only the first number is of use here."""

    _fields_ = (("cached", ctypes.c_uint64), ("others", ctypes.c_uint64 * 4))


_HOW_BYTES: Final = ctypes.sizeof(_OpenHow)


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
