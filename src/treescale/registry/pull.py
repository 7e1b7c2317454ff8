"""Pulling blobs: find one in its repository, and read any part of it as verified pieces."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final, Self

from treescale.chunks.files import ChunkFiles
from treescale.chunks.reading import AheadStore, BlobReader, ReadAhead, window_bytes_max
from treescale.chunks.recipe import Recipe, decode
from treescale.chunks.store import Bytes, ChunkStore
from treescale.metadata.protocols import Blobs
from treescale.metadata.records import Blob
from treescale.oci.digest import Digest
from treescale.oci.ranges import ByteRange

read_ahead_chunks: Final = 64
"""Chunks fetched ahead of the client per request, as far as their bytes allow."""
recipe_parts_max: Final = 65_536
"""Parts of the decoded recipes that are kept: about 10 MB."""


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

    async def next_piece(self) -> Bytes | None:
        """Return all bytes, once; None after that."""
        data, self._data = self._data, None
        return data or None


class Recipes:
    """The recipes decoded lately.

    A row's recipe never changes, but a blob deleted and pushed again may have another: what is
    known counts only for the very same bytes.
    """

    def __init__(self, parts_max: int = recipe_parts_max) -> None:
        self._parts_max = parts_max
        self._known: OrderedDict[str, tuple[bytes, Recipe]] = OrderedDict()
        self._parts = 0

    def get(self, digest: str, encoded: bytes) -> Recipe:
        """Return the decoded recipe; raises Corrupt."""
        known = self._known.get(digest)
        if known is not None and known[0] == encoded:
            self._known.move_to_end(digest)
            return known[1]
        recipe = decode(encoded)
        if known is not None:
            self._parts -= len(known[1].parts)
        self._known[digest] = encoded, recipe
        self._known.move_to_end(digest)
        self._parts += len(recipe.parts)
        while self._parts > self._parts_max:
            _, (_, oldest) = self._known.popitem(last=False)
            self._parts -= len(oldest.parts)
        return recipe


class Content:
    """The bytes of one blob."""

    def __init__(
        self, store: ChunkStore, blob: Blob, recipes: Recipes, ahead: ReadAhead, ahead_bytes: int
    ) -> None:
        self._store = store
        self._ahead = ahead
        self._ahead_bytes = ahead_bytes
        self._inline = blob.inline or b""
        self._recipe = None if blob.recipe is None else recipes.get(blob.digest, blob.recipe)

    def read_cached(self, part: ByteRange) -> bytes | None:
        """Return a small part's bytes if they are trusted and at hand, without waiting."""
        if self._recipe is None:
            return self._inline[part.first : part.last + 1]
        if not isinstance(self._store, ChunkFiles):
            return None
        found: list[bytes] = []
        for chunk, start, stop in self._recipe.locate(part.first, part.last):
            file = self._store.opened(chunk)
            if file is None:
                return None
            # A file of another length than the recipe's is for the reader to judge.
            right = file.size == self._recipe.lengths[chunk]
            data = file.read_cached(start, stop) if right else None
            file.close()
            if data is None:
                return None
            found.append(data)
        return found[0] if len(found) == 1 else b"".join(found)

    def read(self, part: ByteRange, *, files: bool = False) -> BlobReader | InlineReader:
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
            window_bytes=self._ahead_bytes,
            ahead=self._ahead,
            files=files,
        )


class Pulls:
    """Everything that hands out blobs."""

    def __init__(self, *, blobs: Blobs, store: ChunkStore) -> None:
        self._blobs = blobs
        self._store = store
        self._recipes = Recipes()
        self._ahead = ReadAhead()
        self._spread = store if isinstance(store, AheadStore) else None

    async def find(self, repository: str, digest: Digest) -> Blob:
        """Return the blob if this repository has it; raises BlobUnknown."""
        return await self._blobs.find(repository, str(digest))

    def open(self, blob: Blob) -> Content:
        """Return the blob's content, ready to be read in parts; raises Corrupt."""
        wanted = 0 if self._spread is None else self._spread.ahead_bytes
        ahead_bytes = max(window_bytes_max, wanted)
        return Content(self._store, blob, self._recipes, self._ahead, ahead_bytes)

    async def unlink(self, repository: str, digest: Digest) -> None:
        """Take the blob out of the repository, visible at once; raises BlobUnknown."""
        await self._blobs.unlink(repository, str(digest))
