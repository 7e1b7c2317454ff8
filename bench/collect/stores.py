"""A store of this process's own with its collector, as a server's walk has it.

Of the disk's calls those that wait for it are counted.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.walk.once import Alone
from treescale import __version__
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.clock import SystemClock
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.collector import Collector, Cycle
from treescale.maintenance.homes import Homes
from treescale.maintenance.trash import Trash
from treescale.metadata.database import Database
from treescale.metadata.migrations import migrate
from treescale.metadata.records import ServerRecord, StoreRecord

THREADS: Final = 4


class CountingDisk(Disk):
    """The real disk; counts what waits for it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def fsync(self, fd: int) -> None:
        """Count it."""
        self.calls["fsync"] += 1
        super().fsync(fd)

    def fsync_directory(self, path: Path) -> None:
        """Count it."""
        self.calls["fsync_directory"] += 1
        super().fsync_directory(path)

    def syncfs(self, path: Path) -> None:
        """Count it."""
        self.calls["syncfs"] += 1
        super().syncfs(path)


@asynccontextmanager
async def collector_of(root: Path, database: Database, disk: Disk) -> AsyncIterator[Collector]:
    """Open the store, tell the database of it, and return its collector; no push is under way."""
    clock = SystemClock()
    with ThreadPoolExecutor(THREADS) as threads:
        store = DiskStore.create_or_open(root, threads=threads, clock=clock, disk=disk)
        await _register(database, store.store_id)
        cluster = Alone(store.store_id)
        trash = Trash(store.store_id, store, cluster, Homes(cluster), database, clock)
        yield Collector(store.store_id, store, trash, database, clock=clock, alone=True)


async def _register(database: Database, store_id: str) -> None:
    name = "bench"
    record = ServerRecord(name, name, "http://bench:5000", "", started=0.0, version=__version__)
    await database.servers.register(record, live_seconds=15, actor=name)
    row = StoreRecord(store_id, name, "/", "", 1.0, 0.0, server_id=name)
    await database.stores.register(row)
    await database.settings.put(COLLECTION_SETTING, Mode.ON)


async def cycle(collector: Collector) -> Cycle:
    """Have a cycle, also when it takes more than a fifth."""
    done = Cycle(resume=True)
    async for _ in collector.steps(done):
        pass
    return done


def migrated(url: str) -> str:
    """Make the tables, and return the URL."""
    asyncio.run(migrate(url))
    return url
