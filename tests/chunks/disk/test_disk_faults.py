"""The disk store on failing disks: each call failed, or the power cut at it, in turn."""

import errno
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from pathlib import Path

import pytest

from tests.chunks.disk.test_store import NO_RESERVE, names
from tests.contracts.chunk_store import chunk_of, listed
from tests.fakes_disk import FailingDisk, JumpingClock, PowerCut, PowerCutDisk
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.errors import ChunkUnknown, Corrupt, StoreFull, StoreUnusable

Opener = Callable[[Path, Disk | None], DiskStore]
PUBLISHING = {"fsync", "rename", "fsync_directory"}
MANY = 1000
"""More calls than any operation makes."""


@pytest.fixture
def opener(threads: Executor, clock: JumpingClock) -> Opener:
    def open_store(path: Path, disk: Disk | None = None) -> DiskStore:
        return DiskStore.create_or_open(
            path, threads=threads, clock=clock, disk=disk, reserve=NO_RESERVE
        )

    return open_store


async def each_failure(
    opener: Opener, tmp_path: Path, error: int
) -> AsyncIterator[tuple[DiskStore, FailingDisk, Path]]:
    """Yield a fresh store with one chunk, its disk failing at one call more each time."""
    for at in range(MANY):
        disk = FailingDisk()
        path = tmp_path / f"at-{at}"
        store = opener(path, disk)
        await store.put(*chunk_of(0))
        disk.fail(at, error)
        yield store, disk, path
        if not disk.failed:
            assert at > 3, "the loop saw the calls it is about"
            return


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE])
async def test_a_put_that_fails_at_any_call_leaves_nothing_half_written(
    opener: Opener, tmp_path: Path, error: int
) -> None:
    chunk, data = chunk_of(1)
    async for store, disk, path in each_failure(opener, tmp_path, error):
        try:
            await store.put(chunk, data)
        except (StoreFull, StoreUnusable):
            assert disk.failed
        disk.heal()
        assert names(path / "tmp") == []
        fresh = opener(path, Disk())
        if (await fresh.have([chunk])) == [True]:
            assert await fresh.get(chunk) == data
        assert await store.get(chunk_of(0)[0]) == chunk_of(0)[1]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EMFILE])
async def test_only_a_bad_error_while_publishing_makes_the_store_suspect(
    opener: Opener, tmp_path: Path, error: int
) -> None:
    async for store, disk, _ in each_failure(opener, tmp_path, error):
        try:
            await store.put(*chunk_of(1))
        except StoreFull:
            assert error == errno.ENOSPC
        except StoreUnusable:
            assert error != errno.ENOSPC or disk.failed == ["stat"]
        failed = set(disk.failed)
        disk.heal()
        if error == errno.EIO and failed & PUBLISHING:
            for _ in range(2):
                with pytest.raises(StoreUnusable, match="restart"):
                    await store.put(*chunk_of(2))
            assert "restart" in str((await store.usage()).trouble)
            with pytest.raises(StoreUnusable):
                await store.delete(chunk_of(0)[0])
        elif error != errno.EIO:
            await store.put(*chunk_of(1))
        assert await store.get(chunk_of(0)[0]) == chunk_of(0)[1]


async def test_a_failed_fsync_is_not_tried_again(opener: Opener, tmp_path: Path) -> None:
    disk = FailingDisk(only=["fsync", "fsync_directory"])
    store = opener(tmp_path / "store", disk)
    disk.fail(0, errno.EIO, times=MANY)
    for _ in range(3):
        with pytest.raises(StoreUnusable):
            await store.put(*chunk_of(1))
    assert disk.calls == 1


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_get_that_fails_at_any_call_never_returns_wrong_bytes(
    opener: Opener, tmp_path: Path, error: int
) -> None:
    chunk, data = chunk_of(0)
    async for store, disk, path in each_failure(opener, tmp_path, error):
        at = disk.fail_at
        disk.heal()
        await store.delete(chunk)
        assert at is not None
        disk.fail(at, error)
        try:
            assert await store.get(chunk) == data
        except (StoreFull, StoreUnusable, Corrupt):
            assert disk.failed
        disk.heal()
        if names(path / "quarantine") == []:
            assert await store.get(chunk) == data


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
async def test_a_delete_that_fails_at_any_call_loses_nothing(
    opener: Opener, tmp_path: Path, error: int
) -> None:
    chunk, data = chunk_of(0)
    async for store, disk, _ in each_failure(opener, tmp_path, error):
        try:
            await store.delete(chunk)
        except (StoreFull, StoreUnusable):
            assert disk.failed
        disk.heal()
        assert await store.get(chunk) == data


async def test_a_corrupt_chunk_that_cannot_be_moved_is_still_corrupt(
    opener: Opener, tmp_path: Path
) -> None:
    disk = FailingDisk(only=["rename"])
    store = opener(tmp_path / "store", disk)
    chunk, data = chunk_of(0)
    await store.put(chunk, data)
    for file in (tmp_path / "store" / "chunks").rglob(chunk.hex()):
        file.write_bytes(b"bad")
    for error in (errno.EROFS, errno.EIO):
        disk.fail(0, error)
        with pytest.raises(Corrupt, match="could not be moved"):
            await store.get(chunk)
    with pytest.raises(Corrupt, match="stays where it is"):
        await store.get(chunk)


async def test_a_chunk_of_a_suspect_disk_is_read_from_its_trash(
    opener: Opener, tmp_path: Path
) -> None:
    disk = FailingDisk(only=["fsync"])
    store = opener(tmp_path / "store", disk)
    chunk, data = chunk_of(0)
    await store.put(chunk, data)
    await store.delete(chunk)
    disk.fail(0, errno.EIO)
    with pytest.raises(StoreUnusable):
        await store.put(*chunk_of(1))
    assert await store.get(chunk) == data
    assert names(tmp_path / "store" / "trash") == [chunk.hex()]


def test_a_store_whose_making_fails_at_any_call_can_be_made_again(
    opener: Opener, tmp_path: Path
) -> None:
    disk = FailingDisk()
    for at in range(MANY):
        path = tmp_path / f"at-{at}" / "store"
        disk.fail(at, errno.EIO)
        try:
            opener(path, disk)
        except StoreUnusable:
            assert disk.failed
        disk.heal()
        opener(path, Disk())
        if not disk.failed:
            assert at > 10
            return


async def test_a_disk_that_answers_nothing_is_unusable(opener: Opener, tmp_path: Path) -> None:
    disk = FailingDisk(only=["statvfs", "listdir", "stat"])
    store = opener(tmp_path / "store", disk)
    disk.fail(0, errno.EIO, times=MANY)
    for call in (store.usage(), listed(store), store.have([chunk_of(0)[0]])):
        with pytest.raises(StoreUnusable):
            await call


# Power cuts


async def survivors(opener: Opener, disk: PowerCutDisk, path: Path, onto: Path) -> DiskStore:
    """Return the store as it is after the power came back."""
    disk.heal()
    disk.image(path, onto)
    return opener(onto, None)


async def test_everything_acknowledged_survives_a_power_cut(opener: Opener, tmp_path: Path) -> None:
    disk = PowerCutDisk()
    store = opener(tmp_path / "store", disk)
    chunks = [chunk_of(number) for number in range(30)]
    for chunk, data in chunks:
        await store.put(chunk, data)
    after = await survivors(opener, disk, tmp_path / "store", tmp_path / "after")
    for chunk, data in chunks:
        assert await after.get(chunk) == data


@pytest.mark.parametrize("forgotten", ["fsync", "fsync_directory"])
async def test_without_a_sync_acknowledged_chunks_are_lost(
    opener: Opener, tmp_path: Path, forgotten: str
) -> None:
    """The negative control: the test above sees what it is for."""
    disk = PowerCutDisk()
    store = opener(tmp_path / "store", disk)
    disk.forgets = {forgotten}
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    after = await survivors(opener, disk, tmp_path / "store", tmp_path / "after")
    with pytest.raises((ChunkUnknown, Corrupt)):
        await after.get(chunk)


async def test_a_power_cut_at_any_call_of_a_put_leaves_the_chunk_whole_or_not_at_all(
    opener: Opener, tmp_path: Path
) -> None:
    for at in range(MANY):
        disk, path = PowerCutDisk(), tmp_path / f"at-{at}"
        store = opener(path, disk)
        await store.put(*chunk_of(0))
        disk.fail(at, PowerCut(), times=MANY)
        chunk, data = chunk_of(1)
        acknowledged = True
        try:
            await store.put(chunk, data)
        except PowerCut:
            acknowledged = False
        after = await survivors(opener, disk, path, tmp_path / f"after-{at}")
        assert await after.get(chunk_of(0)[0]) == chunk_of(0)[1]
        if acknowledged or (await after.have([chunk])) == [True]:
            assert await after.get(chunk) == data
        if acknowledged:
            assert at > 8
            return


@pytest.mark.parametrize("forgotten", [[], ["fsync_directory"]])
async def test_a_chunk_another_process_has_just_renamed_is_synced_before_it_counts(
    opener: Opener, tmp_path: Path, forgotten: list[str]
) -> None:
    disk, path = PowerCutDisk(), tmp_path / "store"
    one, other = opener(path, disk), opener(path, disk)
    chunk, data = chunk_of(1)
    await one.put(*chunk_of(0))
    renames = disk.renames
    disk.forgets = {"fsync_directory"}  # `one` is held up before it syncs its directories
    await one.put(chunk, data)
    disk.forgets = set(forgotten)
    await other.put(chunk, data)
    assert disk.renames == renames + 1, "the second put found the first one's file"
    after = await survivors(opener, disk, path, tmp_path / "after")
    if forgotten:
        with pytest.raises(ChunkUnknown):
            await after.get(chunk)
    else:
        assert await after.get(chunk) == data


@pytest.mark.parametrize("forgotten", [[], ["syncfs", "fsync_directory"]])
async def test_what_a_killed_process_left_is_synced_at_the_next_start(
    opener: Opener, tmp_path: Path, forgotten: list[str]
) -> None:
    disk, path = PowerCutDisk(), tmp_path / "store"
    store = opener(path, disk)
    disk.forgets = {"fsync", "fsync_directory"}
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    disk.forgets = set(forgotten)
    await opener(path, disk).put(chunk, data)
    after = await survivors(opener, disk, path, tmp_path / "after")
    if forgotten:
        with pytest.raises((ChunkUnknown, Corrupt)):
            await after.get(chunk)
    else:
        assert await after.get(chunk) == data
