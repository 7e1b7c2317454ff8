"""Servers whose walks keep data whole, from one seed: production code over faulty stores in memory.

Each server has one store, a gateway that pushes and a walker; it hears of a new layout late, so two
are in use at once. Disks are replaced, bytes rot, servers and the database go away, walkers are
stopped for good at any step. The checks look at what the stores really hold.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import count
from random import Random  # noqa: TID251  seeded by each test
from typing import cast

import pytest

from tests.simulation.copies import CopyStore, Here, Way
from tests.simulation.rows import Database, Rows
from tests.simulation.world import Broken
from tests.virtualtime import LoopClock, virtually
from treescale.chunks.format import placement
from treescale.chunks.format.placement import Layout, StoreLabel, Table
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import ChunkStore, WriteResult, chunk_id_of
from treescale.errors import Failed
from treescale.maintenance import collector
from treescale.maintenance.pace import Pace, nobody
from treescale.maintenance.planning import planner, progress
from treescale.maintenance.walk import Walk
from treescale.metadata import database as metadata

PARTITIONS = 16
"""So many are walked here: a look at 4,096 would take most of the time."""
ROUNDS = 12
RESTART_SECONDS = 10.0
WHOLE_SECONDS_MAX = 7200.0
"""So long after the last fault everything is where it belongs."""
QUORUM = 2
IDLE = 8
"""Between two looks at what is due so many times more goes by than really: it takes most turns."""


@cache
def chunk_of(number: int) -> tuple[bytes, bytes]:
    """Return a chunk, in one of the partitions that are walked, and its bytes."""
    for attempt in count():
        data = b"%d of %d" % (attempt, number)
        if chunk_id_of(data)[0] == 0:
            return chunk_id_of(data), data
    raise AssertionError


def table_over(number: int, names: Sequence[str], copies: int, random: Random) -> Table:
    """Return a table of these stores, each on a server of its own, with homes drawn by chance."""
    layout = Layout(number, tuple(StoreLabel(x, f"on-{x}", "") for x in names), copies)
    orders = tuple(tuple(random.sample(names, len(names))) for _ in range(PARTITIONS))
    return Table(layout, orders * (placement.PARTITIONS // PARTITIONS))


@contextmanager
def few_partitions() -> Iterator[None]:
    """Walk fewer partitions, and read back sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "PARTITIONS", PARTITIONS)
        patch.setattr(planner, "BATCH_FIRST", PARTITIONS)
        patch.setattr(collector, "PARTITIONS", PARTITIONS)
        patch.setattr(progress, "PARTITIONS", PARTITIONS)
        patch.setattr(progress, "LOOK_SECONDS", 300.0)
        patch.setattr(progress, "CYCLE_SECONDS", 900.0)
        yield


class Process:
    """One that asks stores and the database, and may be stopped at any step."""

    def __init__(self, pause: Callable[[], float]) -> None:
        self.steps = 0
        self.stop_at = 0
        """0: never."""
        self.task: asyncio.Task[None] | None = None
        self._pause = pause

    async def step(self) -> None:
        """Take the time of a step; the last one never ends."""
        self.steps += 1
        if self.steps == self.stop_at and self.task is not None:
            self.task.cancel()
            await asyncio.Event().wait()
        await asyncio.sleep(self._pause())


class Server:
    """One server: its store, how it sees the cluster, its gateway and its walk."""

    def __init__(self, world: "WalkWorld", name: str) -> None:
        self.world = world
        self.name = name
        self.store = world.new_store(name)
        self.tables: Sequence[Table] = world.tables
        self.walk: Walk | None = None
        self.process = Process(world.pause)
        self._gateway = Process(world.pause)
        self._ways: dict[str, Way] = {}

    def begin(self) -> None:
        """Make what `push` needs, once all servers are there."""
        ways = {x.name: Way(x.store, self._gateway.step) for x in self.world.servers.values()}
        self.gateway = self._replicated(ways)
        self.reader = self.gateway

    def is_up(self, store_id: str) -> bool:
        """Say what this server believes of a store: mostly the truth."""
        return not self.world.servers[store_id].store.is_down

    def is_local(self, store_id: str) -> bool:
        """Say whether it is its own."""
        return store_id == self.name

    def way_to(self, store_id: str) -> ChunkStore | None:
        """Return the walker's way."""
        return self._ways[store_id]

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        """Return a chunk for the walk."""
        return await self.reader.fetch(chunk, lacking)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether any store has it; only jobs ask."""
        return await self.reader.have(chunks)

    async def is_lost(self, chunk: bytes) -> bool:
        """Say whether nobody has it; only jobs ask."""
        raise NotImplementedError

    def follow(self, tables: Sequence[Table]) -> None:
        """Go by these layouts, newest first."""
        if len(tables) <= len(self.tables):
            return
        self.tables = tables
        for each in (self.gateway, self.reader):
            stores = {name: store.store for name, store in each._view.stores.items()}
            each.use_layout(tables[0], tables[1:], stores)

    def new_walk(self) -> Walk:
        """Return the walk of a process that starts now."""
        self.process = Process(self.world.pause)
        step = self.process.step
        here = self.world.new_here(self, step)
        self._ways = {x.name: Way(x.store, step) for x in self.world.servers.values()}
        self.reader = self._replicated(self._ways)
        self.walk = Walk(
            self.name,
            here,
            self,
            cast("metadata.Database", Database(self.world.rows, step)),
            Pace(LoopClock(), nobody),
            clock=LoopClock(),
            sleep=lambda seconds: asyncio.sleep(self.world.idle * seconds),
        )
        return self.walk

    def _replicated(self, ways: dict[str, Way]) -> ReplicatedStore:
        return ReplicatedStore(
            self.tables[0],
            ways,
            older=self.tables[1:],
            health=self,
            clock=LoopClock(),
            chance=self.world.random.random,
        )


class WalkWorld:
    """The cluster of a seed, and what it has promised. `trace` is what happened.

    Every other one is restless: its layouts ask for one copy and follow each other fast, and steps
    take long, so that servers work on the same chunks by different layouts.
    """

    looks_at_homes = True
    """Whether it is checked, of each trim, that all homes had kept the chunk."""
    idle = IDLE

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.is_restless = seed % 2 == 1
        self.rotten: set[tuple[str, bytes]] = set()
        self.random = Random(seed)  # noqa: S311  nothing here is a secret
        self.moments = count(1)
        self.trace: list[str] = []
        self.rows = Rows()
        self.is_quick = False
        """Whether no step takes time."""
        names = [f"s{number}" for number in range(self.random.randrange(3, 6))]
        self.tables = [self._drawn_table(1, names)]
        self.servers = {name: Server(self, name) for name in names}
        for server in self.servers.values():
            server.begin()
        self.acknowledged: dict[bytes, bytes] = {}
        self.destroyed: dict[bytes, set[str]] = defaultdict(set)
        """Of each chunk the stores that lost a good copy since all was whole last."""
        self.weakest = min(QUORUM, self.tables[0].copies)
        """The fewest copies that an acknowledged chunk has had since then."""
        self.chunks = 0
        self._uploads = count()

    # What goes on

    async def run(self) -> None:
        """Live through it, then heal everything and look at what is left."""
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(self.live(x, group)) for x in self.servers.values()]
            async with asyncio.TaskGroup() as calls:
                for _ in range(ROUNDS):
                    self._strike(calls)
                    for _ in range(self.random.randrange(4)):
                        calls.create_task(self._push())
                    self.look_at_bytes()
                    await asyncio.sleep(self.random.choice([0.1, 3.0, 30.0, 200.0]))
            await self.settle()
            for task in running:
                task.cancel()

    async def live(self, server: Server, group: asyncio.TaskGroup) -> None:
        """Run the server's walker, again after each end."""
        while True:
            if not server.store.is_down:
                walk = server.new_walk()
                server.process.stop_at = self.stop_at(server)
                task = group.create_task(self._walk(server, walk))
                server.process.task = task
                try:
                    await asyncio.wait([task])
                finally:
                    task.cancel()
                if task.cancelled():
                    self.note(f"{server.name}: its walker was stopped")
            await asyncio.sleep(RESTART_SECONDS)

    def stop_at(self, server: Server) -> int:  # noqa: ARG002  the same of all
        """Return at which step the walker that starts now is stopped; 0: at none."""
        return self.random.choice([0, 0, self.random.randrange(1, 80)])

    async def _walk(self, server: Server, walk: Walk) -> None:
        try:
            await walk.run()
        except Failed as error:
            self.note(f"{server.name}: {error!r}")

    def pause(self) -> float:
        """Return how long a step takes: hardly any time as a rule."""
        drawn = self.random.random()
        if self.is_quick:
            return 0.0
        if self.is_restless:
            return drawn * 10 if self.random.random() < 0.5 else 0.0
        if drawn < 0.9:
            return 0.0
        return self.random.random() * (0.1 if drawn < 0.995 else 100.0)

    def note(self, event: str) -> None:
        """Write down what happened."""
        self.trace.append(f"{LoopClock().monotonic():10.2f} {event}")

    def check(self, promise: object, message: str) -> None:
        """Raise Broken, with the seed and what happened, unless the promise was kept."""
        if not promise:
            raise Broken(f"seed {self.seed}: {message}\n" + "\n".join(self.trace))

    # What goes wrong

    def _strike(self, calls: asyncio.TaskGroup) -> None:
        server = self.random.choice(list(self.servers.values()))
        does: dict[str, Callable[[], object]] = {
            "layout": lambda: self.relayout(calls),
            "wipe": lambda: self.wipe(server),
            "rot": lambda: self.rot(server),
            "down": lambda: self.take_down(server),
            "up": lambda: self._heal(server),
            "full": lambda: setattr(server.store, "is_full", True),
            "database": lambda: setattr(self.rows, "is_away", not self.rows.is_away),
        }
        weights = [30, 0, 0, 1, 4, 1, 1] if self.is_restless else [4, 3, 2, 2, 4, 1, 1]
        (kind,) = self.random.choices(list(does), weights)
        self.note(f"{server.name}: {kind}")
        does[kind]()

    def relayout(self, calls: asyncio.TaskGroup) -> None:
        """Put another layout in force; each server hears of it in its own time."""
        self.tables = [self._drawn_table(len(self.tables) + 1, list(self.servers)), *self.tables]
        self.announce(calls, 100.0)

    def announce(self, calls: asyncio.TaskGroup, seconds: float) -> None:
        """Let the servers hear of the newest layout within so many seconds."""
        table = self.tables[0]
        self.weakest = min(self.weakest, table.copies)
        members = sorted(label.store_id for label in table.layout.stores)
        self.note(f"layout {table.layout.number}: {table.copies} copies on {members}")
        for server in self.servers.values():
            calls.create_task(self._tell(server, self.tables, self.random.random() * seconds))

    async def _tell(self, server: Server, tables: Sequence[Table], seconds: float) -> None:
        await asyncio.sleep(seconds)
        server.follow(tables)

    def _drawn_table(self, number: int, names: list[str]) -> Table:
        members = sorted(self.random.sample(names, self.random.randrange(2, len(names) + 1)))
        drawn = 1 if self.is_restless else self.random.choice([1, 2, 2, 2, 2, 3, 3])
        copies = min(drawn, len(members))
        return table_over(number, members, copies, self.random)

    def wipe(self, server: Server) -> None:
        """Replace the disk by an empty one, unless too much of it is the last but one copy."""
        if not all(self._may_lose(chunk, server) for chunk in self._known(server)):
            return
        self.note(f"{server.name} is wiped")
        for chunk in self._known(server):
            self.destroyed[chunk].add(server.name)
        server.store.copies.clear()
        server.store.trash.clear()

    def rot(self, server: Server) -> None:
        """Change the bytes of a copy."""
        known = [chunk for chunk in self._known(server) if self._may_lose(chunk, server)]
        for chunk in self.random.sample(known, min(2, len(known))):
            self.destroyed[chunk].add(server.name)
            self.rotten.add((server.name, chunk))
            server.store.copies[chunk].data += b"!"

    def _may_lose(self, chunk: bytes, server: Server) -> bool:
        if self.is_whole():
            self.destroyed.clear()
            self.weakest = min(QUORUM, self.tables[0].copies)
        return len(self.destroyed[chunk] | {server.name}) < self.weakest

    def _known(self, server: Server) -> list[bytes]:
        return [chunk for chunk in server.store.copies if server.store.holds(chunk)]

    def take_down(self, server: Server) -> None:
        """Kill the server."""
        server.store.is_down = True
        if server.process.task is not None:
            server.process.task.cancel()

    def _heal(self, server: Server) -> None:
        server.store.is_down = server.store.is_full = False

    # What was promised

    async def _push(self) -> None:
        server = self.random.choice(list(self.servers.values()))
        if not self.chunks or self.random.random() < 0.8:
            self.chunks += 1
        chunk, data = chunk_of(
            self.random.choice([self.chunks, self.random.randrange(self.chunks)])
        )
        try:
            placed = await server.gateway.write(chunk, data)
        except Failed:
            return
        if not self.rows.is_away and self.random.random() < 0.9:  # else it is given up
            await self.name(chunk, data, placed)

    async def name(self, chunk: bytes, data: bytes, placed: WriteResult) -> None:
        """Record the chunk in a session, and some time later in a blob."""
        upload = f"u{next(self._uploads)}"
        self.rows.sessions[upload] = {chunk: len(data)}
        self.rows.owed |= {(chunk, name) for name in placed.owed}
        self.acknowledged[chunk] = data
        self.note(f"{chunk.hex()[:6]} is on {placed.stores}, owed to {placed.owed}")
        await asyncio.sleep(self.random.choice([0.0, 5.0, 300.0]))
        self.rows.blobs[chunk] = len(data)
        del self.rows.sessions[upload]

    def new_store(self, name: str) -> CopyStore:
        """Return a server's disk."""
        return CopyStore(name, self.moments)

    def new_here(self, server: Server, step: Callable[[], Awaitable[None]]) -> Here:
        """Return the way of a server's walk to its own disk."""
        return Here(server.store, step, partial(self.trimmed, server))

    def trimmed(self, server: Server, chunk: bytes, looked: int) -> None:
        """Check, of a copy that was trimmed, that every home had kept its own after the look."""
        self.note(f"{server.name} trims {chunk.hex()[:6]}")
        self.check(self.holders(chunk), f"{chunk.hex()[:6]} is lost: the last copy was trimmed")
        kept = {x.name for x in self.servers.values() if x.store.kept.get(chunk, 0) > looked}
        homes = [set(table.homes(chunk)) for table in server.tables]
        if self.looks_at_homes:
            self.check(any(each <= kept for each in homes), "trimmed before its homes kept it")

    def look_at_bytes(self) -> None:
        """Check that no store has wrong bytes but those that have rotted."""
        for server in self.servers.values():
            for chunk in server.store.copies:
                good = server.store.holds(chunk) or (server.name, chunk) in self.rotten
                self.check(good, f"{chunk.hex()[:6]} is lost on {server.name}: bad bytes were put")

    def holders(self, chunk: bytes) -> set[str]:
        """Return the stores with a good copy."""
        return {x.name for x in self.servers.values() if x.store.holds(chunk)}

    def is_whole(self) -> bool:
        """Say whether all walks say so under the newest layout, and it is so."""
        return not any(self.left())

    def left(self) -> Iterator[str]:
        """Yield what is left to be done."""
        for server in self.servers.values():
            walk = server.walk
            if walk is None or walk.progress.layout != self.tables[0].layout.number:
                yield f"{server.name} goes by an older layout"
            elif not walk.progress.is_whole:
                yield f"{server.name} is not whole"
        for chunk in self.acknowledged:
            if self.holders(chunk) != set(self.tables[0].homes(chunk)):
                yield f"{chunk.hex()[:6]} is on {sorted(self.holders(chunk))}"
        if self.rows.owed:
            yield f"{len(self.rows.owed)} copies are owed"

    async def settle(self) -> None:
        """Heal everything, wait until all is whole, and look at each chunk."""
        self.note("all is healed")
        self.rows.is_away, self.is_quick = False, True
        for server in self.servers.values():
            self._heal(server)
            server.follow(self.tables)
        end = LoopClock().monotonic() + WHOLE_SECONDS_MAX
        while not self.is_whole() and LoopClock().monotonic() < end:
            self.look_at_bytes()
            for chunk in self.acknowledged:
                self.check(self.holders(chunk), f"{chunk.hex()[:6]} is lost")
            await asyncio.sleep(30)
        self.check(self.is_whole(), f"not whole in the end: {list(self.left())}")
        for chunk, data in self.acknowledged.items():
            homes = self.tables[0].homes(chunk)
            good = [self.servers[name].store.copies[chunk].data == data for name in homes]
            self.check(all(good), f"{chunk.hex()[:6]} has other bytes")
        self.note("all is whole")


def in_virtual_time(main: Callable[[], Awaitable[None]]) -> None:
    """Run it with few partitions; raises the first error of those of a group."""

    async def run() -> None:
        await main()

    try:
        with few_partitions():
            virtually(run)
    except BaseExceptionGroup as errors:
        found: BaseException = errors
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from None


def lived(seed: int) -> WalkWorld:
    """Return the world of this seed, lived through."""
    found: list[WalkWorld] = []

    async def live() -> None:
        found.append(WalkWorld(seed))
        await found[0].run()

    in_virtual_time(live)
    return found[0]
