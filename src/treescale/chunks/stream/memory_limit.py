"""How much all uploads of a process may have on their way into chunks: first come, first served.

A batch that has its room waits neither for more of it nor for a client: room always comes free.
"""

import asyncio
from typing import Final

from treescale.chunks.stream.buffers import BufferPool

BYTES_IN_WORKER_MAX: Final = 16 * 1024 * 1024
"""Of few uploads of a process: while a batch waits for the disk, the next ones are worked on."""
BYTES_OF_MANY_MAX: Final = 6 * 1024 * 1024
"""Of many together; enough to keep every thread busy, as each has something to do."""
FEW_UPLOADS_MAX: Final = 3
BATCH_BYTES_MIN: Final = 1024 * 1024
"""So long is a chunk, on average: less would mean more jobs for threads than chunks."""
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of an upload that has the process for itself: fewer threads to wake and to wait for."""
GATHERED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of all uploads of a process, as long as that is more than `BATCH_BYTES_MIN` for each, or than
one chunk of those that are cut evenly."""

FREE_SECONDS_MAX: Final = 5.0
"""So long free buffers are kept for an upload that may come, when there is none."""


class MemoryLimit:
    """Bytes that may be on their way, and the buffers for them; used from one event loop.

    `bytes_max` is how many, and `batch_bytes` how long batches are; None for as the number of
    uploads allows.
    """

    def __init__(self, bytes_max: int | None = None, *, batch_bytes: int | None = None) -> None:
        self._bytes_max = bytes_max
        self._widened = 0
        self._batch_bytes = batch_bytes
        self._bytes = 0
        self._uploads = 0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self.buffers = BufferPool()

    def begin(self) -> None:
        """Count an upload that begins; `end` must follow."""
        self._uploads += 1

    def end(self) -> None:
        """Count an upload that ends."""
        self._uploads -= 1
        self._changed.set()
        if not self._uploads and self._idle is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(FREE_SECONDS_MAX, self._clear_if_idle)

    def _clear_if_idle(self) -> None:
        self._idle = None
        if not self._uploads:
            self.buffers.clear()

    @property
    def batch_bytes(self) -> int:
        """Return how much an upload should gather before it asks for room: less, when many do."""
        if self._batch_bytes is not None:
            return self._batch_bytes
        size = BATCH_BYTES_MAX
        while size > BATCH_BYTES_MIN and size * self._uploads > GATHERED_BYTES_MAX:
            size //= 2  # few lengths, so that buffers fit the next batch as well
        return size

    @property
    def bytes_max(self) -> int:
        """Return how much may be on its way now."""
        if self._bytes_max is not None:
            return max(self._bytes_max, self._widened)
        few = self._uploads <= FEW_UPLOADS_MAX
        return max(BYTES_IN_WORKER_MAX if few else BYTES_OF_MANY_MAX, self._widened)

    def widen(self, bytes_max: int) -> None:
        """Have so much room from now on, if that is more than there is."""
        self._widened = max(self._widened, bytes_max)
        self._changed.set()

    async def acquire(self, size: int) -> None:
        """Take room for so many bytes, after all who asked earlier; whoever is alone gets it."""
        async with self._turn:  # locks wake in the order of waiting
            while self._bytes and self._bytes + size > self.bytes_max:
                self._changed.clear()
                await self._changed.wait()
            self._bytes += size

    def release(self, size: int) -> None:
        """Give room back."""
        self._bytes -= size
        self._changed.set()
