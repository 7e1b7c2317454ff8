"""A PostgreSQL that machines of a Network reach, on an address of the test's own bridge."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.functional.cluster.network import Network
from tests.functional.programs import Program, children_of
from tests.postgres import FAST, INITDB, ROLE, Postgres, as_postgres, connect, program
from treescale.metadata.migrations import migrate

PORT = 5432
TEMPLATE = "treescale_template"


class NetworkPostgres:
    """A running server, as the administrator and as the machines reach it."""

    def __init__(self, network: Network, directory: Path) -> None:
        self._network = network
        self._local = Postgres(directory)
        options = (*FAST, f"listen_addresses={network.address}", f"port={PORT}")
        words = [word for option in options for word in ("-c", option)]
        argv = [program("postgres"), "-D", str(directory / "data"), "-k", str(directory), *words]
        if os.geteuid() == 0:
            argv = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *argv]
        self._program = Program(*argv, log=directory / "log")
        self._ready = [program("pg_isready"), "-q", "-h", str(directory), "-U", ROLE]
        self._stopped: list[int] = []
        self._has_template = False

    def start(self) -> None:
        """Start it, also after a crash, and return once it takes connections."""
        ready = [*self._ready, "-d", "postgres"]
        self._program.start_until(
            "PostgreSQL takes connections",
            lambda: subprocess.run(ready, check=False).returncode == 0,
            seconds=60,
        )

    def crash(self) -> None:
        """Kill all its processes, each of which has a session of its own."""
        for pid in self._tree():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._program.kill()

    def pause(self) -> None:
        """Let all its processes hang: connections stay, and say nothing."""
        os.kill(self._program.pid, signal.SIGSTOP)  # from here on it starts no more
        self._stopped = self._tree()
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for pid in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._stopped = []

    def _tree(self) -> list[int]:
        return [self._program.pid, *children_of(self._program.pid)]

    def new_database(self, *, copies: int | None = None, empty: bool = False) -> str:
        """Make a database and return what its users write for `--database`.

        It has tables and no row, unless it is to be `empty`; or a row that says how many copies of
        each chunk there are to be.
        """
        template = "template0" if empty else self._migrated()
        name = f"cluster_{next(self._local.numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        url = self._url(name)
        if copies is not None:
            row = f"INSERT INTO settings (name, value) VALUES ('copies', '{copies}')"  # noqa: S608
            self.execute(url, row)
        return url

    def _migrated(self) -> str:
        """Return the name of a database with tables, made once: that takes a server seconds."""
        if not self._has_template:
            self.execute("postgres", f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
            asyncio.run(migrate(self._url(TEMPLATE)))
            self._has_template = True
        return TEMPLATE

    def _url(self, name: str) -> str:
        return f"postgresql://{ROLE}@{self._network.address}:{PORT}/{name}"

    def execute(self, database: str, statement: str) -> None:
        """Run a statement as the administrator; `database` may be such a URL."""
        name = database.rpartition("/")[2]
        asyncio.run(self._local.execute(name, statement))

    def ask(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return asyncio.run(self._ask(database.rpartition("/")[2], query))

    async def _ask(self, name: str, query: str) -> list[tuple[Any, ...]]:
        connection = await connect(self._local.url(name))
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@contextmanager
def network_postgres(network: Network) -> Iterator[NetworkPostgres]:
    """Run a server for the time of the block."""
    directory = Path(tempfile.mkdtemp(prefix="treescale-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        subprocess.run(
            [program("initdb"), "-D", directory / "data", *INITDB],
            check=True,
            capture_output=True,
            cwd=directory,
            **as_postgres(),
        )
        with (directory / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network.cidr} trust\n")
        postgres = NetworkPostgres(network, directory)
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.resume()
            postgres.crash()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
