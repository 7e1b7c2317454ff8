"""The audit log: the events of kinds that are audited, by time, of a namespace or of all.

They are the rows of the log of events; what has left that is here until its own time is over. Rows
are found by time, which is not the order of their numbers: of two changes at once the one with the
earlier time may commit last, so who has read up to now may find one more a moment before.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import BindParameter, Double, Select, Text, bindparam, or_, select

from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.log import IS_UNAUDITED, event_of
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.schema import events

LOOKED_AT_ONCE_MAX: Final = 2000
EVER: Final = 1e15
"""In seconds since 1970: later than anything."""


class Moment(NamedTuple):
    """Where in the audit log somebody is: the time of an event, and its id."""

    at: float
    event_id: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """What is looked at: from a time on, and before another one."""

    namespace: str | None = None
    """None: of all, and of none."""
    since: float = 0.0
    until: float = EVER
    newest_first: bool = False

    @property
    def begin(self) -> Moment:
        """Return where reading begins."""
        return Moment(self.until if self.newest_first else self.since)


_AFTER: Final[BindParameter[float]] = bindparam("at", type_=Double())
_AFTER_ID: Final = bindparam("after_id", type_=Text())
_END: Final[BindParameter[float]] = bindparam("end", type_=Double())


def _page(*, of_namespace: bool, newest_first: bool) -> Select[tuple[object, ...]]:
    at, event_id = events.c.at, events.c.event_id
    found = select(events).where(~IS_UNAUDITED)
    if of_namespace:
        found = found.where(events.c.namespace == bindparam("of_namespace", type_=Text()))
    if newest_first:
        found = found.where(at <= _AFTER, or_(at < _AFTER, event_id < _AFTER_ID), at >= _END)
        return found.order_by(at.desc(), event_id.desc()).limit(bindparam("limit"))
    found = found.where(at >= _AFTER, or_(at > _AFTER, event_id > _AFTER_ID), at < _END)
    return found.order_by(at, event_id).limit(bindparam("limit"))


ALL_OLDEST: Final = _page(of_namespace=False, newest_first=False)
ALL_NEWEST: Final = _page(of_namespace=False, newest_first=True)
OLDEST_OF: Final = _page(of_namespace=True, newest_first=False)
NEWEST_OF: Final = _page(of_namespace=True, newest_first=True)
_PAGES: Final = {
    (False, False): ALL_OLDEST,
    (False, True): ALL_NEWEST,
    (True, False): OLDEST_OF,
    (True, True): NEWEST_OF,
}


class AuditLog:
    """Who did what."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def after(self, span: Span, moment: Moment, limit: int) -> list[Recorded]:
        """Return what follows in the order of the span; `LOOKED_AT_ONCE_MAX` at most."""
        given: dict[str, object] = {
            "at": moment.at,
            "after_id": moment.event_id,
            "end": span.since if span.newest_first else span.until,
            "limit": min(limit, LOOKED_AT_ONCE_MAX),
        }
        of_namespace = span.namespace is not None
        if of_namespace:
            given["of_namespace"] = span.namespace
        rows = await self._connections.rows(_PAGES[of_namespace, span.newest_first], given)
        return [event_of(row) for row in rows]
