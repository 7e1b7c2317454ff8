"""Stores that are filled past the server: with chunks, or with names alone."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random  # noqa: TID251  seeded: the same store each time
from typing import Final

from blake3 import blake3

from bench.processes import at_once
from tests.functional.programs import run
from treescale.chunks.disk.label import create_label
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.format.split import Splitter

SEED: Final = 1
FANS: Final = 65_536
"""Directories in which chunks lie."""
BATCH_ROWS: Final = 50_000
BLOCK_BYTES: Final = 16 << 20
LENGTH: Final = 1 << 20
"""What each row of a name says, and nobody reads."""
IMAGE_BYTES_MIN: Final = 512 << 20
BYTES_OF_NAME: Final = 200
"""On the disk, with room to spare."""

BLOB: Final = "INSERT INTO blobs (blob_id, digest, size, recipe) VALUES (1, 'sha256:0', 1, x'00')"


def names_of(fan: int, count: int) -> list[bytes]:
    """Return the chunks of one directory when there are so many in all, in order."""
    here = count * (fan + 1) // FANS - count * fan // FANS
    data = Random(f"{SEED} {fan}").randbytes(30 * here)  # noqa: S311  nothing here is a secret
    return sorted(fan.to_bytes(2) + data[at : at + 30] for at in range(0, len(data), 30))


@contextmanager
def names_alone(root: Path, count: int) -> Iterator[Path]:
    """Have a store of so many names: an ext4 on which those of a directory are links to one file.

    A look that finds nothing to do lists names and opens no file, so what it meets is the same,
    with a hundredth of the inodes.
    """
    image, place = root / "names.img", root / "names"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES_MIN + (FANS * 4096) + BYTES_OF_NAME * count)
    run("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-N", str(3 * FANS), image, seconds=300)
    place.mkdir()
    run("mount", "-o", "loop,noatime", image, place)
    try:
        store = place / "store"
        create_label(store, Disk())
        halves = [range(FANS // 2), range(FANS // 2, FANS)]
        at_once([partial(_link, store / "chunks", half, count) for half in halves])
        run("sync", "-f", store, seconds=600)
        yield store
    finally:
        run("umount", place, seconds=300)


def _link(chunks: Path, fans: range, count: int) -> None:
    for fan in fans:
        first, *rest = [name.hex() for name in names_of(fan, count)] or [""]
        place = chunks / f"{fan >> 8:02x}" / f"{fan & 255:02x}"
        place.mkdir(parents=True, exist_ok=True)
        if first:
            where = os.open(place, os.O_PATH | os.O_DIRECTORY)
            os.close(os.open(first, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=where))
            for name in rest:
                os.link(first, name, src_dir_fd=where, dst_dir_fd=where)
            os.close(where)


def name_all(database: Path, count: int) -> None:
    """Have one blob name all of these chunks, in a SQLite database that has its tables."""
    names = (name for fan in range(FANS) for name in names_of(fan, count))
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO blobs (blob_id, digest, size, recipe) VALUES (1, 'sha256:0', 1, x'00')"
        )
        while batch := list(islice(names, BATCH_ROWS)):
            rows = [(name, LENGTH) for name in batch]
            connection.executemany("INSERT INTO chunks (chunk, length) VALUES (?, ?)", rows)
            pairs = [(name,) for name in batch]
            connection.executemany("INSERT INTO blob_chunks (blob_id, chunk) VALUES (1, ?)", pairs)
        connection.execute("COMMIT")


def chunks_of(store: Path, size: int) -> int:
    """Have a store of so many random bytes, cut as a blob is; return how many there are."""
    create_label(store, Disk())
    written = 0
    for block in range(-(-size // BLOCK_BYTES)):
        random = Random(f"{SEED} {block}")  # noqa: S311  nothing here is a secret
        for chunk in Splitter().cut(memoryview(random.randbytes(BLOCK_BYTES))):
            name = blake3(chunk).hexdigest()
            path = store / "chunks" / name[:2] / name[2:4] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(chunk)
            written += len(chunk)
    run("sync", "-f", store, seconds=600)
    return written
