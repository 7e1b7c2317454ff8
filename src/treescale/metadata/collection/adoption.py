"""What a server of version 0.1.0 has pushed again of what is deleted here is there again.

Such a server shares the database in an upgrade, and knows nothing of `manifests.deleted` and
`repository_blobs.hidden`: its push leaves them as they are, and its clients hear 201. What it
writes beside them tells: a tag that points at a deleted manifest, an index that was pushed after
its part was deleted, a lease of a hidden link that runs, a manifest that is there and refers to a
hidden link. None of these is ever written by a server that knows of the two. A manifest that was
pushed again by its digest alone, and that nothing refers to, leaves no trace: it stays deleted, and
can be restored.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    exists,
    literal_column,
    null,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.collection.undelete import bring_back
from treescale.metadata.engine.clock import ASKED_ONCE
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.schema import manifest_references, manifests, repository_blobs, tags

AT_ONCE: Final = 100
HIDDEN_SECONDS: Final = 60.0
"""Who hides a link lets its lease end at that moment, or nearly."""

_links = repository_blobs
_PARENT: Final = manifests.alias("parent")
_DELETED: Final = manifests.c.deleted.is_not(None)
HAS_TAG: Final = exists().where(
    tags.c.repository_id == manifests.c.repository_id, tags.c.digest == manifests.c.digest
)
_HAS_AS_PART: Final = and_(
    manifest_references.c.repository_id == manifests.c.repository_id,
    manifest_references.c.digest == manifests.c.digest,
    _PARENT.c.repository_id == manifest_references.c.repository_id,
    _PARENT.c.digest == manifest_references.c.manifest,
    or_(_PARENT.c.subject.is_(None), _PARENT.c.subject != manifest_references.c.digest),
)
_REFERS: Final = and_(_HAS_AS_PART, _PARENT.c.deleted.is_(None))
IS_PART: Final = exists().where(_REFERS)
"""That a manifest is a part of an index which is there."""
IS_PART_OF_ANY: Final = exists().where(_HAS_AS_PART)
"""The same of an index that is deleted, too: it may be restored, and would come back broken."""
IS_PART_OF_NONE: Final = (
    select(literal_column("1")).where(_HAS_AS_PART).limit(1).scalar_subquery().is_(None)
)
"""That it is a part of none, asked of each row by itself, since few are due: for `NOT EXISTS`
PostgreSQL may join all references there are."""
_PARENT_PUSHED_SINCE: Final = exists().where(
    _REFERS,
    or_(
        _PARENT.c.pushed > manifests.c.deleted,
        exists().where(
            tags.c.repository_id == _PARENT.c.repository_id,
            tags.c.digest == _PARENT.c.digest,
            tags.c.updated > manifests.c.deleted,
        ),
    ),
)
PUSHED_AGAIN: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .where(_DELETED, or_(HAS_TAG, _PARENT_PUSHED_SINCE))
    .limit(AT_ONCE)
)
_LIVE_REFERENCE: Final = and_(
    manifest_references.c.repository_id == _links.c.repository_id,
    manifest_references.c.digest == _links.c.digest,
    manifests.c.repository_id == manifest_references.c.repository_id,
    manifests.c.digest == manifest_references.c.manifest,
    manifests.c.deleted.is_(None),
)
IS_NEEDED: Final = exists().where(_LIVE_REFERENCE)
"""That a manifest which is there refers to a link."""
LEASED_AGAIN: Final = (
    select(_links.c.repository_id, _links.c.digest)
    .where(
        _links.c.lease_until >= 0,
        _links.c.lease_until > ASKED_ONCE,
        _links.c.hidden.is_not(None),
        _links.c.lease_until > _links.c.hidden + HIDDEN_SECONDS,
    )
    .limit(AT_ONCE)
)
# A hidden link that waits for nothing is there for a deleted manifest: from there it is found.
_KEEPER: Final = manifests.alias("keeper")
_KEPT: Final = manifest_references.alias("kept")
REFERRED_AGAIN: Final = (
    select(_links.c.repository_id, _links.c.digest)
    .select_from(
        _KEEPER.join(
            _KEPT,
            and_(
                _KEPT.c.repository_id == _KEEPER.c.repository_id,
                _KEPT.c.manifest == _KEEPER.c.digest,
            ),
        ).join(
            _links,
            and_(
                _links.c.repository_id == _KEPT.c.repository_id,
                _links.c.digest == _KEPT.c.digest,
            ),
        )
    )
    .where(_KEEPER.c.deleted.is_not(None), _links.c.hidden.is_not(None), IS_NEEDED)
    .distinct()
    .limit(AT_ONCE)
)
_THESE: Final[Any] = bindparam("these", expanding=True)
_ROW_IDS: Final[Any] = bindparam("row_ids", expanding=True)
_KEYS: Final[Any] = bindparam("keys", expanding=True)


def is_among(row_id: ColumnElement[int], key: ColumnElement[str]) -> ColumnElement[bool]:
    """Return that a row is one of those that `among` is given.

    Each column by itself as well: for pairs SQLite has no index, and reads the whole table.
    """
    return and_(tuple_(row_id, key).in_(_THESE), row_id.in_(_ROW_IDS), key.in_(_KEYS))


def among(pairs: Iterable[Sequence[Any]]) -> dict[str, list[Any]]:
    """Return the parameters of a statement that has `is_among`, of repository and key each."""
    these = [(row_id, key) for row_id, key, *_ in pairs]
    return {
        "these": these,
        "row_ids": sorted({row_id for row_id, _ in these}),
        "keys": sorted({key for _, key in these}),
    }


_IS_LINK: Final = is_among(_links.c.repository_id, _links.c.digest)
_HOLD: Final = (
    select(_links.c.digest)
    .where(_IS_LINK)
    .order_by(_links.c.repository_id, _links.c.digest)
    .with_for_update(key_share=True)
)
_SHOW: Final = update(_links).where(_IS_LINK).values(hidden=null())
SHOW_NEEDED: Final = (
    update(_links).where(_IS_LINK, _links.c.hidden.is_not(None), IS_NEEDED).values(hidden=null())
)


class Adoption:
    """Brings back what servers of 0.1.0 have pushed again. Only beside them there is any."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def adopt(self) -> int:
        """Bring back all there is; return how many manifests and links that were."""
        found = 0
        while due := await self._connections.rows(PUSHED_AGAIN):
            back = await self._connections.write(_adopting(due))
            found += back
            if not back:
                break
        for statement in (LEASED_AGAIN, REFERRED_AGAIN):
            while due := await self._connections.rows(statement):
                found += await self._connections.write(_showing(due))
        return found


def adopt(connection: Connection, found: Sequence[Any]) -> int:
    """Bring back these manifests, with their parts; return how many that were."""
    back = 0
    ordered = sorted((row.repository_id, row.digest) for row in found)
    for row_id, rows in groupby(ordered, key=itemgetter(0)):
        back += len(bring_back(connection, row_id, [digest for _, digest in rows]).manifests)
    return back


def _adopting(found: Sequence[Any]) -> Callable[[Connection], int]:
    return lambda connection: adopt(connection, found)


def _showing(found: Sequence[Any]) -> Callable[[Connection], int]:
    these = among((row.repository_id, row.digest) for row in found)

    def work(connection: Connection) -> int:
        connection.execute(_HOLD, these)
        return changed(connection, _SHOW, these)

    return work
