"""A page of a repository's tags, in one of three orders, and what else is known of each.

A page reads as many entries of an index as it shows; with a filter at most `SCANNED_MAX`, and says
where it stopped. Every cursor is where the page before ended, so that nothing is told twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, func, select, tuple_

from treescale.errors import PageInvalid
from treescale.metadata.engine.connections import Connections
from treescale.metadata.repositories import id_of
from treescale.metadata.schema import manifests, tags
from treescale.metadata.shown.patterns import as_pattern
from treescale.metadata.usage.figures import TagFigures, tag_figures, tag_of

SCANNED_MAX: Final = 20_000
ALIASES_MAX: Final = 500
"""Of all images of a page together."""
_END: Final = "\x7f"
"""Above every name and key."""
_LAST_TIME: Final = 1e18


class TagOrder(StrEnum):
    """How tags are sorted."""

    VERSION = "version"
    """The newest version first (`oci.versions`)."""
    PUSHED = "pushed"
    """What was pushed last first."""
    NAME = "name"
    """By bytes."""


@dataclass(frozen=True, slots=True)
class TagPageFigures:
    """A page, and the cursor of the next one; "" at the end."""

    tags: Sequence[TagFigures]
    next: str


_SORTED_BY: Final[Mapping[TagOrder, ColumnElement[Any]]] = {
    TagOrder.VERSION: tags.c.version_key,
    TagOrder.PUSHED: tags.c.updated,
    TagOrder.NAME: tags.c.name,
}


def _scanned(order: TagOrder) -> Select[Any]:
    """Return the entries of an index that a page is chosen from."""
    by = _SORTED_BY[order]
    rows = select(tags.c.name, by.label("by")).where(tags.c.repository_id == id_of())
    if order is TagOrder.NAME:
        rows = rows.where(tags.c.name > bindparam("after")).order_by(tags.c.name)
    else:
        cursor = tuple_(bindparam("after_key", type_=by.type), bindparam("after"))
        rows = rows.where(tuple_(by, tags.c.name) < cursor)
        rows = rows.order_by(by.desc(), tags.c.name.desc())
    return rows.limit(bindparam("scan"))


def _page(order: TagOrder, *, filtered: bool) -> Select[Any]:
    scanned = _scanned(order).subquery("scanned")
    page = select(scanned.c.name, scanned.c.by)
    if filtered:
        page = page.where(func.lower(scanned.c.name).like(bindparam("like"), escape="\\"))
    found = _sorted(page, order, scanned).limit(bindparam("limit")).subquery("page")
    rows = tag_figures(found.join(tags, found.c.name == tags.c.name))
    rows = rows.add_columns(found.c.by).where(tags.c.repository_id == id_of())
    return _sorted(rows, order, found)


def _sorted(rows: Select[Any], order: TagOrder, source: Any) -> Select[Any]:
    if order is TagOrder.NAME:
        return rows.order_by(source.c.name)
    return rows.order_by(source.c.by.desc(), source.c.name.desc())


def _last_scanned(order: TagOrder) -> Select[Any]:
    rows = _scanned(order).subquery("scanned")
    ordered = _sorted(select(rows.c.name, rows.c.by), order, rows)
    return ordered.limit(1).offset(bindparam("passed"))


PAGES: Final = {
    (order, filtered): _page(order, filtered=filtered)
    for order in TagOrder
    for filtered in (False, True)
}
LAST_SCANNED: Final = {order: _last_scanned(order) for order in TagOrder}
ALIASES: Final = (
    select(tags.c.digest, tags.c.name)
    .where(
        tags.c.repository_id == id_of(),
        tags.c.digest.in_(bindparam("digests", expanding=True)),
    )
    .limit(bindparam("limit"))
)
NAMED: Final = (
    tag_figures()
    .where(
        tags.c.repository_id == id_of(),
        tags.c.name.in_(bindparam("names", expanding=True)),
    )
    .order_by(tags.c.name)
)
PUSHED: Final = select(manifests.c.pushed, manifests.c.pushed_by).where(
    manifests.c.repository_id == id_of(), manifests.c.digest == bindparam("digest")
)


class ShownTags:
    """Tags as pages show them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def page(
        self, repository: str, order: TagOrder, after: str, limit: int, wanted: str = ""
    ) -> TagPageFigures:
        """Return the tags after a cursor that have `wanted` in their name, whatever its case.

        Fewer than `limit` with a next page: so many were looked at. Raises PageInvalid.
        """
        asked: dict[str, object] = {"repository": repository, "limit": limit + 1}
        asked |= _cursor(order, after) | {"scan": SCANNED_MAX if wanted else limit + 1}
        if wanted:
            asked["like"] = f"%{as_pattern(wanted.lower())}%"
        rows = await self._connections.rows(PAGES[order, bool(wanted)], asked)
        shown = [tag_of(row) for row in rows[:limit]]
        if len(rows) > limit:
            last = rows[limit - 1]
            return TagPageFigures(shown, _next(order, last.by, last.name))
        if wanted:
            passed = asked | {"passed": SCANNED_MAX - 1}
            row = await self._connections.row(LAST_SCANNED[order], passed)
            if row is not None:
                return TagPageFigures(shown, _next(order, row.by, row.name))
        return TagPageFigures(shown, "")

    async def aliases(
        self, repository: str, digests: Sequence[str], limit: int = ALIASES_MAX
    ) -> dict[str, list[str]]:
        """Return the tags that point at these, by digest; not all when they are very many."""
        found: dict[str, list[str]] = {}
        asked = {"repository": repository, "digests": sorted(set(digests)), "limit": limit}
        for row in await self._connections.rows(ALIASES, asked) if digests else ():
            found.setdefault(row.digest, []).append(row.name)
        return {digest: sorted(names) for digest, names in found.items()}

    async def named(self, repository: str, names: Sequence[str]) -> dict[str, TagFigures]:
        """Return by name those that there are of these."""
        if not names:
            return {}
        asked = {"repository": repository, "names": sorted(set(names))}
        rows = await self._connections.rows(NAMED, asked)
        return {row.name: tag_of(row) for row in rows}

    async def pushed(self, repository: str, digest: str) -> tuple[float, str | None] | None:
        """Return when, and by whom, a manifest was pushed last."""
        asked = {"repository": repository, "digest": digest}
        row = await self._connections.row(PUSHED, asked)
        return None if row is None else (row.pushed, row.pushed_by)


def _cursor(order: TagOrder, after: str) -> dict[str, object]:
    if order is TagOrder.NAME:
        return {"after": after}
    key, _, name = after.rpartition(" ")
    if order is TagOrder.VERSION:
        return {"after_key": key, "after": name} if after else {"after_key": _END, "after": _END}
    try:
        return {"after_key": float(key) if after else _LAST_TIME, "after": name or _END}
    except ValueError:
        raise PageInvalid("after must be the next of an earlier page") from None


def _next(order: TagOrder, by: object, name: str) -> str:
    if order is TagOrder.NAME:
        return name
    return f"{by!r} {name}" if order is TagOrder.PUSHED else f"{by} {name}"
