"""The bytes of one upload on their way into chunks: hashed, cut, named and stored as they come.

Pieces are gathered into batches. Of each batch one thread computes the blob's digest while another
cuts it and names the chunks, which are then put, several at once. Only `bytes_in_flight` are on
their way beside the batch being gathered, so memory stays the same however long the upload is;
`feed` waits while there is no room. All uploads of a worker share one `Room`, so memory stays the
same however many there are, too, but for what each gathers and its bytes after the last cut.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, Self, TypeVar

from treescale.chunks.room import Room
from treescale.chunks.split import DEFAULT, SplitParameters, Splitter
from treescale.chunks.store import Bytes, ChunkStore, chunk_id_of
from treescale.chunks.writing import PlacingStore
from treescale.oci.digest import new_hasher

chunks_in_flight_max: Final = 12
bytes_in_flight_max: Final = 16 * 1024 * 1024
"""Most of its time a batch waits for the disk: with 6 MiB an upload was a tenth slower."""
bytes_at_once_max: Final = 32 * 1024
"""Some 50 microseconds of hashing and cutting: as long as it takes to wake a thread."""
pieces_loose_max: Final = 1000
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
class Settled:
    """How far an upload has come, everything durable but `tail_bytes`.

    `settled` are the chunks (id, length) since the last settling, and `owed` what their homes have
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
    """So many bytes on their way; `left` counts what is still to be done with them."""

    size: int
    left: int = 2
    """To be hashed, to be cut, and then each of its chunks to be put."""


class Intake:
    """An async context manager that turns what it is fed into durable chunks.

    `running` has seen all bytes before the first fed one; the last of these, those after the last
    cut, are `tail`: they are cut again but not hashed again. One task feeds and settles. An error
    of the store is raised by the next `feed` or `settle`; nothing can be fed after it.
    """

    def __init__(  # noqa: PLR0913  limits, each with its default
        self,
        store: ChunkStore,
        threads: Executor,
        *,
        running: RunningHash,
        tail: Bytes = b"",
        parameters: SplitParameters = DEFAULT,
        chunks_in_flight: int = chunks_in_flight_max,
        bytes_in_flight: int = bytes_in_flight_max,
        room: Room | None = None,
    ) -> None:
        self._store = store
        self._threads = threads
        self._running = running
        self._splitter = Splitter(parameters, at_start=running.offset == len(tail))
        self._splitter.extend(tail)
        self._pieces: list[Bytes] = []
        self._gathered = 0
        self._loose = 0
        self._settled: list[tuple[bytes, int]] = []
        self._owed: list[tuple[bytes, str]] = []
        self._error: Exception | None = None
        self._bytes_max = bytes_in_flight
        self._bytes = 0
        self._room = room or Room()
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
        self._room.begin()
        self._spawn(self._cut_batches)
        self._spawn(self._hash_batches)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop everything; what was not settled is lost."""
        self._room.end()
        await self.abort()
        # Told of no exception, the group adds none of its own: the feeder's propagates unwrapped.
        await self._group.__aexit__(None, None, None)

    async def feed(self, data: bytes) -> None:
        """Add bytes, in the blob's order; returns when there is room for more."""
        self._raise_error()
        self._pieces.append(data)
        self._loose += 1
        if self._loose == pieces_loose_max:
            self._pieces[-pieces_loose_max:] = [b"".join(self._pieces[-pieces_loose_max:])]
            self._loose = 0
        self._gathered += len(data)
        if self._gathered >= self._room.batch_bytes:
            await self._dispatch()

    async def settle(self) -> Settled:
        """Return when all that was fed is durable, but for the bytes after the last cut."""
        if self._gathered:
            await self._dispatch()
        await self._until(lambda: self._bytes == 0)
        settled, self._settled = self._settled, []
        owed, self._owed = self._owed, []
        return Settled(
            settled, owed, self._splitter.pending, self._running.hexdigest(), self._running.offset
        )

    async def abort(self) -> None:
        """Stop all work; nothing of it runs any longer when this returns. May be called twice."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._leave_all()

    async def _dispatch(self) -> None:
        """Send what was gathered on its way as soon as there is room."""
        batch = _Batch(self._gathered)
        await self._until(lambda: self._bytes == 0 or self._bytes + batch.size <= self._bytes_max)
        await self._room.enter(batch.size)
        self._held += batch.size
        if self._error is not None:
            self._leave_all()
            raise self._error
        self._bytes += batch.size
        pieces, self._pieces, self._gathered, self._loose = self._pieces, [], 0, 0
        self._to_cut.put_nowait((pieces, batch))

    async def _until(self, reached: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._error is not None or reached())
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _spawn(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        task = self._group.create_task(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        """Do the work; the first error waits for the feeder instead of ending the group."""
        try:
            await work()
        except Exception as error:  # noqa: BLE001  raised again by feed and settle
            async with self._changed:
                self._error = self._error or error
                # The feeder may be waiting for the very room this upload holds.
                self._leave_all()
                self._changed.notify_all()

    def _leave_all(self) -> None:
        """Give back the room of batches that will never be done."""
        held, self._held = self._held, 0
        self._room.leave(held)

    async def _cut_batches(self) -> None:
        while True:
            pieces, batch = await self._to_cut.get()
            size = len(self._splitter.pending) + batch.size
            extend = partial(self._splitter.extend, *pieces)
            fresh = await _in_thread(self._threads, extend, size)
            self._to_hash.put_nowait((fresh, batch))
            for chunk, data in await _in_thread(self._threads, self._cut_and_name, size):
                self._settled.append((chunk, len(data)))
                await self._chunk_room.acquire()
                batch.left += 1
                self._spawn(partial(self._put, chunk, data, batch))
            await self._done_with(batch)

    def _cut_and_name(self) -> list[tuple[bytes, memoryview]]:
        return [(chunk_id_of(data), data) for data in self._splitter.cut()]

    async def _hash_batches(self) -> None:
        while True:
            fresh, batch = await self._to_hash.get()
            await self._running.update(fresh, self._threads)
            await self._done_with(batch)

    async def _put(self, chunk: bytes, data: memoryview, batch: _Batch) -> None:
        try:
            self._owed += await place_chunk(self._store, chunk, data)
        finally:
            self._chunk_room.release()
        await self._done_with(batch)

    async def _done_with(self, batch: _Batch) -> None:
        """Count one part of the batch's work; the last one makes room for another batch."""
        batch.left -= 1
        if batch.left == 0:
            if self._held:  # nothing after an error: it was given back then
                self._held -= batch.size
                self._room.leave(batch.size)
            async with self._changed:
                self._bytes -= batch.size
                self._changed.notify_all()


async def place_chunk(store: ChunkStore, chunk: bytes, data: Bytes) -> list[tuple[bytes, str]]:
    """Put the chunk; return which of its homes are owed a copy, as (chunk, store id) each.

    A store that does not say where it puts chunks owes nothing. Raises as `ChunkStore.put` does.
    """
    if not isinstance(store, PlacingStore):
        await store.put(chunk, data)
        return []
    placed = await store.place(chunk, data)
    return [(chunk, home) for home in placed.owed]


async def _in_thread(threads: Executor, work: Callable[[], _Result], size: int) -> _Result:
    """Run `work` in a thread; also a cancelled call returns only when it does not run any more.

    Work on so few bytes that handing it over would take longer is done at once.
    """
    if size <= bytes_at_once_max:
        return work()
    job = threads.submit(work)
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not job.cancel():
            await asyncio.wait([future])
        raise
