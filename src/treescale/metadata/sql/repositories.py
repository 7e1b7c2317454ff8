"""Repositories in SQL."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    Row,
    Select,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    true,
    union,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import NameUnknown
from treescale.metadata.records import ClusterUsage, Repository, RepositoryUsage
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    manifests,
    repositories,
    repository_blobs,
    settings,
    tags,
)
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import hold_repository, id_of, insert_or_update_if

_COLUMNS: Final = (repositories.c.name, repositories.c.public, repositories.c.created)
_NAMED: Final = repositories.c.name == bindparam("repository")

GET: Final = select(*_COLUMNS).where(_NAMED)


def _page() -> Select[tuple[str, bool, float]]:
    return (
        select(*_COLUMNS)
        .where(repositories.c.name > bindparam("after"))
        .order_by(repositories.c.name)
        .limit(bindparam("limit"))
    )


# Two index ranges, each cut at the limit, then merged: never the whole of either. A namespace is
# compared as a value, so '_' and '%' in it mean themselves.
_PUBLIC: Final = _page().where(repositories.c.public == true()).subquery("open_to_all")
_OWN: Final = (
    _page().where(repositories.c.namespace == bindparam("namespace")).subquery("of_namespace")
)
_EITHER: Final = union(select(_PUBLIC), select(_OWN)).subquery("visible")
LIST_ALL: Final = _page()
LIST_PUBLIC: Final = _page().where(repositories.c.public == true())
LIST_VISIBLE: Final = select(_EITHER).order_by(_EITHER.c.name).limit(bindparam("limit"))

_SET_PUBLIC: Final = (
    update(repositories)
    .where(repositories.c.repository_id == bindparam("row_id"))
    .values(public=bindparam("is_public"))
)
DELETE: Final = delete(repositories).where(_NAMED).returning(repositories.c.created)
_OLDEST_DELETED: Final = "oldest_deleted"
"""The setting that says when the oldest repository came into being that is deleted by now."""
_NOTE_DELETED: Final = insert_or_update_if(
    settings, ["value"], {}, lambda new: settings.c.value > new.value
)
_OLDEST: Final = select(func.min(repositories.c.created).label("created"))
_OLDEST_OF_ALL: Final = select(settings.c.value).where(settings.c.name == _OLDEST_DELETED)

# Administration: these read as much as there is.
_LINKED: Final = repository_blobs.c.repository_id == id_of()
_COUNT_TAGS: Final = select(func.count()).where(tags.c.repository_id == id_of()).select_from(tags)
_COUNT_MANIFESTS: Final = (
    select(func.count()).select_from(manifests).where(manifests.c.repository_id == id_of())
)
_INLINE_SIZE: Final = func.coalesce(func.length(blobs.c.inline), literal_column("0"))
_SUM_BLOBS: Final = (
    select(
        func.count(),
        func.coalesce(func.sum(blobs.c.size), 0),
        func.coalesce(func.sum(_INLINE_SIZE), 0),
    )
    .select_from(repository_blobs.join(blobs))
    .where(_LINKED)
)
_CHUNKS_HERE: Final = (
    select(blob_chunks.c.chunk)
    .distinct()
    .select_from(
        repository_blobs.join(blob_chunks, blob_chunks.c.blob_id == repository_blobs.c.blob_id)
    )
    .where(_LINKED)
    .subquery("here")
)
_SUM_CHUNKS: Final = select(func.coalesce(func.sum(chunks.c.length), 0)).select_from(
    _CHUNKS_HERE.join(chunks, chunks.c.chunk == _CHUNKS_HERE.c.chunk)
)
_other_link = repository_blobs.alias("other_link")
_other_chunk = blob_chunks.alias("other_chunk")
_LINKED_ELSEWHERE: Final = (
    select(literal_column("1"))
    .select_from(_other_link)
    .where(
        _other_link.c.blob_id == blobs.c.blob_id,
        _other_link.c.repository_id != repository_blobs.c.repository_id,
    )
    .exists()
)
_CHUNK_ELSEWHERE: Final = (
    select(literal_column("1"))
    .select_from(_other_chunk.join(_other_link, _other_link.c.blob_id == _other_chunk.c.blob_id))
    .where(_other_chunk.c.chunk == _CHUNKS_HERE.c.chunk, _other_link.c.repository_id != id_of())
    .exists()
)
_SUM_INLINE_EXCLUSIVE: Final = (
    select(func.coalesce(func.sum(_INLINE_SIZE), 0))
    .select_from(repository_blobs.join(blobs))
    .where(_LINKED, ~_LINKED_ELSEWHERE)
)
_SUM_CHUNKS_EXCLUSIVE: Final = _SUM_CHUNKS.where(~_CHUNK_ELSEWHERE)
USAGE: Final = (
    _COUNT_TAGS,
    _COUNT_MANIFESTS,
    _SUM_BLOBS,
    _SUM_CHUNKS,
    _SUM_INLINE_EXCLUSIVE,
    _SUM_CHUNKS_EXCLUSIVE,
)
_CLUSTER: Final = select(
    select(func.count()).select_from(repositories).scalar_subquery(),
    select(func.count()).select_from(blobs).scalar_subquery(),
    select(func.coalesce(func.sum(blobs.c.size), 0))
    .select_from(repository_blobs.join(blobs))
    .scalar_subquery(),
    select(func.coalesce(func.sum(blobs.c.size), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(_INLINE_SIZE), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(chunks.c.length), 0)).scalar_subquery(),
    select(func.count()).select_from(chunks).scalar_subquery(),
)


class SqlRepositories:
    """Implements `protocols.Repositories`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def get(self, name: str) -> Repository:
        """Return the repository; raises NameUnknown."""
        row = await self._connections.row(GET, {"repository": name})
        if row is None:
            raise _unknown(name)
        return _repository(row)

    async def list_all(self, after: str, limit: int) -> list[Repository]:
        """Return a page of all repositories."""
        return _repositories(
            await self._connections.rows(LIST_ALL, {"after": after, "limit": limit})
        )

    async def first_created(self) -> float | None:
        """Return when the oldest there ever was came into being; None when there are none now."""
        row = await self._connections.row(_OLDEST)
        if row is None or row.created is None:
            return None
        deleted = await self._connections.row(_OLDEST_OF_ALL)
        return float(row.created if deleted is None else min(row.created, float(deleted.value)))

    async def list_visible(self, namespace: str | None, after: str, limit: int) -> list[Repository]:
        """Return a page of the public ones and those of `namespace`."""
        page = {"after": after, "limit": limit}
        if namespace is None:
            return _repositories(await self._connections.rows(LIST_PUBLIC, page))
        visible = await self._connections.rows(LIST_VISIBLE, {**page, "namespace": namespace})
        return _repositories(visible)

    async def set_public(self, name: str, *, public: bool, now: float) -> None:
        """Open pulling to everybody, or close it. Creates an empty repository when absent."""

        def work(connection: Connection) -> None:
            row_id = hold_repository(connection, name, now=now)
            connection.execute(_SET_PUBLIC, {"row_id": row_id, "is_public": public})

        await self._connections.write(work)

    async def delete(self, name: str) -> None:
        """Remove it with tags, manifests and links; raises NameUnknown."""

        def work(connection: Connection) -> None:
            created = connection.execute(DELETE, {"repository": name}).scalar_one_or_none()
            if created is None:
                raise _unknown(name)
            row = {"name": _OLDEST_DELETED, "value": _sortable(created)}
            connection.execute(_NOTE_DELETED.on(connection), row)

        await self._connections.write(work)

    async def usage(self, name: str) -> RepositoryUsage:
        """Count what it holds; raises NameUnknown."""
        repository = await self.get(name)
        counted: list[int] = []
        for statement in USAGE:
            row = await self._connections.row(statement, {"repository": name})
            counted.extend(int(value) for value in row or ())
        tag_count, manifest_count, blob_count, logical, inline, chunked, own, own_chunked = counted
        return RepositoryUsage(
            repository=repository,
            tags=tag_count,
            manifests=manifest_count,
            blobs=blob_count,
            bytes_logical=logical,
            bytes_chunked=inline + chunked,
            bytes_exclusive=own + own_chunked,
        )

    async def cluster_usage(self) -> ClusterUsage:
        """Count what all hold."""
        (row,) = await self._connections.rows(_CLUSTER)
        repository_count, blob_count, pushed, distinct_bytes, inline, chunked, chunk_count = map(
            int, row
        )
        return ClusterUsage(
            repositories=repository_count,
            blobs=blob_count,
            bytes_pushed=pushed,
            bytes_blobs=distinct_bytes,
            bytes_stored=inline + chunked,
            chunks=chunk_count,
        )


def _repository(row: Row[Any]) -> Repository:
    return Repository(name=row.name, public=bool(row.public), created=row.created)


def _repositories(rows: Sequence[Row[Any]]) -> list[Repository]:
    return [_repository(row) for row in rows]


def _sortable(seconds: float) -> str:
    """Return a time, after 1970, as text that sorts as times do."""
    return f"{max(0.0, seconds):020.6f}"


def _unknown(name: str) -> NameUnknown:
    return NameUnknown(f"no repository {name}")
