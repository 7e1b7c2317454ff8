"""`treescale doctor`: what it says as a whole, and its exit status."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from treescale.cli.doctor import command as doctor_command
from treescale.cli.doctor.finding import Finding, Look, failure, fine, warning

LISTEN = ("--listen", "127.0.0.1:0")


def test_it_looks_at_everything_and_answers_in_json(command: Command) -> None:
    done = command.run("doctor", "--data", str(command.data), *LISTEN, "--json")
    found = {row["check"]: row["state"] for row in json.loads(done.stdout)}
    names = ("open files", f"data {command.data}", f"sync {command.data}", "database", "schema")
    assert found.keys() >= {"--listen 127.0.0.1:0", *names}
    assert found["database"] == "ok"
    assert done.exit_code in (0, 1, 3), "the machine of a test may be full, or of memory"


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([fine("a", "b")], 0),
        ([fine("a", "b"), warning("c", "d", "e")], 3),
        ([failure("a", "b", "c"), warning("c", "d", "e")], 1),
    ],
)
def test_the_exit_status_is_that_of_the_worst(
    command: Command, monkeypatch: pytest.MonkeyPatch, found: list[Finding], status: int
) -> None:
    monkeypatch.setattr(doctor_command, "looks", lambda _: [Look("all", lambda: found)])
    done = command.run("doctor", "--data", str(command.data))
    assert done.exit_code == status
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines == [[each.name, each.state, each.found, each.advice] for each in found]


def test_it_takes_the_flags_of_serve_and_refuses_what_serve_refuses(tmp_path: Path) -> None:
    command = Command(tmp_path)
    assert "say HOST:PORT" in command.refused("doctor", "--listen", "5000")
    listed = command.run("doctor", "--help").stdout
    for flag in ("--tls-cert", "--advertise", "--redirect-listen", "--database", "--json"):
        assert flag in listed
    assert "--forget-chunks" not in listed
