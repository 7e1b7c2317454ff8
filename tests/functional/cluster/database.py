"""A PostgreSQL that machines of a Network reach, on an address of the test's own bridge."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.functional.cluster.network import Network
from tests.functional.programs import Program
from tests.postgres import FAST, INITDB, ROLE, Postgres, as_postgres, program
from treescale.metadata.migrations import migrate

PORT = 5432


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
        self.program = Program(*argv, log=directory / "log")

    def new_database(self, *, copies: int | None = None) -> str:
        """Make a database and return what its users write for `--database`.

        It is empty, or says only how many copies of each chunk there are to be.
        """
        name = f"cluster_{next(self._local.numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
        url = f"postgresql://{ROLE}@{self._network.address}:{PORT}/{name}"
        if copies is not None:
            asyncio.run(migrate(url))
            row = f"INSERT INTO settings (name, value) VALUES ('copies', '{copies}')"  # noqa: S608
            self.execute(url, row)
        return url

    def execute(self, database: str, statement: str) -> None:
        """Run a statement as the administrator; `database` may be such a URL."""
        name = database.rpartition("/")[2]
        asyncio.run(self._local.execute(name, statement))


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
        ready = [program("pg_isready"), "-q", "-h", str(directory), "-U", ROLE, "-d", "postgres"]
        postgres.program.start_until(
            "PostgreSQL takes connections",
            lambda: subprocess.run(ready, check=False).returncode == 0,
            seconds=60,
        )
        try:
            yield postgres
        finally:
            postgres.program.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
