"""What repositories, namespaces and tags hold, read a page at a time from what is kept.

What was not added up yet counts, too: a size is what it is at this moment, of all servers' pushes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    bindparam,
    case,
    func,
    select,
    true,
    union,
)

from treescale.metadata.engine.connections import Connections
from treescale.metadata.layouts import read_only_by
from treescale.metadata.records import visibility_of
from treescale.metadata.repositories import id_of, is_of_member
from treescale.metadata.schema import namespaces, pulls, repositories, repository_usage, tags
from treescale.metadata.usage.counting import links_of, tags_of, waiting_of

_kept = repository_usage
NEXT: Final = (
    select(repositories)
    .where(repositories.c.name > bindparam("after"), repositories.c.deleted.is_(None))
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)
# Index ranges, each cut at the limit, then merged: never the whole of any.
_PUBLIC: Final = NEXT.where(repositories.c.public == true()).subquery("open_to_all")
_OWN: Final = NEXT.where(repositories.c.namespace == bindparam("namespace")).subquery("own")
_INTERNAL: Final = NEXT.where(repositories.c.internal == true()).subquery("open_to_users")
_OF_MEMBER: Final = NEXT.where(is_of_member("namespace")).subquery("of_member")
_EITHER: Final = union(
    select(_PUBLIC), select(_INTERNAL), select(_OWN), select(_OF_MEMBER)
).subquery("either")


def repository_figures(page: FromClause) -> Select[Any]:
    """Return what is kept of the repositories of a page, and what waits to be added.

    Counted where nothing is kept.
    """
    row_id = page.c.repository_id

    def one(query: Select[Any], name: str) -> ColumnElement[Any]:
        found = query.correlate(page).with_only_columns(query.selected_columns[name])
        return found.scalar_subquery()

    def figure(name: str, truth: Select[Any]) -> ColumnElement[Any]:
        known = _kept.c[name] + one(waiting_of(row_id), name)
        return case((_kept.c.repository_id.is_(None), one(truth, name)), else_=known).label(name)

    late = one(waiting_of(row_id), "pushed")
    later = case((late > func.coalesce(_kept.c.pushed, 0), late), else_=_kept.c.pushed)
    counted = one(tags_of(row_id), "pushed")
    return (
        select(
            page.c.name,
            page.c.public,
            page.c.internal,
            page.c.created,
            read_only_by(page.c.namespace, page.c.read_only).label("read_only"),
            figure("bytes", links_of(row_id)),
            figure("blobs", links_of(row_id)),
            figure("tags", tags_of(row_id)),
            case((_kept.c.repository_id.is_(None), counted), else_=later).label("pushed"),
        )
        .select_from(page.outerjoin(_kept, _kept.c.repository_id == row_id))
        .order_by(page.c.name)
    )


LIST: Final = repository_figures(NEXT.subquery("page"))
LIST_VISIBLE: Final = repository_figures(
    select(_EITHER).order_by(_EITHER.c.name).limit(bindparam("limit")).subquery("page")
)
ONE: Final = repository_figures(
    select(repositories).where(repositories.c.name == bindparam("this")).subquery("page")
)
NAMESPACE: Final = select(namespaces).where(namespaces.c.name == bindparam("name"))
_by_tag, _by_digest = pulls.alias("by_tag"), pulls.alias("by_digest")


def tag_figures(source: FromClause = tags) -> Select[Any]:
    """Return a query for tags, and when what they point at was pulled; `tag_of` reads a row.

    `source` has the table of tags in it.
    """
    return select(
        tags.c.name,
        tags.c.digest,
        tags.c.updated,
        tags.c.pushed_by,
        _by_tag.c.pulled.label("by_tag"),
        _by_digest.c.pulled.label("by_digest"),
        func.coalesce(_by_digest.c.count, 0).label("pulls"),
    ).select_from(
        source.outerjoin(
            _by_tag,
            (_by_tag.c.repository_id == tags.c.repository_id)
            & (_by_tag.c.reference == tags.c.name),
        ).outerjoin(
            _by_digest,
            (_by_digest.c.repository_id == tags.c.repository_id)
            & (_by_digest.c.reference == tags.c.digest),
        )
    )


TAGS: Final = (
    tag_figures()
    .where(tags.c.repository_id == id_of(), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class RepositoryFigures:
    """A repository, and what it holds. Times are seconds since 1970."""

    name: str
    public: bool
    created: float
    bytes: int
    """Of its blobs, each once."""
    blobs: int
    tags: int
    pushed: float | None
    """When a tag was pushed last; None: none ever was."""
    read_only: str | None = None
    """What has it be read-only (`layouts.ReadOnlyBy`)."""
    internal: bool = False

    @property
    def visibility(self) -> str:
        """Return `public`, `internal` or `private`."""
        return visibility_of(public=self.public, internal=self.internal)


@dataclass(frozen=True, slots=True)
class NamespaceFigures:
    """A namespace, and the distinct blobs in its repositories, as of a minute ago."""

    namespace_id: int
    name: str
    kind: str
    bytes: int
    blobs: int


@dataclass(frozen=True, slots=True)
class TagFigures:
    """A tag: what it points at, since when and by whom, and when that was pulled last."""

    name: str
    digest: str
    pushed: float
    pushed_by: str | None
    """The actor; None of an earlier version."""
    pulled: float | None
    """By the tag, or by the digest that it points at; None: not since that is counted."""
    pulls: int
    """Of what it points at, by whatever name."""


class Usage:
    """What is kept of sizes and pulls."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def repositories(self, after: str, limit: int) -> list[RepositoryFigures]:
        """Return a page of all repositories, by name."""
        return repositories_of(await self._connections.rows(LIST, {"after": after, "limit": limit}))

    async def visible(self, namespace: str, after: str, limit: int) -> list[RepositoryFigures]:
        """Return a page of what a user may see, by name, as `Repositories.list_visible` does."""
        page = {"namespace": namespace, "after": after, "limit": limit}
        return repositories_of(await self._connections.rows(LIST_VISIBLE, page))

    async def repository(self, name: str) -> RepositoryFigures | None:
        """Return one; None when there is none of this name."""
        return next(iter(repositories_of(await self._connections.rows(ONE, {"this": name}))), None)

    async def namespace(self, name: str) -> NamespaceFigures | None:
        """Return a namespace; None while it has no row: nobody ever pushed to it."""
        row = await self._connections.row(NAMESPACE, {"name": name})
        if row is None:
            return None
        return NamespaceFigures(row.namespace_id, row.name, row.kind, row.bytes, row.blobs)

    async def tags(self, repository: str, after: str, limit: int) -> list[TagFigures]:
        """Return a page of a repository's tags, by name."""
        page = {"repository": repository, "after": after, "limit": limit}
        return [tag_of(row) for row in await self._connections.rows(TAGS, page)]


def repositories_of(rows: Sequence[Row[Any]]) -> list[RepositoryFigures]:
    """Return what rows of `repository_figures` say."""
    return [
        RepositoryFigures(
            name=row.name,
            public=bool(row.public),
            created=row.created,
            bytes=int(row.bytes),
            blobs=int(row.blobs),
            tags=int(row.tags),
            pushed=row.pushed,
            read_only=row.read_only,
            internal=bool(row.internal),
        )
        for row in rows
    ]


def tag_of(row: Row[Any]) -> TagFigures:
    """Return what a row of `tag_figures` says."""
    times = [when for when in (row.by_tag, row.by_digest) if when is not None]
    return TagFigures(
        name=row.name,
        digest=row.digest,
        pushed=row.updated,
        pushed_by=row.pushed_by,
        pulled=max(times, default=None),
        pulls=int(row.pulls),
    )
