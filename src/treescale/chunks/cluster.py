"""Several stores as one: each chunk on its homes, read from whichever copy is good.

A put is acknowledged when durable copies lie in as many failure domains as the write quorum: 2,
or 1 when the layout asks for one copy only. So when fewer stores than that cannot be asked, a
chunk that none of the others has is known to be nowhere. `writing` and `fetching` do the work for
one chunk; this keeps what they share, and asks all stores at once where all are meant.
"""

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from random import Random  # noqa: TID251  what `chance` is by default: to spread, not to hide
from typing import Final

from treescale.chunks.fetching import Fetching, Hedging
from treescale.chunks.files import ChunkFile
from treescale.chunks.health import AllUp, Handoffs, Health
from treescale.chunks.mending import Mender
from treescale.chunks.placement import PARTITIONS, Table
from treescale.chunks.race import Race
from treescale.chunks.spread import Spread
from treescale.chunks.store import Bytes, ChunkStore
from treescale.chunks.turns import Turns
from treescale.chunks.watched import StoreFigures, WatchedStore
from treescale.chunks.writeplan import Placed
from treescale.chunks.writing import Writing, request_seconds_max, shortage
from treescale.clock import Clock, SystemClock
from treescale.errors import ChunkUnknown, Failed, NotEnoughStores, Unreachable

reserve_seconds_max: Final = 0.5
"""A store that does not say by then whether it has room is taken to have none."""
ahead_bytes_of_store: Final = 9 * 1024 * 1024
"""What a reader or an upload has ahead for each store: two chunks on their way, and so many that
wait that hardly ever all of those are of other stores."""
ahead_bytes_max: Final = 72 * 1024 * 1024
"""For eight stores; with more, a reader does not keep all of them busy."""
_partitions_listed_at_once: Final = 16
"""One top directory of a disk store: bounds what a list holds in memory."""


class ClusterStore:
    """A ChunkStore over the stores of a layout; used from one event loop.

    `older` are the tables of earlier layouts, newest first, whose homes may still hold what has
    not moved. `stores` has every store of the current table, and may have more: these are read
    and deleted from, never written to.
    """

    def __init__(
        self,
        table: Table,
        stores: Mapping[str, ChunkStore],
        *,
        older: Sequence[Table] = (),
        health: Health | None = None,
        handoffs: Handoffs | None = None,
        clock: Clock | None = None,
        chance: Callable[[], float] | None = None,
    ) -> None:
        self._health = health or AllUp()
        self._handoffs = handoffs
        self._clock = clock or SystemClock()
        self._chance = chance or Random().random  # noqa: S311  likewise
        self._hedging = Hedging()
        self._mender = Mender()
        self._turns = Turns(self._health.is_local)
        self._watched: dict[str, WatchedStore] = {}
        self._spread = self._spread_over(table, older, stores)

    def relayout(
        self, table: Table, older: Sequence[Table], stores: Mapping[str, ChunkStore]
    ) -> None:
        """Use these from the next call on; calls in flight finish on what they began with."""
        self._spread = self._spread_over(table, older, stores)

    def _spread_over(
        self, table: Table, older: Sequence[Table], stores: Mapping[str, ChunkStore]
    ) -> Spread:
        self._watched = {name: self._watch(name, store) for name, store in stores.items()}
        return Spread.over((table, *older), self._watched, self._health, self._clock, self._turns)

    def _watch(self, name: str, store: ChunkStore) -> WatchedStore:
        """Return the store watched; one that stays keeps its queue, a new way to it the figures."""
        known = self._watched.get(name)
        if known is not None and known.inner is store:
            return known
        figures = StoreFigures() if known is None else known.figures
        return WatchedStore(store, figures, self._clock)

    @property
    def ahead_bytes(self) -> int:
        """Return how much one reader should have asked for: see reading.AheadStore."""
        return min(ahead_bytes_max, ahead_bytes_of_store * len(self._spread.stores))

    @property
    def figures(self) -> Mapping[str, StoreFigures]:
        """Return what this process has seen of each store."""
        return {name: store.figures for name, store in self._watched.items()}

    @property
    def hedging(self) -> Hedging:
        """Return how often a second store was asked."""
        return self._hedging

    @property
    def repaired(self) -> int:
        """Return how many bad or missing copies were replaced after reading."""
        return self._mender.mended

    @property
    def repairs_failed(self) -> int:
        """Return how many found while reading could not be replaced then."""
        return self._mender.failed + self._mender.dropped

    async def run(self) -> None:
        """Repair beside the reads until cancelled: for the TaskGroup of whoever serves.

        While it does not run, a read repairs before it returns.
        """
        await self._mender.run()

    async def reserve(self, size: int) -> None:
        """Return when the copies of `size` bytes find room: a full store's go to the others.

        Asks the stores for their fair shares each, and when some refuse, the rest for larger
        ones, until all that are left agree. What little the refusing ones may still take is not
        counted. A store that is down is not asked, one in doubt only if there is no quorum else.
        """
        spread = self._spread
        refusals: dict[str, Failed] = {}
        up = [name for name in spread.domains.labels if self._health.is_up(name)]
        doubtful = [name for name in up if spread.is_doubtful(name)]
        names = [name for name in up if name not in doubtful]
        while True:
            if not spread.domains.spans(names):
                names, doubtful = names + doubtful, []
            if not spread.domains.spans(names):
                raise shortage(spread, tuple(names), refusals)
            shares = spread.shares_of(names)
            asks = {name: partial(_reserve, math.ceil(size * shares[name])) for name in names}
            failures = await self._ask(spread, asks, reserve_seconds_max)
            # Silence is no refusal: a disk may be busy, and we may have slept. The put will tell.
            refused = {name: x for name, x in failures.items() if not isinstance(x, _Silent)}
            if not refused:
                return
            refusals |= refused
            names = [name for name in names if name not in refused]

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk as `place` does."""
        await self.place(chunk, data)

    async def place(self, chunk: bytes, data: Bytes) -> Placed:
        """Keep the chunk on its homes, or on the next best stores where a home cannot take it.

        Durable when it returns, in as many failure domains as the write quorum. Raises
        NotEnoughStores (StoreFull when that is why) as soon as that cannot be had, and Corrupt.
        """
        return await Writing(self._spread, chunk, data).run()

    async def get(self, chunk: bytes) -> bytes:
        """Return the first good copy; homes whose copy was bad or missing get it again.

        Raises ChunkUnknown, Corrupt or NotEnoughStores (see Fetching.run).
        """
        spread = self._spread
        found = await self._fetching(spread, chunk).run()
        assert not isinstance(found.data, ChunkFile), "no files were asked for"
        await self._mend(spread, chunk, found.data, found.lacking)
        return found.data

    async def checked(self, chunk: bytes) -> ChunkFile | bytes:
        """Return what `get` does, but as an open file if a store of this server gave it."""
        spread = self._spread
        found = await self._fetching(spread, chunk, files=True).run()
        if not isinstance(found.data, ChunkFile):
            await self._mend(spread, chunk, found.data, found.lacking)
        elif set(found.lacking).intersection(spread.table.homes(chunk)):
            found.data.close()
            return await self.get(chunk)  # copies are mended with bytes
        return found.data

    async def _mend(
        self, spread: Spread, chunk: bytes, data: bytes, lacking: Sequence[str]
    ) -> None:
        """Give the chunk to those of its homes that were found without a good copy."""
        for name in spread.table.homes(chunk) if lacking else ():
            if name in lacking:
                await self._mender.mend(chunk, data, name, spread.stores[name])

    def _fetching(self, spread: Spread, chunk: bytes, *, files: bool = False) -> Fetching:
        return Fetching(
            spread,
            chunk,
            hedging=self._hedging,
            handoffs=self._handoffs,
            chance=self._chance,
            files=files,
        )

    def opened(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if a store of this server trusts its copy, else None."""
        files = self._spread.files
        preferred = self._spread.table.preference(chunk)
        for name in dict.fromkeys((*preferred, *files)):
            file = files[name].opened(chunk) if name in files else None
            if file is not None:
                return file
        return None

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether any store that answers has it."""
        spread = self._spread
        wanted = list(dict.fromkeys(chunks))
        found: set[bytes] = set()

        async def look(store: ChunkStore) -> None:
            answers = await store.have(wanted)
            found.update(chunk for chunk, known in zip(wanted, answers, strict=True) if known)

        failures = await self._ask(
            spread, dict.fromkeys(spread.stores, look), is_enough=lambda: len(found) == len(wanted)
        )
        if len(found) < len(wanted):
            _check_answers(spread, failures)
        return [chunk in found for chunk in chunks]

    async def delete(self, chunk: bytes) -> None:
        """Remove every copy; one on a store that is away stays until that store is looked through.

        Raises ChunkUnknown when there is none, NotEnoughStores when too many stores are away.
        """
        spread = self._spread
        answers = await self._ask(
            spread, dict.fromkeys(spread.stores, lambda store: store.delete(chunk))
        )
        unknown = [error for error in answers.values() if isinstance(error, ChunkUnknown)]
        away = {name: x for name, x in answers.items() if not isinstance(x, ChunkUnknown)}
        _check_answers(spread, away)
        if len(answers) == len(spread.stores):
            raise unknown[0]

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield the chunks of all stores that answer, each once."""
        spread = self._spread
        wanted = sorted(range(PARTITIONS) if partitions is None else set(partitions))
        hung: dict[str, Failed] = {}
        for begin in range(0, len(wanted), _partitions_listed_at_once):
            part = wanted[begin : begin + _partitions_listed_at_once]
            found: set[bytes] = set()
            asks = {x: partial(_collect, part, found) for x in spread.stores if x not in hung}
            failures = await self._ask(spread, asks)
            # Waited for once is enough: that store's list is incomplete as it is.
            hung |= {name: x for name, x in failures.items() if isinstance(x, Unreachable)}
            _check_answers(spread, hung | failures)
            for chunk in found:
                yield chunk

    async def _ask(
        self,
        spread: Spread,
        asks: Mapping[str, Callable[[ChunkStore], Coroutine[object, object, None]]],
        seconds: float = request_seconds_max,
        *,
        is_enough: Callable[[], bool] = lambda: False,
    ) -> dict[str, Failed]:
        """Ask the stores at once and return the failures of those that could not oblige in time."""
        failures: dict[str, Failed] = {}
        end = self._clock.monotonic() + seconds
        async with Race[None](self._clock) as race:
            for name, ask in asks.items():
                race.start(name, partial(ask, spread.stores[name]))
            while race.running and not is_enough():
                left = end - self._clock.monotonic()
                if left <= 0:
                    for name in race.running:
                        spread.stores[name].figures.give_up(self._clock.monotonic())
                        failures[name] = _Silent(f"store {name} did not answer in time")
                    break
                answers = await race.answers(left)
                failures |= {name: error for name, error in answers if error is not None}
        return failures


class _Silent(Unreachable):
    """A store has not answered yet."""


def _check_answers(spread: Spread, failures: Mapping[str, Failed]) -> None:
    """Raise NotEnoughStores when a chunk could be only on the stores that gave no answer."""
    if len(failures) >= spread.quorum:
        first, *_ = failures.values()
        raise NotEnoughStores(
            f"{len(failures)} stores did not answer: " + "; ".join(map(str, failures.values()))
        ) from first


async def _reserve(size: int, store: ChunkStore) -> None:
    await store.reserve(size)


async def _collect(partitions: Sequence[int], into: set[bytes], store: ChunkStore) -> None:
    async for chunk in store.list(partitions):
        into.add(chunk)
