"""`treescale user suspend` and its like, `treescale sign-on`, `cluster set passwords`."""

import pytest

from tests.cli.conftest import Command
from treescale.metadata.database import Database
from treescale.metadata.organisations import PASSWORDS_SETTING

PASSWORD = "correct horse"
CORP = ("sign-on", "add", "corp", "--issuer", "https://login.example", "--client-id", "registry")


@pytest.fixture
def people(command: Command) -> Command:
    """An administrator, a user, and an organisation."""
    command.here("user", "add", "root", "--admin", "--password-stdin", text_in=PASSWORD)
    command.here("user", "add", "alice", "--password-stdin", text_in=PASSWORD)
    command.here("org", "add", "acme", "--owner", "alice")
    return command


def listed(command: Command) -> dict[str, tuple[bool, bool, bool]]:
    """Return of each user: administrator, password, suspended."""
    rows = command.json("user", "list")
    return {
        one["name"]: (one["admin"], one["password"], one["suspended"] is not None) for one in rows
    }


def test_accounts_are_suspended_and_resumed(people: Command) -> None:
    assert people.here("user", "suspend", "alice") == "user alice is suspended\n"
    assert listed(people)["alice"] == (False, True, True)
    assert people.here("user", "resume", "alice") == "user alice is not suspended\n"
    assert "no user nobody: `treescale user list" in people.refused("user", "suspend", "nobody")
    assert people.here("user", "admin", "alice", "on") == "user alice is an administrator\n"
    people.here("user", "password", "alice", "--off")
    assert listed(people)["alice"] == (True, False, False)
    for words in (("suspend", "root"), ("remove", "root"), ("admin", "root", "off")):
        assert "treescale user admin NAME on" in people.refused("user", *words)
    assert "no administrator" in people.here("user", "admin", "alice", "off")


def test_links_are_printed_once(people: Command) -> None:
    path = people.here("user", "invite", "carol", "--role", "acme:writer").strip()
    assert path.startswith("/-/invitation/")
    (invited,) = people.json("user", "invitations")
    assert (invited["name"], invited["roles"][0]["role"]) == ("carol", "writer")
    assert "secret" not in str(invited)
    people.here("user", "uninvite", invited["id"])
    assert people.json("user", "invitations") == []
    assert "was used, perhaps" in people.refused("user", "uninvite", invited["id"])
    made = people.json("user", "reset", "alice")
    assert (made["name"], made["url"]) == ("alice", None)
    assert made["path"].startswith("/-/reset/")
    assert "treescale org add zoo --owner USER" in people.refused(
        "user", "invite", "dave", "--role", "zoo:reader"
    )
    assert "treescale sign-on list" in people.refused("sign-on", "remove", "none", "--yes")
    assert "treescale token list USER" in people.refused("token", "revoke", "none")
    assert "treescale user reset alice" in people.refused("user", "invite", "alice")
    assert "is not a role" in people.refused("user", "invite", "dave", "--role", "acme:king")
    result = people.run("user", "invite", "dave", "--role", "acme", "--data", str(people.data))
    assert (result.exit_code, "acme:writer" in result.stderr) == (2, True)


def test_providers_come_and_go(people: Command) -> None:
    more = ("--client-secret-stdin", "--domain", "corp.example", "--group", "a=b=acme:writer")
    assert "no organisation zoo: `treescale org add" in people.refused(
        *CORP, "--group", "dev=zoo:writer"
    )
    assert "did you mean acme?" in people.refused(*CORP, "--group", "dev=acne:writer")
    told = people.here(*CORP, *more, text_in="of the client\n")
    assert "PUBLIC_URL/-/sign-on/corp/callback" in told
    shown = people.json("sign-on", "show", "corp")
    assert shown["groups"] == [{"group": "a=b", "organisation": "acme", "role": "writer"}]
    assert (shown["has_secret"], shown["scopes"]) == (True, ["openid", "profile", "email"])
    assert "of the client" not in str(shown)
    assert "corp" in people.here("sign-on", "show", "corp")
    assert [one["name"] for one in people.json("sign-on", "list")] == ["corp"]
    people.refused(*CORP)
    assert "Nobody signs in" in people.here("sign-on", "remove", "corp", "--yes")
    assert people.json("sign-on", "list") == []


def test_each_mistake_is_told(people: Command) -> None:
    for words, said in (
        (("--domain", "a b"), "is no domain"),
        (("--scope", "a b"), "scopes are words"),
        (("--group", "dev=acme:king"), "is not a role"),
        (("--groups-claim", "a b"), "a claim has a name"),
    ):
        assert said in people.refused(*CORP, *words)
    for issuer in ("login.example", "https://a@login.example", "https://login.example?x=1", ""):
        wrong = [issuer if word == "https://login.example" else word for word in CORP]
        assert "an issuer is a URL" in people.refused(*wrong)
    result = people.run(*CORP, "--group", "dev", "--data", str(people.data))
    assert (result.exit_code, "GROUP=ORG:ROLE" in result.stderr) == (2, True)


def test_passwords_are_switched_off_once_there_is_another_way(people: Command) -> None:
    async def setting(database: Database) -> str | None:
        return await database.settings.get(PASSWORDS_SETTING)

    assert "add a provider first" in people.refused("cluster", "set", "passwords=off")
    people.here(*CORP)
    assert "administrators alone" in people.here("cluster", "set", "passwords=off")
    assert people.database(setting) == "off"
    refused = people.refused("sign-on", "remove", "corp", "--yes")
    assert "treescale cluster set passwords=on" in refused
    assert "everybody" in people.here("cluster", "set", "passwords=on")
    people.here("sign-on", "remove", "corp", "--yes")
