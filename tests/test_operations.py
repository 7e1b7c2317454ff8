"""Every command block of docs/operations.md is typed by a test, or it is said why none can."""

import re
from typing import Final

from tests.functional.pages import PAGE, ROOT, SECTION

TYPED: Final = {
    "As a systemd service": "tests/functional/test_installing.py",
    "From nothing to TLS, backups and Prometheus": "tests/functional/test_installing.py",
    "With pipx or uv": "tests/functional/test_installing.py",
    "Upgrading": "tests/functional/test_installing.py",
    "Removing": "tests/functional/test_installing.py",
    "A backup each night": "tests/functional/test_installing.py",
    "Backup and restore": "tests/functional/test_sqlite_fails.py",
    "The database": "tests/functional/test_three_machines.py",
    "Certificates": "tests/functional/test_three_machines.py",
    "The servers": "tests/functional/test_three_machines.py",
    "Backup and restore of a cluster": "tests/functional/test_three_machines.py",
    "Growing from one machine to several": "tests/functional/test_grow.py",
}
NOT_TYPED: Final = {
    "Keeping itself whole": "it restarts by ssh and systemd: test_stopping.py asks before stops",
    "Collection": "it asks a person: cli/test_purge.py answers",
    "Is a server fit?": "an answer as an example: test_sqlite_fails.py reads it",
    "Read-only: for upgrades, moves and incidents": "two words: test_read_only.py says them",
    "PostgreSQL that fails over": "a part of a file: test_failover.py has all of it",
    "In a container": "its base is on Docker Hub: test_container.py takes another",
    "With compose": "its images are on Docker Hub: test_deploy.py reads the file",
    "Let's Encrypt": "its authority reaches no test: test_redirect.py serves the challenge",
}


def test_every_block_of_commands_is_typed_or_it_is_said_why_not() -> None:
    with_commands = {title for title, text in SECTION.findall(PAGE) if "\n```" in f"\n{text}"}
    assert with_commands == {*TYPED, *NOT_TYPED}
    for title, file in TYPED.items():
        assert f'blocks("{title}"' in (ROOT / file).read_text(encoding="utf-8"), title
    for title, why in NOT_TYPED.items():
        for name in re.findall(r"[\w/]+\.py", why):
            assert [*(ROOT / "tests").rglob(name)], (title, name)
