"""The row collector: takes away what nothing refers to, in transactions that nobody waits for.

One way down: manifest (live, deleted, purged), link (its lease is over, nothing refers to it), blob
(no link), chunk rows. Each step is one transaction of at most some milliseconds. It skips what is
locked at the first lock of each kind, and looks in a statement of its own after the lock: whoever
held the row has written by then (collection.md R16 to R18, R23). PostgreSQL is at READ COMMITTED;
SQLite's writers are alone. What there is to do is looked up first, by an index: a cycle that finds
nothing writes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BindParameter,
    LargeBinary,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.collection import pieces
from treescale.metadata.collection.adoption import (
    HAS_TAG,
    IS_PART_OF_ANY,
    IS_PART_OF_NONE,
    SHOW_NEEDED,
    adopt,
    among,
    is_among,
)
from treescale.metadata.collection.explained import note_collected
from treescale.metadata.collection.left_behind import LEFT_BEHIND, leaving, take_along
from treescale.metadata.collection.pieces import CHUNKS_AT_ONCE
from treescale.metadata.engine.clock import ASKED_ONCE, DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.layouts import may_collect, undelete_seconds
from treescale.metadata.repositories import DELETED_MARK, GOING_MARK
from treescale.metadata.schema import (
    NAMELESS,
    SETTLED,
    blob_chunks,
    blobs,
    chunks,
    deleted_tags,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
)

MANIFESTS_AT_ONCE: Final = 10
REFERRED_AT_ONCE: Final = 200
"""In one statement, of which a purge may have several."""
TAGS_AT_ONCE: Final = 250
LINKS_AT_ONCE: Final = 50
REPOSITORIES_AT_ONCE: Final = 100
LINKS_LOOKED_AT: Final = 1000
"""In one statement of the slow pass, which locks nothing."""

_links, _references = repository_blobs, manifest_references
_LINK: Final = tuple_(_links.c.repository_id, _links.c.digest)
_IS_LINK: Final = is_among(_links.c.repository_id, _links.c.digest)
_IS_MANIFEST: Final = is_among(manifests.c.repository_id, manifests.c.digest)
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_UNDELETED_UNTIL: Final = ASKED_ONCE - undelete_seconds()
_IS_OVER: Final = and_(_links.c.lease_until >= 0, _links.c.lease_until <= ASKED_ONCE)
_REFERRED_TO: Final = exists(
    select(_references.c.digest).where(
        _references.c.repository_id == _links.c.repository_id,
        _references.c.digest == _links.c.digest,
    )
)

# Manifests
DUE_MANIFESTS: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .where(manifests.c.deleted < _UNDELETED_UNTIL, IS_PART_OF_NONE)
    .order_by(manifests.c.deleted)
    .limit(MANIFESTS_AT_ONCE)
)
_HOLD_DUE: Final = DUE_MANIFESTS.with_for_update(skip_locked=True, of=manifests)
# A statement of its own, after the lock: a server of 0.1.0 may have pushed one again.
_LOOK_AGAIN: Final = (
    select(
        manifests.c.repository_id,
        manifests.c.digest,
        HAS_TAG.label("has_tag"),
        IS_PART_OF_ANY.label("is_part"),
    )
    .where(_IS_MANIFEST)
    .order_by(manifests.c.repository_id, manifests.c.digest)
)
DUE_TAGS: Final = (
    select(deleted_tags.c.repository_id, deleted_tags.c.name, deleted_tags.c.digest)
    .where(deleted_tags.c.deleted < _UNDELETED_UNTIL)
    .order_by(deleted_tags.c.deleted)
    .limit(TAGS_AT_ONCE)
)
_HOLD_TAGS: Final = DUE_TAGS.with_for_update(skip_locked=True)
_DROP_TAGS: Final = delete(deleted_tags).where(
    is_among(deleted_tags.c.repository_id, deleted_tags.c.name),
    deleted_tags.c.deleted < _UNDELETED_UNTIL,
)
_REFERRED: Final = (
    select(_references.c.repository_id, _references.c.digest)
    .where(is_among(_references.c.repository_id, _references.c.manifest))
    .distinct()
)
# All of them, whatever their lease: a collector that has just found one in use would else set it
# aside after the question was asked, and nobody looked at it again.
_HOLD_REFERRED: Final = (
    select(_links.c.digest)
    .where(_IS_LINK)
    .order_by(_links.c.repository_id, _links.c.digest)
    .with_for_update(key_share=True)
)
_PURGE: Final = delete(manifests).where(_IS_MANIFEST)

# Links and blobs
DUE_LINKS: Final = (
    select(_links.c.repository_id, _links.c.digest, _links.c.blob_id)
    .where(_IS_OVER)
    .order_by(_links.c.lease_until)
    .limit(LINKS_AT_ONCE)
)
_HOLD_LINKS: Final = (
    select(_links.c.repository_id, _links.c.digest)
    .where(_IS_LINK, _IS_OVER)
    .order_by(_links.c.repository_id, _links.c.digest)
    .with_for_update(skip_locked=True)
)
_UNLINK: Final = delete(_links).where(_IS_LINK, ~_REFERRED_TO).returning(_links.c.blob_id)
_SETTLE: Final = update(_links).where(_IS_LINK).values(lease_until=SETTLED)
_UNNAME: Final = (
    update(blobs)
    .where(
        blobs.c.blob_id.in_(_THESE),
        ~exists(select(_links.c.blob_id).where(_links.c.blob_id == blobs.c.blob_id)),
    )
    .values(digest=literal(NAMELESS, Text()) + cast(blobs.c.blob_id, Text()))
)

# Nameless blobs, piece by piece
DUE_BLOBS: Final = (
    select(blobs.c.blob_id)
    .where(blobs.c.digest >= NAMELESS, blobs.c.digest < NAMELESS[:-1] + chr(ord(NAMELESS[-1]) + 1))
    .limit(LINKS_AT_ONCE)
)
_NAMED: Final = exists(select(blob_chunks.c.chunk).where(blob_chunks.c.chunk == chunks.c.chunk))
_HOLD_CHUNKS: Final = (
    select(chunks.c.chunk)
    .where(chunks.c.chunk.in_(_THESE))
    .order_by(chunks.c.chunk)
    .with_for_update(skip_locked=True)
)
_DROP_CHUNKS: Final = (
    delete(chunks).where(chunks.c.chunk.in_(_THESE), ~_NAMED).returning(chunks.c.chunk)
)

# Deleted repositories
DUE_REPOSITORIES: Final = (
    select(repositories.c.repository_id)
    .where(repositories.c.deleted < _UNDELETED_UNTIL)
    .order_by(repositories.c.deleted)
    .limit(REPOSITORIES_AT_ONCE)
)
_HOLD_REPOSITORY: Final = (
    select(repositories.c.repository_id)
    .where(repositories.c.repository_id.in_(_THESE), repositories.c.deleted < _UNDELETED_UNTIL)
    .with_for_update(skip_locked=True)
)
# Should `undelete` be made longer, or the clock set back, before it is empty.
_BEGIN_REPOSITORY: Final = (
    update(repositories)
    .where(
        repositories.c.repository_id == bindparam("row_id"),
        ~repositories.c.name.contains(GOING_MARK),
    )
    .values(name=func.replace(repositories.c.name, DELETED_MARK, GOING_MARK))
)
_MANIFESTS_IN: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .where(manifests.c.repository_id == bindparam("row_id"))
    .order_by(manifests.c.digest)
    .limit(MANIFESTS_AT_ONCE)
)
_HOLD_MANIFESTS_IN: Final = _MANIFESTS_IN.with_for_update(skip_locked=True)
_LINKS_IN: Final = (
    select(_links.c.repository_id, _links.c.digest)
    .where(_links.c.repository_id == bindparam("row_id"), _links.c.lease_until == SETTLED)
    .order_by(_links.c.digest)
    .limit(LINKS_AT_ONCE)
)
_ANY_LINK_IN: Final = (
    select(_links.c.digest).where(_links.c.repository_id == bindparam("row_id")).limit(1)
)
_QUEUE: Final = (
    update(_links)
    .where(_IS_LINK, _links.c.lease_until == SETTLED)
    .values(lease_until=DatabaseNow())
)
_DROP_REPOSITORY: Final = delete(repositories).where(
    repositories.c.repository_id == bindparam("row_id"),
    ~exists(select(_links.c.digest).where(_links.c.repository_id == bindparam("row_id"))),
)

# The slow pass: what an older version left, or what was locked at the wrong moment
_SETTLED_LINKS: Final = (
    select(_links.c.repository_id, _links.c.digest, _REFERRED_TO.label("needed"))
    .where(tuple_(bindparam("row_id"), bindparam("after")) < _LINK, _links.c.lease_until == SETTLED)
    .order_by(_links.c.repository_id, _links.c.digest)
    .limit(LINKS_LOOKED_AT)
)
_UNNAMED_CHUNKS: Final = (
    select(chunks.c.chunk, _NAMED.label("needed"))
    .where(chunks.c.chunk > bindparam("after", type_=LargeBinary()))
    .order_by(chunks.c.chunk)
    .limit(LINKS_LOOKED_AT)
)
_UNLINKED_BLOBS: Final = (
    select(
        blobs.c.blob_id,
        exists(select(_links.c.blob_id).where(_links.c.blob_id == blobs.c.blob_id)).label("needed"),
    )
    .where(blobs.c.blob_id > bindparam("after"), blobs.c.digest >= "sha")
    .order_by(blobs.c.blob_id)
    .limit(LINKS_LOOKED_AT)
)


@dataclass(frozen=True, slots=True)
class Collected:
    """How many rows were taken away."""

    manifests: int = 0
    links: int = 0
    blobs: int = 0
    repositories: int = 0
    tags: int = 0


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a slow pass stands: what it looks at, and after which row."""

    what: str = "links"
    row_id: int = 0
    after: str = ""


BEGINNING: Final = Place()


@dataclass(frozen=True, slots=True)
class SlowPass:
    """How much a slow pass has found, and where it stands; None: it is through."""

    found: int
    place: Place | None


class RowCollector:
    """Takes away, step by step, what nothing needs any more. Several at once are as good as one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def cycle(self) -> Collected:
        """Take away all that is due now, and return how much that was."""
        return Collected(
            repositories=await self._all(self.repository),
            manifests=await self._all(self.purge),
            tags=await self._all(self.tags),
            links=await self._all(self.links),
            blobs=await self._all(self.piece),
        )

    async def purge(self) -> int:
        """Take away some manifests that can no longer be restored; return how many were due.

        A part waits for its index, be that deleted later than it: it comes back with `repo restore`
        of that. So does one of which more is said that is to go. One that has a tag was pushed
        again by a server of 0.1.0: it comes back.
        """
        due = await self._connections.rows(DUE_MANIFESTS)
        if not due:
            return 0

        def work(connection: Connection) -> int:
            held = connection.execute(_HOLD_DUE).all()
            if not held:
                return 0
            again = connection.execute(_LOOK_AGAIN, among(held)).all()
            back = adopt(connection, [row for row in again if row.has_tag])
            idle = [
                (row.repository_id, row.digest)
                for row in again
                if not row.has_tag and not row.is_part
            ]
            also, waiting = take_along(connection, idle)
            return back + also + _purge(connection, [x for x in idle if x not in waiting])

        return await self._unless_stopped(work)

    async def tags(self) -> int:
        """Forget some deleted tags that can no longer be restored; return how many.

        Those of a manifest that is taken away go with it.
        """
        if not await self._connections.rows(DUE_TAGS):
            return 0

        def work(connection: Connection) -> int:
            held = [tuple(row) for row in connection.execute(_HOLD_TAGS)]
            return changed(connection, _DROP_TAGS, among(held)) if held else 0

        return await self._unless_stopped(work)

    async def links(self) -> int:
        """Look at some links whose lease is over; return how many were held."""
        due = await self._connections.rows(DUE_LINKS)
        if not due:
            return 0
        wanted = [(row.repository_id, row.digest) for row in due]
        blob_of = {(row.repository_id, row.digest): row.blob_id for row in due}

        def work(connection: Connection) -> int:
            ids = sorted(set(blob_of.values()))
            free = set(connection.execute(pieces.HOLD_BLOBS, {"these": ids}).scalars())
            ours = [each for each in wanted if blob_of[each] in free]
            if not ours:
                return 0
            held = [tuple(row) for row in connection.execute(_HOLD_LINKS, among(ours))]
            if not held:
                return 0
            gone = set(connection.execute(_UNLINK, among(held)).scalars())
            connection.execute(_SETTLE, among(held))
            connection.execute(SHOW_NEEDED, among(held))
            gone &= free  # a link may lead to another blob by now: the slow pass finds that one
            if gone:
                connection.execute(_UNNAME, {"these": sorted(gone)})
            return len(held)

        return await self._unless_stopped(work)

    async def piece(self) -> int:
        """Take away a piece of each of some blobs that nobody has any more."""
        due = [row.blob_id for row in await self._connections.rows(DUE_BLOBS)]
        done = 0
        for blob_id in due:
            done += await self._unless_stopped(_piece_of(blob_id))
        return done

    async def repository(self) -> int:
        """Empty repositories that can no longer be restored; return how many are gone.

        One that has a link whose lease is running waits for it.
        """
        done = 0
        for due in await self._connections.rows(DUE_REPOSITORIES):
            this = {"row_id": due.repository_id}
            while await self._connections.rows(_MANIFESTS_IN, this):
                if not await self._unless_stopped(_manifests_of(due.repository_id)):
                    break
            while page := await self._connections.rows(_LINKS_IN, this):
                these = among(page)
                if not await self._unless_stopped(_run(_QUEUE, these)):
                    break
            await self._all(self.links)
            if not await self._connections.rows(_ANY_LINK_IN, this):
                done += await self._unless_stopped(_repository(due.repository_id))
        return done

    async def slow_pass(
        self, place: Place = BEGINNING, go_on: Callable[[], bool] = lambda: True
    ) -> SlowPass:
        """Look at everything once, from `place`, and queue what nothing needs.

        Reads whole tables a page at a time; writes only what was found. After each page `go_on` is
        asked whether to go on.
        """
        looks = {
            "links": self._settled_links,
            "chunks": self._unnamed_chunks,
            "blobs": self._unlinked_blobs,
            "said": self._left_behind,
        }
        found, order = 0, list(looks)
        while True:
            more, after = await looks[place.what](place)
            found += more
            if after is None:
                rest = order[order.index(place.what) + 1 :]
                if not rest:
                    return SlowPass(found, None)
                after = Place(rest[0])
            place = after
            if not go_on():
                return SlowPass(found, place)

    async def _settled_links(self, place: Place) -> tuple[int, Place | None]:
        after = {"row_id": place.row_id, "after": place.after}
        page = await self._connections.rows(_SETTLED_LINKS, after)
        idle = [(row.repository_id, row.digest) for row in page if not row.needed]
        found = 0
        for these in _pages(idle, LINKS_AT_ONCE):
            found += await self._unless_stopped(_run(_QUEUE, among(these)))
        if not page:
            return found, None
        return found, Place(place.what, page[-1].repository_id, page[-1].digest)

    async def _unnamed_chunks(self, place: Place) -> tuple[int, Place | None]:
        after = {"after": bytes.fromhex(place.after)}
        page = await self._connections.rows(_UNNAMED_CHUNKS, after)
        unnamed = [bytes(row.chunk) for row in page if not row.needed]
        found = 0
        for these in _pages(unnamed, CHUNKS_AT_ONCE):
            found += await self._unless_stopped(partial(_drop_unnamed, piece=these))
        return found, Place(place.what, 0, bytes(page[-1].chunk).hex()) if page else None

    async def _unlinked_blobs(self, place: Place) -> tuple[int, Place | None]:
        page = await self._connections.rows(_UNLINKED_BLOBS, {"after": place.row_id})
        unlinked = [row.blob_id for row in page if not row.needed]
        found = 0
        for these in _pages(unlinked, LINKS_AT_ONCE):
            found += await self._unless_stopped(_unlinked(these))
        return found, Place(place.what, page[-1].blob_id) if page else None

    async def _left_behind(self, place: Place) -> tuple[int, Place | None]:
        """Finish what a server that was stopped has begun to delete."""
        page = await self._connections.rows(LEFT_BEHIND)
        found = 0
        ordered = sorted((row.repository_id, row.digest) for row in page)
        for row_id, rows in groupby(ordered, key=itemgetter(0)):
            found += await self._unless_stopped(leaving(row_id, [each for _, each in rows]))
        return found, place if found else None

    async def _all(self, step: Callable[[], Any]) -> int:
        total = 0
        while done := await step():
            total += done
        return total

    async def _unless_stopped(self, work: Callable[[Connection], int]) -> int:
        """Run it, unless collection is stopped: asked in the transaction that takes away."""

        def guarded(connection: Connection) -> int:
            return work(connection) if may_collect(connection) else 0

        return await self._connections.write(guarded)


def _purge(connection: Connection, held: Sequence[Any]) -> int:
    """Take away manifests that are held, and have what they referred to looked at."""
    if not held:
        return 0
    these = among(held)
    referred = sorted(tuple(row) for row in connection.execute(_REFERRED, these))
    for page in _pages(referred, REFERRED_AT_ONCE):
        connection.execute(_HOLD_REFERRED, among(page))
    for page in _pages(referred, REFERRED_AT_ONCE):
        connection.execute(_QUEUE, among(page))
    connection.execute(_PURGE, these)
    return len(held)


def _manifests_of(row_id: int) -> Callable[[Connection], int]:
    """Return what takes away some manifests of a deleted repository that is not restored."""

    def work(connection: Connection) -> int:
        if not connection.execute(_HOLD_REPOSITORY, {"these": [row_id]}).all():
            return 0
        connection.execute(_BEGIN_REPOSITORY, {"row_id": row_id})
        return _purge(connection, connection.execute(_HOLD_MANIFESTS_IN, {"row_id": row_id}).all())

    return work


def _repository(row_id: int) -> Callable[[Connection], int]:
    """Return what takes away a deleted repository that holds nothing any more."""

    def work(connection: Connection) -> int:
        if not connection.execute(_HOLD_REPOSITORY, {"these": [row_id]}).all():
            return 0
        return changed(connection, _DROP_REPOSITORY, {"row_id": row_id})

    return work


def _piece_of(blob_id: int) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        if not connection.execute(pieces.HOLD_BLOBS, {"these": [blob_id]}).all():
            return 0
        piece = [
            bytes(each) for each in connection.execute(pieces.PIECE, {"blob": blob_id}).scalars()
        ]
        if piece:
            connection.execute(pieces.DROP_PIECE, {"blob": blob_id, "these": piece})
            note_collected(connection, _drop_unnamed(connection, piece))
        if len(piece) < CHUNKS_AT_ONCE:
            connection.execute(pieces.DROP_BLOB, {"blob": blob_id})
        return 1

    return work


def _drop_unnamed(connection: Connection, piece: Sequence[bytes]) -> int:
    """Take away those of these chunks that no blob has; what is locked stays for the slow pass."""
    held = [bytes(each) for each in connection.execute(_HOLD_CHUNKS, {"these": piece}).scalars()]
    if not held:
        return 0
    # Copies that are owed of them stay: an unfinished upload may have them, and the walk asks it.
    return len(connection.execute(_DROP_CHUNKS, {"these": held}).all())


def _unlinked(found: Sequence[int]) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        held = list(connection.execute(pieces.HOLD_BLOBS, {"these": list(found)}).scalars())
        return changed(connection, _UNNAME, {"these": held}) if held else 0

    return work


def _run(statement: Any, parameters: dict[str, Any]) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        return changed(connection, statement, parameters)

    return work


def _pages(found: list[Any], most: int) -> Iterator[list[Any]]:
    for start in range(0, len(found), most):
        yield found[start : start + most]
