"""Bytes that have changed on the disk while the kernel's memory still has the right ones.

The disk is a file behind a loop device: what is changed in that file the file system does not see.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.places import MIB, Mounts, make_ext4
from tests.images import noise
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.store import chunk_id_of
from treescale.clock import SystemClock
from treescale.errors import ChunkUnknown, Corrupt

DATA = noise(MIB)
CHUNK = chunk_id_of(DATA)


def opened(root: Path, threads: ThreadPoolExecutor) -> DiskStore:
    return DiskStore.create_or_open(
        root, threads=threads, clock=SystemClock(), reserve=Reserve(0.0, 0, 0)
    )


def file_of(store: DiskStore) -> Path:
    name = CHUNK.hex()
    return store.root / "chunks" / name[:2] / name[2:4] / name


def is_cached(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        return Disk().is_cached(fd, len(DATA), 0)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)


def forget(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    Disk().uncache(fd)
    os.close(fd)


def flip(image: Path, path: Path) -> None:
    """Change a byte of the file on its disk, behind the file system's back."""
    os.sync()
    with image.open("r+b") as disk:
        at = disk.read().index(DATA[:4096]) + 1234
        disk.seek(at)
        disk.write(bytes([DATA[1234] ^ 1]))
    assert path.read_bytes() == DATA, "the kernel's memory has the right ones"


@pytest.fixture
def image(mounts: Mounts) -> Path:
    return make_ext4(mounts.memory("memory", 64 * MIB) / "disk.img", 32 * MIB)


def test_it_is_found_quarantined_and_nothing_else_happens(image: Path, mounts: Mounts) -> None:
    root = mounts.ext4(image, "disk") / "store"
    with ThreadPoolExecutor(1) as threads:

        async def main() -> None:
            store = opened(root, threads)
            await store.put(CHUNK, DATA)
            path = file_of(store)
            flip(image, path)
            await store.verify(CHUNK)  # the control: what reads as usual finds nothing
            with pytest.raises(Corrupt, match="quarantine"):
                await store.read_back(CHUNK)
            assert await store.have([CHUNK]) == [False]
            with pytest.raises(ChunkUnknown):
                await store.read_back(CHUNK)
            await store.put(CHUNK, DATA)
            assert await store.read_back(CHUNK) == len(DATA)

        asyncio.run(main())


@pytest.mark.parametrize("cached", [True, False])
def test_what_is_in_memory_stays_and_nothing_else_comes(
    image: Path, mounts: Mounts, *, cached: bool
) -> None:
    root = mounts.ext4(image, "disk") / "store"
    with ThreadPoolExecutor(1) as threads:

        async def main() -> None:
            store = opened(root, threads)
            await store.put(CHUNK, DATA)
            path = file_of(store)
            forget(path)
            if cached:
                path.read_bytes()
            assert is_cached(path) == cached
            assert await store.read_back(CHUNK) == len(DATA)
            assert is_cached(path) == cached
            await store.verify(CHUNK)  # the control
            assert is_cached(path)

        asyncio.run(main())


def test_a_file_system_in_memory_can_be_read_back(mounts: Mounts) -> None:
    root = mounts.memory("memory", 16 * MIB) / "store"
    with ThreadPoolExecutor(1) as threads:

        async def main() -> None:
            store = opened(root, threads)
            await store.put(CHUNK, DATA)
            assert await store.read_back(CHUNK) == len(DATA)
            file_of(store).write_bytes(b"bad")
            with pytest.raises(Corrupt):
                await store.read_back(CHUNK)

        asyncio.run(main())
