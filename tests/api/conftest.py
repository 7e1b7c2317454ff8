"""A registry in this process on a loopback port: real HTTP, a real SQLite file, chunks in memory.

The file with its schema, key and users is made once; each test gets a copy of its own.
"""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.api.client import Client, MakePublic
from treescale.api.guard import Guard
from treescale.auth.passwords import Passwords
from treescale.chunks.store import MemoryStore
from treescale.clock import Clock, SystemClock
from treescale.metadata.migrations import migrate
from treescale.metadata.protocols import Database
from treescale.metadata.sql.database import open_database
from treescale.registry.accounts import Accounts
from treescale.registry.bearer import TokenService
from treescale.registry.login import Login
from treescale.serve import compose, new_connections

PASSWORD = "a password for tests"
USERS = ("alice", "bob")


@dataclass(frozen=True)
class Running:
    """A running registry and what it stands on."""

    url: str
    port: int
    clock: Clock
    database: Database
    store: MemoryStore
    tokens: TokenService
    accounts: Accounts
    connections: web.Server


async def make_database(path: Path) -> None:
    """Write a database as after a first start, with the users alice and bob."""
    clock = SystemClock()
    url = f"sqlite:///{path}"
    await migrate(url)
    database = open_database(url)
    await TokenService(database, clock).start()
    accounts = Accounts(database.users, database.access_tokens, Passwords(memory=64), clock)
    for name in USERS:
        await accounts.add_user(name, PASSWORD)
    await database.close()


@pytest.fixture(scope="session")
def database_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the database that tests begin with."""
    path = tmp_path_factory.mktemp("registry") / "treescale.db"
    asyncio.run(make_database(path))
    return path


@pytest.fixture
async def registry(tmp_path: Path, database_file: Path) -> AsyncIterator[Running]:
    """Run a registry with the users alice and bob."""
    clock = SystemClock()
    path = shutil.copy(database_file, tmp_path / "treescale.db")
    database = open_database(f"sqlite:///{path}")
    store = MemoryStore()
    passwords = Passwords(memory=64)
    tokens = TokenService(database, clock)
    await tokens.start()
    accounts = Accounts(database.users, database.access_tokens, passwords, clock)
    login = Login(database.users, database.access_tokens, passwords, clock)
    with ThreadPoolExecutor(4) as threads:
        api = compose(database, store, threads, Guard(login, tokens), clock)
        connections = new_connections(api, tls=False)
        runner = web.ServerRunner(connections)
        await runner.setup()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await web.SockSite(runner, listener).start()
            port = listener.getsockname()[1]
            yield Running(
                f"http://127.0.0.1:{port}",
                port,
                clock,
                database,
                store,
                tokens,
                accounts,
                connections,
            )
            await runner.cleanup()
    await database.close()


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
        await registry.database.repositories.set_public(name, public=True, now=0)

    return make_public
