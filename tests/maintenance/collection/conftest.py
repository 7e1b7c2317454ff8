"""A store with an orphan and a collector, as each test of collection has it."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contracts.metadata_values import ACTOR, server
from tests.contracts.metadata_values import store as store_row
from tests.fakes_disk import JumpingClock, SteppedDisk
from tests.maintenance.collection.collecting import LEASE, SERVER, STORE, Cluster, Rig
from tests.templates import empty_database
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.store import DiskStore
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.collector import Collector
from treescale.maintenance.finished import teller
from treescale.maintenance.homes import Homes
from treescale.maintenance.trash import Trash
from treescale.metadata.database import Database, open_database

NO_RESERVE = Reserve(0.0, 0, 0)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    yield opened
    await opened.close()


@pytest.fixture
async def rig(database: Database, tmp_path: Path) -> AsyncIterator[Rig]:
    """Return a store on which chunk 1 is an orphan by now, and chunk 2 is named."""
    clock, disk = JumpingClock(), SteppedDisk()
    row = replace(server("on-a"), version="0.2.0")
    await database.servers.register(row, live_seconds=15, actor=ACTOR)
    await database.stores.register(store_row(STORE, "on-a"))
    await database.settings.put(COLLECTION_SETTING, Mode.ON)
    with ThreadPoolExecutor(2) as threads:
        store = DiskStore.create_or_open(
            tmp_path / "store", threads=threads, clock=clock, disk=disk, reserve=NO_RESERVE
        )
        cluster = Cluster(store)
        trash = Trash(STORE, store, cluster, Homes(cluster), database, clock)
        tell = teller(database, SERVER)
        collects = Collector(STORE, store, trash, database, clock=clock, tell=tell)
        rig = Rig(database, store, disk, clock, cluster, trash, collects)
        orphan, named = await rig.put(1), await rig.put(2)
        await rig.name(1, named)
        assert await rig.here(orphan, named) == [True, True]
        rig.go(LEASE)
        yield rig


@pytest.fixture
def orphan(rig: Rig) -> bytes:
    return next(iter(rig.data))


@pytest.fixture
def named(rig: Rig) -> bytes:
    return list(rig.data)[1]
