"""Pushing blobs: upload sessions that any worker can continue, and the one transaction at the end.

Bytes become durable chunks while they arrive; the session's row says how far it got, with the
digest of exactly that many bytes (`upload_hashes`). The final PUT therefore only compares digests
and commits.

Where a home of a chunk could not take its copy, that is written down in the same transaction as
what counts on the chunk: the session's progress, or the blob (faults.md G2).

What is put has a lease from its stores, and must be named by a row before that ends: so every
request records by time, one that cannot be resumed in a session of its own that no client is told
of. The transaction that records checks the time since its *base*, the database's time when the
request last heard of it before the first put that no row names (collection.md R5, R6).

Two requests writing one session at once are not locked against each other: both store chunks, and
the row's offset decides (compare and set) whose bytes count. The other is told 416.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import Bytes, ChunkStore, NumberedStore, chunk_id_of, write_of
from treescale.chunks.stream.memory_limit import MemoryLimit
from treescale.chunks.stream.reader import AheadStore
from treescale.chunks.stream.writer import (
    BYTES_IN_FLIGHT_MAX,
    CHUNKS_IN_FLIGHT_MAX,
    BlobWriter,
    Flushed,
    RunningHash,
)
from treescale.clock import Clock
from treescale.errors import (
    BlobUnknown,
    BodyIncomplete,
    ChunksLost,
    ChunkUnknown,
    Corrupt,
    DatabaseUnavailable,
    QuotaExceeded,
    SizeInvalid,
    UploadOutOfOrder,
    UploadUnknown,
)
from treescale.metadata.blobs import Blobs
from treescale.metadata.events.recording import actor_of
from treescale.metadata.layouts import refuse
from treescale.metadata.records import (
    EMPTY_TAIL,
    Base,
    Blob,
    ChunkPart,
    MissingCopy,
    NewBlob,
    Upload,
    UploadProgress,
    UploadTail,
)
from treescale.metadata.uploads import Uploads
from treescale.oci.digest import Digest, new_hasher
from treescale.oci.names import namespace_of
from treescale.registry.recording import Checkpoint, Notes
from treescale.registry.upload_hashes import UploadHashes

INLINE_BYTES_MAX: Final = 64 * 1024
"""Blobs up to this size live in the database (DESIGN.md, Formats)."""
FIRST_BYTES: Final = 64 * 1024
"""Of a body, that are waited for before its session is read back."""
BYTES_BESIDE: Final = 4 * 1024 * 1024
"""What other uploads of a process may have on their way beside one that fills the wires."""


class Body(Protocol):
    """The body of a request: its length in bytes when announced, and its bytes, read once."""

    @property
    def length(self) -> int | None:
        """Return the announced length; None when the client streams."""
        ...

    async def read_into(self, view: memoryview) -> int:
        """Fill the view as far as bytes are here and return how many came; 0 at the end.

        Waits for the first. Raises BodyIncomplete when the client leaves in the middle, BodyTooSlow
        when it hardly sends; all that came before was returned then.
        """
        ...


class LossHealing(Protocol):
    """Who takes back that chunks are lost."""

    async def heal(self, chunks: Iterable[bytes]) -> object:
        """Note that there is a good copy of each."""
        ...


@dataclass(frozen=True, slots=True)
class _Arrived:
    """An upload with what one request added, everything durable but an inline tail.

    `unrecorded` are the last of its settled chunks, those that its row has not, and `owed` the
    copies owed of them and of the tail; `notes` names what keeps them until its row has.
    """

    upload: Upload
    running: RunningHash
    unrecorded: tuple[ChunkPart, ...] = ()
    owed: tuple[MissingCopy, ...] = ()
    notes: str | None = None


class _Length:
    """How long a client said its body is, None when it did not say, beside what comes.

    `before` is what its blob has already, `room` what fits at most, None for anything; unless the
    blob of `digest` is there, which costs nothing.
    """

    def __init__(
        self,
        announced: int | None,
        upload: Upload,
        *,
        room: int | None,
        digest: Digest | None = None,
    ) -> None:
        self._announced = announced
        self._bytes = 0
        self._before = upload.offset
        self.room = room
        self.digest = None if digest is None else str(digest)

    @property
    def whole(self) -> int:
        """Return how many bytes the blob has by now."""
        return self._before + self._bytes

    def fits(self, more: int = 0) -> bool:
        """Say whether so many more bytes of the blob fit."""
        return self.room is None or self.whole + more <= self.room

    def count(self, size: int) -> None:
        """Count what came; raises SizeInvalid at once when that is too much."""
        self._bytes += size
        if self._announced is not None and self._bytes > self._announced:
            raise SizeInvalid(
                f"the body has more than the {self._announced} bytes of Content-Range"
            )

    def end(self) -> None:
        """Raise SizeInvalid when the body ends too early."""
        if self._announced is not None and self._bytes < self._announced:
            raise SizeInvalid(
                f"Content-Range says {self._announced} bytes, and the body has {self._bytes}"
            )


class Pushes:
    """Everything that brings a blob into a repository."""

    def __init__(
        self,
        *,
        blobs: Blobs,
        uploads: Uploads,
        lost: LossHealing,
        store: ChunkStore,
        threads: Executor,
        clock: Clock,
        new_id: Callable[[], str],
    ) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._lost = lost
        self._store = store
        self._write = write_of(store)
        self._threads = threads
        self._clock = clock
        self._new_id = new_id
        self._memory = MemoryLimit()
        self._ahead_store = store if isinstance(store, AheadStore) else None
        self._hashes = UploadHashes(uploads, store, threads)

    async def begin(self, repository: str, user: str, algorithm: str = "sha256") -> Upload:
        """Open a session; raises DigestInvalid for an unknown algorithm, and ReadOnly."""
        upload = self._fresh(repository, user, algorithm)
        await self._uploads.create(upload)
        return upload

    async def status(self, repository: str, user: str, upload_id: str) -> Upload:
        """Return the session; raises UploadUnknown unless it is this user's in this repository."""
        unknown = UploadUnknown("no such upload; start one with POST …/blobs/uploads/")
        try:
            upload = await self._uploads.get(upload_id, namespace_of(repository))
        except UploadUnknown:
            raise unknown from None
        if upload.repository != repository or upload.user != user:
            raise unknown
        return upload

    async def cancel(self, repository: str, user: str, upload_id: str) -> None:
        """End the session and forget its bytes; raises UploadUnknown."""
        await self.status(repository, user, upload_id)
        self._hashes.forget(upload_id)
        await self._uploads.delete(upload_id)

    async def mount(
        self, repository: str, user: str, digest: Digest, sources: Sequence[str]
    ) -> bool:
        """Link a blob that one of `sources` (all of them pullable by the caller) already has."""
        if not sources:
            return False
        return await self._blobs.mount(
            repository, str(digest), sources, now=self._clock.now(), actor=actor_of(user)
        )

    async def append(
        self,
        repository: str,
        user: str,
        upload_id: str,
        body: Body,
        *,
        at: int | None,
        announced: int | None = None,
    ) -> Upload:
        """Add the body's bytes to the session, durably, and return it as it is then.

        `at` is the offset the client believes in and `announced` the length it said, None when it
        did not say. Raises UploadOutOfOrder when the offset is wrong, or when another request moved
        the session meanwhile, SizeInvalid when the body has another length, and ReadOnly; then
        nothing is added. What arrived before a client left stays and can be continued.
        """
        upload = await self.status(repository, user, upload_id)
        refuse(repository, upload.read_only)
        _check_order(upload, at)
        await self._store.check_space(body.length or 0)
        length = _Length(announced, upload, room=upload.room)
        # Of a chunk whose length only its end tells, the session has nothing before that.
        whole = announced is not None and body.length is None
        async with self._ended_when_full(upload_id):
            await self._check_room(upload, length, body.length or 0)
            arrived = await self._receive(upload, body, length, resumable=True, at_once=not whole)
        self._hashes.put(upload_id, arrived.running)
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
        announced: int | None = None,
    ) -> int:
        """Add the last bytes, compare the digest, and make the blob exist: durable on return.

        Return the blob's size in bytes.

        Raises DigestInvalid (the session survives, without this request's bytes) and all that
        `append` raises. Idempotent: a client whose 201 was lost asks again, and the session is
        gone because the blob is there.
        """
        try:
            upload = await self.status(repository, user, upload_id)
            refuse(repository, upload.read_only)
            _check_order(upload, at)
            async with self._ended_when_full(upload_id):
                size = await self._finish(upload, body, digest, announced)
        except UploadUnknown:
            there = await self._size_there(repository, digest)
            if there is None:
                raise
            size = there
        self._hashes.forget(upload_id)
        return size

    async def _size_there(self, repository: str, digest: Digest) -> int | None:
        """Return the bytes of a blob that is there and whole: what ends its push once more."""
        try:
            blob = await self._blobs.promise(repository, str(digest))
        except BlobUnknown:
            return None
        return blob.size if blob.lost_since is None else None

    async def _finish(
        self, upload: Upload, body: Body, digest: Digest, announced: int | None
    ) -> int:
        known = upload.state
        length = _Length(announced, upload, room=upload.room, digest=digest)
        begun = await self._begun(upload, body, length)
        if begun is None:
            arrived = _Arrived(upload, RunningHash(upload.algorithm))
        else:
            if upload.offset == 0:
                upload = replace(upload, algorithm=digest.algorithm)
            arrived = await self._receive(upload, begun, length, resumable=False)
        new = replace(await self._as_blob(arrived, digest), session=known)
        await self._commit(upload.repository, upload.user, new, upload.upload_id)
        return new.blob.size

    async def put_whole(self, repository: str, user: str, body: Body, digest: Digest) -> None:
        """Push a blob in one request, without a session; raises as `finish` does."""
        upload = self._fresh(repository, user, digest.algorithm)
        room = None
        if body.length is None or body.length > INLINE_BYTES_MAX:  # else no chunk is put
            room = await self._uploads.room_to_write(repository)
            base, lease = await self._uploads.time()
            upload = replace(upload, base=base, lease=lease)
        await self._store.check_space(body.length or 0)
        length = _Length(None, upload, room=room, digest=digest)
        await self._check_room(upload, length, body.length or 0)
        arrived = await self._receive(upload, body, length, resumable=False)
        await self._commit(repository, user, await self._as_blob(arrived, digest), None)

    async def _check_room(self, upload: Upload, length: _Length, more: int = 0) -> None:
        """Raise QuotaExceeded when so much more does not fit; the commit asks once more."""
        if length.fits(more):
            return
        needed, actor = length.whole + more, actor_of(upload.user)
        await self._uploads.check_room(upload.repository, needed, actor=actor, digest=length.digest)
        length.room = None

    @asynccontextmanager
    async def _ended_when_full(self, upload_id: str) -> AsyncIterator[None]:
        """End the session when its bytes do not fit: so nothing of it is kept."""
        try:
            yield
        except QuotaExceeded:
            self._hashes.forget(upload_id)
            with suppress(UploadUnknown):
                await self._uploads.delete(upload_id)
            raise

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

    async def _begun(self, upload: Upload, body: Body, length: _Length) -> Body | None:
        """Return the body when there is room for it and its first bytes have come.

        None when there are none: also a body of unknown length may be empty, and then nothing the
        session has needs to be read back for it. Raises SizeInvalid when one was announced, and
        QuotaExceeded.
        """
        if body.length == 0:
            return None
        await self._store.check_space(body.length or 0)
        await self._check_room(upload, length, body.length or 0)
        view = memoryview(bytearray(min(body.length or FIRST_BYTES, FIRST_BYTES)))
        count = await body.read_into(view)
        if not count:
            length.end()
            return None
        return _Begun(view[:count], body)

    async def _receive(
        self,
        upload: Upload,
        body: Body,
        length: _Length,
        *,
        resumable: bool,
        at_once: bool = True,
    ) -> _Arrived:
        """Store the bytes as chunks after those the upload has.

        When `resumable`, the session's row follows: at the end, also when the client leaves early,
        and `at_once` at every checkpoint. Else its row only says that somebody is at work, and
        what was put meanwhile is noted elsewhere.
        """
        running = await self._hashes.take(upload)
        tail = await self._tail_bytes(upload)
        fresh = partial(self._fresh, upload.repository, upload.user, upload.algorithm)
        at_once = resumable and at_once
        async with (
            Notes(self._uploads, fresh, self._clock) as notes,
            self._writer(running, tail) as writer,
        ):
            due = Checkpoint(self._clock, upload.lease)
            try:
                while count := await body.read_into(await writer.room()):
                    length.count(count)
                    if not length.fits():
                        await self._check_room(upload, length)
                    await writer.add(count)
                    if not due.after(count):
                        continue
                    try:
                        if at_once:
                            upload = await self._record(upload, await writer.flush(), again=writer)
                        else:
                            upload = await self._note(upload, writer, notes)
                    except DatabaseUnavailable:
                        due.again()  # the body goes on; at its end the database must be there
                    else:
                        due.done()
                length.end()
            except BodyIncomplete:
                if resumable:
                    await self._record(upload, await writer.flush(), before=notes.settled)
                    self._hashes.put(upload.upload_id, running)
                raise
            flushed = await writer.flush()
            if resumable:
                recorded = await self._record(upload, flushed, before=notes.settled)
                return _Arrived(recorded, running)
            progress = await self._progress(upload, flushed, before=notes.settled)
            done = _advanced(upload, progress, upload.base)
            return _Arrived(done, running, progress.settled, progress.owed, notes.keep())

    async def _note(self, upload: Upload, writer: BlobWriter, notes: Notes) -> Upload:
        """Name what was put, and keep the session; return the upload with its next base."""
        await self._uploads.touch(upload.upload_id)
        flushed = await writer.flush()
        try:
            base = await notes.record(flushed, upload.base, self._oldest_layout())
        except DatabaseUnavailable:
            writer.take_back(flushed)
            raise
        return replace(upload, base=base)

    def _writer(self, running: RunningHash, tail: bytes) -> BlobWriter:
        """Return a writer with as much on its way as keeps all servers' wires busy."""
        wanted = 0 if self._ahead_store is None else self._ahead_store.ahead_bytes
        self._memory.widen(wanted + BYTES_BESIDE)
        return BlobWriter(
            self._store,
            self._threads,
            running=running,
            tail=tail,
            chunks_in_flight=max(CHUNKS_IN_FLIGHT_MAX, wanted // DEFAULT.average_bytes),
            bytes_in_flight=max(BYTES_IN_FLIGHT_MAX, wanted),
            memory=self._memory,
        )

    async def _record(
        self,
        upload: Upload,
        flushed: Flushed,
        *,
        before: Sequence[ChunkPart] = (),
        again: BlobWriter | None = None,
    ) -> Upload:
        """Write down how far it has come; a failure is made good by the next flush of `again`."""
        progress = await self._progress(upload, flushed, before)
        now = self._clock.now()
        try:
            base = await self._uploads.advance(upload.upload_id, progress, now=now)
        except DatabaseUnavailable:
            if again is not None:
                again.take_back(flushed)
            raise
        return _advanced(upload, progress, base)

    async def _progress(
        self, upload: Upload, flushed: Flushed, before: Sequence[ChunkPart] = ()
    ) -> UploadProgress:
        """Return what it amounts to, the tail durable too where it is not written with the row.

        `before` are chunks of it that were noted elsewhere.
        """
        owed: Sequence[MissingCopy] = ()
        if len(flushed.tail_bytes) <= INLINE_BYTES_MAX:
            tail = UploadTail(inline=bytes(flushed.tail_bytes), chunk=None)
        else:
            part, owed = await self._put_chunk(flushed.tail_bytes)
            tail = UploadTail(inline=None, chunk=part)
        return UploadProgress(
            from_offset=upload.offset,
            offset=flushed.offset,
            hashed=flushed.hashed,
            settled=(*before, *flushed.settled),
            tail=tail,
            owed=(*flushed.owed, *owed),
            layout=self._oldest_layout(),
            base=upload.base,
        )

    async def _put_chunk(self, data: Bytes) -> tuple[ChunkPart, list[MissingCopy]]:
        chunk = chunk_id_of(data)
        result = await self._write(chunk, data)
        owed = [] if result is None else [(chunk, home) for home in result.owed]
        return (chunk, len(data)), owed

    async def _tail_bytes(self, upload: Upload) -> bytes:
        if upload.tail.chunk is not None:
            return await self._store.get(upload.tail.chunk[0])
        return upload.tail.inline or b""

    async def _commit(
        self, repository: str, user: str, new: NewBlob, upload_id: str | None
    ) -> None:
        """Make the blob exist, and whole whatever was lost of it: its bytes have just been put.

        Raises UploadUnknown, and ends the session, when some of them were lost since they came.
        """
        now, actor = self._clock.now(), actor_of(user)
        try:
            await self._blobs.commit(repository, new, upload_id=upload_id, now=now, actor=actor)
        except ChunksLost as error:
            await self._look_for(error.chunks, upload_id)
            await self._lost.heal(error.chunks)
            await self._blobs.commit(repository, new, upload_id=upload_id, now=now, actor=actor)

    async def _look_for(self, chunks: Sequence[bytes], upload_id: str | None) -> None:
        """Return when there is a good copy of each of these."""
        try:
            for chunk in chunks:
                await self._store.get(chunk)
        except (ChunkUnknown, Corrupt) as error:
            if upload_id is not None:
                with suppress(UploadUnknown):
                    await self._uploads.delete(upload_id)
            raise UploadUnknown(
                "bytes of this upload are lost, since the disk that had them failed: "
                "begin again with POST …/blobs/uploads/"
            ) from error

    async def _as_blob(self, arrived: _Arrived, digest: Digest) -> NewBlob:
        """Return the blob that the upload is; raises DigestInvalid when it is another."""
        upload, owed = arrived.upload, arrived.owed
        chunks = await self._hashes.chunks(upload, arrived.unrecorded)
        await self._hashes.check(upload, chunks, digest)
        inline = upload.tail.inline
        if not chunks:
            return NewBlob(Blob(str(digest), upload.offset, inline=inline or b"", recipe=None), ())
        if inline:
            part, more = await self._put_chunk(inline)
            chunks, owed = (*chunks, part), (*owed, *more)
        recipe = encode(Recipe(DEFAULT, chunks))
        blob = Blob(str(digest), upload.offset, inline=None, recipe=recipe)
        return NewBlob(
            blob,
            tuple(dict.fromkeys(chunks)),
            owed,
            self._oldest_layout(),
            base=upload.base,
            notes=arrived.notes,
        )

    def _oldest_layout(self) -> int | None:
        """Return the oldest layout by which this process has placed chunks, for the record."""
        store = self._store
        return store.oldest_layout if isinstance(store, NumberedStore) else None


def _check_order(upload: Upload, at: int | None) -> None:
    if at is not None and at != upload.offset:
        raise UploadOutOfOrder(
            f"the upload continues at byte {upload.offset}, not at {at}", offset=upload.offset
        )


class _Begun:
    """A body whose first bytes have been read."""

    def __init__(self, first: memoryview, rest: Body) -> None:
        self.length = rest.length
        self._first = first
        self._rest = rest

    async def read_into(self, view: memoryview) -> int:
        """Fill the view; see Body."""
        count = min(len(self._first), len(view))
        if not count:
            return await self._rest.read_into(view)
        view[:count] = self._first[:count]
        self._first = self._first[count:]
        return count


def _advanced(upload: Upload, progress: UploadProgress, base: Base) -> Upload:
    """Return the upload as it is after that; what is put from now on has this base."""
    return replace(
        upload,
        offset=progress.offset,
        hashed=progress.hashed,
        tail=progress.tail,
        base=base,
    )
