"""Sizes of repositories and namespaces: what changed is added up, a page in each transaction.

The bytes of a repository are those of the blobs that are linked and not hidden, each once; those of
a namespace are of the distinct blobs that its live repositories have so. Triggers write each change
of a link, a tag and a repository's place into `usage_changes`, in the transaction that changes it:
rows of their own, so no two pushes wait for each other there. Here they are taken away again:

- To a repository's row a change is added. One that has no row yet is counted whole: what is there,
  less what its changes that are still waiting say.
- Whether a namespace has a blob is not added up but looked at, after its change was taken away. So
  whoever commits later leaves a change that is looked at later, and a second look does no harm.

One transaction at a time does so, whichever process it is in. It takes no lock that a push takes
but repositories', as a push does, and nobody waits for it for more than some milliseconds.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import Upsert
from treescale.metadata.limits.settling import COUNTING, give_back
from treescale.metadata.repositories import DELETED_MARK, make_namespace, namespace_id
from treescale.metadata.schema import (
    blobs,
    counters,
    namespace_blobs,
    namespaces,
    quotas,
    repositories,
    repository_blobs,
    repository_usage,
    tags,
    usage_changes,
)

CHANGES_AT_ONCE: Final = 200
LINKS_AT_ONCE: Final = 200
"""Of repositories that came, went or moved, in one transaction."""
REPOSITORIES_AT_ONCE: Final = 100
LOOKED_AT: Final = 500
"""Rows in one statement of the pass that counts anew, which locks nothing."""
COUNTER: Final = "usage"

_links, _changes, _kept = repository_blobs, usage_changes, repository_usage
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
Name = tuple[int, str]
"""A namespace's id, and the digest of a blob that it may have."""


def _draw() -> Upsert:
    row, then = {"name": COUNTER, "value": 1}, {"value": counters.c.value + 1}
    return Upsert(
        lambda insert: (
            insert(counters).values(row).on_conflict_do_update(index_elements=["name"], set_=then)
        )
    )


_DRAW: Final = ahead(_draw())
"""Holds the counter's row until the transaction ends: there is one such transaction at a time."""

_RECOUNT: Final = (
    update(quotas).where(quotas.c.namespace_id.in_(bindparam("these", expanding=True)))
).values(recount=true())

# Changes
ANY_CHANGE: Final = ahead(select(_changes.c.change_id).limit(1))
_PAGE: Final = ahead(select(_changes).order_by(_changes.c.change_id).limit(CHANGES_AT_ONCE))
_DROP: Final = ahead(delete(_changes).where(_changes.c.change_id.in_(_THESE)), "these")
_TELL: Final = insert(_changes)
_LINKS_AFTER: Final = (
    select(_links.c.digest)
    .where(_links.c.repository_id == bindparam("row_id"), _links.c.digest > bindparam("after"))
    .order_by(_links.c.digest)
    .limit(bindparam("limit"))
)

# Repositories
_HOLD_REPOSITORIES: Final = ahead(
    select(repositories.c.repository_id, repositories.c.namespace_id)
    .where(repositories.c.repository_id.in_(_THESE))
    .order_by(repositories.c.repository_id)
    .with_for_update(read=True, key_share=True),
    "these",
)
_COUNTED: Final = ahead(
    select(_kept.c.repository_id).where(_kept.c.repository_id.in_(_THESE)), "these"
)
_LATER: Final[BindParameter[Any]] = bindparam("more_pushed")
_ADD: Final = (
    update(_kept)
    .where(_kept.c.repository_id == bindparam("row_id"))
    .values(
        bytes=_kept.c.bytes + bindparam("more_bytes"),
        blobs=_kept.c.blobs + bindparam("more_blobs"),
        tags=_kept.c.tags + bindparam("more_tags"),
        pushed=case((func.coalesce(_kept.c.pushed, 0) < _LATER, _LATER), else_=_kept.c.pushed),
    )
)


def _whole(number: Any) -> Any:
    """Return a sum as a whole number; PostgreSQL's of such is a numeric. Of nothing it is 0."""
    return cast(func.coalesce(number, 0), BigInteger())


def links_of(repository_id: Any) -> Select[Any]:
    """Return the query for the bytes and the number of a repository's blobs, from its links."""
    return (
        select(_whole(func.sum(blobs.c.size)).label("bytes"), func.count().label("blobs"))
        .select_from(_links.join(blobs, blobs.c.blob_id == _links.c.blob_id))
        .where(_links.c.repository_id == repository_id, _links.c.hidden.is_(None))
    )


def tags_of(repository_id: Any) -> Select[Any]:
    """Return the query for the number of a repository's tags, and when one was pushed last."""
    found: tuple[ColumnElement[Any], ...] = (
        func.count().label("tags"),
        func.max(tags.c.updated).label("pushed"),
    )
    return select(*found).where(tags.c.repository_id == repository_id)


def waiting_of(repository_id: Any) -> Select[Any]:
    """Return the query for what of a repository's changes was not added up yet."""
    return select(
        *(_whole(func.sum(_changes.c[name])).label(name) for name in ("bytes", "blobs", "tags")),
        func.max(_changes.c.pushed).label("pushed"),
    ).where(_changes.c.repository_id == repository_id)


def _count_whole() -> Any:
    """Return what gives a repository its row. One statement, so one moment."""
    this = bindparam("row_id", type_=BigInteger())
    there, named = links_of(this).subquery("there"), tags_of(this).subquery("named")
    waiting = waiting_of(this).subquery("waiting")
    rows = select(
        this,
        there.c.bytes - waiting.c.bytes,
        there.c.blobs - waiting.c.blobs,
        named.c.tags - waiting.c.tags,
        named.c.pushed,
    ).select_from(there.join(named, true()).join(waiting, true()))
    return insert(_kept).from_select(["repository_id", "bytes", "blobs", "tags", "pushed"], rows)


_COUNT: Final = ahead(_count_whole(), "row_id")

# Namespaces
_NAME: Final = tuple_(namespace_blobs.c.namespace_id, namespace_blobs.c.digest)
_SHOWN: Final = and_(_links.c.hidden.is_(None), repositories.c.deleted.is_(None))
_LINKED: Final = ahead(
    select(repositories.c.namespace_id, blobs.c.digest, blobs.c.size)
    .distinct()
    .select_from(
        blobs.join(_links, _links.c.blob_id == blobs.c.blob_id).join(
            repositories, repositories.c.repository_id == _links.c.repository_id
        )
    )
    .where(
        # Said twice, so that either way leads there: from the blobs, or from the repositories.
        blobs.c.digest.in_(bindparam("digests", expanding=True)),
        _links.c.digest.in_(bindparam("digests", expanding=True)),
        repositories.c.namespace_id.in_(_THESE),
        _SHOWN,
    ),
    "digests these",
)
# Of one namespace: SQLite would read the whole table for a list of pairs.
_NOTED: Final = ahead(
    select(namespace_blobs).where(
        namespace_blobs.c.namespace_id == bindparam("row_id"), namespace_blobs.c.digest.in_(_THESE)
    ),
    "row_id these",
)
_NOTE: Final = ahead(insert(namespace_blobs), "digest namespace_id size")
_STRIKE: Final = delete(namespace_blobs).where(
    namespace_blobs.c.namespace_id == bindparam("row_id"),
    namespace_blobs.c.digest == bindparam("named"),
)
_SUM: Final = ahead(
    update(namespaces)
    .where(namespaces.c.namespace_id == bindparam("row_id"))
    .values(
        bytes=namespaces.c.bytes + bindparam("more_bytes"),
        blobs=namespaces.c.blobs + bindparam("more_blobs"),
    ),
    "more_blobs more_bytes row_id",
)
NOT_ADOPTED: Final = ahead(
    select(repositories.c.repository_id, repositories.c.namespace)
    .where(repositories.c.namespace_id.is_(None))
    .limit(REPOSITORIES_AT_ONCE)
)
_ADOPT: Final = (
    update(repositories)
    .where(
        repositories.c.repository_id == bindparam("row_id"),
        repositories.c.namespace == bindparam("of_namespace"),
        repositories.c.namespace_id.is_(None),
    )
    .values(namespace_id=namespace_id())
)

# Counting anew
_check_links = links_of(repositories.c.repository_id).correlate(repositories)
_check_tags = tags_of(repositories.c.repository_id).correlate(repositories)
_check_waiting = waiting_of(repositories.c.repository_id).correlate(repositories)


def _differs(truth: Select[Any], name: str) -> Any:
    there = truth.with_only_columns(truth.selected_columns[name]).scalar_subquery()
    late = _check_waiting.with_only_columns(_check_waiting.selected_columns[name]).scalar_subquery()
    return there != _kept.c[name] + late


CHECK: Final = (
    select(
        repositories.c.repository_id,
        (
            _differs(_check_links, "bytes")
            | _differs(_check_links, "blobs")
            | _differs(_check_tags, "tags")
        ).label("wrong"),
    )
    .select_from(repositories.join(_kept))
    .where(repositories.c.repository_id > bindparam("after"))
    .order_by(repositories.c.repository_id)
    .limit(REPOSITORIES_AT_ONCE)
)
_FORGET: Final = delete(_kept).where(_kept.c.repository_id.in_(_THESE))
_HAS: Final = exists(
    select(literal(1))
    .select_from(
        blobs.join(_links, _links.c.blob_id == blobs.c.blob_id).join(
            repositories, repositories.c.repository_id == _links.c.repository_id
        )
    )
    .where(
        blobs.c.digest == namespace_blobs.c.digest,
        repositories.c.namespace_id == namespace_blobs.c.namespace_id,
        _SHOWN,
    )
)
NOTED_AFTER: Final = (
    select(namespace_blobs.c.namespace_id, namespace_blobs.c.digest, _HAS.label("right"))
    .where(tuple_(bindparam("row_id"), bindparam("after", type_=Text())) < _NAME)
    .order_by(namespace_blobs.c.namespace_id, namespace_blobs.c.digest)
    .limit(LOOKED_AT)
)
LINKED_AFTER: Final = (
    select(
        _links.c.repository_id,
        _links.c.digest,
        repositories.c.namespace_id,
        (
            ~_SHOWN
            | repositories.c.namespace_id.is_(None)
            | exists().where(
                namespace_blobs.c.namespace_id == repositories.c.namespace_id,
                namespace_blobs.c.digest == _links.c.digest,
            )
        ).label("right"),
    )
    .select_from(_links.join(repositories))
    .where(
        tuple_(bindparam("row_id"), bindparam("after", type_=Text()))
        < tuple_(_links.c.repository_id, _links.c.digest)
    )
    .order_by(_links.c.repository_id, _links.c.digest)
    .limit(LOOKED_AT)
)
_of_this = namespace_blobs.c.namespace_id == namespaces.c.namespace_id
_TRUE_BYTES: Final = (
    select(_whole(func.sum(namespace_blobs.c.size))).where(_of_this).scalar_subquery()
)
_TRUE_BLOBS: Final = (
    select(func.count()).select_from(namespace_blobs).where(_of_this).scalar_subquery()
)
_SUMS_AFTER: Final = (
    select(
        namespaces.c.namespace_id,
        ((namespaces.c.bytes == _TRUE_BYTES) & (namespaces.c.blobs == _TRUE_BLOBS)).label("right"),
    )
    .where(namespaces.c.namespace_id > bindparam("after"))
    .order_by(namespaces.c.namespace_id)
    .limit(REPOSITORIES_AT_ONCE)
)
_SUM_ANEW: Final = (
    update(namespaces)
    .where(namespaces.c.namespace_id.in_(_THESE))
    .values(bytes=_TRUE_BYTES, blobs=_TRUE_BLOBS)
)


class UsageCounter:
    """Keeps the sizes; what finds nothing to do writes nothing. Several at once are as one."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def count(self) -> int:
        """Add up all that waits, and what nobody has counted yet; return how much that was.

        After an upgrade that is every repository: a page of them at a time.
        """
        total = 0
        while True:
            adopted = await self.adopt()
            total += adopted
            while done := await self.fold():
                total += done
            if not adopted:
                return total

    async def adopt(self) -> int:
        """Give some repositories of an older version their namespace; return how many."""
        due = await self._connections.rows(NOT_ADOPTED)
        if not due:
            return 0
        found = sorted(
            (row.repository_id, row.namespace, row.namespace.removeprefix(DELETED_MARK))
            for row in due
        )

        def work(connection: Connection) -> int:
            for name in sorted({name for _, _, name in found}):
                make_namespace(connection, name)
            return sum(
                changed(
                    connection,
                    _ADOPT,
                    {"row_id": row_id, "of_namespace": now, "namespace_name": name},
                )
                for row_id, now, name in found
            )

        return await self._connections.write(work, durable=False)

    async def fold(self) -> int:
        """Add up some changes, and take them away; return how many that were."""
        if not await self._connections.rows(ANY_CHANGE):
            return 0
        return await self._connections.write(_fold, durable=False)

    async def recount(self) -> int:
        """Compare everything with what is there, and mend it; return how much was wrong.

        Reads whole tables a page at a time; writes only what was found.
        """
        wrong = await self._recount_repositories()
        wrong += await self._recount_names(NOTED_AFTER, lambda row: row.namespace_id)
        wrong += await self._recount_names(LINKED_AFTER, lambda row: row.repository_id)
        await self.count()
        return wrong + await self._recount_sums()

    async def _recount_repositories(self) -> int:
        found, after = 0, 0
        while page := await self._connections.rows(CHECK, {"after": after}):
            wrong = [row.repository_id for row in page if row.wrong]
            if wrong:
                await self._connections.write(_forget(wrong), durable=False)
            found, after = found + len(wrong), page[-1].repository_id
        return found

    async def _recount_names(self, pages: Select[Any], key: Any) -> int:
        found, row_id, after = 0, 0, ""
        while page := await self._connections.rows(pages, {"row_id": row_id, "after": after}):
            wrong = [
                {"namespace_id": row.namespace_id, "digest": row.digest}
                for row in page
                if not row.right
            ]
            if wrong:
                await self._connections.write(_tell(wrong), durable=False)
            found, row_id, after = found + len(wrong), key(page[-1]), page[-1].digest
        return found

    async def _recount_sums(self) -> int:
        found, after = 0, 0
        while page := await self._connections.rows(_SUMS_AFTER, {"after": after}):
            wrong = [row.namespace_id for row in page if not row.right]
            if wrong:
                await self._connections.write(_sum_anew(wrong), durable=False)
            found, after = found + len(wrong), page[-1].namespace_id
        return found


def _fold(connection: Connection) -> int:
    connection.execute(_DRAW.on(connection))
    page, names, rest = _taken(connection, connection.execute(_PAGE).all())
    if not page:
        return 0
    connection.execute(_DROP, {"these": [change.change_id for change in page]})
    if rest is not None:
        connection.execute(_TELL, rest)
    touched = sorted({row.repository_id for row in page if row.repository_id is not None})
    here = {
        row.repository_id: row.namespace_id
        for row in connection.execute(_HOLD_REPOSITORIES, {"these": touched})
    }
    _add_up(connection, page, here)
    # Where the link was when it changed, and where its repository is now.
    names |= {(row.namespace_id, row.digest) for row in page if row.digest is not None}
    names |= {(here.get(row.repository_id), row.digest) for row in page if row.digest is not None}
    found = {(each, digest) for each, digest in names if each is not None}
    _look(connection, found)
    moved = {row.namespace_id for row in page if row.repository_id is None and row.digest is None}
    if moved:
        connection.execute(_RECOUNT, {"these": sorted(moved)})
    give_back(connection, found, actor=COUNTING)
    return len(page)


def _taken(
    connection: Connection, changes: Sequence[Row[Any]]
) -> tuple[list[Row[Any]], set[tuple[int | None, str]], dict[str, object] | None]:
    """Return the changes that one transaction takes on, and which links are in question.

    Of a repository that has moved those are all; so many at a time, and what then is left is a
    change again, the last.
    """
    page: list[Row[Any]] = []
    names: set[tuple[int | None, str]] = set()
    for change in changes:
        page.append(change)
        if change.links_after is None or change.namespace_id is None:
            continue
        left = max(1, LINKS_AT_ONCE - len(names))
        this = {"row_id": change.repository_id, "after": change.links_after, "limit": left}
        found = list(connection.execute(_LINKS_AFTER, this).scalars())
        names |= {(change.namespace_id, digest) for digest in found}
        if len(found) == left:
            rest = {
                "repository_id": change.repository_id,
                "namespace_id": change.namespace_id,
                "links_after": found[-1],
            }
            return page, names, rest
    return page, names, None


def _add_up(
    connection: Connection, page: Iterable[Row[Any]], here: Mapping[int, int | None]
) -> None:
    """Add the changes to their repositories, and count those that were not yet."""
    if not here:
        return
    counted = set(connection.execute(_COUNTED, {"these": sorted(here)}).scalars())
    sums: dict[int, dict[str, Any]] = {}
    for row in page:
        if row.repository_id not in counted:
            continue
        nothing = {"more_bytes": 0, "more_blobs": 0, "more_tags": 0, "more_pushed": 0.0}
        this = sums.setdefault(row.repository_id, {"row_id": row.repository_id, **nothing})
        this["more_bytes"] += row.bytes
        this["more_blobs"] += row.blobs
        this["more_tags"] += row.tags
        this["more_pushed"] = max(this["more_pushed"], row.pushed or 0.0)
    if sums:
        connection.execute(_ADD, [sums[row_id] for row_id in sorted(sums)])
    for row_id in sorted(here.keys() - counted):
        connection.execute(_COUNT, {"row_id": row_id})


def _look(connection: Connection, names: Collection[Name]) -> None:
    """Look which of these namespaces have which of these blobs, and note that."""
    if not names:
        return
    ids, digests = sorted({each for each, _ in names}), sorted({digest for _, digest in names})
    linked = {
        (row.namespace_id, row.digest): row.size
        for row in connection.execute(_LINKED, {"these": ids, "digests": digests})
        if (row.namespace_id, row.digest) in names
    }
    noted: dict[Name, int] = {}
    for row_id in ids:
        this = {"row_id": row_id, "these": [each for each in digests if (row_id, each) in names]}
        for row in connection.execute(_NOTED, this):
            noted[row_id, row.digest] = row.size
    new, gone = sorted(linked.keys() - noted.keys()), sorted(noted.keys() - linked.keys())
    if new:
        rows = [{"namespace_id": n, "digest": d, "size": linked[n, d]} for n, d in new]
        connection.execute(_NOTE, rows)
    if gone:
        connection.execute(_STRIKE, [{"row_id": n, "named": d} for n, d in gone])
    sums: dict[int, dict[str, int]] = {}
    for sign, sizes, names_ in ((1, linked, new), (-1, noted, gone)):
        for name in names_:
            total = sums.setdefault(name[0], {"row_id": name[0], "more_bytes": 0, "more_blobs": 0})
            total["more_bytes"] += sign * sizes[name]
            total["more_blobs"] += sign
    if sums:
        connection.execute(_SUM, [sums[row_id] for row_id in sorted(sums)])


def _forget(wrong: Sequence[int]) -> Any:
    """Return what has repositories counted whole."""

    def work(connection: Connection) -> None:
        connection.execute(_DRAW.on(connection))
        connection.execute(_FORGET, {"these": wrong})
        connection.execute(_TELL, [{"repository_id": row_id} for row_id in wrong])

    return work


def _tell(rows: Sequence[Mapping[str, object]]) -> Any:
    def work(connection: Connection) -> None:
        connection.execute(_TELL, rows)

    return work


def _sum_anew(wrong: Sequence[int]) -> Any:
    def work(connection: Connection) -> None:
        connection.execute(_DRAW.on(connection))
        connection.execute(_SUM_ANEW, {"these": wrong})

    return work
