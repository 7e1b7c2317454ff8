"""The registry of the API tests, under attack."""

from tests.api.conftest import (
    alice,
    anybody,
    bob,
    database_file,
    limits,
    make_public,
    registry,
    session,
    trusted_proxies,
)
from tests.metadata.conftest import empty_sqlite, postgres, postgres_url, sqlite_url

__all__ = [
    "alice",
    "anybody",
    "bob",
    "database_file",
    "empty_sqlite",
    "limits",
    "make_public",
    "postgres",
    "postgres_url",
    "registry",
    "session",
    "sqlite_url",
    "trusted_proxies",
]
