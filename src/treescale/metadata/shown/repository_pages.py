"""Repositories of a namespace, those of one's own that were pushed to last, and whose names fit.

What a user may see is said as in `metadata.usage.figures`: index ranges, each cut, then merged.
Whether a role is for just this repository the caller looks.
"""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select, true, union

from treescale.metadata.engine.connections import Connections
from treescale.metadata.repositories import DELETED_MARK, is_of_member
from treescale.metadata.schema import repositories, repository_usage, usage_changes
from treescale.metadata.shown.patterns import as_pattern, end_of
from treescale.metadata.usage.figures import (
    NEXT,
    RepositoryFigures,
    repositories_of,
    repository_figures,
)

OWN_MAX: Final = 1000
"""Repositories of one's own that are sorted by when they were pushed to; of who has more than that,
those are that were pushed to last in the cluster."""
RECENT_MAX: Final = 5000
"""Of the cluster, that are looked at then."""
SCANNED_MAX: Final = 10_000
"""Names that a search looks at for a page."""
_IN_SPAN: Final = and_(
    repositories.c.name >= bindparam("first"), repositories.c.name < bindparam("end")
)
_IS_OWN: Final = repositories.c.namespace == bindparam("user")
_IS_THEIRS: Final = is_of_member("user")
_OPEN: Final = (repositories.c.public == true(), repositories.c.internal == true())


def _merged(parts: Sequence[Select[Any]], limit: str) -> Select[Any]:
    either = union(*(select(one.subquery()) for one in parts)).subquery("either")
    return select(either).order_by(either.c.name).limit(bindparam(limit))


_SPAN: Final = NEXT.where(_IN_SPAN)
_ANYBODYS: Final = (repositories.c.public == true(),)
SPANS: Final = {
    "all": repository_figures(_SPAN.subquery("page")),
    "anonymous": repository_figures(_SPAN.where(*_ANYBODYS).subquery("page")),
    "user": repository_figures(
        _merged([_SPAN.where(one) for one in (*_OPEN, _IS_OWN, _IS_THEIRS)], "limit").subquery(
            "page"
        )
    ),
}
"""Whose names begin with a text, by who looks: administrators, the anonymous, users."""

_OWN_NAMES: Final = (
    select(repositories.c.repository_id, repositories.c.name)
    .where(repositories.c.deleted.is_(None))
    .limit(bindparam("own"))
)
_OWN: Final = union(
    select(_OWN_NAMES.where(_IS_OWN).subquery("own")),
    select(_OWN_NAMES.where(_IS_THEIRS).subquery("of_member")),
).subquery("mine")
COUNT_OWN: Final = select(func.count().label("own")).select_from(_OWN)


# What was not added up yet is later than what is kept.
_WAITING: Final = (
    select(func.max(usage_changes.c.pushed))
    .where(usage_changes.c.repository_id == repositories.c.repository_id)
    .correlate(repositories)
    .scalar_subquery()
)
_PUSHED: Final = func.coalesce(_WAITING, repository_usage.c.pushed, repositories.c.created)


def _recent(row_ids: Select[Any]) -> Select[Any]:
    page = (
        select(repositories)
        .outerjoin(
            repository_usage, repository_usage.c.repository_id == repositories.c.repository_id
        )
        .where(repositories.c.repository_id.in_(row_ids), repositories.c.deleted.is_(None))
        .order_by(_PUSHED.desc(), repositories.c.name)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    return repository_figures(page)


RECENT_OF_OWN: Final = _recent(select(_OWN.c.repository_id))
_LATEST: Final = union(
    select(
        select(repository_usage.c.repository_id)
        .where(repository_usage.c.pushed.is_not(None))
        .order_by(repository_usage.c.pushed.desc())
        .limit(bindparam("own"))
        .subquery("kept")
    ),
    select(
        select(usage_changes.c.repository_id)
        .where(usage_changes.c.change_id > 0, usage_changes.c.repository_id.is_not(None))
        .order_by(usage_changes.c.change_id.desc())
        .limit(bindparam("own"))
        .subquery("waiting")
    ),
).subquery("latest")
RECENT_OF_ALL: Final = _recent(
    select(_LATEST.c.repository_id)
    .join(repositories, repositories.c.repository_id == _LATEST.c.repository_id)
    .where(or_(_IS_OWN, _IS_THEIRS))
)

# Covering: name and row id are in every index that is used. A deleted one has the mark.
_NAMES: Final = (
    select(repositories.c.name)
    .where(
        repositories.c.name > bindparam("after"),
        ~repositories.c.name.contains(DELETED_MARK),
    )
    .order_by(repositories.c.name)
    .limit(bindparam("scan"))
)


def _searched(conditions: Sequence[ColumnElement[bool]]) -> tuple[Select[Any], Select[Any]]:
    """Return what finds names with a text in them, and how far it looked."""
    parts = [_NAMES.where(one) for one in conditions] or [_NAMES]
    scanned = _merged(parts, "scan").subquery("scanned")
    found = (
        select(scanned.c.name)
        .where(
            scanned.c.name.like(bindparam("like"), escape="\\"),
            ~scanned.c.name.like(bindparam("unlike"), escape="\\"),
        )
        .order_by(scanned.c.name)
        .limit(bindparam("limit"))
    )
    far = select(scanned.c.name).order_by(scanned.c.name).limit(1).offset(bindparam("passed"))
    return found, far


SEARCHED: Final = {
    "all": _searched([]),
    "user": _searched([*_OPEN, _IS_OWN, _IS_THEIRS]),
}
THESE: Final = repository_figures(
    select(repositories)
    .where(repositories.c.name.in_(bindparam("names", expanding=True)))
    .subquery("page")
)


class ShownRepositories:
    """Repositories as pages show them. `viewer` is `all`, `user` or `anonymous`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def beginning(
        self, viewer: str, user: str, begin: str, after: str, limit: int
    ) -> list[RepositoryFigures]:
        """Return a page of those whose names begin with a text that is not empty, by name."""
        asked = {"first": begin, "end": end_of(begin), "after": after, "limit": limit}
        return repositories_of(await self._connections.rows(SPANS[viewer], asked | {"user": user}))

    async def recent(self, user: str, limit: int) -> list[RepositoryFigures]:
        """Return those of a user's own namespaces that were pushed to last."""
        row = await self._connections.row(COUNT_OWN, {"user": user, "own": OWN_MAX + 1})
        is_few = row is None or row.own <= OWN_MAX
        query, own = (RECENT_OF_OWN, OWN_MAX + 1) if is_few else (RECENT_OF_ALL, RECENT_MAX)
        asked = {"user": user, "own": own, "limit": limit}
        found = repositories_of(await self._connections.rows(query, asked))
        return sorted(found, key=lambda one: (-(one.pushed or 0.0), one.name))

    async def having(
        self, viewer: str, user: str, text: str, after: str, limit: int
    ) -> tuple[list[RepositoryFigures], str]:
        """Return some that have a text in their name and do not begin with it, by name.

        And after which name to go on, "" at the end: fewer than `limit`, as so many were looked at.
        """
        find, far = SEARCHED[viewer]
        plain = as_pattern(text)
        asked: dict[str, object] = {"user": user, "after": after, "scan": SCANNED_MAX}
        fitting = {"like": f"%{plain}%", "unlike": f"{plain}%", "limit": limit + 1}
        names = [row.name for row in await self._connections.rows(find, asked | fitting)]
        going_on = ""
        if len(names) > limit:
            names, going_on = names[:limit], names[limit - 1]
        else:
            row = await self._connections.row(far, asked | {"passed": SCANNED_MAX - 1})
            going_on = "" if row is None else row.name
        rows = await self._connections.rows(THESE, {"names": names}) if names else []
        return repositories_of(rows), going_on
