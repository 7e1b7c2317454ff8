"""When a chunk is proven to be nowhere: every store has answered, and none has a good copy."""

import pytest

from tests.chunks.replication.test_store import NAMES, FailingStore, cluster_of, table_of
from tests.contracts.chunk_store import chunk_of
from tests.tables import each_row
from treescale.chunks.replication.read import ChunkRead
from treescale.chunks.replication.store import ReplicatedStore
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    Failed,
    NotEnoughStores,
    StoreFull,
    StoreUnusable,
    Unreachable,
)

CHUNK, DATA = chunk_of(1)
Told = list[tuple[bytes, frozenset[str]]]


def listening(copies: int) -> tuple[ReplicatedStore, dict[str, FailingStore], Told]:
    cluster, stores = cluster_of(copies)
    told: Told = []
    cluster.tell(lambda chunk, answered: told.append((chunk, answered)))
    return cluster, stores, told


@pytest.mark.parametrize("bad", [(), ("a",), ("a", "b", "c")])
async def test_all_have_answered_that_they_have_none_or_a_bad_one(bad: tuple[str, ...]) -> None:
    cluster, stores, told = listening(2)
    for name in bad:
        stores[name].error = Corrupt("rotten")
    with pytest.raises(Failed):
        await cluster.get(CHUNK)
    assert told == [(CHUNK, frozenset(NAMES))]


@each_row("error", [Unreachable("away"), StoreUnusable("sick"), StoreFull("full")])
@each_row("away", NAMES)
async def test_one_that_gives_no_answer_proves_nothing(away: str, error: Failed) -> None:
    cluster, stores, told = listening(2)
    stores[away].error = error
    with pytest.raises(Failed):
        await cluster.get(CHUNK)
    assert told == []


async def test_the_rule_for_readers_is_too_weak_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: fewer than a quorum away is enough to say "unknown", and no proof."""
    cluster, stores, told = listening(2)
    await stores["c"].put(CHUNK, DATA)
    stores["c"].error = Unreachable("away")
    with pytest.raises(ChunkUnknown):
        await cluster.get(CHUNK)
    assert told == []
    monkeypatch.setattr(ChunkRead, "_lacking", lambda self: tuple(self._view.stores))
    with pytest.raises(ChunkUnknown):
        await cluster.get(CHUNK)
    assert told == [(CHUNK, frozenset(NAMES))]


async def test_whoever_has_it_is_believed() -> None:
    cluster, stores, told = listening(2)
    await stores["c"].put(CHUNK, DATA)
    assert await cluster.get(CHUNK) == DATA
    assert told == []


async def test_a_single_store_proves_it_alone() -> None:
    store, told = FailingStore(), []
    cluster = ReplicatedStore(table_of(1, ["a"]), {"a": store})
    cluster.tell(lambda chunk, answered: told.append((chunk, answered)))
    with pytest.raises(Failed):
        await cluster.get(CHUNK)
    assert told == [(CHUNK, frozenset("a"))]
    store.error = StoreUnusable("sick")
    with pytest.raises(NotEnoughStores):
        await cluster.get(CHUNK)
    assert len(told) == 1


async def test_nobody_needs_to_listen() -> None:
    cluster, _ = cluster_of(2)
    with pytest.raises(Failed):
        await cluster.get(CHUNK)
