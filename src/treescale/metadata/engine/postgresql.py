"""PostgreSQL: each write on a connection of its own, tried again when the database undid it.

A server that hangs, or whose packets are lost, says nothing: `availability` notices, and then every
connection is dropped, so that no caller waits for the politeness of a goodbye.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Executable, NullPool, Row, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from treescale.clock import Clock
from treescale.errors import DatabaseTrouble, DatabaseUnavailable, Failed
from treescale.metadata.engine.address import Address
from treescale.metadata.engine.availability import Availability
from treescale.metadata.engine.connections import (
    NOTHING,
    QUEUE_SECONDS_MAX,
    Parameters,
    Result,
    Work,
)
from treescale.metadata.engine.errors import (
    READ_ONLY_TEXT,
    disconnected,
    is_retryable,
    silent,
    translate,
)

ATTEMPTS_MAX: Final = 5
CONNECT_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 6
"""Of each worker process; kept open, as opening one costs more than most requests."""
WRITERS_MAX: Final = 4
"""So that writes waiting for each other always leave reads some."""
CLOSE_SECONDS_MAX: Final = 5.0
"""Then connections are dropped without a goodbye."""
_READ_ONLY: Final = text("SELECT current_setting('transaction_read_only')")
_NOT_SYNCED: Final = text("SET LOCAL synchronous_commit = off")


class PostgresqlDriver:
    """Implements `connections.Driver`."""

    def __init__(self, address: Address, wait_seconds: float, clock: Clock) -> None:
        self._prober = create_async_engine(
            address.url,
            poolclass=NullPool,
            connect_args=_session(wait_seconds, QUEUE_SECONDS_MAX),
        )
        self._writer = postgresql_engine(address, wait_seconds, QUEUE_SECONDS_MAX)
        self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = asyncio.Semaphore(WRITERS_MAX)
        self._open: WeakSet[Any] = WeakSet()
        event.listen(self._writer.sync_engine, "connect", self._opened)
        self._availability = Availability(self._probe, self._cut, silent, clock)

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query. It is asked again, once, when the connection was stale."""
        return await self._availability.during(partial(self._fetch_fresh, statement, parameters))

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction, a few times if need be."""
        return await self._availability.during(partial(self._transact, work, durable=durable))

    async def _transact(self, work: Work[Result], *, durable: bool) -> Result:
        try:
            async with self._my_turn():
                for _ in range(ATTEMPTS_MAX - 1):
                    try:
                        return await self._attempt(work, durable=durable)
                    except _Undone:
                        self._availability.check()
                return await self._attempt(work, durable=durable)
        except _Undone as error:
            raise translate(error.reason) from error

    def answers_version(self) -> int | None:
        """Return None: there is no such number that costs less than asking."""
        return None

    async def examine(self, look: Executable) -> tuple[Row[Any] | None, Failed | None]:
        """Read, and ask whether the server takes writes: a standby does not."""
        rows = await self.fetch(look, NOTHING)
        (only,) = await self.fetch(_READ_ONLY, NOTHING)
        refused = DatabaseUnavailable(READ_ONLY_TEXT, DatabaseTrouble.READ_ONLY)
        return rows[0] if rows else None, refused if only[0] == "on" else None

    async def run(self) -> None:
        """Watch over the database until cancelled."""
        await self._availability.run()

    async def close(self) -> None:
        """Let go of all connections, within `CLOSE_SECONDS_MAX`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self._writer.dispose()
        self._cut()

    def _opened(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        self._open.add(connection.driver_connection)

    def _cut(self) -> None:
        for connection in tuple(self._open):
            connection.terminate()
        self._open.clear()

    async def _probe(self) -> None:
        """Raise DatabaseUnavailable unless a new connection is answered, be it with a refusal."""
        try:
            async with self._prober.connect():
                return
        except (DBAPIError, OSError) as error:
            if silent(error):
                raise DatabaseUnavailable(str(translate(error))) from error

    async def _fetch_fresh(
        self, statement: Executable, parameters: Parameters
    ) -> Sequence[Row[Any]]:
        try:
            return await self._fetch(statement, parameters)
        except DBAPIError as error:
            if not disconnected(error):
                raise
        self._availability.check()
        return await self._fetch(statement, parameters)

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
                if is_retryable(error) or disconnected(error):
                    raise _Undone(error) from error
                raise
            await connection.commit()
            return result

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(QUEUE_SECONDS_MAX):
                await self._turn.acquire()
        except TimeoutError:
            raise DatabaseUnavailable("too many writes are waiting for the database") from None
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
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=QUEUE_SECONDS_MAX,
        skip_autocommit_rollback=True,
        connect_args=_session(wait_seconds, statement_seconds),
    )


def _session(wait_seconds: float, statement_seconds: float) -> dict[str, object]:
    """Return what each connection is opened with."""
    return {
        "timeout": CONNECT_SECONDS_MAX,
        "server_settings": {
            "application_name": "treescale",
            "jit": "off",  # costs more than it saves on statements this short
            "synchronous_commit": "on",
            "default_transaction_isolation": "read committed",
            "lock_timeout": _milliseconds(wait_seconds),
            "statement_timeout": _milliseconds(statement_seconds),
            "idle_in_transaction_session_timeout": "60000",
        },
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
