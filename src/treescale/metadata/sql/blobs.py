"""Blobs and their links in SQL."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.engine import Connection

from treescale.errors import BlobUnknown, DatabaseAway
from treescale.metadata.records import Blob, ChunkPart, NewBlob
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    repositories,
    repository_blobs,
    uploads,
)
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.owed import write_debts
from treescale.metadata.sql.statements import (
    hold_repository,
    id_of,
    insert_or_ignore,
    insert_or_update,
)

lease_seconds: Final = 24 * 3600
"""How long a fresh link keeps its blob, whatever refers to it: a push takes no longer."""
chunk_rows_max: Final = 2000
"""Rows per statement: keeps the memory for parameters bounded."""
source_names_max: Final = 500
_attempts_max: Final = 5

_COLUMNS: Final = (blobs.c.digest, blobs.c.size, blobs.c.inline, blobs.c.recipe)
_LINK: Final = (
    repository_blobs.c.repository_id == id_of(),
    repository_blobs.c.digest == bindparam("digest"),
)

FIND: Final = select(*_COLUMNS).select_from(repository_blobs.join(blobs)).where(*_LINK)
UNLINK: Final = delete(repository_blobs).where(*_LINK)
LIST: Final = (
    select(*_COLUMNS)
    .select_from(repository_blobs.join(blobs))
    .where(
        repository_blobs.c.repository_id == id_of(),
        repository_blobs.c.digest > bindparam("after"),
    )
    .order_by(repository_blobs.c.digest)
    .limit(bindparam("limit"))
)
# Holds the source's link, so that the blob stays linked until ours is written.
FIND_SOURCE: Final = (
    select(repository_blobs.c.blob_id)
    .select_from(repository_blobs.join(repositories))
    .where(
        repositories.c.name.in_(bindparam("sources", expanding=True)),
        repository_blobs.c.digest == bindparam("digest"),
    )
    .limit(1)
    .with_for_update(read=True, key_share=True)
)
_INSERT: Final = insert_or_ignore(blobs, returning=blobs.c.blob_id)
LOCK: Final = (
    select(blobs.c.blob_id, blobs.c.inline, blobs.c.recipe)
    .where(blobs.c.digest == bindparam("digest"))
    .with_for_update(key_share=True)
)
REPLACE: Final = (
    update(blobs)
    .where(blobs.c.blob_id == bindparam("row_id"))
    .values(inline=bindparam("new_inline"), recipe=bindparam("new_recipe"))
)
_INSERT_CHUNK: Final = insert_or_ignore(chunks)
FORGET_CHUNKS: Final = delete(blob_chunks).where(blob_chunks.c.blob_id == bindparam("row_id"))
_REFER: Final = insert(blob_chunks)
_WRITE_LINK: Final = insert_or_update(
    repository_blobs, ["blob_id", "lease_until"], later="lease_until"
)
END_UPLOAD: Final = delete(uploads).where(uploads.c.upload_id == bindparam("upload_id"))


class SqlBlobs:
    """Implements `protocols.Blobs`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, repository: str, digest: str) -> Blob:
        """Return the blob when linked to this repository; else raises BlobUnknown."""
        row = await self._connections.row(FIND, {"repository": repository, "digest": digest})
        if row is None:
            raise _unknown(repository, digest)
        return _blob(row)

    async def commit(
        self, repository: str, new: NewBlob, *, upload_id: str | None, now: float
    ) -> None:
        """Make the blob exist, linked and leased, and end the upload: one transaction."""

        def work(connection: Connection) -> None:
            row_id = hold_repository(connection, repository, now=now)
            blob_id = _write_blob(connection, new)
            _link(connection, row_id, new.blob.digest, blob_id, now=now)
            if upload_id is not None:
                connection.execute(END_UPLOAD, {"upload_id": upload_id})
            write_debts(connection, new.owed, now=now)

        await self._connections.write(work)

    async def mount(
        self, repository: str, digest: str, sources: Sequence[str], *, now: float
    ) -> bool:
        """Link the blob if one of `sources` has it, and renew its lease; False when none has."""

        def work(connection: Connection) -> bool:
            blob_id = _find_source(connection, digest, sources)
            if blob_id is None:
                return False
            row_id = hold_repository(connection, repository, now=now)
            _link(connection, row_id, digest, blob_id, now=now)
            return True

        return await self._connections.write(work)

    async def unlink(self, repository: str, digest: str) -> None:
        """Remove the link; raises BlobUnknown when there is none."""
        gone = await self._connections.change(UNLINK, {"repository": repository, "digest": digest})
        if gone == 0:
            raise _unknown(repository, digest)

    async def list_repository(self, repository: str, after: str, limit: int) -> list[Blob]:
        """Return a page of the linked blobs, by digest."""
        page = {"repository": repository, "after": after, "limit": limit}
        return [_blob(row) for row in await self._connections.rows(LIST, page)]


def _find_source(connection: Connection, digest: str, sources: Sequence[str]) -> int | None:
    for start in range(0, len(sources), source_names_max):
        named = {"digest": digest, "sources": sources[start : start + source_names_max]}
        found = connection.execute(FIND_SOURCE, named).scalar_one_or_none()
        if found is not None:
            return int(found)
    return None


def _write_blob(connection: Connection, new: NewBlob) -> int:
    """Make the blob's row and its references to chunks what `new` says; return its row id."""
    blob = new.blob
    row = {
        "digest": blob.digest,
        "size": blob.size,
        "inline": blob.inline,
        "recipe": blob.recipe,
    }
    for _ in range(_attempts_max):
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
    raise DatabaseAway(f"blob {blob.digest} is collected as fast as it is pushed; try again")


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
    for start in range(0, len(ordered), chunk_rows_max):
        page = ordered[start : start + chunk_rows_max]
        connection.execute(
            _INSERT_CHUNK.on(connection),
            [{"chunk": chunk, "length": length} for chunk, length in page],
        )
        connection.execute(_REFER, [{"blob_id": blob_id, "chunk": chunk} for chunk, _ in page])


def _link(
    connection: Connection, repository_id: int, digest: str, blob_id: int, *, now: float
) -> None:
    """Link the blob; a link that is there already only has its lease renewed."""
    link = {
        "repository_id": repository_id,
        "digest": digest,
        "blob_id": blob_id,
        "lease_until": now + lease_seconds,
    }
    connection.execute(_WRITE_LINK.on(connection), link)


def _blob(row: Row[Any]) -> Blob:
    return Blob(digest=row.digest, size=row.size, inline=row.inline, recipe=row.recipe)


def _unknown(repository: str, digest: str) -> BlobUnknown:
    return BlobUnknown(f"no blob {digest} in {repository}")
