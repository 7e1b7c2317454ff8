"""What waits to be free: in numbers for `cluster status`, one by one for `collect --dry-run`.

For administration: reads as much as there is, in statements that lock nothing.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from treescale.lease_times import LeaseTimes
from treescale.metadata.collection import untagged
from treescale.metadata.collection.adoption import IS_PART_OF_NONE
from treescale.metadata.engine.clock import ASKED_ONCE
from treescale.metadata.engine.connections import Connections
from treescale.metadata.layouts import undelete_seconds, untagged_seconds
from treescale.metadata.repositories import DELETED_MARK
from treescale.metadata.schema import (
    NAMELESS,
    blobs,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    uploads,
)

_links, _references = repository_blobs, manifest_references
UNDELETED_UNTIL: Final = ASKED_ONCE - undelete_seconds()


class What(StrEnum):
    """Kinds of what waits; of a blob the first that it is held by."""

    USED = "used"
    """Something that stays refers to it: it waits for nothing."""
    UNTAGGED = "untagged"
    """Only images that nothing holds refer to it."""
    DELETED = "deleted"
    """Only images that are deleted, and can be restored."""
    UNUSED = "unused"
    """No image refers to it: of a push under way, or that broke off, or of an image that went."""
    GOING = "going"
    """No repository has it: the next cycle takes it away."""
    UPLOADS = "uploads"
    """Sessions that are open."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One kind of what waits; times are the database's."""

    what: What
    images: int
    """Manifests; of uploads sessions."""
    layers: int
    size: int
    """Bytes of the layers that nothing else needs; those of them that lie in chunks which other
    layers have as well come back only with those."""
    since: float | None
    """When the first came here."""
    first: float | None
    """When the first of it goes; None: nobody knows, or never."""
    last: float | None
    """When the last of its rows goes, at the latest."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something that the next cycle takes away."""

    what: What
    name: str
    size: int
    since: float
    """Since when it waits; for a layer, since when its lease is over."""


def _held_by(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return whether a manifest of which that is true refers to the blob."""
    return exists(
        select(literal_column("1"))
        .select_from(
            _links.join(
                _references,
                and_(
                    _references.c.repository_id == _links.c.repository_id,
                    _references.c.digest == _links.c.digest,
                ),
            )
            .join(
                manifests,
                and_(
                    manifests.c.repository_id == _references.c.repository_id,
                    manifests.c.digest == _references.c.manifest,
                ),
            )
            .join(repositories, repositories.c.repository_id == _links.c.repository_id)
        )
        .where(_links.c.blob_id == blobs.c.blob_id, *conditions)
    )


_LIVE: Final = and_(manifests.c.deleted.is_(None), repositories.c.deleted.is_(None))
_HAS_LINK: Final = exists(select(literal_column("1")).where(_links.c.blob_id == blobs.c.blob_id))
_WHAT: Final = case(
    (not_(_HAS_LINK), What.GOING.value),
    (_held_by(_LIVE, manifests.c.untagged_since.is_(None)), What.USED.value),
    (_held_by(_LIVE), What.UNTAGGED.value),
    (_held_by(), What.DELETED.value),
    else_=What.UNUSED.value,
)
# Computed once a blob: without a limit SQLite asks anew wherever the outer query names it.
_EACH: Final = (
    select(blobs.c.size, _WHAT.label("what"), blobs.c.blob_id)
    .limit(literal_column("9223372036854775807"))
    .subquery("each")
)
LAYERS: Final = (
    select(
        _EACH.c.what,
        func.count().label("layers"),
        func.sum(_EACH.c.size).label("size"),
        func.max(
            select(func.max(_links.c.lease_until))
            .where(_links.c.blob_id == _EACH.c.blob_id)
            .scalar_subquery()
        ).label("leased"),
    )
    .where(_EACH.c.what != What.USED.value)
    .group_by(_EACH.c.what)
)
_DELETED_AT: Final = union_all(
    select(manifests.c.deleted.label("at")).where(manifests.c.deleted.is_not(None)),
    select(repositories.c.deleted).where(repositories.c.deleted.is_not(None)),
).subquery("deleted_at")
DELETED: Final = select(
    func.count().label("images"),
    func.min(_DELETED_AT.c.at).label("since"),
    (func.min(_DELETED_AT.c.at) + undelete_seconds()).label("first"),
    (func.max(_DELETED_AT.c.at) + undelete_seconds()).label("last"),
)
UNTAGGED: Final = select(
    func.count().label("images"),
    func.min(manifests.c.untagged_since).label("since"),
    (func.min(manifests.c.untagged_since) + untagged_seconds()).label("first"),
    (func.max(manifests.c.untagged_since) + untagged_seconds() + undelete_seconds()).label("last"),
).where(manifests.c.untagged_since.is_not(None), manifests.c.deleted.is_(None))
UPLOADS: Final = select(
    func.count().label("images"),
    func.coalesce(func.sum(uploads.c.offset), 0).label("size"),
    func.min(uploads.c.updated).label("since"),
    func.max(uploads.c.updated).label("until"),
)

_SIZE: Final = (
    select(func.coalesce(func.sum(blobs.c.size), 0))
    .select_from(
        _references.join(
            _links,
            and_(
                _links.c.repository_id == _references.c.repository_id,
                _links.c.digest == _references.c.digest,
            ),
        ).join(blobs, blobs.c.blob_id == _links.c.blob_id)
    )
    .where(
        _references.c.repository_id == manifests.c.repository_id,
        _references.c.manifest == manifests.c.digest,
    )
    .scalar_subquery()
)
_IMAGE: Final = (repositories.c.name + literal("@", Text()) + manifests.c.digest).label("name")
_LAYER: Final = (repositories.c.name + literal("@", Text()) + _links.c.digest).label("name")


def _biggest(query: Any) -> Any:
    return query.order_by(literal_column("size").desc()).limit(bindparam("limit"))


DUE_IMAGES: Final = _biggest(
    select(_IMAGE, _SIZE.label("size"), manifests.c.deleted.label("since"))
    .select_from(manifests.join(repositories))
    .where(
        manifests.c.deleted < UNDELETED_UNTIL,
        IS_PART_OF_NONE,
        repositories.c.deleted.is_(None),
    )
)
_REPOSITORY_SIZE: Final = (
    select(func.coalesce(func.sum(blobs.c.size), 0))
    .select_from(_links.join(blobs))
    .where(_links.c.repository_id == repositories.c.repository_id)
    .scalar_subquery()
)
DUE_REPOSITORIES: Final = _biggest(
    select(
        repositories.c.name,
        _REPOSITORY_SIZE.label("size"),
        repositories.c.deleted.label("since"),
    ).where(repositories.c.deleted < UNDELETED_UNTIL)
)
DUE_UNTAGGED: Final = _biggest(
    select(_IMAGE, _SIZE.label("size"), manifests.c.untagged_since.label("since"))
    .select_from(manifests.join(repositories))
    .where(
        manifests.c.untagged_since.is_not(None),
        manifests.c.deleted.is_(None),
        repositories.c.deleted.is_(None),
        untagged.IS_OVER,
        untagged.IS_FREE,
    )
)
DUE_LAYERS: Final = _biggest(
    select(_LAYER, blobs.c.size.label("size"), _links.c.lease_until.label("since"))
    .select_from(_links.join(blobs).join(repositories))
    .where(
        _links.c.lease_until >= 0,
        _links.c.lease_until <= ASKED_ONCE,
        not_(
            exists(
                select(literal_column("1")).where(
                    _references.c.repository_id == _links.c.repository_id,
                    _references.c.digest == _links.c.digest,
                )
            )
        ),
    )
)
DUE_NAMELESS: Final = _biggest(
    select(
        cast(blobs.c.digest, Text()).label("name"),
        blobs.c.size.label("size"),
        literal_column("0").label("since"),
    ).where(or_(blobs.c.digest.like(f"{NAMELESS}%"), not_(_HAS_LINK)))
)
_LISTED: Final = (
    (What.DELETED, DUE_REPOSITORIES),
    (What.DELETED, DUE_IMAGES),
    (What.UNTAGGED, DUE_UNTAGGED),
    (What.UNUSED, DUE_LAYERS),
    (What.GOING, DUE_NAMELESS),
)


class WaitingRows:
    """What waits, and what is due, of the rows of images."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def summary(self, times: LeaseTimes, *, keeps_untagged: bool) -> list[Waiting]:
        """Return what waits, of each kind that there is any of."""
        layers = {row.what: row for row in await self._connections.rows(LAYERS)}
        (deleted,) = await self._connections.rows(DELETED)
        (untagged_,) = await self._connections.rows(UNTAGGED)
        (open_,) = await self._connections.rows(UPLOADS)
        found = [
            _waiting(What.UNTAGGED, untagged_, layers, never=keeps_untagged),
            _waiting(What.DELETED, deleted, layers),
            _waiting(What.UNUSED, None, layers),
            _waiting(What.GOING, None, layers),
        ]
        if open_.images:
            last = open_.until + times.session_idle
            found.append(
                Waiting(What.UPLOADS, open_.images, 0, int(open_.size), open_.since, None, last)
            )
        return [each for each in found if each.images or each.layers]

    async def due(self, limit: int) -> list[Due]:
        """Return what the next cycle takes away, the biggest of each kind, biggest first."""
        found = [
            Due(what, _name(row.name), int(row.size), float(row.since))
            for what, statement in _LISTED
            for row in await self._connections.rows(statement, {"limit": limit})
        ]
        return sorted(found, key=lambda each: (-each.size, each.name))


def _name(row_name: str) -> str:
    """Return what people call it: of a deleted repository its name while it was there."""
    name, mark, rest = row_name.partition(DELETED_MARK)
    return row_name if mark and ":" in rest.partition(DELETED_MARK)[0] else name


def _waiting(what: What, rows: Any, layers: dict[str, Any], *, never: bool = False) -> Waiting:
    held = layers.get(what.value)
    leased = None if held is None or held.leased is None or held.leased < 0 else held.leased
    ends = [] if rows is None or rows.last is None else [rows.last]
    ends += [] if leased is None else [leased]
    return Waiting(
        what,
        images=0 if rows is None else rows.images,
        layers=0 if held is None else held.layers,
        size=0 if held is None else int(held.size),
        since=None if rows is None else rows.since,
        first=None if rows is None or never else rows.first,
        last=None if never else max(ends, default=None),
    )
