"""The replicated store: copies on the homes, the next store when one fails, bad copies replaced."""

from collections.abc import AsyncIterator, Iterable, Sequence

import pytest

from tests.contracts.chunk_store import ABSENT, ChunkStoreContract, chunk_of, listed
from tests.contracts.placing_store import PlacingStoreContract
from tests.tables import each_row
from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.chunks.replication.health import AllUp
from treescale.chunks.replication.store import (
    AHEAD_BYTES_MAX,
    AHEAD_BYTES_OF_STORE,
    ReplicatedStore,
)
from treescale.chunks.store import Bytes, MemoryStore
from treescale.chunks.stream.reader import AheadStore
from treescale.clock import SystemClock
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    Failed,
    NotEnoughStores,
    StoreFull,
    StoreUnusable,
    Unreachable,
)
from treescale.metrics.chunk_reads import ChunkReads, begin_of

NAMES = ("a", "b", "c")


class FailingStore:
    """Fails with `error`, once it is set: at writing, at reading and deleting, or at both."""

    def __init__(self) -> None:
        self.inner = MemoryStore()
        self.error: Failed | None = None
        self.fails_writing = True
        self.fails_reading = True

    def _check(self, *, writing: bool = False) -> None:
        if self.error is not None and (self.fails_writing if writing else self.fails_reading):
            raise self.error

    async def check_space(self, size: int) -> None:
        self._check(writing=True)
        await self.inner.check_space(size)

    async def put(self, chunk: bytes, data: Bytes) -> None:
        self._check(writing=True)
        await self.inner.put(chunk, data)

    async def get(self, chunk: bytes) -> bytes:
        self._check()
        return await self.inner.get(chunk)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        self._check()
        return await self.inner.have(chunks)

    async def delete(self, chunk: bytes) -> None:
        self._check()
        await self.inner.delete(chunk)

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        self._check()
        async for chunk in self.inner.list(partitions):
            yield chunk


def table_of(copies: int, names: Sequence[str] = NAMES) -> Table:
    return build_table(Layout(1, tuple(StoreLabel(x, f"on-{x}", "") for x in names), copies))


TABLES = {copies: table_of(copies) for copies in (1, 2, 3)}


def cluster_of(copies: int) -> tuple[ReplicatedStore, dict[str, FailingStore]]:
    stores = {name: FailingStore() for name in NAMES}
    return ReplicatedStore(TABLES[copies], stores, chance=lambda: 0.0), stores


async def holders(stores: dict[str, FailingStore], chunk: bytes) -> set[str]:
    return {name for name, store in stores.items() if (await store.inner.have([chunk]))[0]}


class TestClusterOfThree(ChunkStoreContract, PlacingStoreContract):
    @pytest.fixture(params=[1, 2, 3])
    def store(self, request: pytest.FixtureRequest) -> ReplicatedStore:
        return cluster_of(request.param)[0]


class TestClusterOfOne(ChunkStoreContract, PlacingStoreContract):
    @pytest.fixture(params=[1, 2])
    def store(self, request: pytest.FixtureRequest) -> ReplicatedStore:
        return ReplicatedStore(table_of(request.param, ["a"]), {"a": MemoryStore()})


class TestClusterOfThreeWithOneAway(ChunkStoreContract, PlacingStoreContract):
    @pytest.fixture(params=["a", "b", "c"])
    def store(self, request: pytest.FixtureRequest) -> ReplicatedStore:
        cluster, stores = cluster_of(2)
        stores[request.param].error = StoreUnusable("away")
        return cluster


class TestClusterOfThreeWithTwoFull(ChunkStoreContract):
    @pytest.fixture
    def store(self) -> ReplicatedStore:
        cluster, stores = cluster_of(1)
        for name in ("a", "b"):
            stores[name].error, stores[name].fails_reading = StoreFull("full"), False
        return cluster


@pytest.mark.parametrize("copies", [1, 2, 3])
async def test_a_chunk_is_on_its_homes_and_nowhere_else(copies: int) -> None:
    cluster, stores = cluster_of(copies)
    for number in range(20):
        chunk, data = chunk_of(number)
        await cluster.put(chunk, data)
        assert await holders(stores, chunk) == set(TABLES[copies].homes(chunk))


@pytest.mark.parametrize("error", [StoreFull("full"), StoreUnusable("away")])
async def test_the_next_store_takes_the_place_of_a_failing_home(error: Failed) -> None:
    cluster, stores = cluster_of(2)
    chunk, data = chunk_of(1)
    first, second, third = TABLES[2].preference(chunk)
    stores[first].error = error
    await cluster.put(chunk, data)
    assert await holders(stores, chunk) == {second, third}
    assert await cluster.get(chunk) == data


async def test_two_copies_suffice_when_three_are_wanted_and_one_does_not() -> None:
    cluster, stores = cluster_of(3)
    chunk, data = chunk_of(1)
    stores["a"].error = StoreFull("full")
    await cluster.check_space(10)
    await cluster.put(chunk, data)
    stores["b"].error = StoreFull("full")
    with pytest.raises(StoreFull):
        await cluster.put(*chunk_of(2))
    with pytest.raises(StoreFull):
        await cluster.check_space(10)
    stores["b"].error = StoreUnusable("away")
    with pytest.raises(NotEnoughStores):
        await cluster.put(*chunk_of(2))
    with pytest.raises(NotEnoughStores):
        await cluster.check_space(10)


class RoomyStore(MemoryStore):
    """Has room for so many bytes; remembers what it was asked for."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.asked: list[int] = []

    async def check_space(self, size: int) -> None:
        self.asked.append(size)
        if size > self.room:
            raise StoreFull(f"no room for {size}")


@each_row(
    ("copies", "rooms", "size"),
    [
        (1, (100, 100, 100), 300),
        (1, (99, 150, 150), 300),  # the two others take it
        (1, (0, 0, 300), 300),
        (2, (200, 200, 200), 300),
        (2, (0, 300, 300), 300),
        (3, (300, 300, 300), 300),
        (3, (0, 300, 300), 300),  # as many copies as the write quorum wants
        (3, (0, 0, 0), 0),
    ],
)
async def test_what_fits_is_let_in(copies: int, rooms: tuple[int, ...], size: int) -> None:
    stores = {name: RoomyStore(room) for name, room in zip(NAMES, rooms, strict=True)}
    await ReplicatedStore(TABLES[copies], stores).check_space(size)
    assert max(max(store.asked) for store in stores.values()) <= size


@each_row(
    ("copies", "rooms", "size"),
    [
        (1, (0, 0, 100), 300),  # room for its share, but not for all of it
        (1, (0, 149, 150), 300),
        (1, (99, 99, 99), 300),
        (2, (0, 299, 300), 300),
        (2, (0, 0, 1000), 300),
        (3, (0, 0, 1000), 300),
        (3, (299, 299, 300), 300),
    ],
)
async def test_what_does_not_fit_is_refused_at_once(
    copies: int, rooms: tuple[int, ...], size: int
) -> None:
    stores = {name: RoomyStore(room) for name, room in zip(NAMES, rooms, strict=True)}
    with pytest.raises(StoreFull):
        await ReplicatedStore(TABLES[copies], stores).check_space(size)


async def test_what_can_only_be_on_stores_that_are_away_is_not_called_unknown() -> None:
    cluster, stores = cluster_of(2)
    chunk, data = chunk_of(1)
    await cluster.put(chunk, data)
    for home in TABLES[2].homes(chunk):
        stores[home].error = StoreUnusable("away")
    for call in (
        cluster.get(chunk),
        cluster.have([chunk]),
        listed(cluster),
    ):
        with pytest.raises(NotEnoughStores, match="away"):
            await call


async def test_what_is_found_needs_no_store_that_is_away() -> None:
    cluster, stores = cluster_of(1)
    chunk, data = chunk_of(1)
    await cluster.put(chunk, data)
    for name in set(NAMES) - {TABLES[1].homes(chunk)[0]}:
        stores[name].error = StoreUnusable("away")
    assert await cluster.have([chunk]) == [True]
    assert await cluster.get(chunk) == data


@pytest.mark.parametrize("fault", ["corrupt", "missing"])
async def test_a_bad_copy_is_replaced_by_a_good_one(fault: str) -> None:
    cluster, stores = cluster_of(2)
    chunk, data = chunk_of(1)
    await cluster.put(chunk, data)
    home = stores[TABLES[2].homes(chunk)[0]]
    await home.inner.delete(chunk)
    if fault == "corrupt":
        home.error, home.fails_writing = Corrupt("rotten"), False
    assert await cluster.get(chunk) == data
    assert await home.inner.get(chunk) == data
    assert (cluster.repaired, cluster.repairs_failed) == (1, 0)


async def test_a_bad_copy_that_cannot_be_replaced_does_not_spoil_the_read() -> None:
    cluster, stores = cluster_of(2)
    chunk, data = chunk_of(1)
    await cluster.put(chunk, data)
    stores[TABLES[2].homes(chunk)[0]].error = Corrupt("rotten")
    assert await cluster.get(chunk) == data
    assert (cluster.repaired, cluster.repairs_failed) == (0, 1)


async def test_when_all_copies_are_corrupt_so_is_the_chunk() -> None:
    cluster, stores = cluster_of(3)
    for store in stores.values():
        store.error = Corrupt("rotten")
    with pytest.raises(Corrupt):
        await cluster.get(ABSENT)


async def test_a_store_of_an_older_layout_is_read_but_not_written() -> None:
    table = table_of(1, ["new"])
    stores = {"new": FailingStore(), "old": FailingStore()}
    cluster = ReplicatedStore(table, stores)
    chunk, data = chunk_of(1)
    await stores["old"].inner.put(chunk, data)
    assert await cluster.have([chunk]) == [True]
    assert await cluster.get(chunk) == data
    assert await holders(stores, chunk) == {"new", "old"}
    assert await listed(cluster) == [chunk]
    await cluster.put(*chunk_of(2))
    assert await holders(stores, chunk_of(2)[0]) == {"new"}


def test_every_store_of_the_layout_must_be_there() -> None:
    with pytest.raises(AssertionError, match="'c'"):
        ReplicatedStore(TABLES[1], {"a": MemoryStore(), "b": MemoryStore()})


@pytest.mark.parametrize(
    ("error", "reading", "writing"),
    [
        (StoreFull("full"), NotEnoughStores, StoreFull),
        (StoreUnusable("away"), NotEnoughStores, NotEnoughStores),
        (Corrupt("rotten"), Corrupt, NotEnoughStores),
    ],
)
async def test_the_only_store_fails_as_several_would(
    error: Failed, reading: type[Failed], writing: type[Failed]
) -> None:
    store = FailingStore()
    cluster = ReplicatedStore(table_of(1, ["a"]), {"a": store})
    store.error = error
    with pytest.raises(reading):
        await cluster.get(ABSENT)
    with pytest.raises(writing):
        await cluster.put(*chunk_of(1))


class OpeningStore(MemoryStore):
    """Has some chunks as files."""

    def __init__(self, *opened: bytes) -> None:
        super().__init__()
        self.files = {chunk: ChunkFile.__new__(ChunkFile) for chunk in opened}
        for file in self.files.values():
            file._fd, file.size = -1, 0

    def open_if_verified(self, chunk: bytes) -> ChunkFile | None:
        return self.files.get(chunk)

    async def open_verified(self, chunk: bytes) -> ChunkFile | bytes:
        return self.files.get(chunk) or await self.get(chunk)


def test_a_trusted_file_is_found_wherever_it_is_by_preference() -> None:
    chunk, other = chunk_of(1)[0], chunk_of(2)[0]
    first, second, _ = TABLES[2].preference(chunk)
    stores = {name: OpeningStore() for name in NAMES}
    assert ReplicatedStore(TABLES[2], stores).open_if_verified(chunk) is None
    stores[second], stores["old"] = OpeningStore(chunk), OpeningStore(chunk, other)
    cluster = ReplicatedStore(TABLES[2], stores)
    assert cluster.open_if_verified(chunk) is stores[second].files[chunk]
    assert cluster.open_if_verified(other) is stores["old"].files[other]
    stores[first] = OpeningStore(chunk)
    cluster.use_layout(TABLES[2], [], stores)
    assert cluster.open_if_verified(chunk) is stores[first].files[chunk]
    assert cluster.open_if_verified(ABSENT) is None


async def test_a_checked_chunk_comes_as_a_file_and_lost_copies_are_mended() -> None:
    chunk, data = chunk_of(1)
    first, second, _ = TABLES[2].preference(chunk)
    stores = {name: OpeningStore() for name in NAMES}
    stores[second] = OpeningStore(chunk)
    await stores[second].put(chunk, data)
    cluster = ReplicatedStore(TABLES[2], stores)
    found = {await cluster.open_verified(chunk) for _ in range(30)}
    assert stores[second].files[chunk] in found
    assert await stores[first].get(chunk) == data
    with pytest.raises(ChunkUnknown):
        await cluster.open_verified(ABSENT)


async def test_a_list_waits_once_for_a_store_that_is_unreachable() -> None:
    cluster, stores = cluster_of(2)
    chunk, data = chunk_of(1)
    await cluster.put(chunk, data)
    stores["a"].error = Unreachable("away")
    asked = 0

    def count(**_: object) -> None:
        nonlocal asked
        asked += 1
        raise Unreachable("away")

    stores["a"]._check = count  # type: ignore[method-assign]
    assert await listed(cluster) == [chunk]
    assert asked == 1


def test_the_more_stores_the_more_is_asked_for_ahead() -> None:
    cluster, _ = cluster_of(2)
    assert isinstance(cluster, AheadStore)
    assert cluster.ahead_bytes == len(NAMES) * AHEAD_BYTES_OF_STORE
    names = [f"s{number}" for number in range(20)]
    many = ReplicatedStore(table_of(2, names), {name: MemoryStore() for name in names})
    assert many.ahead_bytes == AHEAD_BYTES_MAX


class _Elsewhere(AllUp):
    """No store is on this server."""

    def is_local(self, store_id: str) -> bool:  # noqa: ARG002  whichever it is
        return False


@pytest.mark.parametrize(
    ("names", "health", "stores"),
    [(("a",), AllUp(), 0), (("a",), _Elsewhere(), 1), (("a", "b"), AllUp(), 2)],
)
def test_a_store_that_is_alone_here_has_no_wire_to_be_kept_busy(
    names: Sequence[str], health: AllUp, stores: int
) -> None:
    table = table_of(1, names)
    cluster = ReplicatedStore(table, {name: MemoryStore() for name in names}, health=health)
    assert cluster.ahead_bytes == stores * AHEAD_BYTES_OF_STORE


async def test_who_gave_a_chunk_is_told_while_somebody_looks() -> None:
    chunk, data = chunk_of(1)
    for names in (("a" * 32,), ("a" * 32, "b" * 32)):
        stores = {name: MemoryStore() for name in names}
        cluster, reads = ReplicatedStore(table_of(2, names), stores), ChunkReads(SystemClock())
        cluster.watch(reads)
        await cluster.put(chunk, data)
        await cluster.get(chunk)
        assert reads.since(60) == []  # the control: nobody looks
        reads.watch()
        await cluster.get(chunk)
        (read,) = reads.since(60)
        assert read.chunk == begin_of(chunk)
        assert read.store_id in names
