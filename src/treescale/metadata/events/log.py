"""The log: committed events, numbered in one order that never changes.

An event is recorded in the transaction that makes it happen, and gets its sequence after that has
committed, in a transaction of its own: the counter's row is locked, then what is committed and has
no number is looked for in a second statement, then both are written. So whoever has read up to a
number never misses a lower one, whichever of two transactions began first, and of two publishers
one waits for the other. On SQLite, whose writers are alone, a trigger numbers a row as it is
inserted; `number` finds there what a restore has left.

Numbers grow; there may be holes between them, which are never filled.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Double, Row, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.events.recording import REQUEST_ID
from treescale.metadata.schema import counters, events

COUNTER: Final = "events"
"""Of the sequence, in `counters`."""
READ_AT_ONCE_MAX: Final = 1000
_NO_LIMIT: Final = 2**63 - 1
NUMBERED_AT_ONCE_MAX: Final = 1000
REMOVED_AT_ONCE_MAX: Final = 500

AFTER: Final = (
    select(events)
    .where(events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(bindparam("limit"))
)
OF_ID: Final = select(events).where(events.c.event_id == bindparam("this"))
_COUNTED: Final = select(counters.c.value).where(counters.c.name == COUNTER).scalar_subquery()
LAST: Final = select(
    func.coalesce(select(func.max(events.c.sequence)).scalar_subquery(), _COUNTED, 0)
)
FIRST: Final = select(
    func.coalesce(select(func.min(events.c.sequence)).scalar_subquery(), _COUNTED + 1, 1)
)
_OLDEST: Final = (events.c.sequence, events.c.at, events.c.event_id)
_WAITING: Final = select(events.c.event_id, events.c.at).where(events.c.sequence.is_(None))
WAITING: Final = _WAITING.limit(1)
PREFIX: Final = (
    select(events.c.sequence)
    .where(events.c.sequence > 0, events.c.sequence <= bindparam("up_to"))
    .order_by(events.c.sequence)
    .limit(bindparam("limit"))
)
_TIMED: Final = PREFIX.add_columns(
    (events.c.at < DatabaseNow() - bindparam("seconds", type_=Double())).label("is_old")
)
REMOVE: Final = delete(events).where(events.c.sequence > 0, events.c.sequence <= bindparam("up_to"))
_HOLD: Final = (
    insert(counters)
    .values(name=COUNTER, value=0)
    .on_conflict_do_update(index_elements=["name"], set_={"value": counters.c.value})
    .returning(counters.c.value)
)
_page = _WAITING.order_by(*_OLDEST).limit(bindparam("limit")).subquery("page")
_counted = select(
    _page.c.event_id,
    func.row_number().over(order_by=[_page.c.at, _page.c.event_id]).label("number"),
).subquery("counted")
NUMBER: Final = (
    update(events)
    .where(events.c.event_id == _counted.c.event_id, events.c.sequence.is_(None))
    .values(sequence=bindparam("drawn", type_=counters.c.value.type) + _counted.c.number)
)
# The same on PostgreSQL, as a function of the database (migration 0015).
_NUMBER_WAITING: Final = select(func.events_number(bindparam("limit", type_=BigInteger())))
_ADVANCE: Final = (
    update(counters)
    .where(counters.c.name == COUNTER)
    .values(value=counters.c.value + bindparam("numbered"))
)


class EventLog:
    """The events of a cluster, in their order."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def after(self, sequence: int, limit: int) -> list[Recorded]:
        """Return the events that follow a number, in order; 0 is before the first.

        At most `limit`, and `READ_AT_ONCE_MAX`. Whoever goes on after the last of them misses none.
        """
        page = {"after": sequence, "limit": min(limit, READ_AT_ONCE_MAX)}
        return _events(await self._connections.rows(AFTER, page))

    async def of_id(self, event_id: str) -> Recorded | None:
        """Return one event; None when there is none, or it was pruned, or has no number yet."""
        row = await self._connections.row(OF_ID, {"this": event_id})
        return None if row is None or row.sequence is None else event_of(row)

    async def last(self) -> int:
        """Return the number of the newest event; 0 before the first."""
        row = await self._connections.row(LAST)
        return 0 if row is None else int(row[0])

    async def first(self) -> int:
        """Return the number of the oldest event that is kept; without any, a number past the last.

        Whoever has read up to a number below the one before it may have missed some.
        """
        row = await self._connections.row(FIRST)
        return 1 if row is None else int(row[0])

    async def has_waiting(self) -> bool:
        """Say whether a committed event has no number yet. Locks nothing."""
        return await self._connections.row(WAITING) is not None

    async def number(self, limit: int = NUMBERED_AT_ONCE_MAX) -> int:
        """Give committed events that have none their numbers, the oldest first; return how many.

        Durable: what somebody has read under a number keeps it. Any process may call it at any
        time; of several at once each gives other events other numbers.
        """

        def work(connection: Connection) -> int:
            if connection.dialect.name == "postgresql":
                return int(connection.execute(_NUMBER_WAITING, {"limit": limit}).scalar_one())
            drawn = connection.execute(_HOLD).scalar_one()
            numbered = connection.execute(NUMBER, {"drawn": drawn, "limit": limit}).rowcount
            if numbered:
                connection.execute(_ADVANCE, {"numbered": numbered})
            return numbered

        return await self._connections.write(work)

    async def remove_older(self, seconds: float, limit: int = REMOVED_AT_ONCE_MAX) -> int:
        """Remove up to `limit` events from the beginning that are older; return how many.

        What is left has no gap but at its beginning.
        """

        def work(connection: Connection) -> int:
            last = {"up_to": _NO_LIMIT, "limit": limit, "seconds": seconds}
            rows = connection.execute(_TIMED, last).all()
            old = [row.sequence for row in takewhile(lambda row: row.is_old, rows)]
            return changed(connection, REMOVE, {"up_to": old[-1]}) if old else 0

        return await self._connections.write(work, durable=False)

    async def remove_all_but(self, count: int, limit: int = REMOVED_AT_ONCE_MAX) -> int:
        """Remove up to `limit` events from the beginning, so that `count` numbers stay."""
        last = await self.last()

        def work(connection: Connection) -> int:
            rows = connection.execute(PREFIX, {"up_to": last - count, "limit": limit}).all()
            return changed(connection, REMOVE, {"up_to": rows[-1].sequence}) if rows else 0

        return await self._connections.write(work, durable=False)


def _events(rows: Sequence[Row[Any]]) -> list[Recorded]:
    return [event_of(row) for row in rows]


def event_of(row: Row[Any]) -> Recorded:
    """Return the event that is in a row."""
    payload: dict[str, Any] = msgspec.json.decode(row.payload)
    request_id = payload.pop(REQUEST_ID, None)
    return Recorded(
        sequence=row.sequence,
        event_id=row.event_id,
        kind=row.kind,
        at=row.at,
        actor=row.actor,
        namespace=row.namespace,
        repository=row.repository,
        reference=row.reference,
        digest=row.digest,
        previous_digest=row.previous_digest,
        payload=payload,
        request_id=request_id,
    )
