"""A registry in this process over real chunk files: uvloop, a cluster of two disks, TLS."""

import asyncio
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import pytest

from tests.api.client import Client, Repository
from tests.api.files.serving import Asking, CountingDisk, Served
from tests.api.running import PASSWORD, make_parts
from tests.fakes_readiness import metrics_desk, stop_desk
from tests.loops import new_uvloop
from treescale.api.routes import route_table
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.placement import Layout, StoreLabel, build_table
from treescale.chunks.replication.store import ReplicatedStore
from treescale.http.authentication import Authenticator
from treescale.http.dispatch import Dispatcher
from treescale.server.network.certificates import self_signed, server_context
from treescale.server.serving import compose, new_connections


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run on the loop that servers run on: its transports are not asyncio's."""
    return {"uvloop": new_uvloop}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a directory on a disk: a file in memory has no page cache that could be asked."""
    with tempfile.TemporaryDirectory(prefix="treescale-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS, and what its clients trust."""
    files = self_signed(tmp_path_factory.mktemp("tls"), ["127.0.0.1"], 1_700_000_000)
    return server_context(files), files.certificate


@pytest.fixture(params=["plain", "tls"])
async def served(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database_file: Path,
    certificate: tuple[ssl.SSLContext, Path],
) -> AsyncIterator[Served]:
    """Serve two disks, a copy on each."""
    shutil.copy(database_file, tmp_path / "treescale.db")
    context, trusted = certificate if request.param == "tls" else (None, None)
    disk, roots = CountingDisk(), [tmp_path / "a", tmp_path / "b"]
    with ThreadPoolExecutor(4) as threads, socket.create_server(("127.0.0.1", 0)) as listener:
        parts = await make_parts(tmp_path / "treescale.db", threads)
        stores = [
            DiskStore.create_or_open(root, threads=threads, clock=parts.clock, disk=disk)
            for root in roots
        ]
        labels = tuple(StoreLabel(each.store_id, "here", "") for each in stores)
        store = ReplicatedStore(
            build_table(Layout(1, labels, 2)), {each.store_id: each for each in stores}
        )
        guard = Authenticator(parts.login, parts.tokens)
        rooms = compose(parts.database, store, threads, guard, parts.clock, parts.traffic)
        api = Dispatcher(
            rooms, route_table(parts.ready, stop_desk(parts.database), metrics_desk(parts.database))
        )
        connections = new_connections(api.handle, tls=context is not None)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connections, sock=listener, ssl=context)
        client = None if trusted is None else ssl.create_default_context(cafile=trusted)
        served = Served(listener.getsockname()[1], client, connections, disk, roots)
        yield served
        server.close()
        for writer in served.writers:
            writer.transport.abort()
        await connections.drain(5)
        await parts.database.close()


@pytest.fixture
async def repository(served: Served) -> AsyncIterator[Repository]:
    """Be alice."""
    connector = aiohttp.TCPConnector(ssl=served.context or False)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        yield Client(session, served.url, "alice", PASSWORD).repository("alice/app")


@pytest.fixture
def asking(repository: Repository) -> Asking:
    """Return what writes a request by hand."""

    async def request(name: str, method: str = "GET", more: str = "") -> bytes:
        token = await repository.client.token("repository:alice/app:pull,push,delete")
        return (
            f"{method} /v2/alice/app/blobs/{name} HTTP/1.1\r\nHost: here\r\n"
            f"Authorization: Bearer {token}\r\n{more}\r\n"
        ).encode()

    return request
