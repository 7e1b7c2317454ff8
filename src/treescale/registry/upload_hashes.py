"""The digests of uploads: from this worker's own state of the hash, or read back from the chunks.

A hash state cannot leave its process, so a worker that continues a session begun elsewhere first
reads the part it has not seen back from the chunks. Each worker keeps its (stale) state, so every
byte is read back at most once per worker, however the requests of a session are spread.
"""

from collections import OrderedDict
from concurrent.futures import Executor
from typing import Final

from treescale.chunks.format.recipe import Recipe
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import ChunkStore
from treescale.chunks.stream.reader import BlobReader
from treescale.chunks.stream.writer import RunningHash
from treescale.errors import DigestInvalid
from treescale.metadata.records import ChunkPart, Upload
from treescale.metadata.uploads import Uploads
from treescale.oci.digest import Digest

HASH_STATES_MAX: Final = 1024
"""Hash states a worker keeps for sessions between their requests."""


class UploadHashes:
    """The hash states of a worker's uploads."""

    def __init__(self, uploads: Uploads, store: ChunkStore, threads: Executor) -> None:
        self._uploads = uploads
        self._store = store
        self._threads = threads
        self._kept: OrderedDict[str, RunningHash] = OrderedDict()

    async def take(self, upload: Upload) -> RunningHash:
        """Return a hash of exactly the upload's bytes, the worker's own state if it has one.

        Nobody else gets that until it is put back.
        """
        running = self._kept.pop(upload.upload_id, None)
        if (
            running is None
            or running.offset > upload.offset
            or running.algorithm != upload.algorithm
        ):
            running = RunningHash(upload.algorithm)
        if running.offset < upload.offset:
            await self._catch_up(running, upload, await self.chunks(upload, ()))
        return running

    def put(self, upload_id: str, running: RunningHash) -> None:
        """Keep the state for the upload's next request, as long as not too many others come."""
        self._kept[upload_id] = running
        self._kept.move_to_end(upload_id)
        while len(self._kept) > HASH_STATES_MAX:
            self._kept.popitem(last=False)

    def forget(self, upload_id: str) -> None:
        """Keep nothing of an upload that has ended."""
        self._kept.pop(upload_id, None)

    async def check(self, upload: Upload, chunks: tuple[ChunkPart, ...], digest: Digest) -> None:
        """Raise DigestInvalid when the upload, of these chunks, is another blob."""
        hashed = upload.hashed
        if digest.algorithm != upload.algorithm:
            running = RunningHash(digest.algorithm)
            await self._catch_up(running, upload, chunks)
            hashed = running.hexdigest()
        if hashed != digest.hex:
            raise DigestInvalid(f"the bytes pushed have the digest {digest.algorithm}:{hashed}")

    async def chunks(
        self, upload: Upload, unrecorded: tuple[ChunkPart, ...]
    ) -> tuple[ChunkPart, ...]:
        """Return the chunks of the upload's bytes, all of these but an inline tail."""
        recorded = upload.settled_bytes - sum(length for _, length in unrecorded)
        settled = await self._uploads.settled(upload.upload_id, recorded) if recorded else ()
        tail = () if upload.tail.chunk is None else (upload.tail.chunk,)
        return (*settled, *unrecorded, *tail)

    async def _catch_up(
        self, running: RunningHash, upload: Upload, chunks: tuple[ChunkPart, ...]
    ) -> None:
        """Hash what the upload has and the hash has not seen, read back from the chunks."""
        recipe = Recipe(DEFAULT, chunks)
        if running.offset < recipe.size:
            async with BlobReader(self._store, recipe, running.offset, recipe.size - 1) as reader:
                async for piece in reader:
                    await running.update(piece, self._threads)
        if running.offset < upload.offset:
            inline = upload.tail.inline or b""
            await running.update(inline[running.offset - recipe.size :], self._threads)
