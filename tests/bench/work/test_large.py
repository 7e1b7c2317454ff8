"""Files that are dropped from the page cache come from the disk again."""

import mmap
import os
from pathlib import Path

from bench.work.large import drop, free_bytes

PAGES = 1000


def read_at(path: Path) -> int:
    """Return the bytes that reading the file takes from its disk, by what /proc has counted."""
    before = _read_bytes()
    path.read_bytes()
    return _read_bytes() - before


def _read_bytes() -> int:
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"])


def test_a_dropped_file_is_read_from_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "layer"
    path.parent.mkdir()
    path.write_bytes(os.urandom(PAGES * mmap.PAGESIZE))
    drop(tmp_path)
    cold, warm = read_at(path), read_at(path)
    assert warm == 0
    assert cold >= PAGES * mmap.PAGESIZE or on_memory(tmp_path)


def on_memory(path: Path) -> bool:
    """Say whether the file system has no disk, so that nothing can be dropped."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    place, kind = max((m for m in mounts if path.is_relative_to(m[0])), key=lambda m: len(m[0]))
    return kind in {"tmpfs", "ramfs"} and place != "/"


def test_free_memory_is_told_in_bytes() -> None:
    assert 1 << 20 < free_bytes() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
