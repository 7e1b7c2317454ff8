"""PostgreSQL: each write on a connection of its own, tried again when the database undid it.

A server that hangs, or whose packets are lost, says nothing: `availability` notices, and then every
connection is dropped, so that no caller waits for the politeness of a goodbye. One that was the
primary and takes no writes any more has lost its connections by the first write it refuses; where
another is now `hosts.opening` finds out. Through a pooler nothing relies on a session.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Final
from weakref import WeakSet

from asyncpg.exceptions import ConnectionDoesNotExistError
from sqlalchemy import Executable, Row, event, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.util import await_only

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
    is_lost,
    is_read_only,
    is_retryable,
    silent,
    translate,
)
from treescale.metadata.engine.hosts.limit import ConnectionLimit, read_limit
from treescale.metadata.engine.hosts.opening import (
    DRIVERS_ERRORS,
    Opened,
    Opener,
    settings_statement,
)

ATTEMPTS_MAX: Final = 5
PAUSE_SECONDS: Final = 0.02
"""Before the second attempt, or up to half as long again or less; doubled with each that follows.
Two that undid each other must not meet again."""
CONNECT_SECONDS_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 6
"""Of each worker process; kept open, as opening one costs more than most requests."""
WRITERS_MAX: Final = 4
"""So that writes waiting for each other always leave reads some."""
CLOSE_SECONDS_MAX: Final = 5.0
"""Then connections are dropped without a goodbye."""
_READ_ONLY: Final = text("SELECT current_setting('transaction_read_only')")
_NOT_SYNCED: Final = text(
    "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_standby_names') "
    "WHEN '' THEN 'off' ELSE 'remote_write' END, true)"
)
"""Where a standby is to have all that was acknowledged, it must know an upload to go on with it."""
_STATEMENTS_KEPT: Final = 100
"""Prepared, by each connection."""
_POOLED: Final = "pooled"
_CHANCE: Final = secrets.SystemRandom().random


class PostgresqlDriver:
    """Implements `connections.Driver`."""

    def __init__(self, address: Address, wait_seconds: float, clock: Clock) -> None:
        self._address = address
        self._opener = opener_of(address, wait_seconds, QUEUE_SECONDS_MAX)
        self._writer = _engine(address, self._opener)
        self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self._turn = asyncio.Semaphore(WRITERS_MAX)
        self._open: WeakSet[Any] = WeakSet()
        event.listen(self._writer.sync_engine, "connect", self._opened)
        self._availability = Availability(self._probe, self._cut, silent, clock)

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query, asked a few times if need be."""
        return await self._availability.during(
            partial(self._again, partial(self._fetch, statement, parameters))
        )

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction, a few times if need be."""
        return await self._availability.during(partial(self._transact, work, durable=durable))

    async def _transact(self, work: Work[Result], *, durable: bool) -> Result:
        async with self._my_turn():
            return await self._again(partial(self._attempt, work, durable=durable))

    async def _again(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Return what an attempt does; tried a few times while the database undoes it."""
        for number in range(ATTEMPTS_MAX - 1):
            try:
                return await attempt()
            except _Undone:
                self._availability.check()
                await asyncio.sleep(pause(number, _CHANCE()))
        try:
            return await attempt()
        except _Undone as error:
            raise translate(error.reason) from error.reason

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
            opened = await self._opener.open()
        except (*DRIVERS_ERRORS, OSError) as error:
            if silent(error):
                raise translate(error) from error
        else:
            await opened.close()

    async def _fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Read once. Raises _Undone when it may be read again."""
        try:
            async with self._reader.connect() as connection:
                return (await connection.execute(statement, parameters)).all()
        except DBAPIError as error:
            if self._is_undone(error):
                raise _Undone(error) from error
            raise

    async def _attempt(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` once. Raises _Undone when nothing of it was kept and it may run again.

        A connection lost during the commit leaves open whether it took place: that is not undone.
        """
        committing = False
        try:
            async with self._writer.connect() as connection:
                await connection.begin()
                if not durable:
                    await connection.execute(_NOT_SYNCED)
                result = await connection.run_sync(work)
                committing = True
                await connection.commit()
                return result
        except DBAPIError as error:
            if is_retryable(error) if committing else self._is_undone(error):
                raise _Undone(error) from error
            raise

    def _is_undone(self, error: DBAPIError) -> bool:
        """Say whether another attempt may do: not where the only host takes no writes."""
        if is_read_only(error) and not self._address.needs_writable:
            return False
        return is_retryable(error) or is_lost(error) or disconnected(error)

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


def pause(number: int, chance: float) -> float:
    """Return how many seconds to wait after an attempt, from the first, which is 0."""
    return PAUSE_SECONDS * float(2**number) * (0.5 + chance)


def postgresql_engine(
    address: Address, wait_seconds: float, statement_seconds: float
) -> AsyncEngine:
    """Return an engine with bounded connections, waits and statements."""
    return _engine(address, opener_of(address, wait_seconds, statement_seconds))


def opener_of(
    address: Address, wait_seconds: float = 0.0, statement_seconds: float = QUEUE_SECONDS_MAX
) -> Opener:
    """Return what opens connections to the address."""
    arguments = address.url.translate_connect_args(username="user") | dict(address.url.query)
    return Opener(
        address.hosts,
        arguments,
        _settings(wait_seconds, statement_seconds),
        needs_writable=address.needs_writable,
        seconds_max=CONNECT_SECONDS_MAX,
    )


async def connection_limit(address: Address) -> ConnectionLimit | None:
    """Return how many connections all servers may have; None on SQLite, and through a pooler.

    Raises DatabaseUnavailable.
    """
    if address.path is not None:
        return None
    try:
        return await read_limit(opener_of(address))
    except (*DRIVERS_ERRORS, OSError) as error:
        raise translate(error) from error


def connections_wanted(workers: int, servers: int) -> int:
    """Return how many connections so many servers of so many workers may have under load.

    Each has a process more than it has workers (the walk), and each process one connection more
    while it is in doubt whether the database is there.
    """
    return (CONNECTIONS_MAX + 1) * (workers + 1) * servers


def _engine(address: Address, opener: Opener) -> AsyncEngine:
    engine = create_async_engine(
        address.url,
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=QUEUE_SECONDS_MAX,
        skip_autocommit_rollback=True,
        isolation_level="READ COMMITTED",
    )
    local = settings_statement(opener.settings, local=True)

    def connect(_: Dialect, entry: ConnectionPoolEntry, __: object, how: dict[str, Any]) -> None:
        """Say how SQLAlchemy gets its next connection: it is open already, or nowhere to be had.

        All that connect at the same time share `how`.
        """
        try:
            opened = await_only(opener.open())
        except (*DRIVERS_ERRORS, OSError) as error:
            how["async_creator_fn"] = partial(_raise, error)
            return
        entry.info[_POOLED] = opened.pooled
        names = map("treescale_{}".format, itertools.count(1)).__next__
        how["async_creator_fn"] = partial(_hand_over, opened)
        how["prepared_statement_cache_size"] = 0 if opened.pooled else _STATEMENTS_KEPT
        how["prepared_statement_name_func"] = None if opened.pooled else names

    def begin(connection: Connection) -> None:
        """Have a pooler's session be like ours for the time of the transaction."""
        options = connection.get_execution_options()
        if connection.info.get(_POOLED) and options.get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(local)

    event.listen(engine.sync_engine, "do_connect", connect)
    event.listen(engine.sync_engine, "begin", begin)
    event.listen(engine.sync_engine, "handle_error", partial(_forget_lost, address))
    return engine


async def _hand_over(opened: Opened, **_: object) -> Any:
    if opened.connection.is_closed():  # SQLAlchemy's next step would not know what that means
        raise ConnectionDoesNotExistError("the server closed the connection at once")
    return opened.connection


async def _raise(error: Exception, **_: object) -> Any:
    raise error


def _forget_lost(address: Address, context: ExceptionContext) -> None:
    """Have a pool forget connections that are of no use any more.

    All of those it has, unless the one host there is takes no writes just now: what is read there
    need not suffer from it.
    """
    error = context.sqlalchemy_exception
    if context.connection is None or error is None:
        return
    read_only = is_read_only(error)
    if read_only or is_lost(error):
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = address.needs_writable or not read_only


def _settings(wait_seconds: float, statement_seconds: float) -> dict[str, str]:
    """Return what holds in each session, or through a pooler in each transaction that writes."""
    return {
        "jit": "off",  # costs more than it saves on statements this short
        "synchronous_commit": "on",
        "default_transaction_isolation": "read committed",
        "lock_timeout": _milliseconds(wait_seconds),
        "statement_timeout": _milliseconds(statement_seconds),
        "idle_in_transaction_session_timeout": "60000",
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
