"""What is asked of stores: of each so much at once, timed and counted; of several at the same time.

A failure is an answer, and comes back as one: whoever asked goes on with the next store. Only bugs
are raised.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar

from treescale.chunks.disk.file import ChunkFile, ChunkFiles
from treescale.chunks.replication.breaker import CircuitBreaker
from treescale.chunks.replication.latency import Latency
from treescale.chunks.store import Bytes, ChunkStore, LastResortStore
from treescale.clock import Clock
from treescale.errors import ChunkUnknown, Failed, Unreachable

REQUESTS_AT_ONCE_MAX: Final = 32
"""To one store, from one process; more wait their turn. A store that hangs fills only its own."""

_Result = TypeVar("_Result")


class StoreStats:
    """What this process has seen of one store since it started. Seconds are monotonic."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests begun and not answered, those that wait their turn among them."""
        self.errors = 0
        """Requests that failed; a chunk that is not there is no failure."""
        self.late = 0
        """Requests that were given up or overtaken because they took too long."""
        self.bytes_read = 0
        self.bytes_written = 0
        self.bytes_on_their_way = 0
        """Of writes begun and not answered, those that wait their turn among them."""
        self.reads = Latency()
        self.writes = Latency()
        self.breaker = CircuitBreaker()

    def give_up(self, now: float) -> None:
        """Count a request that is late."""
        self.late += 1
        self.breaker.on_timeout(now)


class StoreClient:
    """One store, as the replicated store asks it: so many requests at once, with figures of them.

    What is returned is to be awaited: the answer, which may be a failure of our tree.
    """

    def __init__(
        self,
        store: ChunkStore,
        figures: StoreStats,
        clock: Clock,
        *,
        at_once: int = REQUESTS_AT_ONCE_MAX,
    ) -> None:
        self.store = store
        self.files = store if isinstance(store, ChunkFiles) else None
        self.last_resort = store if isinstance(store, LastResortStore) else None
        """Who may get what a read did not."""
        self.figures = figures
        self._clock = clock
        # Semaphores wake in the order of waiting.
        self._places = asyncio.Semaphore(at_once)

    def write(self, chunk: bytes, data: Bytes) -> Coroutine[Any, Any, Failed | None]:
        """Keep the chunk; see ChunkStore.put."""
        put = partial(self.store.put, chunk, data)
        return self._request(put, self.figures.writes, sent=len(data))

    def read(
        self, chunk: bytes, *, files: bool = False
    ) -> Coroutine[Any, Any, bytes | ChunkFile | Failed]:
        """Give the chunk's bytes; with `files` a verified file of them, if the store has files."""
        get: Callable[[bytes], Awaitable[bytes | ChunkFile]] = self.store.get
        if files and self.files is not None:
            get = self.files.open_verified
        return self._request(partial(get, chunk), self.figures.reads)

    def read_last_resort(
        self, chunk: bytes, seconds: float
    ) -> Coroutine[Any, Any, bytes | ChunkFile | Failed]:
        """Give the chunk's bytes, whatever is expected; see LastResortStore."""
        assert self.last_resort is not None, "not every store has such a way"
        return self._request(
            partial(self.last_resort.get_last_resort, chunk, seconds), self.figures.reads
        )

    def ask(self, call: Callable[[], Awaitable[_Result]]) -> Coroutine[Any, Any, _Result | Failed]:
        """Do what is neither a read nor a write of a chunk."""
        return self._request(call, None)

    def give_up(self) -> None:
        """Count a request that is late."""
        self.figures.give_up(self._clock.monotonic())

    async def _request(
        self, call: Callable[[], Awaitable[_Result]], latency: Latency | None, *, sent: int = 0
    ) -> _Result | Failed:
        figures = self.figures
        figures.in_flight += 1
        figures.bytes_on_their_way += sent
        begun, queue = self._clock.monotonic(), figures.in_flight
        try:
            async with self._places:
                figures.breaker.begin(self._clock.monotonic())
                result = await call()
        except ChunkUnknown as error:
            figures.breaker.on_answer()
            return error
        except Failed as error:
            figures.errors += 1
            if not isinstance(error, Unreachable):
                figures.breaker.on_answer()
            return error
        except asyncio.CancelledError:
            if latency is not None:
                now = self._clock.monotonic()
                latency.record_unfinished(now - begun, now, queue)
            raise
        finally:
            figures.in_flight -= 1
            figures.bytes_on_their_way -= sent
        figures.breaker.on_answer()
        if latency is not None:
            now = self._clock.monotonic()
            latency.record(now - begun, now, queue)
            figures.bytes_written += sent
            figures.bytes_read += _size_of(result)
        return result


def _size_of(result: object) -> int:
    """Return how many bytes of a chunk were answered."""
    if isinstance(result, ChunkFile):
        return result.size
    return len(result) if isinstance(result, bytes) else 0


@dataclass(slots=True)
class _Request:
    name: str
    begun: float
    late: bool = False


class FanOut(Generic[_Result]):
    """An async context manager; within it, ask stores and take their answers as they come.

    An error that is no failure (a bug) is raised where the context is left. Nothing of it runs any
    longer then.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requests: dict[asyncio.Task[_Result | Failed], _Request] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the requests that still run, and return when they have ended."""
        for task in self._requests:
            task.cancel()
        try:
            # Told of no exception, the group adds none of its own.
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def start(
        self,
        name: str,
        request: Coroutine[Any, Any, _Result | Failed],
        ended: Callable[[str], None] | None = None,
    ) -> None:
        """Ask the store of this name; `ended` hears when that is over, even if it never began."""
        task = self._group.create_task(request)
        self._requests[task] = _Request(name, self._clock.monotonic())
        if ended is not None:
            task.add_done_callback(lambda _: ended(name))

    @property
    def running(self) -> list[str]:
        """Return the stores that have not answered, in the order they were asked."""
        return [request.name for request in self._requests.values()]

    @property
    def on_time(self) -> list[str]:
        """Return those of them that are not late."""
        return [request.name for request in self._requests.values() if not request.late]

    async def answers(self, seconds: float) -> list[tuple[str, _Result | Failed]]:
        """Wait so long for at least one answer; return what came, in the order of asking."""
        done, _ = await asyncio.wait(
            self._requests, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED
        )
        finished = [task for task in self._requests if task in done]
        return [(self._requests.pop(task).name, task.result()) for task in finished]

    def seconds_until_late(self, patience: float) -> float:
        """Return when the first that is not late will have run for `patience` seconds."""
        begun = [request.begun for request in self._requests.values() if not request.late]
        return min(begun, default=float("inf")) + patience - self._clock.monotonic()

    def newly_late(self, patience: float) -> list[str]:
        """Return those that have run for `patience` seconds by now; from now on they are late."""
        now = self._clock.monotonic()
        found = [
            request
            for request in self._requests.values()
            if not request.late and now - request.begun >= patience
        ]
        for request in found:
            request.late = True
        return [request.name for request in found]
