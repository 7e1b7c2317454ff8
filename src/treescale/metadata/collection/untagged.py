"""What nothing holds any more: found, and deleted once the cluster's setting `untagged` says so.

A manifest is held by a tag, by an index that has it as a child, and by its subject. Nobody notes
when the last of these goes; a look over all manifests, once a lease, writes down since when none
is there (`untagged_since`), and takes that back when one is. A push of the manifest, and of what
refers to it, takes it back at once. A child whose indexes are all marked is marked, too, and goes
with them: who restores an index gets its children back, and nothing else that went then.

What is marked has a lease (collection.md R21): whoever is told of it renews `lease_until` and
`untagged_since` when less than half is left. What is not marked needs none: it goes only so long
after it is marked, and a lease at least. So a read writes only of what is marked, at most once in
a lease. A mark has the time at which its look began; of a look that took longer than `LOOK_SHARE`
of a lease, as on a machine that slept, nothing more is marked, and another begins.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    Text,
    and_,
    bindparam,
    exists,
    literal_column,
    not_,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.clock import ASKED_ONCE, DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import (
    is_read_only,
    lease_seconds,
    may_collect,
    noted_number,
    read_only_by,
    untagged_seconds,
)
from treescale.metadata.manifest_push import delete_with_all_said_of_it
from treescale.metadata.schema import (
    manifest_references,
    manifests,
    repositories,
    settings,
    tags,
)

TAKEN_AT_ONCE: Final = 10
"""Manifests in one transaction, and what hangs on them."""
MARKED_AT_ONCE: Final = 100
LOOKED_AT_ONCE: Final = 1000
"""In one statement of the look, which locks nothing."""
LOOK_SHARE: Final = 24
"""A mark is older than its transaction by at most this part of a lease: an hour."""
DEPTH_MAX: Final = 4
"""Indexes of indexes of …: what lies deeper is found by the next look."""
LOOKED_SETTING: Final = "untagged_looked"
"""When the last look ended, by the database's clock."""
ACTOR: Final = "rule:untagged"
"""Who does it, among the events."""

_parent, _subject = manifests.alias("parent"), manifests.alias("subject_of")
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_MANIFEST: Final = tuple_(manifests.c.repository_id, manifests.c.digest)
_HERE: Final = manifests.c.repository_id == bindparam("row_id")
_DIGESTS: Final = manifests.c.digest.in_(_THESE)
_STAMP: Final[BindParameter[float]] = bindparam("stamp", type_=Double())
_IS_LIVE: Final = manifests.c.deleted.is_(None)
_IS_MARKED: Final = manifests.c.untagged_since.is_not(None)

# Of each row no more than an index has: SQLite would else read all tags of the repository.
_ANY: Final = literal_column("1", Integer())
HAS_TAG: Final = exists(
    select(_ANY).where(
        tags.c.repository_id == manifests.c.repository_id, tags.c.digest == manifests.c.digest
    )
)


def _parent_that(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether an index of which that is true has the manifest as a child."""
    return exists(
        select(_ANY).where(
            manifest_references.c.repository_id == manifests.c.repository_id,
            manifest_references.c.digest == manifests.c.digest,
            _parent.c.repository_id == manifest_references.c.repository_id,
            _parent.c.digest == manifest_references.c.manifest,
            or_(_parent.c.subject.is_(None), _parent.c.subject != manifest_references.c.digest),
            *conditions,
        )
    )


def _subject_that(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(
        select(_ANY).where(
            _subject.c.repository_id == manifests.c.repository_id,
            _subject.c.digest == manifests.c.subject,
            *conditions,
        )
    )


# What is deleted and can be restored holds as what is live does: it would come back broken.
HELD: Final = or_(
    HAS_TAG,
    _parent_that(or_(_parent.c.untagged_since.is_(None), _parent.c.deleted.is_not(None))),
    _subject_that(),
)
IS_OVER: Final = and_(
    manifests.c.untagged_since < ASKED_ONCE - untagged_seconds(),
    # Whoever was told of it before it was marked has a lease from then on, and the mark is older.
    manifests.c.untagged_since < ASKED_ONCE - lease_seconds() * (1 + 1 / LOOK_SHARE),
    or_(manifests.c.lease_until.is_(None), manifests.c.lease_until < ASKED_ONCE),
)
"""Whether it was marked long enough ago, and nobody was told of it lately."""
IS_FREE: Final = and_(not_(HAS_TAG), not_(_parent_that()), not_(_subject_that()))
"""Whether nothing holds it, not even what is marked: what goes first, and takes others along."""

# The look
_PAGE: Final = (
    select(manifests.c.repository_id, manifests.c.digest, HAS_TAG.label("has_tag"))
    .where(
        tuple_(bindparam("row_id", type_=Integer()), bindparam("after", type_=Text())) < _MANIFEST
    )
    .order_by(manifests.c.repository_id, manifests.c.digest)
    .limit(LOOKED_AT_ONCE)
)
_UNMARKED: Final = select(manifests.c.repository_id, manifests.c.digest).where(
    _HERE, _DIGESTS, _IS_LIVE, not_(_IS_MARKED), not_(HELD)
)
_MARKED: Final = (
    select(
        manifests.c.untagged_since,
        manifests.c.repository_id,
        manifests.c.digest,
        HELD.label("held"),
    )
    .where(
        _IS_MARKED,
        tuple_(manifests.c.untagged_since, manifests.c.repository_id, manifests.c.digest)
        > tuple_(
            bindparam("since", type_=Double()),
            bindparam("row_id", type_=Integer()),
            bindparam("after", type_=Text()),
        ),
    )
    .order_by(manifests.c.untagged_since, manifests.c.repository_id, manifests.c.digest)
    .limit(LOOKED_AT_ONCE)
)
_CHILDREN_OF: Final = (
    select(manifest_references.c.repository_id, manifest_references.c.digest)
    .where(
        manifest_references.c.repository_id == bindparam("row_id"),
        manifest_references.c.manifest.in_(_THESE),
    )
    .distinct()
)
# All of one look have one time: an index and its children are due together.
_IS_FRESH: Final = DatabaseNow() - lease_seconds() / LOOK_SHARE < _STAMP
_MARK: Final = (
    update(manifests)
    .where(_HERE, _DIGESTS, _IS_LIVE, not_(_IS_MARKED), not_(HELD), _IS_FRESH)
    .values(untagged_since=_STAMP)
)
_CLEAR: Final = (
    update(manifests).where(_HERE, _DIGESTS, _IS_MARKED, HELD).values(untagged_since=null())
)
_LOOKED: Final = select(
    lease_seconds().label("lease"),
    DatabaseNow().label("now"),
    select(settings.c.value)
    .where(settings.c.name == LOOKED_SETTING)
    .scalar_subquery()
    .label("looked"),
)
_NOTE: Final = insert_or_update(settings, ["value"])
_LOOK: Final = select(_IS_FRESH.label("is_fresh"))

# Taking away
DUE: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .where(
        _IS_MARKED,
        _IS_LIVE,
        IS_OVER,
        IS_FREE,
        exists(
            select(_ANY).where(
                repositories.c.repository_id == manifests.c.repository_id,
                repositories.c.deleted.is_(None),
                read_only_by(repositories.c.namespace, repositories.c.read_only).is_(None),
            )
        ),
    )
    .order_by(manifests.c.untagged_since)
    .limit(TAKEN_AT_ONCE)
)
HOLD: Final = (
    select(manifests.c.digest)
    .where(_HERE, _DIGESTS, _IS_LIVE, IS_OVER)
    .order_by(manifests.c.digest)
    .with_for_update(skip_locked=True, of=manifests)
)
# A statement of its own, after the lock: whoever held the row has written by then (R18).
_FREE: Final = select(manifests.c.digest).where(_HERE, _DIGESTS, _IS_LIVE, IS_OVER, IS_FREE)
_NAME: Final = select(repositories.c.name).where(
    repositories.c.repository_id == bindparam("row_id"), repositories.c.deleted.is_(None)
)
_CHILDREN: Final = (
    select(manifest_references.c.digest)
    .where(
        manifest_references.c.repository_id == bindparam("row_id"),
        manifest_references.c.manifest.in_(_THESE),
    )
    .distinct()
)
_ELSEWHERE: Final = or_(_parent.c.deleted.is_(None), _parent.c.deleted != _STAMP)
_FREE_WITH: Final = select(manifests.c.digest).where(
    _HERE,
    _DIGESTS,
    _IS_LIVE,
    IS_OVER,
    not_(HAS_TAG),
    not_(_parent_that(_ELSEWHERE)),
    not_(_subject_that(or_(_subject.c.deleted.is_(None), _subject.c.deleted != _STAMP))),
)
_NOW: Final = select(DatabaseNow())

Key = tuple[int, str]


class UntaggedCollector:
    """Finds what nothing holds, and deletes it in time. Several at once are as good as one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def look_if_due(self) -> int:
        """Look at all manifests if that was not done for a lease; return how many have changed."""
        row = await self._connections.row(_LOOKED)
        assert row is not None, "it has no table"
        looked = noted_number(LOOKED_SETTING, row.looked) or 0.0
        if 0 <= row.now - looked <= row.lease:
            return 0
        return await self.look(float(row.now))

    async def look(self, now: float) -> int:
        """Mark what nothing holds, and take back marks; `now` is the database's time.

        Reads whole tables a page at a time; writes what has changed, and that it has looked,
        unless that took too long.
        """
        found = await self._look_at_marks() + await self._look_at_all(now)
        noted = {"name": LOOKED_SETTING, "value": f"{now:.3f}"}

        def note(connection: Connection) -> None:
            connection.execute(_NOTE.on(connection), noted)

        row = await self._connections.row(_LOOK, {"stamp": now})
        if row is not None and row.is_fresh:
            await self._connections.write(note, durable=False)
        return found

    async def take(self) -> int:
        """Delete all that is due, as a client would; return how many were, with what went along."""
        total = 0
        while True:
            due = [(row.repository_id, row.digest) for row in await self._connections.rows(DUE)]
            taken = 0
            for row_id, group in groupby(sorted(due), key=itemgetter(0)):
                taken += await self._connections.write(_take(row_id, [each for _, each in group]))
            if not taken:  # what is locked just now is for the next cycle
                return total
            total += taken

    async def _look_at_marks(self) -> int:
        found, after = 0, {"since": -1.0, "row_id": 0, "after": ""}
        while page := await self._connections.rows(_MARKED, after):
            held = [(row.repository_id, row.digest) for row in page if row.held]
            found += await self._change(_CLEAR, held, {})
            last = page[-1]
            after = {
                "since": last.untagged_since,
                "row_id": last.repository_id,
                "after": last.digest,
            }
        return found

    async def _look_at_all(self, now: float) -> int:
        found, after = 0, {"row_id": 0, "after": ""}
        while page := await self._connections.rows(_PAGE, after):
            bare = [(row.repository_id, row.digest) for row in page if not row.has_tag]
            while bare:
                keys = await self._keys(_UNMARKED, bare)
                found += await self._change(_MARK, keys, {"stamp": now})
                bare = await self._keys(_CHILDREN_OF, keys)
            after = {"row_id": page[-1].repository_id, "after": page[-1].digest}
        return found

    async def _keys(self, statement: Any, keys: Sequence[Key]) -> list[Key]:
        found: list[Key] = []
        for these in _pages(keys, LOOKED_AT_ONCE):
            rows = await self._connections.rows(statement, these)
            found += [(row.repository_id, row.digest) for row in rows]
        return found

    async def _change(self, statement: Any, keys: Sequence[Key], values: dict[str, float]) -> int:
        done = 0
        for these in _pages(keys, MARKED_AT_ONCE):
            done += await self._connections.change(statement, {**values, **these}, durable=False)
        return done


def _pages(keys: Iterable[Key], at_once: int) -> Iterator[dict[str, Any]]:
    """Yield parameters for so many of one repository each: for pairs SQLite uses no index."""
    for row_id, group in groupby(sorted(keys), key=itemgetter(0)):
        digests = [digest for _, digest in group]
        for at in range(0, len(digests), at_once):
            yield {"row_id": row_id, "these": digests[at : at + at_once]}


def _take(row_id: int, digests: Sequence[str]) -> Callable[[Connection], int]:
    """Return what deletes those of a repository that nothing holds, and what hangs on them."""

    def work(connection: Connection) -> int:
        collects = may_collect(connection)
        name = connection.execute(_NAME, {"row_id": row_id}).scalar_one_or_none()
        held = _held(connection, row_id, digests)
        if not collects or name is None or is_read_only(connection, name) or not held:
            return 0
        this = {"row_id": row_id, "these": held}
        fresh = set(connection.execute(_FREE, this).scalars())
        stamp = connection.execute(_NOW).scalar_one()
        gone: set[str] = set()
        for _ in range(DEPTH_MAX):
            if not fresh:
                break
            new = delete_with_all_said_of_it(connection, row_id, *fresh, stamp=stamp)
            gone |= new
            fresh = _children(connection, row_id, new, stamp)
        for each in sorted(gone):
            record(connection, Event(Kind.IMAGE_DELETED, ACTOR, name, digest=each))
        return len(gone)

    return work


def _children(
    connection: Connection, row_id: int, parents: Iterable[str], stamp: float
) -> set[str]:
    """Return the children that nothing holds but these, which are deleted; hold them."""
    these = {"row_id": row_id, "these": sorted(parents)}
    named = connection.execute(_CHILDREN, these).scalars()
    held = _held(connection, row_id, sorted(named))
    if not held:
        return set()
    wanted = {"row_id": row_id, "these": held, "stamp": stamp}
    return set(connection.execute(_FREE_WITH, wanted).scalars())


def _held(connection: Connection, row_id: int, digests: Sequence[str]) -> list[str]:
    """Hold those that may go, and that nobody else holds."""
    if not digests:
        return []
    return list(connection.execute(HOLD, {"row_id": row_id, "these": digests}).scalars())
