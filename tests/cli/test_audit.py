"""`treescale audit`: who did what, a line each, oldest first."""

import json
import re

from tests.cli.conftest import Command
from treescale.cli.events.audit import _changed

PASSWORD = "correct horse"


def did(command: Command) -> None:
    """Do something of each kind."""
    for name in ("alice", "bob"):
        command.here("user", "add", name, "--password-stdin", text_in=PASSWORD)
    command.here("token", "create", "alice", "--name", "a long name")
    command.here("cluster", "set", "events=60d")


def test_each_entry_is_a_line(command: Command) -> None:
    assert command.here("audit") == ""
    did(command)
    told = [line.split("\t") for line in command.here("audit").splitlines()]
    assert [(kind, subject) for _, kind, _, _, subject, _ in told] == [
        ("user.created", "alice"),
        ("user.created", "bob"),
        ("token.created", "alice"),
        ("setting.changed", "-"),
    ]
    assert all(each[0].endswith("Z") for each in told)
    assert all(each[2].startswith("cli:") and each[3] == "-" for each in told)
    assert told[3][5] == "name=events value=60d before=-"
    assert "label=a long name" in told[2][5]


def test_what_was_given_is_told(command: Command) -> None:
    did(command)
    command.here("org", "add", "acme", "--owner", "alice")
    command.here("issuer", "add", "https://issuer.example")
    command.here("robot", "add", "acme", "ci", "--expires", "90d")
    claims = ("--claim", "repository=acme/app", "--claim", "ref=main")
    command.here("robot", "trust", "acme+ci", "--issuer", "https://issuer.example", *claims)
    lines = command.here("audit", "--namespace", "acme").splitlines()
    made, trusted = (line.split("\t")[5] for line in lines[-2:])
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    told = rf"robot=acme\+ci allow=pull,push repository=\* expires={time}"
    assert re.fullmatch(told, made)
    assert trusted.endswith("claims=repository:acme/app,ref:main")


def test_an_end_that_no_date_says_is_told_as_it_is() -> None:
    entry = {"payload": {"expires": 3.2e12, "allow": [], "parts": [{}], "many": [*range(99)]}}
    assert _changed(entry) == "expires=3200000000000.0 allow=(0) parts=(1) many=(99)"


def test_in_json_it_is_an_object_a_line(command: Command) -> None:
    did(command)
    found = [json.loads(line) for line in command.here("audit", "--json").splitlines()]
    assert [one["kind"] for one in found][-1] == "setting.changed"
    assert {one["address"] for one in found} == {None}


def test_it_is_narrowed(command: Command) -> None:
    did(command)

    def kinds(*words: str) -> list[str]:
        return [line.split("\t")[1] for line in command.here("audit", *words).splitlines()]

    assert kinds("--namespace", "alice") == ["user.created", "token.created"]
    assert kinds("--namespace", "alice", "--kind", "token.*") == ["token.created"]
    assert kinds("--actor", "nobody") == kinds("--until", "1h") == []
    assert kinds("--repository", "alice/*") == []
    assert kinds("--namespace", "alice", "--until", "1h") == []
    assert "did you mean alice?" in command.refused("audit", "--namespace", "alicee")
    assert "say when" in command.refused("audit", "--since", "yesterday")


def test_how_long_it_is_kept(command: Command) -> None:
    assert command.json("cluster", "set", "audit=2y") == {"audit_seconds": 730 * 86400.0}
    assert command.json("cluster", "set", "audit=keep") == {"audit_seconds": None}
    assert "too short" in command.refused("cluster", "set", "audit=1d")
    told = command.here("audit", "--kind", "setting.*").splitlines()
    assert [line.split("\t")[5] for line in told] == [
        "name=audit value=2y before=-",
        "name=audit value=keep before=2y",
    ]
