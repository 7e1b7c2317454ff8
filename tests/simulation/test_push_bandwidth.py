"""Writing through stores with narrow wires: how much of all wires together one upload gets.

What bounds it is the fullest wire: a chunk's homes are where its name says. With as many copies as
the write quorum there is nothing to choose; with more, a congested home gets its copy later.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from random import Random  # noqa: TID251  a seeded source

import pytest

from tests.at_once import AtOnce
from tests.simulation.test_bandwidth import BYTES_PER_SECOND, Elsewhere
from tests.simulation.wires import WiredStore
from tests.virtualtime import LoopClock, virtually
from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.replication import write_plan
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.stream.memory_limit import MemoryLimit
from treescale.chunks.stream.writer import BlobWriter, Flushed, RunningHash

PIECE_BYTES = 250_000
LAYER_PIECES = 600


@dataclass(frozen=True)
class Measured:
    """What an upload got, of the wires of all stores divided by the copies, and what was left."""

    share: float
    bound: float
    """Of the share, if each copy goes to its home: what the fullest wire allows."""
    owed: float
    """Of all copies, in chunks."""
    late: int


@cache
def table_of(servers: int, copies: int) -> Table:
    names = (f"s{number}" for number in range(servers))
    labels = tuple(StoreLabel(name, f"on-{name}", "") for name in names)
    return build_table(Layout(1, labels, copies))


async def measure(servers: int, copies: int, seed: int) -> Measured:
    """Push a layer of chance."""
    table, random, clock = table_of(servers, copies), Random(seed), LoopClock()  # noqa: S311
    stores = {label.store_id: WiredStore(BYTES_PER_SECOND) for label in table.layout.stores}
    cluster = ReplicatedStore(table, stores, health=Elsewhere(), clock=clock, chance=random.random)
    flushed = await _upload(cluster, random)
    size = LAYER_PIECES * PIECE_BYTES
    full = Counter[str]()
    for chunk, length in flushed.settled:
        full.update(dict.fromkeys(table.homes(chunk), length))
    wires = size / clock.monotonic() / BYTES_PER_SECOND
    await _check(flushed, table, stores)
    return Measured(
        share=wires * copies / servers,
        bound=full.total() / servers / max(full.values()),
        owed=len(flushed.owed) / copies / len(flushed.settled),
        late=sum(figures.late for figures in cluster.figures.values()),
    )


async def _upload(cluster: ReplicatedStore, random: Random) -> Flushed:
    ahead, memory = cluster.ahead_bytes, MemoryLimit()
    memory.widen(2 * ahead)
    async with BlobWriter(
        cluster,
        AtOnce(),
        running=RunningHash("sha256"),
        chunks_in_flight=ahead // DEFAULT.average_bytes,
        bytes_in_flight=ahead,
        memory=memory,
    ) as writer:
        for _ in range(LAYER_PIECES):
            await writer.write(random.randbytes(PIECE_BYTES))
        return await writer.flush()


async def _check(flushed: Flushed, table: Table, stores: dict[str, WiredStore]) -> None:
    """Every chunk lies at the quorum, and what a home lacks is owed to it."""
    owed = {*flushed.owed}
    for chunk, _ in flushed.settled:
        held = {name for name, store in stores.items() if (await store.have([chunk]))[0]}
        assert len(held) >= 2
        for home in {*table.homes(chunk)} - held:
            assert (chunk, home) in owed


@pytest.mark.parametrize(
    "servers", [pytest.param(4, marks=pytest.mark.long), 8], ids=lambda n: f"{n} servers"
)
def test_two_copies_go_as_fast_as_the_fullest_wire(servers: int) -> None:
    found = virtually(lambda: measure(servers, 2, 1))
    assert found.share > 0.93 * found.bound
    assert found.owed == 0


@pytest.mark.parametrize("servers", [pytest.param(4, marks=pytest.mark.long), 8])
def test_of_three_copies_a_congested_home_gets_its_own_later(servers: int) -> None:
    found = virtually(lambda: measure(servers, 3, 1))
    assert found.share > 0.9
    assert found.share > found.bound
    assert found.owed < 0.1
    assert found.late < 10


def test_waiting_for_congested_homes_takes_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    monkeypatch.setattr(write_plan, "CONGESTED_FACTOR", 1000)
    assert virtually(lambda: measure(8, 3, 1)).share < 0.9
