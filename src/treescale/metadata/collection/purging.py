"""Purging: what was deleted is gone at once, from the rows and then from every store.

It cannot wait for leases, so it is a fence (`uploads.check_fence`; tests/model). The transaction
that drops the rows of chunks writes those that nothing else names to `purged_chunks`. As long as a
store may unlink one of them, no push names it. Each store looks for all of them twice: the second
time, no other has had them since, so what was on its way from one to another is found as well. Then
the purge is *gone* and gets a number; a push whose base is older begins anew.

Rows go in transactions of some milliseconds that wait for nobody who waits for them. Blobs that are
to be purged have a digest nobody can ask for (`purge:`, the purge, the row id) until the last of
their chunks is dropped, so that a purge that broke off can be finished (`finish`).
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    insert,
    literal,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import DatabaseUnavailable
from treescale.metadata.blobs import PARTS_AFTER, PARTS_AT_ONCE, TAILS, TAILS_AT_ONCE
from treescale.metadata.collection import pieces
from treescale.metadata.collection.adoption import IS_PART, among, is_among
from treescale.metadata.collection.left_behind import take_along
from treescale.metadata.collection.open_purges import NOTE, ROUNDS, TRUSTED
from treescale.metadata.collection.pieces import CHUNKS_AT_ONCE
from treescale.metadata.collection.purge_plan import PurgePlan
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import Insert, Upsert, insert_or_update
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import check_purgeable, lease_seconds
from treescale.metadata.schema import (
    SETTLED,
    blob_chunks,
    blobs,
    chunks,
    counters,
    manifest_references,
    manifests,
    purge_stores,
    purged_chunks,
    purges,
    repositories,
    repository_blobs,
    stores,
)
from treescale.metadata.uploads import PURGES, unpack_parts

MANIFESTS_AT_ONCE: Final = 20
LINKS_AT_ONCE: Final = 100
HELD_AT_ONCE: Final = 500
"""In one statement, of which a transaction may have several."""
"""Pushes wait for a piece, so it is one of some 20 ms."""
STALE_SECONDS: Final = 600.0
"""A purge whose command has not come to its end by then is finished by a server."""
PURGING: Final = "purge:"
"""How the digest of a blob begins that is being purged."""

_links, _references = repository_blobs, manifest_references
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_PURGE: Final[BindParameter[str]] = bindparam("purge", type_=Text())
_IS_LINK: Final = is_among(_links.c.repository_id, _links.c.digest)
_IS_MANIFEST: Final = is_among(manifests.c.repository_id, manifests.c.digest)

# A purge waits for whoever has looked at the fence, and nobody waits long behind it.
_WAIT: Final = text("SET LOCAL lock_timeout = '1s'")
_LOCK: Final = text("LOCK TABLE purged_chunks IN ACCESS EXCLUSIVE MODE")
# Small layers and manifests are rows: their bytes are overwritten, not only left free.
_OVERWRITE: Final = text("PRAGMA secure_delete=ON")

_BEGIN: Final = insert(purges).values(begun=DatabaseNow())
_ASK: Final = insert(purge_stores).from_select(
    ["purge_id", "store_id", "rounds"],
    select(bindparam("this", type_=Text()), stores.c.store_id, literal(0)).where(
        ~exists(
            select(purge_stores.c.store_id).where(
                purge_stores.c.purge_id == bindparam("this", type_=Text()),
                purge_stores.c.store_id == stores.c.store_id,
            )
        )
    ),
)
_STILL: Final = (
    select(purges.c.purge_id)
    .where(purges.c.purge_id == _PURGE, purges.c.ready.is_(None))
    .with_for_update()
)

# Rows: manifests, links, blobs
# Who restores a repository is waited for, or waits.
_HOLD_REPOSITORIES: Final = (
    select(repositories.c.repository_id)
    .where(repositories.c.repository_id.in_(_THESE))
    .order_by(repositories.c.repository_id)
    .with_for_update(read=True, key_share=True)
)
_HOLD_MANIFESTS: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .select_from(manifests.join(repositories))
    .where(
        _IS_MANIFEST,
        or_(and_(manifests.c.deleted.is_not(None), ~IS_PART), repositories.c.deleted.is_not(None)),
    )
    .with_for_update(skip_locked=True, of=manifests)
)
_LINKS_REFERRED: Final = (
    select(_links.c.repository_id, _links.c.digest, _links.c.blob_id)
    .distinct()
    .select_from(
        _references.join(
            _links,
            and_(
                _links.c.repository_id == _references.c.repository_id,
                _links.c.digest == _references.c.digest,
            ),
        )
    )
    .where(is_among(_references.c.repository_id, _references.c.manifest))
)
# A blob that was deleted and is pushed again is shown: its pusher was told that it is there.
_LINKS_DELETED: Final = (
    select(_links.c.repository_id, _links.c.digest, _links.c.blob_id)
    .select_from(_links.join(repositories))
    .where(_IS_LINK, or_(_links.c.hidden.is_not(None), repositories.c.deleted.is_not(None)))
)
_HOLD_LINKS: Final = (
    select(_links.c.repository_id, _links.c.digest)
    .where(_IS_LINK)
    .order_by(_links.c.repository_id, _links.c.digest)
    .with_for_update(skip_locked=True)
)
_DROP_MANIFESTS: Final = delete(manifests).where(_IS_MANIFEST)
_UNLINK: Final = delete(_links).where(
    _IS_LINK,
    ~exists(
        select(_references.c.digest).where(
            _references.c.repository_id == _links.c.repository_id,
            _references.c.digest == _links.c.digest,
        )
    ),
)
_QUEUE: Final = (
    update(_links)
    .where(_IS_LINK, _links.c.lease_until == SETTLED)
    .values(lease_until=DatabaseNow())
)
_UNNAME: Final = (
    update(blobs)
    .where(
        blobs.c.blob_id.in_(_THESE),
        ~exists(select(_links.c.blob_id).where(_links.c.blob_id == blobs.c.blob_id)),
    )
    .values(digest=literal(PURGING, Text()) + _PURGE + ":" + cast(blobs.c.blob_id, Text()))
)
_DROP_REPOSITORY: Final = delete(repositories).where(
    repositories.c.repository_id == bindparam("row_id"),
    repositories.c.deleted.is_not(None),
    ~exists(select(_links.c.digest).where(_links.c.repository_id == bindparam("row_id"))),
    ~exists(select(manifests.c.digest).where(manifests.c.repository_id == bindparam("row_id"))),
)

# Chunk rows, piece by piece
LEFT: Final = (
    select(blobs.c.blob_id)
    .where(blobs.c.digest >= bindparam("first"), blobs.c.digest < bindparam("end"))
    .limit(LINKS_AT_ONCE)
)
_DROP_CHUNKS: Final = (
    delete(chunks)
    .where(
        chunks.c.chunk.in_(_THESE),
        ~exists(select(blob_chunks.c.chunk).where(blob_chunks.c.chunk == chunks.c.chunk)),
    )
    .returning(chunks.c.chunk, chunks.c.length)
)
_FENCE: Final = insert_or_update(purged_chunks, ["purge_id", "length"])
_READY: Final = (
    update(purges)
    .where(purges.c.purge_id == _PURGE, purges.c.ready.is_(None))
    .values(ready=DatabaseNow())
)

_NOBODY: Final = delete(purge_stores).where(purge_stores.c.purge_id == _PURGE)

# What stores do
_other = purge_stores.alias("other")


def _lacking(rounds: int) -> ColumnElement[bool]:
    """Return whether a store of the cluster has not looked so often yet."""
    return exists(
        select(_other.c.store_id)
        .select_from(_other.join(stores, stores.c.store_id == _other.c.store_id))
        .where(_other.c.purge_id == purges.c.purge_id, _other.c.rounds < rounds)
    )


_OPEN: Final = and_(purges.c.ready.is_not(None), purges.c.gone.is_(None))
DUE_AT: Final = (
    select(purges.c.purge_id, purge_stores.c.rounds)
    .select_from(purge_stores.join(purges, purges.c.purge_id == purge_stores.c.purge_id))
    .where(
        purge_stores.c.store_id == bindparam("store"),
        _OPEN,
        TRUSTED,
        or_(
            purge_stores.c.rounds == 0,
            and_(purge_stores.c.rounds < ROUNDS, ~_lacking(1)),
        ),
    )
)
CHUNKS_OF: Final = (
    select(purged_chunks.c.chunk)
    .where(purged_chunks.c.purge_id == _PURGE, purged_chunks.c.chunk > bindparam("after"))
    .order_by(purged_chunks.c.chunk)
    .limit(CHUNKS_AT_ONCE)
)
CONFIRM: Final = (
    update(purge_stores)
    .where(
        purge_stores.c.purge_id == _PURGE,
        purge_stores.c.store_id == bindparam("store"),
        purge_stores.c.rounds == bindparam("seen"),
    )
    .values(rounds=purge_stores.c.rounds + 1, looked=null(), noted=null())
)

# What ends purges
STALE: Final = select(purges.c.purge_id).where(
    purges.c.ready.is_(None), purges.c.begun < DatabaseNow() - STALE_SECONDS
)
CONFIRMED: Final = select(purges.c.purge_id).where(_OPEN, ~_lacking(ROUNDS))
_GONE: Final = (
    update(purges)
    .where(purges.c.purge_id == _PURGE, _OPEN, ~_lacking(ROUNDS))
    .values(gone=DatabaseNow(), number=bindparam("next"))
)
# For a lease, which is C and all that the database's clock may be set back by meanwhile.
OVER: Final = select(purges.c.purge_id).where(purges.c.gone < DatabaseNow() - lease_seconds())
_AHEAD: Final = ahead(STALE), ahead(CONFIRMED), ahead(OVER)
_FORGET: Final = (
    delete(purged_chunks).where(purged_chunks.c.purge_id == _PURGE),
    delete(purge_stores).where(purge_stores.c.purge_id == _PURGE),
    delete(purges).where(purges.c.purge_id == _PURGE),
)


def _draw(insert: Insert) -> Executable:
    first = insert(counters).values(name=PURGES, value=1)
    return first.on_conflict_do_update(
        index_elements=["name"], set_={"value": counters.c.value + 1}
    ).returning(counters.c.value)


_DRAW: Final = Upsert(_draw)


@dataclass(frozen=True, slots=True)
class Round:
    """What a store has to do for a purge now."""

    purge_id: str
    rounds: int
    """How often it has looked before."""


class InUse(DatabaseUnavailable):
    """Somebody has locked what is to be purged: nothing of this step was done."""


class Ended(DatabaseUnavailable):
    """A server has ended the purge, whose command stood still: what is left is another one's."""


class Purging:
    """The purges of a cluster: rows taken away, what the stores have to do, and their end."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    # Taking rows away: by the command

    async def begin(self, purge_id: str, reference: str, *, actor: str) -> None:
        """Note that it begins, and which stores have to look for what it takes away."""
        row = {"purge_id": purge_id, "reference": reference, "actor": actor}

        def work(connection: Connection) -> None:
            connection.execute(_BEGIN, row)
            connection.execute(_ASK, {"this": purge_id})

        await self._connections.write(work)

    async def take(
        self,
        purge_id: str,
        plan: PurgePlan,
        *,
        actor: str,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the rows of the plan away, but for chunks; `moved` hears of each step that is done.

        What was restored or pushed again since the plan was made stays. Raises ReadOnly, at any
        step; InUse: then it may be asked again. Raises Ended: then what is left may be asked of
        another purge.
        """
        for page in _pages(plan.manifests, MANIFESTS_AT_ONCE):
            names = {(row_id, digest): plan.names[row_id] for row_id, digest in page}
            step = _take_manifests(purge_id, page, names, actor)
            while not await self._connections.write(step):
                moved()
            moved()
        for page in _pages(plan.links, LINKS_AT_ONCE):
            of = [plan.names[row_id] for row_id, _ in page]
            await self._connections.write(_take_links(purge_id, page, of))
            moved()
        for row_id in plan.whole:
            await self._connections.write(_drop_repository(row_id, plan.names[row_id], actor))

    async def finish(self, purge_id: str, moved: Callable[[], None] = lambda: None) -> None:
        """Drop the chunk rows of its blobs, raise the fence, and have the stores begin.

        Raises InUse, when it may be asked again. Twice is once, also at the same time.
        """
        span = {"first": f"{PURGING}{purge_id}:", "end": f"{PURGING}{purge_id};"}
        with suppress(Ended):  # somebody else was done first: no blob is left
            while True:
                for row in await self._connections.rows(LEFT, span):
                    while not await self._connections.write(_piece_of(purge_id, row.blob_id)):
                        moved()
                if await self._connections.write(_make_ready(purge_id, span)):
                    break
        if not await self.chunks_of(purge_id, b""):  # small things alone: no store is waited for
            await self._connections.change(_NOBODY, {"purge": purge_id})

    # By each store

    async def due_at(self, store_id: str) -> list[Round]:
        """Return the purges for which a store has to look now: none while collection is frozen."""
        rows = await self._connections.rows(DUE_AT, {"store": store_id})
        return [Round(row.purge_id, row.rounds) for row in rows]

    async def chunks_of(self, purge_id: str, after: bytes) -> list[bytes]:
        """Return the next of its chunks, by id."""
        page = {"purge": purge_id, "after": after}
        return [bytes(row.chunk) for row in await self._connections.rows(CHUNKS_OF, page)]

    async def note(self, store_id: str, due: Round, looked: int) -> None:
        """Note for how many chunks the store has looked so far; for whoever waits for it."""
        said = {"purge": due.purge_id, "store": store_id, "seen": due.rounds, "so_far": looked}

        def work(connection: Connection) -> None:
            connection.execute(NOTE, said)

        await self._connections.write(work, durable=False)

    async def confirm(self, store_id: str, done: Round) -> None:
        """Note that the store has unlinked all that it had; the last one completes the purge."""
        said = {"purge": done.purge_id, "store": store_id, "seen": done.rounds}
        await self._connections.change(CONFIRM, said)
        await self.end()

    # Its end

    async def settle(self) -> None:
        """Do as `end`, and have purges go on that broke off. Costs three reads.

        Raises InUse.
        """
        await self.end()
        for row in await self._connections.rows(STALE):
            await self.finish(row.purge_id)
            await self.end()

    async def end(self) -> None:
        """Have each purge complete that all stores have confirmed, and forget what is over."""
        for row in await self._connections.rows(CONFIRMED):
            await self._connections.write(_complete(row.purge_id))
        for row in await self._connections.rows(OVER):
            await self._connections.write(_forget(row.purge_id))


def _pages(all_of_them: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(all_of_them[at : at + size]) for at in range(0, len(all_of_them), size)]


def _check_begun(connection: Connection, purge_id: str) -> None:
    """Raise Ended when stores may have begun: what is added now they would not look for.

    From here on SQLite overwrites what is deleted.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(_OVERWRITE)
    if connection.execute(_STILL, {"purge": purge_id}).one_or_none() is None:
        raise Ended("a server has ended this purge meanwhile: what is left needs another")


def _take_manifests(
    purge_id: str,
    page: Sequence[tuple[int, str]],
    names: dict[tuple[int, str], str],
    actor: str,
) -> Callable[[Connection], bool]:
    """Return what takes some deleted manifests away, and what only they refer to.

    It says whether it did; not while more is said of them that is to be deleted first, as in the
    row collector: each time it deletes some of that.
    """

    def work(connection: Connection) -> bool:
        check_purgeable(connection, names.values())
        _check_begun(connection, purge_id)
        _hold_repositories(connection, page)
        found = connection.execute(_HOLD_MANIFESTS, among(page))
        held = [(row.repository_id, row.digest) for row in found]
        if not held:
            return True
        more, waiting = take_along(connection, held)
        if more:
            return False
        if waiting:
            raise InUse("somebody uses what is said of what is to be purged: try again in a moment")
        there = connection.execute(_LINKS_REFERRED, among(held)).all()
        _hold_links(connection, there)
        connection.execute(_DROP_MANIFESTS, among(held))
        _unlink(connection, purge_id, there)
        for row_id, digest in held:
            told = Event(Kind.IMAGE_PURGED, actor, names[row_id, digest], digest=digest)
            record(connection, told)
        return True

    return work


def _take_links(
    purge_id: str, page: Sequence[tuple[int, str]], of: Collection[str]
) -> Callable[[Connection], None]:
    """Return what takes deleted links away to which no manifest refers."""

    def work(connection: Connection) -> None:
        check_purgeable(connection, of)
        _check_begun(connection, purge_id)
        _hold_repositories(connection, page)
        _hold_links(connection, connection.execute(_LINKS_DELETED, among(page)).all())
        # Once more, now that they are held: who has shown one has written by now.
        _unlink(connection, purge_id, connection.execute(_LINKS_DELETED, among(page)).all())

    return work


def _hold_repositories(connection: Connection, page: Sequence[tuple[int, str]]) -> None:
    """Hold the repositories of these, as everywhere first."""
    connection.execute(_HOLD_REPOSITORIES, {"these": sorted({row_id for row_id, _ in page})})


def _hold_links(connection: Connection, there: Sequence[Any]) -> None:
    """Hold links and their blobs, blobs first as everywhere; raise InUse when one is locked.

    An image may have more layers than a statement may have parameters.
    """
    ids = sorted({row.blob_id for row in there})
    keys = sorted((row.repository_id, row.digest) for row in there)
    held = [
        *(
            connection.execute(pieces.HOLD_BLOBS, {"these": page})
            for page in _pages(ids, HELD_AT_ONCE)
        ),
        *(connection.execute(_HOLD_LINKS, among(page)) for page in _pages(keys, HELD_AT_ONCE)),
    ]
    if sum(len(rows.all()) for rows in held) < len(ids) + len(keys):
        raise InUse("a push uses what is to be purged: try again in a moment")


def _unlink(connection: Connection, purge_id: str, there: Sequence[Any]) -> None:
    """Take those links away that nothing refers to, and the name of blobs that nobody has then."""
    for page in _pages([(row.repository_id, row.digest) for row in there], HELD_AT_ONCE):
        connection.execute(_UNLINK, among(page))
        connection.execute(_QUEUE, among(page))
    for page in _pages(sorted({row.blob_id for row in there}), HELD_AT_ONCE):
        connection.execute(_UNNAME, {"these": page, "purge": purge_id})


def _drop_repository(row_id: int, name: str, actor: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        check_purgeable(connection, {name})
        if changed(connection, _DROP_REPOSITORY, {"row_id": row_id}):
            record(connection, Event(Kind.REPOSITORY_PURGED, actor, name))

    return work


def _piece_of(purge_id: str, blob_id: int) -> Callable[[Connection], bool]:
    """Return what drops some chunks of a blob, and says whether they were the last.

    Whoever has looked at the fence has committed by then, so that what it names is seen.
    """

    def work(connection: Connection) -> bool:
        if connection.dialect.name == "postgresql":
            connection.execute(_WAIT)
            connection.execute(_LOCK)
        _check_begun(connection, purge_id)
        if not connection.execute(pieces.HOLD_BLOBS, {"these": [blob_id]}).all():
            return True
        piece = [
            bytes(each) for each in connection.execute(pieces.PIECE, {"blob": blob_id}).scalars()
        ]
        if piece:
            connection.execute(pieces.DROP_PIECE, {"blob": blob_id, "these": piece})
            going = connection.execute(_DROP_CHUNKS, {"these": piece}).all()
            uploading = named_by_uploads(connection, {bytes(row.chunk) for row in going})
            fenced = [
                {"chunk": bytes(row.chunk), "purge_id": purge_id, "length": row.length}
                for row in going
                if bytes(row.chunk) not in uploading
            ]
            if fenced:
                connection.execute(_FENCE.on(connection), fenced)
        if len(piece) < CHUNKS_AT_ONCE:
            connection.execute(pieces.DROP_BLOB, {"blob": blob_id})
            return True
        return False

    return work


def _make_ready(purge_id: str, span: dict[str, str]) -> Callable[[Connection], bool]:
    """Return what has the stores begin, and says whether it did: not while blobs are left.

    Its command may go on that has stood still: whoever takes rows away holds the purge.
    """

    def work(connection: Connection) -> bool:
        connection.execute(_STILL, {"purge": purge_id})
        if connection.execute(LEFT, span).first() is not None:
            return False
        if changed(connection, _READY, {"purge": purge_id}):
            connection.execute(_ASK, {"this": purge_id})  # stores that have joined meanwhile
        return True

    return work


def named_by_uploads(connection: Connection, wanted: set[bytes]) -> set[bytes]:
    """Return which of these unfinished uploads name. Reads all uploads: there are few."""
    found: set[bytes] = set()
    upload = ""
    while wanted:
        page = {"upload": upload, "limit": TAILS_AT_ONCE}
        tails = connection.execute(TAILS, page).all()
        if not tails:
            break
        found |= {bytes(row.tail_chunk) for row in tails if row.tail_chunk} & wanted
        upload = tails[-1].upload_id
    upload, part = "", -1
    while wanted:
        after = {"upload": upload, "part": part, "limit": PARTS_AT_ONCE}
        parts = connection.execute(PARTS_AFTER, after).all()
        if not parts:
            break
        found |= {chunk for chunk, _ in unpack_parts(row.entries for row in parts)} & wanted
        upload, part = parts[-1].upload_id, parts[-1].part
    return found


def _complete(purge_id: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        number = connection.execute(_DRAW.on(connection)).scalar_one()
        connection.execute(_GONE, {"purge": purge_id, "next": number})

    return work


def _forget(purge_id: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        for statement in _FORGET:
            connection.execute(statement, {"purge": purge_id})

    return work
