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


class Splitter:
    """Cuts one blob while it arrives; `start` is where in the blob the first bytes given lie.

    It keeps no bytes: what no cut ends yet is given again, with more after it.
    """

    def __init__(self, parameters: SplitParameters = DEFAULT, *, start: int = 0) -> None:
        self._parameters = parameters
        self.start = start
        self.is_fixed = False
        """Whether all further cuts are `FIXED_BYTES` apart, beginning at `start`."""

    def cut(self, data: memoryview, *, is_plain: bool = False) -> list[memoryview]:
        """Return the chunks at the beginning of `data` that no further bytes can change.

        `data` begins at the last cut; the next call's begins after these chunks. `is_plain` is
        what the probe says of the blob by now. Give some MiB at once: every call looks again at
        the bytes since the last cut. Other threads run meanwhile.
        """
        if self.start == 0 and len(data) <= self._parameters.average_bytes:
            return []
        chunks: list[memoryview] = []
        self._fix(is_plain)
        if not self.is_fixed:
            for found in _cutter(self._parameters).cut_buf(data):
                if found.offset + found.length == len(data):
                    break  # more bytes may change it
                chunks.append(found.data)
                self.start += found.length
                if self._fix(is_plain):
                    break
        if self.is_fixed:
            begin = sum(map(len, chunks))
            ends = range(begin + FIXED_BYTES, len(data) + 1, FIXED_BYTES)
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


@lru_cache(maxsize=8)
def _cutter(parameters: SplitParameters) -> FastCDC:
    """Return the cutter; it holds only its parameters, so any number of threads may share it."""
    return FastCDC(
        avg_size=parameters.average_bytes,
        min_size=parameters.min_bytes,
        max_size=parameters.max_bytes,
        normalized_chunking=cast("Literal[0, 1, 2, 3]", parameters.normalization),
        seed=parameters.seed,
    )
