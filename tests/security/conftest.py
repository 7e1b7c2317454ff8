"""The registry of the API tests, under attack."""

from tests.api.conftest import (
    alice,
    anybody,
    bob,
    database_file,
    make_public,
    registry,
    session,
    trusted_proxies,
)

__all__ = [
    "alice",
    "anybody",
    "bob",
    "database_file",
    "make_public",
    "registry",
    "session",
    "trusted_proxies",
]
