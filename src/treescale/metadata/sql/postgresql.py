"""PostgreSQL: each write on a connection of its own, tried again when the database undid it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import Executable, Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from treescale.errors import DatabaseAway
from treescale.metadata.sql.address import Address
from treescale.metadata.sql.connections import Parameters, Result, Work, queue_seconds_max
from treescale.metadata.sql.faults import disconnected, meaning, undone

attempts_max: Final = 5
connect_seconds_max: Final = 5.0
connections_max: Final = 6
"""Of each worker process; kept open, as opening one costs more than most requests."""
writers_max: Final = 4
"""So that writes waiting for each other always leave reads some."""
_NOT_SYNCED: Final = text("SET LOCAL synchronous_commit = off")


class PostgresqlDriver:
    """Implements `connections.Driver`."""

    def __init__(self, address: Address, wait_seconds: float) -> None:
        self._writer = postgresql_engine(address, wait_seconds, queue_seconds_max)
        self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = asyncio.Semaphore(writers_max)

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query. It is asked again, once, when the connection was stale."""
        try:
            return await self._fetch(statement, parameters)
        except DBAPIError as error:
            if not disconnected(error):
                raise
        return await self._fetch(statement, parameters)

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction, a few times if need be."""
        try:
            async with self._my_turn():
                for _ in range(attempts_max - 1):
                    try:
                        return await self._attempt(work, durable=durable)
                    except _Undone:
                        continue
                return await self._attempt(work, durable=durable)
        except _Undone as error:
            raise meaning(error.reason) from error

    def changes(self) -> int | None:
        """Return None: there is no such number that costs less than asking."""
        return None

    async def close(self) -> None:
        """Let go of all connections."""
        await self._writer.dispose()

    async def _fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        async with self._reader.connect() as connection:
            return (await connection.execute(statement, parameters)).all()

    async def _attempt(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` once. Raises _Undone when nothing of it was kept and it may run again.

        A connection lost during the commit leaves open whether it took place: that is not undone.
        """
        async with self._writer.connect() as connection:
            try:
                await connection.begin()
                if not durable:
                    await connection.execute(_NOT_SYNCED)
                result = await connection.run_sync(work)
            except DBAPIError as error:
                if undone(error) or disconnected(error):
                    raise _Undone(error) from error
                raise
            await connection.commit()
            return result

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(queue_seconds_max):
                await self._turn.acquire()
        except TimeoutError:
            raise DatabaseAway("too many writes are waiting for the database") from None
        try:
            yield
        finally:
            self._turn.release()


class _Undone(Exception):
    """Nothing of the transaction was kept."""

    def __init__(self, reason: DBAPIError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def postgresql_engine(
    address: Address, wait_seconds: float, statement_seconds: float
) -> AsyncEngine:
    """Return an engine with bounded connections, waits and statements."""
    return create_async_engine(
        address.url,
        pool_size=connections_max,
        max_overflow=0,
        pool_timeout=queue_seconds_max,
        skip_autocommit_rollback=True,
        connect_args={
            "timeout": connect_seconds_max,
            "server_settings": {
                "application_name": "treescale",
                "jit": "off",  # costs more than it saves on statements this short
                "synchronous_commit": "on",
                "default_transaction_isolation": "read committed",
                "lock_timeout": _milliseconds(wait_seconds),
                "statement_timeout": _milliseconds(statement_seconds),
                "idle_in_transaction_session_timeout": "60000",
            },
        },
    )


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
