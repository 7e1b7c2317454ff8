"""`treescale robot` and `treescale issuer`."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.id_tokens import RSA_KEY, jwk, jwks
from treescale.auth.access_tokens import is_robot_secret

PASSWORD = "correct horse"
ISSUER = "https://token.actions.githubusercontent.com"


@pytest.fixture
def team(command: Command) -> Command:
    """Alice's organisation acme."""
    command.here("user", "add", "alice", "--password-stdin", text_in=PASSWORD)
    command.here("org", "add", "acme", "--owner", "alice")
    return command


def test_robots_come_rotate_and_go(team: Command) -> None:
    secret = team.here("robot", "add", "acme", "ci", "--expires", "90d").strip()
    assert is_robot_secret(secret)
    made = team.json(
        "robot", "add", "acme", "k8s", "--allow", "pull, api", "--repository", "acme/*"
    )
    assert (made["robot"]["name"], made["robot"]["allow"]) == ("acme+k8s", ["pull", "api"])
    assert [one["name"] for one in team.json("robot", "list", "acme")] == ["acme+ci", "acme+k8s"]
    shown = team.json("robot", "show", "acme+ci")
    assert (shown["repository"], len(shown["secrets"]), shown["rules"]) == ("*", 1, [])
    assert is_robot_secret(team.here("robot", "rotate", "acme+ci").strip())
    assert len(team.json("robot", "show", "acme+ci")["secrets"]) == 2
    assert "secret" in team.json("robot", "rotate", "acme+ci", "--now")
    assert len(team.json("robot", "show", "acme+ci")["secrets"]) == 1
    assert "removed" in team.here("robot", "remove", "acme+ci", "--yes")
    assert team.here("robot", "list", "alice") == ""


def test_ci_without_a_secret(team: Command, tmp_path: Path) -> None:
    team.here("robot", "add", "acme", "ci")
    team.here("issuer", "add", ISSUER)
    words = ("robot", "trust", "acme+ci", "--preset", "github", "--claim", "repository=acme/app")
    told = team.here(*words, "--claim", "repository_owner_id=42")
    assert "repository=acme/app repository_owner_id=42 log in as acme+ci" in told
    result = team.run(*words, "--data", str(team.data))
    assert "repository_owner_id=NUMBER" in result.stderr
    rules = team.json("robot", "show", "acme+ci")["rules"]
    assert [one["issuer"] for one in rules] == [ISSUER] * 2
    assert f"rule\t{rules[0]['id']}\t{ISSUER}\t" in team.here("robot", "show", "acme+ci")
    assert "removed" in team.here("robot", "distrust", "acme+ci", rules[0]["id"])
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(jwk(RSA_KEY, "k1")))
    team.here("issuer", "add", "https://kubernetes.default.svc", "--jwks", str(keys))
    team.here("issuer", "add", "https://other.example", "--jwks", "-", text_in=keys.read_text())
    account = ("--claim", "namespace=ci", "--claim", "service_account=builder")
    pods = ("robot", "trust", "acme+ci", "--preset", "kubernetes", *account)
    told = team.here(*pods, "--issuer", "https://kubernetes.default.svc")
    assert "sub=system:serviceaccount:ci:builder" in told
    listed = [(one["issuer"], one["keys"]) for one in team.json("issuer", "list")]
    assert listed == [
        ("https://kubernetes.default.svc", "given"),
        ("https://other.example", "given"),
        (ISSUER, "published"),
    ]
    assert "rules for them: 1" in team.here("issuer", "remove", ISSUER, "--yes")
    gone = team.refused("issuer", "remove", ISSUER, "--yes")
    assert "treescale issuer list" in gone
    assert "issuer add" not in gone
    assert "api, events" in team.refused("robot", "add", "acme", "x", "--allow", "metricks")


def test_each_mistake_is_told(team: Command) -> None:
    team.here("robot", "add", "acme", "ci")
    trust = ("robot", "trust", "acme+ci")
    for words, said in (
        (("robot", "add", "nobody", "ci"), "no organisation and no user nobody"),
        (("robot", "add", "acme", "ci"), "gives it another secret"),
        (("robot", "add", "acme", "CI"), "lower-case"),
        (("robot", "add", "acme", "x", "--allow", "fly"), "not a right"),
        (("robot", "add", "acme", "x", "--allow", "metrics"), "no robot is for metrics"),
        (("robot", "add", "acme", "x", "--repository", "web/*"), "whole names"),
        (("robot", "add", "acme", "x", "--expires", "soon"), "not a time"),
        (("robot", "show", "acme"), "say NAMESPACE+NAME"),
        (("robot", "show", "acme+none"), "robot list acme"),
        (("robot", "distrust", "acme+ci", "x"), "robot show acme+ci"),
        ((*trust, "--claim", "sub"), "say KEY=GLOB"),
        ((*trust, "--preset", "github"), "--claim repository=OWNER/NAME"),
        (("robot", "add", "acme", "x", "--expires", "101y"), "say none for no end"),
        ((*trust, "--claim", "sub=a"), "--issuer https://"),
        ((*trust, "--preset", "jenkins", "--claim", "sub=a"), "no preset"),
        ((*trust, "--preset", "github", "--claim", "repository=acme/app"), "issuer add"),
        ((*trust, "--issuer", ISSUER, "--claim", "sub=repo:acme*"), "such as repo:acme/*"),
        ((*trust, "--issuer", ISSUER, "--claim", "ref=main"), "no claim says whose"),
        (("issuer", "add", "http://issuer.example"), "begins with https://"),
        (("issuer", "add", ISSUER, "--jwks", "/none"), "cannot read /none"),
        (("issuer", "remove", ISSUER, "--yes"), "is no issuer of ID tokens here"),
    ):
        assert said in team.refused(*words), words
