"""What the administration commands share: the options that find the cluster, and its database."""

import asyncio
import functools
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from sqlalchemy.exc import OperationalError, ProgrammingError

from treescale.cli.terminal.output import Output
from treescale.cli.terminal.typed import typed
from treescale.config import Loaded, load
from treescale.errors import DatabaseUnavailable, SettingInvalid
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine.address import parse_address
from treescale.metadata.engine.errors import located

Result = TypeVar("Result")
_SQLITE: Final = "sqlite:///"
_NOT_OURS: Final = (
    "the database is there, but not with the tables of this version: "
    "start `treescale serve` on it first, which makes them"
)
_OPTIONS: Final = (
    click.option(
        "--data", multiple=True, metavar="DIR", help="The data directory of a server with SQLite."
    ),
    click.option("--database", metavar="URL", help="The cluster's database: postgresql://…"),
    click.option("--config", metavar="FILE", help="The TOML file `serve` has (TREESCALE_CONFIG)."),
    click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
)
_OWN: Final = ("data", "database", "config", "as_json")


@dataclass(frozen=True, slots=True)
class CommandContext:
    """Where an administration command works: the settings in force, and how it answers."""

    loaded: Loaded
    out: Output

    def run(self, work: Callable[[Database], Awaitable[Result]]) -> Result:
        """Open the cluster's database, do the work, close it; raises SettingInvalid without one."""
        url = self.loaded.settings.database
        require_database(url)
        return asyncio.run(_explained(url, _with_database(url, work)))

    def run_at(self, work: Callable[[str], Awaitable[Result]]) -> Result:
        """Do work that opens the cluster's database by itself; it may have to be made."""
        url = self.loaded.settings.database
        return asyncio.run(_explained(url, work(url)))


async def _with_database(url: str, work: Callable[[Database], Awaitable[Result]]) -> Result:
    database = open_database(url)
    try:
        return await work(database)
    finally:
        await database.close()


async def _explained(url: str, work: Awaitable[Result]) -> Result:
    """Await the work; raises what its errors mean to whoever typed a command."""
    try:
        return await work
    except (ProgrammingError, OperationalError) as error:
        # What PostgreSQL and SQLite call a missing table; all else has a meaning of its own.
        raise SettingInvalid(_NOT_OURS) from error
    except DatabaseUnavailable as away:
        raise located(away, away.__cause__, parse_address(url)) from away


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
    """Give a command --data, --database, --config and --json, and a CommandContext made of them."""

    def with_desk(**options: Any) -> None:
        own = {key: options.pop(key) for key in _OWN}
        flags = {"data": own["data"], "database": own["database"]}
        loaded = load(flags, os.environ, config=own["config"])
        said = typed(loaded)
        click.get_current_context().find_root().obj = said
        command(CommandContext(loaded, Output(as_json=own["as_json"], typed=said)), **options)

    decorated: Callable[..., None] = functools.update_wrapper(with_desk, command)
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def ask_password(*, from_stdin: bool) -> str:
    """Return a new password: typed twice, or the first line of standard input."""
    if from_stdin:
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not os.isatty(0):
        raise click.UsageError("there is no terminal to ask on: use --password-stdin")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before what cannot be undone; scripts, without a terminal, have made up their mind."""
    if not yes and os.isatty(0):
        click.confirm(question, abort=True)
