"""The walk of one store: it fetches, keeps, trims and gives; what it cannot do waits alone."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from tests.simulation.copies import CopyStore, Way
from tests.simulation.walking import Server, WalkWorld, chunk_of, few_partitions
from tests.virtualtime import LoopClock, virtual
from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, Table
from treescale.errors import DatabaseUnavailable, NotEnoughStores, Unreachable
from treescale.maintenance.pace import Pace, Served
from treescale.maintenance.planning.progress import FOLLOWED_SECONDS, LOOK_SECONDS
from treescale.maintenance.reading_back import BAD_CHUNKS_TOLD
from treescale.maintenance.walk import GIVE_AFTER, IN_VAIN_SECONDS_MAX, Walk

NAMES = ("s0", "s1", "s2", "s3")


@pytest.fixture(autouse=True)
def _few() -> Iterator[None]:
    with few_partitions():
        yield


def table(number: int, *homes: str) -> Table:
    """Return a table by which these are the homes of everything."""
    order = (*homes, *(name for name in NAMES if name not in homes))
    stores = tuple(StoreLabel(name, f"on-{name}", "") for name in NAMES)
    return Table(Layout(number, stores, len(homes)), (order,) * PARTITIONS)


class Cluster(WalkWorld):
    """Four servers whose walks a test runs by hand; s0 and s1 are the homes of all chunks."""

    def __init__(self, *homes: str) -> None:
        super().__init__(0)
        self.is_quick = True
        self.tables = [table(1, *(homes or ("s0", "s1")))]
        self.servers = {name: Server(self, name) for name in NAMES}
        for server in self.servers.values():
            server.begin()
            server.new_walk()

    def put(self, number: int, *names: str, named: bool = True) -> bytes:
        """Put a chunk on these stores."""
        chunk, data = chunk_of(number)
        for name in names:
            self.store(name).put(chunk, data)
        if named:
            self.rows.blobs[chunk] = len(data)
        return chunk

    def store(self, name: str) -> CopyStore:
        return self.servers[name].store

    def walk(self, name: str) -> Walk:
        walk = self.servers[name].walk
        assert walk is not None
        return walk

    async def go(self, name: str, turns: int = 3, seconds: float = 0.0) -> None:
        """Have a walk do what is due, with pauses between the turns."""
        for _ in range(turns):
            await self.walk(name).turn()
            await asyncio.sleep(seconds)


def events(logs: list[EventDict], name: str) -> list[EventDict]:
    return [event for event in logs if event["event"] == name]


@virtual
async def test_a_home_fetches_what_lies_elsewhere_and_what_lies_elsewhere_goes() -> None:
    cluster = Cluster()
    chunk = cluster.put(1, "s1", "s2")
    orphan = cluster.put(2, "s2", named=False)
    with capture_logs() as logs:
        await cluster.go("s2")
        assert cluster.holders(chunk) == {"s1", "s2"}, "one home lacks it"
        await cluster.go("s0")
        await asyncio.sleep(60)
        await cluster.go("s2")
    assert cluster.holders(chunk) == {"s0", "s1"}
    assert cluster.holders(orphan) == {"s2"}, "what no row names stays where it is"
    assert cluster.walk("s2").progress.is_whole
    fetched, trimmed = events(logs, "store.whole")
    assert (fetched["store"], fetched["fetched"], fetched["bytes"]) == (
        "s0",
        1,
        len(chunk_of(1)[1]),
    )
    assert (trimmed["store"], trimmed["trimmed"], trimmed["fetched"]) == ("s2", 1, 0)
    assert cluster.rows.walks["s0"].is_whole


@virtual
@pytest.mark.parametrize(("homes", "down", "urgent"), [(2, 0, 0), (2, 1, 1), (3, 1, 0), (1, 0, 0)])
async def test_what_has_one_copy_left_is_urgent(
    monkeypatch: pytest.MonkeyPatch, homes: int, down: int, urgent: int
) -> None:
    cluster = Cluster(*NAMES[:homes])
    cluster.put(1, "s2" if homes == 1 else "s1")
    walk, gone = cluster.walk("s0"), NAMES[homes - down : homes]
    told: list[bool] = []

    async def moving(_: int, *, urgent: bool = False) -> None:
        told.append(urgent)

    monkeypatch.setattr(walk._pace, "moving", moving)
    is_up = cluster.servers["s0"].is_up
    monkeypatch.setattr(
        cluster.servers["s0"], "is_up", lambda name: name not in gone and is_up(name)
    )
    await cluster.go("s0")
    assert told[:1] == [bool(urgent)]


@virtual
async def test_a_look_that_finds_nothing_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be told is counted over all partitions."""
    cluster = Cluster()
    for number in range(30):
        cluster.put(number, "s0", "s1")
    await cluster.go("s0")
    await asyncio.sleep(3700)
    walk, told = cluster.walk("s0"), 0
    tell = walk._tell

    async def counted(*, over: bool) -> None:
        nonlocal told
        told += 1
        await tell(over=over)

    monkeypatch.setattr(walk, "_tell", counted)
    assert len(walk.progress.due(LoopClock().monotonic())) == 16
    await cluster.go("s0", turns=1)
    assert told <= 2


@virtual
async def test_what_comes_back_from_the_trash_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def back(_: bytes) -> bool:
        return True

    cluster = Cluster()
    cluster.put(1, "s1")
    monkeypatch.setattr(cluster.walk("s0").trash, "take_back", back)
    with capture_logs() as logs:
        await cluster.go("s0")
    (told,) = events(logs, "store.whole")
    assert (told["restored"], told["fetched"], told["bytes"]) == (1, 0, 0)


@virtual
async def test_what_an_unfinished_upload_names_moves_too() -> None:
    cluster = Cluster()
    chunk = cluster.put(1, "s1", named=False)
    cluster.rows.sessions["u"] = {chunk: 10}
    await cluster.go("s0")
    assert cluster.holders(chunk) == {"s0", "s1"}


@virtual
async def test_where_nothing_is_to_be_done_nothing_is_written() -> None:
    cluster = Cluster()
    cluster.put(1, "s0", "s1")
    cluster.walk("s0").progress.begin_cycle(LoopClock().now())
    with capture_logs() as logs:
        await cluster.go("s0")
        await asyncio.sleep(FOLLOWED_SECONDS)
        await cluster.go("s0", turns=200)  # all is looked at once more
        said = cluster.rows.walks["s0"]
        await cluster.go("s0", turns=30, seconds=2)
    assert cluster.rows.walks["s0"] is said
    assert events(logs, "store.whole") == []


@virtual
async def test_a_look_that_expects_nothing_gives_way_to_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gave_way: list[float] = []

    async def looking(_: Pace, seconds: float, hurry: Callable[[], bool]) -> None:
        gave_way.append(seconds)
        assert not hurry()
        server.tables = [table(2, "s0", "s1"), *cluster.tables]
        assert hurry(), "another layout is not to wait"
        server.tables = cluster.tables
        if len(gave_way) == 1:
            assert not hurry()
            cluster.walk("s0").progress.hurry_all()
            assert hurry(), "nor is a repair that somebody asks for"

    monkeypatch.setattr(Pace, "looking", looking)
    cluster = Cluster()
    server = cluster.servers["s0"]
    cluster.put(1, "s0", "s1")
    await cluster.go("s0")
    assert gave_way == [], "something may be missing"
    await asyncio.sleep(LOOK_SECONDS)
    await cluster.go("s0", turns=200)
    assert gave_way


@virtual
async def test_a_home_that_never_fetches_is_given_the_chunk() -> None:
    cluster = Cluster()
    chunk = cluster.put(1, "s1", "s2")
    for look in range(1, GIVE_AFTER + 3):
        await cluster.go("s2", turns=1)
        assert ("s0" in cluster.holders(chunk)) == (look > GIVE_AFTER)
        await asyncio.sleep(60)
    assert cluster.holders(chunk) == {"s0", "s1"}


@virtual
async def test_beside_a_home_that_is_away_or_of_an_older_version_nothing_is_trimmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    chunk = cluster.put(1, "s0", "s1", "s2")
    cluster.store("s1").is_down = True
    await cluster.go("s2", turns=8, seconds=700)
    assert cluster.holders(chunk) == {"s0", "s1", "s2"}
    cluster.store("s1").is_down = False

    async def unknown(self: Way, chunks: object) -> list[bool]:  # noqa: ARG001
        raise Unreachable("it knows no such question")

    with monkeypatch.context() as patch:
        patch.setattr(Way, "keep", unknown)
        await cluster.go("s2", turns=8, seconds=700)
        assert cluster.holders(chunk) == {"s0", "s1", "s2"}
    await cluster.go("s2", seconds=700)
    assert cluster.holders(chunk) == {"s0", "s1"}


@virtual
async def test_what_was_kept_meanwhile_is_not_trimmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server, which goes by another layout, relies on this copy."""
    cluster = Cluster()
    chunk = cluster.put(1, "s0", "s1", "s2")
    keep = Way.keep

    async def kept(self: Way, chunks: list[bytes]) -> list[bool]:
        cluster.store("s2").renew(chunk)
        return await keep(self, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(Way, "keep", kept)
        await cluster.go("s2")
    assert cluster.holders(chunk) == {"s0", "s1", "s2"}
    assert cluster.walk("s2").progress.misplaced == 1


@virtual
async def test_owed_copies_are_made_or_struck_off() -> None:
    cluster = Cluster()
    cluster.walk("s0").progress.follow(1, LoopClock().monotonic())
    for number in range(16):  # looks find nothing: it is the debts that are paid
        cluster.walk("s0").progress.look(
            number, LoopClock().monotonic() + 1, missing=0, misplaced=0
        )
    lacks, has = cluster.put(1, "s1"), cluster.put(2, "s0", "s1")
    given_up = cluster.put(3, "s1", named=False)
    nowhere = cluster.put(4)
    elsewhere = cluster.put(5, "s0", "s1")
    cluster.rows.owed = {(chunk, "s0") for chunk in (lacks, has, given_up, nowhere)}
    cluster.rows.owed |= {(lacks, "s1"), (elsewhere, "s2"), (lacks, "s2")}
    await cluster.go("s0", turns=1)
    assert cluster.holders(lacks) == {"s0", "s1"}
    assert cluster.holders(given_up) == {"s1"}
    assert {store for chunk, store in cluster.rows.owed if chunk == lacks} == {"s1", "s2"}
    assert (nowhere, "s0") in cluster.rows.owed
    await cluster.go("s2", turns=1)
    left = {debt for debt in cluster.rows.owed if debt[1] == "s2"}
    assert left == set(), "s2 is no home any more, and every home has them"


@virtual
async def test_a_full_disk_holds_up_nothing_but_what_it_should_take() -> None:
    cluster = Cluster()
    numbers = [number for number in range(30) if chunk_of(number)[0][1] >> 4 < 8][:3]
    lacks = [cluster.put(number, "s1") for number in numbers]
    other = next(n for n in range(30) if chunk_of(n)[0][1] >> 4 >= 8)
    surplus = cluster.put(other, "s0", "s1", "s2")
    cluster.tables[0] = table(1, "s1", "s2")
    cluster.servers["s0"].tables = cluster.tables
    cluster.rows.owed = {(lacks[0], "s0")}
    cluster.store("s0").is_full = True
    with capture_logs() as logs:
        cluster.servers["s0"].tables = [
            Table(
                table(1, "s0", "s1").layout,
                (("s0", "s1", "s2", "s3"),) * 8 + (("s1", "s2", "s0", "s3"),) * (PARTITIONS - 8),
            )
        ]
        await cluster.go("s0")
    assert cluster.holders(surplus) == {"s1", "s2"}, "trimmed all the same"
    (told,) = events(logs, "walk.postponed")  # once a minute, however many wait
    assert told["partition"] in {chunk[1] >> 4 for chunk in lacks}
    cluster.store("s0").is_full = False
    await cluster.go("s0", seconds=700)
    assert all(cluster.holders(chunk) == {"s0", "s1"} for chunk in lacks)
    assert cluster.rows.owed == set()


@virtual
async def test_without_the_database_it_ends_and_goes_on_later() -> None:
    cluster = Cluster()
    chunk = cluster.put(1, "s1")
    cluster.rows.is_away = True
    with pytest.raises(DatabaseUnavailable):
        await cluster.walk("s0").run()
    assert cluster.holders(chunk) == {"s1"}
    cluster.rows.is_away = False
    running = asyncio.ensure_future(cluster.walk("s0").run())  # noqa: TID251  ended below
    await asyncio.sleep(30)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert cluster.holders(chunk) == {"s0", "s1"}


@virtual
async def test_it_goes_on_where_it_stood() -> None:
    cluster = Cluster()
    await cluster.go("s0")
    cluster.walk("s0").progress.verify(5, 1_600_000_000.0)
    packed = cluster.walk("s0").progress.packed()
    cluster.rows.walks["s0"] = replace(cluster.rows.walks["s0"], partitions=packed)
    walk = cluster.servers["s0"].new_walk()
    await walk._resume()
    assert walk.progress.verify_due(LoopClock().now()) == 5
    assert len(walk.progress.due(0.0)) == 16, "names are all looked at once more"


@virtual
async def test_chunks_that_cannot_be_had_hold_up_their_partition_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has them hangs: each would take seconds."""
    cluster = Cluster("s0")
    mine = [n for n in range(400) if chunk_of(n)[0][1] >> 4 == 3][:12]
    chunks = sorted(cluster.put(number) for number in mine)
    asked: list[bytes] = []

    async def hangs(self: Server, chunk: bytes, lacking: str) -> bytes:  # noqa: ARG001
        asked.append(chunk)
        await asyncio.sleep(4)
        raise NotEnoughStores("away")

    monkeypatch.setattr(Server, "fetch", hangs)
    begun = LoopClock().monotonic()
    await cluster.go("s0", turns=1)
    assert LoopClock().monotonic() - begun < IN_VAIN_SECONDS_MAX + 5
    assert asked == chunks[:3]
    assert cluster.walk("s0").progress.missing == 12
    for _ in range(8):
        await cluster.go("s0", turns=1, seconds=700)
    assert set(asked) == set(chunks), "each look begins elsewhere"


@virtual
async def test_what_is_rotten_is_read_back_replaced_and_told() -> None:
    cluster = Cluster()
    chunks = [cluster.put(number, "s0", "s1") for number in range(4)]
    await cluster.go("s0")
    walk = cluster.walk("s0")
    for number, chunk in enumerate(chunks):
        cluster.store("s0").copies[chunk].data += b"!"
        with capture_logs() as logs:
            assert [size async for _, size in walk.read_back(chunk[1] >> 4)] == [None]
        assert len(events(logs, "chunk.rotten")) == 1
        assert bool(events(logs, "store.rotten")) == (number + 1 >= BAD_CHUNKS_TOLD)
        assert "s0" not in cluster.holders(chunk)
        await cluster.go("s0")
        assert cluster.holders(chunk) == {"s0", "s1"}


@virtual
async def test_everything_is_read_back_within_a_cycle_unless_clients_are_at_work() -> None:
    cluster = Cluster()
    chunk = cluster.put(1, "s0", "s1")
    walk = cluster.walk("s0")
    walk.progress.begin_cycle(LoopClock().now())
    await cluster.go("s0")
    cluster.store("s0").copies[chunk].data += b"!"
    idle, walk._pace = walk._pace, Pace(LoopClock(), lambda _: Served(10.0**9))
    await cluster.go("s0", turns=1000, seconds=2)
    assert not cluster.store("s0").holds(chunk), "nobody has looked"
    walk._pace = idle
    await cluster.go("s0", turns=100, seconds=2)
    assert cluster.store("s0").holds(chunk)


@virtual
async def test_a_store_that_is_not_well_is_left_alone() -> None:
    cluster = Cluster()
    cluster.store("s0").is_down = True
    assert not await cluster.walk("s0").turn()
    assert cluster.walk("s0").progress.layout == 0


@virtual
async def test_a_new_layout_ends_what_is_planned_by_the_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a copy at a store that has become a home meanwhile is not trimmed."""
    cluster = Cluster()
    chunk = cluster.put(1, "s0", "s1", "s2")
    server = cluster.servers["s2"]
    keep = Way.keep

    async def relayout(self: Way, chunks: list[bytes]) -> list[bool]:
        server.tables = [table(2, "s2", "s3"), *cluster.tables]
        return await keep(self, chunks)

    with monkeypatch.context() as patch:
        patch.setattr(Way, "keep", relayout)
        await cluster.go("s2", turns=1)
    await cluster.go("s2")
    assert cluster.walk("s2").progress.layout == 2
    assert "s2" in cluster.holders(chunk)
    assert len(cluster.holders(chunk)) >= 2
