"""Commands that ask a server: `login`, then the same words and answers as on its database."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import Result
from structlog.testing import capture_logs

from tests.api.conftest import (
    cors,
    database_file,
    limits,
    registry,
    threads,
    trusted_proxies,
)
from tests.api.running import PASSWORD, Running
from tests.cli.conftest import Command
from tests.console.test_api import STORE
from tests.contracts.metadata_values import ACTOR
from tests.fakes_database import Away as DatabaseAway
from treescale.auth.access_tokens import access_token_text
from treescale.auth.scopes import Action, TokenScope
from treescale.cli.terminal import options
from treescale.maintenance.planning.findings import Findings, packed
from treescale.metadata.identity.states import AccountStates
from treescale.metadata.records import JobState
from treescale.registry.accounts import TokenTerms

__all__ = [
    "cors",
    "database_file",
    "limits",
    "registry",
    "threads",
    "trusted_proxies",
]  # fixtures


PULL = frozenset({Action.PULL})


class Away:
    """Somebody's command line on another machine."""

    def __init__(self, folder: Path, url: str) -> None:
        self.command = Command(folder)
        self.url = url

    async def run(self, *words: str, text_in: str = "") -> Result:
        return await asyncio.to_thread(self.command.run, *words, text_in=text_in)

    async def there(self, *words: str) -> str:
        """Have the server do it; it must succeed."""
        result = await self.run(*words, "--server", self.url)
        assert result.exit_code == 0, result.output
        return result.stdout

    async def refused(self, *words: str) -> str:
        result = await self.run(*words, "--server", self.url)
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        return result.stderr

    async def login(self, *words: str, user: str = "root") -> Result:
        given = ("login", self.url, "--user", user, "--password-stdin", *words)
        return await self.run(*given, text_in=f"{PASSWORD}\n")


@pytest.fixture
async def away(
    registry: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Away]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    await registry.parts.accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
    with capture_logs():  # the server is in this process, and so is what it would print
        yield Away(tmp_path / "elsewhere", registry.url)


def kept(tmp_path: Path) -> Path:
    return tmp_path / "config/treescale/servers.json"


async def test_a_login_is_an_access_token_that_nobody_else_reads(
    registry: Running, away: Away, tmp_path: Path
) -> None:
    assert "treescale login http" in await away.refused("org", "list")
    told = await away.login()
    assert (told.exit_code, "--server http" in told.stdout) == (0, True)
    file = kept(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert PASSWORD not in file.read_text()
    (first,) = await registry.parts.accounts.list_tokens("root")
    assert (first.allow, first.expires is not None) == (frozenset({"api", "events"}), True)
    await away.login()
    (second,) = await registry.parts.accounts.list_tokens("root")
    assert second.token_id != first.token_id
    assert (await away.run("logout", away.url)).exit_code == 0
    assert await registry.parts.accounts.list_tokens("root") == []
    assert json.loads(file.read_text()) == {}
    assert "no login" in (await away.run("logout", away.url)).stderr


async def test_a_reader_is_shown_what_an_organisation_is(registry: Running, away: Away) -> None:
    organisations = registry.parts.database.organisations
    await organisations.add("acme", "root", actor=ACTOR)
    await organisations.grant("acme", "alice", role="reader", repository="*", actor=ACTOR)
    await away.login(user="alice")
    result = await away.run("org", "show", "acme", "--server", away.url)
    assert (result.exit_code, "private" in result.stdout) == (0, True)
    assert "shown to owners" in result.stderr
    told = json.loads(await away.there("org", "show", "acme", "--json"))
    assert (told["name"], "members" in told) == ("acme", False)


async def test_who_has_no_password_gives_an_access_token(
    registry: Running, away: Away, tmp_path: Path
) -> None:
    accounts = registry.parts.accounts
    await AccountStates(registry.parts.database.connections).remove_password("alice", actor=ACTOR)

    async def login(text: str, *words: str) -> Result:
        given = ("login", away.url, "--user", "alice", *words)
        return await away.run(*given, text_in=f"{text}\n")

    terms = TokenTerms("away", frozenset({TokenScope.API}), lasts_seconds=86_400.0)
    text, token = await accounts.create_token("alice", terms, actor=ACTOR)
    for word in ("--token-stdin", "--password-stdin"):
        told = await login(text, word)
        assert (told.exit_code, "as alice until 20" in told.stdout) == (0, True), told.output
        assert "alice has no password" in told.stderr
    stored = json.loads(kept(tmp_path).read_text())[away.url]
    assert (stored["token_id"], stored["is_given"]) == (token.token_id, True)
    assert "alice" in await away.there("org", "show", "alice")
    assert [one.token_id for one in await accounts.list_tokens("alice")] == [token.token_id]
    told = await away.run("logout", away.url)
    assert (told.exit_code, token.token_id in told.stderr) == (0, True), told.output
    assert [one.token_id for one in await accounts.list_tokens("alice")] == [token.token_id]
    assert json.loads(kept(tmp_path).read_text()) == {}
    other, _ = await accounts.create_token("alice", replace(terms, allow=PULL), actor=ACTOR)
    for wrong, said in (
        ("correct horse", "that is no access token, which begins with ts_"),
        (text[:-1], "that is no access token"),
        (other, "make one with --allow api"),
        (access_token_text(b"0" * 32), "treescale login"),
    ):
        refused = await login(wrong, "--token-stdin")
        assert (refused.exit_code, said in refused.stderr) == (1, True), refused.output
    assert json.loads(kept(tmp_path).read_text()) == {}


@pytest.fixture
def here(database_file: Path, tmp_path: Path) -> Command:
    """A command line on a copy of the database that the server began with."""
    command = Command(tmp_path / "here")
    command.data.mkdir()
    (command.data / "treescale.db").write_bytes(database_file.read_bytes())
    command.here("user", "add", "root", "--admin", "--password-stdin", text_in=PASSWORD)
    return command


async def test_a_server_says_what_the_database_does(away: Away, here: Command) -> None:
    await away.login()
    for words in (
        ("org", "grant", "alice", "root", "owner"),
        ("org", "grant", "bob", "root", "owner"),
        ("org", "add", "acme", "--owner", "alice"),
        ("org", "grant", "acme", "bob", "writer", "--repository", "acme/web-*"),
        ("org", "set", "acme", "visibility=internal"),
        ("org", "show", "acme"),
        ("org", "show", "acme", "--json"),
        ("org", "list"),
        ("org", "list", "--json"),
        ("org", "revoke", "acme", "bob"),
        ("org", "revoke", "acme", "bob"),
        ("org", "add", "acme", "--owner", "bob"),
        ("org", "grant", "acme", "nobody", "reader"),
        ("org", "show", "acme/members"),
        ("org", "remove", "acme"),
        ("user", "list"),
        ("user", "remove", "nobody", "--yes"),
        ("token", "list", "alice"),
        ("token", "revoke", "none"),
        ("repo", "list", "--json"),
        ("repo", "public", "alice/app"),
        ("repo", "list", "--sort", "size"),
        ("repo", "show", "alice/app"),
        ("repo", "show", "alice/none"),
        ("repo", "read-only", "alice/app", "on"),
        ("repo", "delete", "alice/app", "--yes"),
        ("repo", "read-only", "alice/app", "off"),
        ("repo", "move", "alice/app", "bob/app", "--yes"),
        ("repo", "deleted"),
        ("repo", "restore", "alice/none"),
        ("repo", "copy", "bob/app", "alice/app"),
        ("cluster", "set", "undelete=2d"),
        ("cluster", "set", "copies=7"),
        ("cluster", "set", "colour=red"),
        ("cluster", "drain", "none"),
        ("hook", "list"),
        ("hook", "show", "none"),
    ):
        local = await asyncio.to_thread(here.run, *words, "--data", str(here.data))
        remote = await away.run(*words, "--server", away.url)
        assert remote.exit_code == local.exit_code, remote.output
        assert shown(remote) == shown(local), words


def shown(result: Result) -> list[str]:
    """Return what was said, without flags that lead to the one or the other, and without times."""
    text = result.output.replace(" --server http", " --data http")
    lines = [line.partition(" --data ")[0].partition("\t20")[0] for line in text.splitlines()]
    left_out = ('"created"', '"since"')
    return [line for line in lines if not any(word in line for word in left_out)]


async def test_what_happened_is_read_from_a_server(away: Away) -> None:
    await away.login()
    await away.there("org", "add", "acme", "--owner", "alice")
    told = await away.there("events", "--kind", "organisation.*")
    assert told.split("\t")[2:5] == ["organisation.created", "root", "acme"]
    line = json.loads(await away.there("events", "--kind", "organisation.*", "--json"))
    assert (line["kind"], line["actor"]) == ("organisation.created", "root")
    after = ("--after", str(line["sequence"]), "--kind", "organisation.*")
    assert await away.there("events", *after) == ""


async def test_a_secret_takes_the_password(
    registry: Running, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    await away.login()
    words = ("token", "create", "alice", "--name", "ci")
    monkeypatch.setattr(options, "_TERMINAL", "/nowhere/tty")
    assert "run it at a terminal" in await away.refused(*words)
    asked = list[str]()

    def typed(question: str) -> str:
        asked.append(question)
        return PASSWORD

    monkeypatch.setattr(options, "_TERMINAL", "/dev/null")
    monkeypatch.setattr("getpass.getpass", typed)
    secret = (await away.there(*words)).strip()
    assert asked == [f"Password of root at {away.url}: "]
    assert secret.startswith("ts_")
    assert [one.label for one in await registry.parts.accounts.list_tokens("alice")] == ["ci"]


async def test_a_job_is_followed_at_a_server(
    registry: Running, away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    await away.login()
    assert "nobody to ask" in await away.refused("repair")
    await registry.parts.database.stores.register(STORE)
    jobs = registry.parts.database.jobs
    begin = jobs.begin

    async def done_at_once(job: str, kind: str, stores: Iterable[str], *, actor: str) -> None:
        await begin(job, kind, stores, actor=actor)
        (part,) = await jobs.parts(job)
        found = packed(Findings(fetched=3))
        await jobs.report(replace(part, state=JobState.DONE, done=4096, problems=found))

    monkeypatch.setattr(jobs, "begin", done_at_once)
    for words in (("repair",), ("verify",), ("fsck",), ("collect",), ("collect", "--dry-run")):
        row = json.loads(await away.there(*words, "--json"))
        assert [one["store"] for one in row["stores"]] == [STORE.store_id], words
        assert row.get("fetched", 3) == 3
    status = json.loads(await away.there("cluster", "status", "--json"))
    assert [one["store"] for one in status["stores"]] == [STORE.store_id]
    assert STORE.store_id in await away.there("cluster", "status")


async def test_whoever_logs_in_may_what_they_may(away: Away) -> None:
    await away.login(user="alice")
    assert "for administrators" in await away.refused("org", "add", "acme", "--owner", "alice")
    assert "no organisation bob" in await away.refused("org", "show", "bob")


async def test_a_login_that_ended_says_what_to_do(registry: Running, away: Away) -> None:
    await away.login()
    (token,) = await registry.parts.accounts.list_tokens("root")
    await registry.parts.accounts.revoke_token(token.token_id, actor=ACTOR)
    refused = await away.refused("org", "list")
    assert f"`treescale login {away.url}`" in refused
    assert (await away.run("logout", away.url)).exit_code == 0
    wrong = await away.run("login", away.url, "--user", "root", "--password-stdin", text_in="no\n")
    assert (wrong.exit_code, "wrong" in wrong.stderr) == (1, True)


async def test_flags_and_variables_say_which_is_asked(
    away: Away, monkeypatch: pytest.MonkeyPatch, here: Command
) -> None:
    await away.login()
    await away.there("org", "add", "acme", "--owner", "alice")
    monkeypatch.setenv("TREESCALE_SERVER", away.url)
    assert "acme" in (await away.run("org", "list")).stdout
    local = await away.run("org", "list", "--data", str(here.data))
    assert (local.exit_code, local.stdout) == (0, "")
    both = await away.run("org", "list", "--server", away.url, "--data", str(here.data))
    assert (both.exit_code, "which of them" in both.stderr) == (2, True)


async def test_what_works_on_the_machine_says_so(
    away: Away, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("config", "show"), ("backup", "file"), ("restore", "file")):
        assert "machine of the cluster" in await away.refused(*words), words
    for word in ("serve", "demo", "doctor"):
        refused = await away.run(word, "--server", away.url)
        assert (refused.exit_code, "machine itself" in refused.stderr) == (2, True), word
    monkeypatch.setenv("TREESCALE_SERVER", away.url)
    refused = await away.run("config", "show")
    assert (refused.exit_code, "machine of the cluster" in refused.stderr) == (1, True)


async def test_a_file_that_others_may_read_is_not_used(away: Away, tmp_path: Path) -> None:
    await away.login()
    kept(tmp_path).chmod(0o644)
    assert "chmod 600" in await away.refused("org", "list")
    kept(tmp_path).chmod(0o600)
    kept(tmp_path).write_text("{")
    assert "log in again" in await away.refused("org", "list")


async def test_addresses_that_are_none_and_servers_that_are_none(
    away: Away, unused: str, tmp_path: Path
) -> None:
    for url, said in (
        ("ftp://registry.example", "say https://"),
        ("https://registry.example/path", "say https://"),
        ("https://", "say https://"),
        ("https://registry.example:port", "say https://"),
        ("http://registry.example", "plain HTTP"),
        (unused, "does not answer"),
    ):
        words = ("login", url, "--user", "root", "--password-stdin")
        refused = await away.run(*words, text_in=f"{PASSWORD}\n")
        assert (refused.exit_code, said in refused.stderr) == (1, True), refused.output
    refused = await away.login("--ca-file", str(tmp_path / "none"))
    assert refused.exit_code == 0, "plain HTTP needs none"


@pytest.fixture
def unused(unused_tcp_port: int) -> str:
    return f"http://127.0.0.1:{unused_tcp_port}"


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "text/html", b"<html>"),
        (200, "application/json", b"{"),
        (502, "text/html", b"bad gateway"),
        (500, "application/problem+json", b"["),
        (500, "application/problem+json", b"[]"),
    ],
)
async def test_what_answers_otherwise_is_no_server_of_ours(
    away: Away, unused_tcp_port: int, status: int, kind: str, body: bytes
) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body, headers={"Content-Type": kind})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    away.url = f"http://127.0.0.1:{unused_tcp_port}"
    refused = await away.login()
    await runner.cleanup()
    assert (refused.exit_code, "is that its address?" in refused.stderr) == (1, True)


async def test_a_certificate_that_nobody_signed_is_told_of(
    away: Away, registry: Running, tmp_path: Path
) -> None:
    """Plain HTTP where TLS is spoken to it."""
    del registry
    away.url = away.url.replace("http:", "https:")
    refused = await away.login()
    assert (refused.exit_code, "does not" in refused.stderr) == (1, True)
    missing = await away.login("--ca-file", str(tmp_path / "none"))
    assert (missing.exit_code, "no certificate can be read" in missing.stderr) == (1, True)


async def test_a_failure_of_the_server_is_one_line(away: Away, registry: Running) -> None:
    await away.login()
    DatabaseAway(registry.parts.database).begin()
    refused = await away.refused("org", "list")
    assert (refused.count("\n"), "later" in refused) == (1, True)
