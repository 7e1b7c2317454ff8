"""A cluster of three servers in the rows of a database, of which this process is the first."""

import shutil
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.api.client import Client
from tests.api.conftest import running
from tests.api.running import Running, make_parts
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
    root,
    session,
    threads,
    trusted_proxies,
)
from tests.contracts.metadata_values import ACTOR
from treescale.clock import SystemClock
from treescale.cluster.liveness import LIVE_SECONDS
from treescale.console.watch.sights import Sights
from treescale.metadata.database import Database
from treescale.metadata.records import (
    LayoutRecord,
    LayoutStore,
    ServerRecord,
    StoreRecord,
    StoreReport,
    StoreWalk,
    Throughput,
)
from treescale.metrics.chunk_reads import ChunkReads

__all__ = [
    "alice",
    "anybody",
    "bob",
    "browser",
    "cors",
    "database_file",
    "limits",
    "other",
    "root",
    "session",
    "threads",
    "trusted_proxies",
]  # fixtures
SERVERS = {name: f"{number:032x}" for number, name in enumerate(("one", "two", "three"), start=1)}
STORES = {name: f"{number:032x}" for number, name in enumerate(SERVERS, start=17)}


@dataclass
class Seen:
    """What the server's pings find, and where reads are noted; a test has them otherwise."""

    peers: dict[str, bool] = field(default_factory=dict)
    reads: ChunkReads = field(default_factory=lambda: ChunkReads(SystemClock()))


@pytest.fixture
def seen() -> Seen:
    """All others are reached."""
    return Seen({SERVERS["two"]: True, SERVERS["three"]: True})


@pytest.fixture
async def registry(
    tmp_path: Path, database_file: Path, threads: Executor, seen: Seen
) -> AsyncIterator[Running]:
    """Run a registry that is one of three servers."""
    copy = tmp_path / "treescale.db"
    shutil.copy(database_file, copy)
    parts = await make_parts(copy, threads)
    await spread(parts.database)
    sights = Sights(SERVERS["one"], lambda: seen.peers, reads=seen.reads)
    async with running(parts, sights=sights) as registry:
        yield registry


async def spread(database: Database) -> None:
    """Give the database three servers that are whole, with a store each and two copies."""
    now = await database.servers.now()
    for name, server_id in SERVERS.items():
        server = ServerRecord(server_id, name, f"http://{name}:5000", "", now, version="0.2.0")
        await database.servers.register(server, live_seconds=LIVE_SECONDS, actor=ACTOR)
        store = StoreRecord(STORES[name], name, "/data", "", 1.0, now, server_id=server_id)
        await database.stores.register(store)
    labels = [LayoutStore(STORES[name], SERVERS[name], "", 1.0) for name in SERVERS]
    await database.layouts.propose(LayoutRecord(1, tuple(labels), 2, now), actor=ACTOR)
    await database.settings.put("copies", "2")
    for name, server_id in SERVERS.items():
        report = StoreReport(STORES[name], 10**12, 6 * 10**11)
        passing = Throughput(3_000_000, 2_000, 0, 0)
        await database.servers.heartbeat(server_id, [report], passing)
        walk = StoreWalk(STORES[name], 1, 0, 0, 0, rate=0, looked=now, verified=now)
        await database.walks.put(walk)


@pytest.fixture
async def administrator(browser: Browser, root: Client) -> Browser:
    """Root at her browser."""
    await browser.sign_in("root", root.password)
    return browser
