"""Where a blob is cut into chunks: FastCDC 2020, as docs/formats.md fixes it. Pure.

The cuts depend on the bytes of the blob alone, never on how they arrived. Cutting restarts at each
cut, so what follows the last cut may be stored, read back and fed again later by another process,
and the cuts come out the same. A blob no longer than the average chunk is one chunk.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, cast

from pyfastcdc import FastCDC

from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes


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
    """Cuts one blob while it arrives.

    Feed batches of some MiB: every call looks again at the bytes since the last cut. `at_start`
    is False when the first bytes fed follow a cut of the blob instead of beginning it.
    """

    def __init__(self, parameters: SplitParameters = DEFAULT, *, at_start: bool = True) -> None:
        self._parameters = parameters
        self._at_start = at_start
        self._buffer: Bytes = b""

    @property
    def pending(self) -> Bytes:
        """Return the bytes since the last cut: a chunk if the blob ends here, else extended."""
        return self._buffer

    def feed(self, *pieces: Bytes) -> list[memoryview]:
        """Add bytes and return the chunks that are final now, in order."""
        self.extend(*pieces)
        return self.cut()

    def extend(self, *pieces: Bytes) -> memoryview:
        """Add bytes, copying them once, and return them as one view; `cut` must follow."""
        kept = len(self._buffer)
        self._buffer = b"".join((self._buffer, *pieces))
        return memoryview(self._buffer)[kept:]

    def cut(self) -> list[memoryview]:
        """Return the chunks that no further bytes can change, and keep the rest pending.

        The chunks are views of what `extend` copied. Other threads run meanwhile.
        """
        if self._at_start and len(self._buffer) <= self._parameters.average_bytes:
            return []
        chunks = [chunk.data for chunk in _cutter(self._parameters).cut_buf(self._buffer)]
        if chunks:
            # A copy: a view would keep all of the batch in memory until the next one comes.
            self._buffer = bytes(chunks.pop())
        self._at_start = self._at_start and not chunks
        return chunks


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
