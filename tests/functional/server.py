"""A `treescale serve` of the test's own, and the administrator's commands for it."""

import http.client
import json
import os
import secrets
import signal
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.functional import warm
from tests.functional.programs import (
    Program,
    free_port,
    in_namespace,
    outcome,
    wait_until,
    workers_of,
)
from tests.templates import empty_database
from treescale.chunks.disk.label import create_label
from treescale.chunks.disk.syscalls import Disk
from treescale.cli.main import cli

TREESCALE = warm.TREESCALE
ADMIN_PASSWORD = "correct horse battery staple"


ANYBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Encrypts, and verifies nobody. A default context reads all authorities, each time it is made."""
ANYBODY.check_hostname = False
ANYBODY.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True)
class Account:
    """Somebody who can log in."""

    name: str
    password: str


@dataclass(frozen=True)
class Options:
    """How the server is started; what is not said is the command's default."""

    workers: int | None = 2
    host: str = "127.0.0.1"
    port: int = 0
    """0: one that is free on 127.0.0.1."""
    namespace: str = ""
    """The network namespace it runs in; none is the machine's own."""
    disks: int = 1
    """Whether it holds chunks; else it only serves the API."""
    database: str = ""
    tls: bool = False
    certificate: tuple[Path, Path] | None = None
    """Files with a certificate and its key, in place of one that the server makes."""
    advertise: str = ""
    no_store: bool = False
    weight: float | None = None
    fit: str = "/readyz"
    """Where it says that it has started."""
    launcher: tuple[str, ...] = (str(TREESCALE),)
    """What is run; another one is for servers that are wrong on purpose."""
    variables: tuple[tuple[str, str], ...] = ()
    """Of its environment: settings, by name."""


class Server:
    """A registry with its data below `home`. It keeps its port when restarted."""

    def __init__(self, home: Path, options: Options | None = None) -> None:
        self.options = options or Options()
        self.home = home
        self.disks = [home / f"disk{number}" for number in range(self.options.disks)]
        self.port = self.options.port or free_port()
        self.log = home / "server.log"
        home.mkdir(parents=True, exist_ok=True)
        self.program = Program(*self._words(), log=self.log, env=self._environment())

    def _words(self) -> list[str]:
        name = self.options.namespace
        inside = [*in_namespace(name)] if name else []
        return [*inside, *self.options.launcher, *self._arguments()]

    def _arguments(self) -> list[str]:
        words = ["serve", *self._where(), "--listen", self.address]
        if self.options.workers is not None:
            words += ["--workers", str(self.options.workers)]
        if self.options.advertise:
            words += ["--advertise", self.options.advertise]
        if self.options.weight is not None:
            words += ["--weight", str(self.options.weight)]
        if self.options.no_store:
            words.append("--no-store")
        if self.options.certificate is not None:
            certificate, key = self.options.certificate
            return [*words, "--tls-cert", str(certificate), "--tls-key", str(key)]
        return [*words, "--tls-self-signed"] if self.options.tls else words

    def _where(self) -> list[str]:
        words = [word for disk in self.disks for word in ("--data", str(disk))]
        return [*words, "--database", self.options.database] if self.options.database else words

    def _environment(self) -> dict[str, str]:
        usual = {"TREESCALE_ADMIN_PASSWORD": ADMIN_PASSWORD, "PYTHONUNBUFFERED": "1"}
        return usual | dict(self.options.variables)

    @property
    def address(self) -> str:
        """Return host and port, as they stand before a repository's name."""
        host = self.options.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def certificate(self) -> Path:
        """Return where the server keeps the certificate it made."""
        return self.disks[0] / "tls" / "tls.crt"

    @property
    def admin_account(self) -> Account:
        """Return the administrator."""
        return Account("admin", ADMIN_PASSWORD)

    def connect(self, *, seconds: float = 20) -> http.client.HTTPConnection:
        """Return a new connection, which nobody verifies when it is TLS."""
        if not self.options.tls:
            return http.client.HTTPConnection(self.options.host, self.port, timeout=seconds)
        return http.client.HTTPSConnection(
            self.options.host, self.port, timeout=seconds, context=ANYBODY
        )

    def start(self, *, seconds: float = 40) -> "Server":
        """Start it and return once it says that it is fit to serve, with each of its workers."""
        self._begin_with_tables()
        self.program.start_until("treescale serve is ready", self.is_ready, seconds=seconds)
        count = self.options.workers or 1
        wait_until("workers start", lambda: len(workers_of(self.program.pid)) >= count)
        return self

    def _begin_with_tables(self) -> None:
        """Have tables there before a first start: making them takes as long as all else of it.

        Servers of pages, of cases and of images start where there is nothing at all.
        """
        if not self.options.database and not self.disks[0].exists():
            create_label(self.disks[0], Disk())
            empty_database(self.disks[0] / "treescale.db")
            (self.disks[0] / "treescale.db").chmod(0o600)

    def is_ready(self) -> bool:
        """Say whether it is fit to serve just now."""
        connection = self.connect(seconds=5)
        try:
            connection.request("GET", self.options.fit)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self, *, seconds: float = 20) -> int:
        """Stop it as an administrator does, and return its exit code."""
        return self.program.stop(seconds=seconds)

    def crash(self) -> None:
        """Kill it, its workers included, with no chance to tidy up."""
        self.program.kill()

    def kill_worker(self, pid: int) -> None:
        """Kill one of its workers."""
        assert pid in workers_of(self.program.pid)
        os.kill(pid, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kill the process that was started, and no other."""
        os.kill(self.program.pid, signal.SIGKILL)

    def admin(self, *words: str, text_in: str = "") -> str:
        """Run an administration command against this server's data."""
        code, said = self.outcome(*words, text_in=text_in)
        assert code == 0, f"treescale {' '.join(words)} ended with {code} and said:\n{said}"
        return said

    def outcome(self, *words: str, text_in: str = "") -> tuple[int, str]:
        """Run an administration command; return its exit code and all it printed."""
        return outcome(
            TREESCALE,
            *words,
            *self._where(),
            text_in=text_in,
            env=self._environment() | {"PATH": os.environ["PATH"]},
        )

    def add_user(self, name: str) -> Account:
        """Add a user with a password of their own."""
        account = Account(name, f"password of {name}")
        self._administer("user", "add", name, "--password-stdin", text_in=account.password)
        return account

    def add_token(self, account: Account, *flags: str) -> Account:
        """Return the account with an access token where its password was."""
        name = f"functional {secrets.token_hex(4)}"
        token = self._administer("token", "create", account.name, "--name", name, *flags)
        return Account(account.name, token.strip())

    def status(self) -> dict[str, Any]:
        """Return what `treescale cluster status` says; one asks for it again and again."""
        found: dict[str, Any] = json.loads(self._administer("cluster", "status", "--json"))
        return found

    def _administer(self, *words: str, text_in: str = "") -> str:
        """Do what `admin` does, in this process: half of a command's time is its start.

        For what a test only needs; one about commands runs them with `admin`.
        """
        done = CliRunner(env=self._environment()).invoke(
            cli, [*words, *self._where()], input=text_in, prog_name="treescale"
        )
        assert done.exit_code == 0, f"{words}: {done.output}"
        return done.stdout
