"""A repository that comes to another namespace whole: what it brings has to fit there.

Its rows stay as they are, however many, so what it brings is added up by the database. What the
namespace before does not have any more is found by who counts anew, as the trigger tells.
"""

from typing import Any, Final

from sqlalchemy import bindparam, exists, func, insert, select, union
from sqlalchemy.engine import Connection

from treescale.metadata.limits.settling import HOLD, Gain, exceeded, settle, use
from treescale.metadata.schema import blobs, manifests, quota_blobs, repository_blobs


def _new(table: Any, size: Any, source: Any) -> Any:
    """Return the digests of a table's rows of a repository that the namespace does not have."""
    noted = exists().where(
        quota_blobs.c.namespace_id == bindparam("row_id"), quota_blobs.c.digest == table.c.digest
    )
    return (
        select(table.c.digest, size.label("size"))
        .select_from(source)
        .where(table.c.repository_id == bindparam("repository_id"), ~noted)
    )


_LINKS: Final = repository_blobs.join(blobs, blobs.c.blob_id == repository_blobs.c.blob_id)
# A blob that is a manifest, too, has one size.
_BROUGHT: Final = union(
    _new(repository_blobs, blobs.c.size, _LINKS), _new(manifests, manifests.c.size, manifests)
).subquery("brought")
NEEDED: Final = select(func.coalesce(func.sum(_BROUGHT.c.size), 0))
_NOTE: Final = insert(quota_blobs).from_select(
    ["namespace_id", "digest", "size"],
    select(
        bindparam("row_id", type_=quota_blobs.c.namespace_id.type),
        _BROUGHT.c.digest,
        _BROUGHT.c.size,
    ),
)


def settle_whole(connection: Connection, repository_id: int, *, actor: str) -> None:
    """Take into account what a repository brings, that the transaction has put where it is now.

    Deleted parts count, as anywhere. Raises QuotaExceeded and OverLimit, and then nothing may be
    kept.
    """
    gain = Gain(repository_id, is_new=True, has_new_tags=True)
    settle(connection, gain, actor=actor)
    row = connection.execute(HOLD, {"repository_id": repository_id}).one_or_none()
    if row is None or row.limit_bytes is None:
        return
    this = {"row_id": row.namespace_id, "repository_id": repository_id}
    needed = int(connection.execute(NEEDED, this).scalar_one())
    if not needed:
        return
    if row.used + needed > row.limit_bytes:
        raise exceeded(row, needed)
    connection.execute(_NOTE, this)
    use(connection, row, row.used + needed, actor=actor)
