"""The trash of one store: what lies there goes for good after a second look, or comes back.

What no row names is dropped once its time is over (collection.md R12). What a row names is a copy
that was trimmed, and goes once every home has its own; a home that lacks its copy takes it back.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from treescale.chunks.disk.directory import FULL_WORD
from treescale.chunks.store import partition_of
from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, Failed
from treescale.lease_times import LEASE_SETTING, lease_of
from treescale.log import get_logger
from treescale.maintenance.collection.state import paused_by
from treescale.maintenance.homes import Homes
from treescale.maintenance.walked import Cluster, WalkedStore
from treescale.metadata.database import Database

TRASH_SECONDS_OF_FULL: Final = 600.0
"""So long a chunk stays in the trash of a disk that is full."""
TRASH_LOOK_SECONDS: Final = 300.0
TRASHED_AT_ONCE: Final = 10_000


class Trash:
    """The trash of one store; used from one event loop."""

    def __init__(
        self,
        store_id: str,
        store: WalkedStore,
        cluster: Cluster,
        homes: Homes,
        database: Database,
        clock: Clock,
    ) -> None:
        self._store_id = store_id
        self._store = store
        self.cluster = cluster
        """The cluster around its store."""
        self._homes = homes
        self._database = database
        self._clock = clock
        self._look_at = float("-inf")
        self._log = get_logger()
        self.met = 0
        """Chunks that a row named, and that no store had outside its trash."""

    async def empty(self, *, now: bool = False) -> int:
        """Drop what nobody needs, and take back what somebody does; return how many were dropped.

        Not more often than every five minutes, unless it is to be done `now`. What no row names
        stays while the settings say that nothing is taken. Raises DatabaseUnavailable,
        StoreUnusable.
        """
        if not now and self._clock.monotonic() < self._look_at:
            return 0
        settings = self._database.settings
        seconds = lease_of(await settings.get(LEASE_SETTING)).trash
        usage = await self._store.usage()
        if (usage.trouble or "").startswith(FULL_WORD):
            seconds = min(seconds, TRASH_SECONDS_OF_FULL)
        dropped, after = 0, b""
        while chunks := await self._store.trashed(seconds, TRASHED_AT_ONCE, after):
            collects = await paused_by(settings) is None  # asked each time: it may be said now
            dropped += await self._look_at_some(chunks, collects=collects)
            after = chunks[-1]
        self._look_at = self._clock.monotonic() + TRASH_LOOK_SECONDS
        return dropped

    async def _look_at_some(self, chunks: Sequence[bytes], *, collects: bool) -> int:
        """Look at these once more: what a row names by now was read after they were trashed."""
        named = await self._database.references.among(chunks)
        going = [chunk for chunk in chunks if chunk not in named] if collects else []
        for number, some in groupby(sorted(named), partition_of):
            table = self.cluster.tables[0]
            homes, trimmed = table.orders[number][: table.copies], list(some)
            if self._store_id in homes:
                here = await self._store.have(trimmed)
                lacking = [chunk for chunk, has in zip(trimmed, here, strict=True) if not has]
                for chunk in lacking:
                    await self._take_back_or_leave(chunk)
                trimmed = [chunk for chunk in trimmed if chunk not in lacking]
            going += await self._homes.kept_by(homes, trimmed) if trimmed else []
        for chunk in going:
            await self._store.drop(chunk)
        return len(going)

    async def _take_back_or_leave(self, chunk: bytes) -> None:
        try:
            await self.take_back(chunk)
        except DatabaseUnavailable:
            raise
        except Failed as error:  # a disk that is full: it stays in the trash, where reads find it
            self._log.error("trash.kept", store=self._store_id, reason=str(error))

    async def take_back(self, chunk: bytes) -> bool:
        """Bring a chunk that a row names back from the trash; say whether it was there.

        That a home trashed its copy a moment before a row named the chunk is nothing unusual: the
        push has put it on other stores. That no store has it outside its trash is (R14).
        """
        if not await self._store.in_trash(chunk):
            return False
        elsewhere = await self._is_elsewhere(chunk)
        if not await self._store.restore(chunk):
            return False
        if not elsewhere and await self._database.references.among([chunk]):
            self.met += 1
            self._log.error(
                "chunk.only_in_trash",
                store=self._store_id,
                chunk=chunk.hex(),
                means="a row names it, and no store had it but in the trash: please report this",
            )
        return True

    async def _is_elsewhere(self, chunk: bytes) -> bool:
        """Say whether another store has it, or may have it and cannot be asked."""
        labels = (label for table in self.cluster.tables for label in table.layout.stores)
        if not all(self.cluster.is_up(label.store_id) for label in labels):
            return True  # and nobody waits for its time limit
        try:
            (has,) = await self.cluster.have([chunk])
        except DatabaseUnavailable:
            raise
        except Failed:
            return True
        return has
