"""Two processes and one chunk: one trims it while the other keeps it, or puts it, again and again.

    python -m tests.chunks.disk.racing DIRECTORY keep|put|known ROUNDS [lock|stamp|touch]

In each round the trimmer looks at the file's stamp, then both act at the same time. Both may never
say yes. `put` finds a bad copy, `known` one that is sound and old. The last word switches a
protection off. Prints how often who said yes, and both.
"""

import mmap
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.contracts.chunk_store import chunk_of
from treescale.chunks.disk.copies import Copies
from treescale.chunks.disk.directory import ChunkDirectory, Reserve
from treescale.chunks.disk.label import create_label, open_label
from treescale.chunks.disk.state import DiskState
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.verified import FileStamp, VerifiedFiles
from treescale.clock import SystemClock

CHUNK, DATA = chunk_of(1)
RENAME_SECONDS = 0.0002
"""What passes between the trimmer's look and its rename: enough for the other to come between."""


class RacingDisk(Disk):
    """Syncs nothing, and renames into the trash slowly."""

    def fsync(self, fd: int) -> None:
        """Do nothing: no power is cut here."""

    def fsync_directory(self, path: Path) -> None:
        """Do nothing."""

    def rename(self, source: Path, target: Path) -> None:
        """Rename, slowly if it is a trim."""
        if target.parent.name == "trash":
            spin(RENAME_SECONDS)
        super().rename(source, target)


class Shared:
    """Numbers that both processes see: which round begins, who is ready, and what was said."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def say(self, place: int, number: int) -> None:
        """Set one."""
        self._numbers[place] = number

    def await_other_than(self, place: int, number: int) -> int:
        """Return what it is, once it is something else."""
        while (found := self._numbers[place]) == number:
            os.sched_yield()
        return found


ROUND, READY, SAID = range(3)


def spin(seconds: float) -> None:
    """Let so much time pass."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        os.sched_yield()


def opened(root: Path) -> tuple[ChunkDirectory, Copies]:
    """Return the store as a process of its own has it; any copy is old."""
    disk, clock = RacingDisk(), SystemClock()
    directory = ChunkDirectory(
        root,
        open_label(root, disk),
        clock=clock,
        disk=disk,
        reserve=Reserve(0.0, 0, 0),
        trust=VerifiedFiles(8),
        state=DiskState(),
    )
    directory.renew_seconds = 0.0
    return directory, Copies(directory, clock, disk)


def switch_off(what: str) -> None:
    """Take a protection away."""
    if what == "lock":
        ChunkDirectory.locked = _unlocked  # type: ignore[assignment,method-assign]
    elif what == "stamp":
        Copies.trim = _trim_whatever_is_there  # type: ignore[method-assign]
    elif what == "touch":
        ChunkDirectory._is_old = lambda _self, _found: False  # type: ignore[assignment,method-assign]


@contextmanager
def _unlocked(_self: ChunkDirectory, _path: Path, **_how: bool) -> Iterator[None]:
    yield


def _trim_whatever_is_there(self: Copies, chunk: bytes, stamp: FileStamp) -> bool:
    del stamp
    directory = self._directory
    path = directory.path_of(chunk)
    with suppress(FileNotFoundError, BlockingIOError), directory.locked(path, alone=True):
        if self._stamp(path) is not None:
            self._disk.rename(path, directory.trash_of(chunk))
            return True
    return False


def answer(root: Path, shared: Shared, how: str) -> None:
    """Keep the chunk, or put it, once in each round; -1 ends it."""
    directory, copies = opened(root)
    number = 0
    while (number := shared.await_other_than(ROUND, number)) >= 0:
        shared.say(READY, number)
        spin(number * 7 % 50 * 1e-5)  # not always at the same moment
        if how == "keep":
            said = copies.keep(CHUNK)
        else:
            directory.put(CHUNK, DATA)
            said = True
        shared.say(SAID, 2 * number + said)


def race(root: Path, how: str, rounds: int) -> Counter[str]:
    """Return how often who said yes; `gone`: both did, and the chunk is gone."""
    shared, found = Shared(), Counter[str]()
    create_label(root, RacingDisk())
    directory, copies = opened(root)
    directory.put(CHUNK, DATA)
    path, trash = directory.path_of(CHUNK), directory.trash_of(CHUNK)
    child = os.fork()
    if child == 0:
        try:
            answer(root, shared, how)
        finally:
            shared.say(SAID, -1)
            os._exit(0)
    last = 0
    for number in range(1, rounds + 1):
        if trash.exists():
            trash.rename(path)
        if how == "put":  # a bad copy, which the put replaces
            path.write_bytes(b"bad")
            for old in (root / "quarantine").iterdir():
                old.unlink()
        (stamp,) = copies.stamps([CHUNK])
        assert stamp is not None
        shared.say(ROUND, number)
        shared.await_other_than(READY, number - 1)
        spin(number * 11 % 50 * 1e-5)
        trimmed = copies.trim(CHUNK, stamp)
        last = shared.await_other_than(SAID, last)
        assert last > 0, "the other process has failed"
        found["trimmed"] += trimmed
        found[how] += last % 2
        found["gone"] += bool(last % 2) and not (path.exists() and path.read_bytes() == DATA)
    shared.say(ROUND, -1)
    os.waitpid(child, 0)
    return found


if __name__ == "__main__":
    _, place, what, times, *off = sys.argv
    switch_off(*off or ("",))
    print(dict(race(Path(place), what, int(times))))  # noqa: T201  its result
