"""Which driver goes with an address."""

from typing import Final

from treescale.clock import Clock, SystemClock
from treescale.metadata.engine.address import Address
from treescale.metadata.engine.connections import WAIT_SECONDS_MAX, Connections
from treescale.metadata.engine.sqlite import SqliteDriver
from treescale.metadata.engine.sqlite_file import DatabaseFile
from treescale.metrics.meters import Meters

_CLOCK: Final = SystemClock()


def connect(
    address: Address,
    *,
    wait_seconds: float = WAIT_SECONDS_MAX,
    clock: Clock = _CLOCK,
    file: DatabaseFile | None = None,
    meters: Meters | None = None,
) -> Connections:
    """Return connections to the database; the first is made when it is first asked."""
    if address.path is not None:
        driver = SqliteDriver(address, wait_seconds, clock, file)
        return Connections(driver, meters, clock)
    # A seventh of a command's start, and nothing to whoever has SQLite.
    from treescale.metadata.engine.postgresql import PostgresqlDriver  # noqa: PLC0415

    return Connections(PostgresqlDriver(address, wait_seconds, clock), meters, clock)
