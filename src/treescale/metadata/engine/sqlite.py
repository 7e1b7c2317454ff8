"""SQLite: a few reading connections, and one that writes; each transaction is one hop."""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Engine, Executable, Row, create_engine, dialects, event, text
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import LRUCache

from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, Failed, TreeScaleError
from treescale.log import get_logger
from treescale.metadata.engine.address import Address
from treescale.metadata.engine.ahead import AHEAD, ahead
from treescale.metadata.engine.connections import WAIT_SECONDS_MAX, Parameters, Result, Work
from treescale.metadata.engine.sqlite_file import DatabaseFile, is_damage
from treescale.metadata.engine.sqlite_writer import SqliteWriter
from treescale.metadata.engine.upserts import Upsert
from treescale.threads import Threads

READERS_MAX: Final = 4
LOOK_SECONDS_MAX: Final = 1.0
LOOK_SECONDS: Final = 1.0
"""How often the path is looked at whether it still leads to the file."""
READ_SECONDS_MAX: Final = 10.0
"""For a query, its wait for a thread included: a disk may hang."""


_SILENT: Final = "the database's disk does not answer"
_Examining = asyncio.Future[tuple[Row[Any] | None, Failed | None]]
_LOOK: Final = ahead(text("SELECT count(*) FROM sqlite_master"))
_ANSWERS_VERSION: Final = "SELECT value FROM counters WHERE name = 'answers'"


class OneDialect(SQLiteDialect_pysqlite):
    """SQLite's dialect; all of them are equal, so what one engine has compiled serves every other.

    What a server has compiled during its start its processes find there: to compile it took each of
    them 2 MB of its own, most of it pages with the compiler that they shared before.
    """

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OneDialect)

    def __hash__(self) -> int:
        return hash(OneDialect)


_DRIVER: Final = "sqlite+one"
dialects.registry.register("sqlite.one", __name__, OneDialect.__name__)
COMPILED_MAX: Final = 1000
"""Statements; about twice as many as there are."""
_compiled: LRUCache[Any, Any] = LRUCache(COMPILED_MAX)


def compile_ahead() -> None:
    """Compile what the processes of every server run; for the one that they are forked from.

    Without it they work as well, and each takes megabytes more.
    """
    dialect = OneDialect(dbapi=OneDialect.import_dbapi())
    for each in AHEAD:
        statement = each.statement
        made = statement.for_dialect(dialect.name) if isinstance(statement, Upsert) else statement
        assert isinstance(made, ClauseElement)
        for many in {False, each.many}:
            # There is no public way to it but to run them.
            made._compile_w_cache(  # noqa: SLF001
                dialect,
                compiled_cache=_compiled,
                column_keys=list(each.names),
                for_executemany=many,
            )


@dataclass(frozen=True, slots=True)
class _Engines:
    """What makes a driver's connections: those that are kept, and those of one look each."""

    kept: Engine
    fresh: Engine

    @classmethod
    def of(cls, address: Address, wait_seconds: float, file: DatabaseFile) -> Self:
        """Return those of a driver that has none yet."""
        return cls(
            sqlite_reader(address, wait_seconds, READERS_MAX + 2, file),
            sqlite_reader(address, LOOK_SECONDS_MAX, 1, file),
        )


_ready: dict[tuple[DatabaseFile, float], _Engines] = {}
"""Engines without connections, for the next driver of a file; forks have their own."""


def ready_engines(
    address: Address, file: DatabaseFile, wait_seconds: float = WAIT_SECONDS_MAX
) -> None:
    """Have engines for the file that have been connected once; for who is forked afterwards.

    To make them, and what comes with a first connection, takes each process megabytes of its own.
    """
    engines = _Engines.of(address, wait_seconds, file)
    for each in (engines.kept, engines.fresh):
        with each.connect() as connection:
            connection.execute(_LOOK).all()
        each.dispose()  # a connection must not be used after a fork
    _ready[file, wait_seconds] = engines


class SqliteDriver:
    """Implements `connections.Driver`."""

    def __init__(
        self, address: Address, wait_seconds: float, clock: Clock, file: DatabaseFile | None = None
    ) -> None:
        """`file` is the database of this very path, when other processes watch it as well."""
        assert address.path is not None
        self._file = file or DatabaseFile(Path(address.path))
        engines = _ready.pop((self._file, wait_seconds), None) or _Engines.of(
            address, wait_seconds, self._file
        )
        self._engine, self._fresh = engines.kept, engines.fresh
        self._readers = Threads(READERS_MAX, "sqlite-read")
        self._idle: list[Connection] = []
        self._writer = SqliteWriter(self._engine, self._file, wait_seconds)
        self._clock = clock
        self._watcher: sqlite3.Connection | None = None
        self._commit: int | None = None
        self._answers_version: int | None = None
        self._examiner = Threads(1, "sqlite-examine")
        self._examining: _Examining | None = None

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query; raises DatabaseUnavailable when that takes too long."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                return await loop.run_in_executor(self._readers, self._fetch, statement, parameters)
        except TimeoutError:
            raise DatabaseUnavailable(_SILENT) from None

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction, perhaps with others that wait."""
        return await self._writer.transact(work, durable=durable)

    def answers_version(self) -> int | None:
        """Return the number that triggers count up, as a connection that never writes sees it.

        It is read again after a commit alone: whether there was one costs two microseconds, from
        shared memory; through SQLAlchemy it would be sixteen.
        """
        try:
            self._file.check_place()
            if self._watcher is None:
                self._watcher = self._file.connect(
                    timeout=0, isolation_level=None, check_same_thread=False
                )
            commit: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
            if commit != self._commit:
                # After the look: what is committed in between is looked at twice, never missed.
                row = self._watcher.execute(_ANSWERS_VERSION).fetchone()
                self._answers_version = None if row is None else row[0]
                self._commit = commit
        except (sqlite3.Error, DatabaseUnavailable):
            return None
        return self._answers_version

    async def examine(self, look: Executable) -> tuple[Row[Any] | None, Failed | None]:
        """Read over a connection that remembers nothing; and look at the file and its disk."""
        if self._examining is not None and not self._examining.done():
            raise DatabaseUnavailable(_SILENT)  # the one before still waits for the disk
        loop = asyncio.get_running_loop()
        self._examining = asyncio.wrap_future(self._examiner.submit(self._examine, look), loop=loop)
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                return await asyncio.shield(self._examining)
        except TimeoutError:
            raise DatabaseUnavailable(_SILENT) from None

    async def run(self) -> None:
        """Watch over the file until cancelled: whether it is where it was, and sound again."""
        await self._open_all()
        log, said = get_logger(), ""
        while True:
            reason = await self._look()
            if reason != said:
                said = reason
                if reason:
                    log.warning("database.away", error=reason)
                else:
                    log.info("database.back")
            await asyncio.sleep(LOOK_SECONDS)

    async def _open_all(self) -> None:
        """Open all connections before they are needed; one that cannot be is opened then.

        Opening one changes the owner of SQLite's files when root does it, and so hangs on a file
        system that is frozen; what is open already reads on.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                await loop.run_in_executor(self._readers, self._open_readers)
                await loop.run_in_executor(self._readers, self.answers_version)
                await self._writer.transact(_nothing, durable=False)
        except (DBAPIError, TreeScaleError, TimeoutError) as error:
            get_logger().warning("database.unopened", error=str(error))

    async def _look(self) -> str:
        """Return why nothing is written to the file, "" when it is."""
        try:
            if self._file.claim_verify(self._clock.monotonic()):
                await asyncio.to_thread(self._file.verify)
            self._file.check_writable()
        except (sqlite3.Error, TreeScaleError) as error:
            return str(error)
        return ""

    async def close(self) -> None:
        """Let go of all connections; what is queued is done first. May be used again."""
        await asyncio.to_thread(self._close)

    def _fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        self._file.check_place()
        try:
            return self._read(statement, parameters)
        except DBAPIError as error:
            if is_damage(error.orig):
                self._file.damaged()
            raise

    def _read(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        connection = self._idle.pop() if self._idle else self._engine.connect()
        try:
            rows = connection.execute(statement, parameters).all()
        except BaseException:
            connection.close()
            raise
        if len(self._idle) < READERS_MAX:
            self._idle.append(connection)
        else:
            connection.close()
        return rows

    def _examine(self, look: Executable) -> tuple[Row[Any] | None, Failed | None]:
        refused: Failed | None = None
        try:
            self._file.check_room()
            self._file.check_writable()
        except DatabaseUnavailable as error:
            refused = error
        self._file.check_place()
        try:
            with self._fresh.connect() as connection:
                return connection.execute(look).first(), refused
        except DBAPIError as error:
            if is_damage(error.orig):
                self._file.damaged()
            raise
        finally:
            self._fresh.dispose()  # the next look is to be over another one

    def _open_readers(self) -> None:
        """Open what is not open yet, also counting those that are reading now.

        Else they and these would be all there may be, and the writer would wait for one for ever.
        """
        pool = self._engine.pool
        assert isinstance(pool, QueuePool)
        while pool.checkedout() < READERS_MAX:
            connection = self._engine.connect()
            connection.execute(_LOOK).all()
            self._idle.append(connection)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        self._readers = Threads(READERS_MAX, "sqlite-read")
        self._examiner.shutdown()
        self._examiner = Threads(1, "sqlite-examine")
        while self._idle:
            self._idle.pop().close()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = self._commit = None
        self._engine.dispose()


def _nothing(_connection: Connection) -> None:
    """Do nothing, in a transaction."""


def sqlite_reader(
    address: Address, wait_seconds: float, connections: int, file: DatabaseFile
) -> Engine:
    """Return an engine whose connections never begin a transaction by themselves."""
    engine = create_engine(
        address.url.set(drivername=_DRIVER),
        creator=lambda: file.connect(timeout=wait_seconds, check_same_thread=False),
        pool_size=connections,
        max_overflow=0,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        execution_options={"compiled_cache": _compiled},
    )
    event.listen(engine, "connect", _prepare)
    return engine


def sqlite_writer(address: Address, wait_seconds: float) -> Engine:
    """Return an engine whose transactions take the write lock as they begin."""
    engine = create_engine(
        address.url.set(drivername=_DRIVER),
        execution_options={"compiled_cache": _compiled},
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
