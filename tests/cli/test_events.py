"""`treescale events`: what has happened, a line each, and on as it happens."""

import json
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.events.values import recorded
from treescale.cli.events import log as under_test
from treescale.cli.events.log import _Read, _show_all
from treescale.errors import DatabaseUnavailable, Failed
from treescale.metadata.database import Database
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.schema import events

PASSWORD = "correct horse"


def add(command: Command, *names: str) -> None:
    for name in names:
        command.here("user", "add", name, "--password-stdin", text_in=PASSWORD)


def lines(text: str) -> list[Any]:
    return [json.loads(each) for each in text.splitlines()]


def test_each_event_is_a_line(command: Command) -> None:
    assert command.here("events") == ""
    add(command, "alice", "bob")
    command.here("token", "create", "alice", "--name", "ci")
    told = [line.split("\t") for line in command.here("events").splitlines()]
    assert [(kind, subject) for _, _, kind, _, subject, _ in told] == [
        ("user.created", "alice"),
        ("user.created", "bob"),
        ("token.created", "alice"),
    ]
    assert told[0][1].endswith("Z")
    assert told[0][3].startswith("cli:")
    assert [int(each[0]) for each in told] == sorted(int(each[0]) for each in told)


def test_in_json_it_is_an_object_a_line(command: Command) -> None:
    add(command, "alice")
    (one,) = lines(command.here("events", "--json"))
    assert {*one} == {
        "sequence",
        "id",
        "kind",
        "at",
        "actor",
        "request_id",
        "namespace",
        "repository",
        "reference",
        "digest",
        "previous_digest",
        "payload",
    }
    assert (one["kind"], one["namespace"], one["payload"]) == (
        "user.created",
        "alice",
        {"admin": False},
    )


def test_filters(command: Command) -> None:
    add(command, "alice", "bob")
    first, second = lines(command.here("events", "--json"))
    assert lines(command.here("events", "--json", "--after", str(first["sequence"]))) == [second]
    assert command.here("events", "--kind", "token.*") == ""
    assert command.here("events", "--repository", "alice/*") == ""
    assert "at most" in command.refused("events", "--kind", "a" * 300)
    assert command.run("events", "--after", "-1").exit_code == 2


def test_what_is_pruned_is_said(command: Command) -> None:
    add(command, "alice", "bob", "carol")

    async def prune(database: Database) -> None:
        await database.connections.change(events.delete().where(events.c.sequence < 3))

    command.database(prune)
    result = command.run("events", "--after", "1", "--data", str(command.data))
    assert "gap" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_what_nothing_can_match_is_said(command: Command) -> None:
    add(command, "alice")
    for words, says in (
        (("--kind", "image.push"), "did you mean image.pushed?"),
        (("--kind", "robot.*,tokens", "--json"), "the kind tokens"),
        (("--repository", "alice"), "'alice/*'"),
        (("--kind", "user.created", "--repository", "alice/app"), ""),
        (("--repository", "a*"), ""),
    ):
        result = command.run("events", *words, "--data", str(command.data))
        assert (result.exit_code, result.stdout) == (0, "")
        assert says in result.stderr
        assert bool(says) is bool(result.stderr), words


def test_a_number_that_the_log_has_not_got_to_is_said(command: Command) -> None:
    """Who follows from there would hear of nothing, and never know."""
    add(command, "alice")
    for words in ((), ("--json",)):
        result = command.run("events", "--after", "4711", *words, "--data", str(command.data))
        assert (result.exit_code, result.stdout) == (0, "")
        assert "gap" in result.stderr
    (one,) = lines(command.here("events", "--json"))
    last = command.run("events", "--after", str(one["sequence"]), "--data", str(command.data))
    assert (last.stdout, last.stderr) == ("", "")


class Ended(Exception):
    """Nothing more is read."""


class Reading:
    """What is read in turn: pages, or what keeps it from being read."""

    def __init__(self, *turns: _Read | Failed) -> None:
        self._turns = [*turns]

    async def read(self) -> _Read:
        if not self._turns:
            raise Ended
        turn = self._turns.pop(0)
        if isinstance(turn, Failed):
            raise turn
        return turn


async def test_who_follows_goes_on_when_the_log_is_there_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once, and nothing is missed. One that was never there is an error, as without it."""
    monkeypatch.setattr(under_test, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(under_test, "RETRY_SECONDS", 0.0)
    one, two = (_Read([recorded(number)], more=False, gap=False) for number in (1, 2))
    away, shown = DatabaseUnavailable("the database is away"), list[Recorded]()
    with pytest.raises(Ended):
        await _show_all(Reading(one, away, away, two), shown.append, follow=True)
    assert [event.sequence for event in shown] == [1, 2]
    assert capsys.readouterr().err.count("is away") == 1
    for follow, turns in ((True, [away]), (False, [away, one])):
        with pytest.raises(DatabaseUnavailable):
            await _show_all(Reading(*turns), shown.append, follow=follow)


def test_how_long_they_are_kept(command: Command) -> None:
    for value, told in (
        ("7d", {"events_seconds": 604800.0, "events_count": None}),
        ("5000", {"events_seconds": None, "events_count": 5000}),
        ("keep", {"events_seconds": None, "events_count": None}),
        ("30d", {"events_seconds": 2592000.0, "events_count": None}),
    ):
        assert command.json("cluster", "set", f"events={value}") == told
    assert "events" in command.refused("cluster", "set", "events=5m")


INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from treescale.cli.main import main; main()"
)
"""The command as in a terminal, also where the tests themselves ignore the signal (nohup)."""


def test_followed_it_goes_on_until_it_is_interrupted(command: Command) -> None:
    """Another process adds a user meanwhile."""
    add(command, "alice")
    words = ["events", "--follow", "--json", "--data", str(command.data)]
    follower = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *words, "--after", "0"], stdout=subprocess.PIPE
    )
    ended = threading.Timer(60, follower.kill)
    ended.start()
    try:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["namespace"] == "alice"
        add(command, "bob")
        assert json.loads(follower.stdout.readline())["namespace"] == "bob"
        follower.send_signal(signal.SIGINT)
        rest, _ = follower.communicate(timeout=20)
        assert (rest, follower.returncode) == (b"", 0)
    finally:
        ended.cancel()
        follower.kill()
        follower.wait()
