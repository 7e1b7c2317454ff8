"""Reading back what a store has: rot is found before a client finds it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from treescale.clock import Clock
from treescale.errors import ChunkUnknown, Corrupt
from treescale.log import get_logger
from treescale.maintenance.planning.progress import Progress
from treescale.maintenance.walked import WalkedStore

BAD_CHUNKS_TOLD: Final = 3
"""So many rotten chunks on one store are no accident."""


class ReadingBack:
    """The reading back of one store; used from one event loop."""

    def __init__(self, store_id: str, store: WalkedStore, clock: Clock) -> None:
        self._store_id = store_id
        self._store = store
        self._clock = clock
        self._bad = 0
        self._log = get_logger()

    async def partition(
        self, number: int, progress: Progress, pace: Callable[[int], Awaitable[None]]
    ) -> AsyncIterator[tuple[bytes, int | None]]:
        """Read back the bytes of a partition; yield each chunk and its length, None of a bad one.

        What is bad goes to quarantine, and the partition is looked at again soon. `pace` returns
        when so many bytes may be read. Raises StoreUnusable.
        """
        bad, wall = 0, self._clock.now()
        async for chunk in self._store.list([number]):
            size: int | None = None
            try:
                size = await self._store.read_back(chunk)
            except Corrupt as error:
                bad += 1
                self._log.error("chunk.rotten", store=self._store_id, reason=str(error))
            except ChunkUnknown:  # trimmed, or moved away, since it was listed
                continue
            else:
                await pace(size)
            yield chunk, size
        progress.verify(number, wall)
        if bad:
            progress.hurry(number)
            self._note_bad(bad)

    def _note_bad(self, bad: int) -> None:
        """Tell of a disk that has many bad chunks."""
        self._bad += bad
        if self._bad >= BAD_CHUNKS_TOLD:
            self._log.error(
                "store.rotten",
                store=self._store_id,
                chunks=self._bad,
                means="its disk is failing: see that it is replaced",
            )
