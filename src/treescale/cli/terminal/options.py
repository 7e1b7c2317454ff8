"""What the administration commands share: the options that find the cluster, and its database."""

import asyncio
import functools
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from treescale.cli.remote.known import known_servers, server_url
from treescale.cli.terminal.importing import imported
from treescale.cli.terminal.output import Output
from treescale.cli.terminal.typed import typed, typed_to
from treescale.config import CA_FILE_VARIABLE, SERVER_VARIABLE, Loaded, load
from treescale.errors import PasswordNeeded, SettingInvalid

if TYPE_CHECKING:  # brings SQLAlchemy: half of a start, for who asks a server or for help
    from treescale.metadata.database import Database

Result = TypeVar("Result")
_SQLITE: Final = "sqlite:///"
_OPTIONS: Final = (
    click.option(
        "--data", multiple=True, metavar="DIR", help="The data directory of a server with SQLite."
    ),
    click.option("--database", metavar="URL", help="The cluster's database: postgresql://…"),
    click.option("--config", metavar="FILE", help="The TOML file `serve` has (TREESCALE_CONFIG)."),
    click.option(
        "--server", metavar="URL", help="Ask this server instead, from any machine (see `login`)."
    ),
    click.option("--ca-file", metavar="FILE", help="Who signs the server's certificate (PEM)."),
    click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
)
_OWN: Final = ("data", "database", "config", "server", "ca_file", "as_json")
_LOCAL: Final = ("data", "database", "config")
_HERE: Final = (
    "this works on the database itself and asks no server: leave --server and TREESCALE_SERVER "
    "out, and run it on a machine of the cluster"
)
_TERMINAL: Final = "/dev/tty"
_ON_DATABASE: Final = "treescale.cli.terminal.on_database"
NO_QUERY: Final[Mapping[str, str]] = {}


class Asking(Protocol):
    """The management API, whoever answers: this process on the database, or a server by HTTP."""

    async def ask(
        self, method: str, path: str, *, query: Mapping[str, str] = NO_QUERY, body: object = None
    ) -> Any:
        """Return what is answered, as JSON has it; `path` is below PREFIX, escaped.

        Raises the errors that the API tells of.
        """
        ...


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """The server that a command asks, and what signs its certificate, if that is told."""

    url: str
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Where an administration command works: the settings in force, and how it answers."""

    loaded: Loaded
    out: Output
    server: RemoteAddress | None = None
    """None: on the database."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: object = None,
    ) -> Any:
        """Return what the management API answers, as JSON has it; None in a query is not sent.

        `path` is below `/api/v1`; a word in it that somebody typed goes through `segment`. Without
        --server this process answers, on the cluster's database, as the operator who may do
        everything; with it that server does, by the login that is kept for it. Raises the errors
        of the API, the same either way.
        """
        given = {key: value for key, value in (query or {}).items() if value is not None}
        return self.asking(lambda api: api.ask(method, path, query=given, body=body))

    def pages(
        self, path: str, key: str, *, query: Mapping[str, str | None] | None = None
    ) -> list[Any]:
        """Return all entries of a list that comes in pages, each with them below `key`."""
        given = {name: value for name, value in (query or {}).items() if value is not None}

        async def work(api: Asking) -> list[Any]:
            found: list[Any] = []
            after: dict[str, str] = {}
            while True:
                page = await api.ask("GET", path, query=given | after)
                found += page[key]
                if page["next"] is None:
                    return found
                after = {"after": page["next"]}

        return self.asking(work)

    def asking(self, work: Callable[[Asking], Awaitable[Result]]) -> Result:
        """Do work that asks more than once, as `ask` does."""
        if self.server is not None:
            return asyncio.run(_with_server(self.server, work))

        async def here(database: "Database") -> Result:
            module = imported("treescale.cli.terminal.in_process")  # a slow one
            operator = await module.operator_on(database, self.loaded.settings.public_url)
            return await work(operator)

        return self.run(here)

    def check_here(self) -> None:
        """Raise SettingInvalid when a server is to be asked: this command works where it runs."""
        if self.server is not None:
            raise SettingInvalid(_HERE)

    def run(self, work: "Callable[[Database], Awaitable[Result]]") -> Result:
        """Open the cluster's database, do the work, close it; raises SettingInvalid without one."""
        self.check_here()
        url = self.loaded.settings.database
        require_database(url)
        result: Result = asyncio.run(imported(_ON_DATABASE).with_database(url, work))
        return result

    def run_at(self, work: Callable[[str], Awaitable[Result]]) -> Result:
        """Do work that opens the cluster's database by itself; it may have to be made."""
        self.check_here()
        url = self.loaded.settings.database
        result: Result = asyncio.run(imported(_ON_DATABASE).explained(url, work(url)))
        return result


async def _with_server(
    address: RemoteAddress, work: Callable[[Asking], Awaitable[Result]]
) -> Result:
    remote = imported("treescale.cli.remote.server")  # likewise
    kept = known_servers(os.environ).get(address.url)
    if kept is None:
        raise SettingInvalid(
            f"there is no login to {address.url} here: `treescale login {address.url}`"
        )
    credentials = remote.Credentials(kept.user, kept.secret)
    async with remote.RemoteServer(
        address.url, credentials, ca_file=address.ca_file, password=_password_at_terminal
    ) as server:
        return await work(server)


def _password_at_terminal(question: str) -> str:
    """Return what is typed at the terminal, wherever standard input comes from."""
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise PasswordNeeded(
            "this takes your password once more: run it at a terminal, which asks for it"
        ) from None
    return getpass.getpass(f"{question}: ")


def require_database(url: str) -> None:
    """Raise SettingInvalid when SQLite's file is not there: who only looks must not make one."""
    if not url.startswith(_SQLITE):
        return
    path = Path(url.removeprefix(_SQLITE))
    if not path.exists():
        raise SettingInvalid(
            f"there is no database at {path}: start `treescale serve` there first, "
            "or say with --data, --database or --config where it is"
        )


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where it works, and a CommandContext made of them."""

    def with_desk(**options: Any) -> None:
        own = {key: options.pop(key) for key in _OWN}
        flags = {"data": own["data"], "database": own["database"]}
        loaded = load(flags, os.environ, config=own["config"])
        server = _server(own, os.environ)
        said = typed(loaded) if server is None else typed_to(own["server"], own["ca_file"])
        click.get_current_context().find_root().obj = said
        out = Output(as_json=own["as_json"], typed=said)
        command(CommandContext(loaded, out, server), **options)

    decorated: Callable[..., None] = functools.update_wrapper(with_desk, command)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _server(own: Mapping[str, Any], environment: Mapping[str, str]) -> RemoteAddress | None:
    """Return which server is to be asked: a flag wins over a variable, whatever the two say."""
    local = [f"--{key}" for key in _LOCAL if own[key]]
    if own["server"] and local:
        raise click.UsageError(f"say --server or {local[0]}: which of them is to be asked?")
    url = own["server"] or ("" if local else environment.get(SERVER_VARIABLE, ""))
    if not url:
        return None
    ca_file = own["ca_file"] or environment.get(CA_FILE_VARIABLE, "")
    return RemoteAddress(server_url(url), ca_file)


def ask_password(*, from_stdin: bool) -> str:
    """Return a new password: typed twice, or the first line of standard input."""
    return _secret(from_stdin=from_stdin, twice=True)


def ask_secret(*, from_stdin: bool) -> str:
    """Return what somebody logs in with: typed once, or the first line of standard input."""
    return _secret(from_stdin=from_stdin, twice=False, what="Password or access token")


def _secret(*, from_stdin: bool, twice: bool, what: str = "Password") -> str:
    if from_stdin:
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not os.isatty(0):
        raise click.UsageError("there is no terminal to ask on: use --password-stdin")
    return str(click.prompt(what, hide_input=True, confirmation_prompt=twice))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; scripts, without a terminal, have made up their mind."""
    if not yes and os.isatty(0):
        click.confirm(question, abort=True)
