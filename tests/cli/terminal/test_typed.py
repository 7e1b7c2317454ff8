"""Commands that are printed can be pasted, whoever prints them and however this was started."""

import ast
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

import treescale
from tests.cli.conftest import Command
from tests.tables import each_row
from treescale.cli.main import cli
from treescale.cli.terminal import typed as typed_module
from treescale.cli.terminal.typed import Typed, started_by, typed
from treescale.config import load

ROOT = Path(treescale.__file__).parent
NAMED = re.compile(r"treescale (user|token|repo|cluster|config|serve)\b[^`\"]*")


def texts() -> Iterator[tuple[str, str]]:
    """Yield each text in the code that names a command, docstrings aside; `N` is what is put in."""
    for path in sorted(ROOT.rglob("*.py")):
        source = path.read_text()
        if "treescale " not in source:
            continue
        tree = ast.parse(source)
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        inside = {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in node.values
        }
        for node in ast.walk(tree):
            if id(node) in documentation | inside:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "N"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if NAMED.search(text):
                yield path.name, text


def test_every_command_in_a_message_is_marked_and_is_one() -> None:
    found = list(texts())
    each_row("place, text", found)(_is_marked_and_a_command)()
    assert {"accounts.py", "advice.py", "ownership.py", "options.py", "servers.py"} <= {
        place for place, _ in found
    }, "the search finds what there is"


def _is_marked_and_a_command(place: str, text: str) -> None:
    marked = re.findall(r"`treescale ([^`]+)`", text)
    assert len(marked) == len(NAMED.findall(text)), f"{place}: put the command in backticks: {text}"
    for command in marked:
        group: click.Command = cli
        for word in command.split()[:2]:
            if isinstance(group, click.Group):
                found = group.get_command(click.Context(group), word)
                assert found is not None, command
                group = found
        assert not isinstance(group, click.Group), f"{command} lacks its verb"


class TestHowItWasStarted:
    @pytest.fixture(autouse=True)
    def script(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))
        monkeypatch.setattr(typed_module, "_on_the_path", lambda: "/usr/bin/treescale")

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("/usr/bin/treescale", ("treescale",)),
            (".venv/bin/treescale", (".venv/bin/treescale",)),
            ("/my disk/treescale", ("/my disk/treescale",)),
            ("/usr/bin/pytest", ("treescale",)),
        ],
    )
    def test_by_a_path(
        self, monkeypatch: pytest.MonkeyPatch, path: str, words: tuple[str, ...]
    ) -> None:
        monkeypatch.setattr(sys, "argv", [path, "serve"])
        assert started_by() == words

    @pytest.mark.parametrize("name", ["treescale.__main__", "treescale.cli.main"])
    def test_as_a_module(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        spec = SimpleNamespace(name=name)
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
        monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "treescale", "serve"])
        assert started_by() == ("python3", "-m", name.removesuffix(".__main__"))


class TestWhereTheClusterIs:
    @each_row(
        ("flags", "environment", "cluster"),
        [
            ({}, {}, ""),
            ({"data": ("/a b", "/c")}, {}, "--data '/a b'"),
            ({}, {"TREESCALE_DATA": "/a,/c"}, "--data /a"),
            ({"database": "postgresql://me@db/x"}, {}, "--database postgresql://me@db/x"),
            ({"database": "postgresql://me:pw@db/x"}, {}, "--database 'postgresql://me:***@db/x'"),
            ({}, {"TREESCALE_DATABASE": "postgresql://me:pw@db/x"}, ""),
            ({}, {"TREESCALE_WORKERS": "2"}, ""),
        ],
    )
    def test_by_flags_and_variables(
        self, flags: dict[str, object], environment: dict[str, str], cluster: str
    ) -> None:
        assert shlex.join(typed(load(flags, environment)).cluster) == cluster

    def test_by_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("own.toml").write_text('data = ["/a", "/b"]\n')
        said = typed(load({}, {}, config="own.toml"))
        assert said.cluster == said.server == ("--config", str(tmp_path / "own.toml"))

    def test_a_relative_path_is_said_whole_and_serve_hears_of_all(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        said = typed(load({"data": ("one", "two")}, {}))
        assert said.cluster == ("--data", str(tmp_path / "one"))
        assert said.server == ("--data", str(tmp_path / "one"), "--data", str(tmp_path / "two"))


class TestPut:
    SAID = Typed(("./my treescale",), ("--data", "/a b"), ("--data", "/a b", "--data", "/c"))

    @each_row(
        ("text", "put"),
        [
            ("nothing to type", "nothing to type"),
            (
                "say `treescale cluster forget x` and `treescale repo list`",
                (
                    "say `'./my treescale' cluster forget x --data '/a b'` "
                    "and `'./my treescale' repo list --data '/a b'`"
                ),
            ),
            (
                "start `treescale serve` first",
                "start `'./my treescale' serve --data '/a b' --data /c` first",
            ),
            (
                "Change it:\n  `treescale user password admin`\nNext",
                "Change it:\n  './my treescale' user password admin --data '/a b'\nNext",
            ),
            (
                "`treescale repo list` lists all",
                "`'./my treescale' repo list --data '/a b'` lists all",
            ),
        ],
    )
    def test_messages(self, text: str, put: str) -> None:
        assert self.SAID.put(text) == put

    def test_data_stays_what_it_is(self) -> None:
        row = {"label": "`treescale repo list`", "text": "`treescale repo list`", "count": 3}
        put = Typed(("t",)).put_row({"advice": [row], "names": ["`treescale repo list`"]})
        assert put == {
            "advice": [{**row, "text": "t repo list"}],
            "names": ["`treescale repo list`"],
        }


def test_an_error_says_the_command_for_this_very_cluster(command: Command) -> None:
    told = command.refused("repo", "delete", "alice/app")
    assert f"`treescale repo list --data {command.data}`" in told
    away = command.data / "nothing here"
    result = command.run("repo", "list", "--data", str(away))
    assert f"`treescale serve --data '{away}'`" in result.stderr
    file = command.data / "own.toml"
    file.write_text("copies = 2\n")
    result = command.run("repo", "list", "--config", str(file))
    assert "`treescale cluster set copies=2`" in result.stderr
