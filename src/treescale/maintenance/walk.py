"""The walk of one store: it looks at partition after partition and does what the planner says.

A home fetches what it lacks from whoever has it. What lies where it does not belong goes once every
home has kept its own copy; a home that cannot fetch for itself is given it. Nothing is taken from
what somebody said: bytes are verified before they are written, and a copy counts once it is durable
(collection.md R10, R11).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Final

from treescale.chunks.format.placement import Table
from treescale.chunks.store import partition_of
from treescale.clock import Clock
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    DatabaseUnavailable,
    Failed,
    NotEnoughStores,
    StoreUnusable,
    Unreachable,
)
from treescale.log import get_logger
from treescale.maintenance.finished import Tell, tell_nobody
from treescale.maintenance.homes import Homes
from treescale.maintenance.pace import Pace
from treescale.maintenance.planning.planner import (
    BATCH_FIRST,
    Plan,
    batch_after,
    by_risk,
    plan,
    spans,
    surviving,
)
from treescale.maintenance.planning.progress import FOLLOWED_SECONDS, Progress
from treescale.maintenance.planning.tally import Tally
from treescale.maintenance.reading_back import ReadingBack
from treescale.maintenance.trash import Trash
from treescale.maintenance.walked import Cluster, WalkedStore
from treescale.metadata.database import Database
from treescale.metadata.events.recording import Kind
from treescale.metadata.records import StoreWalk

TURN_SECONDS: Final = 2.0
"""Between two looks at what is due, when nothing was."""
PARTITIONS_AT_ONCE: Final = 16
"""Partitions that are worked on at a time: enough that each of those that have what it lacks sends,
while others are written."""
OWED_AT_ONCE: Final = 256
PAY_SECONDS: Final = 5.0
"""Between two looks at all that the store is owed."""
KEPT_AT_ONCE: Final = 16
"""Chunks that homes are asked to keep in one question: they read and hash up to 64 MiB for it."""
FETCH_SECONDS_MAX: Final = 60.0
"""For one chunk, however many stores are asked for it."""
IN_VAIN_SECONDS_MAX: Final = 10.0
"""So long a partition may wait for chunks that it does not get, at one look."""
GIVE_AFTER: Final = 2
"""Looks after which a home that still lacks a chunk is given it: as a rule it fetches by itself."""
POSTPONED_TOLD_SECONDS: Final = 60.0
LOOK_SECONDS_MAX: Final = 30.0
"""At partitions that are due, before it is seen what else is: until all copies under way are there
nothing new is begun, and the wires are idle."""
TOLD_SECONDS: Final = 10.0
"""Between two reports of where the walk stands, while that changes."""
VERIFIED_TOLD_SECONDS: Final = 3600.0
"""Between two reports of what was read back, while nothing else is new."""


class Walk:
    """The walk of one store of this server; used from one event loop."""

    def __init__(  # noqa: PLR0913  what it asks, and what tests replace
        self,
        store_id: str,
        store: WalkedStore,
        cluster: Cluster,
        database: Database,
        pace: Pace,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tell: Tell = tell_nobody,
    ) -> None:
        self._store_id = store_id
        self._store = store
        self.cluster = self._cluster = cluster
        self._database = database
        self._pace = pace
        self._homes = Homes(cluster)
        self.trash = Trash(store_id, store, cluster, self._homes, database, clock)
        self._reading = ReadingBack(store_id, store, clock)
        self._clock = clock
        self._sleep = sleep
        self._tell_finished = tell
        self._tally = Tally()
        self._past = Tally()
        self._said: StoreWalk | None = None
        self._said_at = self._counted_at = float("-inf")
        self._batch = BATCH_FIRST
        self._away: DatabaseUnavailable | None = None
        self._paid_up_to = b""
        self._pay_at = float("-inf")
        self._postponed_at = float("-inf")
        self._up: frozenset[str] = frozenset()
        self._log = get_logger()
        self.progress = Progress()
        self.refusal = ""
        """Why something could not be done lately."""
        self.asked_by = ""
        """Who has asked for all to be looked at now; "" once it is whole again."""

    @property
    def store_id(self) -> str:
        """Return whose walk it is."""
        return self._store_id

    @property
    def is_well(self) -> bool:
        """Say whether the store can be expected to answer."""
        return self._store.is_well

    @property
    def batch(self) -> int:
        """Return how many partitions `plans` may be asked of at once."""
        return self._batch

    @property
    def spent(self) -> Tally:
        """Return what was done since this walk began."""
        return self._past.and_of(self._tally)

    async def run(self) -> None:
        """Walk until cancelled; raises what the database and the store of this server raise."""
        await self._resume()
        while True:
            if not await self.turn():
                await self._sleep(TURN_SECONDS)

    async def _resume(self) -> None:
        """Go on where the walk stood: but for names, which are all looked at once more."""
        known = await self._database.walks.get(self._store_id)
        if known is not None:
            self.progress = Progress.of(known.partitions, known.layout)
        self.progress.begin_cycle(self._clock.now())

    async def turn(self) -> bool:
        """Do some of what is due; say whether there was anything."""
        if not self._store.is_well:
            return False
        if self.progress.follow(self._table.layout.number, self._clock.monotonic()):
            self._log.info("walk.begun", store=self._store_id, layout=self._table.layout.number)
        self._see_who_is_back()
        worked = await self._pay()
        due = self.progress.due(self._clock.monotonic())
        if due:
            await self._look_at(due)
        else:
            await self.trash.empty()
            worked = await self._read_back_some() or worked
        await self._tell(over=not due)
        return bool(due) or worked

    @property
    def _table(self) -> Table:
        return self._cluster.tables[0]

    def _see_who_is_back(self) -> None:
        """Have what could not be done without a store done soon once it answers again."""
        stores = {label.store_id for table in self._cluster.tables for label in table.layout.stores}
        up = frozenset(filter(self._cluster.is_up, stores))
        if up - self._up:
            self.progress.hurry_undone()
        self._up = up

    # Looking

    async def _look_at(self, due: Sequence[int]) -> None:
        """Look at some of these partitions, those with the fewest surviving copies first."""
        self._away = None
        async with aclosing(self._planned(due)) as left, asyncio.TaskGroup() as group:
            turn = asyncio.Lock()
            for _ in range(PARTITIONS_AT_ONCE):
                group.create_task(self._mend_each(left, turn))
        if self._away is not None:
            raise self._away

    async def _planned(self, due: Sequence[int]) -> AsyncGenerator[tuple[int, Plan], None]:
        """Yield partitions with what is to be done for them, for some seconds.

        While the plans of some are read, the copies of those before are on their way.
        """
        left = by_risk(due, self._cluster.tables, self._cluster.is_up)
        until = self._clock.monotonic() + LOOK_SECONDS_MAX
        again = not self._is_wanted()
        while left and self._clock.monotonic() < until:
            batch, left = left[: self._batch], left[self._batch :]
            began = self._clock.monotonic()
            self.progress.begin_look(batch)
            try:
                plans = await self.plans(batch)
            except StoreUnusable as error:
                for number in batch:
                    self._postpone(number, error)
                return
            took = self._clock.monotonic() - began
            for item in plans.items():
                yield item
            if again:  # it is the hourly look
                await self._pace.looking(took, self._is_wanted)

    def _is_wanted(self) -> bool:
        """Say whether something may be missing, or somebody has asked for a look."""
        return not self.progress.is_whole or self._table.layout.number != self.progress.layout

    async def plans(self, batch: Sequence[int]) -> Mapping[int, Plan]:
        """Return what is to be done for these partitions; raises StoreUnusable.

        Rows of unfinished uploads are read first, and those of blobs after them: see `References`.
        """
        wanted, table, names = frozenset(batch), self._table, self._database.references
        named: dict[int, dict[bytes, int]] = {number: {} for number in batch}
        here: dict[int, set[bytes]] = {number: set() for number in batch}
        unfinished = await names.in_sessions(lambda chunk: partition_of(chunk) in wanted)
        found = [unfinished, *[await names.in_blobs(*span) for span in spans(batch)]]
        for lengths in found:
            for chunk, length in lengths.items():
                named[partition_of(chunk)][chunk] = length
        async for chunk in self._store.list(batch):
            here[partition_of(chunk)].add(chunk)
        self._batch = batch_after(self._batch, sum(map(len, found)) + sum(map(len, here.values())))
        homes = {number: table.orders[number][: table.copies] for number in batch}
        return {
            number: plan(self._store_id, homes[number], here[number], named[number])
            for number in batch
        }

    async def _mend_each(self, left: AsyncIterator[tuple[int, Plan]], turn: asyncio.Lock) -> None:
        """Do what is to be done for one partition after the other, as long as that is of use."""
        layout = self.progress.layout
        while True:
            try:
                async with turn:
                    number, due = await anext(left)
                    if self._away is not None or self._table.layout.number != layout:
                        return
            except StopAsyncIteration:
                return
            except DatabaseUnavailable as error:
                self._away = error
                return
            try:
                await self._mend(number, due)
                if self._clock.monotonic() - self._counted_at >= TOLD_SECONDS:
                    await self._tell(over=False)
            except DatabaseUnavailable as error:
                self._away = error
                return
            except Failed as error:  # a disk that is full, or hangs: the others go on
                self._postpone(number, error)

    async def _mend(self, number: int, due: Plan) -> None:
        missing = await self._fetch_all(number, due.fetch)
        misplaced = await self._trim(number, due.surplus) if due.surplus else 0
        self.progress.look(number, self._clock.monotonic(), missing=missing, misplaced=misplaced)

    def _postpone(self, number: int, error: Failed) -> None:
        """Leave a partition for later; one line a minute says why, as a full disk concerns all."""
        now = self._clock.monotonic()
        self.progress.postpone(number, now)
        self.refusal = str(error)
        if now - self._postponed_at >= POSTPONED_TOLD_SECONDS:
            self._postponed_at = now
            self._log.info(
                "walk.postponed", store=self._store_id, partition=number, reason=str(error)
            )

    # A home that lacks a copy

    async def _pay(self) -> bool:
        """Fetch copies that this store is owed; say whether there were any (see `owed`)."""
        owed, now = self._database.under_replicated, self._clock.monotonic()
        if now < self._pay_at:
            return False
        chunks = await owed.list(self._store_id, self._paid_up_to, OWED_AT_ONCE)
        if not chunks:
            self._paid_up_to, self._pay_at = b"", now + PAY_SECONDS
            return False
        self._paid_up_to = chunks[-1]
        named = await self._database.references.among(chunks)
        # Of a push that was given up nobody needs a copy.
        paid = [chunk for chunk in chunks if chunk not in named or await self._is_paid(chunk)]
        if paid:
            await owed.settle((chunk, self._store_id) for chunk in paid)
        return True

    async def _is_paid(self, chunk: bytes) -> bool:
        homes = self._table.homes(chunk)
        if self._store_id not in homes:
            return chunk in await self._homes.kept_by(homes, [chunk])
        try:
            (kept,) = await self._store.keep([chunk])
            return kept or await self._fetch(chunk, 0)
        except DatabaseUnavailable:
            raise
        except Failed:  # a disk that is full, or hangs: what is looked at next is not held up
            return False

    async def _fetch_all(self, number: int, lacking: Sequence[tuple[bytes, int]]) -> int:
        """Get these chunks; return how many could not be had.

        Where that takes long, since whoever has them hangs, the rest is left to the next look,
        which begins elsewhere: the other partitions are not held up.
        """
        begin = self.progress.attempts(number) * len(lacking) // 8
        missing, in_vain = 0, 0.0
        for chunk, length in [*lacking[begin:], *lacking[:begin]]:
            begun = self._clock.monotonic()
            if in_vain >= IN_VAIN_SECONDS_MAX or not await self._fetch(chunk, length):
                missing += 1
                in_vain += self._clock.monotonic() - begun
        return missing

    async def _fetch(self, chunk: bytes, length: int) -> bool:
        """Get a chunk from whoever has it, and keep it; say whether that could be done."""
        self._begin()
        if await self.trash.take_back(chunk):
            self._tally.restored += 1
            return True
        left = surviving(partition_of(chunk), self._cluster.tables, self._cluster.is_up)
        await self._pace.moving(length, urgent=left < min(2, self._table.copies))
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                data = await self._cluster.fetch(chunk, self._store_id)
        except (ChunkUnknown, Corrupt, NotEnoughStores, Unreachable, TimeoutError):
            return False  # nobody has it, which the reader tells of, or who has it is away
        await self._store.put(chunk, data)
        self._tally.fetched += 1
        self._tally.moved += len(data)
        return True

    # Copies that belong elsewhere

    async def _trim(self, number: int, surplus: Sequence[bytes]) -> int:
        """Have copies go that every home has; return how many are left."""
        self._begin()
        left = 0
        for start in range(0, len(surplus), KEPT_AT_ONCE):
            left += await self._trim_some(number, surplus[start : start + KEPT_AT_ONCE])
        return left

    async def _trim_some(self, number: int, chunks: Sequence[bytes]) -> int:
        stamps = dict(zip(chunks, await self._store.stamps(chunks), strict=True))
        homes = self._table.homes(chunks[0])
        kept = await self._homes.kept_by(homes, chunks)
        if len(kept) < len(chunks) and self.progress.attempts(number) >= GIVE_AFTER:
            await self._give([chunk for chunk in chunks if chunk not in kept], homes)
        left = 0
        for chunk in chunks:
            stamp = stamps[chunk]
            gone = stamp is None or (chunk in kept and await self._store.trim(chunk, stamp))
            self._tally.trimmed += gone and stamp is not None
            left += not gone
        return left

    async def _give(self, chunks: Sequence[bytes], homes: Sequence[str]) -> None:
        """Put chunks on the homes that lack them; whoever is away gets them another time."""
        for name in homes:
            way = self._cluster.way_to(name)
            if way is None or name == self._store_id or not self._cluster.is_up(name):
                continue
            with suppress(Failed):
                there = await way.have(chunks)
                for chunk, has in zip(chunks, there, strict=True):
                    if not has:
                        data = await self._store.get(chunk)
                        await self._pace.moving(len(data))
                        await way.put(chunk, data)
                        self._tally.given += 1
                        self._tally.moved += len(data)

    # Reading back

    async def _read_back_some(self) -> bool:
        """Read back a partition whose time has come; say whether there was one."""
        if self._pace.is_beside:
            return False
        wall = self._clock.now()
        number = self.progress.verify_due(wall)
        if number is None:
            return False
        async for _ in self.read_back(number, self._pace.reading_back):
            pass
        return True

    async def partitions_here(self) -> set[int]:
        """Return the partitions of which the store has any copy; raises StoreUnusable."""
        return {partition_of(chunk) async for chunk in self._store.list()}

    def read_back(
        self, number: int, pace: Callable[[int], Awaitable[None]] | None = None
    ) -> AsyncIterator[tuple[bytes, int | None]]:
        """Read back the bytes of a partition: see `ReadingBack`.

        `pace` returns when so many bytes may be read: the walk's, if there is none.
        """
        return self._reading.partition(number, self.progress, pace or self._pace.moving)

    # Telling

    def _begin(self) -> None:
        if self._tally.since is None:
            self._tally.since = self._clock.monotonic()

    async def _tell(self, *, over: bool) -> None:
        """Note where the walk stands, not too often, and only what is new."""
        now, progress = self._clock.monotonic(), self.progress
        self._counted_at = now
        seconds = now - (self._tally.since if self._tally.since is not None else now)
        walk = StoreWalk(
            self._store_id,
            progress.layout,
            pending=progress.pending,
            missing=progress.missing,
            misplaced=progress.misplaced,
            rate=int(self._tally.moved / seconds) if seconds > 0 and not over else 0,
            looked=self._clock.now() - (now - progress.looked_since)
            if progress.looked_since
            else 0.0,
            verified=progress.verified_since,
        )
        if self._is_news(walk, over=over) and (over or now - self._said_at >= TOLD_SECONDS):
            self._said_at = now  # first: whoever else mends tells it no second time
            await self._database.walks.put(replace(walk, partitions=progress.packed()))
            self._said = walk
        if progress.is_whole and self._tally.since is not None:
            await self._say_whole(seconds)
        elif progress.is_whole and over:
            self.asked_by = ""

    def _is_news(self, walk: StoreWalk, *, over: bool) -> bool:
        if self._said is None:
            return True
        said = replace(self._said, looked=walk.looked, verified=walk.verified)
        looked = walk.looked - self._said.looked >= FOLLOWED_SECONDS / 2
        verified = walk.verified - self._said.verified >= VERIFIED_TOLD_SECONDS
        return walk != said or (over and (looked or verified))

    async def _say_whole(self, seconds: float) -> None:
        tally, self._tally = self._tally, Tally()
        self._past = self._past.and_of(tally)
        asked_by, self.asked_by = self.asked_by, ""
        if tally.fetched or tally.restored or tally.given or tally.trimmed:
            done = {
                "layout": self.progress.layout,
                "seconds": round(seconds, 1),
                "fetched": tally.fetched,
                "restored": tally.restored,
                "given": tally.given,
                "trimmed": tally.trimmed,
                "bytes": tally.moved,
            }
            self._log.info("store.whole", store=self._store_id, **done)
            told = {"store_id": self._store_id, **done}
            await self._tell_finished(Kind.REPAIR_FINISHED, asked_by, told)
