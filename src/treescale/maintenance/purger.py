"""A store's part in purges: it unlinks every file of the chunks, wherever they lie, and says so.

It goes by no lease and to no trash. Until the last store has said so no push names the chunks
(`metadata.collection.purging`), and no store unlinks any after that: so what a call that was given
up has left is not done later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from treescale.errors import StoreUnusable
from treescale.log import get_logger
from treescale.maintenance.walked import ErasingStore
from treescale.metadata.collection.purging import Purging, Round

LOOK_SECONDS: Final = 2.0
"""Between two looks at what is to be purged."""
ERASED_AT_ONCE: Final = 100
"""Chunks in one call: each has a directory of its own that is synced."""
BUSY_SECONDS: Final = 0.05
"""Until files are tried again beside which somebody wrote."""
BUSY_TRIES_MAX: Final = 100
NOTE_SECONDS: Final = 5.0
"""Between two notes of how far it is, for whoever waits."""


class Purger:
    """What a store does for purges; used from one event loop."""

    def __init__(
        self,
        store_id: str,
        store: ErasingStore,
        purging: Purging,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store_id = store_id
        self._store = store
        self._purging = purging
        self._sleep = sleep
        self._log = get_logger()

    async def run(self) -> None:
        """Do what is asked of the store until cancelled. Raises DatabaseUnavailable."""
        while True:
            await self.turn()
            await self._sleep(LOOK_SECONDS)

    async def turn(self) -> int:
        """Do what is asked of it now; return how many chunks it has looked for.

        A store that was withheld for that is served from again. Raises DatabaseUnavailable and
        StoreUnusable: then it is asked again.
        """
        looked = 0
        if self._store.answers:
            for due in await self._purging.due_at(self._store_id):
                looked += await self._round(due)
            self._store.admit()
        return looked

    async def _round(self, due: Round) -> int:
        looked, after, now = 0, b"", asyncio.get_running_loop().time
        await self._purging.note(self._store_id, due, 0)  # else nobody knows until the first page
        noted = now()
        while page := await self._purging.chunks_of(due.purge_id, after):
            for at in range(0, len(page), ERASED_AT_ONCE):
                await self._erase(page[at : at + ERASED_AT_ONCE])
                if now() - noted >= NOTE_SECONDS:
                    noted = now()
                    await self._purging.note(self._store_id, due, looked + at + ERASED_AT_ONCE)
            looked += len(page)
            after = page[-1]
        await self._purging.confirm(self._store_id, due)
        self._log.info(
            "purge.unlinked",
            store=self._store_id,
            purge=due.purge_id,
            chunks=looked,
            round=due.rounds + 1,
        )
        return looked

    async def _erase(self, page: Sequence[bytes]) -> None:
        waited = [True]
        left = list(page)
        try:
            for _ in range(BUSY_TRIES_MAX):
                done = set(await self._store.erase(left, lambda: waited[0]))
                left = [chunk for chunk in left if chunk not in done]
                if not left:
                    return
                await self._sleep(BUSY_SECONDS)
        finally:
            waited[0] = False
        raise StoreUnusable(f"{len(left)} chunks that are purged are written to all the time")
