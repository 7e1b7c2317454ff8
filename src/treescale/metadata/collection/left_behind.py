"""What the deletion of a manifest has left, that broke off: found by the slow pass, and deleted.

Much may be said of a manifest, and goes in several transactions (`manifest_push.delete_piece`); the
server may be stopped between two.
"""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import and_, func, literal_column, select, update
from sqlalchemy.engine import Connection

from treescale.metadata.collection.adoption import HAS_TAG, IS_PART, among, is_among
from treescale.metadata.engine.connections import changed
from treescale.metadata.manifest_push import UNFINISHED
from treescale.metadata.schema import manifests

AT_ONCE: Final = 10

_IS_MANIFEST: Final = is_among(manifests.c.repository_id, manifests.c.digest)
# What has nothing to be said of but a manifest whose deletion broke off, since before that was
# deleted. Not what was pushed, or restored, after it; nor what had a tag then, and has none now.
_SUBJECT: Final = manifests.alias("subject")
_WITHOUT_SUBJECT: Final = and_(
    manifests.c.deleted.is_(None),
    func.coalesce(manifests.c.lease_until, literal_column("0")) < _SUBJECT.c.deleted,
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

    def work(connection: Connection) -> int:
        these = among((row_id, digest) for digest in digests)
        held = [(row_id, each) for each in connection.execute(_HOLD_LEFT, these).scalars()]
        if not held:
            return 0
        left = [tuple(row) for row in connection.execute(_STILL_LEFT, among(held))]
        return changed(connection, _LEAVE, among(left)) if left else 0

    return work
