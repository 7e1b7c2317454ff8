"""`treescale org`, `treescale repo internal`, `treescale cluster set anonymous`."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, NOW
from treescale.metadata.database import Database
from treescale.metadata.organisations import ANONYMOUS_SETTING

PASSWORD = "correct horse"


@pytest.fixture
def team(command: Command) -> Command:
    """Alice's organisation acme, and bob."""
    for name in ("alice", "bob"):
        command.here("user", "add", name, "--password-stdin", text_in=PASSWORD)
    told = command.here("org", "add", "acme", "--owner", "alice")
    assert "alice owns it" in told
    return command


def members(command: Command, name: str = "acme") -> list[tuple[str, str, str]]:
    found = command.json("org", "show", name)["members"]
    return [(one["user"], one["role"], one["repository"]) for one in found]


def test_roles_come_and_go(team: Command) -> None:
    assert "writer of all of acme" in team.here("org", "grant", "acme", "bob", "writer")
    team.here("org", "grant", "acme", "bob", "maintainer", "--repository", "acme/web-*")
    assert members(team) == [
        ("alice", "owner", "*"),
        ("bob", "writer", "*"),
        ("bob", "maintainer", "acme/web-*"),
    ]
    assert "bob" in team.here("org", "show", "acme")
    team.here("org", "revoke", "acme", "bob", "--repository", "acme/web-*")
    assert members(team)[1:] == [("bob", "writer", "*")]
    assert "no role in acme" in team.here("org", "revoke", "acme", "bob")
    team.here("org", "grant", "alice", "bob", "reader")
    assert members(team, "alice") == [("bob", "reader", "*")]
    assert [one["name"] for one in team.json("org", "list")] == ["acme"]


def test_each_mistake_is_told(team: Command) -> None:
    for words, said in (
        (("add", "acme", "--owner", "bob"), "organisation acme exists already"),
        (("add", "alice", "--owner", "bob"), "user alice exists already"),
        (("add", "api", "--owner", "bob"), "choose another"),
        (("add", "A", "--owner", "bob"), "lower-case"),
        (("add", "other", "--owner", "nobody"), "treescale user add nobody"),
        (("grant", "acme", "nobody", "reader"), "treescale user add nobody"),
        (("grant", "acme", "bob", "admin"), "say reader, writer, maintainer or owner"),
        (("grant", "none", "bob", "reader"), "no organisation and no user none"),
        (("grant", "acme", "alice", "reader"), "no owner"),
        (("grant", "alice", "alice", "reader"), "always"),
        (("grant", "acme", "bob", "reader", "--repository", "web/*"), "whole names"),
        (("grant", "acme", "bob", "reader", "--repository", "A"), "characters of a name"),
        (("grant", "acme", "bob", "owner", "--repository", "acme/a"), "all of it"),
        (("revoke", "acme", "alice"), "treescale org grant acme USER owner"),
        (("revoke", "acme", "bob"), "no role in acme: `treescale org show acme"),
        (("show", "none"), "no organisation and no user none"),
        (("set", "acme", "visibility=open"), "internal (whoever is signed in pulls)"),
        (("set", "acme", "colour=red"), "visibility=private"),
        (("remove", "none", "--yes"), "no organisation and no user none"),
        (("remove", "alice", "--yes"), "treescale user remove alice"),
    ):
        assert said in team.refused("org", *words), words
    assert "no owner" in team.refused("user", "remove", "alice", "--yes")
    refused = team.refused("user", "add", "acme", "--password-stdin", text_in=PASSWORD)
    assert "organisation acme exists already" in refused


def test_an_access_token_may_be_for_where_one_has_a_role(team: Command) -> None:
    words = ("token", "create", "bob", "--name", "ci", "--repository", "acme/*")
    assert "in which bob has a role" in team.refused(*words)
    team.here("org", "grant", "acme", "bob", "writer", "--repository", "acme/app")
    team.here(*words)
    assert [one["repository"] for one in team.json("token", "list", "bob")] == ["acme/*"]


def test_the_name_of_one_with_repositories_is_no_users(team: Command) -> None:
    team.database(push)
    refused = team.refused("user", "add", "acme", "--password-stdin", text_in=PASSWORD)
    assert "organisation acme exists already" in refused


async def push(database: Database) -> None:
    for name in ("acme/app", "acme/web", "acme2/app"):
        await database.repositories.set_public(name, public=False, now=NOW, actor=ACTOR)


def test_what_is_removed_can_be_restored_by_whoever_says_so(team: Command) -> None:
    team.database(push)
    told = team.json("org", "remove", "acme")
    assert told == {"name": "acme", "repositories": ["acme/app", "acme/web"]}
    assert [one["name"] for one in team.json("repo", "list")] == ["acme2/app"]
    team.here("org", "add", "acme", "--owner", "bob")
    assert members(team) == [("bob", "owner", "*")]
    team.here("repo", "restore", "acme/app")
    assert [one["name"] for one in team.json("repo", "list")] == ["acme/app", "acme2/app"]


def test_visibility_is_one_of_three(team: Command) -> None:
    team.database(push)
    assert "whoever is signed in" in team.here("repo", "internal", "acme/app")
    shown = team.json("repo", "show", "acme/app")
    assert (shown["public"], shown["visibility"]) == (False, "internal")
    assert [one["visibility"] for one in team.json("repo", "list")] == [
        "internal",
        "private",
        "private",
    ]
    assert "internal" in team.here("org", "set", "acme", "visibility=internal")
    assert team.json("org", "show", "acme")["visibility"] == "internal"


def test_nothing_is_for_the_anonymous_where_that_is_said(command: Command) -> None:
    assert "nobody pulls without" in command.here("cluster", "set", "anonymous=off")

    async def setting(database: Database) -> str | None:
        return await database.settings.get(ANONYMOUS_SETTING)

    assert command.database(setting) == "off"
    assert "anybody" in command.here("cluster", "set", "anonymous=on")
    assert "anonymous=on" in command.refused("cluster", "set", "anonymous=maybe")


def test_a_backup_has_it_all(team: Command, tmp_path: Path) -> None:
    team.database(push)
    team.here("org", "grant", "acme", "bob", "writer", "--repository", "acme/web*")
    team.here("org", "set", "acme", "visibility=internal")
    team.here("repo", "internal", "acme/app")
    file = str(tmp_path / "backup.treescale")
    team.here("backup", file)
    elsewhere = Command(tmp_path / "elsewhere")
    elsewhere.data.mkdir()
    elsewhere.here("restore", file)
    assert members(elsewhere) == members(team)
    assert elsewhere.json("org", "list") == team.json("org", "list")
    assert elsewhere.json("repo", "show", "acme/app")["visibility"] == "internal"
    refused = elsewhere.refused("user", "add", "acme", "--password-stdin", text_in=PASSWORD)
    assert "organisation acme exists already" in refused
