"""Where a blob is cut into chunks: FastCDC 2020, as docs/formats.md fixes it. Pure.

The cuts depend on the bytes of the blob alone, never on how they arrived. Cutting restarts at each
cut, so what follows the last cut may be stored, read back and fed again later by another process,
and the cuts come out the same. A blob no longer than the average chunk is one chunk.

Where content says nothing (`gzip_probe`), chunks from the first cut after the probed bytes on are
all of one length.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, cast

from pyfastcdc import FastCDC

from treescale.chunks.format.gzip_probe import PROBE_BYTES
from treescale.chunks.store import CHUNK_BYTES_MAX

FIXED_BYTES: Final = 2 * 1024 * 1024
"""The length of chunks that content does not decide: half as many files to sync as of 1 MiB."""


@dataclass(frozen=True, slots=True)
class SplitParameters:
    """What decides the cuts, in bytes; kept with every recipe."""

    min_bytes: int
    average_bytes: int
    max_bytes: int
    normalization: int = 1
    seed: int = 0


DEFAULT: Final = SplitParameters(256 * 1024, 1024 * 1024, CHUNK_BYTES_MAX)


_HASHED_BYTES: Final = 64
"""The rolling hash has 64 bits and moves by one each byte: it depends on so many bytes alone."""
_AGAIN_BYTES: Final = 2 * _HASHED_BYTES
"""What a search that goes on looks at again: the library begins to hash after 64 bytes at least,
and after 64 more the hash is what it would be had it begun earlier."""


class Splitter:
    """Cuts one blob while it arrives; `start` is where in the blob the first bytes given lie.

    It keeps no bytes: what no cut ends yet is given again, with more after it.
    """

    def __init__(self, parameters: SplitParameters = DEFAULT, *, start: int = 0) -> None:
        self._parameters = parameters
        self._cutters = _cutters(parameters)
        self._seen = 0
        self.start = start
        self.is_fixed = False
        """Whether all further cuts are `FIXED_BYTES` apart, beginning at `start`."""

    def cut(self, data: memoryview, *, is_plain: bool = False) -> list[memoryview]:
        """Return the chunks at the beginning of `data` that no further bytes can change.

        `data` begins at the last cut; the next call's begins after these chunks. `is_plain` is
        what the probe says of the blob by now. Other threads run meanwhile.
        """
        if self.start == 0 and len(data) <= self._parameters.average_bytes:
            return []
        chunks: list[memoryview] = []
        while not self._fix(is_plain):
            size = self._cutters.first(data, self._seen)
            self._seen = 0
            if size == len(data):  # more bytes may change it
                self._seen = size
                return chunks
            chunks.append(data[:size])
            data = data[size:]
            self.start += size
        ends = range(FIXED_BYTES, len(data) + 1, FIXED_BYTES)
        chunks += [data[end - FIXED_BYTES : end] for end in ends]
        self.start += FIXED_BYTES * len(ends)
        return chunks

    def bytes_to_cut(self, start: int, wanted: int) -> int:
        """Return how many bytes from `start` of the blob on end at a cut: about `wanted`.

        Not fewer than are needed for one. Just `wanted` where cuts are not known before the bytes.
        """
        if not self.is_fixed:
            return wanted
        begun = (start - self.start) % FIXED_BYTES
        return max(FIXED_BYTES, (begun + wanted) // FIXED_BYTES * FIXED_BYTES) - begun

    def _fix(self, is_plain: bool) -> bool:  # noqa: FBT001  what `cut` was told
        """Say whether content decides no more from here on."""
        self.is_fixed = self.is_fixed or (is_plain and self.start >= PROBE_BYTES)
        return self.is_fixed


class _Cutters:
    """Finds where chunks end; keeps nothing, so any number of threads may share it.

    The library begins at the beginning of a chunk. A search is gone on with by two more of its
    cutters that have one mask each, the stricter for up to the average and the looser from there
    on, whatever they take for minimum, average and maximum.
    """

    def __init__(self, parameters: SplitParameters) -> None:
        self._limits = parameters
        level = parameters.normalization
        self._whole = _cutter(parameters)
        self._strict = _cutter(_one_mask(parameters.average_bytes << level, parameters))
        self._loose = _cutter(_one_mask(parameters.average_bytes >> level, parameters))

    def first(self, data: memoryview, seen: int = 0) -> int:
        """Return where the first chunk of `data` ends; its length when that has no end of one.

        Of the first `seen` bytes it is known that no chunk ends there.
        """
        average, largest = self._limits.average_bytes, self._limits.max_bytes
        seen -= seen % 2  # the library takes two bytes at a time, and leaves an odd one
        if seen < self._limits.min_bytes + _HASHED_BYTES:
            return _first(self._whole, data)
        for cutter, begin, end in (
            (self._strict, seen, min(average, len(data))),
            (self._loose, max(seen, average), min(largest, len(data))),
        ):
            if begin < end:
                part = data[begin - _AGAIN_BYTES : end]
                found = _first(cutter, part)
                if found < _AGAIN_BYTES:  # before the hash was right: once in 8,000 times
                    return _first(self._whole, data)
                if found < len(part):
                    return begin - _AGAIN_BYTES + found
        return min(largest, len(data))


def _first(cutter: FastCDC, data: memoryview) -> int:
    for found in cutter.cut_buf(data):
        return found.length
    return 0


@lru_cache(maxsize=8)
def _cutters(parameters: SplitParameters) -> _Cutters:
    return _Cutters(parameters)


def _one_mask(average: int, like: SplitParameters) -> SplitParameters:
    """Return parameters for which the mask is that of this average, wherever in a chunk."""
    largest = max(2 * average, like.max_bytes)
    return SplitParameters(_HASHED_BYTES, average, largest, normalization=0, seed=like.seed)


def _cutter(parameters: SplitParameters) -> FastCDC:
    return FastCDC(
        avg_size=parameters.average_bytes,
        min_size=parameters.min_bytes,
        max_size=parameters.max_bytes,
        normalized_chunking=cast("Literal[0, 1, 2, 3]", parameters.normalization),
        seed=parameters.seed,
    )
