"""The functions of ours that bytes cross between a socket and a disk: recorded, not guessed.

A function is crossed when it works, or waits, while the next one works; a task, a thread's job and
what is put into a queue wait on whoever began them. Not crossed are helpers that return before the
next one begins: who decides, looks up, or starts a task. The calls of the operating system
(`disk/syscalls`) and the threads that wait for disks (`disk/threads`, an executor as those of the
standard library are) end the way, and are no part of it.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from pathlib import Path
from threading import local
from types import FrameType
from typing import Any, Final
from unittest.mock import patch

import treescale
from treescale.chunks.disk.syscalls import Disk
from treescale.http.bodies.socket_body import SocketBody

OURS: Final = f"{Path(treescale.__file__).parent}/"
ENDS: Final = ("chunks/disk/syscalls.py", "chunks/disk/threads.py")
WAITS: Final = CO_COROUTINE | CO_ASYNC_GENERATOR

Frame = tuple[str, str]
"""The file below `src/treescale`, and the function in it."""


class Crossed:
    """Who worked or waited when a call was made."""

    def __init__(self) -> None:
        self._made: dict[str, list[Frame]] = {}
        self._tasks: dict[int, list[Frame]] = {}
        self._queued: dict[int, list[Frame]] = {}
        self._thread = local()

    def way(self, *calls: str) -> list[Frame]:
        """Return what was crossed on the longest way to each of these, the socket's end first."""
        found: list[Frame] = []
        for call in calls:
            now = self._made[call]
            shared = [at for at, frame in enumerate(now) if frame in found]
            # What is new comes after the last that is known.
            at = found.index(now[shared[-1]]) + 1 if shared else len(found)
            found[at:at] = [frame for frame in now if frame not in found]
        return found

    def begin(self, *, starting: bool = True) -> list[Frame]:
        """Return who waits for what is begun now."""
        return self._now(starting=starting)

    def _now(self, *, starting: bool = False) -> list[Frame]:
        """Return who works or waits now, outermost first; `starting`: who waits for a new task."""
        found: list[Frame] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            code = frame.f_code
            name = code.co_filename.removeprefix(OURS)
            if name != code.co_filename and name not in ENDS:
                starting = starting and not code.co_flags & WAITS
                if not starting:
                    found.append((name, code.co_name))
            frame = frame.f_back
        return [*self._outer(), *reversed(found)]

    def _outer(self) -> list[Frame]:
        outer: list[Frame] | None = getattr(self._thread, "outer", None)
        if outer is not None:
            return outer
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return []
        return self._tasks.get(id(task), [])

    def make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: "Coroutine[Any, Any, Any] | Generator[Any, None, Any]",
        **more: Any,
    ) -> "asyncio.Task[Any]":
        """Make a task, and remember who waits for it."""
        task = asyncio.Task(work, loop=loop, **more)
        self._tasks[id(task)] = self.begin()
        return task

    def submit(self, submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
        """Return a `submit` that remembers who waits for the job."""

        def submitted(threads: Any, work: Callable[..., Any], /, *args: Any) -> Future[Any]:
            outer = self.begin()

            def worked() -> Any:
                self._thread.outer = outer
                try:
                    return work(*args)
                finally:
                    self._thread.outer = None

            return submit(threads, worked)

        return submitted

    def put(self, put: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        """Return a `put_nowait` that remembers who put the thing into the queue."""

        def putting(queue: Any, thing: Any) -> None:
            self._queued[id(thing)] = self.begin(starting=False)
            put(queue, thing)

        return putting

    def get(self, get: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a `get_nowait` that has the task go on for whoever put the thing there."""

        def getting(queue: Any) -> Any:
            thing = get(queue)
            if id(thing) in self._queued:
                self._tasks[id(asyncio.current_task())] = self._queued.pop(id(thing))
            return thing

        return getting

    def at(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, noted whenever it is made for us."""

        def noted(*args: Any) -> Any:
            now = list(dict.fromkeys(self._now()))
            if len(now) > len(self._made.get(call.__name__, ())):
                self._made[call.__name__] = now
            return call(*args)

        return noted


@contextmanager
def crossed(*calls: str) -> Iterator[Crossed]:
    """Record who is crossed on the way to these calls of the disk, and to bodies that arrive."""
    found, loop = Crossed(), asyncio.get_running_loop()
    wrapped: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (asyncio.Queue, "put_nowait", found.put),
        (asyncio.Queue, "get_nowait", found.get),
        (ThreadPoolExecutor, "submit", found.submit),
        (SocketBody, "read_ready", found.at),
    ]
    wrapped += [(Disk, name, found.at) for name in calls]
    with ExitStack() as stack:
        for owner, name, wrap in wrapped:
            stack.enter_context(patch.object(owner, name, wrap(getattr(owner, name))))
        loop.set_task_factory(found.make_task)
        stack.callback(loop.set_task_factory, None)
        yield found
