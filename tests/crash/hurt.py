"""What goes wrong in a worker on purpose, and the list of the steps it can go wrong at.

A step is a call of the disk, a call of the database's nouns, or a statement that writes. Each has
a label, is counted, and can be the one at which the process is killed or the call fails. What the
worker does beside requests (it probes the disk, renews leases) comes when it comes, and is no step:
it would shift the numbers of the others, and one of them would never be the one. `Forgets`
names what a disk or database claims to have done and has not: for the negative controls.
"""

import errno
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self
from unittest.mock import patch

import msgspec
from sqlalchemy import Engine, event

from tests.fakes_disk import OPERATIONS
from treescale.chunks.disk.directory import ChunkDirectory, Reserve
from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.disk.state import DiskState
from treescale.chunks.disk.store import DiskStore, SharedDisk
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.threads import Lanes
from treescale.chunks.disk.verified import VerifiedFiles
from treescale.clock import Clock
from treescale.http.dispatch import Dispatcher
from treescale.lease_times import LeaseTimes
from treescale.metadata import blobs
from treescale.metadata.database import Database
from treescale.metadata.engine import sqlite_writer

How = Literal["kill", "stop", "ENOSPC", "EIO", "EROFS"]
Forgets = Literal[
    "fsync", "fsync_directory", "syncfs", "tmp", "synchronous", "base", "checkpoints", "bytes"
]
"""The last three: to compare the base of a push with the time, to record by time what was put, and
to look at the bytes of a file whose times are others while it is sent."""

NOUNS: Final = ("blobs", "uploads", "manifests")
QUIET: Final = frozenset({"close", "stat", "fstat", "statvfs", "listdir", "read_cached"})
"""Calls that change nothing: they may fail, but a death there is one of the step before."""


class Hurt(msgspec.Struct, frozen=True, kw_only=True):
    """What is to go wrong in a worker."""

    at: int | None = None
    """The step, counted from when the worker serves; None for no step at all."""
    how: How = "kill"
    only: tuple[str, ...] = ()
    """Labels that count, by their beginnings; empty for all."""
    forgets: tuple[Forgets, ...] = ()


class Counter(Protocol):
    """Who is told of each step."""

    def step(self, label: str) -> None:
        """Be at this step; perhaps there is no return."""


class Steps:
    """Counts the steps of a worker and hurts it at one of them."""

    def __init__(self, hurt: Hurt, labels: Path) -> None:
        self._hurt = hurt
        self._labels = os.open(labels, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._lock = threading.Lock()
        self._count: int | None = None
        self._aside = threading.local()

    def arm(self) -> None:
        """Count from here on."""
        self._count = 0

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Count nothing of what this thread does within."""
        was, self._aside.now = getattr(self._aside, "now", False), True
        try:
            yield
        finally:
            self._aside.now = was

    def step(self, label: str) -> None:
        """Be at this step: write it down, and die or fail if it is the one."""
        if getattr(self._aside, "now", False):
            return
        if self._hurt.only and not label.startswith(self._hurt.only):
            return
        with self._lock:
            if self._count is None:
                return
            number, self._count = self._count, self._count + 1
            os.write(self._labels, f"{label}\n".encode())
            if number != self._hurt.at:
                return
            if self._hurt.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()
        if self._hurt.how == "stop":  # until somebody lets it go on
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        code = getattr(errno, self._hurt.how)
        raise OSError(code, os.strerror(code))


_REQUESTED: Final = ContextVar("requested", default=False)
"""Whether it is done for a request."""


class _Work:
    """The work of a transaction, and whether it is a request's."""

    def __init__(self, work: Callable[[Any], Any], steps: Steps) -> None:
        self._work = work
        self._steps = steps
        self.requested = _REQUESTED.get()

    def __call__(self, connection: Any) -> Any:
        if self.requested:
            return self._work(connection)
        with self._steps.aside():
            return self._work(connection)


@contextmanager
def requests_alone(steps: Steps) -> Iterator[None]:
    """Count what is done for requests, and nothing that the worker does beside them."""
    handle, probe = Dispatcher.handle, ChunkDirectory.probe
    transact, together = sqlite_writer.SqliteWriter.transact, sqlite_writer._Transactions._together

    async def handled(*args: Any) -> Any:
        token = _REQUESTED.set(True)
        try:
            return await handle(*args)
        finally:
            _REQUESTED.reset(token)

    def probed(directory: ChunkDirectory) -> None:
        with steps.aside():
            probe(directory)

    async def transacted(writer: Any, work: Any, *, durable: bool) -> Any:
        return await transact(writer, _Work(work, steps), durable=durable)

    def committed(transactions: Any, group: list[Any]) -> bool:
        if any(entry.work.requested for entry in group):
            return together(transactions, group)
        with steps.aside():
            return together(transactions, group)

    with (
        patch.object(Dispatcher, "handle", handled),
        patch.object(ChunkDirectory, "probe", probed),
        patch.object(sqlite_writer.SqliteWriter, "transact", transacted),
        patch.object(sqlite_writer._Transactions, "_together", committed),
    ):
        yield


class HurtDisk(Disk):
    """The real disk, each call a step; and what it forgets it does not do."""

    def __init__(self, steps: Counter, hurt: Hurt) -> None:
        quiet = QUIET if hurt.how == "kill" else frozenset()
        self._forgets = hurt.forgets
        for name in OPERATIONS:
            if name not in quiet:
                setattr(self, name, _counted(steps, f"disk.{name}", getattr(self, name)))

    def open(self, path: Path | str, flags: int, mode: int = 0o600) -> int:
        """Open; without `tmp`, a chunk is written under its final name at once."""
        if "tmp" in self._forgets and Path(path).parent.name == "tmp":
            path = _final(Path(path))
            flags &= ~os.O_EXCL
        return super().open(path, flags, mode)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, unless the chunk was there from the beginning."""
        if "tmp" not in self._forgets:
            super().rename(source, target)

    def fsync(self, fd: int) -> None:
        """Sync the file, or forget to."""
        if "fsync" not in self._forgets:
            super().fsync(fd)

    def fsync_directory(self, path: Path) -> None:
        """Sync the directory, or forget to."""
        if "fsync_directory" not in self._forgets:
            super().fsync_directory(path)

    def syncfs(self, path: Path) -> None:
        """Sync the file system, or forget to."""
        if "syncfs" not in self._forgets:
            super().syncfs(path)


def _final(temporary: Path) -> Path:
    name = temporary.name.partition(".")[0]
    return temporary.parent.parent / "chunks" / name[:2] / name[2:4] / name


def disk_store_on(disk: Disk) -> type[DiskStore]:
    """Return the disk store, on this disk whoever opens it."""

    class OnDisk(DiskStore):
        @classmethod
        def create_or_open(
            cls,
            path: Path,
            *,
            threads: Executor | Lanes,
            clock: Clock,
            disk: Disk | None = disk,
            reserve: Reserve | None = None,
            trust: VerifiedFiles | None = None,
            state: DiskState | None = None,
        ) -> Self:
            return super().create_or_open(
                path,
                threads=threads,
                clock=clock,
                disk=disk,
                reserve=reserve,
                trust=trust,
                state=state,
            )

        @classmethod
        def later(
            cls,
            path: Path,
            store_id: str,
            why: str = "",
            *,
            threads: Executor | Lanes,
            clock: Clock,
            shared: SharedDisk,
            disk: Disk | None = disk,
        ) -> Self:
            return super().later(
                path, store_id, why, threads=threads, clock=clock, shared=shared, disk=disk
            )

    return OnDisk


def _counted(steps: Counter, label: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        if label == "disk.close":
            call(*args)
            steps.step(label)
            return None
        steps.step(label)
        return call(*args)

    return counted


class _Counted:
    """A noun of the database: before and after each of its calls is a step."""

    def __init__(self, noun: Any, name: str, steps: Counter) -> None:
        self._noun = noun
        self._name = name
        self._steps = steps

    def __getattr__(self, verb: str) -> Any:
        call = getattr(self._noun, verb)

        async def counted(*args: Any, **named: Any) -> Any:
            if not _REQUESTED.get():
                return await call(*args, **named)
            self._steps.step(f"{self._name}.{verb} before")
            result = await call(*args, **named)
            self._steps.step(f"{self._name}.{verb} after")
            return result

        return counted


def count_nouns(database: Database, steps: Counter) -> None:
    """Make the calls of the database's nouns steps."""
    for name in NOUNS:
        setattr(database, name, _Counted(getattr(database, name), name, steps))


def count_statements(steps: Steps) -> None:
    """Make every statement that writes a step, in whichever connection SQLAlchemy opens here.

    SQLite itself tells of them, so that it does not matter how they reach it.
    """

    def traced(statement: str) -> None:
        label = writes(statement)
        if label:
            steps.step(f"sql {label}")

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(traced)

    event.listen(Engine, "connect", connected)


def writes(statement: str) -> str | None:
    """Return the label of a statement that writes; None for others."""
    words = statement.split()
    if words[0] in {"INSERT", "DELETE"}:
        return f"{words[0]} {words[2 if words[1] != 'OR' else 4]}"
    if words[0] == "UPDATE":
        return f"UPDATE {words[1]}"
    return words[0] if words[0] in {"BEGIN", "COMMIT"} else None


def forget_synchronous(forgets: Collection[Forgets]) -> None:
    """Have SQLite never sync, when that is to be forgotten, whatever it is told later."""
    if "synchronous" not in forgets:
        return

    def authorize(action: int, what: str | None, value: str | None, *_rest: object) -> int:
        if action == sqlite3.SQLITE_PRAGMA and what == "synchronous" and value:
            return sqlite3.SQLITE_IGNORE
        return sqlite3.SQLITE_OK

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.set_authorizer(authorize)

    event.listen(Engine, "connect", connected)


def forget_rules(forgets: Collection[Forgets]) -> None:
    """Switch rules of collection off, in this process for good."""
    rules: dict[Forgets, tuple[object, str, object]] = {
        "base": (blobs, "check_in_time", lambda *_: None),
        "checkpoints": (LeaseTimes, "checkpoint", float("inf")),
        "bytes": (ChunkFile, "_hashed", lambda _: ""),
    }
    for name in rules.keys() & set(forgets):
        owner, what, instead = rules[name]
        assert hasattr(owner, what), f"{owner} has no {what} any more: this control tests nothing"
        setattr(owner, what, instead)


def say(text: str) -> None:
    """Tell the test something, on the one line it waits for."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
