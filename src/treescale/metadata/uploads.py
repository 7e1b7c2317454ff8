"""Upload sessions.

An advance is one conditional update: it takes place only when the session still has the bytes, and
the settled bytes, that the caller saw, so of two writers exactly one wins even when neither adds
a byte. Parts are numbered by that same update and never change; a reader therefore takes as many
chunks as make up the bytes settled in the row it read, and sees one moment without a transaction.

The fence of purging is here, too: whatever names chunks asks, in its transaction, whether they are
being unlinked, or were after they were put (`check_fence`; see `collection.purging`).
"""

import struct
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    LargeBinary,
    Row,
    ScalarSelect,
    Text,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import (
    BeingPurged,
    DatabaseUnavailable,
    NotRecorded,
    QuotaExceeded,
    UploadOutOfOrder,
    UploadUnknown,
)
from treescale.lease_times import RECORD_SHARE
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.recording import actor_of
from treescale.metadata.layouts import (
    NAMED_READ_ONLY_BY,
    WHY,
    OldestLayout,
    ReadOnlyBy,
    is_cluster_read_only,
    lease_seconds,
    named,
    read_only_by,
    refuse,
)
from treescale.metadata.limits.settling import (
    HAS,
    IS_FULL,
    QUOTA,
    ROOM,
    exceeded,
    explained,
    refused,
)
from treescale.metadata.missing_copies import record_missing
from treescale.metadata.records import (
    Base,
    ChunkPart,
    DatabaseTime,
    SessionState,
    Upload,
    UploadProgress,
    UploadTail,
)
from treescale.metadata.schema import (
    counters,
    purged_chunks,
    purges,
    repositories,
    upload_parts,
    uploads,
)

_ENTRY: Final = struct.Struct(">32sI")
_THIS: Final = uploads.c.upload_id == bindparam("this")

PURGES: Final = "purges"
"""The counter of purges that are complete."""
FENCED_AT_ONCE: Final = 500


def _purges() -> ScalarSelect[int]:
    """Return how many purges are complete: what is put after that was never unlinked by one."""
    return select(func.max(counters.c.value)).where(counters.c.name == PURGES).scalar_subquery()


# From the first key on, so that it is a search: it ends with the first row there is.
ANY_PURGED: Final = exists(
    select(purged_chunks.c.chunk).where(purged_chunks.c.chunk >= literal(b"", LargeBinary()))
)
FENCED: Final = (
    select(purges.c.number)
    .select_from(purged_chunks.join(purges, purges.c.purge_id == purged_chunks.c.purge_id))
    .where(
        purged_chunks.c.chunk.in_(bindparam("chunks", expanding=True)),
        or_(purges.c.number.is_(None), purges.c.number > bindparam("seen")),
    )
)
_BASE: Final = (DatabaseNow().label("now"), _purges().label("purges"))
# Of what has no row yet the cluster alone is looked at: `create`, and the commit, look at all.
_READ_ONLY: Final = case(
    (is_cluster_read_only(), literal(ReadOnlyBy.CLUSTER.value, Text())),
    else_=select(read_only_by(repositories.c.namespace, repositories.c.read_only))
    .where(repositories.c.name == uploads.c.repository)
    .scalar_subquery(),
)
GET: Final = ahead(
    select(
        uploads,
        *_BASE,
        lease_seconds().label("lease"),
        _READ_ONLY.label("read_only"),
        ROOM.label("room"),
    ).where(_THIS),
    "namespace this",
)
PARTS: Final = ahead(
    select(upload_parts.c.entries)
    .where(upload_parts.c.upload_id == bindparam("this"))
    .order_by(upload_parts.c.part),
    "this",
)
_GIVEN: Final = [column for column in uploads.columns if column is not uploads.c.updated]
_CREATE: Final = ahead(
    insert(uploads).from_select(
        [*(column.name for column in _GIVEN), "updated"],
        select(
            *(bindparam(column.name, type_=column.type) for column in _GIVEN), DatabaseNow()
        ).where(NAMED_READ_ONLY_BY.is_(None), ~IS_FULL),
    ),
    "algorithm created hashed namespace offset parts repository settled_bytes tail_chunk "
    "tail_chunk_length tail_inline upload_id user_name",
)


def in_time() -> ColumnElement[bool]:
    """Return whether what was put since `base` may still be named: its lease is long enough.

    To be asked in the transaction that names it, and never before (collection.md R5).
    """
    base: BindParameter[float | None] = bindparam("base", type_=Double())
    return or_(base.is_(None), base > DatabaseNow() - lease_seconds() / RECORD_SHARE)


ADVANCE: Final = ahead(
    update(uploads)
    .where(
        _THIS,
        uploads.c.offset == bindparam("from_offset"),
        uploads.c.settled_bytes == bindparam("from_settled"),
        in_time(),
    )
    .values(
        offset=bindparam("to_offset"),
        hashed=bindparam("to_hashed"),
        settled_bytes=bindparam("to_settled"),
        parts=uploads.c.parts + bindparam("more_parts"),
        tail_inline=bindparam("to_inline"),
        tail_chunk=bindparam("to_chunk"),
        tail_chunk_length=bindparam("to_length"),
        updated=DatabaseNow(),
    )
    .returning(uploads.c.parts, *_BASE, ANY_PURGED.label("any_purged")),
    "base from_offset from_settled more_parts this to_chunk to_hashed to_inline to_length "
    "to_offset to_settled",
)
TOUCH: Final = update(uploads).where(_THIS).values(updated=DatabaseNow())
STATE: Final = select(uploads.c.offset, uploads.c.settled_bytes, uploads.c.hashed).where(_THIS)
TIME: Final = select(*_BASE, lease_seconds().label("lease"))
IN_TIME: Final = ahead(select(in_time()), "base")
_ADD_PART: Final = ahead(insert(upload_parts), "entries part upload_id")
DELETE: Final = delete(uploads).where(_THIS)
# Only as its pusher knew it: else somebody has ended it, or gone on with it, meanwhile (R7).
END: Final = ahead(
    DELETE.where(
        uploads.c.offset == bindparam("at_offset"),
        uploads.c.settled_bytes == bindparam("at_settled"),
        uploads.c.hashed == bindparam("at_hashed"),
    ),
    "at_hashed at_offset at_settled this",
)
# Sessions somebody is writing to at this moment are passed over, not waited for.
DELETE_IDLE: Final = delete(uploads).where(
    uploads.c.upload_id.in_(
        select(uploads.c.upload_id)
        .where(uploads.c.updated < DatabaseNow() - bindparam("seconds", type_=Double()))
        .order_by(uploads.c.updated)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
    )
)


_WHY_AND_ROOM: Final = WHY.add_columns(ROOM.label("room"))


class Uploads:
    """Upload sessions.

    What `create` and `advance` wrote survives the end of every process, but perhaps not a power
    cut: the client begins again then. Everything else in this file, heartbeats excepted, is durable
    when it returns.
    """

    def __init__(self, connections: Connections, layouts: OldestLayout) -> None:
        self._connections = connections
        self._layouts = layouts

    async def time(self) -> DatabaseTime:
        """Return the base of what is put from now on, and the lease."""
        row = await self._connections.row(TIME)
        assert row is not None
        return DatabaseTime(_base(row), row.lease)

    async def create(self, upload: Upload) -> None:
        """Keep a fresh session (no bytes); raises ReadOnly, and QuotaExceeded when all is used."""
        assert upload.offset == 0, "an upload begins empty"
        name = upload.repository

        def work(connection: Connection) -> None:
            if changed(connection, _CREATE, {**_row(upload), **named(name)}) == 0:
                refuse(name, connection.execute(WHY, named(name)).scalar_one())
                full = connection.execute(QUOTA, named(name)).one_or_none()
                if full is None:
                    raise DatabaseUnavailable("its quota was taken away just now; try again")
                raise exceeded(full, 0)

        try:
            await self._connections.write(work, durable=False)
        except QuotaExceeded as error:
            raise await explained(self._connections, error, actor_of(upload.user)) from None

    async def room_to_write(self, repository: str) -> int | None:
        """Return how many bytes fit into its namespace now, None for any number.

        Raises ReadOnly when nothing can be pushed there; the commit asks both once more.
        """
        row = await self._connections.row(_WHY_AND_ROOM, named(repository))
        assert row is not None
        refuse(repository, row.why)
        return None if row.room is None else int(row.room)

    async def check_room(
        self, repository: str, needed: int, *, actor: str, digest: str | None = None
    ) -> None:
        """Raise QuotaExceeded when so many bytes do not fit, and `digest` is not there already."""
        namespace = named(repository)["namespace"]
        if digest is not None:
            this = {"namespace": namespace, "digest": digest}
            if await self._connections.row(HAS, this) is not None:
                return
        error = await refused(self._connections, namespace, needed, actor=actor)
        if error is not None:
            raise error

    async def get(self, upload_id: str, namespace: str = "") -> Upload:
        """Return the session; raises UploadUnknown. Costs the same however long it is.

        `namespace` is that of its repository, of which it then says how many bytes fit.
        """
        row = await self._connections.row(GET, {"this": upload_id, "namespace": namespace})
        if row is None:
            raise _unknown(upload_id)
        return _upload(row)

    async def settled(self, upload_id: str, size: int) -> tuple[ChunkPart, ...]:
        """Return the chunks of the first `size` settled bytes, in order.

        They never change, so with the `settled_bytes` of an Upload they are those it had, also
        when the session has moved on since. Raises UploadUnknown when the session does not have
        chunks of just that length: it has ended.
        """
        rows = await self._connections.rows(PARTS, {"this": upload_id})
        chunks = unpack_parts(row.entries for row in rows)
        ends = list(accumulate((length for _, length in chunks), initial=0))
        count = bisect_left(ends, size)
        if count == len(ends) or ends[count] != size:
            raise _unknown(upload_id)
        return chunks[:count]

    async def advance(self, upload_id: str, progress: UploadProgress, *, now: float) -> Base:
        """Append what arrived, and note `progress.owed`; return the next base.

        Raises UploadUnknown; UploadOutOfOrder, which carries the offset in force, when the session
        is not at `progress.from_offset`: of two writers one wins; NotRecorded when what arrived
        was put too long after `progress.base`; BeingPurged, and UploadUnknown when what arrived
        was purged after it was put: as of `check_fence`.
        """

        def work(connection: Connection) -> Base:
            self._layouts.note(connection, progress.layout)
            change = _change(upload_id, progress)
            row = connection.execute(ADVANCE, change).one_or_none()
            if row is None:
                raise _refusal(connection, upload_id, change)
            if row.any_purged:
                tail = [progress.tail.chunk] if progress.tail.chunk else []
                check_fence(connection, [*progress.settled, *tail], progress.base)
            if progress.settled:
                entries = {
                    "upload_id": upload_id,
                    "part": row.parts,
                    "entries": pack_parts(progress.settled),
                }
                connection.execute(_ADD_PART, entries)
            record_missing(connection, progress.owed, now=now)
            return _base(row)

        return await self._connections.write(work, durable=False)

    async def touch(self, upload_id: str) -> None:
        """Note that somebody writes to it; nothing happens when it is gone."""
        await self._connections.change(TOUCH, {"this": upload_id}, durable=False)

    async def delete(self, upload_id: str) -> None:
        """Forget the session; raises UploadUnknown."""
        if await self._connections.change(DELETE, {"this": upload_id}) == 0:
            raise _unknown(upload_id)

    async def delete_idle(self, idle_seconds: float, limit: int) -> int:
        """Forget up to `limit` sessions idle for so long; return how many."""
        idle = {"seconds": idle_seconds, "limit": limit}
        return await self._connections.change(DELETE_IDLE, idle)


def pack_parts(parts: Iterable[ChunkPart]) -> bytes:
    """Return 36 bytes per chunk: its id, then its length, big-endian (docs/schema.md)."""
    return b"".join(_ENTRY.pack(chunk, length) for chunk, length in parts)


def unpack_parts(packed: Iterable[bytes]) -> tuple[ChunkPart, ...]:
    """Return the chunks of several packed lists, in order."""
    return tuple(
        (chunk, length) for entries in packed for chunk, length in _ENTRY.iter_unpack(entries)
    )


def end_session(connection: Connection, upload_id: str, state: SessionState) -> None:
    """Take a session away, if it is as its pusher knew it; else as `advance` refuses it.

    The first statement of a commit: what the session names is named by it until that moment.
    """
    known = {
        "this": upload_id,
        "at_offset": state.offset,
        "at_settled": state.settled_bytes,
        "at_hashed": state.hashed,
    }
    if changed(connection, END, known) == 0:
        there = connection.execute(STATE, {"this": upload_id}).one_or_none()
        if there is None:
            raise _unknown(upload_id)
        raise _out_of_order(there.offset, state.offset)


def check_fence(connection: Connection, parts: Sequence[ChunkPart], base: Base | None) -> None:
    """Raise BeingPurged when a store may unlink one of these yet, so that it cannot be named.

    Raises UploadUnknown when one was unlinked after it was put, as far as `base` tells: the client
    begins anew. To be asked by who has read `ANY_PURGED` in this transaction, from whose commit on
    a purge sees what it names; without rows there nothing is to be asked.
    """
    seen = 2**62 if base is None else base.purges  # without one, rows named them all along
    names = [chunk for chunk, _ in parts]
    for start in range(0, len(names), FENCED_AT_ONCE):
        page = {"chunks": names[start : start + FENCED_AT_ONCE], "seen": seen}
        found = list(connection.execute(FENCED, page).scalars())
        if None in found:
            raise BeingPurged("chunks of this upload are being purged: try again in a moment")
        if found:
            raise UploadUnknown("bytes of this upload were purged meanwhile: begin again")


def check_in_time(connection: Connection, base: Base | None) -> None:
    """Raise NotRecorded when what was put since `base` may have lost its lease.

    The last statement of a commit: whatever waited in it has waited before this.
    """
    if base is not None and not connection.execute(IN_TIME, {"base": base.time}).scalar_one():
        raise _too_late()


def _change(upload_id: str, progress: UploadProgress) -> dict[str, object]:
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
        "base": progress.base and progress.base.time,
    }


def _refusal(
    connection: Connection, upload_id: str, change: Mapping[str, Any]
) -> UploadUnknown | UploadOutOfOrder | NotRecorded:
    there = connection.execute(STATE, {"this": upload_id}).one_or_none()
    if there is None:
        return _unknown(upload_id)
    if (there.offset, there.settled_bytes) == (change["from_offset"], change["from_settled"]):
        return _too_late()
    return _out_of_order(there.offset, change["from_offset"])


def _out_of_order(offset: int, expected: int) -> UploadOutOfOrder:
    return UploadOutOfOrder(
        f"the upload has {offset} bytes, not {expected}, or another request has "
        "written to it meanwhile: ask where it continues",
        offset=offset,
    )


def _too_late() -> NotRecorded:
    return NotRecorded(
        "what this upload put was not recorded in time: its server, or the database, stood still"
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
        base=_base(row),
        lease=row.lease,
        read_only=row.read_only,
        room=None if row.room is None else int(row.room),
    )


def _base(row: Row[Any]) -> Base:
    return Base(float(row.now), int(row.purges or 0))


def _unknown(upload_id: str) -> UploadUnknown:
    return UploadUnknown(f"no upload {upload_id}: it has ended, or was never begun; begin again")
