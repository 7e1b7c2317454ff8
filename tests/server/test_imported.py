"""What a server has no use for is not imported: each of its processes would keep it."""

import importlib.util
import subprocess
import sys

import pytest

PROGRAM = """
import sys
BEFORE
import treescale.cli.main, treescale.cli.serve
print(*sys.modules)
"""
UNUSED = (
    "rich",
    "pygments",
    "alembic",
    "asyncpg",
    "sqlalchemy.orm",
    "sqlalchemy.dialects.postgresql",
    "jinja2",
    "markdown_it",
    "treescale.console.table",
)
"""By a server on SQLite that has no tables to make, and whose console nobody has opened."""
CONTROLS = {
    "jinja2": "import treescale.server.managed",
    "rich": "import contextlib, treescale.spared as s; s.without = contextlib.nullcontext",
    "sqlalchemy.dialects.postgresql": "import sqlalchemy as s; "
    "s.Index('i', s.Column('a'), postgresql_where=s.text('a'))",
}
"""What would import them."""


def imported(before: str = "") -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("BEFORE", before)],
        check=True,
        capture_output=True,
        timeout=60,
        text=True,
    )
    return set(done.stdout.split())


def test_a_server_imports_nothing_it_does_not_use() -> None:
    assert all(importlib.util.find_spec(name.partition(".")[0]) for name in UNUSED)
    assert imported().isdisjoint(UNUSED)


@pytest.mark.parametrize("name", CONTROLS)
def test_control_these_would_be_imported(name: str) -> None:
    assert name in imported(CONTROLS[name])
