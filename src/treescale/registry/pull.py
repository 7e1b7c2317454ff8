"""Pulling blobs: find one in its repository, and read any part of it as verified pieces."""

from collections.abc import AsyncIterator
from typing import Final, Self

from treescale.chunks.reading import BlobReader
from treescale.chunks.recipe import decode
from treescale.chunks.store import Bytes, ChunkStore
from treescale.metadata.protocols import Blobs
from treescale.metadata.records import Blob
from treescale.oci.digest import Digest
from treescale.oci.ranges import ByteRange

read_ahead_chunks: Final = 4
"""Chunks fetched ahead of the client per request: at most 16 MiB."""


class InlineReader:
    """The bytes of a blob that lives in the database, with a BlobReader's manners."""

    def __init__(self, data: bytes, part: ByteRange) -> None:
        self._data: bytes | None = data[part.first : part.last + 1]

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""

    def __aiter__(self) -> AsyncIterator[Bytes]:
        """Return itself."""
        return self

    async def __anext__(self) -> Bytes:
        """Return all bytes, once."""
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, None
        return data


class Content:
    """The bytes of one blob. Its recipe is decoded once, however many parts are read."""

    def __init__(self, store: ChunkStore, blob: Blob) -> None:
        self._store = store
        self._inline = blob.inline or b""
        self._recipe = None if blob.recipe is None else decode(blob.recipe)

    def read(self, part: ByteRange) -> BlobReader | InlineReader:
        """Return a context manager that yields the part's bytes in order, each verified.

        Raises Corrupt, ChunkUnknown or NotEnoughStores while iterating, when no good copy exists.
        """
        if self._recipe is None:
            return InlineReader(self._inline, part)
        return BlobReader(
            self._store,
            self._recipe,
            part.first,
            part.last,
            window_chunks=read_ahead_chunks,
        )


class Pulls:
    """Everything that hands out blobs."""

    def __init__(self, *, blobs: Blobs, store: ChunkStore) -> None:
        self._blobs = blobs
        self._store = store

    async def find(self, repository: str, digest: Digest) -> Blob:
        """Return the blob if this repository has it; raises BlobUnknown."""
        return await self._blobs.find(repository, str(digest))

    def open(self, blob: Blob) -> Content:
        """Return the blob's content, ready to be read in parts; raises Corrupt."""
        return Content(self._store, blob)

    async def unlink(self, repository: str, digest: Digest) -> None:
        """Take the blob out of the repository, visible at once; raises BlobUnknown."""
        await self._blobs.unlink(repository, str(digest))
