"""`python -m bench.walk.once look|read-back STORE DATABASE`: one walk, in a process of its own.

It is the product's walk on the product's store; of the cluster there is this store alone. What it
measured is printed as JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from blake3 import blake3

from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.chunks.store import CHUNK_BYTES_MAX, ChunkStore
from treescale.clock import SystemClock
from treescale.log import log_errors_only
from treescale.maintenance.pace import Pace, nobody
from treescale.maintenance.walk import Walk
from treescale.metadata.database import Database, opened

DROP_CACHES: Final = Path("/proc/sys/vm/drop_caches")
THREADS: Final = 4
HASHED_BYTES: Final = 256 << 20


class Alone:
    """A cluster of one store, which nobody else can be asked about."""

    def __init__(self, store_id: str) -> None:
        label = StoreLabel(store_id, "here", "")
        self.tables: Sequence[Table] = (build_table(Layout(1, (label,), 1)),)

    def is_up(self, store_id: str) -> bool:  # noqa: ARG002  the only one is
        """Say that it is."""
        return True

    def way_to(self, store_id: str) -> ChunkStore | None:  # noqa: ARG002  there is none
        """Know no way."""
        return None

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        """Fail: nothing is to be fetched."""
        raise NotImplementedError(chunk.hex())

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Fail: nobody is to be asked."""
        raise NotImplementedError(f"{len(chunks)} chunks")

    async def is_lost(self, chunk: bytes) -> bool:
        """Fail: nothing is lost."""
        raise NotImplementedError(chunk.hex())


Figures = dict[str, float]


async def look(walk: Walk) -> Figures:
    """Look at all partitions once; nothing is to be done for any."""
    walk.progress.begin_cycle(SystemClock().now())
    began, used = time.perf_counter(), time.process_time()
    while walk.progress.pending or not walk.progress.layout:
        await walk.turn()
    taken = time.perf_counter() - began
    if not walk.progress.is_whole:
        raise RuntimeError(f"{walk.progress.missing} missing, {walk.progress.misplaced} misplaced")
    return {"seconds": taken, "cpu": time.process_time() - used, "peak_mb": _peak_mb()}


async def read_back(walk: Walk, store: DiskStore) -> Figures:
    """Read back all there is; then only read, and only hash, on the same core."""
    partitions = await walk.partitions_here()
    with _cold():
        began, size = time.perf_counter(), 0
        for number in sorted(partitions):
            async for chunk, length in walk.read_back(number, _at_once):
                if length is None:
                    raise RuntimeError(f"{chunk.hex()} is rotten")
                size += length
        seconds = time.perf_counter() - began
    peak = _peak_mb()  # of the walk; what is hashed alone is held in memory
    paths = [path for path in (store.root / "chunks").rglob("*") if path.is_file()]
    return {
        "read_back": size / seconds,
        "disk": _read_only(paths),
        "blake3": _hash_only(paths),
        "peak_mb": peak,
    }


def _read_only(paths: Sequence[Path]) -> float:
    disk, size = Disk(), 0
    with _cold():
        began = time.perf_counter()
        for path in paths:
            size += len(disk.read_past_cache(path, CHUNK_BYTES_MAX + 1))
        return size / (time.perf_counter() - began)


def _hash_only(paths: Sequence[Path]) -> float:
    chunks: list[bytes] = []
    for path in paths:
        if sum(map(len, chunks)) < HASHED_BYTES:
            chunks.append(path.read_bytes())
    began = time.perf_counter()
    for chunk in chunks:
        blake3(chunk).digest()
    return sum(map(len, chunks)) / (time.perf_counter() - began)


async def _at_once(_: int) -> None:
    """Wait for nothing."""


@contextmanager
def _cold() -> Iterator[None]:
    """Have nothing of any disk in the kernel's memory at first."""
    os.sync()
    DROP_CACHES.write_text("3")
    yield


def _peak_mb() -> float:
    """Return the most memory this process has held."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


async def _walk(root: Path, url: str, work: Callable[[Walk, DiskStore], Awaitable[Figures]]) -> str:
    clock = SystemClock()
    with ThreadPoolExecutor(THREADS) as threads:
        async with opened(url) as database:
            store = DiskStore.create_or_open(root, threads=threads, clock=clock)
            return json.dumps(await work(_new_walk(store, database, clock), store))


def _new_walk(store: DiskStore, database: Database, clock: SystemClock) -> Walk:
    pace = Pace(clock, nobody)
    return Walk(store.store_id, store, Alone(store.store_id), database, pace, clock=clock)


async def _look(walk: Walk, _: DiskStore) -> Figures:
    with _cold():
        return await look(walk)


def main(what: str, root: str, url: str) -> None:
    """Do it, and print what was measured; reading back has one core."""
    log_errors_only()
    if what == "read-back":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    work = {"look": _look, "read-back": read_back}[what]
    sys.stdout.write(asyncio.run(_walk(Path(root), url, work)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
