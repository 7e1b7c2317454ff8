"""What was deleted and can be restored: listed, and brought back whole."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Double,
    and_,
    bindparam,
    delete,
    func,
    null,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from treescale.errors import ManifestUnknown, NameUnknown, PreconditionFailed, QuotaExceeded
from treescale.lease_times import LINK_LEASES
from treescale.metadata.collection.deleted import Deleted, deleted_page
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import Upsert
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import (
    WHY,
    check_writable,
    lease_seconds,
    named,
    refuse,
    undelete_seconds,
)
from treescale.metadata.limits.arriving import settle_whole
from treescale.metadata.limits.settling import Gain, explained, settle
from treescale.metadata.manifest_push import cosign_tags_of
from treescale.metadata.namespaces import check_not_freed
from treescale.metadata.repositories import (
    DELETED_MARK,
    GOING_MARK,
    id_of,
    make_namespace,
    namespace_id,
)
from treescale.metadata.schema import (
    deleted_tags,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    tags,
)
from treescale.metadata.shown.tag_keys import key_tags
from treescale.oci.manifests import ReferenceKind
from treescale.oci.names import namespace_of

_HERE: Final = manifests.c.repository_id == bindparam("row_id")
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_STAMP: Final[BindParameter[float]] = bindparam("stamp", type_=Double())
DIGESTS_AT_ONCE: Final = 500
DEPTH_MAX: Final = 16
"""An index of indexes of …, and what is said of what is said: nobody goes further."""
_FOUND: Final = select(manifests.c.repository_id, manifests.c.deleted).where(
    manifests.c.repository_id == id_of(), manifests.c.digest == bindparam("digest")
)
# When it ends, in the transaction that restores: it may wait for a lock.
_ENDS: Final = select((_STAMP + undelete_seconds()).label("until"), DatabaseNow().label("now"))
_NOT_OVER: Final = DatabaseNow() - undelete_seconds()

# What is there of what belongs to an image, and when that was deleted: the last time counts.
_SAID_OF: Final = select(manifests.c.deleted).where(
    _HERE, manifests.c.subject == bindparam("digest"), manifests.c.deleted >= _NOT_OVER
)
_TAGS_OF: Final = select(deleted_tags.c.deleted).where(
    deleted_tags.c.repository_id == bindparam("row_id"),
    or_(
        deleted_tags.c.digest == bindparam("digest"),
        deleted_tags.c.name.in_(bindparam("names", expanding=True)),
    ),
    deleted_tags.c.deleted >= _NOT_OVER,
)
_BELONGING: Final = union(_SAID_OF, _TAGS_OF)

# Manifests that come back are the one that was named, all that it refers to, and what is said of
# these and went at the same time. Others may have gone at that time, too: nobody has named them.
_SAID_THEN: Final = union(
    select(manifests.c.digest).where(
        _HERE, manifests.c.subject.in_(_THESE), manifests.c.deleted == _STAMP
    ),
    select(deleted_tags.c.digest).where(
        deleted_tags.c.repository_id == bindparam("row_id"),
        deleted_tags.c.name.in_(bindparam("names", expanding=True)),
        deleted_tags.c.deleted == _STAMP,
    ),
)
_IN_THESE: Final = (
    manifest_references.c.repository_id == bindparam("row_id"),
    manifest_references.c.manifest.in_(_THESE),
)
_REFERRED: Final = select(manifest_references.c.digest).where(*_IN_THESE).distinct()
_PARENT: Final = manifests.alias("parent")
_CHILD: Final = manifests.alias("child")
_CHILDREN: Final = (
    select(manifest_references.c.digest, _CHILD.c.digest.label("there"))
    .select_from(
        manifest_references.join(
            _PARENT,
            and_(
                _PARENT.c.repository_id == manifest_references.c.repository_id,
                _PARENT.c.digest == manifest_references.c.manifest,
            ),
        ).outerjoin(
            _CHILD,
            and_(
                _CHILD.c.repository_id == manifest_references.c.repository_id,
                _CHILD.c.digest == manifest_references.c.digest,
            ),
        )
    )
    .where(
        *_IN_THESE,
        # A subject is no part of what refers to it.
        or_(_PARENT.c.subject.is_(None), _PARENT.c.subject != manifest_references.c.digest),
        or_(
            _CHILD.c.digest.is_not(None),
            manifest_references.c.kind == str(ReferenceKind.MANIFEST),
        ),
    )
)
_LINKS: Final = (
    repository_blobs.c.repository_id == bindparam("row_id"),
    repository_blobs.c.digest.in_(_THESE),
)
_HOLD: Final = (
    select(manifests.c.digest)
    .where(_HERE, manifests.c.digest.in_(_THESE), manifests.c.deleted.is_not(None))
    .order_by(manifests.c.digest)
    .with_for_update()
)
# All of them, hidden or not, and the look in a statement of its own: a DELETE of the blob that is
# not committed yet hides one that shows.
_HOLD_LINKS: Final = (
    select(repository_blobs.c.digest)
    .where(*_LINKS)
    .order_by(repository_blobs.c.digest)
    .with_for_update(key_share=True)
)
_BLOBS: Final = select(repository_blobs.c.digest).where(*_LINKS)
_SHOW_LINKS: Final = (
    update(repository_blobs)
    .where(*_LINKS, repository_blobs.c.hidden.is_not(None))
    .values(hidden=null())
)
# As a push would: whoever restored it has a lease of time to build on it, and what nothing holds
# has its time again.
_SHOW: Final = (
    update(manifests)
    .where(_HERE, manifests.c.digest.in_(_THESE))
    .values(
        deleted=null(),
        pushed=DatabaseNow(),
        lease_until=DatabaseNow() + LINK_LEASES * lease_seconds(),
        untagged_since=null(),
    )
)
_HOLDS: Final = (
    update(manifests)
    .where(_HERE, manifests.c.digest.in_(_THESE), manifests.c.untagged_since.is_not(None))
    .values(untagged_since=null())
)
_TAGS_THEN: Final = (
    deleted_tags.c.repository_id == bindparam("row_id"),
    deleted_tags.c.digest.in_(_THESE),
    deleted_tags.c.deleted == _STAMP,
)
_DROP_TAGS: Final = delete(deleted_tags).where(*_TAGS_THEN)
_LAST_TAG: Final = (
    select(
        deleted_tags.c.repository_id,
        deleted_tags.c.digest,
        deleted_tags.c.deleted,
        manifests.c.deleted.label("with_it"),
    )
    .select_from(deleted_tags.join(manifests))
    .where(deleted_tags.c.repository_id == id_of(), deleted_tags.c.name == bindparam("tag"))
    .order_by(deleted_tags.c.deleted.desc())
    .limit(1)
)
_TAG_NOW: Final = select(tags.c.digest).where(
    tags.c.repository_id == bindparam("row_id"), tags.c.name == bindparam("tag")
)


def _tags_back(*which: Any) -> Upsert:
    """Return what brings tags back, where none of the name is there."""
    names = ["repository_id", "name", "digest", "updated", "pushed_by"]
    rows = select(*(deleted_tags.c[name] for name in names)).where(*which)
    rows = rows.order_by(deleted_tags.c.name)
    return Upsert(
        lambda insert: insert(tags).from_select(names, rows).on_conflict_do_nothing(),
    )


_TAGS_BACK: Final = _tags_back(*_TAGS_THEN)

_LAST_OF_NAME: Final = (
    select(
        repositories.c.repository_id,
        repositories.c.name,
        repositories.c.deleted,
        (repositories.c.namespace_id == namespace_id()).label("is_theirs"),
    )
    .where(
        repositories.c.deleted.is_not(None),
        repositories.c.name > bindparam("first"),
        repositories.c.name < bindparam("end"),
        ~repositories.c.name.contains(GOING_MARK),
    )
    .order_by(repositories.c.deleted.desc())
    .limit(1)
    .with_for_update()
)
_IS_THERE: Final = select(func.count()).where(repositories.c.name == bindparam("named"))
_RENAME: Final = (
    update(repositories)
    .where(repositories.c.repository_id == bindparam("row_id"))
    .values(
        name=bindparam("new_name"),
        namespace=bindparam("namespace_name"),
        namespace_id=namespace_id(),
        deleted=null(),
    )
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What is there again."""

    manifests: tuple[str, ...]
    """The digests of those that were deleted."""
    missing: tuple[str, ...] = ()
    """Parts of them that are not in this repository any more: they have to be pushed again."""
    digest: str = ""
    """What a tag points at that was restored."""
    tags: int = 0
    """How many tags there are again."""


class Undelete:
    """What was deleted: by whatever client, and for how long it can be restored."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(
        self, namespace: str | None, limit: int, after: str = "", *, repository: str | None = None
    ) -> list[Deleted]:
        """Return a page of what can be restored; see `deleted_page`."""
        return await deleted_page(self._connections, namespace, limit, after, repository=repository)

    async def manifest(self, repository: str, digest: str, *, actor: str) -> Restored:
        """Bring a manifest back, with what belongs to it and went with it.

        That is what is said of it, its tags, and all that it refers to, whenever that went. Of one
        that is there, since it was pushed again, what belongs to it and went last. Raises ReadOnly;
        OverLimit for more tags than there may be;
        ManifestUnknown, also when its time is over: from then on it may be gone in part.
        """

        def work(connection: Connection) -> Restored:
            check_writable(connection, repository)
            this = {"repository": repository, "digest": digest}
            row = connection.execute(_FOUND, this).one_or_none()
            if row is None:
                raise _no_manifest(repository, digest)
            stamp = row.deleted or _last_of(connection, row.repository_id, digest)
            back = bring_back(connection, row.repository_id, [digest], stamp)
            if row.deleted is not None:
                # Once all is held: the collector takes nothing of it before its time is over.
                _check_time(connection, row.deleted, f"manifest {digest} of {repository}")
                if digest not in back.manifests:
                    raise _no_manifest(repository, digest)
            elif stamp is None and not back.manifests:
                raise ManifestUnknown(
                    f"{digest} is in {repository}, and nothing that belongs to it can be restored"
                )
            _settle_tags(connection, row.repository_id, back, actor)
            record(connection, Event(Kind.IMAGE_RESTORED, actor, repository, digest=digest))
            return back

        return await self._connections.write(work)

    async def tag(self, repository: str, tag: str, *, actor: str) -> Restored:
        """Let a tag point where it did when it was deleted last.

        Brings back the manifest as well, and all that went with the two. Raises ManifestUnknown;
        PreconditionFailed when the tag points at something now; OverLimit.
        """

        def work(connection: Connection) -> Restored:
            check_writable(connection, repository)
            this = {"repository": repository, "tag": tag}
            last = connection.execute(_LAST_TAG, this).one_or_none()
            if last is None:
                raise _nothing_deleted(f"tag {tag}", repository)
            row_id, digest = last.repository_id, str(last.digest)
            back = bring_back(connection, row_id, [digest], last.deleted)
            if last.with_it not in (None, last.deleted):
                also = bring_back(connection, row_id, [digest], last.with_it)
                back = replace(
                    back, manifests=back.manifests + also.manifests, tags=back.tags + also.tags
                )
            _check_time(connection, last.deleted, f"{repository}:{tag}")
            there = connection.execute(_TAG_NOW, {"row_id": row_id, "tag": tag}).scalar()
            if there is None:
                raise _nothing_deleted(f"tag {tag}", repository)
            if there != digest:
                raise PreconditionFailed(
                    f"{repository}:{tag} points at {there} now: delete the tag first, or restore "
                    f"the image by its digest, {digest}"
                )
            _settle_tags(connection, row_id, back, actor)
            told = Event(Kind.IMAGE_RESTORED, actor, repository, reference=tag, digest=digest)
            record(connection, told)
            return replace(back, digest=digest)

        return await self._connections.write(work)

    async def repository(
        self, name: str, *, to: str | None, actor: str, anybodys: bool = True
    ) -> None:
        """Bring back the repository of that name that was deleted last, under the name `to`.

        Without `anybodys` not one of somebody who had the namespace's name before. Raises
        NameUnknown; PreconditionFailed when there is one of that name; OverLimit, and QuotaExceeded
        when it does not fit into another namespace.
        """
        target = to or name

        def work(connection: Connection) -> None:
            first = name + DELETED_MARK
            span = {"first": first, "end": name + chr(ord(DELETED_MARK) + 1)}
            span["namespace_name"] = namespace_of(name)
            row = connection.execute(_LAST_OF_NAME, span).one_or_none()
            if row is None or not (anybodys or row.is_theirs):
                raise NameUnknown(
                    f"no deleted repository {name}: `treescale repo deleted {namespace_of(name)}` "
                    "lists what can be restored"
                )
            ends = connection.execute(_ENDS, {"stamp": row.deleted}).one()
            if ends.until < ends.now:
                raise NameUnknown(_was_deleted(f"repository {name}", ends.until))
            if connection.execute(_IS_THERE, {"named": target}).scalar_one():
                raise _is_taken(target)
            new = {"new_name": target, "namespace_name": namespace_of(target)}
            make_namespace(connection, new["namespace_name"])
            try:
                connection.execute(_RENAME, {"row_id": row.repository_id, **new})
            except IntegrityError as error:  # a push, or another restore, came first
                raise _is_taken(target) from error
            check_not_freed(connection, new["namespace_name"])
            # With the row in hand: who says read-only now waits for this.
            refuse(target, connection.execute(WHY, named(target)).scalar_one())
            if row.is_theirs and namespace_of(target) == namespace_of(name):
                settle(connection, Gain(row.repository_id, is_new=True), actor=actor)
            else:
                settle_whole(connection, row.repository_id, actor=actor)
            record(connection, Event(Kind.REPOSITORY_RESTORED, actor, target))

        try:
            await self._connections.write(work)
        except QuotaExceeded as refused:
            raise await explained(self._connections, refused, actor) from None


def _is_taken(name: str) -> PreconditionFailed:
    return PreconditionFailed(f"there is a repository {name}: restore it --as another name")


def _nothing_deleted(what: str, repository: str) -> ManifestUnknown:
    return ManifestUnknown(
        f"no deleted {what} in {repository}: `treescale repo deleted {namespace_of(repository)}` "
        "lists what can be restored"
    )


def _no_manifest(repository: str, digest: str) -> ManifestUnknown:
    return _nothing_deleted(f"manifest {digest}", repository)


def _check_time(connection: Connection, stamp: float, what: str) -> None:
    """Raise ManifestUnknown when it cannot be restored any more: the collector may be at it."""
    ends = connection.execute(_ENDS, {"stamp": stamp}).one()
    if ends.until < ends.now:
        raise ManifestUnknown(_was_deleted(what, ends.until))


def _was_deleted(what: str, until: float) -> str:
    moment = f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{what} was deleted, and could be restored until {moment}"


def _last_of(connection: Connection, row_id: int, digest: str) -> float | None:
    """Return when that was deleted last which belongs to an image that is there."""
    these = {"row_id": row_id, "digest": digest, "names": cosign_tags_of([digest])}
    return max(connection.execute(_BELONGING, these).scalars(), default=None)


def bring_back(
    connection: Connection, row_id: int, digests: Iterable[str], stamp: float | None = None
) -> Restored:
    """Bring back manifests with all parts they refer to, and what went with these at that time.

    Tags that point elsewhere by now stay there. What is there already, stays as it is.
    """
    this = {"row_id": row_id, "stamp": stamp}
    wanted = set(digests)
    missing: set[str] = set()
    fresh = wanted
    for _ in range(DEPTH_MAX):
        children = {
            row.digest: row.there
            for page in _pages(fresh)
            for row in connection.execute(_CHILDREN, {**this, "these": page})
        }
        missing |= {digest for digest, there in children.items() if there is None}
        said = set() if stamp is None else _said_then(connection, row_id, stamp, fresh)
        fresh = (children.keys() | said) - wanted - missing
        wanted |= fresh
        if not fresh:
            break
    held = {
        each
        for page in _pages(wanted)
        for each in connection.execute(_HOLD, {**this, "these": page}).scalars()
    }
    # What is there already may have been put by an older server that did not show its links.
    _show_links(connection, row_id, wanted)
    for page in _pages(held):
        connection.execute(_SHOW, {**this, "these": page})
    for page in _pages(wanted - held):
        connection.execute(_HOLDS, {**this, "these": page})
    tags_back = 0
    for page in _pages(wanted) if stamp is not None else ():
        tags_back += changed(connection, _TAGS_BACK.on(connection), {**this, "these": page})
        connection.execute(_DROP_TAGS, {**this, "these": page})
    key_tags(connection, row_id)
    missing -= _blobs_among(connection, row_id, missing)
    return Restored(tuple(sorted(held)), tuple(sorted(missing)), tags=tags_back)


def _settle_tags(connection: Connection, row_id: int, back: Restored, actor: str) -> None:
    """Raise OverLimit when a repository has got more tags than it may have."""
    if back.tags:
        settle(connection, Gain(row_id, has_new_tags=True), actor=actor)


def _said_then(
    connection: Connection, row_id: int, stamp: float, digests: Iterable[str]
) -> set[str]:
    """Return what went at that time and is said of these: by `subject`, or by cosign's tags."""
    this = {"row_id": row_id, "stamp": stamp}
    return {
        digest
        for page in _pages(digests)
        for digest in connection.execute(
            _SAID_THEN, {**this, "these": page, "names": cosign_tags_of(page)}
        ).scalars()
    }


def _show_links(connection: Connection, row_id: int, digests: Iterable[str]) -> None:
    """Show all links that these manifests refer to; they are held in one order, as in a purge."""
    referred = {
        digest
        for page in _pages(digests)
        for digest in connection.execute(_REFERRED, {"row_id": row_id, "these": page}).scalars()
    }
    for page in _pages(referred):
        connection.execute(_HOLD_LINKS, {"row_id": row_id, "these": page})
    for page in _pages(referred):
        connection.execute(_SHOW_LINKS, {"row_id": row_id, "these": page})


def _blobs_among(connection: Connection, row_id: int, digests: Iterable[str]) -> set[str]:
    """Return which are blobs: BuildKit's cache indexes name them as if they were manifests."""
    return {
        digest
        for page in _pages(digests)
        for digest in connection.execute(_BLOBS, {"row_id": row_id, "these": page}).scalars()
    }


def _pages(digests: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(digests)
    for start in range(0, len(ordered), DIGESTS_AT_ONCE):
        yield ordered[start : start + DIGESTS_AT_ONCE]
