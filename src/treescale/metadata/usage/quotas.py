"""Quotas and other limits of namespaces: said, listed, and compared with what is there.

A namespace without a limit of its own has the cluster's, which stand among the settings: rows have
what follows, so whoever pushes reads its namespace's row alone (`limits.settling`). A namespace
that comes into being gets its row by a trigger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_ignore
from treescale.metadata.events.recording import Event, Kind, record
from treescale.metadata.layouts import wait_for_writers
from treescale.metadata.limits.settling import COUNTING, HOLD_OF, compare, use
from treescale.metadata.limits.waiting import waiting_of
from treescale.metadata.namespaces import (
    FORMER,
    hold_namespace,
    is_user,
    make_and_hold,
    unknown_namespace,
)
from treescale.metadata.schema import (
    manifests,
    namespaces,
    quota_blobs,
    quotas,
    repositories,
    repository_blobs,
    settings,
)
from treescale.metadata.settings.settings import PUT_SETTING, REMOVE_SETTING, Check, hold_setting

NO_LIMIT: Final = -1
"""In a row: a namespace has no limit, whatever the cluster's is."""
COMPARED_AT_ONCE: Final = 200
"""Digests that one transaction compares; whoever pushes there waits for it."""
LOOKED_AT: Final = 2000
"""Rows in one statement that locks nothing."""
DUE_AT_ONCE: Final = 100
DIGITS_MAX: Final = 18
"""Of a limit among the settings: it fits the columns."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A kind of limit: its setting, and its two columns."""

    setting: str
    own: str
    limit: str


BYTES: Final = Limit("quota", "own_bytes", "limit_bytes")
REPOSITORIES: Final = Limit("repositories-max", "own_repositories", "limit_repositories")
TAGS: Final = Limit("tags-max", "own_tags", "limit_tags")
LIMITS: Final = (BYTES, REPOSITORIES, TAGS)
_SETTINGS: Final = [each.setting for each in LIMITS]

_THIS: Final = quotas.c.namespace_id == bindparam("row_id")
_DEFAULTS: Final = ahead(select(settings).where(settings.c.name.in_(_SETTINGS)))
_MAKE: Final = insert_or_ignore(quotas)
# Former namespaces have nothing that anybody pushes to.
_WITHOUT: Final = select(namespaces.c.namespace_id).where(
    namespaces.c.kind != FORMER,
    ~exists().where(quotas.c.namespace_id == namespaces.c.namespace_id),
)
_MAKE_ALL: Final = insert(quotas).from_select(
    ["namespace_id", "limit_bytes", "limit_repositories", "limit_tags", "recount"],
    _WITHOUT.add_columns(
        *(bindparam(f"to_{each.limit}", type_=quotas.c[each.limit].type) for each in LIMITS),
        exists().where(repositories.c.namespace_id == namespaces.c.namespace_id),
    ),
)
_FOLLOW: Final = {
    each: update(quotas)
    .where(quotas.c[each.own].is_(None))
    .values(
        {
            each.limit: bindparam("to"),
            "recount": or_(quotas.c.recount, quotas.c.used > 0, quotas.c[each.limit].is_(None)),
        }
    )
    for each in LIMITS
}
_SET: Final = {
    each: update(quotas)
    .where(_THIS)
    .values({each.own: bindparam("to_own"), each.limit: bindparam("to"), "recount": true()})
    for each in LIMITS
}
_DUE: Final = ahead(
    select(quotas.c.namespace_id)
    .where(quotas.c.recount == true(), quotas.c.namespace_id > bindparam("after"))
    .order_by(quotas.c.namespace_id)
    .limit(DUE_AT_ONCE),
    "after",
)
_USED: Final = ahead(
    select(quotas.c.namespace_id)
    .where(quotas.c.used > 0, quotas.c.namespace_id > bindparam("after"))
    .order_by(quotas.c.namespace_id)
    .limit(DUE_AT_ONCE),
    "after",
)
_BEGIN: Final = update(quotas).where(_THIS).values(recount=false())
_ALL_DUE: Final = update(quotas).where(quotas.c.recount == false()).values(recount=true())
_SAYS_NOTHING: Final = and_(
    *(quotas.c[name].is_(None) for each in LIMITS for name in (each.own, each.limit))
)
_FORGET: Final = delete(quotas).where(_THIS, _SAYS_NOTHING)
_FORGET_UNUSED: Final = delete(quotas).where(_SAYS_NOTHING, quotas.c.used == 0)


def _of_repository(table: Any) -> Select[Any]:
    """Return a page of a table's digests in a repository, and which of them are noted."""
    noted = exists().where(
        quota_blobs.c.namespace_id == bindparam("row_id"), quota_blobs.c.digest == table.c.digest
    )
    return (
        select(table.c.digest, noted.label("right"))
        .where(
            table.c.repository_id == bindparam("repository_id"),
            table.c.digest > bindparam("after"),
        )
        .order_by(table.c.digest)
        .limit(LOOKED_AT)
    )


LINKS: Final = _of_repository(repository_blobs)
MANIFESTS: Final = _of_repository(manifests)
_REPOSITORIES: Final = (
    select(repositories.c.repository_id)
    .where(
        repositories.c.namespace_id == bindparam("row_id"),
        repositories.c.repository_id > bindparam("after"),
    )
    .order_by(repositories.c.repository_id)
    .limit(LOOKED_AT)
)
_IS_LINKED: Final = exists().where(
    repositories.c.namespace_id == quota_blobs.c.namespace_id,
    repository_blobs.c.repository_id == repositories.c.repository_id,
    repository_blobs.c.digest == quota_blobs.c.digest,
)
_IS_COUNTED: Final = exists().where(
    quotas.c.namespace_id == quota_blobs.c.namespace_id, quotas.c.limit_bytes.is_not(None)
)
_NOTED: Final = (
    select(
        quota_blobs.c.digest,
        and_(_IS_LINKED, _IS_COUNTED).label("right"),
    )
    .where(
        quota_blobs.c.namespace_id == bindparam("row_id"),
        quota_blobs.c.digest > bindparam("after"),
    )
    .order_by(quota_blobs.c.digest)
    .limit(LOOKED_AT)
)
_FIGURES: Final = select(
    quotas,
    namespaces.c.name,
    namespaces.c.bytes.label("live_bytes"),
    select(func.count())
    .select_from(repositories)
    .where(
        repositories.c.namespace_id == namespaces.c.namespace_id,
        repositories.c.deleted.is_(None),
    )
    .correlate(namespaces)
    .scalar_subquery()
    .label("repositories"),
).select_from(namespaces.outerjoin(quotas, quotas.c.namespace_id == namespaces.c.namespace_id))
_LIST: Final = (
    _FIGURES.where(
        quotas.c.namespace_id.is_not(None),
        namespaces.c.name > bindparam("after"),
        namespaces.c.kind != FORMER,
    )
    .order_by(namespaces.c.name)
    .limit(bindparam("limit"))
)
_ONE: Final = _FIGURES.where(namespaces.c.name == bindparam("namespace"))
_COUNT_TOLD: Final = (
    select(quotas.c.told, func.count().label("namespaces"))
    .where(quotas.c.told > 0)
    .group_by(quotas.c.told)
)


@dataclass(frozen=True, slots=True)
class QuotaFigures:
    """What a namespace may have, and has. A limit that is None is none; bytes, and numbers."""

    namespace: str
    own: Mapping[str, int | None]
    """By the cluster's setting: the namespace's own; NO_LIMIT for none, None for the cluster's."""
    limits: Mapping[str, int | None]
    """By the cluster's setting, in force."""
    used: int | None
    """Bytes that count, each blob and manifest once; None without a quota, when nobody counts."""
    waiting: int | None
    """Those of them that are deleted, and not gone."""
    live: int
    """Bytes of its blobs, each once, as of a minute ago."""
    repositories: int
    counting: bool
    """Whether `used` is still being added up."""


class Quotas:
    """Limits of namespaces, and of the cluster."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def defaults(self) -> dict[str, int | None]:
        """Return the cluster's limits by setting; None is none."""
        found = {row.name: row.value for row in await self._connections.rows(_DEFAULTS)}
        return {each.setting: limit_of(found.get(each.setting)) for each in LIMITS}

    async def set_default(
        self, setting: str, to: int | None, *, actor: str, check: Check | None = None
    ) -> None:
        """Set a limit of the cluster, None for none. Raises what `check` does.

        One of namespaces is then the limit of all that have none of their own.
        """
        limit = next((each for each in LIMITS if each.setting == setting), None)
        value = None if to is None else str(to)

        def work(connection: Connection) -> None:
            before = hold_setting(connection, setting, value)
            if check is not None:
                check(before)
            if limit_of(before) == to:
                return
            if value is None:
                connection.execute(REMOVE_SETTING, {"this": setting})
            else:
                row = {"name": setting, "value": value}
                connection.execute(PUT_SETTING.on(connection), row)
            if limit is not None:
                connection.execute(_FOLLOW[limit], {"to": to})
                connection.execute(_FORGET_UNUSED)
                _make_all(connection)
            record(connection, Event(Kind.CLUSTER_LIMITS, actor, payload={setting: to}))

        await self._connections.write(work)

    async def set(self, namespace: str, to: Mapping[Limit, int | None], *, actor: str) -> None:
        """Give a namespace limits of its own; NO_LIMIT for none, None for the cluster's.

        Those that are not named stay. `recount` then says what it uses. Raises NamespaceUnknown.
        """

        def work(connection: Connection) -> int:
            # Of a push that began without limits nothing is noted, and then it has to be seen.
            wait_for_writers(connection)
            held = hold_namespace(connection, namespace)
            if held is None:
                if not is_user(connection, namespace):
                    raise unknown_namespace(namespace)
                held = make_and_hold(connection, namespace)
            connection.execute(_MAKE.on(connection), {"namespace_id": held.row_id})
            found = _defaults(connection)
            for limit, own in to.items():
                inherited = found[limit.setting] if own is None else own
                row = {"row_id": held.row_id, "to_own": own, "to": inherited}
                if inherited == NO_LIMIT:
                    row["to"] = None
                connection.execute(_SET[limit], row)
            told = {limit.setting: _told(own) for limit, own in to.items()}
            event = Event(Kind.NAMESPACE_LIMITS, actor, namespace=namespace, payload=told)
            record(connection, event)
            return held.row_id

        await self.recount(await self._connections.write(work))

    async def page(self, after: str, limit: int) -> list[QuotaFigures]:
        """Return a page of the namespaces that have any limit, by name.

        What waits is as of the last hour.
        """
        rows = await self._connections.rows(_LIST, {"after": after, "limit": limit})
        return [_figures(row) for row in rows]

    async def get(self, namespace: str) -> QuotaFigures:
        """Return one; raises NamespaceUnknown. Reads all that it has, for what waits."""
        row = await self._connections.row(_ONE, {"namespace": namespace})
        if row is None:
            raise unknown_namespace(namespace)
        found = _figures(row)
        if found.used is None:
            return found
        now = await waiting_of(self._connections, row.namespace_id, fresh_seconds=0)
        return replace(found, waiting=now)

    async def weigh(self) -> None:
        """Look how much waits to be gone in each namespace with a quota; lists show it."""
        after = 0
        while rows := await self._connections.rows(_USED, {"after": after}):
            for row in rows:
                await waiting_of(self._connections, row.namespace_id)
            after = rows[-1].namespace_id

    async def told(self) -> dict[int, int]:
        """Return how many namespaces were told of each level: 80 and 100 percent."""
        rows = await self._connections.rows(_COUNT_TOLD)
        return {int(row.told): int(row.namespaces) for row in rows}

    async def count(self, *, all_anew: bool = False) -> int:
        """Count what is to be counted, with `all_anew` all; return how many namespaces that were.

        Background work: also what the cluster's limits give to namespaces that have no row yet.
        """
        if all_anew:
            await self._connections.change(_ALL_DUE, durable=False)
        if any(value is not None for value in (await self.defaults()).values()) and (
            await self._connections.rows(_WITHOUT.limit(1))
        ):
            await self._connections.write(_make_all, durable=False)
        found, after = 0, 0
        while rows := await self._connections.rows(_DUE, {"after": after}):
            for row in rows:
                await self.recount(row.namespace_id)
            found, after = found + len(rows), rows[-1].namespace_id
        return found

    async def recount(self, row_id: int) -> None:
        """Compare what is noted of a namespace with what is there, and mend it.

        Pushes go on meanwhile: a page of what differs is held at a time.
        """
        this = {"row_id": row_id}
        await self._connections.change(_BEGIN, this, durable=False)
        after = 0
        while rows := await self._connections.rows(_REPOSITORIES, {**this, "after": after}):
            for row in rows:
                after = row.repository_id
                for pages in (LINKS, MANIFESTS):
                    await self._look(pages, {**this, "repository_id": after})
        await self._look(_NOTED, this)
        await self._connections.write(lambda connection: _end(connection, this), durable=False)

    async def _look(self, pages: Select[Any], this: Mapping[str, int]) -> None:
        after = ""
        while page := await self._connections.rows(pages, {**this, "after": after}):
            await self._compare(this["row_id"], [row.digest for row in page if not row.right])
            after = page[-1].digest

    async def _compare(self, row_id: int, ordered: Sequence[str]) -> None:
        for start in range(0, len(ordered), COMPARED_AT_ONCE):
            page = ordered[start : start + COMPARED_AT_ONCE]
            await self._connections.write(_comparing(row_id, page), durable=False)


def _comparing(row_id: int, page: Sequence[str]) -> Any:
    def work(connection: Connection) -> None:
        row = connection.execute(HOLD_OF, {"row_id": row_id}).one_or_none()
        if row is not None:
            compare(connection, row, page, COUNTING)

    return work


def _end(connection: Connection, this: Mapping[str, object]) -> None:
    """Tell of the level that was found; forget a row that says nothing."""
    row = connection.execute(HOLD_OF, this).one_or_none()
    if row is not None and not changed(connection, _FORGET, this):
        use(connection, row, row.used, actor=COUNTING)


def _make_all(connection: Connection) -> None:
    """Give the cluster's limits to namespaces that have no row, if there are any."""
    found = _defaults(connection)
    if any(value is not None for value in found.values()):
        connection.execute(_MAKE_ALL, {f"to_{each.limit}": found[each.setting] for each in LIMITS})


def _defaults(connection: Connection) -> dict[str, int | None]:
    found = {row.name: row.value for row in connection.execute(_DEFAULTS)}
    return {each.setting: limit_of(found.get(each.setting)) for each in LIMITS}


def limit_of(text: str | None) -> int | None:
    """Return the limit that a setting says; what cannot be read is none, as for the trigger."""
    is_number = text is not None and text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX
    return int(text) if is_number and text is not None else None


def _told(own: int | None) -> int | str:
    if own is None:
        return "default"
    return "none" if own == NO_LIMIT else own


def _figures(row: Row[Any]) -> QuotaFigures:
    is_counted = row.limit_bytes is not None
    return QuotaFigures(
        namespace=row.name,
        own={each.setting: getattr(row, each.own) for each in LIMITS},
        limits={each.setting: getattr(row, each.limit) for each in LIMITS},
        used=int(row.used) if is_counted else None,
        waiting=int(row.waiting) if is_counted else None,
        live=int(row.live_bytes),
        repositories=int(row.repositories),
        counting=is_counted and bool(row.recount),
    )
