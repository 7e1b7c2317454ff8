"""The management API as a server has it, beside a registry: real HTTP, a real SQLite file."""

import aiohttp
import pytest

from tests.api.client import Client
from tests.api.conftest import (
    alice,
    anybody,
    bob,
    cors,
    database_file,
    limits,
    registry,
    session,
    threads,
    trusted_proxies,
)
from tests.api.running import PASSWORD, Running
from tests.contracts.metadata_values import ACTOR

__all__ = [
    "alice",
    "anybody",
    "bob",
    "cors",
    "database_file",
    "limits",
    "registry",
    "session",
    "threads",
    "trusted_proxies",
]  # fixtures


@pytest.fixture
async def root(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be an administrator."""
    await registry.parts.accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
    return Client(session, registry.url, "root", PASSWORD)
