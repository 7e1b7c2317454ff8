"""`treescale user` and `treescale token`."""

import os

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR
from treescale.auth.access_tokens import is_access_token
from treescale.metadata.database import Database

PASSWORD = "correct horse"


@pytest.fixture
def alice(command: Command) -> str:
    command.here("user", "add", "alice", "--password-stdin", text_in=PASSWORD + "\n")
    return "alice"


def test_users_come_and_go(command: Command) -> None:
    told = command.here("user", "add", "alice", "--password-stdin", text_in=PASSWORD)
    assert told == "user alice added\n"
    made = command.json("user", "add", "root", "--admin", "--password-stdin", text_in=PASSWORD)
    assert made == {"name": "root", "admin": True}
    lines = [line.split("\t") for line in command.here("user", "list").splitlines()]
    assert [line[:2] for line in lines] == [["alice", "no"], ["root", "yes"]]
    assert command.here("user", "remove", "alice") == "user alice removed\n"
    assert [row["name"] for row in command.json("user", "list")] == ["root"]


def test_what_is_wrong_is_one_line(command: Command, alice: str) -> None:
    secret = {"text_in": PASSWORD}
    assert "alice" in command.refused("user", "add", alice, "--password-stdin", **secret)
    assert "lower-case" in command.refused("user", "add", "A/B", "--password-stdin", **secret)
    weak = command.refused("user", "add", "bob", "--password-stdin", text_in="Harbor12345\n")
    assert "guessed" in weak
    assert "at least 8" in command.refused("user", "password", alice, "--password-stdin")
    command.refused("user", "remove", "nobody")


def test_names_of_our_pages_are_refused(command: Command) -> None:
    for name in ("v2", "api", "metrics", "-"):
        words = ("user", "add", "--password-stdin", "--", name)
        result = command.run(*words[:3], "--data", str(command.data), *words[3:], text_in=PASSWORD)
        assert result.exit_code == 1
        assert f"error: the name {name} is kept" in result.stderr
    assert command.json("user", "list") == []


def test_a_password_is_changed(command: Command, alice: str) -> None:
    async def password_hash(database: object) -> str:
        return (await database.users.get(alice)).password_hash  # type: ignore[attr-defined,no-any-return]

    before = command.database(password_hash)
    told = command.here("user", "password", alice, "--password-stdin", text_in="another one")
    assert told == "password of alice changed\n"
    assert command.database(password_hash) != before


def test_without_a_terminal_a_password_must_be_piped(command: Command) -> None:
    result = command.run("user", "add", "bob", "--data", str(command.data))
    assert result.exit_code == 2
    assert "--password-stdin" in result.stderr


def test_at_a_terminal_it_is_asked_for_twice_and_removing_is_confirmed(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "isatty", lambda number: number == 0)
    command.here("user", "add", "bob", text_in=f"{PASSWORD}\n{PASSWORD}\n")
    where = ("--data", str(command.data))
    assert command.run("user", "remove", "bob", *where, text_in="n\n").exit_code == 1
    assert command.json("user", "list")[0]["name"] == "bob"
    command.here("user", "remove", "bob", "--yes")
    assert command.json("user", "list") == []


def test_a_token_is_printed_and_nothing_else(command: Command, alice: str) -> None:
    text = command.here("token", "create", alice, "--name", "ci")
    assert text.endswith("\n")
    assert is_access_token(text.removesuffix("\n"))
    listed = command.json("token", "list", alice)
    assert [row["name"] for row in listed] == ["ci"]
    assert text.strip() not in repr(listed)
    assert "sha" not in repr(listed)


def test_a_token_is_what_was_asked_for(command: Command, alice: str) -> None:
    made = command.json(
        *("token", "create", alice, "--name", "nightly", "--allow", "pull,delete"),
        *("--repository", "alice/*", "--expires", "12h"),
    )
    assert is_access_token(made.pop("token"))
    assert command.json("token", "list", alice) == [made]
    assert made["allow"] == ["pull", "delete"]
    assert made["repository"] == "alice/*"
    assert made["expires"] > made["created"]
    lasting = command.json("token", "create", alice, "--name", "x", "--expires", "none")
    assert lasting["expires"] is None
    assert lasting["allow"] == ["pull", "push"], "deleting must be asked for"


def test_a_token_is_listed_on_one_line_and_revoked(command: Command, alice: str) -> None:
    command.here("token", "create", alice, "--name", "my  ci")
    (line,) = command.here("token", "list", alice).splitlines()
    token_id, name, allow, repository, _, _, used = line.split("\t")
    assert (name, allow, repository, used) == ("my ci", "pull,push", "*", "-")
    assert command.here("token", "revoke", token_id) == f"token {token_id} revoked\n"
    assert command.here("token", "list", alice) == ""
    command.refused("token", "revoke", token_id)


def test_a_token_that_makes_no_sense_is_refused(command: Command, alice: str) -> None:
    create = ("token", "create", alice, "--name", "x")
    assert "not a right" in command.refused(*create, "--allow", "fly")
    assert "say 90d" in command.refused(*create, "--expires", "soon")
    assert "whole names" in command.refused(*create, "--repository", "bob/*")
    command.refused("token", "create", "nobody", "--name", "x")
    assert command.run("token", "create", alice).exit_code == 2


def test_what_an_earlier_user_left_is_not_handed_over_by_mistake(
    command: Command, alice: str
) -> None:
    async def push(database: Database) -> None:
        for name in ("alice/app", "alicia/app"):
            await database.repositories.set_public(name, public=False, now=0, actor=ACTOR)

    command.database(push)
    secret = {"text_in": PASSWORD}
    assert "--adopt" not in command.refused("user", "add", alice, "--password-stdin", **secret)
    command.here("user", "remove", alice)
    told = command.refused("user", "add", alice, "--password-stdin", **secret)
    assert "alice/app" in told
    assert "--adopt" in told
    command.here("user", "add", "ali", "--password-stdin", **secret)
    command.here("user", "add", alice, "--adopt", "--password-stdin", **secret)
