"""How much of what a namespace uses is deleted, and counts until it is gone.

That are the hidden blobs and the deleted repositories and manifests, and the blobs that deleted
manifests refer to and no other. It reads all that the namespace has, so the answer is kept with its
row: lists show it, and whoever is refused is told no older one than of a minute ago.
"""

from typing import Any, Final

from sqlalchemy import and_, bindparam, exists, func, not_, or_, select, update

from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.schema import (
    blobs,
    manifest_references,
    manifests,
    quotas,
    repositories,
    repository_blobs,
)

FRESH_SECONDS: Final = 60.0

_THIS: Final = quotas.c.namespace_id == bindparam("row_id")
_LIVE: Final = and_(
    repositories.c.namespace_id == bindparam("row_id"), repositories.c.deleted.is_(None)
)


def _referred(*, deleted: bool) -> Any:
    """Return whether a manifest of the link's repository refers to its blob."""
    is_deleted = manifests.c.deleted.is_not(None) if deleted else manifests.c.deleted.is_(None)
    return exists().where(
        manifest_references.c.repository_id == repository_blobs.c.repository_id,
        manifest_references.c.digest == repository_blobs.c.digest,
        manifests.c.repository_id == manifest_references.c.repository_id,
        manifests.c.digest == manifest_references.c.manifest,
        is_deleted,
    )


_BLOBS: Final = (
    select(blobs.c.digest, blobs.c.size)
    .distinct()
    .select_from(
        repositories.join(
            repository_blobs, repository_blobs.c.repository_id == repositories.c.repository_id
        ).join(blobs, blobs.c.blob_id == repository_blobs.c.blob_id)
    )
    .where(
        _LIVE,
        repository_blobs.c.hidden.is_(None),
        or_(_referred(deleted=False), not_(_referred(deleted=True))),
    )
    .subquery("live_blobs")
)
_MANIFESTS: Final = (
    select(manifests.c.digest, manifests.c.size)
    .distinct()
    .select_from(
        repositories.join(manifests, manifests.c.repository_id == repositories.c.repository_id)
    )
    .where(_LIVE, manifests.c.deleted.is_(None))
    .subquery("live_manifests")
)
_SUMS: Final = [
    select(func.coalesce(func.sum(each.c.size), 0)).scalar_subquery()
    for each in (_BLOBS, _MANIFESTS)
]
_WEIGH: Final = select(quotas.c.used, *(each.label(f"part{n}") for n, each in enumerate(_SUMS)))
_KEPT: Final = select(quotas.c.waiting, (DatabaseNow() - quotas.c.weighed).label("age")).where(
    _THIS
)
_KEEP: Final = update(quotas).where(_THIS).values(waiting=bindparam("bytes"), weighed=DatabaseNow())


async def waiting_of(
    connections: Connections, row_id: int, *, fresh_seconds: float = FRESH_SECONDS
) -> int:
    """Return how many bytes that are; not as of longer ago than `fresh_seconds`."""
    this = {"row_id": row_id}
    kept = await connections.row(_KEPT, this)
    if kept is None:
        return 0
    if 0 <= kept.age < fresh_seconds:
        return int(kept.waiting)
    found = await connections.row(_WEIGH.where(_THIS), this)
    if found is None:
        return 0
    waiting = max(0, int(found.used) - int(found.part0) - int(found.part1))
    await connections.change(_KEEP, {**this, "bytes": waiting}, durable=False)
    return waiting
