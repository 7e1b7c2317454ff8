"""Pages as a server has them, beside a registry: real HTTP, a real SQLite file."""

import aiohttp
import pytest

from tests.api.running import Running
from tests.console.conftest import (
    alice,
    anybody,
    bob,
    cors,
    database_file,
    limits,
    registry,
    root,
    session,
    threads,
    trusted_proxies,
)
from tests.console.web.browser import Browser

__all__ = [
    "alice",
    "anybody",
    "bob",
    "cors",
    "database_file",
    "limits",
    "registry",
    "root",
    "session",
    "threads",
    "trusted_proxies",
]  # fixtures


@pytest.fixture
def browser(registry: Running, session: aiohttp.ClientSession) -> Browser:
    """A browser that nobody has signed in with."""
    return Browser(session, registry.url)


@pytest.fixture
def other(registry: Running, session: aiohttp.ClientSession) -> Browser:
    """Another one."""
    return Browser(session, registry.url)
