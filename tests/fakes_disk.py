"""Disks that fail on purpose, over the real file system: on the n-th call, or by a power cut."""

import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from threading import Event
from typing import Any, Final

from treescale.chunks.disk.syscalls import Disk

OPERATIONS: Final = tuple(
    name
    for name in vars(Disk)
    if not name.startswith("_") and name not in {"now_ns", "stamp_ns", "clocks", "process_token"}
)
"""The calls that can fail. Those left out ask the kernel, not the disk."""


class JumpingClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0

    def now(self) -> float:
        """Return wall-clock seconds."""
        return self.seconds

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self.seconds


class SteppedDisk(Disk):
    """A disk whose clock a test sets, or lets go on; it counts what it is asked for."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """By how much the clock was set."""
        self.passed = 0.0
        self.calls: Counter[str] = Counter()

    def now_ns(self) -> int:
        """Return nanoseconds since 1970, as the clock says."""
        return super().now_ns() + int((self.ahead + self.passed) * 1e9)

    def stamp_ns(self) -> int:
        """Return the same, coarser."""
        return super().stamp_ns() + int((self.ahead + self.passed) * 1e9)

    def clocks(self) -> tuple[float, float]:
        """Return both clocks: only one was set."""
        wall, boot = super().clocks()
        return wall + self.ahead + self.passed, boot + self.passed

    def date(self, fd: int, ns: int) -> None:
        """Count it."""
        self.calls["date"] += 1
        super().date(fd, ns)

    def fsync_directory(self, path: Path) -> None:
        """Count it."""
        self.calls["fsync_directory"] += 1
        super().fsync_directory(path)

    def lock_shared(self, path: Path) -> int:
        """Count it."""
        self.calls["lock_shared"] += 1
        return super().lock_shared(path)


class FailingDisk(Disk):
    """Counts the calls, and raises `error` at those numbered from `fail_at` on, `times` times.

    With `only`, other calls neither count nor fail. `failed` names the calls that failed.
    """

    def __init__(self, only: Collection[str] = OPERATIONS) -> None:
        self.error: BaseException = OSError(5, "input/output error")
        self.fail_at: int | None = None
        self.times = 1
        self.calls = 0
        self.failed: list[str] = []
        for name in only:
            setattr(self, name, self._counted(name, getattr(self, name)))

    def fail(self, at: int, error: BaseException | int, times: int = 1) -> None:
        """Count from zero again, and fail the call numbered `at`."""
        self.calls, self.fail_at, self.times, self.failed = 0, at, times, []
        self.error = OSError(error, os.strerror(error)) if isinstance(error, int) else error

    def heal(self) -> None:
        """Fail no more."""
        self.fail_at = None

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any) -> Any:
            number, self.calls = self.calls, self.calls + 1
            if self.fail_at is None or not self.fail_at <= number < self.fail_at + self.times:
                return call(*args)
            self.failed.append(name)
            if name == "close":
                call(*args)
            raise self.error

        return counting


class HangingDisk(Disk):
    """Lets the calls of some names hang until it is thawed."""

    def __init__(self) -> None:
        self._going = Event()
        self._going.set()
        self.names: Collection[str] = ()
        self.hung = Event()
        """Set once a call hangs."""
        for name in OPERATIONS:
            setattr(self, name, self._hanging(name, getattr(self, name)))

    def freeze(self, *names: str) -> None:
        """Have the calls of these names hang from now on; of all, when none is said."""
        self.names = names or OPERATIONS
        self.hung.clear()
        self._going.clear()

    def thaw(self) -> None:
        """Have them return, those that hang too."""
        self.names = ()
        self._going.set()

    def _hanging(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def hanging(*args: Any) -> Any:
            if name in self.names:
                self.hung.set()
                self._going.wait()
            return call(*args)

        return hanging


class PowerCut(BaseException):
    """The machine has stopped here; nothing of ours may catch it and go on."""


class PowerCutDisk(FailingDisk):
    """Remembers what was synced, so that `image` can show what a power cut would leave.

    A file keeps the bytes of its last fsync, a directory the entries of its last one; what was
    never synced is gone. `forgets` names sync calls that do nothing: the negative control.
    """

    def __init__(self, forgets: Collection[str] = ()) -> None:
        self.forgets = forgets
        self.renames = 0
        self._contents: dict[int, bytes] = {}
        self._entries: dict[Path, dict[str, int | None]] = {}
        super().__init__()

    def open(self, path: Path | str, flags: int, mode: int = 0o600) -> int:
        """Open; a new file has nothing on the disk, though its inode's number may be an old one."""
        fd = super().open(path, flags, mode)
        if flags & os.O_EXCL:
            self._contents.pop(os.fstat(fd).st_ino, None)
        return fd

    def fsync(self, fd: int) -> None:
        """Take the file's bytes as durable."""
        if "fsync" not in self.forgets:
            self._contents[os.fstat(fd).st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def fsync_directory(self, path: Path) -> None:
        """Take the directory's entries as durable."""
        if "fsync_directory" not in self.forgets:
            self._take(path)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, and count."""
        self.renames += 1
        super().rename(source, target)

    def syncfs(self, path: Path) -> None:
        """Take everything below `path` as durable."""
        if "syncfs" in self.forgets:
            return
        for directory, _, files in os.walk(path):
            for name in files:
                file = Path(directory, name)
                self._contents[file.stat().st_ino] = file.read_bytes()
            self._take(Path(directory))

    def image(self, root: Path, onto: Path) -> None:
        """Write what is durable of `root` to the new directory `onto`."""
        onto.mkdir(parents=True)
        for name, inode in self._entries.get(root, {}).items():
            if inode is None:
                self.image(root / name, onto / name)
            else:
                (onto / name).write_bytes(self._contents.get(inode, b""))

    def _take(self, path: Path) -> None:
        self._entries[path] = {
            entry.name: None if entry.is_dir() else entry.stat().st_ino for entry in path.iterdir()
        }
