"""Copies that homes have yet to get (table `owed`), and chunks of which no good copy is left.

Of the lost ones the blobs that lack them are known as well. They are written by whoever found them,
and by whoever finds a good copy again; both take one lock on the table, so that two of them never
wait for each other in the middle. Requests only read.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.records import (
    LostBlob,
    LostData,
    MissingCopy,
    Noted,
    OwedCopies,
    is_full,
)
from treescale.metadata.schema import (
    BYTEWISE,
    blob_chunks,
    blobs,
    lost_chunks,
    manifest_references,
    manifests,
    owed,
    repositories,
    repository_blobs,
    stores,
    tags,
)

OWED_ROWS_MAX: Final = 2000
"""Rows of `owed` in one statement: keeps the memory for parameters bounded."""

LIST: Final = ahead(
    select(owed.c.chunk)
    .where(owed.c.store_id == bindparam("store"), owed.c.chunk > bindparam("after"))
    .order_by(owed.c.chunk)
    .limit(bindparam("limit")),
    "after limit store",
)
_SUMMARY: Final = (
    select(owed.c.store_id, func.count().label("copies"), func.min(owed.c.since).label("since"))
    .group_by(owed.c.store_id)
    .order_by(owed.c.store_id)
)
_ADD: Final = insert_or_ignore(owed)
SETTLE: Final = delete(owed).where(
    owed.c.chunk == bindparam("this"), owed.c.store_id == bindparam("store")
)
FORGET: Final = delete(owed).where(
    owed.c.store_id == bindparam("store"),
    owed.c.chunk.in_(
        select(owed.c.chunk)
        .where(owed.c.store_id == bindparam("store"))
        .order_by(owed.c.chunk)
        .limit(bindparam("limit"))
    ),
)

CHUNKS_AT_ONCE_MAX: Final = 500
"""Chunks in one statement."""
CHUNKS_SHOWN_MAX: Final = 100
"""Chunks named of each lost blob."""

_CHUNKS: Final[BindParameter[bytes]] = bindparam("chunks", expanding=True)
_LOCK: Final = text("LOCK TABLE lost_chunks IN SHARE ROW EXCLUSIVE MODE")
STORES: Final = select(stores.c.store_id, stores.c.trouble)
_INSERT: Final = insert_or_ignore(
    lost_chunks, returning=lost_chunks.c.chunk, computed={"since": DatabaseNow()}
)
MARK: Final = (
    update(blobs)
    .where(
        blobs.c.blob_id.in_(
            select(blob_chunks.c.blob_id).where(blob_chunks.c.chunk == bindparam("this"))
        ),
        blobs.c.lost_since.is_(None),
    )
    .values(lost_since=DatabaseNow())
)
# What healing writes, rarely, is found by the chunks that are lost.
AMONG: Final = select(lost_chunks.c.chunk).where(lost_chunks.c.chunk.in_(_CHUNKS))
_HEAL: Final = (
    delete(lost_chunks).where(lost_chunks.c.chunk.in_(_CHUNKS)).returning(lost_chunks.c.chunk)
)
_UNMARK: Final = (
    update(blobs)
    .where(
        blobs.c.blob_id.in_(select(blob_chunks.c.blob_id).where(blob_chunks.c.chunk.in_(_CHUNKS))),
        blobs.c.lost_since.is_not(None),
        ~exists(
            select(literal_column("1"))
            .select_from(blob_chunks.join(lost_chunks, lost_chunks.c.chunk == blob_chunks.c.chunk))
            .where(blob_chunks.c.blob_id == blobs.c.blob_id)
        ),
    )
    .values(lost_since=null())
)
_HOLDERS: Final = (
    select(repository_blobs.c.repository_id, repository_blobs.c.digest)
    .select_from(
        blob_chunks.join(repository_blobs, repository_blobs.c.blob_id == blob_chunks.c.blob_id)
    )
    .where(blob_chunks.c.chunk == bindparam("this"))
)
_REPOSITORIES: Final = (
    select(repositories.c.name)
    .where(repositories.c.repository_id.in_(select(_HOLDERS.subquery("held").c.repository_id)))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)


def _related() -> Select[tuple[bytes]]:
    """Return the query for the chunks of a chunk's blobs, and of the images these belong to."""
    held, near, far = _HOLDERS.cte("held"), manifest_references, manifest_references.alias("far")
    one_manifest = and_(
        far.c.repository_id == near.c.repository_id, far.c.manifest == near.c.manifest
    )
    others = (
        select(far.c.repository_id, far.c.digest)
        .select_from(held)
        .join(near, _same(near, held))
        .join(far, one_manifest)
    )
    blob = select(held.c.repository_id, held.c.digest).union(others).subquery("blob")
    return (
        select(blob_chunks.c.chunk)
        .distinct()
        .select_from(blob)
        .join(repository_blobs, _same(repository_blobs, blob))
        .join(blob_chunks, blob_chunks.c.blob_id == repository_blobs.c.blob_id)
        .limit(bindparam("limit"))
    )


def _same(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(one.c.repository_id == other.c.repository_id, one.c.digest == other.c.digest)


# Background work and administration: these read as much as is concerned.
_LIVE: Final = select(repositories.c.repository_id).where(repositories.c.deleted.is_(None))
_RELATED: Final = _related()
_LINKED: Final[ColumnElement[bool]] = and_(
    blobs.c.lost_since.is_not(None),
    repository_blobs.c.blob_id == blobs.c.blob_id,
    repository_blobs.c.hidden.is_(None),
    repository_blobs.c.repository_id.in_(_LIVE),
)
_CHUNKS_OF_LINKED: Final = ahead(
    select(func.count(lost_chunks.c.chunk.distinct()), func.min(lost_chunks.c.since))
    .select_from(
        lost_chunks.join(blob_chunks, blob_chunks.c.chunk == lost_chunks.c.chunk)
        .join(blobs, blobs.c.blob_id == blob_chunks.c.blob_id)
        .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.blob_id)
    )
    .where(repository_blobs.c.hidden.is_(None), repository_blobs.c.repository_id.in_(_LIVE))
    .where(blobs.c.lost_since.is_not(None))
)
_COUNT_BLOBS: Final = ahead(
    select(func.count(blobs.c.blob_id.distinct()), func.count()).where(_LINKED)
)
_BLOBS: Final = (
    select(
        repositories.c.name,
        repositories.c.repository_id,
        blobs.c.blob_id,
        blobs.c.digest,
        blobs.c.size,
        blobs.c.lost_since,
    )
    .select_from(repository_blobs.join(blobs).join(repositories))
    .where(
        blobs.c.lost_since.is_not(None),
        repository_blobs.c.hidden.is_(None),
        repositories.c.deleted.is_(None),
    )
    .order_by(repositories.c.name, blobs.c.digest)
    .limit(bindparam("limit"))
)
_CHUNKS_OF: Final = (
    select(lost_chunks.c.chunk)
    .join(blob_chunks, blob_chunks.c.chunk == lost_chunks.c.chunk)
    .where(blob_chunks.c.blob_id == bindparam("blob"))
    .order_by(lost_chunks.c.chunk)
)


def _tags() -> Select[tuple[str]]:
    """Return the query for the tags from which a blob is reached: of images and of indexes.

    Not through `subject`: a signature is whole though what it signs is not.
    """
    found = select(
        cast(bindparam("digest"), BYTEWISE).label("digest"),
    ).cte("found", recursive=True)
    refers = manifest_references
    parents = (
        select(refers.c.manifest)
        .select_from(
            refers.join(
                manifests,
                and_(
                    manifests.c.repository_id == refers.c.repository_id,
                    manifests.c.digest == refers.c.manifest,
                ),
            )
        )
        .where(
            refers.c.repository_id == bindparam("row_id"),
            refers.c.digest == found.c.digest,
            or_(manifests.c.subject.is_(None), manifests.c.subject != refers.c.digest),
        )
    )
    found = found.union(parents)
    return (
        select(tags.c.name)
        .where(
            tags.c.repository_id == bindparam("row_id"),
            tags.c.digest.in_(select(found.c.digest)),
        )
        .order_by(tags.c.name)
        .limit(bindparam("limit"))
    )


_TAGS: Final = _tags()


class UnderReplicated:
    """Copies that a chunk's homes have yet to get.

    `Uploads.advance` and `Blobs.commit` add to them in their own transactions. Such a row may
    outlive its reason (the layout changed, the upload was given up): who makes the copy looks
    first, and settles then.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, missing: Iterable[MissingCopy], *, now: float) -> None:
        """Note them; those that are known keep the time since when they are owed."""
        noted = tuple(missing)

        def work(connection: Connection) -> None:
            record_missing(connection, noted, now=now)

        await self._connections.write(work)

    async def summary(self) -> list[OwedCopies]:
        """Return for each store that is owed anything how much, by id. For administration."""
        rows = await self._connections.rows(_SUMMARY)
        return [OwedCopies(row.store_id, row.copies, row.since) for row in rows]

    async def list(self, store_id: str, after: bytes, limit: int) -> list[bytes]:
        """Return a page of the chunks owed to the store, by id; `after` = b"" starts."""
        page = {"store": store_id, "after": after, "limit": limit}
        return [bytes(row.chunk) for row in await self._connections.rows(LIST, page)]

    async def settle(self, missing: Iterable[MissingCopy]) -> None:
        """Strike them off, when the copies are durable; unknown ones do not matter."""
        settled = tuple(missing)

        def work(connection: Connection) -> None:
            for page in _copies(settled):
                rows = [{"this": chunk, "store": store} for chunk, store in page]
                connection.execute(SETTLE, rows)

        await self._connections.write(work)

    async def forget(self, store_id: str, limit: int) -> int:
        """Strike off up to `limit` of what is owed to a store that was forgotten; return how many.

        Bounded, because there may be millions: call it until it returns 0.
        """
        return await self._connections.change(FORGET, {"store": store_id, "limit": limit})


class LostChunks:
    """Chunks of which no store has a good copy, and the blobs that lack them.

    Noted by readers and verifications, in both places in one transaction; while `Blob.lost_since`
    is set the blob is absent for who would build on it (HEAD, mount, manifests), and GET goes on
    to try.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def note(self, chunk: bytes, answered: Collection[str]) -> Noted:
        """Note that the stores that `answered`, by id, have no good copy of the chunk; idempotent.

        Only when these are all stores of the cluster and none of them is in trouble (a full one is
        not): else UNPROVEN, and nothing is noted. Since when is the database's time.
        """

        def work(connection: Connection) -> Noted:
            _lock(connection)
            for store_id, trouble in connection.execute(STORES):
                if store_id not in answered or (trouble and not is_full(trouble)):
                    return Noted.UNPROVEN
            row = {"chunk": chunk}
            new = connection.execute(_INSERT.on(connection), row).scalar_one_or_none()
            connection.execute(MARK, {"this": chunk})
            return Noted.KNOWN if new is None else Noted.NEW

        return await self._connections.write(work)

    async def heal(self, chunks: Iterable[bytes]) -> list[bytes]:
        """Note that there is a good copy of each again; return those that were lost.

        Blobs all of whose chunks are there again are whole.
        """
        wanted = sorted(set(chunks))

        def work(connection: Connection) -> list[bytes]:
            _lock(connection)
            found: list[bytes] = []
            for page in _pages(wanted):
                found += map(bytes, connection.execute(_HEAL, {"chunks": page}).scalars())
            for page in _pages(found):
                connection.execute(_UNMARK, {"chunks": page})
            return found

        return await self._connections.write(work)

    async def among(self, chunks: Iterable[bytes]) -> list[bytes]:
        """Return which of these are lost."""
        found: list[bytes] = []
        for page in _pages(sorted(set(chunks))):
            rows = await self._connections.rows(AMONG, {"chunks": page})
            found += (bytes(row.chunk) for row in rows)
        return found

    async def repositories(self, chunk: bytes, limit: int) -> list[str]:
        """Return up to `limit` repositories that have a blob with the chunk."""
        rows = await self._connections.rows(_REPOSITORIES, {"this": chunk, "limit": limit})
        return [row.name for row in rows]

    async def related(self, chunk: bytes, limit: int) -> list[bytes]:
        """Return up to `limit` chunks of the blobs that have the chunk, and of their images."""
        rows = await self._connections.rows(_RELATED, {"this": chunk, "limit": limit})
        return [bytes(row.chunk) for row in rows]

    async def overview(self, limit: int) -> LostData:
        """Return what is lost, with up to `limit` blobs by repository. For administration."""
        (counted,) = await self._connections.rows(_CHUNKS_OF_LINKED)
        chunk_count, since = tuple(counted)
        (counted,) = await self._connections.rows(_COUNT_BLOBS)
        blob_count, link_count = map(int, counted)
        rows = await self._connections.rows(_BLOBS, {"limit": limit}) if link_count else ()
        found: list[LostBlob] = []
        for row in rows:
            chunks = await self._connections.rows(_CHUNKS_OF, {"blob": row.blob_id})
            place = {"row_id": row.repository_id, "digest": row.digest, "limit": limit}
            named = await self._connections.rows(_TAGS, place)
            found.append(
                LostBlob(
                    repository=row.name,
                    digest=row.digest,
                    size=row.size,
                    since=row.lost_since,
                    chunk_count=len(chunks),
                    chunks=tuple(bytes(each.chunk) for each in chunks[:CHUNKS_SHOWN_MAX]),
                    tags=tuple(each.name for each in named),
                )
            )
        return LostData(int(chunk_count), blob_count, link_count, since, tuple(found))


def record_missing(connection: Connection, missing: Iterable[MissingCopy], *, now: float) -> None:
    """Note missing copies inside a transaction: the last that it locks, in one order everywhere.

    So no two writes wait for each other.
    """
    for page in _copies(missing):
        rows = [{"chunk": chunk, "store_id": store, "since": now} for chunk, store in page]
        connection.execute(_ADD.on(connection), rows)


def _copies(missing: Iterable[MissingCopy]) -> Iterator[list[MissingCopy]]:
    ordered = sorted(set(missing))
    for start in range(0, len(ordered), OWED_ROWS_MAX):
        yield ordered[start : start + OWED_ROWS_MAX]


def lost_among(connection: Connection, chunks: Iterable[bytes]) -> list[bytes]:
    """Return which of these are lost, inside a transaction."""
    found: list[bytes] = []
    for page in _pages(sorted(set(chunks))):
        found += map(bytes, connection.execute(AMONG, {"chunks": page}).scalars())
    return found


def _lock(connection: Connection) -> None:
    """Keep others from noting and healing until the transaction ends; readers are not kept."""
    if connection.dialect.name == "postgresql":  # SQLite's writers are alone anyway
        connection.execute(_LOCK)


def _pages(chunks: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(chunks), CHUNKS_AT_ONCE_MAX):
        yield chunks[start : start + CHUNKS_AT_ONCE_MAX]
