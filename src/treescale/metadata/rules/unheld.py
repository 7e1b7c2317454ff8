"""What went only because nothing held it: it is back when something holds it again.

With the last index of an image the parts go that nothing else holds, at the same time. Whoever
pushes another index of them may have been told a moment before that they are there, and an index
is taken without some of its parts: so its push brings those back. What somebody has deleted, at
another time than an index that names it, stays away.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Double,
    bindparam,
    exists,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.rules.records import DEPTH_MAX
from treescale.metadata.schema import manifest_references, manifests, repository_blobs
from treescale.oci.manifests import ReferenceKind

OVER_SECONDS: Final = 60.0
"""So long before its time is over nothing is brought back: the collector may be at it soon."""
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_HERE: Final = manifests.c.repository_id == bindparam("row_id")
_STAMP: Final[BindParameter[float]] = bindparam("stamp", type_=Double())
_INDEX: Final = manifests.alias("parent")
_IS_PART: Final = (
    manifest_references.c.repository_id == manifests.c.repository_id,
    manifest_references.c.digest == manifests.c.digest,
    manifest_references.c.kind == str(ReferenceKind.MANIFEST),
    _INDEX.c.repository_id == manifest_references.c.repository_id,
    _INDEX.c.digest == manifest_references.c.manifest,
    _INDEX.c.deleted == manifests.c.deleted,
    _INDEX.c.subject.is_distinct_from(manifest_references.c.digest),
)
WENT: Final = select(manifests.c.digest, manifests.c.deleted).where(
    _HERE,
    manifests.c.digest.in_(_THESE),
    manifests.c.deleted > bindparam("since", type_=Double()),
    exists().where(*_IS_PART),
)
WENT_WITH: Final = select(manifests.c.digest).where(
    _HERE,
    manifests.c.deleted == _STAMP,
    or_(
        manifests.c.subject.in_(_THESE),
        exists().where(*_IS_PART, manifest_references.c.manifest.in_(_THESE)),
    ),
)
_HOLD: Final = (
    select(manifests.c.digest)
    .where(_HERE, manifests.c.digest.in_(_THESE), manifests.c.deleted == _STAMP)
    .order_by(manifests.c.digest)
    .with_for_update()
)
_SHOW: Final = (
    update(manifests)
    .where(_HERE, manifests.c.digest.in_(_THESE))
    .values(
        deleted=null(),
        untagged_since=null(),
        lease_until=bindparam("until", type_=Double()),
    )
)
_REFERRED: Final = select(manifest_references.c.digest).where(
    manifest_references.c.repository_id == bindparam("row_id"),
    manifest_references.c.manifest.in_(_THESE),
)
_SHOW_LINKS: Final = (
    update(repository_blobs)
    .where(
        repository_blobs.c.repository_id == bindparam("row_id"),
        repository_blobs.c.digest.in_(_REFERRED),
        repository_blobs.c.hidden.is_not(None),
    )
    .values(hidden=null())
)


def unheld_back(
    connection: Connection, row_id: int, digests: Collection[str], times: tuple[float, float]
) -> list[str]:
    """Bring back those of these parts of an index that went so, with what is said of them.

    `times` are since when it must have gone, and until when it has a lease. Returns what is back.
    """
    since, until = times
    these = {"row_id": row_id, "these": sorted(digests), "since": since + OVER_SECONDS}
    by_stamp: dict[float, set[str]] = {}
    for row in connection.execute(WENT, these):
        by_stamp.setdefault(row.deleted, set()).add(row.digest)
    back: list[str] = []
    for stamp, parts in sorted(by_stamp.items()):
        this = {"row_id": row_id, "stamp": stamp}
        wanted = fresh = parts
        for _ in range(DEPTH_MAX):
            found = {*connection.execute(WENT_WITH, {**this, "these": sorted(fresh)}).scalars()}
            fresh = found - wanted
            wanted = wanted | fresh
            if not fresh:
                break
        held = connection.execute(_HOLD, {**this, "these": sorted(wanted)}).scalars().all()
        connection.execute(_SHOW, {"row_id": row_id, "these": held, "until": until})
        connection.execute(_SHOW_LINKS, {"row_id": row_id, "these": held})
        back += held
    return back
