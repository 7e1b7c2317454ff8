"""A store that misbehaves: slow, hung, flaky, full, down, rotten; by hand, or drawn from a seed."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random  # noqa: TID251  seeded by each test

from treescale.chunks.store import Bytes, MemoryStore
from treescale.errors import Corrupt, StoreFull, Unreachable


@dataclass
class Behaviour:
    """How a store is at the moment. Seconds are of the loop."""

    seconds: float = 0.0
    jitter: float = 0.0
    hung: bool = False
    down: bool = False
    full: bool = False
    garbles: bool = False
    """What is put arrives with other bytes."""
    lost: float = 0.0
    """The part of requests that get no answer but an error: half of them were done all the same."""
    rotten: set[bytes] = field(default_factory=set)
    """Chunks whose bytes have changed; a new put makes them good."""


class FaultyStore:
    """Chunks in memory behind a `Behaviour`. Counts requests; a crash ends those in flight."""

    def __init__(self, name: str, random: Random) -> None:
        self.name = name
        self.inner = MemoryStore()
        self.is_ = Behaviour()
        self.asked = 0
        self.running = 0
        self.running_max = 0
        self._random = random
        self._crashed = asyncio.Event()

    def crash(self) -> None:
        """Stop: requests in flight fail, and so do new ones until `restart`."""
        self.is_.down = True
        self._crashed.set()

    def restart(self) -> None:
        """Come back with what was durable, healthy but for what has rotted."""
        self.is_ = Behaviour(rotten=self.is_.rotten)
        self._crashed = asyncio.Event()

    def wipe(self) -> None:
        """Lose everything, as a disk that was replaced."""
        self.inner = MemoryStore()
        self.is_.rotten.clear()

    async def check_space(self, size: int) -> None:
        """Say whether there is room."""
        await self._arrive()
        if self.is_.full:
            raise StoreFull(f"{self.name} has no room for {size}")

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk, or not."""
        await self._arrive()
        if self.is_.full:
            raise StoreFull(f"{self.name} is full")
        if self.is_.garbles:
            data = bytes(data)[::-1]
        lost = self._random.random() < self.is_.lost
        if not lost or self._random.random() < 0.5:
            await self.inner.put(chunk, data)
            self.is_.rotten.discard(chunk)
        if lost:
            raise Unreachable(f"{self.name}: the answer was lost")

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk; never wrong bytes."""
        await self._arrive()
        if self._random.random() < self.is_.lost:
            raise Unreachable(f"{self.name}: the answer was lost")
        if chunk in self.is_.rotten:
            # As a disk does, which moves it into quarantine.
            self.is_.rotten.discard(chunk)
            await self.inner.delete(chunk)
            raise Corrupt(f"{self.name}: {chunk.hex()} is rotten")
        return await self.inner.get(chunk)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here."""
        await self._arrive()
        return await self.inner.have(chunks)

    async def delete(self, chunk: bytes) -> None:
        """Remove it."""
        await self._arrive()
        await self.inner.delete(chunk)

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk."""
        await self._arrive()
        async for chunk in self.inner.list(partitions):
            yield chunk

    def holds(self, chunk: bytes) -> bool:
        """Say whether a good copy is here, whatever the store would answer."""
        return chunk in self.inner._chunks and chunk not in self.is_.rotten

    async def _arrive(self) -> None:
        """Take the time a request takes; raises Unreachable when the store is or goes down."""
        self.asked += 1
        self.running += 1
        self.running_max = max(self.running, self.running_max)
        try:
            if not self.is_.down:
                seconds = self.is_.seconds + self.is_.jitter * self._random.random()
                await self._pass(None if self.is_.hung else seconds)
            if self.is_.down:
                raise Unreachable(f"{self.name} is down")
        finally:
            self.running -= 1

    async def _pass(self, seconds: float | None) -> None:
        """Wait so long, or for ever, but no longer than until the crash."""
        try:
            async with asyncio.timeout(seconds):
                await self._crashed.wait()
        except TimeoutError:
            return
