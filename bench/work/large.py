"""A pull of a layer that no cache has, as of one larger than memory: it comes from the disk.

`--large-gigabytes` makes it larger than half of the memory that is free: then no cache can hold it,
whatever is done; it takes as long as that takes, and as much of the disk for each registry. A
smaller one (the default) is dropped from the page cache before each pull: the files of the registry
alone, so nothing else on the machine is slower for it.
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.registries import NAMED
from bench.rounds import side_by_side
from bench.rows import Effort, Row, at_least
from bench.wire import Target, pull, token_for
from bench.work.stamped import BLOCK_BYTES, push_stamped

MEMORY: Final = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class Uncached:
    """A layer on each registry, whose directories lie in `place`."""

    work: str
    place: Path
    digest: str
    size: int

    def pull(self, target: Target, _: int) -> Mapping[str, float]:
        """Pull it by one client, once its files are in no cache."""
        drop(self.place / target.name)
        token = token_for(target)
        began = time.perf_counter()
        pull(target, token, self.digest, self.size)
        return {self.work: self.size / (time.perf_counter() - began) / 1e6}


def measure(root: Path, effort: Effort) -> list[Row]:
    """Measure MB/s."""
    size, seed = effort.large_bytes, os.urandom(BLOCK_BYTES)
    how = "more than half of free memory" if size > free_bytes() / 2 else "not in the page cache"
    work = f"pull a layer of {size / 1e9:g} GB, {how}"
    with side_by_side(root, "large", effort) as targets:
        (digest,) = {push_stamped(one, token_for(one), size, seed) for one in targets.all}
        uncached = Uncached(work, root / "large", digest, size)
        figures = targets.measure(effort.rounds, [uncached.pull])
    return [figures.row(work, "MB/s", at_least(1.0, NAMED))]


def drop(directory: Path) -> None:
    """Drop every file below the directory from the page cache, written back first."""
    for path in [path for path in directory.rglob("*") if path.is_file()]:
        # what is gone by now takes no room in it either
        with suppress(FileNotFoundError), path.open("rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def free_bytes() -> int:
    """Return the memory that could be had without swapping."""
    lines = dict(line.split(":") for line in MEMORY.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024
