"""What was deleted and can be restored, in pages: repositories, then tags, then manifests.

Of each kind the latest first. Where a page ends is told by the kind, the time and the row, so that
what is deleted or restored meanwhile moves nothing of it.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Double, Select, Text, bindparam, exists, literal, select, tuple_

from treescale.errors import PageInvalid
from treescale.metadata.engine.connections import Connections
from treescale.metadata.layouts import undelete_seconds
from treescale.metadata.repositories import DELETED_MARK, GOING_MARK, namespace_id
from treescale.metadata.schema import deleted_tags, manifests, repositories

_NEVER: Final = 1e18
"""After every time."""
_ID_DIGITS_MAX: Final = 18


def _page(query: Select[Any], deleted: Any, row_id: Any, name: Any) -> Select[Any]:
    """Return the rows after a place, the latest first."""
    key = (deleted, row_id, name)
    before: tuple[Any, ...] = (
        bindparam("before", type_=Double()),
        bindparam("before_id", type_=BigInteger()),
        bindparam("before_name", type_=Text()),
    )
    return (
        query.where(deleted <= before[0], tuple_(*key) < tuple_(*before))
        .order_by(*(each.desc() for each in key))
        .limit(bindparam("limit"))
    )


_UNTIL: Final = undelete_seconds()
_OF_NAMESPACE: Final = repositories.c.namespace_id == namespace_id()
_OF_REPOSITORY: Final = repositories.c.name == bindparam("repository_name")
_LIST_REPOSITORIES: Final = _page(
    select(
        repositories.c.repository_id,
        repositories.c.name,
        literal(None, Text()).label("tag"),
        literal(None, Text()).label("digest"),
        repositories.c.deleted,
        (repositories.c.deleted + _UNTIL).label("until"),
    ).where(repositories.c.deleted.is_not(None), ~repositories.c.name.contains(GOING_MARK)),
    repositories.c.deleted,
    repositories.c.repository_id,
    repositories.c.name,
)
_LIST_TAGS: Final = _page(
    select(
        repositories.c.repository_id,
        repositories.c.name,
        deleted_tags.c.name.label("tag"),
        deleted_tags.c.digest,
        deleted_tags.c.deleted,
        (deleted_tags.c.deleted + _UNTIL).label("until"),
    )
    .join(repositories, repositories.c.repository_id == deleted_tags.c.repository_id)
    .where(repositories.c.deleted.is_(None)),
    deleted_tags.c.deleted,
    deleted_tags.c.repository_id,
    deleted_tags.c.name,
)
_LIST_MANIFESTS: Final = _page(
    select(
        repositories.c.repository_id,
        repositories.c.name,
        literal(None, Text()).label("tag"),
        manifests.c.digest,
        manifests.c.deleted,
        (manifests.c.deleted + _UNTIL).label("until"),
    )
    .join(repositories, repositories.c.repository_id == manifests.c.repository_id)
    .where(
        manifests.c.deleted.is_not(None),
        repositories.c.deleted.is_(None),
        # It is listed by its tag.
        ~exists().where(
            deleted_tags.c.repository_id == manifests.c.repository_id,
            deleted_tags.c.digest == manifests.c.digest,
        ),
    ),
    manifests.c.deleted,
    manifests.c.repository_id,
    manifests.c.digest,
)
_KINDS: Final = (_LIST_REPOSITORIES, _LIST_TAGS, _LIST_MANIFESTS)
_START: Final = (_NEVER, 0, "")


@dataclass(frozen=True, slots=True)
class Deleted:
    """Something that can be restored, until a time of the database's."""

    repository: str
    tag: str | None
    digest: str | None
    deleted: float
    until: float
    cursor: str
    """Where the page after it begins."""


async def deleted_page(
    connections: Connections,
    namespace: str | None,
    limit: int,
    after: str = "",
    *,
    repository: str | None = None,
) -> list[Deleted]:
    """Return a page of what can be restored; `after` is the cursor of the last of the one before.

    With `namespace` of who has that name now, and not of an earlier one; with `repository` of the
    one that is there. A manifest that had a tag is listed by that. Raises PageInvalid.
    """
    first, place = _place(after) if after else (0, _START)
    found: list[Deleted] = []
    for kind in range(first, len(_KINDS)):
        if len(found) == limit:
            break
        before, before_id, before_name = place if kind == first else _START
        page: dict[str, object] = {
            "before": before,
            "before_id": before_id,
            "before_name": before_name,
            "limit": limit - len(found),
        }
        query = _KINDS[kind]
        if namespace is not None:
            query = query.where(_OF_NAMESPACE)
            page["namespace_name"] = namespace
        if repository is not None:
            query = query.where(_OF_REPOSITORY)
            page["repository_name"] = repository
        found += [_deleted(kind, row) for row in await connections.rows(query, page)]
    return found


def _deleted(kind: int, row: Any) -> Deleted:
    last = ("", row.tag, row.digest)[kind]
    return Deleted(
        row.name.partition(DELETED_MARK)[0],
        row.tag,
        row.digest,
        row.deleted,
        row.until,
        f"{kind}/{row.deleted!r}/{row.repository_id}/{last}",
    )


def _place(cursor: str) -> tuple[int, tuple[float, int, str]]:
    """Return which kind a page begins with, and after which row of it; raises PageInvalid."""
    wrong = PageInvalid("after must be the `next` of the page before")
    kind, *more = cursor.split("/", 3)
    if kind not in ("0", "1", "2") or len(more) != len(_START):
        raise wrong
    time, row_id, name = more
    if not (row_id.isdecimal() and row_id.isascii() and len(row_id) <= _ID_DIGITS_MAX):
        raise wrong
    try:
        deleted = float(time)
    except ValueError:
        raise wrong from None
    if not 0 <= deleted < _NEVER:
        raise wrong
    return int(kind), (deleted, int(row_id), name)
