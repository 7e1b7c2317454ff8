"""What each namespace kept and what was pulled of it, by month (UTC): 13 of them, and the present.

What is kept is looked at once an hour: the sizes of now count for the time since the look before.
So a month's `byte_seconds` over its seconds is what was kept on average. What was pulled comes with
what workers write once a minute (`pull_counts`). A look that breaks off goes on where it was: rows
say up to when they are added up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Double,
    Executable,
    Row,
    Text,
    bindparam,
    case,
    delete,
    select,
    tuple_,
)
from sqlalchemy.engine import Connection

from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.engine.upserts import Insert, NewRow, Upsert, insert_or_update
from treescale.metadata.layouts import noted_number
from treescale.metadata.schema import namespace_months, namespaces, settings

SAMPLED_SETTING: Final = "usage_sampled"
SAMPLE_SECONDS: Final = 3600.0
MONTHS_KEPT: Final = 13
"""Beside the present one."""
NAMESPACES_AT_ONCE: Final = 500
GONE_AT_ONCE: Final = 1000
_MONTHS_OF_A_YEAR: Final = 12

_months = namespace_months
_NOW: Final = select(DatabaseNow().label("now"))
_SAMPLED: Final = ahead(select(settings.c.value).where(settings.c.name == SAMPLED_SETTING))
_PUT_SETTING: Final = insert_or_update(settings, ["value"])
_NEXT: Final = (
    select(namespaces.c.namespace_id)
    .where(namespaces.c.namespace_id > bindparam("after"), namespaces.c.bytes > 0)
    .order_by(namespaces.c.namespace_id)
    .limit(NAMESPACES_AT_ONCE)
)


def _add() -> Upsert:
    names = ["month", "namespace_id", "byte_seconds", "bytes_max", "sampled"]
    rows = select(
        bindparam("month", type_=Text()),
        namespaces.c.namespace_id,
        namespaces.c.bytes * bindparam("seconds", type_=Double()),
        namespaces.c.bytes,
        bindparam("until", type_=Double()),
    ).where(
        namespaces.c.namespace_id > bindparam("after"),
        namespaces.c.namespace_id <= bindparam("last"),
        namespaces.c.bytes > 0,
    )

    def added(new: NewRow) -> dict[str, Any]:
        more = case((_months.c.bytes_max > new.bytes_max, _months.c.bytes_max), else_=new.bytes_max)
        return {
            "byte_seconds": _months.c.byte_seconds + new.byte_seconds,
            "bytes_max": more,
            "sampled": new.sampled,
        }

    keys = ["month", "namespace_id"]
    due = _months.c.sampled <= bindparam("since", type_=Double())

    def make(insert: Insert) -> Executable:
        new = insert(_months).from_select(names, rows)
        return new.on_conflict_do_update(index_elements=keys, set_=added(new.excluded), where=due)

    return Upsert(make)


_ADD: Final = _add()
_OLD: Final = (
    select(_months.c.month, _months.c.namespace_id)
    .where(_months.c.month < bindparam("oldest"))
    .limit(GONE_AT_ONCE)
)
_DROP: Final = ahead(
    delete(_months).where(tuple_(_months.c.month, _months.c.namespace_id).in_(_OLD)), "oldest"
)
_FIGURES: Final = select(_months, namespaces.c.name).join(
    namespaces, namespaces.c.namespace_id == _months.c.namespace_id
)
_OF_MONTH: Final = (
    _FIGURES.where(_months.c.month == bindparam("month"), namespaces.c.name > bindparam("after"))
    .order_by(namespaces.c.name)
    .limit(bindparam("limit"))
)
_OF_NAMESPACE: Final = _FIGURES.where(
    namespaces.c.name == bindparam("namespace"),
    _months.c.month.in_(bindparam("months", expanding=True)),
).order_by(_months.c.month)


@dataclass(frozen=True, slots=True)
class Month:
    """What a namespace kept in a month, and what was pulled of it."""

    month: str
    """As `2026-11`."""
    namespace: str
    kept: int
    """Bytes of its blobs, each once, on average over the part of the month that is over."""
    kept_max: int
    byte_hours: int
    pulled: int
    """Bytes of blobs that were sent."""
    pulls: int
    """Manifests that were sent."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a month, in seconds since 1970."""

    month: str
    since: float
    until: float


class Months:
    """What is kept by month."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def sample(self) -> bool:
        """Add up what is kept since the last look, if that is an hour ago; say whether it was."""
        text = f"{await self._now():.3f}"
        now = float(text)  # rows and the setting have the same number
        row = await self._connections.row(_SAMPLED)
        last = None if row is None else noted_number(SAMPLED_SETTING, row.value)
        if last is not None and 0 <= now - last < SAMPLE_SECONDS:
            return False
        if last is not None and last < now:
            for span in spans(last, now):
                await self._add(span)
        await self._connections.write(lambda connection: _note(connection, text), durable=False)
        oldest = earlier(month_of(now), MONTHS_KEPT)
        while await self._connections.change(_DROP, {"oldest": oldest}, durable=False):
            pass
        return True

    async def of_namespace(self, namespace: str) -> list[Month]:
        """Return its months, the oldest first; those without anything are left out."""
        now = await self._now()
        months = [earlier(month_of(now), each) for each in range(MONTHS_KEPT + 1)]
        this = {"namespace": namespace, "months": months}
        return [_month(row, now) for row in await self._connections.rows(_OF_NAMESPACE, this)]

    async def of_month(self, month: str, after: str, limit: int) -> list[Month]:
        """Return a page of the namespaces that kept anything then, or were pulled from, by name."""
        now, page = await self._now(), {"month": month, "after": after, "limit": limit}
        return [_month(row, now) for row in await self._connections.rows(_OF_MONTH, page)]

    async def present(self) -> str:
        """Return the month that it is."""
        return month_of(await self._now())

    async def _now(self) -> float:
        row = await self._connections.row(_NOW)
        assert row is not None
        return float(row.now)

    async def _add(self, span: Span) -> None:
        after = 0
        while rows := await self._connections.rows(_NEXT, {"after": after}):
            page = {
                "month": span.month,
                "seconds": span.until - span.since,
                "since": span.since,
                "until": span.until,
                "after": after,
                "last": rows[-1].namespace_id,
            }
            await self._connections.write(_adding(page), durable=False)
            after = rows[-1].namespace_id


def month_of(seconds: float) -> str:
    """Return the month of a time in seconds since 1970 (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m")


def earlier(month: str, count: int) -> str:
    """Return the month so many before."""
    year, number = (int(part) for part in month.split("-"))
    total = year * _MONTHS_OF_A_YEAR + number - 1 - count
    return f"{total // _MONTHS_OF_A_YEAR:04d}-{total % _MONTHS_OF_A_YEAR + 1:02d}"


def begin_of(month: str) -> float:
    """Return when a month begins, in seconds since 1970."""
    year, number = (int(part) for part in month.split("-"))
    return datetime(year, number, 1, tzinfo=UTC).timestamp()


def spans(since: float, until: float) -> Iterator[Span]:
    """Yield the parts of the months between two times."""
    while since < until:
        month = month_of(since)
        end = min(until, begin_of(earlier(month, -1)))
        yield Span(month, since, end)
        since = end


def _adding(page: dict[str, object]) -> Any:
    def work(connection: Connection) -> None:
        connection.execute(_ADD.on(connection), page)

    return work


def _note(connection: Connection, text: str) -> None:
    row = {"name": SAMPLED_SETTING, "value": text}
    connection.execute(_PUT_SETTING.on(connection), row)


def _month(row: Row[Any], now: float) -> Month:
    begin = begin_of(row.month)
    seconds = max(1.0, min(now, begin_of(earlier(row.month, -1))) - begin)
    return Month(
        month=row.month,
        namespace=row.name,
        kept=round(row.byte_seconds / seconds),
        kept_max=int(row.bytes_max),
        byte_hours=round(row.byte_seconds / 3600),
        pulled=int(row.pulled_bytes),
        pulls=int(row.pulls),
    )
