"""What is told of a store's files to whoever decides about them. PURE."""

from dataclasses import dataclass
from typing import NamedTuple


class AgedCopy(NamedTuple):
    """A copy as it was when it was looked at."""

    chunk: bytes
    stamp: tuple[int, int, int, int, int]
    """What changes with every write or put of it: see `verified.FileStamp`."""
    age: float
    """Seconds since its last put, by the store's clock; below 0 when it is dated ahead."""

    @property
    def size(self) -> int:
        """Return its bytes."""
        return self.stamp[2]


@dataclass(frozen=True, slots=True)
class TrashContents:
    """What lies in the trash of a store."""

    chunks: int = 0
    size: int = 0
    """Bytes."""
    newest: float = 0.0
    """When the last one came there, by the store's clock."""
