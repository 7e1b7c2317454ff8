"""Two PostgreSQL under Debian's Patroni, which an etcd of one member decides for.

One is the primary, the other its synchronous standby: a commit is acknowledged when both have it.
Patroni's times are short, so that a test need not wait for long; the ones in docs/operations.md are
those that people use. Everything listens on the one address that is given.
"""

import json
import os
import shutil
import signal
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.functional.programs import Program, children_of, free_port, wait_until
from tests.postgres import ROLE, program

TTL_SECONDS: Final = 6
"""After so long without a word of the primary's Patroni the standby may take over."""
READY_SECONDS_MAX: Final = 60
_REPLICATION: Final = "replicator"


class Member:
    """One PostgreSQL and the Patroni that runs it."""

    def __init__(self, directory: Path, name: str, address: str, etcd: int, cidr: str) -> None:
        self.name = name
        self.address = address
        self.port, self._api = free_port(), free_port()
        self._data = directory / name
        settings = directory / f"{name}.json"  # which is YAML as well
        settings.write_text(json.dumps(self._settings(etcd, cidr, directory)))
        command = [_executable("patroni"), str(settings)]
        if os.geteuid() == 0:
            command = [
                "setpriv",
                "--reuid=postgres",
                "--regid=postgres",
                "--clear-groups",
                *command,
            ]
        self._patroni = Program(*command, log=directory / f"{name}.log")

    def _settings(self, etcd: int, cidr: str, directory: Path) -> dict[str, Any]:
        here = f"{self.address}:{self._api}"
        return {
            "scope": "treescale",
            "name": self.name,
            "restapi": {"listen": here, "connect_address": here},
            "etcd3": {"host": f"{self.address}:{etcd}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL_SECONDS,
                    "loop_wait": 1,
                    "retry_timeout": 2,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"max_connections": 200}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "no-sync"],
            },
            "postgresql": {
                "listen": f"{self.address}:{self.port}",
                "connect_address": f"{self.address}:{self.port}",
                "data_dir": str(self._data),
                "bin_dir": str(Path(program("postgres")).parent),
                "pgpass": str(directory / f"{self.name}.pgpass"),
                "authentication": {
                    "superuser": {"username": ROLE, "password": "kept-secret"},
                    "replication": {"username": _REPLICATION, "password": "kept-secret"},
                },
                "parameters": {
                    "fsync": "off",
                    "unix_socket_directories": str(directory),
                    "wal_keep_size": "64MB",
                },
                "pg_hba": [
                    "local all all trust",
                    *(f"host {what} all {cidr} scram-sha-256" for what in ("all", "replication")),
                ],
            },
        }

    def start(self) -> None:
        """Start its Patroni, which starts it."""
        self._patroni.start()

    def state(self) -> dict[str, Any]:
        """Return what its Patroni says of it; empty when that does not answer."""
        with suppress(OSError, ValueError):
            url = f"http://{self.address}:{self._api}/patroni"
            with urllib.request.urlopen(url, timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        return {}

    def kill(self) -> None:
        """Kill Patroni and every process of PostgreSQL at once."""
        for pid in self._tree():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._patroni.kill()

    def pause(self) -> None:
        """Let all of them hang: connections stay, new ones are taken, and nothing is said."""
        for pid in (self._patroni.pid, *self._tree()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def _tree(self) -> list[int]:
        with suppress(OSError, ValueError):
            first = int((self._data / "postmaster.pid").read_text().split()[0])
            return [first, *children_of(first)]
        return []


class Pair:
    """Both of them, and their etcd."""

    def __init__(self, directory: Path, address: str, cidr: str) -> None:
        self._etcd_port, peers = free_port(), free_port()
        here, there = f"http://{address}:{self._etcd_port}", f"http://{address}:{peers}"
        self._etcd = Program(
            _executable("etcd"),
            *("--name", "e", "--data-dir", str(directory / "etcd"), "--unsafe-no-fsync"),
            *("--listen-client-urls", here, "--advertise-client-urls", here),
            *("--listen-peer-urls", there, "--initial-advertise-peer-urls", there),
            *("--initial-cluster", f"e={there}", "--heartbeat-interval", "100"),
            log=directory / "etcd.log",
        )
        self.members = [
            Member(directory, name, address, self._etcd_port, cidr) for name in ("a", "b")
        ]

    def start(self) -> None:
        """Return when there are a primary and a synchronous standby."""
        self._etcd.start()
        for member in self.members:
            member.start()
        wait_until("a primary and its standby", self.is_whole, seconds=READY_SECONDS_MAX, every=0.2)

    def is_whole(self) -> bool:
        """Say whether a standby has all that was acknowledged."""
        states = [member.state() for member in self.members]
        streams = [each for s in states for each in s.get("replication", [])]
        return any(each["sync_state"] == "sync" for each in streams)

    @property
    def primary(self) -> Member:
        """Return the one that takes writes."""
        (found,) = (each for each in self.members if each.state().get("role") == "master")
        return found

    def url(self, database: str) -> str:
        """Return what a user would write for `--database`."""
        hosts = ",".join(f"{each.address}:{each.port}" for each in self.members)
        return f"postgresql://{ROLE}:kept-secret@{hosts}/{database}?target_session_attrs=read-write"

    def kill(self) -> None:
        """End all at once."""
        for member in self.members:
            member.kill()
        self._etcd.kill()


@contextmanager
def running_pair(address: str, cidr: str) -> Iterator[Pair]:
    """Run both for the time of the block, for whoever is in `cidr`."""
    directory = Path(tempfile.mkdtemp(prefix="treescale-patroni-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        pair = Pair(directory, address, cidr)
        try:
            pair.start()
            yield pair
        finally:
            pair.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _executable(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: make packages (or apt-get install patroni etcd-server)")
    return found
