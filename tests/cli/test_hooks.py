"""`treescale hook` and what of it `cluster set` says."""

import json
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.tables import each_row
from treescale.events.hooks.template import NAMES
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import HOOKS_SETTING, RESTORED, HookFormat

PAGE = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")
URL = "https://hooks.example.com/in?token=hidden"


@pytest.fixture(autouse=True)
def _public(monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setenv("TREESCALE_PUBLIC_URL", "https://registry.example.com")
    command.here("user", "add", "alice", "--password-stdin", text_in="correct horse")


def test_a_webhook_s_life(command: Command) -> None:
    made = command.json("hook", "add", "alice/*", URL, "--kind", "tag.*", "--settle", "2")
    assert made["secret"].startswith("whsec_")
    hook = made["id"]
    assert (made["kinds"], made["settle"], made["url"]) == (
        ["tag.*"],
        2.0,
        "https://hooks.example.com/in?***",
    )
    assert hook in command.here("hook", "list")
    ping = command.json("hook", "ping", hook)["delivery"]
    again = command.json("hook", "redeliver", str(ping))["delivery"]
    shown = command.json("hook", "show", hook)
    assert [one["delivery"] for one in shown["deliveries"]] == [again, ping]
    assert {one["state"] for one in shown["deliveries"]} == {"waiting"}
    assert command.json("hook", "rotate", hook)["secret"].startswith("whsec_")
    assert command.json("hook", "disable", hook)["state"] == "disabled"
    assert command.json("hook", "show", hook)["reason"].startswith("disabled by cli:")
    assert command.json("hook", "enable", hook)["state"] == "enabled"
    assert "ping" in command.here("hook", "show", hook)
    command.here("hook", "remove", hook, "--yes")
    assert command.json("hook", "list") == []
    assert "no webhook" in command.refused("hook", "show", hook)


def test_a_secret_is_shown_when_it_is_made_and_what_comes_in_is_never_shown(
    command: Command,
) -> None:
    assert "whsec_" in command.here("hook", "add", "alice", URL)
    said = command.here(
        "hook",
        "add",
        "alice",
        URL,
        "--format",
        "harbor",
        "--secret-stdin",
        "--header-stdin",
        text_in="the-secret\nX-Token: the-token\n",
    )
    listed = json.dumps(command.json("hook", "list"))
    shown = [command.here("hook", "show", one["id"]) for one in json.loads(listed)]
    for secret in ("the-secret", "the-token", "hidden"):
        assert secret not in said + listed + "".join(shown)
    assert "X-Token: ***" in listed
    hook = command.json("hook", "list")[0]["id"]
    assert "the-secret" not in command.here("hook", "rotate", hook, "--secret-stdin", text_in="x\n")


def test_the_public_url_has_to_be_known(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREESCALE_PUBLIC_URL")
    assert "--public-url" in command.refused("hook", "add", "alice", URL)


def test_what_cannot_be_is_refused_in_one_line(command: Command) -> None:
    for words in (
        ("alice", "http://127.0.0.1/"),
        ("alice", "http://10.0.0.1/"),
        ("alice//", URL),
        ("alice", URL, "--header", "Host: x"),
        ("alice", URL, "--header", "nothing"),
        ("alice", URL, "--template", "x"),
        ("alice", URL, "--settle", "-1"),
    ):
        command.refused("hook", "add", *words)


@each_row(
    "words, text_in, says",
    [
        (("--secret-stdin",), "", "no secret"),
        (("--secret-stdin", "--header-stdin"), "\nX-Token: t\n", "no secret"),
        (("--header-stdin",), "", "no header"),
        (("--secret-stdin", "--header-stdin"), "the-secret\n\n", "no header"),
    ],
)
def test_what_was_promised_on_standard_input_has_to_be_there(
    words: tuple[str, ...], text_in: str, says: str, command: Command
) -> None:
    """Else a secret would be made, and its receiver would go by another."""
    made = command.json("hook", "add", "alice", URL, "--secret-stdin", text_in="a-secret\n")["id"]
    there, asked = len(command.json("hook", "list")), [("add", "alice", URL, *words)]
    asked += [("rotate", made, *words)] if words == ("--secret-stdin",) else []
    for each in asked:
        found = command.run("hook", *each, "--data", str(command.data), text_in=text_in)
        assert found.exit_code == 2
        assert says in found.stderr
    assert len(command.json("hook", "list")) == there


def test_no_header_is_lost_in_silence(command: Command) -> None:
    twice = ("--header", "X-A: one", "--header", "X-A: two")
    assert "twice" in command.refused("hook", "add", "alice", URL, *twice)
    assert command.json("hook", "add", "alice", URL, *twice[:2])["headers"] == ["X-A: ***"]


def test_private_networks_are_allowed_by_a_setting(command: Command) -> None:
    command.here("cluster", "set", "hook-networks=10.0.0.0/8:8080,192.168.1.5")
    command.here("hook", "add", "alice", "http://10.0.0.1:8080/")
    command.refused("hook", "add", "alice", "http://10.0.0.1/")
    assert "is no network" in command.refused("cluster", "set", "hook-networks=ten")
    for setting in ("hook-networks", "issuer-networks"):
        vain = command.refused("cluster", "set", f"{setting}=10.0.0.0/8,127.0.0.1:8080")
        assert "the server itself, which is never asked" in vain
    command.here("cluster", "set", "hook-networks=")
    assert "off from now on" in command.here("cluster", "set", "events-pulls=off")
    assert "events-pulls=on or =off" in command.refused("cluster", "set", "events-pulls=no")
    command.refused("hook", "add", "alice", "http://10.0.0.1:8080/")


def recipes() -> Iterator[tuple[str, list[str]]]:
    """Yield what each `hook add` of docs/events.md is given on standard input, and its words."""
    for line in PAGE.splitlines():
        before, verb, words = line.partition("treescale hook add ")
        if verb and (not before or before.endswith(" | ")):
            given = shlex.split(before.removesuffix(" | "))[1:]
            yield "".join(f"{each}\n" for each in given), shlex.split(words)


@each_row("text_in, words", recipes())
def test_recipes_can_be_pasted(text_in: str, words: list[str], command: Command) -> None:
    made = command.json("hook", "add", *words, text_in=text_in)
    assert command.json("hook", "ping", made["id"])["delivery"]


def test_there_are_recipes_and_the_page_names_what_there_is() -> None:
    assert len([*recipes()]) >= 10
    for form in HookFormat:
        assert f"| `{form.value}` |" in PAGE
    for name in NAMES:
        assert f"`{{{name}}}`" in PAGE


async def _put(value: str, database: Database) -> None:
    await database.settings.put(HOOKS_SETTING, value)


def test_whoever_looks_is_told_that_nothing_is_sent(command: Command) -> None:
    command.here("hook", "add", "alice", URL)
    for value in ("off", RESTORED):
        command.database(partial(_put, value))
        told = command.run("hook", "list", "--data", str(command.data)).stderr
        assert "cluster set hooks=on" in told
    assert command.json("cluster", "set", "hooks=on") == {"hooks": "on"}
    assert command.run("hook", "list", "--data", str(command.data)).stderr == ""
    command.refused("cluster", "set", "hooks=perhaps")
