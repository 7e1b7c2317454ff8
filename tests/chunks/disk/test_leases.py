"""The lease that a put of a chunk gives its copy, and what may end once it is over."""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path

import pytest

from tests.chunks.disk.test_store import NO_RESERVE, file_of, flipped, names
from tests.contracts.chunk_store import chunk_of
from tests.fakes_disk import JumpingClock, SteppedDisk
from tests.tables import each_row
from treescale.chunks.disk.directory import RENEW_SECONDS, ChunkDirectory
from treescale.chunks.disk.quiet import Quiet
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.verified import FileStamp
from treescale.lease_times import LEASE_SECONDS_MIN, LeaseTimes

CHUNK, DATA = chunk_of(1)
DAY = 86_400.0


@pytest.fixture
def disk() -> SteppedDisk:
    return SteppedDisk()


@pytest.fixture
async def store(
    tmp_path: Path, threads: Executor, clock: JumpingClock, disk: SteppedDisk
) -> DiskStore:
    store = DiskStore.create_or_open(
        tmp_path / "store", threads=threads, clock=clock, disk=disk, reserve=NO_RESERVE
    )
    await store.put(CHUNK, DATA)
    return store


async def stamps(store: DiskStore, *chunks: bytes) -> list[tuple[bytes, FileStamp]]:
    found = await store.stamps(chunks)
    return [(chunk, stamp) for chunk, stamp in zip(chunks, found, strict=True) if stamp]


async def age(store: DiskStore) -> float:
    (copy,) = await store.aged([CHUNK, chunk_of(99)[0]])
    assert (copy.chunk, copy.size) == (CHUNK, len(DATA))
    return copy.age


def yes() -> bool:
    return True


# A put of what is there already (R1)


async def test_a_put_of_what_is_there_renews_its_time(store: DiskStore, disk: SteppedDisk) -> None:
    disk.ahead = DAY
    assert await age(store) >= DAY
    await store.put(CHUNK, DATA)
    assert await age(store) < RENEW_SECONDS


async def test_control_without_the_touch_its_time_stays(
    store: DiskStore, disk: SteppedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChunkDirectory, "_is_old", lambda *_: False)
    disk.ahead = DAY
    await store.put(CHUNK, DATA)
    assert await age(store) >= DAY


@pytest.mark.parametrize(("age", "touches"), [(60, 0), (RENEW_SECONDS + 1, 1), (-60, 1)])
async def test_what_is_young_is_left_alone_and_what_is_dated_ahead_is_not(
    store: DiskStore, disk: SteppedDisk, age: float, touches: int
) -> None:
    disk.ahead = age
    disk.calls.clear()
    await store.put(CHUNK, DATA)
    assert disk.calls == Counter(date=touches, lock_shared=touches)


async def test_what_was_durable_is_not_synced_again(store: DiskStore, disk: SteppedDisk) -> None:
    disk.ahead = RENEW_SECONDS + 1
    disk.calls.clear()
    await store.put(CHUNK, DATA)
    assert not disk.calls["fsync_directory"]
    assert store.open_if_verified(CHUNK) is not None, "it was read back"


async def test_what_cannot_be_dated_is_written_anew(
    store: DiskStore, disk: SteppedDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inode, times = file_of(tmp_path, CHUNK).stat().st_ino, list[int]()

    def refused(fd: int, ns: int) -> None:
        times.append(ns)
        if len(times) == 1:
            raise PermissionError(1, "not the owner's")
        os.utime(fd, ns=(ns, ns))

    monkeypatch.setattr(disk, "date", refused)
    disk.ahead = DAY
    await store.put(CHUNK, DATA)
    assert file_of(tmp_path, CHUNK).stat().st_ino != inode
    assert await age(store) < DAY


async def test_a_name_that_is_another_files_by_now_is_written_anew(
    store: DiskStore, disk: SteppedDisk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Trashed between the open and the lock: what is in the trash is not touched."""
    path, trash = file_of(tmp_path, CHUNK), tmp_path / "store" / "trash" / CHUNK.hex()
    lock = disk.lock_shared

    def after_a_trim(directory: Path) -> int:
        if path.exists() and not trash.exists():
            path.rename(trash)
        return lock(directory)

    monkeypatch.setattr(disk, "lock_shared", after_a_trim)
    disk.ahead = DAY
    await store.put(CHUNK, DATA)
    assert path.read_bytes() == DATA
    assert await store.have([CHUNK]) == [True]


async def test_a_bad_copy_is_replaced_although_it_is_old(
    store: DiskStore, disk: SteppedDisk, tmp_path: Path
) -> None:
    file_of(tmp_path, CHUNK).write_bytes(flipped(DATA, 3))
    disk.ahead = DAY
    await store.put(CHUNK, DATA)
    assert await store.get(CHUNK) == DATA
    assert len(names(tmp_path / "store" / "quarantine")) == 1


def test_the_shortest_lease_is_renewed_in_time() -> None:
    assert LeaseTimes(LEASE_SECONDS_MIN).renew_age == RENEW_SECONDS


# Removing many (R4, R8)


async def test_many_go_at_once_and_each_directory_is_synced_once(
    store: DiskStore, disk: SteppedDisk
) -> None:
    chunks = [chunk_of(number) for number in range(1, 9)]
    for chunk, data in chunks:
        await store.put(chunk, data)
    looked = await stamps(store, *(chunk for chunk, _ in chunks))
    disk.calls.clear()
    assert sorted(await store.remove(looked, yes)) == sorted(chunk for chunk, _ in chunks)
    assert disk.calls["fsync_directory"] <= len(chunks) + 1
    assert await store.have([chunk for chunk, _ in chunks]) == [False] * 8
    assert await store.remove(looked, yes) == []


async def test_what_was_put_since_the_look_stays(store: DiskStore, disk: SteppedDisk) -> None:
    disk.ahead = DAY
    looked = await stamps(store, CHUNK)
    await store.put(CHUNK, DATA)
    assert await store.remove(looked, yes) == []
    assert await store.have([CHUNK]) == [True]


async def test_nothing_goes_once_it_may_not(store: DiskStore) -> None:
    chunk, data = chunk_of(2)
    await store.put(chunk, data)
    answers = iter([True, False])
    gone = await store.remove(await stamps(store, CHUNK, chunk), lambda: next(answers))
    assert gone == [CHUNK]
    assert await store.have([CHUNK, chunk]) == [False, True]


# The trash


async def test_it_is_listed_by_id_from_where_one_left_off(
    store: DiskStore, clock: JumpingClock
) -> None:
    chunks = sorted(chunk_of(number)[0] for number in range(1, 6))
    for number in range(1, 6):
        await store.put(*chunk_of(number))
    await store.remove(await stamps(store, *chunks), yes)
    contents = await store.trash()
    assert (contents.chunks, contents.newest) == (5, clock.seconds)
    assert contents.size == sum(len(chunk_of(number)[1]) for number in range(1, 6))
    assert await store.trashed(60, 10) == []
    clock.seconds += 61
    assert await store.trashed(60, 2) == chunks[:2]
    assert await store.trashed(60, 10, chunks[1]) == chunks[2:]


async def test_what_is_brought_back_is_as_if_it_was_put_now(
    store: DiskStore, disk: SteppedDisk
) -> None:
    disk.ahead = DAY
    await store.remove(await stamps(store, CHUNK), yes)
    assert await store.restore(CHUNK)
    assert await age(store) < RENEW_SECONDS
    assert (await store.trash()).chunks == 0
    assert await store.get(CHUNK) == DATA
    assert not await store.restore(CHUNK)


async def test_what_is_bad_is_not_brought_back(store: DiskStore, tmp_path: Path) -> None:
    await store.remove(await stamps(store, CHUNK), yes)
    (tmp_path / "store" / "trash" / CHUNK.hex()).write_bytes(flipped(DATA, 1))
    assert not await store.restore(CHUNK)
    assert await store.have([CHUNK]) == [False]


async def test_what_dead_processes_left_and_old_evidence_goes(
    store: DiskStore, clock: JumpingClock, tmp_path: Path, disk: SteppedDisk
) -> None:
    token = disk.process_token(os.getpid())
    root = tmp_path / "store"
    (root / "tmp" / f"{CHUNK.hex()}.{token}.0").touch()
    (root / "tmp" / f"{CHUNK.hex()}.1-dead-1.0").touch()
    for seconds in (clock.seconds - 61, clock.seconds - 59):
        (root / "quarantine" / f"{CHUNK.hex()}.{int(seconds * 1e9)}").touch()
    (root / "quarantine" / "what an operator put there").touch()
    assert await store.clean(60) == 2
    assert names(root / "tmp") == [f"{CHUNK.hex()}.{token}.0"]
    assert len(names(root / "quarantine")) == 2


# When nothing may be removed yet: R8


class Clocks:
    """A wall clock and one that nobody sets."""

    def __init__(self) -> None:
        self.wall, self.boot = 1_700_000_000.0, 100.0

    def __call__(self) -> tuple[float, float]:
        return self.wall, self.boot

    def go(self, seconds: float, ahead: float = 0.0) -> None:
        self.boot += seconds
        self.wall += seconds + ahead


def run(quiet: Quiet, clocks: Clocks, steps: Iterable[tuple[float, float]]) -> list[float]:
    found = []
    for seconds, ahead in steps:
        clocks.go(seconds, ahead)
        found.append(quiet.left(100, 60))
    return found


def test_a_store_is_quiet_some_time_after_its_start() -> None:
    clocks = Clocks()
    quiet = Quiet(clocks)
    assert run(quiet, clocks, [(0, 0), (40, 0), (60, 0), (900, 0)]) == [100, 60, 0, 0]
    assert quiet.stretch(60) == 0


@each_row("ahead", [61, -61, DAY, -DAY])
def test_a_step_of_its_clock_begins_it_again(ahead: float) -> None:
    clocks = Clocks()
    quiet = Quiet(clocks)
    assert run(quiet, clocks, [(100, 0), (0, ahead), (40, 0), (60, 0)]) == [0, 100, 60, 0]
    assert quiet.stretch(60) == 1


def test_small_steps_are_no_step_until_they_add_up() -> None:
    clocks = Clocks()
    quiet = Quiet(clocks)
    assert run(quiet, clocks, [(100, 0), (1, 59), (1, -59), (1, 40), (1, 30)]) == [0, 0, 0, 0, 100]


async def test_the_quiet_of_a_store_is_that_of_its_disk(
    store: DiskStore, disk: SteppedDisk
) -> None:
    before = store.quiet.stretch(60)
    assert 0 < store.quiet.left(1000, 60) <= 1000
    disk.ahead = DAY
    assert store.quiet.stretch(60) == before + 1
