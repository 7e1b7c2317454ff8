"""Reading a blob, or a part of it, out of its chunks: in order, ahead of the reader, bounded.

At most `window_chunks` chunks, of `window_bytes` together, are fetched or waiting beside the one
handed out last (one at least, and files cost no memory), so memory does not grow with the blob; nor
with the readers of a process, which share its `ReadAhead`. Leaving the context ends all fetching at
once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final, Protocol, Self, runtime_checkable

from treescale.chunks.disk.file import ChunkFile, ChunkFiles, FileSlice
from treescale.chunks.format.recipe import Recipe
from treescale.chunks.store import Bytes
from treescale.errors import Corrupt

WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024
"""Together with the chunk that goes beyond it: less than 12 MiB for one reader."""

WINDOW_BYTES_AHEAD: Final = 128 * 1024 * 1024
"""Of all readers of a process, as long as that is more than `WINDOW_BYTES_MAX` for each."""
FILES_OPEN_MAX: Final = 16
"""By one reader: descriptors are scarcer than what they save."""

_Fetch = tuple["asyncio.Future[bytes | ChunkFile] | ChunkFile", int, int]
_Read = Callable[[bytes], Awaitable[bytes | ChunkFile]]


@runtime_checkable
class AheadStore(Protocol):
    """A store that is faster the more is asked of it at once."""

    @property
    def ahead_bytes(self) -> int:
        """Return how much one reader should have asked for."""
        ...


class ReadableStore(Protocol):
    """As much of a ChunkStore as a reader needs."""

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified; see ChunkStore."""
        ...


class ReadAhead:
    """What the readers of a process may fetch ahead together."""

    def __init__(self, bytes_max: int = WINDOW_BYTES_AHEAD) -> None:
        self._bytes_max = bytes_max
        self._readers = 0

    def enter(self) -> None:
        """Count a reader that begins; `leave` must follow."""
        self._readers += 1

    def leave(self) -> None:
        """Count a reader that ends."""
        self._readers -= 1

    def share(self, wanted: int) -> int:
        """Return how much of what it wants a reader gets now: all, while few read."""
        return min(wanted, max(WINDOW_BYTES_MAX, self._bytes_max // max(1, self._readers)))


class BlobReader:
    """The bytes `first` to `last` (inclusive, as in HTTP) of the blob, as verified pieces in order.

    With `files`, chunks that the store has as trusted files come as such from `next_piece`.
    An async context manager and, within it, an async iterator. Raises what the store's `get`
    raises, at the piece concerned and not before.
    """

    def __init__(  # noqa: PLR0913  limits, each with its default
        self,
        store: ReadableStore,
        recipe: Recipe,
        first: int,
        last: int,
        *,
        window_chunks: int = 4,
        window_bytes: int = WINDOW_BYTES_MAX,
        ahead: ReadAhead | None = None,
        files: bool = False,
    ) -> None:
        self._files = store if files and isinstance(store, ChunkFiles) else None
        self._read: _Read = store.get if self._files is None else self._files.open_verified
        self._lengths = recipe.lengths
        self._slices: Iterator[tuple[bytes, int, int]] = iter(recipe.locate(first, last))
        self._window_chunks = window_chunks
        self._window_bytes = window_bytes
        self._ahead = ahead or ReadAhead()
        self._files_open = 0
        self._waiting_bytes = 0  # of chunks that may come as bytes
        self._window: deque[_Fetch] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        """Begin to read ahead."""
        await self._group.__aenter__()
        self._ahead.enter()
        self._fill()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all fetching; nothing of it runs any longer when this returns."""
        self._ahead.leave()
        for task in self._tasks:
            task.cancel()
        for source, _start, _stop in self._window:
            if isinstance(source, ChunkFile):
                source.close()
            elif not source.cancel() and source.exception() is None:
                _close(source.result())
        # Told of no exception, the group adds none of its own: the reader's propagates unwrapped.
        await self._group.__aexit__(None, None, None)

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Bytes:
        """Return the next piece."""
        piece = await self.next_piece()
        if piece is None:
            raise StopAsyncIteration
        assert not isinstance(piece, FileSlice), "asked for with `files`: use next_piece"
        return piece

    async def next_piece(self) -> Bytes | FileSlice | None:
        """Return the next piece, None at the end. The caller closes the file of a slice."""
        self._fill()
        if not self._window:
            return None
        source, start, stop = self._window.popleft()
        if isinstance(source, ChunkFile):
            self._files_open -= 1
            return FileSlice(source, start, stop)
        data = await source
        if isinstance(data, ChunkFile):
            self._waiting_bytes -= data.size
            return FileSlice(data, start, stop)
        self._waiting_bytes -= len(data)
        return memoryview(data)[start:stop]

    def _fill(self) -> None:
        """Start fetching as much as the window has room for."""
        window_bytes = self._ahead.share(self._window_bytes)
        while (
            len(self._window) < self._window_chunks
            and self._waiting_bytes < window_bytes
            and self._files_open < FILES_OPEN_MAX
        ):
            part = next(self._slices, None)
            if part is None:
                return
            chunk, start, stop = part
            file = None if self._files is None else self._files.open_if_verified(chunk)
            # A file of another length than the recipe's is for `get` to judge.
            if file is None or file.size != self._lengths[chunk]:
                self._window.append((self._fetching(chunk, self._read), start, stop))
            elif file.is_cached(start, stop):
                self._files_open += 1
                self._window.append((file, start, stop))
            else:
                load = partial(_loaded, file, start, stop)
                self._window.append((self._fetching(chunk, load), start, stop))

    def _fetching(self, chunk: bytes, read: _Read) -> "asyncio.Future[bytes | ChunkFile]":
        """Begin to fetch the chunk."""
        future: asyncio.Future[bytes | ChunkFile] = asyncio.get_running_loop().create_future()
        self._waiting_bytes += self._lengths[chunk]
        task = self._group.create_task(self._fetch(chunk, read, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _fetch(
        self, chunk: bytes, read: _Read, future: "asyncio.Future[bytes | ChunkFile]"
    ) -> None:
        """Fulfil `future`; a failure waits there for its turn instead of ending the group."""
        try:
            data = await read(chunk)
            length = data.size if isinstance(data, ChunkFile) else len(data)
            if length != self._lengths[chunk]:
                raise Corrupt(f"chunk {chunk.hex()} is not as long as its blob's recipe says")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001  raised again where the piece is awaited
            if not future.cancelled():
                future.set_exception(error)
                future.exception()  # it is no loss when the reader leaves before its turn
        else:
            if not future.cancelled():
                future.set_result(data)


async def _loaded(file: ChunkFile, start: int, stop: int, _chunk: bytes) -> ChunkFile:
    """Return the file once the kernel has these bytes of it in memory."""
    try:
        await file.load_apart(start, stop)
    except BaseException:
        file.close()
        raise
    return file


def _close(data: bytes | ChunkFile) -> None:
    if isinstance(data, ChunkFile):
        data.close()
