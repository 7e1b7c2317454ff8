"""Reading a chunk from whichever of its stores has good bytes first (faults.md R2, R4, R6).

`read_order` says who is asked first, `hedge` when a second one is asked beside a late first. A copy
that is bad or missing costs nothing but the next request; a store that hangs is left to itself
after some seconds. Whoever is likely to have the chunk is asked before whoever might, and stores
that are down or passed over last. When nobody is left, those that gave no answer are asked once
more and waited for: what is held to be down may be up again, and who is silent may only be slow.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.replication.fanout import FanOut
from treescale.chunks.replication.health import Handoffs
from treescale.chunks.replication.hedge import HedgeBudget, hedge_seconds
from treescale.chunks.replication.latency import (
    LATE_SECONDS_MAX,
    REQUEST_SECONDS_MAX,
    late_seconds,
)
from treescale.chunks.replication.read_order import ranked, remaining
from treescale.chunks.replication.read_repair import ReadRepair
from treescale.chunks.replication.view import ReplicationView
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    DatabaseUnavailable,
    Failed,
    NotEnoughStores,
    Unreachable,
)
from treescale.metrics.chunk_reads import ChunkReads

DOWN_SECONDS_MAX: Final = 5.0
"""For an answer of a store that is held to be down, when it is asked all the same."""
LOOKUP_SECONDS_MAX: Final = 2.0
"""For the hint where handoffs are; without it all stores are asked."""

Nowhere = Callable[[bytes, frozenset[str]], None]
"""Hears of a chunk of which no store has a good copy, and the stores that have said so: all that
were known. It returns at once."""
_Answer = bytes | ChunkFile | Failed


class Hedging:
    """When a replicated store may ask twice, and how often it did."""

    def __init__(self) -> None:
        self.budget = HedgeBudget()
        self.hedged = 0
        """Reads that asked a second store because the first was late."""
        self.won = 0
        """Those of them where the second was faster."""


@dataclass
class Reads:
    """What all reads of a replicated store share."""

    hedging: Hedging
    repair: ReadRepair
    handoffs: Handoffs | None
    chance: Callable[[], float]
    nowhere: Nowhere | None = None
    watched: ChunkReads | None = None
    """Where it is noted which store gave a chunk, while somebody looks."""

    def tell(self, chunk: bytes, name: str) -> None:
        """Tell which store gave a chunk; costs one look at a number while nobody looks on."""
        if self.watched is not None and self.watched.until[0]:
            self.watched.note(chunk, name)


class ChunkRead:
    """One chunk being read from the stores of a view."""

    def __init__(
        self,
        view: ReplicationView,
        chunk: bytes,
        reads: Reads,
        *,
        files: bool = False,
        last: str = "",
    ) -> None:
        """`last` is a store that looked and lacks it, and keeps what is read: asked after all."""
        self._view = view
        self._last = last
        self._chunk = chunk
        self._reads = reads
        self._hedging = reads.hedging
        self._files = files
        self._likely: deque[str] = deque()
        self._unhealthy: list[str] = []
        self._others: deque[str] | None = None
        self._failures: dict[str, Failed] = {}
        self._hedge_at = float("inf")
        self._hedge = ""
        self._insisted: set[str] = set()
        self._end = view.now() + REQUEST_SECONDS_MAX

    async def run(self) -> bytes | ChunkFile:
        """Return the first good bytes; a file of them, where there is one, if `files` are wanted.

        Homes found with a bad copy, or none, get the bytes again. Raises ChunkUnknown only when so
        few stores did not answer that they cannot hold it, otherwise NotEnoughStores, or Corrupt
        when there were only bad copies.
        """
        if len(self._view.stores) == 1:
            ((only, store),) = self._view.stores.items()
            # Nobody else needs watching for, so no task does it.
            answer = await store.read(self._chunk, files=self._files)
            answer = await self._insisted_on(only, answer)
            self._reads.tell(self._chunk, only)
            return answer
        name = await self._turn()
        self._hedging.budget.earn()
        good: bytes | ChunkFile | None = None
        async with FanOut[bytes | ChunkFile](self._view.clock) as fan:
            if name is None:
                await self._ask_next(fan)
            else:
                self._ask(fan, name)
            while good is None and fan.running and self._view.now() < self._end:
                answers = await fan.answers(self._patience(fan))
                good = self._good(answers)
                if good is None:
                    await self._ask_more(fan)
            for late in () if good is not None else fan.on_time:
                self._give_up(late)
        if good is not None:
            return await self._repaired(good)
        for missed in [x for x in self._view.stores if x not in self._failures]:
            self._failures[missed] = Unreachable(f"there was no time to ask store {missed}")
        raise self._verdict()

    async def _turn(self) -> str | None:
        """Return the likeliest store that has room for the read, now begun.

        Of the homes that can answer only the newest: homes of older layouts are not asked because
        they have nothing else to do. None when none is likely, or when half of the time there is
        has gone: under load everybody waits, and asking all the same would make it worse; but who
        has the room may hang.
        """
        patient_until = self._end - REQUEST_SECONDS_MAX / 2
        name = None
        while name is None:
            homes = [x for x in self._view.homes(self._chunk) if x.store_id != self._last]
            copies = ranked(homes, self._reads.chance)
            healthy = [copy for copy in copies if copy.healthy]
            self._likely = deque(copy.store_id for copy in healthy)
            self._unhealthy = [copy.store_id for copy in copies if not copy.healthy]
            if not healthy or self._view.now() >= patient_until:
                return None
            newest = healthy[0].generation
            likeliest = [copy.store_id for copy in healthy if copy.generation == newest]
            name = await self._view.scheduler.acquire(likeliest, LATE_SECONDS_MAX)
        self._likely.remove(name)
        return name

    async def _insisted_on(self, name: str, answer: _Answer) -> bytes | ChunkFile:
        """Return what the only store there is answered, asked once more if it gave no answer."""
        if not isinstance(answer, Failed):
            return answer
        self._failures[name] = answer
        for again, ask in self._last_resort(running=()).items():
            answer = await ask()
            if not isinstance(answer, Failed):
                return answer
            self._failures[again] = answer
        raise self._verdict()

    def _good(self, answers: Iterable[tuple[str, _Answer]]) -> bytes | ChunkFile | None:
        """Return the first good one, and count the others as failures."""
        for name, answer in answers:
            if not isinstance(answer, Failed):
                self._hedging.won += name == self._hedge
                self._reads.tell(self._chunk, name)
                return answer
            self._failures[name] = answer
        return None

    async def _repaired(self, data: bytes | ChunkFile) -> bytes | ChunkFile:
        """Give the chunk to those of its homes that were found without a good copy; return it."""
        lacking = self._bad() if self._last else self._lacking()
        homes = [x for x in self._view.table.homes(self._chunk) if x in lacking] if lacking else ()
        if homes and isinstance(data, ChunkFile):
            data.close()
            # Copies are repaired with bytes.
            return await ChunkRead(self._view, self._chunk, self._reads).run()
        for name in homes:
            assert not isinstance(data, ChunkFile), "see above"
            await self._reads.repair.repair(self._chunk, data, name, self._view.stores[name])
        return data

    def _patience(self, fan: FanOut[bytes | ChunkFile]) -> float:
        """Return the seconds until something has to be decided again."""
        now = self._view.now()
        late = fan.seconds_until_late(self._late_seconds())
        return min(self._end - now, self._hedge_at - now, late)

    def _late_seconds(self) -> float:
        """Return after how many seconds a store is late."""
        now, stores = self._view.now(), self._view.stores
        homes = self._view.table.homes(self._chunk)
        means = (stores[name].figures.reads.mean(now) for name in homes)
        return late_seconds(LATE_SECONDS_MAX, means)

    async def _ask_more(self, fan: FanOut[bytes | ChunkFile]) -> None:
        """Ask the next store when nobody is left of whom an answer can be expected, or it is time.

        A store that failed is replaced, not hedged: that costs no budget.
        """
        for name in fan.newly_late(self._late_seconds()):
            self._give_up(name)
        if not fan.on_time:
            await self._ask_next(fan)
        elif self._view.now() >= self._hedge_at:
            self._hedge_at = float("inf")
            if self._hedging.budget.take():
                self._hedging.hedged += 1
                self._hedge = self._likely[0]
                await self._ask_next(fan)

    async def _ask_next(self, fan: FanOut[bytes | ChunkFile]) -> None:
        """Ask the next store at once: the one before it failed, or is late."""
        name = await self._next()
        if name is not None:
            self._view.scheduler.begin(name)
            self._ask(fan, name)
        else:
            for again, ask in self._last_resort(fan.running).items():
                self._view.scheduler.begin(again)
                fan.start(again, ask(), self._view.scheduler.release)

    def _ask(self, fan: FanOut[bytes | ChunkFile], name: str) -> None:
        read = self._view.stores[name].read(self._chunk, files=self._files)
        fan.start(name, read, self._view.scheduler.release)
        self._hedge_at = self._planned_hedge(name)

    def _last_resort(
        self, running: Collection[str]
    ) -> Mapping[str, Callable[[], Coroutine[Any, Any, _Answer]]]:
        """Return how to ask those again that gave no answer: nobody else is left to be asked.

        Each once; who is late but may answer yet is asked again when that has failed.
        """
        left = self._end - self._view.now()
        found = {}
        for name, error in self._failures.items():
            store, asked = self._view.stores[name], {*running, *self._insisted}
            if isinstance(error, Unreachable) and store.last_resort and name not in asked:
                self._insisted.add(name)
                up = self._view.health.is_up(name)
                seconds = left if up else min(left, DOWN_SECONDS_MAX)
                found[name] = partial(store.read_last_resort, self._chunk, seconds)
        return found

    def _planned_hedge(self, first: str) -> float:
        """Return when to ask another store beside the first: once, and one that should have it."""
        if self._hedge or not self._likely:
            return float("inf")
        now = self._view.now()
        pair = [self._view.stores[name].figures.reads for name in (first, self._likely[0])]
        return now + hedge_seconds(pair[0].p95(now), pair[1].p95(now))

    async def _next(self) -> str | None:
        """Return who is asked next, each once; None when all were."""
        if self._likely:
            return self._likely.popleft()
        if self._others is None:
            self._others = deque(await self._remaining())
        return self._others.popleft() if self._others else None

    async def _remaining(self) -> list[str]:
        """Return the stores to ask when the homes that can be expected to answer have not helped.

        First where a handoff is known to be, then where it would be; the unhealthy ones at the end.
        """
        stores = self._view.stores
        asked = {*self._failures, *self._unhealthy}
        hinted = [name for name in await self._hints() if name in stores and name not in asked]
        rest = remaining(self._view.table, self._chunk, (*asked, *hinted), stores)
        copies = [self._view.candidate(name, 0) for name in dict.fromkeys((*hinted, *rest))]
        unhealthy = [copy.store_id for copy in copies if not copy.healthy]
        found = [*(x.store_id for x in copies if x.healthy), *self._unhealthy, *unhealthy]
        return sorted(found, key=self._last.__eq__)

    async def _hints(self) -> Sequence[str]:
        if self._reads.handoffs is None:
            return ()
        try:
            async with asyncio.timeout(LOOKUP_SECONDS_MAX):
                return await self._reads.handoffs.holders(self._chunk)
        except (DatabaseUnavailable, TimeoutError):
            return ()  # all stores are asked then, as they would be after a hint that is wrong

    def _give_up(self, name: str) -> None:
        self._failures[name] = Unreachable(f"store {name} did not answer in time")
        self._view.stores[name].give_up()

    def _bad(self) -> tuple[str, ...]:
        return tuple(name for name, error in self._failures.items() if isinstance(error, Corrupt))

    def _lacking(self) -> tuple[str, ...]:
        bad = (ChunkUnknown, Corrupt)
        return tuple(name for name, error in self._failures.items() if isinstance(error, bad))

    def _verdict(self) -> Failed:
        """Return why no copy could be read; tell of it when that is proven to last.

        Who did not answer, or was passed over, proves nothing, however few they are.
        """
        chunk, failures = self._chunk.hex(), self._failures.values()
        lacking = frozenset(self._lacking())
        if self._reads.nowhere is not None and lacking == self._view.stores.keys():
            self._reads.nowhere(self._chunk, lacking)
        away = [error for error in failures if not isinstance(error, ChunkUnknown | Corrupt)]
        if len(away) >= self._view.quorum:
            reasons = "; ".join(map(str, away))
            return NotEnoughStores(f"chunk {chunk} may be on a store that is away: {reasons}")
        for error in failures:
            if isinstance(error, Corrupt):
                return error
        return ChunkUnknown(f"no store has chunk {chunk}")
