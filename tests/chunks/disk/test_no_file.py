"""What lies under a chunk's name and is no file that can be read: a bad copy, and nothing more."""

import asyncio
import errno
import os
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import pytest

from tests.chunks.disk.test_store import NO_RESERVE, file_of, names
from tests.contracts.chunk_store import chunk_of
from tests.fakes_disk import FailingDisk, JumpingClock
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.errors import ChunkUnknown, Corrupt


def directory(path: Path) -> None:
    path.mkdir()


def full_directory(path: Path) -> None:
    path.mkdir()
    (path / "something").write_bytes(b"in it")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def elsewhere(path: Path) -> None:
    target = path.parent.parent.parent.parent / "target"
    target.write_bytes(chunk_of(1)[1])
    path.symlink_to(target)


def listening(path: Path) -> None:
    at = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{at}/{path.name[:60]}")
    os.close(at)
    (path.parent / path.name[:60]).rename(path)


KINDS = [directory, full_directory, pipe, loop, dangling, elsewhere, listening]
Making = Callable[[Path], None]


@pytest.fixture
def opener(tmp_path: Path, threads: Executor, clock: JumpingClock) -> Callable[..., DiskStore]:
    def open_store(disk: Disk | None = None) -> DiskStore:
        return DiskStore.create_or_open(
            tmp_path / "store", threads=threads, clock=clock, disk=disk, reserve=NO_RESERVE
        )

    return open_store


@pytest.mark.parametrize("make", KINDS)
async def test_it_is_a_bad_copy_that_a_good_one_replaces(
    opener: Callable[..., DiskStore], tmp_path: Path, clock: JumpingClock, make: Making
) -> None:
    chunk, data = chunk_of(1)
    for read in ("get", "open_verified", "verify"):
        clock.seconds += 1
        store = opener()
        await store.put(chunk, data)
        path = file_of(tmp_path, chunk)
        path.unlink()
        make(path)
        assert store.open_if_verified(chunk) is None
        assert await store.have([chunk]) == [False]
        async with asyncio.timeout(20):
            with pytest.raises(Corrupt, match="quarantine"):
                await getattr(store, read)(chunk)
        with pytest.raises(ChunkUnknown):
            await store.get(chunk)
        await store.put(chunk, data)
        assert await store.get(chunk) == data
    assert len(names(tmp_path / "store" / "quarantine")) == 3


@pytest.mark.parametrize("make", KINDS)
async def test_a_put_over_it_works(
    opener: Callable[..., DiskStore], tmp_path: Path, make: Making
) -> None:
    chunk, data = chunk_of(1)
    path = file_of(tmp_path, chunk)
    opener()
    path.parent.mkdir(parents=True)
    make(path)
    store = opener()
    async with asyncio.timeout(20):
        await store.put(chunk, data)
    assert await store.get(chunk) == data


@pytest.mark.parametrize("make", KINDS)
async def test_in_the_trash_it_is_one_too(
    opener: Callable[..., DiskStore], tmp_path: Path, make: Making
) -> None:
    chunk, _ = chunk_of(1)
    store = opener()
    make(tmp_path / "store" / "trash" / chunk.hex())
    async with asyncio.timeout(20):
        with pytest.raises(Corrupt):
            await store.get(chunk)


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE])
async def test_a_file_that_cannot_be_opened_is_a_bad_copy(
    opener: Callable[..., DiskStore], error: int
) -> None:
    disk = FailingDisk(only=["open"])
    store = opener(disk)
    chunk, data = chunk_of(1)
    await store.put(chunk, data)
    disk.fail(0, error)
    with pytest.raises(Corrupt, match="cannot be opened"):
        await store.get(chunk)
    await store.put(chunk, data)
    assert await store.get(chunk) == data


async def test_what_lies_in_the_place_of_a_directory_is_put_aside(
    opener: Callable[..., DiskStore], tmp_path: Path
) -> None:
    chunk, data = chunk_of(1)
    for depth in (1, 0):
        store = opener()
        place = file_of(tmp_path, chunk).parents[depth]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"not a directory")
        with pytest.raises(ChunkUnknown):
            await store.get(chunk)
        assert await store.have([chunk]) == [False]
        await store.put(chunk, data)
        assert await store.get(chunk) == data
        shutil.rmtree(place)


async def test_what_is_no_file_in_tmp_stays_and_does_no_harm(
    opener: Callable[..., DiskStore], tmp_path: Path
) -> None:
    store = opener()
    (tmp_path / "store" / "tmp" / "directory").mkdir()
    assert await store.clean_tmp() == 0


async def test_a_pipe_in_place_of_the_label_does_not_hang(
    opener: Callable[..., DiskStore], tmp_path: Path
) -> None:
    opener()
    label = tmp_path / "store" / "store.json"
    label.unlink()
    os.mkfifo(label)
    with pytest.raises(Exception, match=r"store\.json"):
        opener()
