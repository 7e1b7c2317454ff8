"""An organisation with an image, and people with roles in it at their browsers."""

from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.console.asked import ask
from tests.console.web.browser import Browser
from tests.console.web.conftest import (
    alice,
    anybody,
    bob,
    browser,
    cors,
    database_file,
    limits,
    other,
    registry,
    root,
    session,
    threads,
    trusted_proxies,
)
from tests.contracts.metadata_values import ACTOR

__all__ = [
    "alice",
    "anybody",
    "bob",
    "browser",
    "cors",
    "database_file",
    "limits",
    "other",
    "registry",
    "root",
    "session",
    "threads",
    "trusted_proxies",
]  # fixtures

At = Callable[[str], Awaitable[Browser]]
ROLES = ("reader", "writer", "maintainer")


@pytest.fixture
async def acme(registry: Running, root: Client, alice: Client) -> Running:
    """Alice's organisation acme, with one image, and one member of each role by its name."""
    made = await ask(root, "POST", "/organisations", {"name": "acme", "owner": "alice"})
    made.expect(200)
    for role in ROLES:
        await registry.parts.accounts.add_user(role, PASSWORD, actor=ACTOR)
        member = f"/organisations/acme/members/{role}"
        (await ask(alice, "PUT", member, {"role": role})).expect(200)
    await alice.repository("acme/app").push_image("1", b"a layer")
    return registry


@pytest.fixture
def at(acme: Running, session: aiohttp.ClientSession) -> At:
    """Have somebody sit at a browser."""

    async def at(name: str) -> Browser:
        browser = Browser(session, acme.url)
        await browser.sign_in(name, PASSWORD)
        return browser

    return at
