"""Tags and images by how their name begins, in repositories that somebody may see.

An index is read from there on, `LOOKED_AT_MAX` entries at most, whosever they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, or_, select, true

from treescale.metadata.engine.connections import Connections
from treescale.metadata.records import Repository
from treescale.metadata.repositories import is_of_member
from treescale.metadata.schema import manifests, repositories, tags
from treescale.metadata.shown.patterns import end_of

LOOKED_AT_MAX: Final = 2000
_TAGS: Final = (
    select(tags.c.repository_id, tags.c.name.label("tag"))
    .where(tags.c.name >= bindparam("first"), tags.c.name < bindparam("end"))
    .order_by(tags.c.name, tags.c.repository_id)
    .limit(bindparam("looked_at"))
    .subquery("looked_at")
)
_DIGESTS: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .where(manifests.c.digest >= bindparam("first"), manifests.c.digest < bindparam("end"))
    .order_by(manifests.c.digest, manifests.c.repository_id)
    .limit(bindparam("looked_at"))
    .subquery("looked_at")
)
_REPOSITORY: Final = (
    repositories.c.name,
    repositories.c.public,
    repositories.c.internal,
    repositories.c.created,
)
_SEES: Final[dict[str, ColumnElement[bool]]] = {
    "all": true(),
    "user": or_(
        repositories.c.public == true(),
        repositories.c.internal == true(),
        repositories.c.namespace == bindparam("user"),
        is_of_member("user"),
    ),
}


def _of_tags(sees: ColumnElement[bool]) -> Select[Any]:
    return (
        select(*_REPOSITORY, tags.c.name.label("tag"), tags.c.digest, tags.c.updated)
        .select_from(
            _TAGS.join(repositories, repositories.c.repository_id == _TAGS.c.repository_id).join(
                tags,
                (tags.c.repository_id == _TAGS.c.repository_id) & (tags.c.name == _TAGS.c.tag),
            )
        )
        .where(repositories.c.deleted.is_(None), sees)
        .order_by(_TAGS.c.tag, repositories.c.name)
        .limit(bindparam("limit"))
    )


def _of_digests(sees: ColumnElement[bool]) -> Select[Any]:
    here = (manifests.c.repository_id == _DIGESTS.c.repository_id) & (
        manifests.c.digest == _DIGESTS.c.digest
    )
    return (
        select(*_REPOSITORY, manifests.c.digest, manifests.c.media_type, manifests.c.pushed)
        .select_from(
            _DIGESTS.join(
                repositories, repositories.c.repository_id == _DIGESTS.c.repository_id
            ).join(manifests, here)
        )
        .where(repositories.c.deleted.is_(None), manifests.c.deleted.is_(None), sees)
        .order_by(_DIGESTS.c.digest, repositories.c.name)
        .limit(bindparam("limit"))
    )


BY_TAG: Final = {viewer: _of_tags(sees) for viewer, sees in _SEES.items()}
BY_DIGEST: Final = {viewer: _of_digests(sees) for viewer, sees in _SEES.items()}


@dataclass(frozen=True, slots=True)
class Found:
    """A tag, or a manifest."""

    repository: Repository
    tag: str | None
    digest: str
    pushed: float
    media_type: str | None = None


class Finder:
    """Finds them. `viewer` is `all` or `user`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def tags(self, viewer: str, user: str, begin: str, limit: int) -> Sequence[Found]:
        """Return tags that begin with a text, by name."""
        rows = await self._connections.rows(BY_TAG[viewer], _asked(user, begin, limit))
        return [Found(_repository(row), row.tag, row.digest, row.updated) for row in rows]

    async def images(self, viewer: str, user: str, begin: str, limit: int) -> Sequence[Found]:
        """Return manifests whose digest begins with a text."""
        rows = await self._connections.rows(BY_DIGEST[viewer], _asked(user, begin, limit))
        return [
            Found(_repository(row), None, row.digest, row.pushed, row.media_type) for row in rows
        ]


def _asked(user: str, begin: str, limit: int) -> dict[str, object]:
    span = {"first": begin, "end": end_of(begin), "looked_at": LOOKED_AT_MAX}
    return span | {"user": user, "limit": limit}


def _repository(row: Any) -> Repository:
    return Repository(row.name, bool(row.public), row.created, bool(row.internal))
