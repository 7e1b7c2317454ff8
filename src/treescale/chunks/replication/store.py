"""Several stores as one: each chunk on its homes, read from whichever copy is good.

A put is acknowledged when durable copies lie in as many failure domains as the write quorum: 2,
or 1 when the layout asks for one copy only. So when fewer stores than that cannot be asked, a
chunk that none of the others has is known to be nowhere. `write_plan` decides who is asked to take
a chunk, `read` gets one; this keeps what they share, and asks all stores at once where all are
meant.
"""

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from random import Random  # noqa: TID251  what `chance` is by default: to spread, not to hide
from typing import Any, Final

from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.format.placement import PARTITIONS, Table
from treescale.chunks.replication.fanout import FanOut, StoreClient, StoreStats
from treescale.chunks.replication.health import AllUp, Handoffs, Health
from treescale.chunks.replication.latency import (
    LATE_SECONDS_MAX,
    REQUEST_SECONDS_MAX,
    late_seconds,
)
from treescale.chunks.replication.read import ChunkRead, Hedging, Nowhere, Reads
from treescale.chunks.replication.read_repair import ReadRepair
from treescale.chunks.replication.scheduler import ReadScheduler
from treescale.chunks.replication.view import ReplicationView
from treescale.chunks.replication.write_plan import WritePlan
from treescale.chunks.store import Bytes, ChunkStore, WriteResult, chunk_id_of
from treescale.clock import Clock, SystemClock
from treescale.errors import (
    Corrupt,
    Failed,
    NotEnoughStores,
    StoreFull,
    Unreachable,
)
from treescale.metrics.chunk_reads import ChunkReads

STRAGGLER_SECONDS_MAX: Final = 0.5
"""What the homes that are slower than the write quorum get on top of it."""
RESERVE_SECONDS_MAX: Final = 0.5
"""A store that does not say by then whether it has room is taken to have none."""
AHEAD_BYTES_OF_STORE: Final = 9 * 1024 * 1024
"""What a reader or an upload has ahead for each store: two chunks on their way, and so many that
wait that hardly ever all of those are of other stores."""
AHEAD_BYTES_MAX: Final = 72 * 1024 * 1024
"""For eight stores; with more, a reader does not keep all of them busy."""
_PARTITIONS_LISTED_AT_ONCE: Final = 16
"""One top directory of a disk store: bounds what a list holds in memory."""


class ReplicatedStore:
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
        self._clock = clock or SystemClock()
        chance = chance or Random().random  # noqa: S311  likewise
        self._reads = Reads(Hedging(), ReadRepair(), handoffs, chance)
        self._scheduler = ReadScheduler(self._health.is_local)
        self._oldest: int | None = None
        self._clients: dict[str, StoreClient] = {}
        self._view = self._view_over(table, older, stores)

    def tell(self, nowhere: Nowhere) -> None:
        """Tell from now on of each chunk of which a read finds no good copy anywhere."""
        self._reads.nowhere = nowhere

    def watch(self, reads: ChunkReads) -> None:
        """Note there from now on which store gave each chunk, while somebody looks."""
        self._reads.watched = reads

    def use_layout(
        self, table: Table, older: Sequence[Table], stores: Mapping[str, ChunkStore]
    ) -> None:
        """Use these from the next call on; calls in flight finish on what they began with."""
        self._view = self._view_over(table, older, stores)

    def _view_over(
        self, table: Table, older: Sequence[Table], stores: Mapping[str, ChunkStore]
    ) -> ReplicationView:
        self._clients = {name: self._client(name, store) for name, store in stores.items()}
        return ReplicationView.over(
            (table, *older), self._clients, self._health, self._clock, self._scheduler
        )

    def _client(self, name: str, store: ChunkStore) -> StoreClient:
        """Return who asks it; of one that stays it keeps its queue, a new way to it the figures."""
        known = self._clients.get(name)
        if known is not None and known.store is store:
            return known
        figures = StoreStats() if known is None else known.figures
        return StoreClient(store, figures, self._clock)

    @property
    def ahead_bytes(self) -> int:
        """Return how much one reader should have asked for: see reading.AheadStore.

        Nothing more than others of a store that is alone, on this server: there is no wire.
        """
        names = self._view.stores
        if len(names) == 1 and all(map(self._health.is_local, names)):
            return 0
        return min(AHEAD_BYTES_MAX, AHEAD_BYTES_OF_STORE * len(self._view.stores))

    @property
    def figures(self) -> Mapping[str, StoreStats]:
        """Return what this process has seen of each store."""
        return {name: store.figures for name, store in self._clients.items()}

    @property
    def hedging(self) -> Hedging:
        """Return how often a second store was asked."""
        return self._reads.hedging

    @property
    def repaired(self) -> int:
        """Return how many bad or missing copies were replaced after reading."""
        return self._reads.repair.repaired

    @property
    def repairs_failed(self) -> int:
        """Return how many found while reading could not be replaced then."""
        return self._reads.repair.failed + self._reads.repair.dropped

    async def run(self) -> None:
        """Repair beside the reads until cancelled: background work of whoever serves.

        While it does not run, a read repairs before it returns.
        """
        await self._reads.repair.run()

    async def check_space(self, size: int) -> None:
        """Return when the copies of `size` bytes find room: a full store's go to the others.

        Asks the stores for their fair shares each, and when some refuse, the rest for larger ones,
        until all that are left agree. What little the refusing ones may still take is not counted.
        A store that is down is not asked, one that is passed over only if there is no quorum else.
        """
        view = self._view
        refusals: dict[str, Failed] = {}
        up = [name for name in view.domains.labels if self._health.is_up(name)]
        passed_over = [name for name in up if view.is_passed_over(name)]
        names = [name for name in up if name not in passed_over]
        while True:
            if not view.domains.reach_quorum(names):
                names, passed_over = names + passed_over, []
            if not view.domains.reach_quorum(names):
                raise shortage(view, tuple(names), refusals)
            shares = view.shares_of(names)
            stores = {name: view.stores[name] for name in names}
            asks = {
                name: store.ask(partial(store.store.check_space, math.ceil(size * shares[name])))
                for name, store in stores.items()
            }
            failures = await self._ask(view, asks, RESERVE_SECONDS_MAX)
            # Silence is no refusal: a disk may be busy, and we may have slept. The put will tell.
            refused = {name: x for name, x in failures.items() if not isinstance(x, _Silent)}
            if not refused:
                return
            refusals |= refused
            names = [name for name in names if name not in refused]

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk as `write` does."""
        await self.write(chunk, data)

    async def write(self, chunk: bytes, data: Bytes) -> WriteResult:
        """Keep the chunk on its homes, or on the next best stores where a home cannot take it.

        Durable when it returns, in as many failure domains as the write quorum. Raises
        NotEnoughStores (StoreFull when that is why) as soon as that cannot be had, and Corrupt.

        All are asked at once (faults.md G2, G3). One that has not answered after some seconds is
        not waited for any more: a handoff is asked beside it. Once the quorum is there the others
        get a moment longer, and what they did not finish by then is owed to them.
        """
        view = self._view
        number = view.table.layout.number
        self._oldest = number if self._oldest is None else min(number, self._oldest)
        plan = view.write_plan(chunk)
        if len(view.stores) == 1:
            for name in plan.due():  # nobody can be asked beside it, so no task does it
                _count(plan, name, await view.stores[name].write(chunk, data), (chunk, data))
            return _result(view, plan)
        end = view.now() + REQUEST_SECONDS_MAX
        async with FanOut[None](self._clock) as fan:
            while True:
                for name in plan.due():
                    fan.start(name, view.stores[name].write(chunk, data))
                if view.now() >= end:
                    _give_up(view, plan, fan.on_time)
                    break
                if plan.is_hopeless or not fan.running:
                    break
                enough, late = plan.is_acknowledged, _late_seconds(view, plan)
                left = min(end - view.now(), fan.seconds_until_late(late))
                for name, answer in await fan.answers(left):
                    _count(plan, name, answer, (chunk, data))
                if plan.is_acknowledged and not enough:
                    end = view.now() + STRAGGLER_SECONDS_MAX
                _give_up(view, plan, fan.newly_late(late))
            running = fan.running
        return _result(view, plan, running)

    @property
    def oldest_layout(self) -> int | None:
        """Return the lowest number of a layout by which this process has put a chunk."""
        return self._oldest

    async def get(self, chunk: bytes) -> bytes:
        """Return the first good copy; homes whose copy was bad or missing get it again.

        Raises ChunkUnknown, Corrupt or NotEnoughStores (see ChunkRead.run).
        """
        data = await ChunkRead(self._view, chunk, self._reads).run()
        assert not isinstance(data, ChunkFile), "no files were asked for"
        return data

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        """Return the first good copy for a store that lacks it, and will keep it.

        It waits for who has room, as a read of a client does. A bad copy that it meets at another
        home is replaced; homes that have none fetch it themselves. The store is asked too, after
        all others: a push may have put it there meanwhile. Raises as `get` does.
        """
        data = await ChunkRead(self._view, chunk, self._reads, last=lacking).run()
        assert not isinstance(data, ChunkFile), "no files were asked for"
        return data

    def open_verified(self, chunk: bytes) -> Coroutine[Any, Any, ChunkFile | bytes]:
        """Return what `get` does, but as an open file if a store of this server gave it."""
        return ChunkRead(self._view, chunk, self._reads, files=True).run()

    def open_if_verified(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if a store of this server trusts its copy, else None."""
        files = self._view.files
        preferred = self._view.table.preference(chunk)
        for name in dict.fromkeys((*preferred, *files)):
            file = files[name].open_if_verified(chunk) if name in files else None
            if file is not None:
                self._reads.tell(chunk, name)
                return file
        return None

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether any store that answers has it."""
        view = self._view
        wanted = list(dict.fromkeys(chunks))
        found: set[bytes] = set()

        async def look(store: ChunkStore) -> None:
            answers = await store.have(wanted)
            found.update(chunk for chunk, known in zip(wanted, answers, strict=True) if known)

        asks = {name: each.ask(partial(look, each.store)) for name, each in view.stores.items()}
        failures = await self._ask(view, asks, is_enough=lambda: len(found) == len(wanted))
        if len(found) < len(wanted):
            _check_answers(view, failures)
        return [chunk in found for chunk in chunks]

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield the chunks of all stores that answer, each once."""
        view = self._view
        wanted = sorted(range(PARTITIONS) if partitions is None else set(partitions))
        hung: dict[str, Failed] = {}
        for begin in range(0, len(wanted), _PARTITIONS_LISTED_AT_ONCE):
            part = wanted[begin : begin + _PARTITIONS_LISTED_AT_ONCE]
            found: set[bytes] = set()
            asks = {
                name: _collect(part, found, each.store)
                for name, each in view.stores.items()
                if name not in hung
            }
            failures = await self._ask(view, asks)
            # Waited for once is enough: that store's list is incomplete as it is.
            hung |= {name: x for name, x in failures.items() if isinstance(x, Unreachable)}
            _check_answers(view, hung | failures)
            for chunk in found:
                yield chunk

    async def _ask(
        self,
        view: ReplicationView,
        asks: Mapping[str, Coroutine[Any, Any, Failed | None]],
        seconds: float = REQUEST_SECONDS_MAX,
        *,
        is_enough: Callable[[], bool] = lambda: False,
    ) -> dict[str, Failed]:
        """Ask the stores at once and return the failures of those that could not oblige in time."""
        failures: dict[str, Failed] = {}
        end = self._clock.monotonic() + seconds
        async with FanOut[None](self._clock) as fan:
            for name, ask in asks.items():
                fan.start(name, ask)
            while fan.running and not is_enough():
                left = end - self._clock.monotonic()
                if left <= 0:
                    for name in fan.running:
                        view.stores[name].give_up()
                        failures[name] = _Silent(f"store {name} did not answer in time")
                    break
                answers = await fan.answers(left)
                failures |= {name: error for name, error in answers if error is not None}
        return failures


def _late_seconds(view: ReplicationView, plan: WritePlan) -> float:
    """Return after how many seconds a store is late with a write."""
    now, stores = view.now(), view.stores
    means = (stores[name].figures.writes.mean(now) for name in plan.homes)
    return late_seconds(LATE_SECONDS_MAX, means)


def _count(plan: WritePlan, name: str, answer: Failed | None, asked: tuple[bytes, Bytes]) -> None:
    """Count a store's answer to a write; raises Corrupt when the bytes are not the chunk."""
    if answer is None:
        plan.took(name)
        return
    chunk, data = asked
    if isinstance(answer, Corrupt) and chunk_id_of(data) != chunk:
        raise answer
    plan.failed(name, answer)


def _give_up(view: ReplicationView, plan: WritePlan, names: Iterable[str]) -> None:
    """Expect nothing of these, which have not answered."""
    for name in names:
        plan.late(name)
        view.stores[name].give_up()


def _result(view: ReplicationView, plan: WritePlan, running: Sequence[str] = ()) -> WriteResult:
    """Return where the chunk is; raises NotEnoughStores, StoreFull when it is at too few stores."""
    placed = plan.placed()
    if not plan.is_acknowledged:
        raise shortage(view, (*placed.stores, *running), plan.failures)
    return placed


class _Silent(Unreachable):
    """A store has not answered yet."""


def _check_answers(view: ReplicationView, failures: Mapping[str, Failed]) -> None:
    """Raise NotEnoughStores when a chunk could be only on the stores that gave no answer."""
    if len(failures) >= view.quorum:
        first, *_ = failures.values()
        raise NotEnoughStores(
            f"{len(failures)} stores did not answer: " + "; ".join(map(str, failures.values()))
        ) from first


async def _collect(partitions: Sequence[int], into: set[bytes], store: ChunkStore) -> Failed | None:
    """List the store. It takes no turn: a list may last as long as its reader."""
    try:
        async for chunk in store.list(partitions):
            into.add(chunk)
    except Failed as error:
        return error
    return None


def shortage(
    view: ReplicationView, able: tuple[str, ...], failures: Mapping[str, Failed]
) -> NotEnoughStores | StoreFull:
    """Return why the stores that are able to take a copy are too few, or too close together."""
    asked = (*able, *failures)
    down = [
        f"store {label.store_id} is down"
        for label in view.table.layout.stores
        if label.store_id not in asked and not view.health.is_up(label.store_id)
    ]
    domains = view.domains
    message = (
        f"{len({domains.of(name) for name in able})} of {domains.quorum} copies in different "
        f"{domains.level} are possible: " + "; ".join([*map(str, failures.values()), *down])
    )
    full = not down and all(isinstance(error, StoreFull) for error in failures.values())
    return StoreFull(message) if full else NotEnoughStores(message)
