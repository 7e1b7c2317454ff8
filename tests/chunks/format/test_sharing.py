"""What two layers share of which little differs, for the ways in which layers are compressed.

The table of docs/performance.md is made of this; here are its rows, and that cutting a plain gzip
stream evenly takes nothing away that cutting by content had found.
"""

import gzip
import subprocess
import zlib
from collections.abc import Callable, Iterator

import pytest
from blake3 import blake3

from treescale.chunks.format.gzip_probe import GzipProbe
from treescale.chunks.format.split import Splitter
from treescale.chunks.store import chunk_id_of

BYTES = 20 * 2**20
FILE_BYTES = 100_000


def letters(size: int, seed: bytes) -> bytes:
    """Return noise of which a compressor leaves three quarters."""
    return blake3(seed).digest(length=size).translate(bytes(range(64)) * 4)


BEFORE = letters(BYTES, b"layer")
AT = BYTES // 9
INSERTED = BEFORE[:AT] + letters(1000, b"inserted") + BEFORE[AT:]
"""What follows lies elsewhere than before."""
REPLACED = BEFORE[:AT] + letters(FILE_BYTES, b"replaced") + BEFORE[AT + FILE_BYTES :]
"""What follows lies where it was."""


def plain(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def rsyncable(data: bytes) -> bytes:
    done = subprocess.run(["gzip", "-1n", "--rsyncable"], input=data, stdout=-1, check=True)
    return done.stdout


def in_blocks(data: bytes) -> bytes:
    """Compress as pigz and pgzip do: each block begins on a whole byte."""
    squeeze = zlib.compressobj(1, zlib.DEFLATED, 31)
    blocks = (data[at : at + 2**17] for at in range(0, len(data), 2**17))
    return (
        b"".join(squeeze.compress(block) + squeeze.flush(zlib.Z_SYNC_FLUSH) for block in blocks)
        + squeeze.flush()
    )


def files(data: bytes) -> Iterator[bytes]:
    """Yield pieces that end where content says: as files do, wherever they lie."""
    begin = 0
    while begin < len(data):
        end = data.find(b"\x00\x01\x02", begin + FILE_BYTES)
        yield data[begin : end if end > 0 else len(data)]
        begin = end if end > 0 else len(data)


def estargz(data: bytes) -> bytes:
    """Compress each file by itself."""
    return b"".join(map(plain, files(data)))


def chunks_of(data: bytes, *, by_content: bool) -> dict[bytes, int]:
    probe, splitter = GzipProbe(), Splitter()
    probe.feed(data)
    chunks = splitter.cut(memoryview(data), is_plain=probe.is_plain and not by_content)
    chunks.append(memoryview(data)[splitter.start :])
    return {chunk_id_of(chunk): len(chunk) for chunk in chunks}


def shared(before: bytes, after: bytes, *, by_content: bool = False) -> float:
    """Return how much of the bytes after are in chunks that were there before."""
    known, needed = (chunks_of(data, by_content=by_content) for data in (before, after))
    return sum(size for chunk, size in needed.items() if chunk in known) / len(after)


@pytest.mark.long
@pytest.mark.parametrize(
    ("pack", "inserted", "replaced"),
    [
        (bytes, 0.85, 0.85),
        (rsyncable, 0.80, 0.80),
        (in_blocks, 0.0, 0.80),
        (estargz, 0.80, 0.80),
        (plain, 0.0, 0.0),
    ],
)
def test_what_is_shared(pack: Callable[[bytes], bytes], inserted: float, replaced: float) -> None:
    before = pack(BEFORE)
    assert len(before) > 14 * 2**20, "most of it lies after the probed bytes"
    for changed, least in ((INSERTED, inserted), (REPLACED, replaced)):
        after = pack(changed)
        share = shared(before, after)
        by_content = shared(before, after, by_content=True)
        assert least <= share <= least + 0.2, f"{share:.1%} of {pack.__name__}"
        assert share >= by_content - 0.06


def test_what_comes_before_the_first_difference_is_shared() -> None:
    before, after = plain(BEFORE), plain(BEFORE[: BYTES // 2] + b"x" + BEFORE[BYTES // 2 :])
    assert shared(before, after) > 0.3
