"""Work on the cluster's database; apart from the options, as it brings SQLAlchemy."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy.exc import OperationalError, ProgrammingError

from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.errors import located

Result = TypeVar("Result")
_NOT_OURS: Final = (
    "the database is there, but not with the tables of this version: "
    "start `treescale serve` on it first, which makes them"
)


async def with_database(url: str, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Open the database, do the work, close it; raises as `explained` does."""

    async def opened() -> Result:
        database = open_database(url)
        try:
            return await work(database)
        finally:
            await database.close()

    return await explained(url, opened())


async def explained(url: str, work: Awaitable[Result]) -> Result:
    """Await the work; raises what its errors mean to whoever typed a command."""
    try:
        return await work
    except (ProgrammingError, OperationalError) as error:
        # What PostgreSQL and SQLite call a missing table; all else has a meaning of its own.
        raise SettingInvalid(_NOT_OURS) from error
    except DatabaseUnavailable as away:
        raise located(away, away.__cause__, parse_address(url)) from away
