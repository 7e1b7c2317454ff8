"""Two databases: one that is full of rows, and an empty place for what was read of it."""

from pathlib import Path

import pytest

from tests.metadata.conftest import empty_postgres_url, postgres, postgres_url
from tests.metadata.portable.every_row import filled
from tests.templates import empty_database, migrate_by_template

__all__ = ["empty_postgres_url", "postgres", "postgres_url"]

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]


@pytest.fixture
async def sqlite_full(tmp_path: Path) -> str:
    """A database with rows in every table."""
    url = empty_database(tmp_path / "full.db")
    await filled(url)
    return url


@pytest.fixture
async def postgres_full(postgres_url: str) -> str:
    """The same."""
    await filled(postgres_url)
    return postgres_url


@pytest.fixture(
    params=["sqlite_full", pytest.param("postgres_full", marks=pytest.mark.long)],
    ids=["sqlite", "postgresql"],
)
def full(request: pytest.FixtureRequest) -> str:
    """The same, on each engine."""
    return str(request.getfixturevalue(request.param))


@pytest.fixture(params=BOTH)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where nothing is, on each engine."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'target.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture(autouse=True)
def quick_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    migrate_by_template(monkeypatch)
