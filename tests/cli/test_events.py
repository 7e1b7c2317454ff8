"""`treescale events`: what has happened, a line each, and on as it happens."""

import json
import signal
import subprocess
import sys
import threading
from typing import Any

from tests.cli.conftest import Command
from treescale.metadata.database import Database
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
