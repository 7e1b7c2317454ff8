"""A write that holds SQLite's writing thread until it is let go."""

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from sqlalchemy.engine import Connection

_seconds_max: Final = 60


class Held:
    """To be given to `Connections.write`; does `work`, says that it has begun, and waits."""

    def __init__(self, work: Callable[[Connection], object]) -> None:
        self.begun = asyncio.Event()
        self.go = threading.Event()
        self._work = work
        self._loop = asyncio.get_running_loop()

    def __call__(self, connection: Connection) -> None:
        self._work(connection)
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self.go.wait(_seconds_max)
