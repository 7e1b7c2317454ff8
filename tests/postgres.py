"""A throw-away PostgreSQL for tests: one server per test process, an empty database per test.

The server listens on a Unix socket in its own directory and nowhere else, does not sync (nothing
here outlives the run), and is stopped with the process that started it. Import the fixtures you
need into a conftest.py.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from treescale.metadata.migrations import migrate
from treescale.metadata.schema import metadata

INSTALLED = Path("/usr/lib/postgresql")
ROLE = "treescale"
EMPTIED = "treescale_emptied"
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
"""Closes every other connection to the database, as a restart of the server does."""
EMPTY = ";".join(
    [
        "SET session_replication_role = replica",  # no triggers, which would write rows again
        *(f"DELETE FROM {table.name}" for table in metadata.sorted_tables),  # noqa: S608
    ]
)
"""Some rows; TRUNCATE would make new files for every table and every index of it."""
INITDB = ("-A", "trust", "-U", ROLE, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
FAST = (
    "fsync=off",
    "full_page_writes=off",
    "max_connections=200",
    "deadlock_timeout=50ms",
    "listen_addresses=",
)
start_seconds_max = 60


@dataclass
class Postgres:
    """A running server."""

    directory: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    migrated: bool = False

    def url(self, database: str) -> str:
        """Return what a user would write for `--database`."""
        return f"postgresql://{ROLE}@/{database}?host={self.directory}"

    async def execute(self, database: str, *statements: str) -> None:
        """Run statements as the administrator."""
        connection = await connect(self.url(database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def running_postgres(*options: str) -> Iterator[Postgres]:
    """Run a server of its own for the time of the block."""
    directory = initialised()
    try:
        with serving(directory, directory / "data", *options):
            yield Postgres(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def initialised() -> Path:
    """Return a new directory, in whose `data` a server can start."""
    directory = Path(tempfile.mkdtemp(prefix="treescale-postgres-"))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    subprocess.run(
        [program("initdb"), "-D", directory / "data", *INITDB],
        check=True,
        capture_output=True,
        cwd=directory,
        **as_postgres(),
    )
    return directory


@contextmanager
def serving(directory: Path, data: Path, *more: str) -> Iterator[None]:
    """Start the server and wait for it; stop it at the end, by the id of its own process."""
    options = [word for option in (*FAST, *more) for word in ("-c", option)]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [program("postgres"), "-D", data, "-k", directory, *options],
            stdout=log,
            stderr=log,
            cwd=directory,
            **as_postgres(),
        )
    try:
        wait_until_ready(directory)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(start_seconds_max)


def wait_until_ready(directory: Path) -> None:
    """Return when the server takes connections."""
    ready = ["timeout", str(start_seconds_max), "sh", "-c"]
    ready.append(f'until "$0" -q -h "{directory}" -U {ROLE} -d postgres; do sleep 0.05; done')
    subprocess.run([*ready, program("pg_isready")], check=True, capture_output=True)


async def connect(url: str) -> Any:
    """Return a bare connection to one of the server's databases."""
    return await asyncpg.connect(url, ssl=False)


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; Debian keeps them out of the PATH."""
    found = sorted(INSTALLED.glob(f"*/bin/{name}"))
    on_path = shutil.which(name)
    if not found and on_path is None:
        pytest.fail("PostgreSQL is missing: make packages (or apt-get install postgresql)")
    return str(found[-1]) if found else str(on_path)


def as_postgres() -> dict[str, Any]:
    """Return what makes a subprocess run as the user postgres: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests of this process.

    What its planner knows of tables that are emptied all the time is never what is in them: so it
    is told nothing.
    """
    with running_postgres("autovacuum=off") as server:
        yield server


@pytest.fixture
async def empty_postgres_url(postgres: Postgres) -> AsyncIterator[str]:
    """A database without tables."""
    name = f"test_{next(postgres.numbers)}"
    await postgres.execute("postgres", f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres.url(name)
    await postgres.execute("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def postgres_url(postgres: Postgres) -> str:
    """A migrated, empty database; migrated once, emptied for each test, as that is quicker."""
    url = postgres.url(EMPTIED)
    if not postgres.migrated:
        await postgres.execute("postgres", f"CREATE DATABASE {EMPTIED} TEMPLATE template0")
        await migrate(url)
        postgres.migrated = True
    await postgres.execute(EMPTIED, CUT, EMPTY)
    return url
