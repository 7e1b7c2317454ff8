"""What is live ends when the rights of who looks do, and nobody looks on with pages without end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from tests.api.client import Client
from tests.api.running import Running
from tests.console.asked import ask
from tests.console.web.browser import Browser
from tests.console.web.operator.stream import Parts, parts_of
from tests.contracts.metadata_values import ACTOR
from treescale.console.web import dispatch

LIVE = "/-/cluster/live"
SECONDS_MAX = 10.0


async def ended(parts: Parts) -> None:
    """Read to the end, which comes soon."""
    async with asyncio.timeout(SECONDS_MAX):
        while await parts.response.content.readline():
            pass


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have rights be looked at again soon."""
    monkeypatch.setattr(dispatch, "RIGHTS_SECONDS", 0.2)


async def signed_out(browser: Browser, _: Running, __: Client) -> None:
    """End the session."""
    (await browser.post("/-/sign-out")).expect(303)


async def demoted(_: Browser, registry: Running, root: Client) -> None:
    """Have root be no administrator."""
    await registry.parts.accounts.add_user("other", "another password", actor=ACTOR, admin=True)
    people = Client(root.session, root.url, "other", "another password")
    (await ask(people, "PUT", "/users/root/admin", {"admin": False})).expect(200)


@pytest.mark.parametrize("end", [signed_out, demoted])
async def test_a_page_of_administrators_ends_with_their_rights(
    administrator: Browser,
    registry: Running,
    root: Client,
    end: Callable[[Browser, Running, Client], Awaitable[None]],
) -> None:
    async with parts_of(administrator, LIVE) as parts:
        await parts.until("cluster-verdict", "whole")
        await end(administrator, registry, root)
        await ended(parts)
    assert (await administrator.get(LIVE)).status in (303, 403)


async def test_an_image_across_the_cluster_ends_with_the_role(
    browser: Browser, alice: Client, bob: Client, registry: Running
) -> None:
    await alice.repository("alice/app").push_image("1", b"layer" * 50_000)
    member = "/organisations/alice/members/bob"
    (await ask(alice, "PUT", member, {"role": "reader"})).expect(200)
    await browser.sign_in("bob", bob.password)
    async with parts_of(browser, "/alice/app:1/-/spread/live") as parts:
        await parts.until("spread-stores", "<")
        (await ask(alice, "DELETE", member)).expect(200)
        await ended(parts)
    assert registry.url


async def test_so_many_pages_are_live_at_once(
    administrator: Browser, other: Browser, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "STREAMS_MAX", 30)
    await alice.repository("alice/app").push_image("1", b"layer" * 50_000)
    await other.sign_in("alice", alice.password)
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(parts_of(administrator, LIVE))
        refused = (await administrator.get(LIVE)).expect(429)
        assert refused.headers["Retry-After"] == "60"
        await stack.enter_async_context(parts_of(other, "/alice/app:1/-/spread/live"))
    for _ in range(100):
        if (await administrator.ask("HEAD", LIVE, {}, b"")).status == 200:
            return
        await asyncio.sleep(0.1)
    pytest.fail("who is gone is counted still")
