"""Workers of one server in this process: real sockets, a real database file, a real store.

Each worker has connections, caches and an opened store of its own, as processes have; all of them
share the database's file and the data directory.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Self

from tests.api.running import ARGON2_KIB, PASSWORD
from tests.contracts.metadata_values import ACTOR
from tests.fakes_readiness import Fit, metrics_desk, stop_desk
from tests.templates import empty_database
from treescale.api.routes import route_table
from treescale.auth.passwords import Passwords
from treescale.auth.scopes import ALL_ACTIONS, Action
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.chunks.replication.store import ReplicatedStore
from treescale.clock import SystemClock
from treescale.http.authentication import Authenticator
from treescale.http.connections.connection import ConnectionServer
from treescale.http.dispatch import Dispatcher
from treescale.metadata.database import Database, open_database
from treescale.metrics.traffic import TrafficCounters
from treescale.registry.accounts import Accounts, TokenTerms
from treescale.registry.login import Login
from treescale.registry.token_service import TokenService
from treescale.server.serving import compose, new_connections

DATABASE: Final = "treescale.db"
STORE: Final = "store"
USERS: Final = ("alice", "bob", "carol")
TERMS: Final = {
    "reader": TokenTerms("reader", allow=frozenset({Action.PULL})),
    "app-only": TokenTerms("app-only", allow=ALL_ACTIONS - {Action.DELETE}, repository="alice/app"),
}
"""Access tokens of alice. `make_home` writes the secret of each into a file of its name."""


async def make_home(home: Path) -> None:
    """Write a database with users and access tokens, and an empty store."""
    clock = SystemClock()
    database = open_database(empty_database(home / DATABASE))
    await TokenService(database, clock).start()
    passwords = Passwords(memory=ARGON2_KIB)
    accounts = Accounts(database.users, database.access_tokens, passwords, clock)
    for name in USERS:
        await accounts.add_user(name, PASSWORD, actor=ACTOR)
    for name, terms in TERMS.items():
        secret, _ = await accounts.create_token("alice", terms, actor=ACTOR)
        (home / name).write_text(secret, encoding="ascii")
    await database.close()
    with ThreadPoolExecutor(1) as threads:
        DiskStore.create_or_open(home / STORE, threads=threads, clock=clock)


def copy_home(home: Path, to: Path) -> Path:
    """Return a copy of a home that no worker has open."""
    shutil.copytree(home, to)
    return to


@cache
def _table(store_id: str) -> Table:
    """Return the placement on one store; every worker of every run has the same."""
    return build_table(Layout(1, (StoreLabel(store_id, "here", ""),), 1))


@dataclass
class Worker:
    """One of the server's processes, so to say."""

    url: str
    port: int
    database: Database
    connections: ConnectionServer
    _server: asyncio.Server
    _threads: ThreadPoolExecutor

    @classmethod
    async def start(cls, home: Path) -> Self:
        """Serve what is at `home` on a free port."""
        clock = SystemClock()
        database = open_database(f"sqlite:///{home / DATABASE}")
        threads = ThreadPoolExecutor(4)
        disk = DiskStore.create_or_open(home / STORE, threads=threads, clock=clock)
        store = ReplicatedStore(_table(disk.store_id), {disk.store_id: disk})
        tokens = TokenService(database, clock)
        await tokens.start()
        passwords = Passwords(memory=ARGON2_KIB)
        login = Login(database.users, database.access_tokens, passwords, clock)
        rooms = compose(
            database, store, threads, Authenticator(login, tokens), clock, TrafficCounters()
        )
        api = Dispatcher(rooms, route_table(Fit(), stop_desk(database), metrics_desk(database)))
        connections = new_connections(api.handle, tls=False)
        server = await asyncio.get_running_loop().create_server(connections, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        return cls(f"http://127.0.0.1:{port}", port, database, connections, server, threads)

    async def stop(self) -> None:
        """End as a server does at SIGTERM, when all requests have been answered."""
        self._server.close()
        await self.connections.drain(0.2)
        await self.database.close()
        self._threads.shutdown()


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Worker]:
    """Run one worker."""
    worker = await Worker.start(home)
    try:
        yield worker
    finally:
        await worker.stop()
