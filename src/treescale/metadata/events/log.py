"""The log: committed events, numbered in one order that never changes.

An event is recorded in the transaction that makes it happen, and gets its sequence after that has
committed, in a transaction of its own: the counter's row is locked, then what is committed and has
no number is looked for in a second statement, then both are written. So whoever has read up to a
number never misses a lower one, whichever of two transactions began first, and of two publishers
one waits for the other. On SQLite, whose writers are alone, a trigger numbers a row as it is
inserted; `number` finds there what a restore has left.

Numbers grow; there may be holes between them, which are never filled. A database that goes back, as
one does that is replaced by a standby that lagged, gives numbers a second time: so whoever goes on
reading says which event had the number (`following`).

What is pruned leaves the log: all up to the *floor*, a number of its own in `counters`. What of it
is for the audit log alone (`recording.AUDITED`) stays as a row until its own time is over.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import BigInteger, Double, Row, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from treescale.metadata.engine.ahead import ahead
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections, changed
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.events.positions import POSITION
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.events.recording import REQUEST_ID, UNAUDITED
from treescale.metadata.schema import counters, events

COUNTER: Final = "events"
"""Of the sequence, in `counters`."""
FLOOR: Final = POSITION + "pruned"
"""Likewise, up to which number all has left the log."""
READ_AT_ONCE_MAX: Final = 1000
_NO_LIMIT: Final = 2**63 - 1
NUMBERED_AT_ONCE_MAX: Final = 1000
REMOVED_AT_ONCE_MAX: Final = 500

PRUNED: Final = func.coalesce(
    select(counters.c.value).where(counters.c.name == FLOOR).scalar_subquery(), 0
)
AFTER: Final = ahead(
    select(events)
    .where(events.c.sequence > bindparam("after"), events.c.sequence > PRUNED)
    .order_by(events.c.sequence)
    .limit(bindparam("limit")),
    "after limit",
)
OF_ID: Final = select(events).where(
    events.c.event_id == bindparam("this"), events.c.sequence > PRUNED
)
_COUNTED: Final = select(counters.c.value).where(counters.c.name == COUNTER).scalar_subquery()
LAST: Final = ahead(
    select(
        func.coalesce(
            select(func.max(events.c.sequence)).where(events.c.sequence > PRUNED).scalar_subquery(),
            _COUNTED,
            0,
        )
    )
)
FIRST: Final = select(
    func.coalesce(
        select(func.min(events.c.sequence)).where(events.c.sequence > PRUNED).scalar_subquery(),
        _COUNTED + 1,
        1,
    )
)
IS_UNAUDITED: Final = or_(*(events.c.kind == kind.value for kind in sorted(UNAUDITED)))
_OLDEST: Final = (events.c.sequence, events.c.at, events.c.event_id)
_WAITING: Final = select(events.c.event_id, events.c.at).where(events.c.sequence.is_(None))
WAITING: Final = ahead(_WAITING.limit(1))
PREFIX: Final = (
    select(events.c.sequence)
    .where(events.c.sequence > PRUNED, events.c.sequence <= bindparam("up_to"))
    .order_by(events.c.sequence)
    .limit(bindparam("limit"))
)
_IS_OLD: Final = (events.c.at < DatabaseNow() - bindparam("seconds", type_=Double())).label(
    "is_old"
)
_TIMED: Final = PREFIX.add_columns(_IS_OLD)
REMOVE: Final = delete(events).where(
    events.c.sequence > PRUNED,
    events.c.sequence <= bindparam("up_to"),
    IS_UNAUDITED,
)
_RAISE: Final = insert_or_update(counters, ["value"], later="value")
AUDITED: Final = (
    select(events.c.sequence, _IS_OLD)
    .where(events.c.sequence > 0, events.c.sequence <= PRUNED)
    .order_by(events.c.sequence)
    .limit(bindparam("limit"))
)
FORGET: Final = delete(events).where(events.c.sequence > 0, events.c.sequence <= bindparam("up_to"))
_HOLD: Final = ahead(
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
NUMBER: Final = ahead(
    update(events)
    .where(events.c.event_id == _counted.c.event_id, events.c.sequence.is_(None))
    .values(sequence=bindparam("drawn", type_=counters.c.value.type) + _counted.c.number),
    "drawn limit",
)
# The same on PostgreSQL, as a function of the database (migration 0015).
_NUMBER_WAITING: Final = select(func.events_number(bindparam("limit", type_=BigInteger())))
_ADVANCE: Final = (
    update(counters)
    .where(counters.c.name == COUNTER)
    .values(value=counters.c.value + bindparam("numbered"))
)


class Log(Protocol):
    """What `EventLog` does, as far as whoever reads on needs it."""

    async def first(self) -> int:
        """Return the number of the oldest event that is kept."""
        ...

    async def after(self, sequence: int, limit: int) -> Sequence[Recorded]:
        """Return the events after this one, in order."""
        ...


async def following(log: Log, place: Place, limit: int) -> Sequence[Recorded] | None:
    """Return up to `limit` events that follow a place; None when the log has gone back behind it.

    Then its number is another event's, or nobody's yet, and what follows it is not all that its
    reader has not seen. Of a place without a mark, or that was pruned, nobody can tell.
    """
    if not place.mark:
        return await log.after(place.sequence, limit) if limit else []
    read = await log.after(place.sequence - 1, limit + 1)
    if read and read[0].sequence == place.sequence:
        return read[1:] if read[0].mark == place.mark else None
    return read[:limit] if place.sequence < await log.first() else None


class EventLog:
    """The events of a cluster, in their order."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def after(self, sequence: int, limit: int) -> list[Recorded]:
        """Return the events that follow a number, in order; 0 is before the first.

        At most `limit`, and one more than `READ_AT_ONCE_MAX`. Whoever goes on after the last of
        them misses none.
        """
        page = {"after": sequence, "limit": min(limit, READ_AT_ONCE_MAX + 1)}
        return [event_of(row) for row in await self._connections.rows(AFTER, page)]

    async def of_id(self, event_id: str) -> Recorded | None:
        """Return one event; None when there is none, or it was pruned, or has no number yet."""
        row = await self._connections.row(OF_ID, {"this": event_id})
        return None if row is None else event_of(row)

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
        """Have up to `limit` events leave the log at its beginning that are older; return how many.

        What is left has no gap but at its beginning.
        """

        def work(connection: Connection) -> int:
            last = {"up_to": _NO_LIMIT, "limit": limit, "seconds": seconds}
            rows = connection.execute(_TIMED, last).all()
            return _leave(
                connection, [row.sequence for row in takewhile(lambda row: row.is_old, rows)]
            )

        return await self._connections.write(work, durable=False)

    async def remove_all_but(self, count: int, limit: int = REMOVED_AT_ONCE_MAX) -> int:
        """Have up to `limit` events leave at the beginning, so that `count` numbers stay."""
        last = await self.last()

        def work(connection: Connection) -> int:
            rows = connection.execute(PREFIX, {"up_to": last - count, "limit": limit}).all()
            return _leave(connection, [row.sequence for row in rows])

        return await self._connections.write(work, durable=False)

    async def forget(self, seconds: float, limit: int = REMOVED_AT_ONCE_MAX) -> int:
        """Forget up to `limit` events that have left the log and are older; return how many.

        These are those of the audit log: nothing else removes them.
        """

        def work(connection: Connection) -> int:
            rows = connection.execute(AUDITED, {"limit": limit, "seconds": seconds}).all()
            old = [row.sequence for row in takewhile(lambda row: row.is_old, rows)]
            return changed(connection, FORGET, {"up_to": old[-1]}) if old else 0

        return await self._connections.write(work, durable=False)


def _leave(connection: Connection, sequences: Sequence[int]) -> int:
    """Have the first events of the log leave it; those that are audited stay as rows."""
    if not sequences:
        return 0
    connection.execute(REMOVE, {"up_to": sequences[-1]})
    connection.execute(_RAISE.on(connection), {"name": FLOOR, "value": sequences[-1]})
    return len(sequences)


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
        address=row.address,
    )
