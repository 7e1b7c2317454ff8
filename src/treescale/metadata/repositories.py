"""Repositories, and what they hold.

While the database is away only what is public is known. So a private repository, an absent one and
one never heard of are told alike: not at all.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Row,
    ScalarSelect,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union,
    update,
)
from sqlalchemy.engine import Connection

from treescale.cache.answers import AnswerCache
from treescale.errors import DatabaseUnavailable, NameUnknown, Refused
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore, insert_or_update_if
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import (
    check_writable,
    has_digits,
    noted_number,
    read_only_by,
    refuse,
)
from treescale.metadata.limits.settling import Gain, settle
from treescale.metadata.namespaces import INTERNAL, PRIVATE, PUBLIC, check_not_freed
from treescale.metadata.records import ClusterUsage, Repository, RepositoryUsage
from treescale.metadata.rules.immutable import check_repository_may_go
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    lost_chunks,
    manifests,
    members,
    namespaces,
    quotas,
    repositories,
    repository_blobs,
    settings,
    tags,
)
from treescale.metadata.uploads import ANY_PURGED
from treescale.oci.names import namespace_of

PUBLIC_SECONDS_MAX: Final = 900.0
"""How long a repository is taken for public while the database is away."""
KNOWN_BYTES_MAX: Final = 4 * 1024 * 1024
DELETED_MARK: Final = "@"
"""In no name that can be asked for."""
GOING_MARK: Final = 2 * DELETED_MARK
"""In the name of a deleted one that something was taken away of: it would come back in part."""
_ATTEMPTS_MAX: Final = 5


def id_of(parameter: str = "repository") -> ScalarSelect[int]:
    """Return a subquery for the row id of the repository named by a parameter."""
    query = select(repositories.c.repository_id).where(repositories.c.name == bindparam(parameter))
    return query.scalar_subquery()


_COLUMNS: Final = (
    repositories.c.name,
    repositories.c.public,
    repositories.c.created,
    repositories.c.internal,
)
_NAMED: Final = repositories.c.name == bindparam("repository")

GET: Final = select(*_COLUMNS).where(_NAMED)
THESE: Final = select(*_COLUMNS).where(repositories.c.name.in_(bindparam("these", expanding=True)))


def is_of_member(parameter: str) -> ColumnElement[bool]:
    """Return whether a repository is in a namespace in which the user was granted anything."""
    held = select(members.c.namespace_id).where(members.c.user_name == bindparam(parameter))
    return repositories.c.namespace_id.in_(held)


def _page() -> Select[tuple[str, bool, float, bool]]:
    return (
        select(*_COLUMNS)
        .where(repositories.c.name > bindparam("after"), repositories.c.deleted.is_(None))
        .order_by(repositories.c.name)
        .limit(bindparam("limit"))
    )


# Index ranges, each cut at the limit, then merged: never the whole of any. A namespace is compared
# as a value, so '_' and '%' in it mean themselves.
_PUBLIC: Final = _page().where(repositories.c.public == true()).subquery("open_to_all")
_OWN: Final = (
    _page().where(repositories.c.namespace == bindparam("namespace")).subquery("of_namespace")
)
_INTERNAL: Final = _page().where(repositories.c.internal == true()).subquery("open_to_users")
_OF_MEMBER: Final = _page().where(is_of_member("namespace")).subquery("of_member")
_EITHER: Final = union(
    select(_PUBLIC), select(_INTERNAL), select(_OWN), select(_OF_MEMBER)
).subquery("visible")
LIST_ALL: Final = _page()
LIST_PUBLIC: Final = _page().where(repositories.c.public == true())
LIST_VISIBLE: Final = select(_EITHER).order_by(_EITHER.c.name).limit(bindparam("limit"))

_HOLD_VISIBILITY: Final = (
    select(repositories)
    .where(repositories.c.repository_id == bindparam("row_id"))
    .with_for_update(key_share=True)
)
_SET_VISIBILITY: Final = (
    update(repositories)
    .where(
        repositories.c.repository_id == bindparam("row_id"),
        or_(
            repositories.c.public != bindparam("is_public"),
            repositories.c.internal != bindparam("is_internal"),
        ),
    )
    .values(public=bindparam("is_public"), internal=bindparam("is_internal"))
)
_ROW_ID: Final = cast(repositories.c.repository_id, Text())
# Its name is free at once, and nobody can ask for it by the one it has from now on.
DELETE: Final = (
    update(repositories)
    .where(_NAMED)
    .values(
        name=repositories.c.name + DELETED_MARK + _ROW_ID,
        namespace=literal(DELETED_MARK, Text()) + repositories.c.namespace,
        public=false(),
        internal=false(),
        deleted=DatabaseNow(),
    )
    .returning(repositories.c.created)
)
_ROW_OF: Final = select(repositories.c.repository_id).where(_NAMED)
_LIVE: Final = select(repositories.c.repository_id).where(repositories.c.deleted.is_(None))
OLDEST_DELETED: Final = "oldest_deleted"
"""The setting that says when the oldest repository came into being that is deleted by now."""
_TIME_LENGTH: Final = 20
# What cannot be read stays so: which one was the oldest is not known any more.
_NOTE_DELETED: Final = insert_or_update_if(
    settings,
    ["value"],
    {},
    lambda new: and_(settings.c.value > new.value, has_digits(_TIME_LENGTH)),
)
_OLDEST: Final = select(func.min(repositories.c.created).label("created")).where(
    repositories.c.deleted.is_(None)
)
_OLDEST_OF_ALL: Final = select(settings.c.value).where(settings.c.name == OLDEST_DELETED)

# Administration: these read as much as there is.
_LINKED: Final = (repository_blobs.c.repository_id == id_of()) & repository_blobs.c.hidden.is_(None)
_COUNT_TAGS: Final = select(func.count()).where(tags.c.repository_id == id_of()).select_from(tags)
_COUNT_MANIFESTS: Final = (
    select(func.count())
    .select_from(manifests)
    .where(manifests.c.repository_id == id_of(), manifests.c.deleted.is_(None))
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
        _other_link.c.hidden.is_(None),
    )
    .exists()
)
_CHUNK_ELSEWHERE: Final = (
    select(literal_column("1"))
    .select_from(_other_chunk.join(_other_link, _other_link.c.blob_id == _other_chunk.c.blob_id))
    .where(
        _other_chunk.c.chunk == _CHUNKS_HERE.c.chunk,
        _other_link.c.repository_id != id_of(),
        _other_link.c.hidden.is_(None),
    )
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
_any_link = repository_blobs.alias("any_link")
_UNLINKED: Final = (
    select(literal_column("1"))
    .select_from(_any_link)
    .where(
        _any_link.c.blob_id == blobs.c.blob_id,
        _any_link.c.hidden.is_(None),
        _any_link.c.repository_id.in_(_LIVE),
    )
    .exists()
)
_CHUNKS_OF_UNLINKED: Final = (
    select(blob_chunks.c.chunk)
    .join(blobs, blobs.c.blob_id == blob_chunks.c.blob_id)
    .where(~_UNLINKED)
)
_CHUNK_OF_LINKED: Final = (
    select(literal_column("1"))
    .select_from(_other_chunk.join(_any_link, _any_link.c.blob_id == _other_chunk.c.blob_id))
    .where(
        _other_chunk.c.chunk == chunks.c.chunk,
        _any_link.c.hidden.is_(None),
        _any_link.c.repository_id.in_(_LIVE),
    )
    .exists()
)
_CLUSTER: Final = select(
    select(func.count())
    .select_from(repositories)
    .where(repositories.c.deleted.is_(None))
    .scalar_subquery(),
    select(func.count()).select_from(blobs).scalar_subquery(),
    select(func.coalesce(func.sum(blobs.c.size), 0))
    .select_from(repository_blobs.join(blobs))
    .where(repository_blobs.c.hidden.is_(None), repository_blobs.c.repository_id.in_(_LIVE))
    .scalar_subquery(),
    select(func.coalesce(func.sum(blobs.c.size), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(_INLINE_SIZE), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(chunks.c.length), 0)).scalar_subquery(),
    select(func.count()).select_from(chunks).scalar_subquery(),
    select(func.coalesce(func.sum(_INLINE_SIZE), 0)).where(~_UNLINKED).scalar_subquery(),
    select(func.coalesce(func.sum(chunks.c.length), 0))
    .where(chunks.c.chunk.in_(_CHUNKS_OF_UNLINKED), ~_CHUNK_OF_LINKED)
    .scalar_subquery(),
)

# From the first key on, so that it is a search: it ends with the first row there is.
_ANY_LOST: Final = exists(
    select(lost_chunks.c.chunk).where(lost_chunks.c.chunk >= literal(b"", LargeBinary()))
)
_HOLD: Final = ahead(
    select(
        repositories.c.repository_id,
        _ANY_LOST.label("any_lost"),
        ANY_PURGED.label("any_purged"),
        read_only_by(repositories.c.namespace, repositories.c.read_only).label("read_only"),
        exists()
        .where(quotas.c.namespace_id == repositories.c.namespace_id)
        .correlate(repositories)
        .label("is_limited"),
    )
    .where(repositories.c.name == bindparam("repository"))
    .with_for_update(read=True, key_share=True),
    "repository",
)
_MAKE_NAMESPACE: Final = ahead(insert_or_ignore(namespaces), "name")


def namespace_id() -> ScalarSelect[int]:
    """Return a subquery for the id of the namespace named by the parameter `namespace_name`."""
    named = namespaces.c.name == bindparam("namespace_name")
    return select(namespaces.c.namespace_id).where(named).scalar_subquery()


def _is_made(visibility: str) -> ColumnElement[bool]:
    """Return whether repositories come into being with this visibility there."""
    return exists(
        select(namespaces.c.namespace_id).where(
            namespaces.c.name == bindparam("namespace_name"), namespaces.c.visibility == visibility
        )
    )


_CREATE: Final = ahead(
    insert_or_ignore(
        repositories,
        computed={
            "namespace_id": namespace_id(),
            "public": _is_made(PUBLIC),
            "internal": _is_made(INTERNAL),
        },
    ),
    "created name namespace namespace_name",
)


@dataclass(frozen=True, slots=True)
class Held:
    """A repository that stays until the transaction ends."""

    row_id: int
    any_lost: bool
    """Whether any chunk of the cluster is lost: if not, none needs to be looked for."""
    any_purged: bool = False
    """Whether any was purged lately."""
    is_limited: bool = False
    """Whether its namespace has limits (`limits.settling`)."""
    is_new: bool = False
    """Whether this transaction has made it."""


class Repositories:
    """Repositories and what they hold."""

    def __init__(
        self,
        connections: Connections,
        known: AnswerCache[Repository],
        forget: Sequence[Callable[[str], None]],
    ) -> None:
        """`forget` makes others know nothing of what is in a repository."""
        self._connections = connections
        self._known = known
        self._forget = forget

    async def get(self, name: str) -> Repository:
        """Return the repository; raises NameUnknown."""
        found = await self._known.read(name, "", self._get, lambda _: 0)
        if not found.public:
            self._known.invalidate(name, "")
        return found

    async def named(self, names: Collection[str]) -> dict[str, Repository]:
        """Return by name those that there are of these, a few hundred; nothing is known of others.

        In one query. Raises DatabaseUnavailable, also for what is public.
        """
        if not names:
            return {}
        rows = await self._connections.rows(THESE, {"these": sorted(names)})
        return {each.name: each for each in _repositories(rows)}

    async def list_all(self, after: str, limit: int) -> list[Repository]:
        """Return a page of all repositories."""
        return _repositories(
            await self._connections.rows(LIST_ALL, {"after": after, "limit": limit})
        )

    async def first_created(self) -> float | None:
        """Return when the oldest there ever was came into being, deleted ones included.

        None when there are none now; 0 when it is not known. For administration.
        """
        row = await self._connections.row(_OLDEST)
        if row is None or row.created is None:
            return None
        deleted = await self._connections.row(_OLDEST_OF_ALL)
        if deleted is None:
            return float(row.created)
        return min(float(row.created), noted_number(OLDEST_DELETED, deleted.value) or 0.0)

    async def list_visible(self, namespace: str | None, after: str, limit: int) -> list[Repository]:
        """Return a page of the public ones and, for the user of `namespace`, of what she may see.

        That are internal ones, those of her namespace (exactly that first part), and those of the
        namespaces in which she was granted anything: whether for these, the caller looks.
        """
        page = {"after": after, "limit": limit}
        if namespace is None:
            return _repositories(await self._connections.rows(LIST_PUBLIC, page))
        visible = await self._connections.rows(LIST_VISIBLE, {**page, "namespace": namespace})
        return _repositories(visible)

    async def set_public(self, name: str, *, public: bool, now: float, actor: str) -> None:
        """Open pulling to everybody, or close it; see `set_visibility`."""
        await self.set_visibility(name, PUBLIC if public else PRIVATE, now=now, actor=actor)

    async def set_visibility(
        self,
        name: str,
        visibility: str,
        *,
        now: float,
        actor: str,
        check: Callable[[str], None] | None = None,
    ) -> None:
        """Say who may pull without a role. Creates an empty repository when absent.

        Raises what `check` does of the visibility until then ("" when absent), which nobody else
        changes.
        """
        is_public, is_internal = visibility == PUBLIC, visibility == INTERNAL
        told = {"public": is_public, "visibility": visibility}
        event = Event(Kind.REPOSITORY_VISIBILITY, actor, name, payload=told)
        to = {"is_public": is_public, "is_internal": is_internal}

        def work(connection: Connection) -> None:
            held = hold(connection, name, actor=actor, now=now, changes=False)
            if check is not None:
                row = connection.execute(_HOLD_VISIBILITY, {"row_id": held.row_id}).one()
                check("" if held.is_new else _repository(row).visibility)
            if changed(connection, _SET_VISIBILITY, {"row_id": held.row_id, **to}):
                record(connection, event)
            if held.is_limited and held.is_new:
                settle(connection, Gain(held.row_id, is_new=True), actor=actor)

        await self._connections.write(work)
        self._known.invalidate(name, "")

    async def delete(self, name: str, *, actor: str, force: bool = False) -> None:
        """Take it away with all that it holds; raises NameUnknown.

        It can be restored for a while. What is pushed under its name begins another one. Raises
        ReadOnly, and without `force` TagImmutable when a rule keeps any of its tags.
        """
        try:
            await self._connections.write(
                lambda connection: delete_repository(connection, name, actor=actor, force=force)
            )
        except Refused:
            self._forget_all(name)
            raise
        self._forget_all(name)

    def forget(self, name: str) -> None:
        """Know nothing of what has the name, nor of what is in it."""
        self._forget_all(name)

    async def usage(self, name: str) -> RepositoryUsage:
        """Count what it holds; raises NameUnknown. For administration, not for request paths."""
        repository = await self._get(name)
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
        """Count what all hold. For administration."""
        (row,) = await self._connections.rows(_CLUSTER)
        counted = [int(value) for value in row]
        repository_count, blob_count, pushed, distinct_bytes, inline, chunked = counted[:6]
        chunk_count, idle_inline, idle_chunked = counted[6:]
        return ClusterUsage(
            repositories=repository_count,
            blobs=blob_count,
            bytes_pushed=pushed,
            bytes_blobs=distinct_bytes,
            bytes_stored=inline + chunked,
            bytes_unreferenced=idle_inline + idle_chunked,
            chunks=chunk_count,
        )

    async def _get(self, name: str, _: str = "") -> Repository:
        row = await self._connections.row(GET, {"repository": name})
        if row is None:
            raise _unknown(name)
        return _repository(row)

    def _forget_all(self, name: str) -> None:
        for forget in self._forget:
            forget(name)
        self._known.invalidate(name, "")


def hold(
    connection: Connection, name: str, *, actor: str, now: float, changes: bool = True
) -> Held:
    """Hold the repository, creating it when absent.

    It cannot be deleted before the transaction ends. Always the first lock that a write takes, so
    that no two writes wait for each other. Raises ReadOnly, unless what it holds stays as it is.
    """
    made = False
    for _ in range(_ATTEMPTS_MAX):
        held = connection.execute(_HOLD, {"repository": name}).one_or_none()
        if held is not None:
            if changes:
                refuse(name, held.read_only)
            return Held(
                int(held.repository_id),
                bool(held.any_lost),
                bool(held.any_purged),
                is_limited=bool(held.is_limited),
                is_new=made,
            )
        namespace = namespace_of(name)
        make_namespace(connection, namespace)
        row = {"name": name, "namespace": namespace, "created": now}
        made = changed(connection, _CREATE.on(connection), {**row, "namespace_name": namespace}) > 0
        if made:
            check_not_freed(connection, namespace)  # looked at once it cannot be removed any more
            record(connection, Event(Kind.REPOSITORY_CREATED, actor, name))
    raise DatabaseUnavailable(f"repository {name} is deleted as fast as it is created; try again")


def delete_repository(connection: Connection, name: str, *, actor: str, force: bool) -> None:
    """Take a repository away, in the caller's transaction; see `Repositories.delete`."""
    check_writable(connection, name, whole=True)
    if not force:
        _check_tags(connection, name)
    created = connection.execute(DELETE, {"repository": name}).scalar_one_or_none()
    if created is None:
        raise _unknown(name)
    note_oldest(connection, created)
    record(connection, Event(Kind.REPOSITORY_DELETED, actor, name))


def _check_tags(connection: Connection, name: str) -> None:
    """Raise TagImmutable when a rule keeps any tag of the repository, which is held."""
    row_id = connection.execute(_ROW_OF, {"repository": name}).scalar_one_or_none()
    if row_id is not None:
        check_repository_may_go(connection, row_id, name)


def make_namespace(connection: Connection, name: str) -> None:
    """Give the namespace a row, unless it has one. It is one of those that users have."""
    connection.execute(_MAKE_NAMESPACE.on(connection), {"name": name})


def note_oldest(connection: Connection, created: float) -> None:
    """Note when something came into being that has another time, or no row, from now on."""
    row = {"name": OLDEST_DELETED, "value": _sortable(created)}
    connection.execute(_NOTE_DELETED.on(connection), row)


def lock_repository(connection: Connection, name: str, *, actor: str, now: float) -> int:
    """Hold the repository as `hold` does; return its row id."""
    return hold(connection, name, actor=actor, now=now).row_id


def _repository(row: Row[Any]) -> Repository:
    return Repository(row.name, bool(row.public), row.created, bool(row.internal))


def _repositories(rows: Sequence[Row[Any]]) -> list[Repository]:
    return [_repository(row) for row in rows]


def _sortable(seconds: float) -> str:
    """Return a time, after 1970, as text that sorts as times do."""
    return f"{max(0.0, seconds):0{_TIME_LENGTH}.6f}"


def _unknown(name: str) -> NameUnknown:
    return NameUnknown(f"no repository {name}")
