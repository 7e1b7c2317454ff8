"""The bytes of one upload on their way into chunks: hashed, cut, named and stored as they come.

Pieces are gathered into batches. Of each batch one thread computes the blob's digest while another
cuts it and names the chunks, which are then put, several at once. Only `bytes_in_flight` are on
their way beside the batch being gathered, so memory stays the same however long the upload is;
`write` waits while there is no room. All uploads of a worker share one `MemoryLimit`, so memory
stays the same however many there are, too, but for what each gathers and its bytes after the last
cut.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, Self, TypeVar

from treescale.chunks.format.split import DEFAULT, SplitParameters, Splitter
from treescale.chunks.store import Bytes, ChunkStore, chunk_id_of, write_of
from treescale.chunks.stream.memory_limit import MemoryLimit
from treescale.oci.digest import new_hasher

CHUNKS_IN_FLIGHT_MAX: Final = 12
BYTES_IN_FLIGHT_MAX: Final = 16 * 1024 * 1024
"""Most of its time a batch waits for the disk: with 6 MiB an upload was a tenth slower."""
BYTES_AT_ONCE_MAX: Final = 32 * 1024
"""Some 50 microseconds of hashing and cutting: as long as it takes to wake a thread."""
FIRST_ROOM_BYTES: Final = 64 * 1024
PIECES_LOOSE_MAX: Final = 1000
"""A client may send single bytes, and each piece costs some 40 bytes more than it holds."""

_Result = TypeVar("_Result")


class RunningHash:
    """The digest of the first `offset` bytes of a blob, ready to go on.

    After an `update` that was cancelled or failed it is of no use any more.
    """

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.offset = 0
        self._hasher = new_hasher(algorithm)

    async def update(self, data: Bytes, threads: Executor) -> None:
        """Add data; one call at a time."""
        await _in_thread(threads, partial(self._hasher.update, data), len(data))
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


_NOTHING: Final = memoryview(b"")


@dataclass(slots=True)
class _Batch:
    """So many bytes on their way; `left` counts what is still to be done with them."""

    size: int
    left: int = 2
    """To be hashed, to be cut, and then each of its chunks to be put."""
    buffer: memoryview = _NOTHING
    """What its last bytes were gathered in, and no others will be."""


class BlobWriter:
    """An async context manager that turns what is written to it into durable chunks.

    `running` has seen all bytes before the first written one; the last of these, those after the
    last cut, are `tail`: they are cut again but not hashed again. One task writes and flushes. An
    error of the store is raised by the next `write` or `flush`; nothing can be written after it.
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
        self._splitter = Splitter(parameters, at_start=running.offset == len(tail))
        self._splitter.extend(tail)
        self._buffer = self._room = memoryview(b"")
        self._began = False
        self._spare: list[memoryview] = []
        self._pieces: list[Bytes] = []
        self._gathered = 0
        self._loose = 0
        self._settled: list[tuple[bytes, int]] = []
        self._owed: list[tuple[bytes, str]] = []
        self._error: Exception | None = None
        self._bytes_max = bytes_in_flight
        self._bytes = 0
        self._memory = memory or MemoryLimit()
        self._held = 0
        self._changed = asyncio.Condition()
        self._chunk_room = asyncio.Semaphore(chunks_in_flight)
        self._to_cut: asyncio.Queue[tuple[list[Bytes], _Batch]] = asyncio.Queue()
        self._to_hash: asyncio.Queue[tuple[memoryview, _Batch]] = asyncio.Queue()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._group.__aenter__()
        self._memory.begin()
        self._spawn(self._cut())
        self._spawn(self._hash())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything; what was not flushed is lost."""
        self._memory.end()
        await self.abort()
        # Told of no exception, the group adds none of its own: the writer's propagates unwrapped.
        await self._group.__aexit__(None, None, None)

    async def room(self) -> memoryview:
        """Return memory to be filled with what comes next in the blob; `add` says how far it was.

        It is the writer's: nobody may write to it after `add`.
        """
        self._raise_error()
        if not self._room:
            # Most blobs are small.
            missing = max(FIRST_ROOM_BYTES, self._memory.batch_bytes - self._gathered)
            size = missing if self._began else FIRST_ROOM_BYTES
            self._began = True
            self._spare = [spare for spare in self._spare if len(spare) == size]
            self._buffer = self._spare.pop() if self._spare else memoryview(bytearray(size))
            self._room = self._buffer
        return self._room

    async def add(self, count: int) -> None:
        """Add the first bytes of the room; returns when there is room for more."""
        piece, self._room = self._room[:count], self._room[count:]
        if self._is_batch_with(piece):
            self._to_cut.put_nowait(await self._gather())

    async def write(self, data: Bytes) -> None:
        """Add bytes, in the blob's order; returns when there is room for more."""
        if self._is_batch_with(data):
            self._to_cut.put_nowait(await self._gather())

    def _is_batch_with(self, data: Bytes) -> bool:
        """Gather bytes; return whether that is enough for a batch."""
        self._raise_error()
        self._pieces.append(data)
        self._loose += 1
        if self._loose == PIECES_LOOSE_MAX:
            self._pieces[-PIECES_LOOSE_MAX:] = [b"".join(self._pieces[-PIECES_LOOSE_MAX:])]
            self._loose = 0
        self._gathered += len(data)
        return self._gathered >= self._memory.batch_bytes

    async def flush(self) -> Flushed:
        """Return when all that was written is durable, but for the bytes after the last cut."""
        if self._gathered:
            self._to_cut.put_nowait(await self._gather())
        await self._until(lambda: self._bytes == 0)
        settled, self._settled = self._settled, []
        owed, self._owed = self._owed, []
        return Flushed(
            settled, owed, self._splitter.pending, self._running.hexdigest(), self._running.offset
        )

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

    async def _gather(self) -> tuple[list[Bytes], _Batch]:
        """Return what was gathered as a batch, as soon as there is room for it."""
        batch = _Batch(self._gathered)
        await self._until(lambda: self._bytes == 0 or self._bytes + batch.size <= self._bytes_max)
        await self._memory.acquire(batch.size)
        self._held += batch.size
        if self._error is not None:
            self._release_all()
            raise self._error
        self._bytes += batch.size
        if not self._room:
            batch.buffer = self._buffer
        pieces, self._pieces, self._gathered, self._loose = self._pieces, [], 0, 0
        return pieces, batch

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

    async def _cut(self) -> None:
        """Cut batch after batch."""
        try:
            while True:
                pieces, batch = await self._to_cut.get()
                size = len(self._splitter.pending) + batch.size
                extend = partial(self._splitter.extend, *pieces)
                fresh = await _in_thread(self._threads, extend, size)
                if batch.buffer:
                    self._spare.append(batch.buffer)
                self._to_hash.put_nowait((fresh, batch))
                named = await _in_thread(self._threads, self._cut_and_name, size)
                # Whoever waits, here or for the next batch, holds no bytes that count no more.
                pieces.clear()
                del extend, fresh
                while named:
                    self._settled.append((named[0][0], len(named[0][1])))
                    await self._chunk_room.acquire()
                    batch.left += 1
                    self._spawn(self._put(*named.pop(0), batch))
                await self._done_with(batch)
        except Exception as error:  # noqa: BLE001  raised again by write and flush
            await self._fail(error)

    def _cut_and_name(self) -> list[tuple[bytes, memoryview]]:
        return [(chunk_id_of(data), data) for data in self._splitter.cut()]

    async def _hash(self) -> None:
        """Hash batch after batch, in their order."""
        try:
            while True:
                await self._hash_next()
        except Exception as error:  # noqa: BLE001  raised again by write and flush
            await self._fail(error)

    async def _hash_next(self) -> None:
        """Hash the next batch; likewise."""
        fresh, batch = await self._to_hash.get()
        await self._running.update(fresh, self._threads)
        await self._done_with(batch)

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
