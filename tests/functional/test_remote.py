"""The command line on another machine: `login` over TLS, then what clients see of what it does."""

import json
from pathlib import Path

import pytest

from tests.functional.conftest import Serve
from tests.functional.programs import outcome
from tests.functional.server import ADMIN_PASSWORD, TREESCALE, Account, Options, Server
from tests.functional.test_teams import push, status
from tests.functional.wire import Wire


@pytest.fixture
def secure(serve: Serve) -> Server:
    return serve(Options(tls=True))


class Elsewhere:
    """A command line that reaches the server by HTTPS alone."""

    def __init__(self, server: Server, home: Path) -> None:
        self.url = f"https://{server.address}"
        self.environment = {
            "XDG_CONFIG_HOME": str(home / "config"),
            "TREESCALE_SERVER": self.url,
            "TREESCALE_CA_FILE": str(server.certificate),
        }

    def run(self, *words: str, text_in: str = "", **environment: str) -> tuple[int, str]:
        given = self.environment | environment
        return outcome(TREESCALE, *words, text_in=text_in, env=given)

    def done(self, *words: str, text_in: str = "") -> str:
        code, said = self.run(*words, text_in=text_in)
        assert code == 0, said
        return said


def test_an_administrator_works_from_another_machine(secure: Server, tmp_path: Path) -> None:
    alice = secure.add_user("alice")
    away = Elsewhere(secure, tmp_path)
    words = ("login", away.url, "--user", "admin", "--password-stdin")
    code, said = away.run(*words, text_in=ADMIN_PASSWORD, TREESCALE_CA_FILE="")
    assert (code, "--ca-file" in said) == (1, True), said
    away.done(*words, text_in=ADMIN_PASSWORD)
    for name in ("acme", "prod"):
        away.done("org", "add", name, "--owner", "alice")
    push(Wire(secure, alice), "acme/app", "rc")
    code, said = away.run("repo", "copy", "acme/app:rc", "prod/app:1")
    assert (code, "that you may see" in said) == (1, True), said
    as_alice = Elsewhere(secure, tmp_path / "alice")
    as_alice.done("login", away.url, "--user", "alice", "--password-stdin", text_in=alice.password)
    as_alice.done("repo", "copy", "acme/app:rc", "prod/app:1")
    assert status(Wire(secure, alice), "GET", "prod/app/manifests/1") == 200
    away.done("repo", "move", "acme/app", "prod/old", "--yes")
    assert status(Wire(secure, alice), "GET", "prod/old/manifests/rc") == 200
    assert status(Wire(secure, alice), "GET", "acme/app/manifests/rc") == 404
    token = json.loads(away.done("token", "list", "admin", "--json"))
    assert [one["allow"] for one in token] == [["events", "api"]]
    away.done("logout", away.url)
    code, said = away.run("org", "list")
    assert (code, f"treescale login {away.url}" in said) == (1, True), said
    gone = Account("admin", ADMIN_PASSWORD)
    assert Wire(secure, gone).with_basic("GET", "/api/v1/users").status == 200
