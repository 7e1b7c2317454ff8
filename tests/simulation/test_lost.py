"""Chunks lost, found, pushed and read at once by several workers, from one seed.

The checkers: when all is quiet again, what is noted as lost is just what no store has and a blob
needs; whoever looks (HEAD) and then pushes makes it whole; nothing that a store has is called lost
for good.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random  # noqa: TID251  seeded by each test

import pytest

from tests.contracts.metadata_values import ACTOR, server
from tests.contracts.metadata_values import store as store_row
from tests.registry.test_push import Body
from tests.templates import empty_database
from treescale.chunks.format.placement import Layout, StoreLabel, build_table
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import MemoryStore
from treescale.clock import SystemClock
from treescale.cluster.lost import LossRecorder
from treescale.errors import BlobUnknown, Failed, Unreachable
from treescale.metadata.database import Database, open_database
from treescale.oci.digest import Digest, digest_of
from treescale.oci.ranges import ByteRange
from treescale.registry.pull import Pulls
from treescale.registry.push import Pushes

NAMES = ("a", "b", "c")
BLOBS = [bytes([number]) * 200_000 for number in range(4)]
STEPS = 60


class Store(MemoryStore):
    """A store that takes its time, and may be away."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.away = False
        self._random = random

    async def get(self, chunk: bytes) -> bytes:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self.away:
            raise Unreachable("away")
        return await super().get(chunk)

    async def put(self, chunk: bytes, data: bytes | bytearray | memoryview) -> None:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        await super().put(chunk, data)


@dataclass
class Worker:
    """What one worker process has."""

    pushes: Pushes
    pulls: Pulls
    losses: LossRecorder

    @classmethod
    def on(
        cls, database: Database, stores: dict[str, Store], threads: ThreadPoolExecutor, name: str
    ) -> "Worker":
        layout = Layout(1, tuple(StoreLabel(each, f"on-{each}", "") for each in NAMES), 2)
        cluster = ReplicatedStore(build_table(layout), stores)
        losses = LossRecorder(database.lost, cluster, SystemClock())
        cluster.tell(losses.missing)
        numbers = count()
        pushes = Pushes(
            blobs=database.blobs,
            uploads=database.uploads,
            lost=losses,
            store=cluster,
            threads=threads,
            clock=SystemClock(),
            new_id=lambda: f"{name}{next(numbers)}",
        )
        pulls = Pulls(blobs=database.blobs, store=cluster, found=losses.found)
        return cls(pushes, pulls, losses)

    async def push(self, repository: str, data: bytes) -> None:
        """Do as docker does: look, and send what is not there."""
        if not await self.has(repository, digest_of(data)):
            await self.pushes.put_whole(repository, "alice", Body(data), digest_of(data))

    async def has(self, repository: str, digest: Digest) -> bool:
        try:
            await self.pulls.find_whole(repository, digest)
        except BlobUnknown:
            return False
        return True

    async def pull(self, repository: str, digest: Digest) -> bytes:
        blob = await self.pulls.find(repository, digest)
        content = self.pulls.open(blob)
        async with content.read(ByteRange(0, blob.size - 1)) as reader:
            return b"".join([bytes(piece) async for piece in reader])


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 6))]
)
async def test_what_is_called_lost_is_lost_and_a_push_makes_it_whole(
    seed: int, tmp_path: Path
) -> None:
    random = Random(seed)  # noqa: S311
    url = empty_database(tmp_path / "treescale.db")
    databases = [open_database(url) for _ in range(2)]
    for name in NAMES:
        await databases[0].servers.register(server(f"on-{name}"), live_seconds=15, actor=ACTOR)
        await databases[0].stores.register(store_row(name, f"on-{name}"))
    stores = {name: Store(random) for name in NAMES}
    gone: dict[bytes, bytes] = {}
    with ThreadPoolExecutor(2) as threads:
        workers = [Worker.on(each, stores, threads, f"w{n}") for n, each in enumerate(databases)]

        async def step() -> None:
            worker, data = random.choice(workers), random.choice(BLOBS)
            repository = random.choice(["alice/a", "alice/b"])
            does: list[Callable[[], Awaitable[object]]] = [
                lambda: worker.push(repository, data),
                lambda: worker.pull(repository, digest_of(data)),
                worker.losses.settle,
                lambda: worker.pushes.put_whole(repository, "alice", Body(data), digest_of(data)),
                lambda: vanish(random, stores, gone),
                lambda: come_back(random, stores, gone),
            ]
            with suppress(Failed, BlobUnknown):
                await random.choice(does)()

        for _ in range(STEPS):
            await asyncio.gather(*(step() for _ in range(random.randrange(1, 5))))
            for store in stores.values():
                store.away = random.random() < 0.1
        for store in stores.values():
            store.away = False
        await check(workers, stores, databases[0])
    for database in databases:
        await database.close()


async def vanish(random: Random, stores: dict[str, Store], gone: dict[bytes, bytes]) -> None:
    """Lose a chunk everywhere, or on one store."""
    known = sorted({chunk for store in stores.values() for chunk in store._chunks})
    if known:
        chunk = random.choice(known)
        for name in NAMES if random.random() < 0.7 else [random.choice(NAMES)]:
            data = stores[name]._chunks.pop(chunk, None)
            gone.update({chunk: data} if data else {})


async def come_back(random: Random, stores: dict[str, Store], gone: dict[bytes, bytes]) -> None:
    """Let a store have a chunk again that it had: its disk was away."""
    if gone:
        chunk = random.choice(sorted(gone))
        stores[random.choice(NAMES)]._chunks[chunk] = gone[chunk]


async def check(workers: list[Worker], stores: dict[str, Store], database: Database) -> None:
    """Read everything, which finds each loss and each good copy; then look, and push."""
    everything = [(name, data) for name in ("alice/a", "alice/b") for data in BLOBS]
    for worker in workers:
        worker.losses._settled.clear()
        for repository, data in everything:
            with suppress(Failed, BlobUnknown):
                assert await worker.pull(repository, digest_of(data)) == data
        await worker.losses.settle()
    held = {chunk for store in stores.values() for chunk in store._chunks}
    lost = {chunk for blob in (await database.lost.overview(99)).listed for chunk in blob.chunks}
    assert not held & lost
    for repository, data in everything:
        await workers[0].push(repository, data)
    assert (await database.lost.overview(99)).links == 0
    for worker in workers:
        for repository, data in everything:
            assert await worker.has(repository, digest_of(data))
            assert await worker.pull(repository, digest_of(data)) == data
