"""A namespace's limits, settled in the transaction that gives it more: nothing comes between.

Whoever gives a namespace with limits a blob, a manifest, a tag or a repository locks its row here,
after all other rows but those of missing copies: so of several at once each sees what those before
it have taken, and no sum is passed by a byte. A namespace without limits has no row, which is told
with the repository that is held (`repositories.hold`): its pushes do nothing here.

Bytes are those of distinct blobs and manifests, each once in a namespace, as long as any row says
that they are there: also while they are deleted and wait. Who takes the last such row away leaves
that in `usage_changes` (a trigger); `give_back`, called by who adds those up, looks again.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Row,
    Text,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Connection

from treescale.errors import OverLimit, QuotaExceeded
from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.limits.level import REACHED, WARNED, level_of
from treescale.metadata.limits.waiting import waiting_of
from treescale.metadata.schema import (
    blobs,
    manifests,
    namespaces,
    quota_blobs,
    quotas,
    repositories,
    repository_blobs,
    repository_usage,
    tags,
)
from treescale.sizes import in_words

DIGESTS_AT_ONCE: Final = 500
COUNTING: Final = "rule:quota"
"""Who tells of a level that is found while it is added up."""
WAITING_NAMED: Final = 50
"""What waits is named from this part of the quota on."""
LARGEST_NAMED: Final = 3
"""Repositories named in a refusal."""

_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_OF_NAMESPACE: Final = quotas.c.namespace_id == bindparam("row_id")
HOLD: Final = (
    select(quotas, namespaces.c.name)
    .join(namespaces, namespaces.c.namespace_id == quotas.c.namespace_id)
    .join(repositories, repositories.c.namespace_id == quotas.c.namespace_id)
    .where(repositories.c.repository_id == bindparam("repository_id"))
    .with_for_update(key_share=True, of=quotas)
)
HOLD_OF: Final = (
    select(quotas, namespaces.c.name)
    .join(namespaces, namespaces.c.namespace_id == quotas.c.namespace_id)
    .where(_OF_NAMESPACE)
    .with_for_update(key_share=True, of=quotas)
)
_HOLD_THESE: Final = ahead(
    select(quotas, namespaces.c.name)
    .join(namespaces, namespaces.c.namespace_id == quotas.c.namespace_id)
    .where(quotas.c.namespace_id.in_(_THESE))
    .order_by(quotas.c.namespace_id)
    .with_for_update(key_share=True, of=quotas),
    "these",
)
NOTED: Final = select(quota_blobs.c.digest, quota_blobs.c.size).where(
    quota_blobs.c.namespace_id == bindparam("row_id"), quota_blobs.c.digest.in_(_THESE)
)
_NOTE: Final = insert(quota_blobs)
_STRIKE: Final = delete(quota_blobs).where(
    quota_blobs.c.namespace_id == bindparam("row_id"),
    quota_blobs.c.digest == bindparam("gone"),
)
_USE: Final = (
    update(quotas).where(_OF_NAMESPACE).values(used=bindparam("to_used"), told=bindparam("to_told"))
)
_COUNT_REPOSITORIES: Final = (
    select(func.count())
    .select_from(repositories)
    .where(repositories.c.namespace_id == bindparam("row_id"), repositories.c.deleted.is_(None))
)
_COUNT_TAGS: Final = (
    select(func.count()).select_from(tags).where(tags.c.repository_id == bindparam("repository_id"))
)
_OF_THESE: Final = repositories.c.namespace_id == bindparam("row_id")
LINKED: Final = (
    select(blobs.c.digest, blobs.c.size)
    .distinct()
    .select_from(
        blobs.join(repository_blobs, repository_blobs.c.blob_id == blobs.c.blob_id).join(
            repositories, repositories.c.repository_id == repository_blobs.c.repository_id
        )
    )
    .where(blobs.c.digest.in_(_THESE), repository_blobs.c.digest.in_(_THESE), _OF_THESE)
)
PUT: Final = (
    select(manifests.c.digest, manifests.c.size)
    .distinct()
    .select_from(
        repositories.join(manifests, manifests.c.repository_id == repositories.c.repository_id)
    )
    .where(_OF_THESE, manifests.c.digest.in_(_THESE))
)
_LARGEST: Final = (
    select(repositories.c.name, repository_usage.c.bytes)
    .join(repository_usage, repository_usage.c.repository_id == repositories.c.repository_id)
    .where(
        _OF_THESE,
        repositories.c.deleted.is_(None),
        repository_usage.c.bytes > 0,
    )
    .order_by(repository_usage.c.bytes.desc())
    .limit(LARGEST_NAMED)
)
_TOLD: Final = select(quotas.c.told).where(_OF_NAMESPACE)
_NAMED: Final = namespaces.c.name == bindparam("namespace", type_=Text())
_QUOTA: Final = (
    select(quotas, namespaces.c.name)
    .join(namespaces, namespaces.c.namespace_id == quotas.c.namespace_id)
    .where(_NAMED, quotas.c.limit_bytes.is_not(None))
)
QUOTA: Final = _QUOTA
IS_FULL: Final = exists(_QUOTA.where(quotas.c.used >= quotas.c.limit_bytes))
"""Whether nothing more fits into the namespace of the parameter `namespace`."""
ROOM: Final = _QUOTA.with_only_columns(quotas.c.limit_bytes - quotas.c.used).scalar_subquery()
"""How many bytes more fit into it; null without a quota."""
HAS: Final = (
    select(quota_blobs.c.size)
    .join(namespaces, namespaces.c.namespace_id == quota_blobs.c.namespace_id)
    .where(_NAMED, quota_blobs.c.digest == bindparam("digest"))
)


@dataclass(frozen=True, slots=True)
class Gain:
    """What a transaction gives to a repository that it holds."""

    repository_id: int
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of blobs and manifests, by digest."""
    is_new: bool = False
    """Whether it has made the repository."""
    has_new_tags: bool = False


def settle(connection: Connection, gain: Gain, *, actor: str) -> None:
    """Take it into account; raises QuotaExceeded and OverLimit, and then nothing may be kept.

    To be called by whoever finds that the namespace has a row here, after what it gives is written.
    """
    row = connection.execute(HOLD, {"repository_id": gain.repository_id}).one_or_none()
    if row is None:
        return
    if gain.is_new and row.limit_repositories is not None:
        _check_repositories(connection, row)
    if gain.has_new_tags and row.limit_tags is not None:
        _check_tags(connection, row, gain.repository_id)
    if row.limit_bytes is not None and gain.sizes:
        _take(connection, row, gain.sizes, actor)


def _check_repositories(connection: Connection, row: Row[Any]) -> None:
    count = connection.execute(_COUNT_REPOSITORIES, {"row_id": row.namespace_id}).scalar_one()
    if count > row.limit_repositories:
        raise OverLimit(
            f"{row.name} has {row.limit_repositories:,} repositories, as many as it may: push to "
            "one of them, delete one, or ask an administrator for more"
        )


def _check_tags(connection: Connection, row: Row[Any], repository_id: int) -> None:
    count = connection.execute(_COUNT_TAGS, {"repository_id": repository_id}).scalar_one()
    if count > row.limit_tags:
        raise OverLimit(
            f"this repository would have {count:,} tags, and in {row.name} it may have "
            f"{row.limit_tags:,}: delete some first, or ask an administrator for more"
        )


def _take(connection: Connection, row: Row[Any], sizes: Mapping[str, int], actor: str) -> None:
    """Note what of it the namespace has not yet, if that fits."""
    digests, known = sorted(sizes), set[str]()
    for start in range(0, len(digests), DIGESTS_AT_ONCE):
        page = {"row_id": row.namespace_id, "these": digests[start : start + DIGESTS_AT_ONCE]}
        known |= {one.digest for one in connection.execute(NOTED, page)}
    new = [digest for digest in digests if digest not in known]
    if not new:
        return
    needed = sum(sizes[digest] for digest in new)
    if row.used + needed > row.limit_bytes:
        raise exceeded(row, needed)
    rows = [
        {"namespace_id": row.namespace_id, "digest": digest, "size": sizes[digest]}
        for digest in new
    ]
    connection.execute(_NOTE, rows)
    use(connection, row, row.used + needed, actor=actor)


def exceeded(row: Row[Any], needed: int) -> QuotaExceeded:
    """Return the refusal of so many bytes more; 0 when it is not known how many."""
    more = f"; this needs {in_words(needed)} more" if needed else ", and no more can be pushed"
    return QuotaExceeded(
        f"{row.name} has used {in_words(row.used)} of {in_words(row.limit_bytes)}{more}",
        namespace_id=row.namespace_id,
        used=row.used,
        quota=row.limit_bytes,
        needed=needed,
    )


def use(connection: Connection, row: Row[Any], used: int, *, actor: str) -> None:
    """Write what a namespace uses, whose row is held; tell of a level that it has come to."""
    level = level_of(used, row.limit_bytes, row.told)
    if used >= row.used:
        level = max(level, row.told)  # also one that a refusal has told of
    connection.execute(_USE, {"row_id": row.namespace_id, "to_used": used, "to_told": level})
    if level > row.told:
        _tell(connection, row, used, level, actor)


def _tell(connection: Connection, row: Row[Any], used: int, level: int, actor: str) -> None:
    kind = {WARNED: Kind.QUOTA_WARNED, REACHED: Kind.QUOTA_REACHED}[level]
    payload = {"used": used, "quota": row.limit_bytes}
    record(connection, Event(kind, actor, namespace=row.name, payload=payload))


def give_back(connection: Connection, names: Collection[tuple[int, str]], *, actor: str) -> None:
    """Compare what is noted of these digests of namespaces with what is there, and mend it.

    Whoever gives a namespace something now has written it, and waits; or it is seen here. Of
    namespaces without a row nothing is noted.
    """
    ids = sorted({row_id for row_id, _ in names})
    for start in range(0, len(ids), DIGESTS_AT_ONCE):
        page = {"these": ids[start : start + DIGESTS_AT_ONCE]}
        for row in connection.execute(_HOLD_THESE, page).all():
            compare(
                connection, row, {d for row_id, d in names if row_id == row.namespace_id}, actor
            )


def compare(connection: Connection, row: Row[Any], digests: Iterable[str], actor: str) -> None:
    """Do so for one namespace, whose row is held."""
    used, ordered = row.used, sorted(digests)
    for start in range(0, len(ordered), DIGESTS_AT_ONCE):
        page = {"row_id": row.namespace_id, "these": ordered[start : start + DIGESTS_AT_ONCE]}
        noted = _sizes(connection, NOTED, page)
        there = {} if row.limit_bytes is None else _there(connection, page)
        new, gone = sorted(there.keys() - noted.keys()), sorted(noted.keys() - there.keys())
        if new:
            connection.execute(
                _NOTE,
                [
                    {"namespace_id": row.namespace_id, "digest": digest, "size": there[digest]}
                    for digest in new
                ],
            )
        if gone:
            connection.execute(
                _STRIKE, [{"row_id": row.namespace_id, "gone": digest} for digest in gone]
            )
        used += sum(there[digest] for digest in new) - sum(noted[digest] for digest in gone)
    if used != row.used:
        use(connection, row, used, actor=actor)


def _there(connection: Connection, page: Mapping[str, Any]) -> dict[str, int]:
    """Return what a namespace has of these digests, in whatever state."""
    found = _sizes(connection, LINKED, page)
    left = [digest for digest in page["these"] if digest not in found]
    return found | _sizes(connection, PUT, {**page, "these": left}) if left else found


def _sizes(connection: Connection, query: Any, page: Mapping[str, object]) -> dict[str, int]:
    return {row.digest: int(row.size) for row in connection.execute(query, page)}


async def explained(connections: Connections, refused: QuotaExceeded, actor: str) -> QuotaExceeded:
    """Return the refusal with what can be done about it; tell of it, if nobody was told yet.

    Once the transaction that raised it is over.
    """
    this = {"row_id": refused.namespace_id}
    told = await connections.row(_TOLD, this)
    if told is not None and told.told < REACHED:
        await connections.write(lambda each: _reach(each, this, actor), durable=False)
    words = [str(refused)]
    if largest := await connections.rows(_LARGEST, this):
        named = ", ".join(f"{row.name} {in_words(row.bytes)}" for row in largest)
        words.append(f"The largest: {named}")
    waiting = await waiting_of(connections, refused.namespace_id)
    if waiting * WAITING_NAMED > refused.quota:
        words.append(f"{in_words(waiting)} is deleted, and counts until it is gone or purged")
    words.append("Delete what is not needed, or ask an administrator for more")
    return QuotaExceeded(
        ". ".join(words),
        namespace_id=refused.namespace_id,
        used=refused.used,
        quota=refused.quota,
        needed=refused.needed,
    )


def _reach(connection: Connection, this: Mapping[str, object], actor: str) -> None:
    """Tell that the quota is reached, unless somebody has."""
    row = connection.execute(HOLD_OF, this).one_or_none()
    if row is None or row.limit_bytes is None or row.told >= REACHED:
        return
    connection.execute(_USE, {**this, "to_used": row.used, "to_told": REACHED})
    _tell(connection, row, row.used, REACHED, actor)


async def refused(
    connections: Connections, namespace: str, needed: int, *, actor: str
) -> QuotaExceeded | None:
    """Return the refusal of so many bytes more, 0 for any; None when they fit by now."""
    row = await connections.row(QUOTA, {"namespace": namespace})
    if row is None or row.used + max(needed, 1) <= row.limit_bytes:
        return None
    return await explained(connections, exceeded(row, needed), actor)
