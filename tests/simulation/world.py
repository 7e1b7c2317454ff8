"""A cluster in one process, from one seed: stores that fail in every way, readers and writers.

All of it is the production code but for the stores and the clock. The checks are made with what
the stores really hold, and know nothing of how the replicated store decides.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable

from tests.chunks.faulty import Faulty
from tests.chunks.layouts import layout_of, table_of
from tests.contracts.chunk_store import chunk_of
from tests.fakes_store import FaultyStore
from tests.virtualtime import LoopClock
from treescale.chunks.format.placement import Layout
from treescale.chunks.store import WriteResult
from treescale.errors import ChunkUnknown, Corrupt, Failed, NotEnoughStores, StoreFull

SHAPES = (
    ((1, 1, 1),),
    ((2, 1, 2),),
    ((1,), (1, 1)),
    ((2, 1), (1,)),
    ((1,), (1,), (1,)),
    ((1, 1), (1, 1), (1,)),
    ((2, 1), (1, 1), (1, 1)),
)
"""Three to seven stores in one to three zones: of each zone the servers, of each its stores."""
ROUNDS = 12
CALLS_AT_ONCE = 4
SECONDS_MAX = 33.0
"""No call takes longer, whatever has failed: 30 s, and 2 s for a hint."""


class Broken(AssertionError):
    """A promise was broken."""


def domains_of(layout: Layout, names: Iterable[str]) -> set[str]:
    """Return the failure domains of those of the stores that the layout has.

    Zones if there are several, else servers, else stores.
    """
    wanted = set(names)
    places = [(label.store_id, label.server, label.zone) for label in layout.stores]
    level = next((level for level in (2, 1) if len({place[level] for place in places}) > 1), 0)
    return {place[level] for place in places if place[0] in wanted}


def quorum_of(layout: Layout) -> int:
    """Return how many domains an acknowledgement needs."""
    return min(2, layout.copies, len(layout.stores))


class World(Faulty):
    """The cluster of a seed, and what it has promised. `trace` is what happened."""

    def __init__(self, seed: int) -> None:
        first = table_of(layout_of(SHAPES[seed % len(SHAPES)], 1 + seed % 3))
        super().__init__(first, seed=seed + 1)
        self.seed = seed
        self.trace: list[str] = []
        self.tables = [first]
        self.acknowledged: dict[bytes, Layout] = {}
        self.destroyed: dict[bytes, set[str]] = defaultdict(set)
        """Of each chunk the stores that lost a good copy."""
        self.unsteady: set[str] = set()
        """Stores that something may happen to while calls run."""
        self.chunks = 0

    async def run(self) -> None:
        """Live through it, then heal everything and look at what is left."""
        async with asyncio.TaskGroup() as group:
            mending = group.create_task(self.cluster.run()) if self.seed % 2 else None
            for _ in range(ROUNDS):
                await self._round()
            await self._look_at_the_end()
            if mending is not None:
                mending.cancel()

    def check(self, promise: object, message: str) -> None:
        """Raise Broken, with the seed and what happened, unless the promise was kept."""
        if not promise:
            raise Broken(f"seed {self.seed}: {message}\n" + "\n".join(self.trace))

    async def _round(self) -> None:
        if self.random.random() < 0.1:
            self._relayout()
        for _ in range(self.random.randrange(3)):
            self._strike(self._drawn())
        self._tell_health()
        later = self._drawn()
        self.unsteady = {later.name}
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLS_AT_ONCE):
                group.create_task(self._timed(self._call()))
            group.create_task(self._strike_later(later))
        self.unsteady = set()
        await asyncio.sleep(self.random.choice([0, 1, 40]))

    def _note(self, event: str) -> None:
        self.trace.append(f"{LoopClock().monotonic():10.4f} {event}")

    def _drawn(self) -> FaultyStore:
        return self.random.choice(list(self.stores.values()))

    # --- what goes wrong ---------------------------------------------------------------------

    async def _strike_later(self, store: FaultyStore) -> None:
        await asyncio.sleep(0.01 * self.random.random())
        if self.random.random() < 0.1:
            self._relayout()
        self._strike(store)

    def _strike(self, store: FaultyStore) -> None:
        kind = self.random.choice(
            ["slow", "hung", "full", "lost", "rot", "rot", "wipe", "crash", "heal", "heal", "heal"]
        )
        self._note(f"{store.name}: {kind}")
        match kind:
            case "slow":
                store.is_.seconds = self.random.choice([0.03, 0.4, 3.0])
                store.is_.jitter = store.is_.seconds
            case "hung":
                store.is_.hung = True
            case "full":
                store.is_.full = True
            case "lost":
                store.is_.lost = 0.3
            case "rot":
                self._rot(store)
            case "wipe":
                if self.random.random() < 0.3:
                    self._wipe(store)
            case "crash":
                store.crash()
            case _:
                store.restart()

    def _rot(self, store: FaultyStore) -> None:
        good = [chunk for chunk in self._known() if store.holds(chunk)]
        for chunk in self.random.sample(good, min(2, len(good))):
            store.is_.rotten.add(chunk)
            self.destroyed[chunk].add(store.name)

    def _wipe(self, store: FaultyStore) -> None:
        for chunk in self._known():
            if store.holds(chunk):
                self.destroyed[chunk].add(store.name)
        store.wipe()

    def _known(self) -> list[bytes]:
        return [chunk_of(number)[0] for number in range(1, self.chunks + 1)]

    def _tell_health(self) -> None:
        """Tell who is down: mostly right, at times too late, at times wrongly."""
        self.health.down = {
            name
            for name, store in self.stores.items()
            if self.random.random() < (0.8 if store.is_.down or store.is_.hung else 0.03)
        }

    def _relayout(self) -> None:
        shape = self.random.choice(SHAPES)
        number = len(self.tables) + 1
        self.table = table_of(layout_of(shape, self.random.randrange(1, 4), number=number))
        for label in self.table.layout.stores:
            if label.store_id not in self.stores:
                self.stores[label.store_id] = self.new_store(label.store_id)
        self.cluster.use_layout(self.table, self.tables[::-1], dict(self.stores))
        self.tables.append(self.table)
        self._note(f"layout {number}: {shape}, {self.table.layout.copies} copies")

    # --- what is asked, and what was promised ------------------------------------------------

    async def _timed(self, call: Coroutine[object, object, None]) -> None:
        begun = LoopClock().monotonic()
        await call
        self.check(LoopClock().monotonic() - begun < SECONDS_MAX, "a call took too long")

    def _call(self) -> Coroutine[object, object, None]:
        known = list(self.acknowledged)
        if known and self.random.random() < 0.6:
            return self._get(self.random.choice(known))
        if self.random.random() < 0.1:
            return self._reserve()
        fresh = not known or self.random.random() < 0.8
        if fresh:
            self.chunks += 1
        number = self.chunks if fresh else self.random.randrange(1, self.chunks + 1)
        return self._put(number, fresh=fresh)

    async def _put(self, number: int, *, fresh: bool) -> None:
        chunk, data = chunk_of(number)
        layout = self.table.layout
        able = [x.store_id for x in layout.stores if self._can_write(self.stores[x.store_id])]
        self._note(f"put {number}")
        try:
            placed = await self.cluster.write(chunk, data)
        except (NotEnoughStores, StoreFull) as error:
            self._note(f"put {number}: {error!r}")
            possible = len(domains_of(layout, able)) >= quorum_of(layout)
            self.check(not possible, f"chunk {number} was refused though {able} could take it")
        else:
            self._note(f"put {number}: on {placed.stores}, owed to {placed.owed}")
            self._check_placed(number, placed, fresh=fresh)

    async def _reserve(self) -> None:
        layout = self.table.layout
        able = [x.store_id for x in layout.stores if self._can_write(self.stores[x.store_id])]
        try:
            await self.cluster.check_space(1000)
        except (NotEnoughStores, StoreFull) as error:
            self._note(f"reserve: {error!r}")
            possible = len(domains_of(layout, able)) >= quorum_of(layout)
            self.check(not possible, f"there was no room, though there is on {able}")

    def _check_placed(self, number: int, placed: WriteResult, *, fresh: bool) -> None:
        chunk, _ = chunk_of(number)
        table = next(each for each in self.tables if each.layout.number == placed.layout)
        self.acknowledged.setdefault(chunk, table.layout)
        lost = self.destroyed[chunk]
        durable = [name for name in placed.stores if self.stores[name].holds(chunk) or name in lost]
        self.check(tuple(durable) == placed.stores, f"chunk {number} is not where it was put")
        domains = domains_of(table.layout, durable)
        self.check(
            len(domains) >= quorum_of(table.layout), f"chunk {number} was acknowledged too early"
        )
        homes = table.homes(chunk)
        lacking = {name for name in homes if not self.stores[name].holds(chunk)} - lost
        self.check(lacking <= set(placed.owed), f"chunk {number}: a debt was forgotten")
        if fresh and all(self._is_plain(self.stores[name]) for name in homes):
            self.check(lacking >= set(placed.owed), f"chunk {number}: a debt was invented")

    async def _get(self, chunk: bytes) -> None:
        number = self._known().index(chunk) + 1
        before = self._holders(chunk)
        quorum = min(quorum_of(table.layout) for table in self.tables)
        solid = [name for name in before if self._can_read(self.stores[name])]
        self._note(f"get {number}")
        try:
            data = await self.cluster.get(chunk)
        except Failed as error:
            self._note(f"get {number}: {error!r}")
            self.check(not solid, f"chunk {number} could have been read from {solid}")
            if isinstance(error, ChunkUnknown | Corrupt):
                copies = min(len(before), len(self._holders(chunk)))
                self.check(copies < quorum, f"chunk {number} with {copies} copies was given up")
        else:
            self.check(data == chunk_of(number)[1], f"chunk {number} has wrong bytes")

    async def _look_at_the_end(self) -> None:
        """Heal everything: what was not destroyed in as many domains as the quorum is there."""
        self._note("all is healed")
        self.health.down = set()
        for store in self.stores.values():
            store.restart()
        await asyncio.sleep(60)
        for chunk, layout in self.acknowledged.items():
            if not self._holders(chunk):
                lost = domains_of(layout, self.destroyed[chunk])
                self.check(len(lost) >= quorum_of(layout), f"{chunk.hex()} is lost with {lost}")
            await self._get(chunk)

    def _holders(self, chunk: bytes) -> list[str]:
        return [name for name, store in self.stores.items() if store.holds(chunk)]

    def _is_plain(self, store: FaultyStore) -> bool:
        """Say whether the store has done all it answered, and nothing it did not."""
        behaviour = store.is_
        return (
            store.name not in self.unsteady
            and not behaviour.hung
            and behaviour.lost == 0
            and behaviour.seconds < 0.1
        )

    def _can_read(self, store: FaultyStore) -> bool:
        return self._is_plain(store) and not store.is_.down

    def _can_write(self, store: FaultyStore) -> bool:
        return self._can_read(store) and not store.is_.full and self.health.is_up(store.name)
