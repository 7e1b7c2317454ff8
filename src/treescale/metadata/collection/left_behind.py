"""What the deletion of a manifest has left, that broke off: found by the slow pass, and deleted.

Much may be said of a manifest, and goes in several transactions (`manifest_push.delete_piece`); the
server may be stopped between two. Where nothing can be restored the manifest is due before they are
through: then it waits, and whoever would take it away takes that along first. Once it is gone
nobody could tell any more what was said of it and should have gone.
"""

from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Final

from sqlalchemy import and_, exists, literal_column, select, update
from sqlalchemy.engine import Connection

from treescale.metadata.collection.adoption import HAS_TAG, IS_PART, among, is_among
from treescale.metadata.engine.connections import changed
from treescale.metadata.manifest_push import UNFINISHED
from treescale.metadata.schema import manifests

AT_ONCE: Final = 100

Pair = tuple[int, str]
"""A repository's row id, and a digest in it."""

_IS_MANIFEST: Final = is_among(manifests.c.repository_id, manifests.c.digest)
# What has nothing to be said of but a manifest whose deletion broke off, since before that was
# deleted. Not what has a tag, nor what was pushed after it, for the first time or again, or was
# restored by itself: `pushed` is set by each of these, by the database's clock, as `deleted` is.
# No lease tells that: its length may have been changed since. A server of 0.1.0 sets `pushed` by
# its own clock, and by the first push alone; what it alone has pushed again goes along.
_SUBJECT: Final = manifests.alias("subject")
_WITHOUT_SUBJECT: Final = and_(
    manifests.c.deleted.is_(None),
    manifests.c.pushed < _SUBJECT.c.deleted,
    ~HAS_TAG,
    ~IS_PART,
)
LEFT_BEHIND: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .select_from(
        _SUBJECT.join(
            manifests,
            and_(
                manifests.c.repository_id == _SUBJECT.c.repository_id,
                manifests.c.subject == _SUBJECT.c.digest,
            ),
        )
    )
    .where(_SUBJECT.c.deleted.is_not(None), _SUBJECT.c.lease_until == UNFINISHED, _WITHOUT_SUBJECT)
    .limit(AT_ONCE)
)
_HAVE_LEFT: Final = select(_SUBJECT.c.repository_id, _SUBJECT.c.digest).where(
    is_among(_SUBJECT.c.repository_id, _SUBJECT.c.digest),
    _SUBJECT.c.lease_until == UNFINISHED,
    exists(
        select(literal_column("1"))
        .select_from(manifests)
        .where(
            manifests.c.repository_id == _SUBJECT.c.repository_id,
            manifests.c.subject == _SUBJECT.c.digest,
            _WITHOUT_SUBJECT,
        )
    ),
)
_LEFT_OF: Final = LEFT_BEHIND.where(is_among(_SUBJECT.c.repository_id, _SUBJECT.c.digest))
_HOLD_LEFT: Final = (
    select(manifests.c.digest)
    .where(_IS_MANIFEST, manifests.c.deleted.is_(None))
    .order_by(manifests.c.digest)
    .with_for_update(skip_locked=True)
)
_STILL_LEFT: Final = LEFT_BEHIND.where(_IS_MANIFEST)
# As if it had gone with it: it comes back with it, too.
_LEAVE: Final = (
    update(manifests)
    .where(_IS_MANIFEST)
    .values(
        lease_until=UNFINISHED,
        deleted=select(_SUBJECT.c.deleted)
        .where(
            _SUBJECT.c.repository_id == manifests.c.repository_id,
            _SUBJECT.c.digest == manifests.c.subject,
        )
        .scalar_subquery(),
    )
)


def leaving(row_id: int, digests: Sequence[str]) -> Callable[[Connection], int]:
    """Return what deletes those of a repository that are left."""
    return lambda connection: _leave(connection, row_id, digests)


def take_along(connection: Connection, due: Sequence[Pair]) -> tuple[int, set[Pair]]:
    """Delete some of what is left of these, which are held; return how many, and who must wait."""
    if not due:
        return 0, set()
    waiting = {
        (row.repository_id, row.digest) for row in connection.execute(_HAVE_LEFT, among(due))
    }
    if not waiting:
        return 0, waiting
    left = sorted(tuple(row) for row in connection.execute(_LEFT_OF, among(waiting)))
    gone = 0
    for row_id, rows in groupby(left, key=itemgetter(0)):
        gone += _leave(connection, row_id, [digest for _, digest in rows])
    return gone, waiting


def _leave(connection: Connection, row_id: int, digests: Sequence[str]) -> int:
    these = among((row_id, digest) for digest in digests)
    held = [(row_id, each) for each in connection.execute(_HOLD_LEFT, these).scalars()]
    if not held:
        return 0
    left = [tuple(row) for row in connection.execute(_STILL_LEFT, among(held))]
    return changed(connection, _LEAVE, among(left)) if left else 0
