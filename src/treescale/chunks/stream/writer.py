"""The bytes of one upload on their way into chunks: hashed, cut, named and stored as they come.

Bytes are put into the buffer of a batch, from a socket or from wherever they are. Each batch is
worked on in one thread job (the blob's digest, cuts, names), and its chunks are then put, several
at once; what its last cut leaves is copied to before the bytes of the next batch. Only
`bytes_in_flight` are on their way beside the batch being gathered, so memory stays the same however
long the upload is; `add` waits while there is no room. All uploads of a worker share one
`MemoryLimit`, so memory stays the same however many there are, too, but for what each gathers and
its bytes after the last cut.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, Self, TypeVar

from treescale.chunks.format.gzip_probe import GzipProbe
from treescale.chunks.format.split import DEFAULT, FIXED_BYTES, SplitParameters, Splitter
from treescale.chunks.store import Bytes, ChunkStore, chunk_id_of, write_of
from treescale.chunks.stream.memory_limit import MemoryLimit
from treescale.oci.digest import new_hasher

CHUNKS_IN_FLIGHT_MAX: Final = 12
BYTES_IN_FLIGHT_MAX: Final = 16 * 1024 * 1024
"""Most of its time a batch waits for the disk: with 6 MiB an upload was a tenth slower."""
BYTES_AT_ONCE_MAX: Final = 32 * 1024
"""Some 50 microseconds of hashing and cutting: as long as it takes to wake a thread."""
TAIL_BYTES_KEPT: Final = 1024 * 1024
"""Room for the bytes after a cut that stays in memory, where many uploads share it."""

_Result = TypeVar("_Result")


class RunningHash:
    """The digest of the first `offset` bytes of a blob, and what they are, ready to go on.

    After an `update` that was cancelled or failed it is of no use any more.
    """

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.offset = 0
        self._hasher = new_hasher(algorithm)
        self._probe = GzipProbe()

    @property
    def is_plain(self) -> bool:
        """Say whether these bytes begin as a blob in which content shows no cuts; GzipProbe."""
        return self._probe.is_plain

    async def update(self, data: Bytes, threads: Executor) -> None:
        """Add data; one call at a time."""
        await _in_thread(threads, partial(self.add, data), len(data))

    def add(self, data: Bytes) -> None:
        """Do as `update` does, in the calling thread."""
        self._probe.feed(data)
        self._hasher.update(data)
        self.offset += len(data)

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far in lower-case hex."""
        return self._hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class Flushed:
    """How far an upload has come, everything durable but `tail_bytes`.

    `settled` are the chunks (id, length) since the last flush, and `owed` what their homes have
    yet to get (a chunk's id, a store's id); `hashed` is the digest of the first `offset` bytes: all
    that were ever settled, then `tail_bytes`.
    """

    settled: list[tuple[bytes, int]]
    owed: list[tuple[bytes, str]]
    tail_bytes: Bytes
    hashed: str
    offset: int


@dataclass(slots=True)
class _Batch:
    """So many bytes on their way: in `memory`, after as much room as a tail may need.

    `tail` of these are before them, left by the last cut. `left` counts what is still to be done.
    """

    memory: memoryview
    room: int
    tail: int = 0
    size: int = 0
    size_max: int = 0
    left: int = 1
    """To be worked on, and then each of its chunks to be put."""

    @property
    def is_full(self) -> bool:
        """Say whether it has all the bytes it is to have."""
        return self.size >= self.size_max

    @property
    def data(self) -> memoryview:
        """Return the bytes since the last cut."""
        return self.memory[self.room - self.tail : self.room + self.size].toreadonly()

    def begin_with(self, tail: Bytes) -> None:
        """Have these come first; blocks for a moment."""
        self.memory[self.room - len(tail) : self.room] = tail
        self.tail = len(tail)


class BlobWriter:
    """An async context manager that turns what is written to it into durable chunks.

    `running` has seen all bytes before the first written one; the last of these, those after the
    last cut, are `tail`: they are cut again but not hashed again. One task writes and flushes. An
    error of the store is raised by the next `room`, `add`, `write` or `flush`; nothing can be
    written after it.
    """

    def __init__(  # noqa: PLR0913  limits, each with its default
        self,
        store: ChunkStore,
        threads: Executor,
        *,
        running: RunningHash,
        tail: Bytes = b"",
        parameters: SplitParameters = DEFAULT,
        chunks_in_flight: int = CHUNKS_IN_FLIGHT_MAX,
        bytes_in_flight: int = BYTES_IN_FLIGHT_MAX,
        memory: MemoryLimit | None = None,
    ) -> None:
        self._write = write_of(store)
        self._threads = threads
        self._running = running
        self._splitter = Splitter(parameters, start=running.offset - len(tail))
        self._tail_room = parameters.max_bytes
        self._handed_over = running.offset
        self._settled: list[tuple[bytes, int]] = []
        self._owed: list[tuple[bytes, str]] = []
        self._error: Exception | None = None
        self._bytes_max = bytes_in_flight
        self._bytes = 0
        self._memory = memory or MemoryLimit()
        self._held = 0
        self._gathered = self._new_batch()
        self._gathered.begin_with(tail)
        self._changed = asyncio.Condition()
        self._chunk_room = asyncio.Semaphore(chunks_in_flight)
        self._work: asyncio.Queue[tuple[_Batch, _Batch]] = asyncio.Queue()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._group.__aenter__()
        self._memory.begin()
        self._spawn(self._work_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything; what was not flushed is lost."""
        self._memory.end()
        await self.abort()
        # Told of no exception, the group adds none of its own: the writer's propagates unwrapped.
        await self._group.__aexit__(None, None, None)
        # Its traceback has this writer, whose buffers would wait for the garbage collector.
        self._error = None

    async def room(self) -> memoryview:
        """Return where the blob's next bytes are to be put, at least one; then `add` them.

        It is the caller's until `add`, `write` or `flush` is called.
        """
        self._raise_error()
        batch = self._gathered
        if not batch.size:
            wanted = min(self._memory.batch_bytes, len(batch.memory) - batch.room)
            batch.size_max = self._splitter.bytes_to_cut(self._handed_over, wanted)
        return batch.memory[batch.room + batch.size : batch.room + batch.size_max]

    async def add(self, count: int) -> None:
        """Add so many bytes, put into the last `room`; returns when there is room for more."""
        self._raise_error()
        self._gathered.size += count
        if self._gathered.is_full:
            self._work.put_nowait(await self._next_batch())

    async def write(self, data: Bytes) -> None:
        """Add bytes, in the blob's order; returns when there is room for more."""
        self._raise_error()
        written = 0
        while written < len(data):
            room = await self.room()
            count = min(len(room), len(data) - written)
            room[:count] = memoryview(data)[written : written + count]
            del room  # whoever waits has no view of what is on its way
            written += count
            await self.add(count)

    async def flush(self) -> Flushed:
        """Return when all that was written is durable, but for the bytes after the last cut."""
        if self._gathered.size:
            self._work.put_nowait(await self._next_batch())
        await self._until(lambda: self._bytes == 0)
        settled, self._settled = self._settled, []
        owed, self._owed = self._owed, []
        hashed, offset = self._running.hexdigest(), self._running.offset
        return Flushed(settled, owed, self._gathered.data, hashed, offset)

    def take_back(self, settled: Flushed) -> None:
        """Let the next flush give these again, as if this one had not been: it led nowhere."""
        self._settled[:0], self._owed[:0] = settled.settled, settled.owed

    async def abort(self) -> None:
        """Stop all work; nothing of it runs any longer when this returns. May be called twice."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._release_all()

    def _new_batch(self) -> _Batch:
        """Return a batch without bytes, and so without memory: what it has is not touched yet."""
        room, bytes_max = self._tail_room, max(self._memory.batch_bytes, FIXED_BYTES)
        # Of the buffers of many uploads most would sooner or later have held a long tail.
        seldom = max(0, room - TAIL_BYTES_KEPT) if bytes_max == FIXED_BYTES else 0
        return _Batch(self._memory.buffers.lend(room + bytes_max, seldom=seldom), room)

    async def _next_batch(self) -> tuple[_Batch, _Batch]:
        """Return what was gathered, as soon as there is room for it, and the batch that follows."""
        batch = self._gathered
        await self._until(lambda: self._bytes == 0 or self._bytes + batch.size <= self._bytes_max)
        await self._memory.acquire(batch.size)
        self._held += batch.size
        if self._error is not None:
            self._release_all()
            raise self._error
        self._bytes += batch.size
        self._handed_over += batch.size
        self._gathered = self._new_batch()
        return batch, self._gathered

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._error is not None or reached())
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fail(self, error: Exception) -> None:
        """Keep the first error for whoever writes, instead of ending the group with it."""
        async with self._changed:
            self._error = self._error or error
            # The writer may be waiting for the very room this upload holds.
            self._release_all()
            self._changed.notify_all()

    def _release_all(self) -> None:
        """Give back the room of batches that will never be done."""
        held, self._held = self._held, 0
        self._memory.release(held)

    async def _work_on(self) -> None:
        """Work on batch after batch, in their order."""
        try:
            while True:
                batch, following = await self._work.get()
                work = partial(self._hash_cut_and_name, batch, following)
                named = await _in_thread(self._threads, work, batch.tail + batch.size)
                batch.memory.release()
                while named:
                    self._settled.append((named[0][0], len(named[0][1])))
                    await self._chunk_room.acquire()
                    batch.left += 1
                    self._spawn(self._put(*named.pop(0), batch))
                await self._done_with(batch)
                # Whoever waits for the next batch keeps nothing of this one.
                del batch, following, work
        except Exception as error:  # noqa: BLE001  raised again by write and flush
            await self._fail(error)

    def _hash_cut_and_name(
        self, batch: _Batch, following: _Batch
    ) -> list[tuple[bytes, memoryview]]:
        """Return the chunks that end in a batch; what is left begins the following one."""
        data = batch.data
        self._running.add(data[batch.tail :])
        chunks = self._splitter.cut(data, is_plain=self._running.is_plain)
        following.begin_with(data[sum(map(len, chunks)) :])
        return [(chunk_id_of(chunk), chunk) for chunk in chunks]

    async def _put(self, chunk: bytes, data: memoryview, batch: _Batch) -> None:
        try:
            result = await self._write(chunk, data)
        except Exception as error:  # noqa: BLE001  raised again by write and flush
            await self._fail(error)
            return
        finally:
            self._chunk_room.release()
        if result is not None:
            self._owed += [(chunk, home) for home in result.owed]
        await self._done_with(batch)

    async def _done_with(self, batch: _Batch) -> None:
        """Count one part of the batch's work; the last one makes room for another batch."""
        batch.left -= 1
        if batch.left == 0:
            if self._held:  # nothing after an error: it was given back then
                self._held -= batch.size
                self._memory.release(batch.size)
            async with self._changed:
                self._bytes -= batch.size
                self._changed.notify_all()


async def _in_thread(threads: Executor, work: Callable[[], _Result], size: int) -> _Result:
    """Run `work` in a thread; also a cancelled call returns only when it does not run any more.

    Work on so few bytes that handing it over would take longer is done at once.
    """
    if size <= BYTES_AT_ONCE_MAX:
        return work()
    job = threads.submit(work)
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not job.cancel():
            future.add_done_callback(_look_at)  # nobody else will
            await asyncio.wait([future])
        raise


def _look_at(future: "asyncio.Future[_Result]") -> None:
    """Take notice of what came out, so that it is not told as something nobody noticed."""
    if not future.cancelled():
        future.exception()
