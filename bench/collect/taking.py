"""What it costs to take chunks away: CPU and syncs per 1,000 that are trashed, and then purged.

The chunks are small files on the disk of the machine, an eighth of them named, the others put two
days ago and in no row. Their bytes do not matter: none is read.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random  # noqa: TID251  seeded: the same store each time
from typing import Final

from blake3 import blake3

from bench.collect.stores import CountingDisk, collector_of, cycle, migrated
from bench.rows import Effort, Row, at_most
from tests.functional.programs import run
from treescale.chunks.disk.label import create_label
from treescale.log import log_errors_only
from treescale.maintenance.collector import Collector, Cycle
from treescale.metadata.database import opened

CHUNKS: Final = 8000
CHUNK_BYTES: Final = 4096
OLD_SECONDS: Final = 2 * 86_400.0
SYNCS_MAX: Final = 4.0
"""Of directories, for 1,000 chunks: two batches, and at most two for each directory and batch."""

Figures = dict[str, float]


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure the two cycles: the first trashes, the second purges."""
    log_errors_only()
    trashed: list[Figures] = []
    purged: list[Figures] = []
    for number in range(effort.rounds):
        for figures, kept in zip(_measured(root, number, effort), (trashed, purged), strict=True):
            kept.append(figures)
    return [*_rows("trashed", trashed), *_rows("purged", purged)]


def _rows(what: str, found: list[Figures]) -> list[Row]:
    return [
        Row(f"1,000 chunks {what}: CPU", "ms", None, [each["cpu"] * 1000 for each in found]),
        Row("… time", "ms", None, [each["seconds"] * 1000 for each in found]),
        Row(
            "… syncs of directories",
            "",
            at_most(SYNCS_MAX),
            [each["directories"] for each in found],
            digits=1,
        ),
        Row("… syncs of files", "", at_most(0), [each["files"] for each in found]),
    ]


def _measured(root: Path, number: int, effort: Effort) -> tuple[Figures, Figures]:
    place = root / f"round{number}"
    place.mkdir()
    url = migrated(f"sqlite:///{place / 'treescale.db'}")
    count = _filled(place / "store", effort.of(CHUNKS))
    return asyncio.run(_both(place / "store", url, count))


def _filled(store: Path, count: int) -> int:
    """Write so many chunks that nobody names."""
    create_label(store, CountingDisk())
    then = time.time() - OLD_SECONDS  # noqa: TID251  a file's
    for number in range(count):
        data = Random(number).randbytes(CHUNK_BYTES)  # noqa: S311  nothing here is a secret
        name = blake3(data).hexdigest()
        path = store / "chunks" / name[:2] / name[2:4] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (then, then))
    run("sync", "-f", store, seconds=600)
    return count


async def _both(store: Path, url: str, count: int) -> tuple[Figures, Figures]:
    disk = CountingDisk()
    async with opened(url) as database, collector_of(store, database, disk) as collector:
        trashed = await _counted(disk, collector, count, lambda done: len(done.gone))
        then = time.time() - OLD_SECONDS  # noqa: TID251  a file's
        for path in (store / "trash").iterdir():
            os.utime(path, (then, then))
        purged = await _counted(disk, collector, count, lambda done: done.dropped)
    return trashed, purged


async def _counted(
    disk: CountingDisk, collector: Collector, count: int, taken: Callable[[Cycle], int]
) -> Figures:
    disk.calls.clear()
    began, used = time.perf_counter(), time.process_time()
    work: Awaitable[Cycle] = cycle(collector)
    done = await work
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    if taken(done) != count:
        raise RuntimeError(f"{taken(done)} of {count} chunks were taken: {done.pause}")
    thousand = 1000 / count
    return {
        "seconds": seconds * thousand,
        "cpu": cpu * thousand,
        "directories": disk.calls["fsync_directory"] * thousand,
        "files": float(disk.calls["fsync"] + disk.calls["syncfs"]),
    }
