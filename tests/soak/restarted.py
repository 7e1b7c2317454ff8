"""A PostgreSQL that is restarted while it is used."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.postgres import Postgres, initialised, serving


class Restarted(Postgres):
    """One that can be stopped and started again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._running = ExitStack()

    def start(self) -> None:
        """Start it, and wait for it."""
        self._running.enter_context(serving(self.directory, self.directory / "data"))

    def stop(self) -> None:
        """Stop it as a service manager does: every connection is cut."""
        self._running.close()


@contextmanager
def restarted_postgres() -> Iterator[Restarted]:
    """Run one for the time of the block."""
    directory = initialised()
    server = Restarted(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
