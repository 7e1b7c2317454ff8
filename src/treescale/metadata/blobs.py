"""Blobs, their links to repositories, and which chunks they name.

What `find` read, and what `commit` wrote, is kept: while the database is away a pull goes on with
it. `cache.answers` decides what may be answered; what takes something away forgets it here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Executable,
    LargeBinary,
    Row,
    Text,
    any_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    null,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from treescale.cache.answers import AnswerCache
from treescale.clock import Clock
from treescale.errors import (
    BlobUnknown,
    ChunksLost,
    DatabaseUnavailable,
    QuotaExceeded,
    ReadOnly,
    Refused,
    Unsupported,
    UploadUnknown,
)
from treescale.lease_times import LINK_LEASES
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import Insert, NewRow, Upsert, insert_or_ignore
from treescale.metadata.layouts import OldestLayout, check_writable, lease_seconds
from treescale.metadata.limits.settling import Gain, explained, settle
from treescale.metadata.missing_copies import lost_among, record_missing
from treescale.metadata.records import Blob, ChunkPart, NewBlob
from treescale.metadata.repositories import Held, hold, id_of
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    upload_parts,
    uploads,
)
from treescale.metadata.uploads import DELETE as END_NOTES
from treescale.metadata.uploads import check_fence, check_in_time, end_session, unpack_parts

CHUNK_ROWS_MAX: Final = 2000
"""Rows per statement: keeps the memory for parameters bounded."""
SOURCE_NAMES_MAX: Final = 500
_ATTEMPTS_MAX: Final = 5
_IS_REPLICA: Final = select(func.pg_is_in_recovery())

_COLUMNS: Final = (
    blobs.c.digest,
    blobs.c.size,
    blobs.c.inline,
    blobs.c.recipe,
    blobs.c.lost_since,
    (repository_blobs.c.lease_until - lease_seconds()).label("promised_until"),
)
_NAMED: Final = (
    repository_blobs.c.repository_id == id_of(),
    repository_blobs.c.digest == bindparam("digest"),
)
_LINK: Final = (*_NAMED, repository_blobs.c.hidden.is_(None))
_LEASE_ENDS: Final = DatabaseNow() + LINK_LEASES * lease_seconds()

FIND: Final = ahead(
    select(*_COLUMNS, DatabaseNow().label("now"))
    .select_from(repository_blobs.join(blobs))
    .where(*_LINK),
    "digest repository",
)
_THIS_LINK: Final = (
    repository_blobs.c.repository_id == id_of(),
    repository_blobs.c.digest == bindparam("this"),
    repository_blobs.c.hidden.is_(None),
)
RENEW: Final = update(repository_blobs).where(*_THIS_LINK).values(lease_until=_LEASE_ENDS)
HOLD_LINK: Final = select(repository_blobs.c.repository_id).where(*_THIS_LINK).with_for_update()
REFERRING: Final = (
    select(manifests.c.digest)
    .select_from(
        manifest_references.join(
            manifests,
            (manifests.c.repository_id == manifest_references.c.repository_id)
            & (manifests.c.digest == manifest_references.c.manifest),
        )
    )
    .where(
        manifest_references.c.repository_id == bindparam("row_id"),
        manifest_references.c.digest == bindparam("digest"),
        manifests.c.deleted.is_(None),
    )
    .limit(1)
)
# The collector looks at it soon: it stays as long as deleted manifests refer to it.
HIDE: Final = (
    update(repository_blobs)
    .where(*_THIS_LINK)
    .values(hidden=DatabaseNow(), lease_until=DatabaseNow())
)
LIST: Final = (
    select(*_COLUMNS)
    .select_from(repository_blobs.join(blobs))
    .where(
        repository_blobs.c.repository_id == id_of(),
        repository_blobs.c.digest > bindparam("after"),
        repository_blobs.c.hidden.is_(None),
    )
    .order_by(repository_blobs.c.digest)
    .limit(bindparam("limit"))
)
# Holds the source's link, so that the blob stays linked until ours is written.
FIND_SOURCE: Final = (
    select(repository_blobs.c.blob_id, blobs.c.size)
    .select_from(repository_blobs.join(repositories).join(blobs))
    .where(
        repositories.c.name.in_(bindparam("sources", expanding=True)),
        repository_blobs.c.digest == bindparam("digest"),
        repository_blobs.c.hidden.is_(None),
        blobs.c.lost_since.is_(None),
    )
    .limit(1)
    .with_for_update(read=True, key_share=True, of=(repository_blobs, repositories))
)
_INSERT: Final = ahead(
    insert_or_ignore(blobs, returning=blobs.c.blob_id), "digest inline recipe size"
)
LOCK: Final = (
    select(blobs.c.blob_id, blobs.c.inline, blobs.c.recipe)
    .where(blobs.c.digest == bindparam("digest"))
    .with_for_update(key_share=True)
)
REPLACE: Final = (
    update(blobs)
    .where(blobs.c.blob_id == bindparam("row_id"))
    .values(inline=bindparam("new_inline"), recipe=bindparam("new_recipe"), lost_since=null())
)
_INSERT_CHUNK: Final = ahead(insert_or_ignore(chunks), "chunk length", many=True)
# An insert that finds the row there does not hold it: it must not be collected before it is
# referred to (collection.md R24). On SQLite writers are alone.
_HOLD_CHUNKS: Final = (
    select(chunks.c.chunk)
    .where(chunks.c.chunk == any_(bindparam("page", type_=ARRAY(LargeBinary()))))
    .order_by(chunks.c.chunk)
    .with_for_update(read=True, key_share=True)
)
FORGET_CHUNKS: Final = delete(blob_chunks).where(blob_chunks.c.blob_id == bindparam("row_id"))
_REFER: Final = ahead(insert(blob_chunks), "blob_id chunk", many=True)


def _write_link() -> Upsert:
    """Return what links a blob, or shows the link again; its lease is never shortened."""
    row = {
        "repository_id": bindparam("repository_id", type_=BigInteger()),
        "digest": bindparam("digest", type_=Text()),
        "blob_id": bindparam("blob_id", type_=BigInteger()),
        "lease_until": _LEASE_ENDS,
    }
    there = repository_blobs.c.lease_until

    def written(new: NewRow) -> dict[str, Any]:
        later = case((there > new.lease_until, there), else_=new.lease_until)
        return {"blob_id": new.blob_id, "lease_until": later, "hidden": null()}

    keys = ["repository_id", "digest"]

    def make(insert: Insert) -> Executable:
        new = insert(repository_blobs).values(row)
        return new.on_conflict_do_update(index_elements=keys, set_=written(new.excluded))

    return Upsert(make)


_WRITE_LINK: Final = ahead(_write_link(), "blob_id digest repository_id")


NAMED_AT_ONCE: Final = 10_000
PARTS_AT_ONCE: Final = 50
"""Rows of up to 1,000 chunks each, as a rule."""
TAILS_AT_ONCE: Final = 1000
ASKED_AT_ONCE: Final = 500

NAMED: Final = ahead(
    select(chunks.c.chunk, chunks.c.length)
    .where(
        chunks.c.chunk > bindparam("after"),
        chunks.c.chunk < bindparam("end"),
        exists(select(blob_chunks.c.chunk).where(blob_chunks.c.chunk == chunks.c.chunk)),
    )
    .order_by(chunks.c.chunk)
    .limit(bindparam("limit")),
    "after end limit",
)
PARTS_AFTER: Final = ahead(
    select(upload_parts.c.upload_id, upload_parts.c.part, upload_parts.c.entries)
    .where(
        tuple_(upload_parts.c.upload_id, upload_parts.c.part)
        > tuple_(bindparam("upload", type_=Text()), bindparam("part", type_=BigInteger()))
    )
    .order_by(upload_parts.c.upload_id, upload_parts.c.part)
    .limit(bindparam("limit")),
    "limit part upload",
)
TAILS: Final = ahead(
    select(uploads.c.upload_id, uploads.c.tail_chunk, uploads.c.tail_chunk_length)
    .where(uploads.c.upload_id > bindparam("upload"))
    .order_by(uploads.c.upload_id)
    .limit(bindparam("limit")),
    "limit upload",
)
NAMED_AMONG: Final = select(blob_chunks.c.chunk).where(
    blob_chunks.c.chunk.in_(bindparam("chunks", expanding=True))
)

Lengths = dict[bytes, int]
"""The length of each chunk, by id."""


class Blobs:
    """Blobs and their links to repositories."""

    def __init__(
        self,
        connections: Connections,
        layouts: OldestLayout,
        known: AnswerCache[Blob],
        clock: Clock,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._layouts = layouts
        self._known = known

    async def find(self, repository: str, digest: str) -> Blob:
        """Return the blob when linked to this repository; else raises BlobUnknown.

        Also one that is lost: see `Blob.lost_since`.
        """
        return await self._known.read(repository, digest, self._find, _bytes_kept)

    def current(self, repository: str, digest: str) -> Blob | None:
        """Return what `find` would from memory, at once; None where it would ask."""
        return self._known.current(repository, digest)

    async def commit(
        self, repository: str, new: NewBlob, *, upload_id: str | None, now: float, actor: str
    ) -> None:
        """Make the blob exist, linked and leased, and end the upload: one transaction.

        What `new.owed` says is in it too (faults.md G2): no blob exists whose missing copies nobody
        knows of. A blob of this digest may exist already (its recipe is then replaced by this one),
        linked or not.

        Raises, and nothing changes: UploadUnknown or UploadOutOfOrder when the upload is not any
        more as `new.session` says, or `new.notes` have ended; NotRecorded when chunks were put too
        long after `new.base`; ChunksLost when chunks of it are noted as lost: whoever has put them
        again says so first; BeingPurged and UploadUnknown as `check_fence` does.
        """

        def work(connection: Connection) -> None:
            held = hold(connection, repository, actor=actor, now=now)
            if upload_id is not None:
                assert new.session is not None, "an upload ends as its pusher knew it"
                end_session(connection, upload_id, new.session)
            if new.notes is not None and not changed(connection, END_NOTES, {"this": new.notes}):
                raise UploadUnknown("what this upload noted of its bytes is gone: begin again")
            if held.any_lost:
                _check_whole(connection, new)
            if held.any_purged:
                check_fence(connection, new.chunks, new.base)
            self._layouts.note(connection, new.layout)
            blob_id = _write_blob(connection, new)
            _link(connection, held.row_id, new.blob.digest, blob_id)
            _settle(connection, held, new.blob.digest, new.blob.size, actor)
            record_missing(connection, new.owed, now=now)
            check_in_time(connection, new.base)

        mark = self._known.begin()
        try:
            await self._connections.write(work)
        except QuotaExceeded as refused:
            raise await explained(self._connections, refused, actor) from None
        self._layouts.done(new.layout)
        self._known.put(repository, new.blob.digest, new.blob, _bytes_kept(new.blob), mark)

    async def mount(
        self, repository: str, digest: str, sources: Sequence[str], *, now: float, actor: str
    ) -> bool:
        """Link the blob if one of `sources` has it, and renew its lease; False when none has.

        One that is lost nobody has.
        """

        def work(connection: Connection) -> None:
            held = hold(connection, repository, actor=actor, now=now)
            found = _find_source(connection, digest, sources)
            if found is None:
                raise _unknown(repository, digest)  # and there is no new repository
            blob_id, size = found
            _link(connection, held.row_id, digest, blob_id)
            _settle(connection, held, digest, size, actor)

        try:
            await self._connections.write(work)
        except QuotaExceeded as refused:
            raise await explained(self._connections, refused, actor) from None
        except BlobUnknown:
            return False
        return True

    async def promise(self, repository: str, digest: str) -> Blob:
        """Return the blob for somebody who will build on it: it stays for a lease from now on.

        Whatever takes it away meanwhile: only who deletes it does so sooner. From memory when that
        was promised lately. Raises BlobUnknown, and DatabaseUnavailable: what was true lately is
        no promise.
        """
        found = self._known.current(repository, digest)
        if found is not None and self.is_promised(found):
            return found
        named, mark = {"repository": repository, "digest": digest}, self._known.begin()
        row = await self._connections.row(FIND, named)
        if row is not None and row.promised_until <= row.now:
            this = {"repository": repository, "this": digest}
            renewed = await self._connections.change(RENEW, this)
            row = await self._connections.row(FIND, named) if renewed else None
        if row is None:
            self._known.invalidate(repository, digest)
            raise _unknown(repository, digest)
        blob = _blob(row)
        self._known.put(repository, digest, blob, _bytes_kept(blob), mark)
        return blob

    def is_promised(self, blob: Blob) -> bool:
        """Say whether `promise` would promise it without asking, as far as it is `current`."""
        return blob.promised_until > self._clock.now()

    async def unlink(self, repository: str, digest: str) -> None:
        """Take the blob out of the repository; raises BlobUnknown when it is not there.

        Raises Unsupported when a manifest refers to it. As long as deleted manifests do, it comes
        back with them. The collector takes the link away, and the blob with the last one.
        """
        this = {"repository": repository, "this": digest}

        def work(connection: Connection) -> None:
            check_writable(connection, repository)
            row_id = connection.execute(HOLD_LINK, this).scalar_one_or_none()
            if row_id is None:
                raise _unknown(repository, digest)
            # A statement of its own, after the lock: whoever held the link has written by now.
            wanted = {"row_id": row_id, "digest": digest}
            manifest = connection.execute(REFERRING, wanted).scalar_one_or_none()
            if manifest is not None:
                raise Unsupported(
                    f"manifest {manifest} refers to {digest}: delete the manifest instead, and "
                    "the blob goes with the last that needs it"
                )
            connection.execute(HIDE, this)

        try:
            await self._connections.write(work)
        except (ReadOnly, Unsupported):
            raise  # it is there
        except Refused:
            self._known.invalidate(repository, digest)
            raise
        self._known.invalidate(repository, digest)

    async def list_repository(self, repository: str, after: str, limit: int) -> list[Blob]:
        """Return a page of the linked blobs, by digest. For administration."""
        page = {"repository": repository, "after": after, "limit": limit}
        return [_blob(row) for row in await self._connections.rows(LIST, page)]

    def forget_repository(self, name: str) -> None:
        """Know nothing of what is in a repository."""
        self._known.invalidate_all(name, lambda _: True)

    async def _find(self, repository: str, digest: str) -> Blob:
        row = await self._connections.row(FIND, {"repository": repository, "digest": digest})
        if row is None:
            raise _unknown(repository, digest)
        return _blob(row)


class References:
    """Which chunks rows name: those of blobs, and those of uploads that are not finished.

    For background work: each read is a page of an index range. A chunk goes from its session to a
    blob in one transaction, so who reads the sessions first and the blobs after them misses none
    (collection.md R3).
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def in_sessions(self, is_wanted: Callable[[bytes], bool]) -> Lengths:
        """Return what unfinished uploads name, of the chunks wanted. Reads all sessions.

        Tails first: what was one may be settled while this reads, and is then in a part.
        """
        found: Lengths = {}

        def note(parts: Iterable[tuple[bytes, int]]) -> None:
            found.update((chunk, length) for chunk, length in parts if is_wanted(chunk))

        upload = ""
        while rows := await self._connections.rows(
            TAILS, {"upload": upload, "limit": TAILS_AT_ONCE}
        ):
            note((bytes(row.tail_chunk), row.tail_chunk_length) for row in rows if row.tail_chunk)
            upload = rows[-1].upload_id
        upload, part = "", -1
        while rows := await self._connections.rows(
            PARTS_AFTER, {"upload": upload, "part": part, "limit": PARTS_AT_ONCE}
        ):
            note(unpack_parts(row.entries for row in rows))
            upload, part = rows[-1].upload_id, rows[-1].part
        return found

    async def in_blobs(self, after: bytes, end: bytes) -> Lengths:
        """Return what blobs name between these ids, both excluded."""
        found: Lengths = {}
        while rows := await self._connections.rows(
            NAMED, {"after": after, "end": end, "limit": NAMED_AT_ONCE}
        ):
            found |= {bytes(chunk): length for chunk, length in map(tuple, rows)}
            after = bytes(rows[-1].chunk)
            if len(rows) < NAMED_AT_ONCE:
                break
        return found

    async def after_writers(self) -> None:
        """Return once no transaction is open that was when this began, and may name a chunk.

        On SQLite it has the lock of writers for a moment, and changes nothing; PostgreSQL ends by
        itself what stands open. Raises DatabaseUnavailable on one that follows another: it may not
        know yet what is named.
        """
        await self._connections.write(_check_leads, durable=False)

    async def among(self, wanted: Iterable[bytes]) -> set[bytes]:
        """Return which of these a blob, or an unfinished upload, names."""
        left = frozenset(wanted)
        found = set(await self.in_sessions(left.__contains__))
        for page in _pages(sorted(left - found)):
            rows = await self._connections.rows(NAMED_AMONG, {"chunks": page})
            found |= {bytes(row.chunk) for row in rows}
        return found


def _check_leads(connection: Connection) -> None:
    if connection.dialect.name == "postgresql" and connection.execute(_IS_REPLICA).scalar_one():
        raise DatabaseUnavailable("this PostgreSQL is a replica: it may not know what is named")


def _find_source(
    connection: Connection, digest: str, sources: Sequence[str]
) -> tuple[int, int] | None:
    """Hold a link to the blob in one of these; return its row id and its bytes."""
    for start in range(0, len(sources), SOURCE_NAMES_MAX):
        named = {"digest": digest, "sources": sources[start : start + SOURCE_NAMES_MAX]}
        found = connection.execute(FIND_SOURCE, named).one_or_none()
        if found is not None:
            return int(found.blob_id), int(found.size)
    return None


def _check_whole(connection: Connection, new: NewBlob) -> None:
    """Raise ChunksLost when it has chunks of which nobody has had a good copy."""
    lost = lost_among(connection, (chunk for chunk, _ in new.chunks))
    if lost:
        raise ChunksLost(f"{len(lost)} chunks of {new.blob.digest} are lost", chunks=tuple(lost))


def _write_blob(connection: Connection, new: NewBlob) -> int:
    """Make the blob's row and its references to chunks what `new` says; return its row id."""
    blob = new.blob
    row = {
        "digest": blob.digest,
        "size": blob.size,
        "inline": blob.inline,
        "recipe": blob.recipe,
    }
    for _ in range(_ATTEMPTS_MAX):
        fresh = connection.execute(_INSERT.on(connection), row).scalar_one_or_none()
        if fresh is not None:
            _refer(connection, fresh, new.chunks)
            return int(fresh)
        old = connection.execute(LOCK, {"digest": blob.digest}).one_or_none()
        if old is None:  # it was there, and was collected before we could hold it
            continue
        if (old.inline, old.recipe) != (blob.inline, blob.recipe):
            _replace(connection, old.blob_id, new)
        return int(old.blob_id)
    raise DatabaseUnavailable(f"blob {blob.digest} is collected as fast as it is pushed; try again")


def _replace(connection: Connection, blob_id: int, new: NewBlob) -> None:
    """Put another recipe, and the references that go with it, in the place of the old."""
    connection.execute(
        REPLACE,
        {"row_id": blob_id, "new_inline": new.blob.inline, "new_recipe": new.blob.recipe},
    )
    connection.execute(FORGET_CHUNKS, {"row_id": blob_id})
    _refer(connection, blob_id, new.chunks)


def _refer(connection: Connection, blob_id: int, parts: Sequence[ChunkPart]) -> None:
    """Add the chunks, in one order everywhere so that two pushes never wait for each other."""
    ordered = sorted(dict(parts).items())
    for start in range(0, len(ordered), CHUNK_ROWS_MAX):
        page = ordered[start : start + CHUNK_ROWS_MAX]
        _hold_chunks(connection, page)
        connection.execute(_REFER, [{"blob_id": blob_id, "chunk": chunk} for chunk, _ in page])


def _hold_chunks(connection: Connection, page: Sequence[ChunkPart]) -> None:
    """Make chunk rows, and hold those that were there already."""
    if connection.dialect.name == "sqlite":
        connection.execute(_INSERT_CHUNK.on(connection), _chunk_rows(page))
        return
    missing = dict(page)
    for _ in range(_ATTEMPTS_MAX):
        connection.execute(_INSERT_CHUNK.on(connection), _chunk_rows(missing.items()))
        held = connection.execute(_HOLD_CHUNKS, {"page": list(missing)}).scalars()
        for chunk in held:
            del missing[bytes(chunk)]
        if not missing:
            return
    raise DatabaseUnavailable("chunks are collected as fast as they are pushed; try again")


def _chunk_rows(parts: Iterable[ChunkPart]) -> list[dict[str, object]]:
    return [{"chunk": chunk, "length": length} for chunk, length in parts]


def _link(connection: Connection, repository_id: int, digest: str, blob_id: int) -> None:
    """Link the blob; a link that is there already only has its lease renewed."""
    link = {"repository_id": repository_id, "digest": digest, "blob_id": blob_id}
    connection.execute(_WRITE_LINK.on(connection), link)


def _settle(connection: Connection, held: Held, digest: str, size: int, actor: str) -> None:
    """Take a blob that was linked into account, where its namespace has limits."""
    if held.is_limited:
        settle(connection, Gain(held.row_id, {digest: size}, is_new=held.is_new), actor=actor)


def _blob(row: Row[Any]) -> Blob:
    return Blob(
        digest=row.digest,
        size=row.size,
        inline=row.inline,
        recipe=row.recipe,
        lost_since=row.lost_since,
        promised_until=row.promised_until,
    )


def _bytes_kept(blob: Blob) -> int:
    return len(blob.inline or b"") + len(blob.recipe or b"")


def _unknown(repository: str, digest: str) -> BlobUnknown:
    return BlobUnknown(f"no blob {digest} in {repository}")


def _pages(wanted: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(wanted), ASKED_AT_ONCE):
        yield wanted[start : start + ASKED_AT_ONCE]
