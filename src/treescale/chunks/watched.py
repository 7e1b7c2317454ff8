"""A store as the cluster store uses it: so many requests at once, and figures of what they did."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

from treescale.chunks.doubt import Doubt
from treescale.chunks.files import ChunkFile, ChunkFiles
from treescale.chunks.latency import Latency
from treescale.chunks.store import Bytes, ChunkStore, SparingStore
from treescale.clock import Clock
from treescale.errors import ChunkUnknown, Failed, Unreachable

requests_at_once_max: Final = 32
"""To one store, from one process; more wait their turn. A store that hangs fills only its own."""

_Result = TypeVar("_Result")


class StoreFigures:
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
        self.reads = Latency()
        self.writes = Latency()
        self.doubt = Doubt()

    def give_up(self, now: float) -> None:
        """Count a request that is late."""
        self.late += 1
        self.doubt.late(now)


class WatchedStore:
    """A ChunkStore that keeps the promises of the one inside, and the figures of it."""

    def __init__(
        self,
        inner: ChunkStore,
        figures: StoreFigures,
        clock: Clock,
        *,
        at_once: int = requests_at_once_max,
    ) -> None:
        self.inner = inner
        self.files = inner if isinstance(inner, ChunkFiles) else None
        self.figures = figures
        self._clock = clock
        # Semaphores wake in the order of waiting.
        self._places = asyncio.Semaphore(at_once)

    async def reserve(self, size: int) -> None:
        """Return when `size` more bytes may be written."""
        await self._ask(lambda: self.inner.reserve(size))

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk."""
        await self._ask(lambda: self.inner.put(chunk, data), self.figures.writes)
        self.figures.bytes_written += len(data)

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes."""
        data = await self._ask(lambda: self.inner.get(chunk), self.figures.reads)
        self.figures.bytes_read += len(data)
        return data

    async def checked(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk as a verified file if the store inside has files, else its bytes."""
        if self.files is None:
            return await self.get(chunk)
        found = await self._ask(partial(self.files.checked, chunk), self.figures.reads)
        self.figures.bytes_read += found.size if isinstance(found, ChunkFile) else len(found)
        return found

    @property
    def is_sparing(self) -> bool:
        """Say whether `insist` may get what `get` did not."""
        return isinstance(self.inner, SparingStore)

    async def insist(self, chunk: bytes, seconds: float) -> bytes:
        """Return the chunk's bytes; see SparingStore."""
        assert isinstance(self.inner, SparingStore), "see is_sparing"
        inner = self.inner
        data = await self._ask(lambda: inner.insist(chunk, seconds), self.figures.reads)
        self.figures.bytes_read += len(data)
        return data

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here."""
        return await self._ask(lambda: self.inner.have(chunks))

    async def delete(self, chunk: bytes) -> None:
        """Remove it."""
        await self._ask(lambda: self.inner.delete(chunk))

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once. Takes no turn: a list may last as long as its reader."""
        async for chunk in self.inner.list(partitions):
            yield chunk

    async def _ask(
        self, call: Callable[[], Awaitable[_Result]], latency: Latency | None = None
    ) -> _Result:
        figures = self.figures
        figures.in_flight += 1
        begun, queue = self._clock.monotonic(), figures.in_flight
        try:
            async with self._places:
                figures.doubt.begin(self._clock.monotonic())
                result = await call()
        except ChunkUnknown:
            figures.doubt.answer()
            raise
        except Failed as error:
            figures.errors += 1
            if not isinstance(error, Unreachable):
                figures.doubt.answer()
            raise
        except asyncio.CancelledError:
            if latency is not None:
                now = self._clock.monotonic()
                latency.record_unfinished(now - begun, now, queue)
            raise
        finally:
            figures.in_flight -= 1
        figures.doubt.answer()
        if latency is not None:
            now = self._clock.monotonic()
            latency.record(now - begun, now, queue)
        return result
