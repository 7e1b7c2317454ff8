"""Lines on a descriptor that may be full, broken or stuck: whole, or dropped and counted.

A line that cannot be written (no room, no reader, an error of the disk) is never raised; how many
were dropped is told in front of the next one that can be. A process that serves writes from a
thread of its own, out of a queue of bounded length: a reader that does not read, and a disk that
hangs, hold up that thread alone. One that has no thread waits a moment for room.

Several processes write to the same pipe. The kernel takes long writes apart where it is full, so
whoever writes has a lock of the kernel's, which falls when its holder dies. On a file each write is
whole by itself.
"""

import fcntl
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

QUEUE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Lines that wait to be written; more are dropped."""
BATCH_BYTES_MAX: Final = 64 * 1024
BATCH_SECONDS: Final = 0.005
BUSY_SECONDS: Final = 0.02
"""So long the thread gathers lines, and when there are many: it shares the interpreter with who
serves, and takes it from them each time it wakes."""
_MANY_LINES: Final = 8
PATIENCE_SECONDS: Final = 0.2
"""How long a process without that thread waits for room, and for the lock."""
CLOSE_SECONDS: Final = 0.5
"""How long a process that ends waits for its last lines to be written."""
_LOOK_SECONDS: Final = 0.005


class Lines:
    """Where the lines of a process go. `tell` makes the line that says how many were dropped."""

    def __init__(self, fd: int, tell: Callable[[int], bytes]) -> None:
        self._fd = fd
        self._tell = tell
        self._lock = os.memfd_create("treescale-log")
        self._mutex = threading.Lock()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._arrived = threading.Event()
        self._thread: threading.Thread | None = None
        self._torn = False
        """Whether the last line is there in part."""
        self.dropped = 0
        """Lines that were not written, and of which that was not told yet."""
        self.heard: Callable[[int], None] = lambda _: None
        """Hears how many lines were not written, each time; of one thread at a time."""

    def in_background(self) -> None:
        """Write in a thread from now on. For a process that is not forked any more."""
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads can be had: it goes on without
            return
        self._thread = thread

    def write(self, line: bytes) -> None:
        """Write a line, its end included; or drop it. Raises nothing."""
        if self._thread is None:
            self._put([line], patient=False)
            return
        with self._mutex:
            if self._queued_bytes + len(line) > QUEUE_BYTES_MAX:
                self._drop(1)
                return
            self._queued_bytes += len(line)
            self._queue.append(line)
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self) -> None:
        """Wait a moment for what is queued."""
        until = time.monotonic() + CLOSE_SECONDS
        while self._queued_bytes and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def _run(self) -> None:
        """Write what is queued, for ever."""
        seconds = BATCH_SECONDS
        while True:
            self._arrived.wait()
            time.sleep(seconds)
            self._arrived.clear()
            seconds = BUSY_SECONDS if len(self._queue) > _MANY_LINES else BATCH_SECONDS
            self._put_queued()

    def _put_queued(self) -> None:
        """Write what is queued now: what comes meanwhile is gathered for the next time."""
        left = self._queued_bytes
        while left > 0:
            batch = self._batch()
            size = sum(map(len, batch))
            self._put(batch, patient=True)
            left -= size
            with self._mutex:
                self._queued_bytes -= size

    def _batch(self) -> Sequence[bytes]:
        with self._mutex:
            if self._queued_bytes <= BATCH_BYTES_MAX:
                whole, self._queue = self._queue, deque()
                return whole
            batch: list[bytes] = []
            size = 0
            while self._queue and (not batch or size + len(self._queue[0]) <= BATCH_BYTES_MAX):
                batch.append(self._queue.popleft())
                size += len(batch[-1])
            return batch

    def _put(self, batch: Sequence[bytes], *, patient: bool) -> None:
        """Write the lines at one stroke; count those that are not there whole afterwards."""
        told = self.dropped
        before = (b"\n" if self._torn else b"") + (self._tell(told) if told else b"")
        data = before + b"".join(batch)
        written = 0
        try:
            with self._alone(patient=patient):
                written = self._write(data)
        except OSError:
            pass  # it is counted below: there is no other place to tell
        if written == len(data) and not told:
            self._torn = False
            return
        taken = len(before)
        with self._mutex:
            if written >= taken:
                self.dropped -= told
            lost = 0
            for line in batch:
                taken += len(line)
                lost += written < taken
            self._drop(lost)
        if written:
            self._torn = written < taken

    def _drop(self, lines: int) -> None:
        """Count lines that were not written. Under the mutex."""
        self.dropped += lines
        self.heard(lines)

    def _write(self, data: bytes) -> int:
        """Return how much of the data could be written."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            return written
        return written

    @contextmanager
    def _alone(self, *, patient: bool) -> Iterator[None]:
        """Have the lock within, and room to begin with; raises OSError when that takes too long."""
        divisible = not stat.S_ISREG(os.fstat(self._fd).st_mode)
        if not divisible:
            yield
            return
        if patient:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
        else:
            self._hurry()
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _hurry(self) -> None:
        """Take the lock when there is room soon; raises OSError when not."""
        until = time.monotonic() + PATIENCE_SECONDS
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        if not room.poll(PATIENCE_SECONDS * 1000):
            raise BlockingIOError
        while True:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return
