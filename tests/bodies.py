"""Bodies of requests for who pushes without HTTP: pieces that are read as from a socket."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator


class BodyOfPieces(ABC):
    """A body that fills whoever reads it with one piece after the other."""

    _piece = b""
    _coming: AsyncIterator[bytes] | None = None

    @abstractmethod
    def pieces(self) -> AsyncIterator[bytes]:
        """Yield what comes."""

    async def read_into(self, view: memoryview) -> int:
        """Fill the view; see `registry.push.Body`."""
        if self._coming is None:
            self._coming = self.pieces()
        piece = self._piece or await anext(self._coming, b"")
        count = min(len(piece), len(view))
        view[:count], self._piece = piece[:count], piece[count:]
        return count
