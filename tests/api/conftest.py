"""A registry in this process on a loopback port: real HTTP, a real SQLite file, chunks in memory.

The file with its schema, key and users is made once; each test gets a copy of its own.
"""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.api.client import Client, MakePublic
from tests.api.running import PASSWORD, Parts, Running, make_database, make_parts
from tests.contracts.metadata_values import ACTOR
from tests.fakes_readiness import metrics_desk, stop_desk
from tests.outbounds import outbound
from treescale.api.routes import route_table
from treescale.console.table.dispatch import ApiDispatcher
from treescale.console.table.docker_search import DockerSearch
from treescale.console.table.inside import Inside
from treescale.console.table.routes import api_routes
from treescale.console.watch.sights import NO_SIGHTS, Sights
from treescale.console.web.dispatch import PageDispatcher
from treescale.console.web.table import PageParts, page_routes
from treescale.events.live import LiveLog
from treescale.events.signals import Signals
from treescale.http.administrators import Administrators
from treescale.http.authentication import Authenticator
from treescale.http.clients import Clients
from treescale.http.connections.response_cache import ResponseCache
from treescale.http.cors import NO_CORS, Cors
from treescale.http.dispatch import Dispatcher
from treescale.http.limits import LIMITS, Limits
from treescale.http.proxy.origin import Proxies
from treescale.http.sessions.visitor import Visitors
from treescale.metadata.database import Database
from treescale.outbound.answers import Limits as OutboundLimits
from treescale.outbound.client import OutboundClient
from treescale.outbound.networks import Networks, parse_targets
from treescale.registry.counted.logins import Logins
from treescale.registry.issuers.keys import PublishedKeys
from treescale.registry.people.openid import OpenId
from treescale.registry.people.sessions import SessionService
from treescale.server.serving import Answers, by_path, compose, new_connections


@pytest.fixture(scope="session")
def database_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database that tests begin with."""
    path = tmp_path_factory.mktemp("registry") / "treescale.db"
    asyncio.run(make_database(path))
    return path


@pytest.fixture(scope="session")
def threads() -> Iterator[Executor]:
    """Return the threads that all registries share."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def trusted_proxies() -> Sequence[IPv4Network]:
    """Trust nobody, unless a test's parameters say otherwise."""
    return ()


@pytest.fixture
def limits() -> Limits:
    """Be as patient as a real server, unless a test's parameters say otherwise."""
    return LIMITS


@pytest.fixture
def cors() -> Cors:
    """Let no web page ask, unless a test's parameters say otherwise."""
    return NO_CORS


@pytest.fixture
async def registry(
    tmp_path: Path,
    database_file: Path,
    threads: Executor,
    trusted_proxies: Sequence[IPv4Network],
    limits: Limits,
    cors: Cors,
) -> AsyncIterator[Running]:
    """Run a registry with the users alice and bob."""
    copy = tmp_path / "treescale.db"
    shutil.copy(database_file, copy)
    parts = await make_parts(copy, threads)
    async with running(parts, trusted_proxies, limits, cors) as registry:
        yield registry


@asynccontextmanager
async def running(
    parts: Parts,
    trusted_proxies: Sequence[IPv4Network] = (),
    limits: Limits = LIMITS,
    cors: Cors = NO_CORS,
    sights: Sights = NO_SIGHTS,
) -> AsyncIterator[Running]:
    """Run a registry of these parts, and close its database in the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients, meters = Clients(Proxies(trusted_proxies)), parts.meters
        logins = Logins(parts.database.connections, parts.clock)
        guard = Authenticator(
            parts.login, parts.tokens, clients, cors, meters, parts.robots, parts.rates, logins
        )
        rooms = compose(
            parts.database,
            parts.store,
            parts.threads,
            guard,
            parts.clock,
            parts.traffic,
            parts.losses,
        )
        desks = stop_desk(parts.database), metrics_desk(parts.database, meters, parts.clock)
        api = Dispatcher(rooms, route_table(parts.ready, *desks), check=parts.ready.check_member)
        administrators = Administrators(parts.database.users, parts.clock)
        live = followed(parts.database)
        rows = api_routes(
            parts.database,
            parts.clock,
            live,
            passwords=parts.passwords,
            public_url="https://registry.example.com",
            sights=sights,
        )
        visitors = Visitors(SessionService(parts.database, parts.clock), clients)
        management = ApiDispatcher(rows, guard, administrators, parts.traffic, visitors=visitors)
        openid = OpenId(PublishedKeys(asking, parts.clock), asking)
        pages = PageParts(
            parts.database, parts.passwords, parts.clock, visitors.sessions, parts.tokens, openid
        )
        shown_rows = page_routes(pages)
        shown = PageDispatcher(shown_rows, guard, visitors, parts.traffic, Inside(rows))
        searched = DockerSearch(Inside(rows), guard).handle
        handle = by_path(api.handle, Answers(management.handle, shown.handle, searched))
        connections = new_connections(handle, tls=False, limits=limits, meters=meters)
        connections.responses = ResponseCache()
        runner = web.ServerRunner(connections)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        async with asyncio.TaskGroup() as group:
            following = group.create_task(live.run())
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield Running(url, parts, rooms, live, connections, shown_rows)
            live.close()
            await runner.cleanup()
            following.cancel()
        await parts.database.close()


async def asking() -> OutboundClient:
    """Return what asks providers: the tests' own, on this machine."""
    limits = OutboundLimits(seconds=2.0, answer_bytes=256 * 1024)
    return outbound().client(Networks(parse_targets("127.0.0.1"), ()), limits)


def followed(database: Database) -> LiveLog:
    """Return what follows the events of a database that this process alone writes."""
    signals = Signals()
    database.connections.on_recorded = signals.grown.set
    return LiveLog(database.event_log, database.repositories, signals)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Make connections for the test."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@pytest.fixture
def alice(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be alice."""
    return Client(session, registry.url, "alice", PASSWORD)


@pytest.fixture
def bob(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be bob."""
    return Client(session, registry.url, "bob", PASSWORD)


@pytest.fixture
def anybody(registry: Running, session: aiohttp.ClientSession) -> Client:
    """Be nobody in particular."""
    return Client(session, registry.url)


@pytest.fixture
def make_public(registry: Running) -> MakePublic:
    """Open repositories to everybody."""

    async def make_public(name: str) -> None:
        await registry.parts.database.repositories.set_public(name, public=True, now=0, actor=ACTOR)

    return make_public
