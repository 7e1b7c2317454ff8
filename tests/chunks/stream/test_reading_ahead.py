"""Trusted chunks that have left the page cache are read from the disk ahead of their turn."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.running import LateClock
from tests.chunks.disk.test_store import NO_RESERVE
from treescale.chunks.disk.file import FileSlice
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.format.recipe import Recipe
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import chunk_id_of
from treescale.chunks.stream.reader import BlobReader
from treescale.errors import StoreSilent

SIZE = 100_000
CHUNKS = [bytes([seed]) * SIZE for seed in range(8)]
IDS = [chunk_id_of(data) for data in CHUNKS]
RECIPE = Recipe(DEFAULT, tuple(zip(IDS, map(len, CHUNKS), strict=True)))
AHEAD = 4
"""Chunks that are read ahead: as many as the window's bytes begin."""
WINDOW_BYTES = AHEAD * SIZE - 1


class ColdDisk(Disk):
    """A disk of which the kernel has in memory what was read ahead, and nothing else."""

    def __init__(self) -> None:
        self.loaded: set[int] = set()
        """The files' inodes."""
        self.asked: list[tuple[int, int]] = []
        self.error: OSError | None = None

    def is_cached(self, fd: int, size: int, offset: int) -> bool:
        """Say whether it was read ahead."""
        return size > 0 and offset >= 0 and os.fstat(fd).st_ino in self.loaded

    def read_ahead(self, fd: int, size: int, offset: int) -> None:
        """Note it."""
        self.asked.append((offset, size))
        if self.error is not None:
            raise self.error
        self.loaded.add(os.fstat(fd).st_ino)


@pytest.fixture
def disk() -> ColdDisk:
    return ColdDisk()


@pytest.fixture
async def store(tmp_path: Path, disk: ColdDisk) -> AsyncIterator[DiskStore]:
    with ThreadPoolExecutor(4) as threads:
        store = DiskStore.create_or_open(
            tmp_path / "store", threads=threads, clock=LateClock(), disk=disk, reserve=NO_RESERVE
        )
        for chunk, data in zip(IDS, CHUNKS, strict=True):
            await store.put(chunk, data)
        yield store


def reader(store: DiskStore, first: int = 0, last: int = len(CHUNKS) * SIZE - 1) -> BlobReader:
    return BlobReader(
        store, RECIPE, first, last, window_chunks=64, window_bytes=WINDOW_BYTES, files=True
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def rest(reading: BlobReader, disk: ColdDisk) -> tuple[Sequence[bytes], Sequence[bool]]:
    """Return the pieces that are left, and of each whether it was in memory at its turn."""
    data, cached = [], []
    while (piece := await reading.next_piece()) is not None:
        assert isinstance(piece, FileSlice)
        cached.append(piece.file.is_cached(piece.start, piece.stop))
        data.append(piece.file.read(piece.start, piece.stop))
        piece.file.close()
    assert disk.asked
    return data, cached


async def test_so_many_as_the_window_has_room_for_are_read_before_the_first_is_wanted(
    store: DiskStore, disk: ColdDisk
) -> None:
    async with reader(store) as reading:
        await until(lambda: len(disk.loaded) == AHEAD)
        await asyncio.sleep(0.05)
        assert disk.asked == [(0, SIZE)] * AHEAD
        data, cached = await rest(reading, disk)
    assert data == CHUNKS
    assert cached == [True] * len(CHUNKS)
    assert len(disk.asked) == len(CHUNKS)


async def test_what_is_in_memory_is_not_read_again(store: DiskStore, disk: ColdDisk) -> None:
    async with reader(store) as reading:
        await rest(reading, disk)
    disk.asked.clear()
    async with reader(store) as reading:
        assert isinstance(await reading.next_piece(), FileSlice)
    assert disk.asked == []


async def test_only_the_part_that_is_wanted_is_read(store: DiskStore, disk: ColdDisk) -> None:
    async with reader(store, SIZE + 10, 2 * SIZE + 19) as reading:
        data, _ = await rest(reading, disk)
    assert sorted(disk.asked) == [(0, 20), (10, SIZE - 10)]
    assert data == [CHUNKS[1][10:], CHUNKS[2][:20]]


async def test_a_disk_that_cannot_is_for_the_one_who_sends(
    store: DiskStore, disk: ColdDisk
) -> None:
    disk.error = OSError(errno.EIO, "input/output error")
    async with reader(store) as reading:
        data, cached = await rest(reading, disk)
    assert data == CHUNKS
    assert cached == [False] * len(CHUNKS)


async def test_a_disk_that_hangs_is_told_of_at_its_turn(
    store: DiskStore, disk: ColdDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def apart(_: object) -> "asyncio.Future[None]":
        nonlocal calls
        calls += 1
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if calls > 1:
            answered.set_exception(StoreSilent("the disk did not answer in time"))
        else:
            answered.set_result(None)
        return answered

    monkeypatch.setattr(store, "_reading", apart)
    before = open_files(tmp_path)
    async with reader(store) as reading:
        await until(lambda: calls == AHEAD)
        first = await reading.next_piece()
        assert isinstance(first, FileSlice)
        first.file.close()
        with pytest.raises(StoreSilent):
            await reading.next_piece()
    assert open_files(tmp_path) == before
    assert disk.asked == []


async def test_whoever_leaves_leaves_no_file_open(
    store: DiskStore, disk: ColdDisk, tmp_path: Path
) -> None:
    before = open_files(tmp_path)
    async with reader(store) as reading:
        await until(lambda: len(disk.loaded) == AHEAD)
        await asyncio.sleep(0.05)
        assert open_files(tmp_path) >= before + AHEAD
        assert reading is not None
    assert open_files(tmp_path) == before


def open_files(below: Path) -> int:
    """Return how many files below a directory this process has open."""
    links = Path("/proc/self/fd").iterdir()
    return sum(link.is_symlink() and link.readlink().is_relative_to(below) for link in links)
