"""Upload sessions in SQL.

An advance is one conditional update: it takes place only when the session still has the bytes, and
the settled bytes, that the caller saw, so of two writers exactly one wins even when neither adds
a byte. Parts are numbered by that same update and never change; a reader therefore takes as many
chunks as make up the bytes settled in the row it read, and sees one moment without a transaction.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import Row, bindparam, delete, insert, select, update
from sqlalchemy.engine import Connection

from treescale.errors import UploadOutOfOrder, UploadUnknown
from treescale.metadata.records import ChunkPart, Upload, UploadProgress, UploadTail
from treescale.metadata.schema import upload_parts, uploads
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.owed import write_debts

_ENTRY: Final = struct.Struct(">32sI")
_THIS: Final = uploads.c.upload_id == bindparam("this")

GET: Final = select(uploads).where(_THIS)
PARTS: Final = (
    select(upload_parts.c.entries)
    .where(upload_parts.c.upload_id == bindparam("this"))
    .order_by(upload_parts.c.part)
)
_CREATE: Final = insert(uploads)
ADVANCE: Final = (
    update(uploads)
    .where(
        _THIS,
        uploads.c.offset == bindparam("from_offset"),
        uploads.c.settled_bytes == bindparam("from_settled"),
    )
    .values(
        offset=bindparam("to_offset"),
        hashed=bindparam("to_hashed"),
        settled_bytes=bindparam("to_settled"),
        parts=uploads.c.parts + bindparam("more_parts"),
        tail_inline=bindparam("to_inline"),
        tail_chunk=bindparam("to_chunk"),
        tail_chunk_length=bindparam("to_length"),
        updated=bindparam("now"),
    )
    .returning(uploads.c.parts)
)
OFFSET: Final = select(uploads.c.offset).where(_THIS)
_ADD_PART: Final = insert(upload_parts)
DELETE: Final = delete(uploads).where(_THIS)
# Sessions somebody is writing to at this moment are passed over, not waited for.
DELETE_IDLE: Final = delete(uploads).where(
    uploads.c.upload_id.in_(
        select(uploads.c.upload_id)
        .where(uploads.c.updated < bindparam("before"))
        .order_by(uploads.c.updated)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
    )
)


class SqlUploads:
    """Implements `protocols.Uploads`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def create(self, upload: Upload) -> None:
        """Keep a fresh session (no bytes)."""
        assert upload.offset == 0, "an upload begins empty"
        await self._connections.change(_CREATE, _row(upload), durable=False)

    async def get(self, upload_id: str) -> Upload:
        """Return the session; raises UploadUnknown."""
        row = await self._connections.row(GET, {"this": upload_id})
        if row is None:
            raise _unknown(upload_id)
        return _upload(row)

    async def settled(self, upload_id: str, size: int) -> tuple[ChunkPart, ...]:
        """Return the chunks of the first `size` settled bytes; raises UploadUnknown."""
        rows = await self._connections.rows(PARTS, {"this": upload_id})
        chunks = unpack_parts(row.entries for row in rows)
        ends = list(accumulate((length for _, length in chunks), initial=0))
        count = bisect_left(ends, size)
        if count == len(ends) or ends[count] != size:
            raise _unknown(upload_id)
        return chunks[:count]

    async def advance(self, upload_id: str, progress: UploadProgress, *, now: float) -> None:
        """Append what arrived. Raises UploadUnknown, or UploadOutOfOrder."""

        def work(connection: Connection) -> None:
            change = _change(upload_id, progress, now=now)
            part = connection.execute(ADVANCE, change).scalar_one_or_none()
            if part is None:
                raise _refusal(connection, upload_id, progress)
            if progress.settled:
                entries = {
                    "upload_id": upload_id,
                    "part": part,
                    "entries": pack_parts(progress.settled),
                }
                connection.execute(_ADD_PART, entries)
            write_debts(connection, progress.owed, now=now)

        await self._connections.write(work, durable=False)

    async def delete(self, upload_id: str) -> None:
        """Forget the session; raises UploadUnknown."""
        if await self._connections.change(DELETE, {"this": upload_id}) == 0:
            raise _unknown(upload_id)

    async def delete_idle(self, updated_before: float, limit: int) -> int:
        """Forget up to `limit` sessions idle since then; return how many."""
        idle = {"before": updated_before, "limit": limit}
        return await self._connections.change(DELETE_IDLE, idle)


def pack_parts(parts: Iterable[ChunkPart]) -> bytes:
    """Return 36 bytes per chunk: its id, then its length, big-endian (docs/schema.md)."""
    return b"".join(_ENTRY.pack(chunk, length) for chunk, length in parts)


def unpack_parts(packed: Iterable[bytes]) -> tuple[ChunkPart, ...]:
    """Return the chunks of several packed lists, in order."""
    return tuple(
        (chunk, length) for entries in packed for chunk, length in _ENTRY.iter_unpack(entries)
    )


def _change(upload_id: str, progress: UploadProgress, *, now: float) -> dict[str, object]:
    """Return ADVANCE's parameters.

    The settled bytes that the caller saw follow from what it says comes out: all bytes less the
    tail and what it settles now.
    """
    settled_now = sum(length for _, length in progress.settled)
    settled = progress.offset - progress.tail.size
    chunk, length = progress.tail.chunk or (None, None)
    return {
        "this": upload_id,
        "from_offset": progress.from_offset,
        "from_settled": settled - settled_now,
        "to_offset": progress.offset,
        "to_hashed": progress.hashed,
        "to_settled": settled,
        "more_parts": 1 if progress.settled else 0,
        "to_inline": progress.tail.inline,
        "to_chunk": chunk,
        "to_length": length,
        "now": now,
    }


def _refusal(
    connection: Connection, upload_id: str, progress: UploadProgress
) -> UploadUnknown | UploadOutOfOrder:
    offset = connection.execute(OFFSET, {"this": upload_id}).scalar_one_or_none()
    if offset is None:
        return _unknown(upload_id)
    return UploadOutOfOrder(
        f"the upload has {offset} bytes, not {progress.from_offset}, or another request has "
        "written to it meanwhile: ask where it continues",
        offset=offset,
    )


def _row(upload: Upload) -> dict[str, object]:
    chunk, length = upload.tail.chunk or (None, None)
    return {
        "upload_id": upload.upload_id,
        "repository": upload.repository,
        "user_name": upload.user,
        "algorithm": upload.algorithm,
        "offset": upload.offset,
        "hashed": upload.hashed,
        "settled_bytes": 0,
        "parts": 0,
        "tail_inline": upload.tail.inline,
        "tail_chunk": chunk,
        "tail_chunk_length": length,
        "created": upload.created,
        "updated": upload.updated,
    }


def _upload(row: Row[Any]) -> Upload:
    chunk = None if row.tail_chunk is None else (row.tail_chunk, row.tail_chunk_length)
    return Upload(
        upload_id=row.upload_id,
        repository=row.repository,
        user=row.user_name,
        algorithm=row.algorithm,
        offset=row.offset,
        hashed=row.hashed,
        tail=UploadTail(inline=row.tail_inline, chunk=chunk),
        created=row.created,
        updated=row.updated,
    )


def _unknown(upload_id: str) -> UploadUnknown:
    return UploadUnknown(f"no upload {upload_id}: it has ended, or was never begun; begin again")
