"""Recipes: the ordered chunks that make a blob, and their binary form. Pure.

All integers are big-endian and unsigned.

    offset  bytes  meaning
    0       1      version: 1
    1       1      cutting algorithm: 1 = FastCDC 2020
    2       1      normalisation level
    3       4      smallest chunk in bytes
    7       4      average chunk in bytes
    11      4      largest chunk in bytes
    15      8      seed of the gear table
    23      4      number of parts n
    27      36·n   the parts: 32 bytes BLAKE3-256 of the chunk, 4 bytes its length (≥ 1)
    27+36n  8      the first 8 bytes of the BLAKE3-256 of everything before

The length of the whole is exactly 35 + 36·n bytes.
"""

import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Final

from blake3 import blake3

from treescale.chunks.format.split import SplitParameters
from treescale.chunks.store import CHUNK_BYTES_MAX
from treescale.errors import Corrupt

_VERSION: Final = 1
_FASTCDC_2020: Final = 1
_HEAD: Final = struct.Struct(">BBBIIIQI")
_PART: Final = struct.Struct(">32sI")
_CHECK_BYTES: Final = 8


@dataclass(frozen=True)
class Recipe:
    """The chunks (id, length) of a blob in order, and what they were cut with."""

    parameters: SplitParameters
    parts: tuple[tuple[bytes, int], ...]

    @cached_property
    def _starts(self) -> list[int]:
        """The offset at which each part starts, then the blob's size."""
        return list(accumulate((length for _, length in self.parts), initial=0))

    @cached_property
    def lengths(self) -> dict[bytes, int]:
        """The length of each distinct chunk."""
        return dict(self.parts)

    @property
    def size(self) -> int:
        """Return the blob's length in bytes."""
        return self._starts[-1]

    def locate(self, first: int, last: int) -> list[tuple[bytes, int, int]]:
        """Return the slices (chunk id, start, stop) that make the bytes `first` to `last`.

        Both ends are inclusive, as in HTTP's ranges, and clamped to the blob.
        """
        first, stop = max(first, 0), min(last + 1, self.size)
        found: list[tuple[bytes, int, int]] = []
        index = bisect_right(self._starts, first) - 1
        while first < stop:
            start = self._starts[index]
            end = min(stop, self._starts[index + 1])
            found.append((self.parts[index][0], first - start, end - start))
            first, index = end, index + 1
        return found


def encode(recipe: Recipe) -> bytes:
    """Return the binary form."""
    cut = recipe.parameters
    body = _HEAD.pack(
        _VERSION,
        _FASTCDC_2020,
        cut.normalization,
        cut.min_bytes,
        cut.average_bytes,
        cut.max_bytes,
        cut.seed,
        len(recipe.parts),
    ) + b"".join(_PART.pack(*part) for part in recipe.parts)
    return body + _check_of(body)


def decode(data: bytes) -> Recipe:
    """Return the recipe; raises Corrupt unless `encode` could have made exactly these bytes."""
    if len(data) < _HEAD.size + _CHECK_BYTES:
        raise Corrupt(f"a recipe of {len(data)} bytes is too short to be one")
    version, algorithm, level, smallest, average, largest, seed, count = _HEAD.unpack_from(data)
    if version != _VERSION or algorithm != _FASTCDC_2020:
        raise Corrupt(
            f"a recipe of version {version}, algorithm {algorithm}: this release does not know it"
        )
    body = memoryview(data)[:-_CHECK_BYTES]
    if len(body) != _HEAD.size + count * _PART.size:
        raise Corrupt(f"a recipe of {count} parts does not have {len(data)} bytes")
    if _check_of(body) != data[-_CHECK_BYTES:]:
        raise Corrupt("a recipe whose checksum is wrong")
    parts = tuple(_PART.iter_unpack(body[_HEAD.size :]))
    if not all(1 <= length <= CHUNK_BYTES_MAX for _, length in parts):
        raise Corrupt("a recipe with an empty chunk, or one longer than any chunk may be")
    return Recipe(SplitParameters(smallest, average, largest, level, seed), parts)


def _check_of(body: bytes | memoryview) -> bytes:
    return blake3(body).digest(length=_CHECK_BYTES)
