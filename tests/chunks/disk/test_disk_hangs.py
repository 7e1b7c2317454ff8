"""A disk that hangs: whoever waits for it is told in time, others know, and it is taken back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.chunks.disk.test_store import NO_RESERVE, file_of
from tests.contracts.chunk_store import chunk_of
from tests.fakes_disk import HangingDisk, JumpingClock
from treescale.chunks.disk import silence
from treescale.chunks.disk import store as disk_module
from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.disk.silence import CALL_SECONDS_MAX, IDLE_SECONDS_MAX, SILENT_SECONDS, Kind
from treescale.chunks.disk.store import DiskStore, SharedDisk
from treescale.chunks.disk.threads import Lanes
from treescale.errors import StoreSilent, StoreUnusable

READS = SILENT_SECONDS[Kind.READ]
WRITES = SILENT_SECONDS[Kind.WRITE]
WRITING = ("mkdir", "write", "fallocate", "fsync", "rename", "fsync_directory", "unlink", "touch")
"""What hangs on a frozen file system; `open` does when it makes a file."""


@pytest.fixture(autouse=True)
def _looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_module, "LOOK_SECONDS", 0.002)
    monkeypatch.setattr(silence, "STANDSTILL_SECONDS_MIN", 3600.0)  # the clock jumps here


@pytest.fixture
def hanging() -> Iterator[HangingDisk]:
    disk = HangingDisk()
    yield disk
    disk.thaw()


@pytest.fixture
def shared() -> SharedDisk:
    return SharedDisk()


@pytest.fixture
async def opener(
    tmp_path: Path, clock: JumpingClock, hanging: HangingDisk, shared: SharedDisk
) -> AsyncIterator[Callable[[], DiskStore]]:
    """Return what opens the store as each worker of a server does."""
    opened = []

    def open_store() -> DiskStore:
        store = DiskStore.create_or_open(
            tmp_path / "store",
            threads=Lanes.among(1),
            clock=clock,
            disk=hanging,
            reserve=NO_RESERVE,
            trust=shared.trust,
            state=shared.state,
        )
        opened.append(store)
        return store

    yield open_store
    hanging.thaw()
    for store in opened:
        store.close()


async def silent(asked: Awaitable[object]) -> str:
    """Return why there is no answer; it is an error when there is one."""
    with pytest.raises(StoreSilent) as caught:
        async with asyncio.timeout(20):
            await asked
    return str(caught.value)


async def hung(
    asked: Awaitable[object], hanging: HangingDisk, clock: JumpingClock, seconds: float
) -> str:
    """Let so many seconds pass once the call hangs; return why it was given up."""
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(silent(asked))
        await asyncio.to_thread(hanging.hung.wait)
        clock.seconds += seconds
    return waiting.result()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  a thread brings it about
            await asyncio.sleep(0.002)


async def test_whoever_waits_too_long_is_told_and_all_workers_pass_the_disk_over(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock
) -> None:
    one, other = opener(), opener()
    chunk, data = chunk_of(1)
    await one.put(chunk, data)
    hanging.freeze(*WRITING)
    assert "does not answer writes" in await hung(one.put(*chunk_of(2)), hanging, clock, WRITES)
    for store in (one, other):
        assert not store.is_well
        assert "does not answer writes" in store.trouble
        with pytest.raises(StoreSilent):
            await store.put(*chunk_of(3))
        with pytest.raises(StoreSilent):
            await store.check_space(1)
        with pytest.raises(StoreSilent):
            await store.delete(chunk)
        assert await store.get(chunk) == data, "a frozen file system is read"


async def test_a_disk_that_answers_nothing_is_silent_to_reads_too(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock
) -> None:
    store = opener()
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    usage = await store.usage()
    hanging.freeze()
    asked = (store.get(chunk), store.have([chunk]), store.verify(chunk), anext(store.list()))
    together = asyncio.gather(*map(silent, asked))
    await asyncio.to_thread(hanging.hung.wait)
    clock.seconds += READS
    assert all("does not answer reads" in why for why in await together)
    told = await store.usage()
    assert (told.bytes_total, "reads" in (told.trouble or "")) == (usage.bytes_total, True)


async def test_it_is_probed_and_taken_back_once_it_answers(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock
) -> None:
    one, other = opener(), opener()
    hanging.freeze(*WRITING)
    await hung(one.put(*chunk_of(2)), hanging, clock, WRITES)
    for _ in range(5):  # a probe that hangs is one, however often anybody looks
        clock.seconds += 10
        one.look()
        other.look()
    assert not one.is_well
    hanging.thaw()
    await until(lambda: one.is_well and other.is_well)
    await other.put(*chunk_of(3))
    assert one.trouble == other.trouble == ""


async def test_a_disk_that_nobody_writes_to_is_found_to_hang(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock
) -> None:
    store = opener()
    await store.put(*chunk_of(1))
    hanging.freeze("fsync")
    store.look()
    assert not hanging.hung.is_set(), "it was written to just now"
    clock.seconds += IDLE_SECONDS_MAX
    store.look()
    await asyncio.to_thread(hanging.hung.wait)
    clock.seconds += WRITES
    await until(lambda: not store.is_well)
    hanging.thaw()
    await until(lambda: store.is_well)


async def test_a_slow_disk_is_not_silent_and_one_call_is_given_up_at_last(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock
) -> None:
    store = opener()
    await store.put(*chunk_of(0))
    hanging.freeze("fallocate")
    async with asyncio.TaskGroup() as group:
        put = group.create_task(silent(store.put(*chunk_of(1))))
        await asyncio.to_thread(hanging.hung.wait)
        begun = clock.seconds
        while clock.seconds + 6 < begun + CALL_SECONDS_MAX:
            clock.seconds += 6
            await store.put(*chunk_of(0))  # is there: only read
        assert store.is_well
        clock.seconds += 6
        store.state.answered(Kind.WRITE, clock.seconds)
    assert "in time" in put.result()
    assert store.is_well


async def test_a_disk_is_not_blamed_for_the_time_in_which_the_process_stood_still(
    opener: Callable[[], DiskStore],
    hanging: HangingDisk,
    clock: JumpingClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGSTOP and SIGCONT, or a machine that was moved: the disk had no chance to answer."""
    monkeypatch.setattr(silence, "STANDSTILL_SECONDS_MIN", 2.0)
    store = opener()
    hanging.freeze("fallocate")
    async with asyncio.TaskGroup() as group:
        put = group.create_task(store.put(*chunk_of(1)))
        await asyncio.to_thread(hanging.hung.wait)
        for _ in range(5):
            clock.seconds += CALL_SECONDS_MAX
            await asyncio.sleep(0.02)
            assert store.is_well
            assert not put.done()
        hanging.thaw()
    assert put.done()


async def test_other_disks_have_threads_of_their_own(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock, tmp_path: Path
) -> None:
    sick = opener()
    well = DiskStore.create_or_open(
        tmp_path / "well", threads=Lanes.among(1), clock=clock, reserve=NO_RESERVE
    )
    hanging.freeze()
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(sick.put(*chunk_of(number))) for number in range(100)]
        for number in range(100):
            await well.put(*chunk_of(number))
            await well.get(chunk_of(number)[0])
        hanging.thaw()
        await asyncio.wait(asked)
    well.close()


async def test_a_cold_file_is_sent_by_the_disks_own_threads_for_a_bounded_time(
    opener: Callable[[], DiskStore], hanging: HangingDisk, clock: JumpingClock
) -> None:
    store = opener()
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    clock.seconds += 1
    file = await store.open_verified(chunk)
    assert isinstance(file, ChunkFile)
    assert await file.read_apart(0, len(data)) == data
    hanging.freeze("pread")
    await hung(file.read_apart(0, 10), hanging, clock, READS)
    file.close()
    assert file.is_cached(0, 1) is False, "it is closed, though a thread still reads"


async def test_a_store_is_opened_once_its_disk_is_there(
    opener: Callable[[], DiskStore], tmp_path: Path, clock: JumpingClock
) -> None:
    chunk, data = chunk_of(1)
    made = opener()
    await made.put(chunk, data)
    root, away = tmp_path / "store", tmp_path / "away"
    root.rename(away)
    root.mkdir()
    store = DiskStore.later(
        root, made.store_id, threads=Lanes.among(1), clock=clock, shared=SharedDisk()
    )
    with pytest.raises(StoreUnusable, match="mounted"):
        await store.open(20)
    assert store.trouble
    assert store.unwritable == "a disk is away"
    assert store.open_if_verified(chunk) is None
    with pytest.raises(StoreUnusable, match="mounted"):
        await store.get(chunk)
    assert list(root.iterdir()) == [], "nothing is made at a mount point"
    root.rmdir()
    away.rename(root)
    clock.seconds += disk_module.OPEN_PAUSE_SECONDS
    store.look()
    await until(lambda: store.is_well)
    assert await store.get(chunk) == data
    store.close()


async def test_another_store_in_its_place_is_not_taken(tmp_path: Path, clock: JumpingClock) -> None:
    root = tmp_path / "store"
    DiskStore.create_or_open(root, threads=Lanes.among(1), clock=clock).close()
    store = DiskStore.later(
        root, "another", threads=Lanes.among(1), clock=clock, shared=SharedDisk()
    )
    with pytest.raises(StoreUnusable, match="not another"):
        await store.open(20)
    store.close()


async def test_a_disk_that_hangs_at_the_start_is_not_waited_for(
    opener: Callable[[], DiskStore], hanging: HangingDisk, tmp_path: Path, clock: JumpingClock
) -> None:
    made = opener()
    hanging.freeze()
    store = DiskStore.later(
        tmp_path / "store",
        made.store_id,
        threads=Lanes.among(1),
        clock=clock,
        shared=SharedDisk(),
        disk=hanging,
    )
    with pytest.raises(StoreUnusable, match="does not answer"):
        await store.open(0.01)
    store.look()
    hanging.thaw()
    await until(lambda: store.is_well)
    store.close()


async def test_a_failed_sync_ends_writing_in_all_workers(
    opener: Callable[[], DiskStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N5."""
    one, other = opener(), opener()
    await other.put(*chunk_of(1))

    def failing(_fd: int) -> None:
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", failing)
        with pytest.raises(StoreUnusable):
            await one.put(*chunk_of(2))
    with pytest.raises(StoreUnusable, match="writing to it has ended"):
        await other.put(*chunk_of(2))
    assert await other.get(chunk_of(1)[0])
    assert not file_of(tmp_path, chunk_of(2)[0]).exists()
