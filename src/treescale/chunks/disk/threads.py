"""The threads that wait for one disk: they hang with it, and nobody else does.

A disk has some for reads, some for writes and one for probes, begun when they are needed. They are
daemons: a process that ends does not wait for a call that may never return, as it would for those
of concurrent.futures.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, Self, TypeVar

from treescale.chunks.disk.silence import Kind
from treescale.errors import StoreUnusable

_Result = TypeVar("_Result")
_Parameters = ParamSpec("_Parameters")

THREADS_MAX: Final = 8
"""For each disk and kind of call: more in flight make no disk faster."""
THREADS_OF_WORKER_MAX: Final = 128
"""When all disks of a server with many of them are busy."""

_Work = tuple[Future[Any], Callable[[], Any]]


def threads_for(disks: int) -> int:
    """Return how many threads each kind of call gets on each of so many disks."""
    return max(2, min(THREADS_MAX, THREADS_OF_WORKER_MAX // (2 * max(1, disks))))


class DiskThreads(Executor):
    """An executor whose threads are begun on demand, and never waited for."""

    def __init__(self, most: int = THREADS_MAX, name: str = "disk") -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._unfinished = 0
        self._threads = 0
        self._work: SimpleQueue[_Work | None] = SimpleQueue()

    def _begin_another(self) -> None:
        """Have one thread more, or go on with those there are; raises StoreUnusable without any."""
        name = f"{self._name}-{self._threads + 1}"
        try:
            threading.Thread(target=self._serve, name=name, daemon=True).start()
        except RuntimeError as error:
            if not self._threads:
                self._unfinished -= 1
                raise StoreUnusable(f"no thread can be had for a disk: {error}") from error
        else:
            self._threads += 1

    def submit(
        self,
        fn: Callable[_Parameters, _Result],
        /,
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> Future[_Result]:
        """Have it called in a thread, in the order of asking."""
        future: Future[_Result] = Future()
        with self._lock:
            self._unfinished += 1
            if self._unfinished > self._threads < self._most:
                self._begin_another()
        self._work.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  the base class's
        """End the threads that wait for work; whoever waits for the disk ends after that."""
        with self._lock:
            for _ in range(self._threads):
                self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            self._do(*work)
            del work  # or what came out is kept until the next call

    def _do(self, future: Future[Any], call: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  it is told to the one who waits
                self._done()
                future.set_exception(error)
            else:
                self._done()
                future.set_result(result)
        else:
            self._done()

    def _done(self) -> None:
        with self._lock:
            self._unfinished -= 1


@dataclass(frozen=True, slots=True)
class Lanes:
    """The threads of one disk."""

    reads: Executor
    writes: Executor
    probes: Executor

    @classmethod
    def among(cls, disks: int, name: str = "disk") -> Self:
        """Return those of one of so many disks."""
        most = threads_for(disks)
        return cls(
            DiskThreads(most, f"{name}-read"),
            DiskThreads(most, f"{name}-write"),
            DiskThreads(1, f"{name}-probe"),
        )

    def of(self, kind: Kind) -> Executor:
        """Return who does calls of this kind."""
        return self.writes if kind is Kind.WRITE else self.reads

    def begin(self) -> None:
        """Have a thread of each kind; go on without when none can be had now."""
        for threads in (self.reads, self.writes):
            with suppress(StoreUnusable):
                threads.submit(int).result()

    def close(self) -> None:
        """End the threads that have nothing to do; see DiskThreads."""
        for threads in (self.reads, self.writes, self.probes):
            threads.shutdown(wait=False)


def lanes_of(threads: Executor | Lanes) -> Lanes:
    """Return these, or an executor that does everything: for who has one disk and no fear."""
    return threads if isinstance(threads, Lanes) else Lanes(threads, threads, threads)
