"""Pushing blobs: upload sessions that any worker can continue, and the one transaction at the end.

Bytes become durable chunks while they arrive; the session's row says how far it got, with the
digest of exactly that many bytes. The final PUT therefore only compares digests and commits. A
hash state cannot leave its process, so a worker that continues a session begun elsewhere first
reads the part it has not seen back from the chunks. Each worker keeps its (stale) state, so every
byte is read back at most once per worker, however the requests of a session are spread.

Where a home of a chunk could not take its copy, that is written down in the same transaction as
what counts on the chunk: the session's progress, or the blob (faults.md G2).

Two requests writing one session at once are not locked against each other: both store chunks, and
the row's offset decides (compare and set) whose bytes count. The other is told 416.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Final, Protocol

from treescale.chunks.intake import (
    Intake,
    RunningHash,
    bytes_in_flight_max,
    chunks_in_flight_max,
    place_chunk,
)
from treescale.chunks.reading import AheadStore, BlobReader
from treescale.chunks.recipe import Recipe, encode
from treescale.chunks.room import Room
from treescale.chunks.split import DEFAULT
from treescale.chunks.store import Bytes, ChunkStore, chunk_id_of
from treescale.clock import Clock
from treescale.errors import (
    BlobUnknown,
    BodyIncomplete,
    DigestInvalid,
    UploadOutOfOrder,
    UploadUnknown,
)
from treescale.metadata.protocols import Blobs, Uploads
from treescale.metadata.records import (
    EMPTY_TAIL,
    Blob,
    ChunkPart,
    Debt,
    NewBlob,
    Upload,
    UploadProgress,
    UploadTail,
)
from treescale.oci.digest import Digest, new_hasher

inline_bytes_max: Final = 64 * 1024
"""Blobs up to this size live in the database (DESIGN.md, Formats)."""
checkpoint_bytes: Final = 1024 * 1024 * 1024
"""A long request records its progress this often, so that a crash costs no more. Each time all
that is on its way has to arrive, and the wires run dry meanwhile."""
bytes_beside: Final = 4 * 1024 * 1024
"""What other uploads of a process may have on their way beside one that fills the wires."""
hash_states_max: Final = 1024
"""Hash states a worker keeps for sessions between their requests."""


class Body(Protocol):
    """The body of a request: its length in bytes when announced, and its pieces."""

    @property
    def length(self) -> int | None:
        """Return the announced length; None when the client streams."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes; raises BodyIncomplete when the client leaves in the middle."""
        ...


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An upload with what one request added, everything durable but an inline tail.

    `unrecorded` are the last of its settled chunks, those that no row has, and `owed` the copies
    owed of them and of the tail.
    """

    upload: Upload
    running: RunningHash
    unrecorded: tuple[ChunkPart, ...]
    owed: tuple[Debt, ...]


class Pushes:
    """Everything that brings a blob into a repository."""

    def __init__(
        self,
        *,
        blobs: Blobs,
        uploads: Uploads,
        store: ChunkStore,
        threads: Executor,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._store = store
        self._threads = threads
        self._clock = clock
        self._new_id = new_id
        self._room = Room()
        self._spread = store if isinstance(store, AheadStore) else None
        self._hashes: OrderedDict[str, RunningHash] = OrderedDict()

    async def begin(self, repository: str, user: str, algorithm: str = "sha256") -> Upload:
        """Open a session; raises DigestInvalid for an unknown algorithm."""
        upload = self._fresh(repository, user, algorithm)
        await self._uploads.create(upload)
        return upload

    async def status(self, repository: str, user: str, upload_id: str) -> Upload:
        """Return the session; raises UploadUnknown unless it is this user's in this repository."""
        unknown = UploadUnknown("no such upload; start one with POST …/blobs/uploads/")
        try:
            upload = await self._uploads.get(upload_id)
        except UploadUnknown:
            raise unknown from None
        if upload.repository != repository or upload.user != user:
            raise unknown
        return upload

    async def cancel(self, repository: str, user: str, upload_id: str) -> None:
        """End the session and forget its bytes; raises UploadUnknown."""
        await self.status(repository, user, upload_id)
        self._hashes.pop(upload_id, None)
        await self._uploads.delete(upload_id)

    async def mount(self, repository: str, digest: Digest, sources: Sequence[str]) -> bool:
        """Link a blob that one of `sources` (all of them pullable by the caller) already has."""
        if not sources:
            return False
        return await self._blobs.mount(repository, str(digest), sources, now=self._clock.now())

    async def append(
        self, repository: str, user: str, upload_id: str, body: Body, *, at: int | None
    ) -> Upload:
        """Add the body's bytes to the session, durably, and return it as it is then.

        `at` is the offset the client believes in, None when it did not say. Raises
        UploadOutOfOrder when it is wrong, or when another request moved the session meanwhile.
        What arrived before a client left stays and can be continued.
        """
        upload = await self.status(repository, user, upload_id)
        _check_order(upload, at)
        await self._store.reserve(body.length or 0)
        arrived = await self._receive(upload, body.pieces(), resumable=True)
        self._keep_hash(upload_id, arrived.running)
        return arrived.upload

    async def finish(
        self,
        repository: str,
        user: str,
        upload_id: str,
        body: Body,
        digest: Digest,
        *,
        at: int | None,
    ) -> None:
        """Add the last bytes, compare the digest, and make the blob exist: durable on return.

        Raises DigestInvalid (the session survives, without this request's bytes) and all that
        `append` raises. Idempotent: a client whose 201 was lost asks again, and the session is
        gone because the blob is there.
        """
        try:
            upload = await self.status(repository, user, upload_id)
            _check_order(upload, at)
            await self._finish(upload, body, digest)
        except UploadUnknown:
            if not await self._has(repository, digest):
                raise
        self._hashes.pop(upload_id, None)

    async def _finish(self, upload: Upload, body: Body, digest: Digest) -> None:
        pieces = await self._begun(body)
        unrecorded: tuple[ChunkPart, ...] = ()
        owed: tuple[Debt, ...] = ()
        if pieces is not None:
            if upload.offset == 0:
                upload = replace(upload, algorithm=digest.algorithm)
            arrived = await self._receive(upload, pieces, resumable=False)
            upload, unrecorded, owed = arrived.upload, arrived.unrecorded, arrived.owed
        new = await self._as_blob(upload, unrecorded, owed, digest)
        await self._commit(upload.repository, new, upload.upload_id)

    async def _has(self, repository: str, digest: Digest) -> bool:
        try:
            await self._blobs.find(repository, str(digest))
        except BlobUnknown:
            return False
        return True

    async def put_whole(self, repository: str, user: str, body: Body, digest: Digest) -> None:
        """Push a blob in one request, without a session; raises as `finish` does."""
        upload = self._fresh(repository, user, digest.algorithm)
        await self._store.reserve(body.length or 0)
        arrived = await self._receive(upload, body.pieces(), resumable=False)
        new = await self._as_blob(arrived.upload, arrived.unrecorded, arrived.owed, digest)
        await self._commit(repository, new, None)

    def _fresh(self, repository: str, user: str, algorithm: str) -> Upload:
        now = self._clock.now()
        return Upload(
            upload_id=self._new_id(),
            repository=repository,
            user=user,
            algorithm=algorithm,
            offset=0,
            hashed=new_hasher(algorithm).hexdigest(),
            tail=EMPTY_TAIL,
            created=now,
            updated=now,
        )

    async def _begun(self, body: Body) -> AsyncIterator[bytes] | None:
        """Return the body's pieces when there is room for them and the first has come.

        None when there is none: also a body of unknown length may be empty, and then nothing the
        session has needs to be read back for it.
        """
        if body.length == 0:
            return None
        await self._store.reserve(body.length or 0)
        pieces = body.pieces()
        first = await anext(pieces, None)
        return None if first is None else _chained(first, pieces)

    async def _receive(
        self, upload: Upload, pieces: AsyncIterator[bytes], *, resumable: bool
    ) -> _Arrived:
        """Store the bytes as chunks after those the upload has.

        When `resumable`, the session's row follows: at every checkpoint and at the end, also when
        the client leaves early.
        """
        running = await self._running_hash(upload)
        tail = await self._tail_bytes(upload)
        async with self._intake(running, tail) as intake:
            unrecorded = 0
            try:
                async for piece in pieces:
                    await intake.feed(piece)
                    unrecorded += len(piece)
                    if resumable and unrecorded >= checkpoint_bytes:
                        upload = await self._record(upload, intake)
                        unrecorded = 0
            except BodyIncomplete:
                if resumable:
                    await self._record(upload, intake)
                    self._keep_hash(upload.upload_id, running)
                raise
            if resumable:
                return _Arrived(await self._record(upload, intake), running, (), ())
            progress = await self._progress(upload, intake)
        return _Arrived(_advanced(upload, progress), running, progress.settled, progress.owed)

    def _intake(self, running: RunningHash, tail: bytes) -> Intake:
        """Return an intake with as much on its way as keeps all servers' wires busy."""
        wanted = 0 if self._spread is None else self._spread.ahead_bytes
        self._room.widen(wanted + bytes_beside)
        return Intake(
            self._store,
            self._threads,
            running=running,
            tail=tail,
            chunks_in_flight=max(chunks_in_flight_max, wanted // DEFAULT.average_bytes),
            bytes_in_flight=max(bytes_in_flight_max, wanted),
            room=self._room,
        )

    async def _record(self, upload: Upload, intake: Intake) -> Upload:
        progress = await self._progress(upload, intake)
        await self._uploads.advance(upload.upload_id, progress, now=self._clock.now())
        return _advanced(upload, progress)

    async def _progress(self, upload: Upload, intake: Intake) -> UploadProgress:
        """Wait until everything fed is durable and say what it amounts to."""
        settled = await intake.settle()
        tail, owed = await self._keep_tail(settled.tail_bytes)
        return UploadProgress(
            from_offset=upload.offset,
            offset=settled.offset,
            hashed=settled.hashed,
            settled=tuple(settled.settled),
            tail=tail,
            owed=(*settled.owed, *owed),
        )

    async def _keep_tail(self, data: Bytes) -> tuple[UploadTail, list[Debt]]:
        if len(data) <= inline_bytes_max:
            return UploadTail(inline=bytes(data), chunk=None), []
        part, owed = await self._put_chunk(data)
        return UploadTail(inline=None, chunk=part), owed

    async def _put_chunk(self, data: Bytes) -> tuple[ChunkPart, list[Debt]]:
        chunk = chunk_id_of(data)
        owed = await place_chunk(self._store, chunk, data)
        return (chunk, len(data)), owed

    async def _tail_bytes(self, upload: Upload) -> bytes:
        if upload.tail.chunk is not None:
            return await self._store.get(upload.tail.chunk[0])
        return upload.tail.inline or b""

    async def _running_hash(self, upload: Upload) -> RunningHash:
        """Return a hash of exactly the upload's bytes, from this worker's own state if it can."""
        running = self._hashes.pop(upload.upload_id, None)
        if (
            running is None
            or running.offset > upload.offset
            or running.algorithm != upload.algorithm
        ):
            running = RunningHash(upload.algorithm)
        if running.offset < upload.offset:
            await self._catch_up(running, upload, await self._chunks(upload, ()))
        return running

    async def _chunks(
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

    async def _commit(self, repository: str, new: NewBlob, upload_id: str | None) -> None:
        await self._blobs.commit(repository, new, upload_id=upload_id, now=self._clock.now())

    async def _as_blob(
        self,
        upload: Upload,
        unrecorded: tuple[ChunkPart, ...],
        owed: tuple[Debt, ...],
        digest: Digest,
    ) -> NewBlob:
        """Return the blob that the upload is; raises DigestInvalid when it is another."""
        chunks = await self._chunks(upload, unrecorded)
        await self._check_digest(upload, chunks, digest)
        inline = upload.tail.inline
        if not chunks:
            return NewBlob(Blob(str(digest), upload.offset, inline=inline or b"", recipe=None), ())
        if inline:
            part, more = await self._put_chunk(inline)
            chunks, owed = (*chunks, part), (*owed, *more)
        recipe = encode(Recipe(DEFAULT, chunks))
        blob = Blob(str(digest), upload.offset, inline=None, recipe=recipe)
        return NewBlob(blob, tuple(dict.fromkeys(chunks)), owed)

    async def _check_digest(
        self, upload: Upload, chunks: tuple[ChunkPart, ...], digest: Digest
    ) -> None:
        hashed = upload.hashed
        if digest.algorithm != upload.algorithm:
            running = RunningHash(digest.algorithm)
            await self._catch_up(running, upload, chunks)
            hashed = running.hexdigest()
        if hashed != digest.hex:
            raise DigestInvalid(f"the bytes pushed have the digest {digest.algorithm}:{hashed}")

    def _keep_hash(self, upload_id: str, running: RunningHash) -> None:
        self._hashes[upload_id] = running
        self._hashes.move_to_end(upload_id)
        while len(self._hashes) > hash_states_max:
            self._hashes.popitem(last=False)


def _check_order(upload: Upload, at: int | None) -> None:
    if at is not None and at != upload.offset:
        raise UploadOutOfOrder(
            f"the upload continues at byte {upload.offset}, not at {at}", offset=upload.offset
        )


async def _chained(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in others:
        yield piece


def _advanced(upload: Upload, progress: UploadProgress) -> Upload:
    return replace(
        upload,
        offset=progress.offset,
        hashed=progress.hashed,
        tail=progress.tail,
    )
