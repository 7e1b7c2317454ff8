"""Reading a chunk from whichever of its stores has good bytes first (faults.md R2, R4, R6).

`order` says who is asked first, `hedge` when a second one is asked beside a late first. A copy
that is bad or missing costs nothing but the next request; a store that hangs is left to itself
after some seconds. Whoever is likely to have the chunk is asked before whoever might, and stores
that are down or in doubt last. When nobody is left, those that gave no answer are asked once more
and waited for: what is held to be down may be up again, and who is silent may only be slow.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from treescale.chunks.files import ChunkFile
from treescale.chunks.health import Handoffs
from treescale.chunks.hedge import HedgeBudget, hedge_seconds
from treescale.chunks.latency import late_seconds
from treescale.chunks.order import beyond, ranked
from treescale.chunks.race import Race
from treescale.chunks.spread import Spread
from treescale.chunks.watched import WatchedStore
from treescale.chunks.writing import late_seconds_max, request_seconds_max
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    DatabaseAway,
    Failed,
    NotEnoughStores,
    Unreachable,
)

down_seconds_max: Final = 5.0
"""For an answer of a store that is held to be down, when it is asked all the same."""
lookup_seconds_max: Final = 2.0
"""For the hint where handoffs are; without it all stores are asked."""

_Asked = Coroutine[object, object, bytes | ChunkFile]


@dataclass(frozen=True, slots=True)
class Found:
    """The good bytes or a file of them, and the stores found to have none, or bad ones."""

    data: bytes | ChunkFile
    lacking: tuple[str, ...]


class Hedging:
    """When a cluster store may ask twice, and how often it did."""

    def __init__(self) -> None:
        self.budget = HedgeBudget()
        self.hedged = 0
        """Reads that asked a second store because the first was late."""
        self.won = 0
        """Those of them where the second was faster."""


class Fetching:
    """One chunk being read from the stores of a spread."""

    def __init__(
        self,
        spread: Spread,
        chunk: bytes,
        *,
        hedging: Hedging,
        handoffs: Handoffs | None,
        chance: Callable[[], float],
        files: bool = False,
    ) -> None:
        self._spread = spread
        self._chunk = chunk
        self._hedging = hedging
        self._handoffs = handoffs
        self._chance = chance
        self._files = files
        self._likely: deque[str] = deque()
        self._dim: list[str] = []
        self._others: deque[str] | None = None
        self._failures: dict[str, Failed] = {}
        self._hedge_at = float("inf")
        self._hedge = ""
        self._insisted: set[str] = set()
        self._end = spread.now() + request_seconds_max

    async def run(self) -> Found:
        """Return the first good bytes; a file of them, where there is one, if `files` are wanted.

        Raises ChunkUnknown only when so few stores did not answer that they cannot hold it,
        otherwise NotEnoughStores, or Corrupt when there were only bad copies.
        """
        if len(self._spread.stores) == 1:
            return await self._alone()
        name = await self._turn()
        self._hedging.budget.earn()
        async with Race[bytes | ChunkFile](self._spread.clock) as race:
            if name is None:
                await self._ask_next(race)
            else:
                self._ask(race, name)
            while race.running and self._spread.now() < self._end:
                for name, answer in await race.answers(self._patience(race)):
                    if not isinstance(answer, Failed):
                        self._hedging.won += name == self._hedge
                        return Found(answer, self._lacking())
                    self._failures[name] = answer
                await self._ask_more(race)
            for name in race.prompt:
                self._give_up(name)
        for name in [x for x in self._spread.stores if x not in self._failures]:
            self._failures[name] = Unreachable(f"there was no time to ask store {name}")
        raise self._verdict()

    async def _turn(self) -> str | None:
        """Return the likeliest store that has room for the read, now begun.

        Of the homes that can answer only the newest: homes of older layouts are not asked because
        they have nothing else to do. None when none is likely, or when half of the time there is
        has gone: under load everybody waits, and asking all the same would make it worse; but who
        has the room may hang.
        """
        patient_until = self._end - request_seconds_max / 2
        name = None
        while name is None:
            copies = ranked(self._spread.homes(self._chunk), self._chance)
            clear = [copy for copy in copies if copy.clear]
            self._likely = deque(copy.store_id for copy in clear)
            self._dim = [copy.store_id for copy in copies if not copy.clear]
            if not clear or self._spread.now() >= patient_until:
                return None
            newest = clear[0].generation
            likeliest = [copy.store_id for copy in clear if copy.generation == newest]
            name = await self._spread.turns.choose(likeliest, late_seconds_max)
        self._likely.remove(name)
        return name

    async def _alone(self) -> Found:
        """Ask the only store there is; nobody else needs watching for, so no task does it."""
        ((name, store),) = self._spread.stores.items()
        try:
            return Found(await self._way_to(store)(self._chunk), ())
        except Failed as error:
            self._failures[name] = error
        for name, ask in self._last_resort(running=()).items():
            try:
                return Found(await ask(), ())
            except Failed as error:
                self._failures[name] = error
        raise self._verdict()

    def _way_to(self, store: WatchedStore) -> Callable[[bytes], _Asked]:
        return store.checked if self._files else store.get

    def _patience(self, race: Race[bytes | ChunkFile]) -> float:
        """Return the seconds until something has to be decided again."""
        now = self._spread.now()
        late = race.seconds_until_late(self._late_seconds())
        return min(self._end - now, self._hedge_at - now, late)

    def _late_seconds(self) -> float:
        """Return after how many seconds a store is late."""
        now, stores = self._spread.now(), self._spread.stores
        homes = self._spread.table.homes(self._chunk)
        means = (stores[name].figures.reads.mean(now) for name in homes)
        return late_seconds(late_seconds_max, means)

    async def _ask_more(self, race: Race[bytes | ChunkFile]) -> None:
        """Ask the next store when nobody is left of whom an answer can be expected, or it is time.

        A store that failed is replaced, not hedged: that costs no budget.
        """
        for name in race.overdue(self._late_seconds()):
            self._give_up(name)
        if not race.prompt:
            await self._ask_next(race)
        elif self._spread.now() >= self._hedge_at:
            self._hedge_at = float("inf")
            if self._hedging.budget.take():
                self._hedging.hedged += 1
                self._hedge = self._likely[0]
                await self._ask_next(race)

    async def _ask_next(self, race: Race[bytes | ChunkFile]) -> None:
        """Ask the next store at once: the one before it failed, or is late."""
        name = await self._next()
        if name is not None:
            self._spread.turns.begin(name)
            self._ask(race, name)
        else:
            for again, ask in self._last_resort(race.running).items():
                self._spread.turns.begin(again)
                race.start(again, ask, self._spread.turns.end)

    def _ask(self, race: Race[bytes | ChunkFile], name: str) -> None:
        store = self._spread.stores[name]
        read = partial(self._way_to(store), self._chunk)
        race.start(name, read, self._spread.turns.end)
        self._hedge_at = self._planned_hedge(name)

    def _last_resort(
        self, running: Collection[str]
    ) -> Mapping[str, Callable[[], Coroutine[object, object, bytes]]]:
        """Return how to ask those again that gave no answer: nobody else is left to be asked.

        Each once; who is late but may answer yet is asked again when that has failed.
        """
        left = self._end - self._spread.now()
        found = {}
        for name, error in self._failures.items():
            store, asked = self._spread.stores[name], {*running, *self._insisted}
            if isinstance(error, Unreachable) and store.is_sparing and name not in asked:
                self._insisted.add(name)
                up = self._spread.health.is_up(name)
                seconds = left if up else min(left, down_seconds_max)
                found[name] = partial(store.insist, self._chunk, seconds)
        return found

    def _planned_hedge(self, first: str) -> float:
        """Return when to ask another store beside the first: once, and one that should have it."""
        if self._hedge or not self._likely:
            return float("inf")
        now = self._spread.now()
        pair = [self._spread.stores[name].figures.reads for name in (first, self._likely[0])]
        return now + hedge_seconds(pair[0].p95(now), pair[1].p95(now))

    async def _next(self) -> str | None:
        """Return who is asked next, each once; None when all were."""
        if self._likely:
            return self._likely.popleft()
        if self._others is None:
            self._others = deque(await self._beyond())
        return self._others.popleft() if self._others else None

    async def _beyond(self) -> list[str]:
        """Return the stores to ask when the homes that can be expected to answer have not helped.

        First where a handoff is known to be, then where it would be; the dim ones at the end.
        """
        stores = self._spread.stores
        asked = {*self._failures, *self._dim}
        hinted = [name for name in await self._hints() if name in stores and name not in asked]
        rest = beyond(self._spread.table, self._chunk, (*asked, *hinted), stores)
        copies = [self._spread.copy(name, 0) for name in dict.fromkeys((*hinted, *rest))]
        dim = [copy.store_id for copy in copies if not copy.clear]
        return [*(copy.store_id for copy in copies if copy.clear), *self._dim, *dim]

    async def _hints(self) -> Sequence[str]:
        if self._handoffs is None:
            return ()
        try:
            async with asyncio.timeout(lookup_seconds_max):
                return await self._handoffs.holders(self._chunk)
        except (DatabaseAway, TimeoutError):
            return ()  # all stores are asked then, as they would be after a hint that is wrong

    def _give_up(self, name: str) -> None:
        self._failures[name] = Unreachable(f"store {name} did not answer in time")
        self._spread.stores[name].figures.give_up(self._spread.now())

    def _lacking(self) -> tuple[str, ...]:
        bad = (ChunkUnknown, Corrupt)
        return tuple(name for name, error in self._failures.items() if isinstance(error, bad))

    def _verdict(self) -> Failed:
        """Return why no copy could be read."""
        chunk, failures = self._chunk.hex(), self._failures.values()
        away = [error for error in failures if not isinstance(error, ChunkUnknown | Corrupt)]
        if len(away) >= self._spread.quorum:
            reasons = "; ".join(map(str, away))
            return NotEnoughStores(f"chunk {chunk} may be on a store that is away: {reasons}")
        for error in failures:
            if isinstance(error, Corrupt):
                return error
        return ChunkUnknown(f"no store has chunk {chunk}")
