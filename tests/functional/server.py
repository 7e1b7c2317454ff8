"""A `treescale serve` of the test's own, and the administrator's commands for it."""

import http.client
import os
import signal
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.functional.programs import Program, children_of, free_port, in_namespace, run

TREESCALE = Path(sys.executable).with_name("treescale")
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
    advertise: str = ""
    no_store: bool = False
    launcher: tuple[str, ...] = (str(TREESCALE),)
    """What is run; another one is for servers that are wrong on purpose."""


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
        if self.options.no_store:
            words.append("--no-store")
        return [*words, "--tls-self-signed"] if self.options.tls else words

    def _where(self) -> list[str]:
        words = [word for disk in self.disks for word in ("--data", str(disk))]
        return [*words, "--database", self.options.database] if self.options.database else words

    def _environment(self) -> dict[str, str]:
        return {"TREESCALE_ADMIN_PASSWORD": ADMIN_PASSWORD, "PYTHONUNBUFFERED": "1"}

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

    def start(self) -> "Server":
        """Start it and return once it says that it is fit to serve."""
        self.program.start_until("treescale serve is ready", self.is_ready, seconds=40)
        return self

    def is_ready(self) -> bool:
        """Say whether it is fit to serve just now."""
        connection = self.connect(seconds=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> int:
        """Stop it as an administrator does, and return its exit code."""
        return self.program.stop()

    def crash(self) -> None:
        """Kill it, its workers included, with no chance to tidy up."""
        self.program.kill()

    def kill_worker(self, pid: int) -> None:
        """Kill one of its workers."""
        assert pid in children_of(self.program.pid)
        os.kill(pid, signal.SIGKILL)

    def kill_supervisor(self) -> None:
        """Kill the process that was started, and no other."""
        os.kill(self.program.pid, signal.SIGKILL)

    def admin(self, *words: str, text_in: str = "") -> str:
        """Run an administration command against this server's data."""
        noun, verb, *rest = words
        return run(
            TREESCALE,
            noun,
            verb,
            *rest,
            *self._where(),
            text_in=text_in,
            env=self._environment() | {"PATH": os.environ["PATH"]},
        )

    def add_user(self, name: str) -> Account:
        """Add a user with a password of their own."""
        account = Account(name, f"password of {name}")
        self.admin("user", "add", name, "--password-stdin", text_in=account.password)
        return account

    def add_token(self, account: Account, *flags: str) -> Account:
        """Return the account with an access token where its password was."""
        token = self.admin("token", "create", account.name, "--name", "functional", *flags)
        return Account(account.name, token.strip())
