"""Good bytes put back where a read found none or bad ones (faults.md R2).

`ReadRepair.run` does it beside the reads, as background work of whoever serves; the queue is
bounded in bytes, and what does not fit is left to the next read or scrub. While nobody runs it, a
read repairs before it returns. Only bytes that a store has verified come here.
"""

import asyncio
from typing import Final

from treescale.chunks.replication.fanout import StoreClient

REPAIR_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes that wait to be put back."""
REPAIR_SECONDS_MAX: Final = 10.0

_Repair = tuple[bytes, bytes, str, StoreClient]


class ReadRepair:
    """Copies to put back."""

    def __init__(self, bytes_max: int = REPAIR_BYTES_MAX) -> None:
        self.repaired = 0
        self.failed = 0
        """Copies that could not be put back then."""
        self.dropped = 0
        """Copies there was no room to remember."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._waiting: asyncio.Queue[_Repair] = asyncio.Queue()
        self._known: set[tuple[bytes, str]] = set()
        self._running = False

    async def repair(self, chunk: bytes, data: bytes, name: str, store: StoreClient) -> None:
        """Put the bytes on the store of this name: soon, or at once when nobody runs this."""
        if not self._running:
            await self._put(chunk, data, store)
        elif (chunk, name) not in self._known:
            if self._bytes + len(data) > self._bytes_max:
                self.dropped += 1
                return
            self._bytes += len(data)
            self._known.add((chunk, name))
            self._waiting.put_nowait((chunk, data, name, store))

    async def run(self) -> None:
        """Put back what comes, one after the other, until cancelled; what waits then is dropped."""
        assert not self._running, "one task repairs"
        self._running = True
        try:
            while True:
                chunk, data, name, store = await self._waiting.get()
                await self._put(chunk, data, store)
                self._bytes -= len(data)
                self._known.discard((chunk, name))
        finally:
            self._running = False
            self._waiting, self._bytes = asyncio.Queue(), 0
            self._known.clear()

    async def _put(self, chunk: bytes, data: bytes, store: StoreClient) -> None:
        # A failure is counted, not raised: the reader has the right bytes, and the next read tries
        # again.
        try:
            async with asyncio.timeout(REPAIR_SECONDS_MAX):
                failed = await store.write(chunk, data) is not None
        except TimeoutError:
            failed = True
        self.failed += failed
        self.repaired += not failed
