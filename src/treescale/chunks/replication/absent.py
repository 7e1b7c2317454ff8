"""The store that a layout names and nobody has: forgotten a moment ago, its disk or server gone."""

from collections.abc import AsyncIterator, Iterable, Sequence

from treescale.chunks.store import Bytes
from treescale.errors import Unreachable


class AbsentStore:
    """A ChunkStore of which nothing can be had: everything raises Unreachable."""

    def __init__(self, store_id: str, why: str = "no server of the cluster has the store") -> None:
        self._store_id = store_id
        self._why = why

    async def check_space(self, size: int) -> None:  # noqa: ARG002  as of all below
        """Raise."""
        raise self._error()

    async def put(self, chunk: bytes, data: Bytes) -> None:  # noqa: ARG002
        """Raise."""
        raise self._error()

    async def get(self, chunk: bytes) -> bytes:  # noqa: ARG002
        """Raise."""
        raise self._error()

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:  # noqa: ARG002
        """Raise."""
        raise self._error()

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:  # noqa: ARG002
        """Raise."""
        raise self._error()
        yield b""  # what makes it a generator

    def _error(self) -> Unreachable:
        return Unreachable(f"{self._why} {self._store_id}")
