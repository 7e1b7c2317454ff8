"""A database for the shells: which one makes no difference here, the contracts see to that."""

import pytest

from tests.metadata.conftest import database, other, sqlite_url

__all__ = ["database", "other", "sqlite_url"]


@pytest.fixture
def url(sqlite_url: str) -> str:
    return sqlite_url
