"""A command line with a cluster behind it, and nobody's settings in the environment."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from click.testing import CliRunner, Result

from tests.log_state import log_restored
from tests.templates import empty_database
from treescale.auth.passwords import Passwords
from treescale.cli.accounts import token, user
from treescale.cli.main import cli
from treescale.cli.terminal import in_process
from treescale.metadata.database import Database, open_database

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Command:
    """`treescale` on one data directory."""

    data: Path

    def run(self, *words: str, text_in: str = "") -> Result:
        """Run it as it comes, and let no traceback pass."""
        result = CliRunner().invoke(cli, list(words), input=text_in)
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    def here(self, *words: str, text_in: str = "") -> str:
        """Run a command on the data directory; it must succeed."""
        result = self.run(*words, "--data", str(self.data), text_in=text_in)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str, text_in: str = "") -> Any:
        """Return what a command answers in JSON."""
        return json.loads(self.here(*words, "--json", text_in=text_in))

    def refused(self, *words: str, text_in: str = "") -> str:
        """Return the one line of a command that must fail."""
        result = self.run(*words, "--data", str(self.data), text_in=text_in)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        line, newline, rest = result.stderr.partition("\n")
        assert line.startswith("error: ")
        assert (newline, rest) == ("\n", "")
        return line

    def database(self, work: Callable[[Database], Awaitable[Answer]]) -> Answer:
        """Do something to the database."""

        async def opened() -> Answer:
            database = open_database(f"sqlite:///{self.data / 'treescale.db'}")
            try:
                return await work(database)
            finally:
                await database.close()

        return asyncio.run(opened())


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TREESCALE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Let no command's log, of errors alone, be the one of the next test."""
    with log_restored():
        yield


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash with next to no memory, as far as commands do: `auth/test_passwords` has the rest."""
    for where in (user, token, in_process):
        monkeypatch.setattr(where, "Passwords", partial(Passwords, memory=64))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """A command line on a cluster that has been started once."""
    empty_database(tmp_path / "treescale.db")
    return Command(tmp_path)
