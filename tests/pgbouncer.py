"""A pgbouncer before a PostgreSQL of tests, in transaction mode, as Debian has it (1.18).

It knows nothing of prepared statements, refuses settings that a client opens a session with, and
gives each transaction the next free of its few sessions. Import the fixture into a conftest.py.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.postgres import ROLE, Postgres, as_postgres, program, start_seconds_max

PORT = 6432
POOL = 4
"""Sessions of one database: fewer than one process of ours would open."""


@contextmanager
def running_pgbouncer(postgres: Postgres, *settings: str) -> Iterator[Postgres]:
    """Run one for the time of the block; what is returned has its URLs."""
    directory = Path(tempfile.mkdtemp(prefix="treescale-pgbouncer-"))
    lines = (
        "[databases]",
        f"* = host={postgres.directory}",
        "[pgbouncer]",
        "listen_addr =",
        f"unix_socket_dir = {directory}",
        f"listen_port = {PORT}",
        "auth_type = trust",
        f"auth_file = {directory}/users",
        "pool_mode = transaction",
        f"default_pool_size = {POOL}",
        "server_idle_timeout = 5",
        *settings,
    )
    (directory / "users").write_text(f'"{ROLE}" ""\n')
    (directory / "pgbouncer.ini").write_text("\n".join([*lines, ""]))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres", "postgres")
    try:
        with _serving(directory):
            yield Pooled(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Pooled(Postgres):
    """A server as it is reached through the pooler."""

    def url(self, database: str) -> str:
        """Return what a user would write for `--database`."""
        return f"{super().url(database)}&port={PORT}"


@contextmanager
def _serving(directory: Path) -> Iterator[None]:
    executable = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not Path(executable).exists():
        pytest.fail("pgbouncer is missing: make packages (or apt-get install pgbouncer)")
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [executable, directory / "pgbouncer.ini"],
            stdout=log,
            stderr=log,
            cwd=directory,
            **as_postgres(),
        )
    try:
        ready = ["timeout", str(start_seconds_max), "sh", "-c"]
        ready.append(f'until "$0" -q -h "{directory}" -p {PORT} -U {ROLE}; do sleep 0.05; done')
        subprocess.run([*ready, program("pg_isready")], check=True, capture_output=True)
        yield
    finally:
        server.terminate()
        server.wait(start_seconds_max)


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[Postgres]:
    """One for all tests of this process."""
    with running_pgbouncer(postgres) as server:
        yield server
