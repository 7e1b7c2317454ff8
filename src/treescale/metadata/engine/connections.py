"""What the nouns ask of a database: rows, and writes that are whole or not at all.

Reads are single statements, each its own snapshot. A write is a plain function of a connection that
runs in one transaction, again from its start when the database undid it, so it must keep nothing
outside of it. How that happens differs: `sqlite` gathers writes into one commit on one thread,
`postgresql` runs each on a connection of its own. Drivers' errors are mapped here, once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Executable, Row
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from treescale.clock import Clock, SystemClock
from treescale.errors import Failed
from treescale.metadata.engine.errors import translate
from treescale.metrics.meters import Call, Meters
from treescale.request_id import CLIENT, REQUEST_ID
from treescale.tracing import TRACING

_CLOCK: Final = SystemClock()
QUEUE_SECONDS_MAX: Final = 30.0
WAIT_SECONDS_MAX: Final = 10.0

Result = TypeVar("Result")
Work = Callable[[Connection], Result]
Parameters = Mapping[str, object]
NOTHING: Final[Parameters] = {}
_RECORDED: Final = "recorded"
"""Under this a connection knows whether its transaction has recorded an event."""
_REQUEST: Final = "request"
"""Likewise, for which request of a client it runs, and from which address that came."""
_NO_REQUEST: Final = ("", "")


class Driver(Protocol):
    """One kind of database. Its errors are SQLAlchemy's, or of our tree."""

    async def fetch(self, statement: Executable, parameters: Parameters) -> Sequence[Row[Any]]:
        """Return all rows of a query."""
        ...

    async def transact(self, work: Work[Result], *, durable: bool) -> Result:
        """Run `work` in one transaction; see `Connections.write`."""
        ...

    def answers_version(self) -> int | None:
        """Return the number of the last change; see `Connections.answers_version`."""
        ...

    async def examine(self, look: Executable) -> tuple[Row[Any] | None, Failed | None]:
        """Run a query that touches all tables; see `Connections.examine`."""
        ...

    async def run(self) -> None:
        """Watch over the database until cancelled; see `Connections.run`."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


_SPANS: Final = {call: f"database {call.name.lower()}" for call in Call}


class Connections:
    """The connections to one database; `meters` hear how long it takes, and how often it fails."""

    def __init__(self, driver: Driver, meters: Meters | None = None, clock: Clock = _CLOCK) -> None:
        self._driver = driver
        self._meters = meters
        self._clock = clock
        self.on_recorded: Callable[[], None] = _nobody
        """Is told when a write of this process has recorded an event, once it is committed. One
        whose commit was not answered may have, and is not told of."""

    async def rows(
        self, statement: Executable, parameters: Parameters = NOTHING
    ) -> Sequence[Row[Any]]:
        """Return all rows of a query."""
        return await self._timed(Call.READ, self._driver.fetch(statement, parameters))

    async def row(self, statement: Executable, parameters: Parameters = NOTHING) -> Row[Any] | None:
        """Return the first row of a query, None without one."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def change(
        self, statement: Executable, parameters: Parameters = NOTHING, *, durable: bool = True
    ) -> int:
        """Run one statement that writes, as `write` does; return how many rows it changed."""

        def work(connection: Connection) -> int:
            return changed(connection, statement, parameters)

        return await self.write(work, durable=durable)

    async def write(self, work: Work[Result], *, durable: bool = True) -> Result:
        """Run `work` in one transaction; what it did is durable when this returns.

        Without `durable` it survives the end of every process of ours, but perhaps not a power
        cut; the next durable write makes it durable too. A cancelled write is whole or not at all.
        """
        request = REQUEST_ID.get(), CLIENT.get()

        def noting(connection: Connection) -> tuple[Result, bool]:
            connection.info.pop(_RECORDED, None)
            connection.info[_REQUEST] = request
            result = work(connection)
            return result, connection.info.pop(_RECORDED, False)

        result, recorded = await self._timed(
            Call.WRITE, self._driver.transact(noting, durable=durable)
        )
        if recorded:
            self.on_recorded()
        return result

    def answers_version(self) -> int | None:
        """Return a number that is another after whatever changes a row of `ANSWERS`; at once.

        What was read of those tables after one call is still true at the next one that returns the
        same, whichever process writes. None when this database has no such number, or does not
        tell it now.
        """
        return self._driver.answers_version()

    async def examine(self, look: Executable) -> tuple[Row[Any] | None, Failed | None]:
        """Return the row of a query that touches all tables, and why writes would be refused.

        The file or server itself is asked, not what is kept of it. Raises as `rows` does.
        """
        try:
            return await self._driver.examine(look)
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise translate(error) from error

    async def run(self) -> None:
        """Watch over the database until cancelled: background work of whoever serves.

        While this runs, a database that is away is found so within two seconds, and everything is
        refused at once (DatabaseUnavailable) until it answers again.
        """
        await self._driver.run()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._driver.close()

    async def _timed(self, call: Call, answer: Awaitable[Result]) -> Result:
        """Return the answer, and count it; drivers' errors become ours."""
        begun = self._clock.monotonic()
        try:
            with TRACING.asking(_SPANS[call]):
                result = await answer
        except (DBAPIError, PoolTimeout, OSError) as error:
            ours = translate(error)
            self._count_failure(call, ours)
            raise ours from error
        except Failed as error:
            self._count_failure(call, error)
            raise
        if self._meters is not None:
            self._meters.database_call(call, self._clock.monotonic() - begun)
        return result

    def _count_failure(self, call: Call, error: Exception) -> None:
        if self._meters is not None and isinstance(error, Failed):
            self._meters.database_failed(call)


def changed(connection: Connection, statement: Executable, parameters: Parameters = NOTHING) -> int:
    """Run a statement inside a transaction; return how many rows it changed."""
    return connection.execute(statement, parameters).rowcount


def note_recorded(connection: Connection) -> None:
    """Note that the transaction has recorded an event."""
    connection.info[_RECORDED] = True


def request_of(connection: Connection) -> str:
    """Return the id of the client's request that the transaction is of, "" when it is of none."""
    return _request(connection)[0]


def client_of(connection: Connection) -> str:
    """Return the address that the request came from, "" when there is none."""
    return _request(connection)[1]


def _request(connection: Connection) -> tuple[str, str]:
    request: tuple[str, str] = connection.info.get(_REQUEST, _NO_REQUEST)
    return request


def _nobody() -> None:
    """Nobody is told."""
