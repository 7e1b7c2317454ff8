"""Lets a transaction, a plain function, wait for the event loop: only tests have a reason to."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only


def wait_for(
    connection: Connection, loop: asyncio.AbstractEventLoop, what: Coroutine[Any, Any, object]
) -> None:
    """Wait inside a transaction: on PostgreSQL on the loop itself, on SQLite on its thread."""
    if connection.dialect.name == "postgresql":
        await_only(what)
    else:
        asyncio.run_coroutine_threadsafe(what, loop).result()
