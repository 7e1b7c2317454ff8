"""What a worker does about chunks that were found lost, or found again, beside the requests.

A read that has heard of every store that it has no good copy says so here, and goes on to its 503.
Then the chunk is noted in the database, if that knows of no other store (`LostChunks.note`), and
looked for once more: a push may have put it again meanwhile. Who commits after the note takes it
back himself, and who did before has put the chunk before this look. So none is noted for good that
has a good copy.

The look goes on to the other chunks of the blobs concerned, and of the images they belong to, by
name alone: with a whole disk lost, one pull that fails is enough for one push to mend the image.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from treescale.chunks.store import ChunkStore
from treescale.clock import Clock
from treescale.errors import (
    DatabaseUnavailable,
    Failed,
    NotEnoughStores,
    StoreUnusable,
    Unreachable,
)
from treescale.log import get_logger
from treescale.metadata.missing_copies import LostChunks
from treescale.metadata.records import Noted

WAITING_MAX: Final = 10_000
"""Chunks that wait to be noted. One that finds no room is found again by the next read."""
RETRY_SECONDS_MIN: Final = 1.0
RETRY_SECONDS_MAX: Final = 30.0
"""Between two tries while the database is away."""
KNOWN_SECONDS: Final = 30.0
"""So long a chunk that was noted, or could not be proven lost, is not looked into again."""
FOUND_AT_ONCE_MAX: Final = 500
RELATED_MAX: Final = 50_000
"""Chunks that are looked for because they belong to an image that lacks another."""
ASKED_AT_ONCE: Final = 500
REPOSITORIES_TOLD_MAX: Final = 20
"""Named in the log line of a lost chunk."""


class LossRecorder:
    """Notes what was found lost and found again; its methods return at once, `run` works."""

    def __init__(self, lost: LostChunks, store: ChunkStore, clock: Clock) -> None:
        self._lost = lost
        self._store = store
        self._clock = clock
        self._missing: OrderedDict[bytes, frozenset[str]] = OrderedDict()
        self._found: OrderedDict[bytes, None] = OrderedDict()
        self._settled: OrderedDict[bytes, float] = OrderedDict()
        self._around: set[bytes] = set()
        self._looked = 0.0
        self._some = asyncio.Event()
        self._log = get_logger()

    def missing(self, chunk: bytes, answered: frozenset[str]) -> None:
        """Take note that all these stores said that they have no good copy."""
        settled = self._settled.get(chunk)
        if settled is not None and self._clock.monotonic() - settled < KNOWN_SECONDS:
            return
        if chunk in self._missing or len(self._missing) < WAITING_MAX:
            self._missing[chunk] = answered
            self._some.set()

    def found(self, chunk: bytes) -> None:
        """Take note that a good copy was read of a chunk that may be noted as lost."""
        if len(self._found) < WAITING_MAX:
            self._found[chunk] = None
            self._some.set()

    async def run(self) -> None:
        """Do what comes until cancelled; what the database cannot be told now it is told later."""
        pause = RETRY_SECONDS_MIN
        while True:
            await self._some.wait()
            try:
                await self.settle()
            except DatabaseUnavailable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, RETRY_SECONDS_MAX)
            else:
                pause = RETRY_SECONDS_MIN

    async def settle(self) -> None:
        """Do what has come; raises DatabaseUnavailable, with what is left still to be done."""
        while self._missing or self._found:
            if self._found:
                chunks = [*self._found][:FOUND_AT_ONCE_MAX]
                await self.heal(chunks)
                for chunk in chunks:
                    self._found.pop(chunk, None)
            if self._missing:
                chunk, answered = next(iter(self._missing.items()))
                await self._note(chunk, answered)
                self._missing.pop(chunk, None)
        self._some.clear()

    async def heal(self, chunks: Iterable[bytes]) -> None:
        """Note that there are good copies of these, as far as they were lost."""
        lost = await self._lost.among(chunks)
        if not lost:
            return
        for chunk in await self._lost.heal(lost):
            self._settled.pop(chunk, None)
            self._log.info("chunk.healed", chunk=chunk.hex())

    async def _note(self, chunk: bytes, answered: frozenset[str]) -> None:
        noted = await self._lost.note(chunk, answered)
        self._settle(chunk)
        if noted is Noted.UNPROVEN:
            return
        if await self._is_there(chunk):
            await self.heal([chunk])
        elif noted is Noted.NEW:
            names = await self._lost.repositories(chunk, REPOSITORIES_TOLD_MAX)
            self._log.error("chunk.lost", chunk=chunk.hex(), repositories=names)
            await self._look_around(chunk)

    async def _is_there(self, chunk: bytes) -> bool:
        """Look once more; the store tells us of it, as of any read, if there is none."""
        try:
            await self._store.get(chunk)
        except Failed:
            return False
        return True

    async def _look_around(self, chunk: bytes) -> None:
        """Look for the other chunks of the images concerned; what is missing comes here by itself.

        What cannot be answered now is left to the next read.
        """
        now = self._clock.monotonic()
        if now - self._looked > KNOWN_SECONDS or len(self._around) > RELATED_MAX:
            self._around.clear()
        if chunk in self._around:
            return
        related = await self._lost.related(chunk, RELATED_MAX)
        self._around.update(related)
        self._looked = now
        with suppress(NotEnoughStores, Unreachable, StoreUnusable):
            for start in range(0, len(related), ASKED_AT_ONCE):
                page = related[start : start + ASKED_AT_ONCE]
                for other, there in zip(page, await self._store.have(page), strict=True):
                    if not there:
                        await self._is_there(other)

    def _settle(self, chunk: bytes) -> None:
        self._settled[chunk] = self._clock.monotonic()
        self._settled.move_to_end(chunk)
        while len(self._settled) > WAITING_MAX:
            self._settled.popitem(last=False)
