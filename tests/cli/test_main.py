"""The command line as a whole: found lazily, wrong in one line, known to the documentation."""

import errno
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import treescale
from tests.cli.conftest import Command
from tests.tables import each_row
from treescale.cli.main import COMMANDS, cli
from treescale.cli.terminal.output import plain, rounded, size
from treescale.config import FIELDS
from treescale.maintenance.report.columns import Column, Kind, time

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"


def test_version_and_help(command: Command) -> None:
    assert treescale.__version__ in command.run("--version").stdout
    told = command.run("--help").stdout
    assert all(name in told for name in COMMANDS)
    assert command.run("-h").stdout == told
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)


def test_a_command_that_does_not_exist_is_a_usage_error(command: Command) -> None:
    result = command.run("usr", "list")
    assert result.exit_code == 2
    assert "No such command 'usr'. Did you mean 'user'?" in result.stderr
    assert "Did you mean 'status'?" in command.run("cluster", "stauts").stderr
    far = command.run("help").stderr
    assert "No such command 'help'." in far
    assert "Did you mean" not in far


def test_no_line_of_a_list_of_commands_is_cut_short(command: Command) -> None:
    for name in COMMANDS:
        _, *lines = command.run(name, "--help").stdout.splitlines()
        assert not any(line.endswith("...") for line in lines)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "unneeded"),
    [
        (["--version"], {"sqlalchemy", "aiohttp", "asyncio"}),
        (["user", "--help"], {"sqlalchemy", "aiohttp", "treescale.server", "treescale.cli.serve"}),
        (["user", "list", "--server", "http://nowhere.invalid"], {"sqlalchemy", "asyncpg"}),
        (["user", "list"], {"aiohttp", "treescale.server", "treescale.cli.serve"}),
    ],
)
def test_a_command_imports_what_it_needs(
    command: Command, words: Sequence[str], unneeded: set[str]
) -> None:
    """Most of what a command costs is its imports."""
    on_data = ["--data", str(command.data)] if words == ["user", "list"] else []
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom treescale.cli.main import cli\n"
        f"result = CliRunner().invoke(cli, {[*words, *on_data]!r})\n"
        "assert result.exit_code == ('--server' in sys.argv), result.output\n"
        f"assert not sys.modules.keys() & {unneeded!r}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_without_a_database_it_says_what_to_do(command: Command, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for words in (["user", "list"], ["repo", "list"], ["cluster", "status"]):
        result = command.run(*words, "--data", str(nowhere))
        assert result.exit_code == 1
        assert "treescale serve" in result.stderr
    assert not nowhere.exists()


def test_a_database_without_tables_is_told_of(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    result = command.run("user", "list", "--database", f"sqlite:///{tmp_path / 'empty.db'}")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the database is there, but not with the tables")


def test_a_database_that_is_none_is_told_of(command: Command, tmp_path: Path) -> None:
    assert command.run("user", "list", "--database", "mysql://x").exit_code == 1
    (tmp_path / "noise.db").write_bytes(b"noise" * 1000)
    result = command.run("user", "list", "--database", f"sqlite:///{tmp_path / 'noise.db'}")
    assert (result.exit_code, "damaged" in result.stderr) == (1, True)


def test_what_the_system_refuses_is_one_line(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/data")

    monkeypatch.setattr("treescale.cli.terminal.options.load", refuse)
    assert command.refused("config", "show") == "error: [Errno 13] Permission denied: '/data'"


def test_a_reader_who_has_seen_enough_is_told_nothing(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("treescale.cli.terminal.options.load", gone)
    result = command.run("config", "show")
    assert (result.exit_code, result.output) == (1, "")


def test_config_show_says_where_each_value_came_from(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "t.toml"
    file.write_text("grace_seconds = 20\n")
    monkeypatch.setenv("TREESCALE_ZONE", "a")
    monkeypatch.setenv("TREESCALE_ADMIN_PASSWORD", "never shown")
    rows = {
        row["key"]: (row["value"], row["source"])
        for row in command.json("config", "show", "--config", str(file))
    }
    assert list(rows) == list(FIELDS)
    assert rows["zone"] == ("a", "TREESCALE_ZONE")
    assert rows["grace_seconds"] == (20, str(file))
    assert rows["data"] == ([str(command.data)], "--data")
    assert rows["listen"] == (["127.0.0.1:5000"], "default")
    assert "never shown" not in command.here("config", "show")
    monkeypatch.setenv("TREESCALE_ZNE", "a")
    assert "did you mean TREESCALE_ZONE" in command.refused("config", "show")


def test_the_documentation_knows_every_command_and_option() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    context = click.Context(cli)
    for name in COMMANDS:
        found = cli.get_command(context, name)
        assert found is not None
        verbs = found.commands.items() if isinstance(found, click.Group) else [("", found)]
        for verb, leaf in verbs:
            words = f"treescale {name} {verb}".strip()
            assert words in text, f"docs/cli.md lacks `{words}`"
            for parameter in leaf.params:
                for option in parameter.opts if isinstance(parameter, click.Option) else []:
                    named = re.search(rf"(?<![\w-]){option}(?![\w-])", text)
                    assert named, f"docs/cli.md lacks {option} of `{words}`"


def test_every_command_answers_in_json() -> None:
    context = click.Context(cli)
    for name in COMMANDS:
        found = cli.get_command(context, name)
        if isinstance(found, click.Group):
            for verb, leaf in found.commands.items():
                options = {option for one in leaf.params for option in one.opts}
                assert options >= {"--json", "--data", "--database", "--config"}, f"{name} {verb}"
                assert CliRunner().invoke(cli, [name, verb, "--help"]).exit_code == 0


@each_row(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (10**20, "100 EB")],
)
def test_sizes_are_rounded_for_people(count: int, text: str) -> None:
    assert size(count) == text


def test_values_are_exact_for_pipes_and_rounded_for_people() -> None:
    moment = time(1_700_000_000.0)
    assert (plain(moment), time(None)) == ("2023-11-14T22:13:20Z", None)
    assert rounded(moment, Column("x", Kind.TIME)) == "2023-11-14 22:13"
    assert rounded(None, Column("x", empty="never")) == "never"
    assert rounded(12_345, Column("x", Kind.COUNT)) == "12,345"
    assert rounded(["a", "b"], Column("x")) == "a, b"
    assert plain(None) == "-"
    assert plain([1, "a b\tc", True]) == "1,a b c,yes"
