"""SQLite: one writing connection on one thread, and a few reading ones.

A transaction is one hop to the writing thread. Transactions that queue while another is being
synced run together in the next one, each in a savepoint of its own: an error undoes only its own,
and one sync of the disk serves all. They are answered after the commit. Between processes
`BEGIN IMMEDIATE` waits at the start, never in the middle of a transaction.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Executable, Row, create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from treescale.errors import DatabaseAway
from treescale.metadata.sql.address import Address
from treescale.metadata.sql.connections import Parameters, Result, Work, queue_seconds_max

readers_max: Final = 4
group_max: Final = 64
"""Transactions that share a commit: bounds how long the first of them waits for the last."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A transaction in the queue, what came out of it, and who waits for it."""

    work: Work[Any]
    relaxed: bool
    done: Future[Any] = field(default_factory=Future)
    result: Any = None
    error: BaseException | None = None

    def answer(self) -> None:
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


class SqliteDriver:
    """Implements `connections.Driver`."""

    def __init__(self, address: Address, wait_seconds: float) -> None:
        self._engine = sqlite_reader(address, wait_seconds, readers_max + 2)
        self._readers = ThreadPoolExecutor(readers_max, "sqlite-read")
        self._idle: list[Connection] = []
        self._writer = SqliteWriter(self._engine)
        assert address.path is not None
        self._file = Path(address.path).absolute().as_uri()
        self._watcher: sqlite3.Connection | None = None

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._fetch, statement, parameters)

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction, perhaps with others that wait."""
        entry = _Entry(work, relaxed=not durable)
        self._writer.add(entry)
        loop = asyncio.get_running_loop()
        # Takes it out of the queue; without effect once its turn has come.
        patience = loop.call_later(queue_seconds_max, entry.done.cancel)
        try:
            return await _outcome(entry.done)
        finally:
            patience.cancel()

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


class SqliteWriter:
    """The writing thread, its connection, and its queue."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "sqlite-write")
        self._queue: deque[_Entry] = deque()
        self._connection: Connection | None = None
        self._relaxed = False

    def add(self, entry: _Entry) -> None:
        """Queue it. Each asks for a turn of its own, which finds nothing if another took it."""
        self._queue.append(entry)
        self._thread.submit(self._turn)

    def close(self) -> None:
        """Do what is queued, and end the thread."""
        self._thread.shutdown()
        self._thread = ThreadPoolExecutor(1, "sqlite-write")
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _turn(self) -> None:
        group: list[_Entry] = []
        while self._queue and len(group) < group_max:
            entry = self._queue.popleft()
            if entry.done.set_running_or_notify_cancel():
                group.append(entry)
        if not group:
            return
        if not self._together(group):
            for entry in group:
                self._together([entry])
        for entry in group:
            entry.answer()

    def _together(self, group: list[_Entry]) -> bool:
        """Run the group in one transaction; False when nothing was kept and each may run alone."""
        connection = None
        try:
            connection = self._open(relaxed=all(entry.relaxed for entry in group))
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            for entry in group:
                self._run(connection, entry)
                if entry.error is not None and not _in_transaction(connection):
                    # SQLite has undone all, as it does on a full disk.
                    return len(group) == 1
            connection.exec_driver_sql("COMMIT")
        except BaseException as error:  # noqa: BLE001  it is told to everyone who waits
            for entry in group:
                entry.error = error
        finally:
            if connection is not None and _in_transaction(connection):
                self._undo(connection)
        return True

    def _run(self, connection: Connection, entry: _Entry) -> None:
        entry.result, entry.error = None, None
        connection.exec_driver_sql("SAVEPOINT work")
        try:
            entry.result = entry.work(connection)
        except BaseException as error:  # noqa: BLE001  it is told to the one who waits
            entry.error = error
            if not _in_transaction(connection):
                return
            connection.exec_driver_sql("ROLLBACK TO work")
        connection.exec_driver_sql("RELEASE work")

    def _open(self, *, relaxed: bool) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._relaxed = False
        if relaxed != self._relaxed:
            level = "NORMAL" if relaxed else "FULL"
            self._connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            self._relaxed = relaxed
        return self._connection

    def _undo(self, connection: Connection) -> None:
        """Roll back; a connection that cannot is let go, which undoes it as well."""
        try:
            connection.exec_driver_sql("ROLLBACK")
        except DBAPIError:
            self._connection = None
            connection.close()


async def _outcome(done: Future[Result]) -> Result:
    """Wait for it. A cancelled caller takes it out of the queue, or waits until it has ended."""
    waiter = asyncio.wrap_future(done)
    try:
        return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        if waiter.cancelled():
            raise DatabaseAway("too many writes are waiting for the database") from None
        if not done.cancel():
            await asyncio.wait([waiter])
            waiter.exception()  # is seen
        raise


def _in_transaction(connection: Connection) -> bool:
    driver = connection.connection.driver_connection
    return driver is not None and bool(driver.in_transaction)


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
