"""Stores behind wires of so many bytes a second, which all requests to a store share fairly."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from treescale.chunks.store import Bytes, MemoryStore

PIECE_BYTES = 64 * 1024


@dataclass
class Wire:
    """One direction of a store's wire. Who waits gets its turn after each piece of another."""

    bytes_per_second: float
    passed: int = 0
    """Bytes until now, those of requests that were given up included."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def carry(self, size: int) -> None:
        """Return when so many bytes have passed."""
        for start in range(0, size, PIECE_BYTES):
            piece = min(PIECE_BYTES, size - start)
            async with self._turn:
                self.passed += piece
                await asyncio.sleep(piece / self.bytes_per_second)


class WiredStore:
    """Chunks in memory at the other end of a wire, a message away."""

    def __init__(self, bytes_per_second: float, *, delay_seconds: float = 0.001) -> None:
        self.inner = MemoryStore()
        self.down = Wire(bytes_per_second)
        """What is read from it."""
        self.up = Wire(bytes_per_second)
        """What is written to it."""
        self._delay = delay_seconds

    async def check_space(self, size: int) -> None:
        await self.inner.check_space(size)

    async def put(self, chunk: bytes, data: Bytes) -> None:
        await asyncio.sleep(self._delay)
        await self.up.carry(len(data))
        await self.inner.put(chunk, data)

    async def get(self, chunk: bytes) -> bytes:
        await asyncio.sleep(self._delay)
        data = await self.inner.get(chunk)
        await self.down.carry(len(data))
        return data

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        return await self.inner.have(chunks)

    async def delete(self, chunk: bytes) -> None:
        await self.inner.delete(chunk)

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        async for chunk in self.inner.list(partitions):
            yield chunk
