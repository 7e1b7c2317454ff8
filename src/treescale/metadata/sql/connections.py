"""Runs statements: the only place that takes connections, retries, and maps drivers' errors.

Reads are single statements, each its own snapshot. A write is a function of a connection that is
run in one transaction, again from its start when the database undid it, so it must keep nothing
outside of it. SQLite has one writing connection per process, and writers queue for it in order;
between processes `BEGIN IMMEDIATE` waits at the start, never in the middle of a transaction.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import aiosqlite
from sqlalchemy import Executable, Row, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from treescale.errors import DatabaseAway
from treescale.metadata.sql.address import Address
from treescale.metadata.sql.faults import disconnected, meaning, undone

attempts_max: Final = 5
queue_seconds_max: Final = 30.0
connect_seconds_max: Final = 5.0
wait_seconds_max: Final = 10.0
sqlite_readers: Final = 4
postgresql_connections: Final = 6
"""Of each worker process; kept open, as opening one costs more than most requests."""
postgresql_writers: Final = 4
"""So that writes waiting for each other always leave reads some."""

Result = TypeVar("Result")
Work = Callable[[AsyncConnection], Awaitable[Result]]
Parameters = Mapping[str, object]
NOTHING: Final[Parameters] = {}


class Connections:
    """The connections to one database."""

    def __init__(
        self, reader: AsyncEngine, writer: AsyncEngine, turn: asyncio.Semaphore | asyncio.Lock
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = turn

    async def rows(
        self, statement: Executable, parameters: Parameters = NOTHING
    ) -> Sequence[Row[Any]]:
        """Return all rows of a query. It is asked again, once, when the connection was stale."""
        try:
            try:
                return await self._fetch(statement, parameters)
            except DBAPIError as error:
                if not disconnected(error):
                    raise
            return await self._fetch(statement, parameters)
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise meaning(error) from error

    async def row(self, statement: Executable, parameters: Parameters = NOTHING) -> Row[Any] | None:
        """Return the first row of a query, None without one."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def change(self, statement: Executable, parameters: Parameters = NOTHING) -> int:
        """Run one statement that writes, durably; return how many rows it changed."""

        async def work(connection: AsyncConnection) -> int:
            return await changed(connection, statement, parameters)

        return await self.write(work)

    async def write(self, work: Work[Result]) -> Result:
        """Run `work` in one transaction; what it did is durable when this returns."""
        try:
            async with self._my_turn():
                for _ in range(attempts_max - 1):
                    try:
                        return await self._attempt(work)
                    except _Undone:
                        continue
                return await self._attempt(work)
        except _Undone as error:
            raise meaning(error.reason) from error
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise meaning(error) from error

    async def close(self) -> None:
        """Let go of all connections."""
        await self._writer.dispose()
        if self._reader.pool is not self._writer.pool:
            await self._reader.dispose()

    async def _fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        async with self._reader.connect() as connection:
            return (await connection.execute(statement, parameters)).all()

    async def _attempt(self, work: Work[Result]) -> Result:
        """Run `work` once. Raises _Undone when nothing of it was kept and it may run again.

        A connection lost during the commit leaves open whether it took place: that is not undone.
        """
        async with self._writer.connect() as connection:
            try:
                await connection.begin()
                result = await work(connection)
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


async def changed(
    connection: AsyncConnection, statement: Executable, parameters: Parameters = NOTHING
) -> int:
    """Run a statement inside a transaction; return how many rows it changed."""
    return (await connection.execute(statement, parameters)).rowcount


def connect(address: Address, *, wait_seconds: float = wait_seconds_max) -> Connections:
    """Return connections to the database; the first is made when it is first asked.

    `wait_seconds` is how long another writer's lock is waited for.
    """
    if address.path is not None:
        return _connect_sqlite(address, wait_seconds)
    return _connect_postgresql(address, wait_seconds)


def sqlite_engine(address: Address, wait_seconds: float, connections: int) -> AsyncEngine:
    """Return an engine whose connections never begin a transaction by themselves."""
    engine = create_async_engine(
        address.url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=queue_seconds_max,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        connect_args={"timeout": wait_seconds, "async_creator_fn": _open_sqlite},
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine


def sqlite_writer(address: Address, wait_seconds: float) -> AsyncEngine:
    """Return the engine with the process's one writing connection."""
    engine = create_async_engine(
        address.url,
        pool_size=1,
        max_overflow=0,
        pool_timeout=queue_seconds_max,
        connect_args={
            "timeout": wait_seconds,
            "isolation_level": None,  # the driver must not begin transactions: _begin does
            "async_creator_fn": _open_sqlite,
        },
    )
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def postgresql_engine(
    address: Address, wait_seconds: float, statement_seconds: float
) -> AsyncEngine:
    """Return an engine with bounded connections, waits and statements."""
    return create_async_engine(
        address.url,
        pool_size=postgresql_connections,
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


def _connect_sqlite(address: Address, wait_seconds: float) -> Connections:
    reader = sqlite_engine(address, wait_seconds, sqlite_readers)
    return Connections(reader, sqlite_writer(address, wait_seconds), asyncio.Lock())


def _connect_postgresql(address: Address, wait_seconds: float) -> Connections:
    engine = postgresql_engine(address, wait_seconds, queue_seconds_max)
    reader = engine.execution_options(isolation_level="AUTOCOMMIT")
    return Connections(reader, engine, asyncio.Semaphore(postgresql_writers))


async def _open_sqlite(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Open a file. Waits for the driver's thread to end when that fails.

    It reports to the event loop as it ends, and would print a traceback if the loop were gone.
    """
    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True  # noqa: SLF001  as SQLAlchemy does: never holds up an exit
    try:
        return await connection
    except sqlite3.Error:
        await asyncio.to_thread(connection._thread.join)  # noqa: SLF001  no public name for it
        raise


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "journal_size_limit=67108864"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
