"""What a process of a server sees of its cluster by itself, before any row of the database says it.

Whoever works on the database alone, as a command does, sees nothing of this: see `NO_SIGHTS`.
"""

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import calcsize
from typing import Final

from treescale.chunks.format.placement import Table
from treescale.metrics.chunk_reads import ChunkReads

_DOUBLE_BYTES: Final = calcsize("d")


class Moments:
    """Since when it is, and was not, whole, as far as anybody has looked; 0: nobody has seen it.

    By the database's clock, for all processes of a server: to be made before they are forked.
    """

    def __init__(self) -> None:
        memory = mmap.mmap(-1, 2 * _DOUBLE_BYTES)  # shared with forks
        self._times = memoryview(memory).cast("d")

    @property
    def broken(self) -> float:
        """Return since when it is not whole; 0 while it is, or when nobody saw it begin."""
        return self._times[0]

    @property
    def mended(self) -> float:
        """Return when it became whole again; 0 while it is not, or when nobody saw that."""
        return self._times[1]

    def note(self, now: float, *, is_whole: bool) -> None:
        """Take notice of a look at it."""
        if is_whole and self.broken:
            self._times[0], self._times[1] = 0.0, now
        elif not is_whole and not self.broken:
            self._times[0], self._times[1] = now, 0.0


def _nobody() -> Mapping[str, bool]:
    return {}


def _no_tables() -> Sequence[Table]:
    return ()


@dataclass(frozen=True, slots=True)
class Sights:
    """What a process sees."""

    server_id: str = ""
    """Of the server it is of."""
    peers: Callable[[], Mapping[str, bool]] = _nobody
    """Of each other server whether requests reach it now: pings tell that first."""
    tables: Callable[[], Sequence[Table]] = _no_tables
    """The placement tables of the layouts in use, newest first."""
    reads: ChunkReads | None = None
    """Which chunks are read for clients, while somebody looks."""
    moments: Moments = field(default_factory=Moments)


NO_SIGHTS: Final = Sights()
"""Of who works on the database alone."""
