"""Reading through stores with narrow wires: how much of all wires together one reader gets."""

import asyncio
from dataclasses import dataclass
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.simulation.wires import WiredStore
from tests.virtualtime import LoopClock, virtually
from treescale.chunks.format.placement import Layout, StoreLabel, build_table
from treescale.chunks.format.recipe import Recipe
from treescale.chunks.format.split import DEFAULT, Splitter
from treescale.chunks.replication import hedge, scheduler
from treescale.chunks.replication.health import AllUp
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import chunk_id_of
from treescale.chunks.stream.reader import BlobReader, ReadAhead
from treescale.registry.pull import READ_AHEAD_CHUNKS

BYTES_PER_SECOND = 25e6
LAYER_MEGABYTES = 150


class Elsewhere(AllUp):
    """Every store is another server's."""

    def is_local(self, store_id: str) -> bool:  # noqa: ARG002  the protocol's
        return False


@dataclass(frozen=True)
class Measured:
    """What readers got, in wires of one store, and what passed the wires for nothing."""

    wires: float
    wasted: float


@pytest.fixture(scope="module")
def layer() -> dict[bytes, bytes]:
    """Return a layer's chunks, by name and in order."""
    random = Random(3)  # noqa: S311  nothing here is a secret
    data = b"".join(random.randbytes(10**6) for _ in range(LAYER_MEGABYTES))
    return {chunk_id_of(chunk): bytes(chunk) for chunk in Splitter().cut(memoryview(data))}


async def measure(layer: dict[bytes, bytes], servers: int, copies: int, readers: int) -> Measured:
    """Read the whole layer by so many readers at once, of servers that joined one by one."""
    names = [f"s{number}" for number in range(servers)]
    labels = tuple(StoreLabel(name, f"on-{name}", "") for name in names)
    table, *older = (
        build_table(Layout(count, labels[:count], copies)) for count in range(servers, 0, -1)
    )
    stores = {name: WiredStore(BYTES_PER_SECOND) for name in names}
    for chunk, data in layer.items():
        for name in table.homes(chunk):
            await stores[name].inner.put(chunk, data)
    random, clock, ahead = Random(1), LoopClock(), ReadAhead()  # noqa: S311  likewise
    cluster = ReplicatedStore(
        table, stores, older=older, health=Elsewhere(), clock=clock, chance=random.random
    )
    recipe = Recipe(DEFAULT, tuple((chunk, len(data)) for chunk, data in layer.items()))

    async def read() -> None:
        async with BlobReader(
            cluster,
            recipe,
            0,
            recipe.size - 1,
            window_chunks=READ_AHEAD_CHUNKS,
            window_bytes=cluster.ahead_bytes,
            ahead=ahead,
        ) as reader:
            async for _ in reader:
                pass

    begun = clock.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(readers):
            group.create_task(read())
    assert cluster.repaired == 0, "every copy is where it belongs"
    wanted = readers * recipe.size
    passed = sum(store.down.passed for store in stores.values())
    seconds = clock.monotonic() - begun
    return Measured(wanted / seconds / BYTES_PER_SECOND, passed / wanted - 1)


@pytest.mark.parametrize(
    ("servers", "copies", "readers", "wires"),
    [
        pytest.param(4, 2, 1, 3.7, marks=pytest.mark.long),
        (8, 2, 1, 7.0),
        pytest.param(4, 3, 1, 3.7, marks=pytest.mark.long),
        pytest.param(4, 2, 4, 3.8, marks=pytest.mark.long),
    ],
)
def test_readers_use_the_wires_of_all_servers(
    layer: dict[bytes, bytes], servers: int, copies: int, readers: int, wires: float
) -> None:
    found = virtually(lambda: measure(layer, servers, copies, readers))
    assert found.wires > wires
    assert found.wasted < 0.02


def test_bound_early_reads_leave_wires_idle(
    layer: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: as many reads as anybody likes, each bound to its store when asked for."""
    monkeypatch.setattr(scheduler, "READS_AT_ONCE_MAX", 1000)
    assert virtually(lambda: measure(layer, 8, 2, 1)).wires < 6.5


def test_early_hedges_waste_wires(
    layer: dict[bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: while nothing is known, all but small chunks are late."""
    monkeypatch.setattr(hedge, "HEDGE_SECONDS_UNKNOWN", hedge.HEDGE_SECONDS_MIN)
    assert virtually(lambda: measure(layer, 4, 2, 1)).wasted > 0.02
