"""A program that is forked from one that has imported it is as one that is started: `warm.py`."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.functional import warm
from tests.functional.programs import Program, group_runs, in_namespace, outcome, run, wait_until
from tests.functional.server import ADMIN_PASSWORD, Options, Server
from tests.functional.warm import TREESCALE

UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
COMMANDS = [
    ("0", "", "--version"),
    ("0", "", "config", "show", "--config", "here.toml"),
    ("2", "", "user", "nonsense"),
    ("1", "", "user", "list", "--data", "nowhere"),
    ("1", "short", "user", "add", "bob", "--password-stdin", "--data", "nowhere"),
    ("1", "", "serve", "--config", "nowhere.toml"),
]
"""The exit status, what is read, and the words of each."""
FACTS = (sys.executable, "-m", "tests.functional.facts", "a word", "--flag")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Both:
    """Does something twice: with a fork, and with a start."""

    patch: pytest.MonkeyPatch

    def ways(self, work: Callable[[], Found]) -> tuple[Found, Found]:
        with self.patch.context() as patch:
            patch.setattr(warm, "IS_COLD", False)
            forked = work()
            patch.setattr(warm, "IS_COLD", True)
            return forked, work()


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(monkeypatch)


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"warm{os.getpid()}"
    run("ip", "netns", "add", name)
    yield name
    run("ip", "netns", "delete", name)


def test_it_finds_what_a_program_finds_that_is_started(
    both: Both, namespace: str, tmp_path: Path
) -> None:
    """Its environment, directory, descriptors, signals, streams, network, session and its name."""
    log = tmp_path / "log"

    def facts(*before: str) -> dict[str, Any]:
        log.write_bytes(b"")
        program = Program(*before, *FACTS, log=log, env={**UNBUFFERED, "OF_THE_TEST": "ä b\nc"})
        program.start()
        assert program.wait(seconds=30) == 0, log.read_text()
        found: dict[str, Any] = json.loads(log.read_text())
        return found

    forked, started = both.ways(facts)
    assert forked == started
    assert forked["descriptors"] == [0, 1, 2]
    assert forked["environment"]["OF_THE_TEST"] == "ä b\nc"
    away, started = both.ways(lambda: facts(*in_namespace(namespace)))
    assert away == started
    assert away["network"] != forked["network"]
    assert away["mounts"] == forked["mounts"]


def test_commands_say_the_same_and_end_the_same(
    both: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with what they read from their directory and from standard input."""
    monkeypatch.chdir(tmp_path)
    Path("here.toml").write_text('data = ["there"]\n')
    for status, text_in, *words in COMMANDS:
        command = partial(outcome, TREESCALE, *words, text_in=text_in, env=UNBUFFERED)
        forked, started = both.ways(command)
        assert forked == started, words
        assert str(forked[0]) == status, forked


def test_servers_end_the_same_with_each_signal(both: Both, tmp_path: Path) -> None:
    """With all their processes; until then there is no exit status."""
    homes = (tmp_path / f"{number}" for number in range(10))

    def end(number: signal.Signals) -> tuple[int, bool]:
        server = Server(next(homes), Options(workers=1)).start()
        process = server.program._process
        assert process is not None
        assert process.poll() is None
        os.kill(server.program.pid, number)
        status = process.wait(20)
        assert process.poll() == process.wait() == status, "as often as it is asked"
        wait_until("all are gone", lambda: not group_runs(process.pid))
        return status, "server.stopped" in server.log.read_text()

    ends = [
        both.ways(partial(end, number))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
    ]
    assert [forked for forked, _ in ends] == [started for _, started in ends]
    assert ends[-1][0] == (-signal.SIGKILL, False)


def test_what_a_fork_would_not_be_is_started(both: Both) -> None:
    """Behind another program, with another interpreter, or with what one reads at its start."""
    serve, env = (str(TREESCALE), "serve"), {**os.environ, **UNBUFFERED}
    with both.patch.context() as patch:
        patch.setattr(warm, "IS_COLD", False)
        assert warm.is_warm(serve, env | {"TREESCALE_ADMIN_PASSWORD": ADMIN_PASSWORD})
        assert warm.is_warm((*in_namespace("any"), *serve), env)
        assert warm.is_warm(FACTS, env)
        assert not warm.is_warm(("strace", "-f", *serve), env)
        assert not warm.is_warm(("ip", "netns", "exec", "any", *serve), env)
        assert not warm.is_warm(("/usr/bin/python3", "-m", "treescale", "serve"), env)
        assert not warm.is_warm(("/usr/bin/treescale", "serve"), env)
        assert not warm.is_warm(serve, env | {"LD_PRELOAD": "libfaketime.so.1"})
        assert not warm.is_warm(serve, env | {"PYTHONPATH": "/elsewhere"})
        assert not warm.is_warm(serve, {**os.environ, "PYTHONUNBUFFERED": ""})
        patch.setattr(warm, "IS_COLD", True)
        assert not warm.is_warm(serve, env)
