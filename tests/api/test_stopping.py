"""/stopz: who may ask it, and how it answers."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

import aiohttp
import pytest

from tests.api.client import Client
from tests.api.running import PASSWORD, Running
from tests.contracts.metadata_values import ACTOR
from tests.contracts.stopping import NAMES, Servers
from treescale.auth.scopes import ALL_ACTIONS, Action, TokenScope
from treescale.registry.accounts import TokenTerms


@pytest.fixture
async def servers(registry: Running) -> AsyncIterator[Servers]:
    """Return a cluster of three on the registry's database; those that live say so all the time."""
    servers = Servers(registry.parts.database)
    await servers.start(*NAMES)
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(_beat(servers))
        yield servers
        beating.cancel()


async def _beat(servers: Servers) -> None:
    while True:
        await servers.beat()
        await asyncio.sleep(0.05)


@pytest.fixture
async def root(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be an administrator."""
    await registry.parts.accounts.add_user("root", PASSWORD, actor=ACTOR, admin=True)
    return Client(session, registry.url, "root", PASSWORD)


async def test_one_server_gets_it_and_gives_it_back(servers: Servers, root: Client) -> None:
    assert servers.living == set(NAMES)
    answer = (await root.raw("POST", "/stopz?server=host-A", root.basic())).expect(200)
    assert answer.json["may_stop"] is True
    answer = await root.raw("POST", "/stopz?server=B", root.basic())
    assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json["may_stop"] is False
    assert "host-A (http://A) may be stopped, or is not back" in answer.json["reason"]
    (await root.raw("DELETE", "/stopz?server=A", root.basic())).expect(200)
    (await root.raw("POST", "/stopz?server=B", root.basic())).expect(200)


async def test_without_a_name_it_is_about_the_server_that_is_asked(root: Client) -> None:
    answer = (await root.raw("POST", "/stopz", root.basic())).expect(404)
    assert answer.json["errors"][0]["message"] == "the cluster knows no server alone"
    (await root.raw("POST", "/stopz?server=nobody", root.basic())).expect(404)
    (await root.raw("GET", "/stopz", root.basic())).expect(405)


async def test_administrators_alone_may_ask(
    registry: Running, servers: Servers, root: Client, alice: Client, anybody: Client
) -> None:
    assert servers.living == set(NAMES)
    for method in ("POST", "DELETE"):
        (await anybody.raw(method, "/stopz?server=A")).expect(401)
        (await alice.raw(method, "/stopz?server=A", alice.basic())).expect(401)
        for terms, status in (
            (TokenTerms("limited", frozenset({Action.PULL})), 401),
            (TokenTerms("limited", ALL_ACTIONS, repository="root/app"), 401),
            (TokenTerms("free", ALL_ACTIONS), 401),
            (TokenTerms("scoped", frozenset({TokenScope.API})), 200),
        ):
            secret, _ = await registry.parts.accounts.create_token("root", terms, actor=ACTOR)
            who = Client(root.session, registry.url, "root", secret)
            (await who.raw(method, "/stopz?server=A", who.basic())).expect(status)
