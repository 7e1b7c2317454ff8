"""The commands of docs/teams.md, typed as they stand there, section by section, each by itself."""

import re
import shlex
from pathlib import Path
from typing import Final

import pytest

from tests.cli.conftest import Command
from tests.contracts.metadata_values import ACTOR, NOW, manifest
from tests.id_tokens import RSA_KEY, jwk, jwks
from treescale.metadata.database import Database

PAGE: Final = (Path(__file__).parents[2] / "docs/teams.md").read_text()
BEGINNING: Final = "In ten minutes"
TEAM: Final = "From nothing to a team of three"
OTHERS: Final = {"curl", "export", "jq", "kubectl", "printf"}
"""Programs of others, of which the first word of a line is one."""
PASSWORD: Final = "correct horse"
ASKED: Final = {("user", "add"): ("--password-stdin",), ("repo", "rules"): ("--yes",)}
"""What is asked at a terminal is said, or read from standard input, where there is none."""


def sections() -> dict[str, list[list[str]]]:
    """Return the commands of each section that has any, as words."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        whole = "\n".join(blocks).replace("\\\n", "")
        lines = [words for line in whole.splitlines() if (words := shlex.split(line))]
        commands = [words[1:] for words in lines if words[0] not in OTHERS]
        assert all(words[0] == "treescale" for words in lines if words[0] not in OTHERS)
        if commands:
            found[part.partition("\n")[0]] = commands
    return found


@pytest.fixture
def registry(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("TREESCALE_PUBLIC_URL", "https://registry.example")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "client-secret").write_text("a secret\n")
    (tmp_path / "jwks.json").write_bytes(jwks(jwk(RSA_KEY, "k1")))
    return command


def begin(registry: Command, section: str) -> None:
    """Have there be what a section builds on."""
    if section == BEGINNING:
        return
    for name in ("alice", "bob", "carol"):
        registry.here("user", "add", name, "--password-stdin", text_in=PASSWORD)
    if section == TEAM:
        return
    registry.here("org", "add", "acme", "--owner", "alice")

    async def push(database: Database) -> None:
        await database.manifests.put("acme/app", manifest(), [], ["pr-7"], now=NOW, actor=ACTOR)

    registry.database(push)


def typed(registry: Command, line: list[str]) -> str:
    """Run a command as a shell would; return what it prints."""
    words, source = line, ""
    if line[-2] in ("<", ">"):
        words, source = line[:-2], line[-1] if line[-2] == "<" else ""
    text_in = Path(source).read_text() if source else PASSWORD
    flags = ASKED.get((words[0], words[1]), ()) if "--immutable" not in words else ()
    return registry.here(*words, *flags, text_in=text_in)


@pytest.mark.parametrize("section", sections())
def test_what_is_written_there_works(registry: Command, section: str) -> None:
    begin(registry, section)
    for line in sections()[section]:
        if line[0] != "serve":
            typed(registry, line)


def test_the_sections_are_there() -> None:
    found = sections()
    assert {BEGINNING, TEAM, "Robots", "CI without a secret", "Quotas"} <= set(found)
    assert sum(map(len, found.values())) > 30
