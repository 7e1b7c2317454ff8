"""The promise of every place that holds chunks, and the one that keeps them in memory.

A chunk is named by the BLAKE3-256 of its bytes, so it is written once and never changes.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from blake3 import blake3

from treescale.errors import ChunkUnknown, Corrupt

Bytes = bytes | bytearray | memoryview

CHUNK_BYTES_MAX = 4 * 1024 * 1024
"""No chunk is longer (docs/formats.md)."""


def chunk_id_of(data: Bytes) -> bytes:
    """Return the 32-byte name of these bytes (lets other threads run while it hashes)."""
    return blake3(data).digest()


class ChunkStore(Protocol):
    """A place for chunks. All errors are of our tree; an unknown chunk is ChunkUnknown."""

    async def check_space(self, size: int) -> None:
        """Return when `size` more bytes may be written; raises StoreFull or StoreUnusable.

        A check, not a claim: asked before a body is read so that a full disk answers at once.
        """
        ...

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; durable when it returns. Putting twice is putting once.

        Raises Corrupt when `data` does not hash to `chunk` (nothing is left behind), StoreFull,
        StoreUnusable. A cancelled put leaves nothing half-written. `data` must not change while
        the call runs.
        """
        ...

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified; raises ChunkUnknown, Corrupt, StoreUnusable."""
        ...

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here."""
        ...

    def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once, in no order; of these partitions (first 12 bits) only."""
        ...


@runtime_checkable
class VerifyingStore(Protocol):
    """A store that may return what it verified lately unread, and can be told to look again."""

    async def verify(self, chunk: bytes) -> None:
        """Return when the copy is sound now; raises Corrupt after putting a bad one aside.

        Also raises ChunkUnknown and StoreUnusable. For when a reader found the copy bad (R2).
        """
        ...


@dataclass(frozen=True, slots=True)
class WriteResult:
    """Where a chunk was put under the layout of this number.

    `stores` hold a durable copy. `owed` are the homes that are not known to: what repair has to
    bring there. A home that was only late may have got its copy after all.
    """

    layout: int
    stores: tuple[str, ...]
    owed: tuple[str, ...]


@runtime_checkable
class ReplicatingStore(Protocol):
    """A store that says where it put a chunk, so that what is owed can be written down."""

    async def write(self, chunk: bytes, data: Bytes) -> WriteResult:
        """Do as `ChunkStore.put` does, and say where the chunk is."""
        ...


def write_of(store: ChunkStore) -> Callable[[bytes, Bytes], Awaitable[WriteResult | None]]:
    """Return what puts chunks there: it says where they are, or None if the store does not."""
    return store.write if isinstance(store, ReplicatingStore) else store.put


@runtime_checkable
class NumberedStore(Protocol):
    """A store that knows by which layouts it has placed chunks."""

    @property
    def oldest_layout(self) -> int | None:
        """Return the lowest number of a layout by which anything was placed through this."""
        ...


@runtime_checkable
class KeepingStore(Protocol):
    """A store that makes a copy it has already count as put just now."""

    async def keep(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether a sound and durable copy is here, as fresh as one that was just put.

        For who removes a copy elsewhere: no bytes travel. Raises StoreUnusable.
        """
        ...


@runtime_checkable
class LastResortStore(Protocol):
    """A store that spares itself and others requests it expects nothing of."""

    async def get_last_resort(self, chunk: bytes, seconds: float) -> bytes:
        """Do as `get` although nothing is expected, and wait so long for the answer to begin.

        For a reader that has nobody else to ask (faults.md section 6: if all are open, try anyway).
        """
        ...


class MemoryStore:
    """Chunks in a dict: the default in tests."""

    def __init__(self) -> None:
        self._chunks: dict[bytes, bytes] = {}

    async def check_space(self, size: int) -> None:
        """Memory is never full here."""

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk."""
        if chunk_id_of(data) != chunk:
            raise Corrupt(f"bytes put as chunk {chunk.hex()} are not that chunk")
        self._chunks[chunk] = bytes(data)

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes."""
        try:
            return self._chunks[chunk]
        except KeyError:
            raise ChunkUnknown(f"no chunk {chunk.hex()}") from None

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here."""
        return [chunk in self._chunks for chunk in chunks]

    async def delete(self, chunk: bytes) -> None:
        """Remove it, as a disk loses it; raises ChunkUnknown."""
        if self._chunks.pop(chunk, None) is None:
            raise ChunkUnknown(f"no chunk {chunk.hex()}")

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once."""
        wanted = None if partitions is None else frozenset(partitions)
        for chunk in tuple(self._chunks):
            if wanted is None or partition_of(chunk) in wanted:
                yield chunk


def partition_of(chunk: bytes) -> int:
    """Return the partition, 0 to 4095, that a chunk belongs to: its id's first 12 bits."""
    return chunk[0] << 4 | chunk[1] >> 4
