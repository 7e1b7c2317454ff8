"""What is asked of stores: found, mended and told, on real directories with a real database."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251  seeded

import pytest
from structlog.testing import capture_logs

from tests.at_once import AtOnce
from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, server
from tests.contracts.metadata_values import store as store_row
from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, Table, build_table
from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import ChunkStore, chunk_id_of
from treescale.cluster.lost import LossRecorder
from treescale.errors import DatabaseUnavailable, StoreFull
from treescale.maintenance import jobs
from treescale.maintenance.collector import Collector
from treescale.maintenance.finished import teller
from treescale.maintenance.jobs import StoreJobs
from treescale.maintenance.pace import Pace, nobody
from treescale.maintenance.planning import findings
from treescale.maintenance.planning.findings import Findings, Kind, unpacked
from treescale.maintenance.stores import WalkedCluster
from treescale.maintenance.walk import Walk
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import Blob, JobState, NewBlob, StoreJob

FINISHED = ("repair.finished", "collect.finished")
NAMES = ("a", "b", "c")
CHUNKS = 12
TURNS_MAX = 400


class View:
    """The cluster as it is while nobody changes it; stores can be away."""

    def __init__(self, stores: dict[str, DiskStore], clock: JumpingClock) -> None:
        layout = Layout(1, tuple(StoreLabel(name, f"on-{name}", "") for name in NAMES), 2)
        self.tables: Sequence[Table] = [build_table(layout)]
        self.away: set[str] = set()
        self._stores = stores
        self.store = ReplicatedStore(self.tables[0], stores, health=self, clock=clock)

    def is_up(self, store_id: str) -> bool:
        return store_id not in self.away

    def is_local(self, store_id: str) -> bool:
        return store_id in self._stores

    def way_to(self, store_id: str) -> ChunkStore | None:
        return self._stores.get(store_id)


@dataclass
class Rig:
    database: Database
    stores: dict[str, DiskStore]
    view: View
    clock: JumpingClock
    walks: dict[str, Walk]
    jobs: dict[str, StoreJobs]
    data: dict[bytes, bytes] = field(default_factory=dict)

    async def push(self) -> None:
        random = Random(7)  # noqa: S311
        for data in (random.randbytes(3000) for _ in range(CHUNKS)):
            self.data[chunk_id_of(data)] = data
        for chunk, data in self.data.items():
            await self.view.store.put(chunk, data)
        parts = tuple((chunk, len(data)) for chunk, data in self.data.items())
        blob = Blob(digest(1), 3000 * len(parts), None, encode(Recipe(DEFAULT, parts)))
        await self.database.blobs.commit(
            APP, NewBlob(blob, parts), upload_id=None, now=NOW, actor=ACTOR
        )

    def copies(self) -> dict[tuple[str, bytes], Path]:
        """Return the file of each copy, by its store and chunk."""
        files = {
            (name, path)
            for name, store in self.stores.items()
            for path in (store.root / "chunks").glob("*/*/*")
        }
        return {(name, bytes.fromhex(path.name)): path for name, path in files}

    def of(self, chunk: bytes) -> list[Path]:
        return [path for (_, each), path in sorted(self.copies().items()) if each == chunk]

    async def carry_out(self, kind: str, job_id: str = "j") -> list[StoreJob]:
        """Ask all stores, and let a second pass between their turns, until all have done it."""
        await self.database.jobs.begin(job_id, kind, NAMES, actor=ACTOR)
        return await self.finish(job_id)

    async def finish(self, job_id: str = "j") -> list[StoreJob]:
        parts: list[StoreJob] = []
        for _ in range(TURNS_MAX):
            for name in NAMES:
                await self.walks[name].turn()
                await self.jobs[name].turn()
            self.clock.seconds += 1
            parts = await self.database.jobs.parts(job_id)
            if all(part.state not in (JobState.WAITING, JobState.RUNNING) for part in parts):
                return parts
        raise AssertionError(parts)

    async def found(self, kind: str, job_id: str = "j") -> Findings:
        parts = await self.carry_out(kind, job_id)
        assert {part.state for part in parts} == {JobState.DONE}
        assert {(part.done, part.total) for part in parts} == {(PARTITIONS, PARTITIONS)}
        return findings.total(unpacked(part.problems) for part in parts)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    yield opened
    await opened.close()


@pytest.fixture
async def rig(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Rig:
    # few chunks: a few large batches are quicker than 64
    monkeypatch.setattr("treescale.maintenance.planning.planner.BATCH_MAX", PARTITIONS // 4)
    clock = JumpingClock()
    stores = {}
    for name in NAMES:
        await database.servers.register(server(f"on-{name}"), live_seconds=15, actor=ACTOR)
        await database.stores.register(store_row(name, f"on-{name}"))
        stores[name] = DiskStore.create_or_open(tmp_path / name, threads=AtOnce(), clock=clock)
    view = View(stores, clock)
    losses = LossRecorder(database.lost, view.store, clock)
    view.store.tell(losses.missing)
    cluster = WalkedCluster(view, database.lost, losses)
    pace, tell = Pace(clock, nobody), teller(database, "server:s1")
    walks = {
        name: Walk(name, store, cluster, database, pace, clock=clock, tell=tell)
        for name, store in stores.items()
    }
    for walk in walks.values():
        walk.progress.begin_cycle(clock.now())
    carried = {
        name: StoreJobs(
            walk,
            Collector(name, stores[name], walk.trash, database, clock=clock, alone=True, tell=tell),
            database,
            clock=clock,
        )
        for name, walk in walks.items()
    }
    rig = Rig(database, stores, view, clock, walks, carried)
    await rig.push()
    for walk in walks.values():  # nothing is due any more: what follows the jobs do
        walk.progress.follow(1, clock.monotonic())
        for number in range(PARTITIONS):
            walk.progress.look(number, clock.monotonic(), missing=0, misplaced=0)
    return rig


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def test_what_is_whole_is_found_whole_and_nothing_is_done(rig: Rig) -> None:
    before = rig.copies()
    for number, kind in enumerate(Kind):
        found = await rig.found(kind, f"job{number}")
        assert found.is_whole, kind
        if kind in (Kind.CHECK, Kind.CHECK_BYTES):
            assert found.held == 2 * CHUNKS
        assert found.read == (2 * CHUNKS if kind in (Kind.VERIFY, Kind.CHECK_BYTES) else 0)
        assert (found.fetched, found.given, found.trimmed) == (0, 0, 0)
    assert rig.copies() == before


async def test_a_check_finds_what_is_missing_and_leaves_it_so(rig: Rig) -> None:
    first, second, *_ = sorted(rig.data)
    rig.of(first)[0].unlink()
    rig.of(second)[1].unlink()
    found = await rig.found(Kind.CHECK)
    assert (found.missing, found.missing_bytes) == (2, 6000)
    assert (found.lost, found.unfound, found.rotten) == (0, 0, 0)
    assert len(rig.copies()) == 2 * CHUNKS - 2
    assert findings.verdict(found, lost=0, unasked=()) == findings.Verdict.UNDER_REPLICATED


async def test_a_repair_makes_what_is_missing(rig: Rig) -> None:
    gone = [rig.of(chunk)[0] for chunk in sorted(rig.data)[:5]]
    for path in gone:
        path.unlink()
    parts = await rig.carry_out(Kind.REPAIR)
    assert sum(part.moved for part in parts) == 15_000
    found = findings.total(unpacked(part.problems) for part in parts)
    assert (found.fetched, found.missing, found.is_whole) == (5, 0, True)
    assert all(path.exists() for path in gone)
    told = [one for one in await rig.database.event_log.after(0, 100) if one.kind in FINISHED]
    assert {(one.kind, one.actor) for one in told} == {("repair.finished", ACTOR)}
    assert sum(one.payload["fetched"] for one in told) == 5
    assert sum(one.payload["bytes"] for one in told) == 15_000
    stores = [one.payload["store_id"] for one in told]
    assert len(stores) == len(set(stores)), "one for each store that had something to do"
    await rig.carry_out(Kind.REPAIR, "again")
    again = [one for one in await rig.database.event_log.after(0, 100) if one.kind in FINISHED]
    assert again == told, "there was nothing to do"


async def test_bytes_are_checked_and_what_is_bad_is_put_aside(rig: Rig) -> None:
    chunk = min(rig.data)
    bad, good = rig.of(chunk)
    flip(bad)
    assert (await rig.found(Kind.CHECK, "names")).is_whole, "names say nothing of bytes"
    with capture_logs() as said:
        found = await rig.found(Kind.CHECK_BYTES, "bytes")
    assert [each["event"] for each in said if each["log_level"] == "error"] == ["chunk.rotten"]
    assert (found.rotten, found.rotten_chunks, found.lost) == (1, [chunk.hex()], 0)
    assert findings.verdict(found, lost=0, unasked=()) == findings.Verdict.LOST
    assert good.exists()


@pytest.mark.long
async def test_verifying_replaces_what_is_bad_and_what_is_missing(rig: Rig) -> None:
    first, second, *_ = sorted(rig.data)
    flip(rig.of(first)[0])
    rig.of(second)[0].unlink()
    found = await rig.found(Kind.VERIFY)
    assert (found.rotten, found.fetched, found.missing) == (1, 2, 0)
    assert findings.healed(found, lost=0, unasked=()) == findings.Verdict.WHOLE
    assert (await rig.found(Kind.CHECK_BYTES, "after")).is_whole


async def test_verifying_replaces_what_a_pull_took_away_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.push()
    (name, chunk), path = min(rig.copies().items())
    read_back = Walk.read_back

    async def taken_away(self: Walk, number: int) -> AsyncIterator[tuple[bytes, int | None]]:
        if self.store_id == name and path.exists():
            while self.progress.pending:  # the names are looked at
                await self.turn()
            path.unlink()
        async for found in read_back(self, number):
            yield found

    monkeypatch.setattr(Walk, "read_back", taken_away)
    await rig.carry_out(Kind.VERIFY)
    assert len(rig.of(chunk)) == 2


async def test_what_no_store_has_is_lost_and_said_to_be_in_which_repositories(rig: Rig) -> None:
    first, second, *_ = sorted(rig.data)
    flip(rig.of(first)[0])
    rig.of(first)[1].unlink()
    for path in rig.of(second):
        path.unlink()
    found = await rig.found(Kind.CHECK, "names")
    assert (found.lost, found.lost_chunks) == (1, [second.hex()])
    found = await rig.found(Kind.CHECK_BYTES, "bytes")
    assert (found.lost, found.lost_chunks) == (2, [first.hex(), second.hex()])
    seen = await rig.database.lost.overview(10)
    assert (seen.chunks, [each.repository for each in seen.listed]) == (2, [APP])


async def test_what_was_lost_and_is_back_is_lost_no_more(rig: Rig) -> None:
    chunk = min(rig.data)
    for path in rig.of(chunk):
        path.rename(path.with_suffix(".aside"))
    assert (await rig.found(Kind.CHECK, "gone")).lost == 1
    for path in list((rig.stores["a"].root.parent).glob("*/chunks/*/*/*.aside")):
        path.rename(path.with_suffix(""))
    assert (await rig.found(Kind.CHECK, "back")).is_whole
    assert (await rig.database.lost.overview(10)).chunks == 0


async def test_what_a_store_that_is_away_may_have_is_not_lost(rig: Rig) -> None:
    (name, chunk), path = min(rig.copies().items())
    others = [other for other, each in rig.copies() if each == chunk and other != name]
    rig.view.away.update(others)
    path.unlink()
    for other in others:
        for copy in (rig.stores[other].root / "chunks").glob(f"*/*/{chunk.hex()}"):
            copy.unlink()
    found = await rig.found(Kind.CHECK)
    assert (found.lost, found.unfound) == (0, 1)
    assert found.unfound_chunks == [chunk.hex()]
    assert found.reasons


@pytest.mark.long
async def test_a_repair_that_cannot_be_done_ends_and_says_what_is_left(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StoreFull("no room on this disk")

    gone = next(path for (name, _), path in sorted(rig.copies().items()) if name == "a")
    gone.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(rig.stores["a"], "put", full)
        found = await rig.found(Kind.REPAIR)
    assert (found.missing, found.reasons) == (1, ["no room on this disk"])
    rig.clock.seconds += 3600
    assert (await rig.found(Kind.REPAIR, "again")).is_whole


@pytest.mark.long
async def test_what_lies_elsewhere_is_counted_and_trimmed_when_asked(rig: Rig) -> None:
    chunk, data = min(rig.data.items())
    (elsewhere,) = [name for name in NAMES if (name, chunk) not in rig.copies()]
    await rig.stores[elsewhere].put(chunk, data)
    found = await rig.found(Kind.CHECK, "look")
    assert (found.surplus, found.surplus_bytes, found.is_whole) == (1, 3000, True)
    assert (await rig.found(Kind.REPAIR, "do")).trimmed == 1
    assert (elsewhere, chunk) not in rig.copies()


async def test_a_job_that_was_running_begins_again(rig: Rig) -> None:
    await rig.database.jobs.begin("j", Kind.CHECK_BYTES, NAMES, actor=ACTOR)
    (part,) = await rig.database.jobs.open_of("a")
    doing = rig.jobs["a"]._begun(part)
    await rig.database.jobs.report(doing.part)
    parts = {part.store_id: part.state for part in await rig.database.jobs.parts("j")}
    assert parts["a"] is JobState.RUNNING
    assert {part.state for part in await rig.finish()} == {JobState.DONE}


@pytest.mark.long
async def test_a_short_job_does_not_wait_for_a_long_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "TURN_SECONDS", -1.0)  # of each the least that can be done
    await rig.database.jobs.begin("long", Kind.VERIFY, NAMES, actor=ACTOR)
    for _ in range(3):
        await rig.jobs["a"].turn()
    monkeypatch.undo()
    rig.clock.seconds += jobs.LOOK_SECONDS
    await rig.database.jobs.begin("short", "unknown", ["a"], actor=ACTOR)
    await rig.jobs["a"].turn()
    (short,) = await rig.database.jobs.parts("short")
    assert short.state is JobState.FAILED
    assert unpacked(short.problems).reasons == ["its server does not know the work 'unknown'"]
    assert {part.state for part in await rig.finish("long")} == {JobState.DONE}


async def test_a_job_that_nobody_wants_any_more_is_left(rig: Rig) -> None:
    await rig.database.jobs.begin("j", Kind.REPAIR, NAMES, actor=ACTOR)
    await rig.jobs["a"].turn()
    await rig.database.jobs.prune(-3600)
    rig.clock.seconds += jobs.LOOK_SECONDS
    assert not await rig.jobs["a"].turn()
    assert await rig.database.jobs.parts("j") == []


async def test_while_the_database_is_away_it_is_not_given_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    await rig.database.jobs.begin("j", Kind.CHECK, NAMES, actor=ACTOR)
    with monkeypatch.context() as patch:
        patch.setattr(rig.database.references, "in_sessions", away)
        with pytest.raises(DatabaseUnavailable):
            await rig.jobs["a"].turn()
    rig.clock.seconds += jobs.LOOK_SECONDS
    assert {part.state for part in await rig.finish()} == {JobState.DONE}
