"""Pulling blobs: find one in its repository, and read any part of it as verified pieces."""

import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final, Self

from treescale.chunks.disk.file import ChunkFiles
from treescale.chunks.format.recipe import Recipe, decode
from treescale.chunks.store import Bytes, ChunkStore
from treescale.chunks.stream.reader import (
    WINDOW_BYTES_MAX,
    AheadStore,
    BlobReader,
    ReadableStore,
    ReadAhead,
)
from treescale.errors import BlobUnknown
from treescale.metadata.blobs import Blobs
from treescale.metadata.records import Blob
from treescale.oci.conditions import Condition
from treescale.oci.digest import Digest
from treescale.oci.ranges import ByteRange

READ_AHEAD_CHUNKS: Final = 64
"""Chunks fetched ahead of the client per request, as far as their bytes allow."""
RECIPE_PARTS_MAX: Final = 65_536
"""Parts of the decoded recipes that are kept: about 10 MB."""


def _unheard(_: bytes) -> None:
    """Do nothing."""


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


class RecipeCache:
    """The recipes decoded lately.

    A row's recipe never changes, but a blob deleted and pushed again may have another: what is
    known counts only for the very same bytes.
    """

    def __init__(self, parts_max: int = RECIPE_PARTS_MAX) -> None:
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


class Finding:
    """The store of a blob that is noted as lost: each chunk that is read all the same is told of.

    Files are not offered: each chunk comes as bytes that a store has verified.
    """

    def __init__(self, store: ChunkStore, found: Callable[[bytes], None]) -> None:
        self._store = store
        self._found = found

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes; raises as the store does."""
        data = await self._store.get(chunk)
        self._found(chunk)
        return data


class BlobContent:
    """The bytes of one blob."""

    def __init__(
        self,
        store: ReadableStore,
        blob: Blob,
        recipes: RecipeCache,
        ahead: ReadAhead,
        ahead_bytes: int,
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
            file = self._store.open_if_verified(chunk)
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
            window_chunks=READ_AHEAD_CHUNKS,
            window_bytes=self._ahead_bytes,
            ahead=self._ahead,
            files=files,
        )


class Pulls:
    """Everything that hands out blobs; `found` hears of chunks read that were noted as lost."""

    def __init__(
        self, *, blobs: Blobs, store: ChunkStore, found: Callable[[bytes], None] = _unheard
    ) -> None:
        self._blobs = blobs
        self._store = store
        self._found = found
        self._recipes = RecipeCache()
        self._ahead = ReadAhead()
        self._ahead_store = store if isinstance(store, AheadStore) else None

    async def find(self, repository: str, digest: Digest) -> Blob:
        """Return the blob if this repository has it; raises BlobUnknown.

        One that is noted as lost is returned, too: it may be read as far as it goes.
        """
        return await self._blobs.find(repository, str(digest))

    async def find_whole(self, repository: str, digest: Digest, *, promise: bool = False) -> Blob:
        """Return the blob if this repository has it, and nothing of it is noted as lost.

        For who would build on it, and else pushes it again. With `promise` it is kept for a lease
        from now on, and DatabaseUnavailable is raised where that cannot be said. Raises
        BlobUnknown.
        """
        find = self._blobs.promise if promise else self._blobs.find
        blob = await find(repository, str(digest))
        if blob.lost_since is not None:
            raise BlobUnknown(f"bytes of the blob {digest} are lost: push it again")
        return blob

    def currency(
        self, repository: str, digest: Digest, blob: Blob, *, promise: bool
    ) -> Callable[[], bool]:
        """Return what says whether `find_whole`, which has returned this very blob, would again.

        From memory, at once. It keeps no blob there.
        """
        known = weakref.ref(blob)

        def is_current() -> bool:
            current = self._blobs.current(repository, str(digest))
            if current is None or current is not known():
                return False
            return not promise or self._blobs.is_promised(current)

        return is_current

    def open(self, blob: Blob) -> BlobContent:
        """Return the blob's content, ready to be read in parts; raises Corrupt."""
        wanted = 0 if self._ahead_store is None else self._ahead_store.ahead_bytes
        ahead_bytes = max(WINDOW_BYTES_MAX, wanted)
        store = self._store if blob.lost_since is None else Finding(self._store, self._found)
        return BlobContent(store, blob, self._recipes, self._ahead, ahead_bytes)

    async def unlink(
        self, repository: str, digest: Digest, condition: Condition | None = None
    ) -> None:
        """Take the blob out of the repository, visible at once.

        Raises BlobUnknown, or PreconditionFailed when the condition does not hold of it.
        """
        if condition is not None:
            blob = await self._blobs.find(repository, str(digest))
            condition.check(blob.digest)  # what it is called never changes: no race to lose
        await self._blobs.unlink(repository, str(digest))
