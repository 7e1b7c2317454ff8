"""Copies owed, in SQL: which homes have yet to get their copy of a chunk."""

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.engine import Connection

from treescale.metadata.records import Debt, OwedCopies
from treescale.metadata.schema import owed
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import insert_or_ignore

debt_rows_max: Final = 2000
"""Rows per statement: keeps the memory for parameters bounded."""

LIST: Final = (
    select(owed.c.chunk)
    .where(owed.c.store_id == bindparam("store"), owed.c.chunk > bindparam("after"))
    .order_by(owed.c.chunk)
    .limit(bindparam("limit"))
)
_SUMMARY: Final = (
    select(owed.c.store_id, func.count().label("copies"), func.min(owed.c.since).label("since"))
    .group_by(owed.c.store_id)
    .order_by(owed.c.store_id)
)
_ADD: Final = insert_or_ignore(owed)
SETTLE: Final = delete(owed).where(
    owed.c.chunk == bindparam("this"), owed.c.store_id == bindparam("store")
)
FORGET: Final = delete(owed).where(
    owed.c.store_id == bindparam("store"),
    owed.c.chunk.in_(
        select(owed.c.chunk)
        .where(owed.c.store_id == bindparam("store"))
        .order_by(owed.c.chunk)
        .limit(bindparam("limit"))
    ),
)


class SqlOwed:
    """Implements `protocols.Owed`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, debts: Iterable[Debt], *, now: float) -> None:
        """Note the debts; those that are known keep their time."""
        noted = tuple(debts)

        def work(connection: Connection) -> None:
            write_debts(connection, noted, now=now)

        await self._connections.write(work)

    async def summary(self) -> list[OwedCopies]:
        """Return for each store that is owed anything how much, by id."""
        rows = await self._connections.rows(_SUMMARY)
        return [OwedCopies(row.store_id, row.copies, row.since) for row in rows]

    async def list(self, store_id: str, after: bytes, limit: int) -> list[bytes]:
        """Return a page of the chunks owed to the store, by id."""
        page = {"store": store_id, "after": after, "limit": limit}
        return [bytes(row.chunk) for row in await self._connections.rows(LIST, page)]

    async def settle(self, debts: Iterable[Debt]) -> None:
        """Strike the debts off; unknown ones do not matter."""
        settled = tuple(debts)

        def work(connection: Connection) -> None:
            for page in _pages(settled):
                rows = [{"this": chunk, "store": store} for chunk, store in page]
                connection.execute(SETTLE, rows)

        await self._connections.write(work)

    async def forget(self, store_id: str, limit: int) -> int:
        """Strike off up to `limit` of what is owed to the store; return how many."""
        return await self._connections.change(FORGET, {"store": store_id, "limit": limit})


def write_debts(connection: Connection, debts: Iterable[Debt], *, now: float) -> None:
    """Note the debts inside a transaction: the last thing that it locks, in one order everywhere.

    So no two writes wait for each other.
    """
    for page in _pages(debts):
        rows = [{"chunk": chunk, "store_id": store, "since": now} for chunk, store in page]
        connection.execute(_ADD.on(connection), rows)


def _pages(debts: Iterable[Debt]) -> Iterator[list[Debt]]:
    ordered = sorted(set(debts))
    for start in range(0, len(ordered), debt_rows_max):
        yield ordered[start : start + debt_rows_max]
