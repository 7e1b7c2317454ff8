"""SQLite: a few reading connections, and one that writes; each transaction is one hop."""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Executable, Row, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from treescale.metadata.sql.address import Address
from treescale.metadata.sql.commits import SqliteWriter
from treescale.metadata.sql.connections import Parameters, Result, Work

readers_max: Final = 4


class SqliteDriver:
    """Implements `connections.Driver`."""

    def __init__(self, address: Address, wait_seconds: float) -> None:
        self._engine = sqlite_reader(address, wait_seconds, readers_max + 2)
        self._readers = ThreadPoolExecutor(readers_max, "sqlite-read")
        self._idle: list[Connection] = []
        self._writer = SqliteWriter(self._engine, wait_seconds)
        assert address.path is not None
        self._file = Path(address.path).absolute().as_uri()
        self._watcher: sqlite3.Connection | None = None

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._fetch, statement, parameters)

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction, perhaps with others that wait."""
        return await self._writer.transact(work, durable=durable)

    def changes(self) -> int | None:
        """Return SQLite's data version, as a connection that never writes sees it."""
        try:
            if self._watcher is None:
                self._watcher = sqlite3.connect(
                    f"{self._file}?mode=rw",  # an absent file is not made
                    timeout=0,
                    isolation_level=None,
                    check_same_thread=False,
                    uri=True,
                )
            # Two microseconds, from shared memory; through SQLAlchemy it would be sixteen.
            version: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:
            return None
        return version

    async def run(self) -> None:
        """Return: a file does not go away unnoticed, each call says so by itself and at once."""

    async def close(self) -> None:
        """Let go of all connections; what is queued is done first. May be used again."""
        await asyncio.to_thread(self._close)

    def _fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        connection = self._idle.pop() if self._idle else self._engine.connect()
        try:
            rows = connection.execute(statement, parameters).all()
        except BaseException:
            connection.close()
            raise
        self._idle.append(connection)
        return rows

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        self._readers = ThreadPoolExecutor(readers_max, "sqlite-read")
        while self._idle:
            self._idle.pop().close()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        self._engine.dispose()


def sqlite_reader(address: Address, wait_seconds: float, connections: int) -> Engine:
    """Return an engine whose connections never begin a transaction by themselves."""
    engine = create_engine(
        address.url,
        pool_size=connections,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        connect_args={"timeout": wait_seconds, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare)
    return engine


def sqlite_writer(address: Address, wait_seconds: float) -> Engine:
    """Return an engine whose transactions take the write lock as they begin."""
    engine = create_engine(
        address.url,
        connect_args={
            "timeout": wait_seconds,
            "isolation_level": None,  # the driver must not begin transactions: _begin does
        },
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in ("foreign_keys=ON", "synchronous=FULL", "journal_size_limit=67108864"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
