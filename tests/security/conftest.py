"""The registry of the API tests, under attack."""

from tests.api.conftest import (
    alice,
    anybody,
    bob,
    cors,
    database_file,
    limits,
    make_public,
    registry,
    session,
    threads,
    trusted_proxies,
)
from tests.metadata.conftest import postgres, postgres_url, sqlite_url

__all__ = [
    "alice",
    "anybody",
    "bob",
    "cors",
    "database_file",
    "limits",
    "make_public",
    "postgres",
    "postgres_url",
    "registry",
    "session",
    "sqlite_url",
    "threads",
    "trusted_proxies",
]
