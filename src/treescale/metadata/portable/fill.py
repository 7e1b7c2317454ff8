"""Rows into an empty database: all of them, or nothing is there afterwards."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError

from treescale.errors import BackupInvalid
from treescale.metadata.engine.address import parse_address
from treescale.metadata.portable.into_sqlite import into_sqlite
from treescale.metadata.portable.loading import Loading
from treescale.metadata.portable.snapshot import DRIVERS_ERRORS, as_ours

_WRONG: Final = (
    "the backup has rows that the database does not take ({error}): it was altered, or a text in "
    "it has a character that this engine does not know"
)
_OF_THE_ROWS: Final = ("22", "23")
"""Classes of SQLSTATE: data that is none, and broken constraints."""


@asynccontextmanager
async def filling(url: str, schema: str) -> AsyncIterator[Loading]:
    """Have the database at `url` to fill with rows of that version; it must be empty.

    Raises SettingInvalid when it is not, or a server uses it; BackupInvalid when it does not take
    the rows; DatabaseUnavailable; StoreFull. After an error nothing is in it. An OSError within the
    block counts as the database's: files have errors of their own there.
    """
    address = parse_address(url)
    try:
        if address.file is not None:
            async with into_sqlite(address.file, schema) as draft:
                yield draft
            return
        # A seventh of a command's start, and nothing to whoever has SQLite.
        from treescale.metadata.portable.into_postgresql import into_postgresql  # noqa: PLC0415

        async with into_postgresql(address, schema) as server:
            yield server
    except (*DRIVERS_ERRORS, OverflowError) as error:
        raise _told(error) from error


def _told(error: Exception) -> Exception:
    first = error.orig if isinstance(error, DBAPIError) else error
    state = str(getattr(first, "sqlstate", None) or "")
    unfit = (sqlite3.IntegrityError, OverflowError, ValueError)  # what the driver cannot send
    if isinstance(first, unfit) or state.startswith(_OF_THE_ROWS):
        return BackupInvalid(_WRONG.format(error=first))
    return as_ours(error)
