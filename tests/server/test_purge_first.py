"""A server that was away unlinks what was purged before it serves; what hangs holds up nothing."""

import asyncio
import errno
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, large, manifest
from tests.server.test_start import bound, prepared
from treescale.chunks.disk import silence
from treescale.chunks.disk.directory import ChunkDirectory
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.store import chunk_id_of
from treescale.clock import SystemClock
from treescale.config import Settings, load
from treescale.errors import ChunkUnknown, StoreSilent, StoreUnusable
from treescale.maintenance.purger import Purger
from treescale.metadata.collection.purge_plan import PurgeReader
from treescale.metadata.collection.purging import Purging
from treescale.metadata.database import Database, opened
from treescale.server import start
from treescale.server.data.local_stores import open_stores
from treescale.server.network.address import Listeners
from treescale.server.processes.service_manager import Pulse
from treescale.server.shared import Shared, share
from treescale.server.start import Joined

SECONDS_MAX = 30
DATA, OTHER = b"a secret", b"of another image"
SECRET = chunk_id_of(DATA)


@pytest.fixture
def listener() -> Iterator[Listeners]:
    with closing(bound()) as listener:
        yield listener


@pytest.fixture
async def chosen(tmp_path: Path, listener: Listeners) -> Settings:
    """A server of two disks that has ended, and an image that was purged since, on both of them."""
    chosen = load({"data": [str(tmp_path / name) for name in ("one", "two")]}, {}).settings
    joined = await prepared(chosen, listener, pytest.fail)
    async with started(chosen, listener, joined) as (_, stores):
        for store in stores:
            await store.put(SECRET, DATA)
            await store.put(chunk_id_of(OTHER), OTHER)
    async with opened(chosen.database) as database:
        await purge(database)
    return chosen


async def purge(database: Database) -> None:
    new = large(1, (SECRET, len(DATA)))
    await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
    made = manifest()
    await database.manifests.put(APP, made, [blob_reference(1)], [], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    purging = Purging(database.connections)
    plan = await PurgeReader(database.connections).plan(APP, None, None)
    await purging.begin("p", APP, actor=ACTOR)
    await purging.take("p", plan, actor=ACTOR)
    await purging.finish("p")


@asynccontextmanager
async def started(
    chosen: Settings, listener: Listeners, joined: Joined
) -> AsyncIterator[tuple[Shared, list[DiskStore]]]:
    """Have the stores within as a worker has them."""
    shared = share(chosen, listener, None, joined, lambda: None, Pulse())
    stores = await open_stores(shared.places, SystemClock(), shared.disks)
    try:
        yield shared, list(stores.values())
    finally:
        for store in stores.values():
            store.close()


def hang(monkeypatch: pytest.MonkeyPatch, root: Path, how: str) -> None:
    """Have a disk, or the database, do nothing for the store any more."""
    erase, due_at = DiskStore.erase, Purging.due_at
    monkeypatch.setattr(start, "PURGE_SECONDS_MAX", 0.2)

    async def hangs(self: DiskStore, *wanted: Any) -> list[bytes]:
        if self.root != root:
            return await erase(self, *wanted)
        if how == "is silent":
            raise StoreSilent("the disk does not answer writes")
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def asks(self: Purging, store_id: str) -> Sequence[Any]:
        if (root / "store.json").read_text().find(store_id) < 0:
            return await due_at(self, store_id)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    if how == "database":
        monkeypatch.setattr(Purging, "due_at", asks)
    else:
        monkeypatch.setattr(DiskStore, "erase", hangs)


async def test_it_is_unlinked_before_anything_is_served(
    chosen: Settings, listener: Listeners
) -> None:
    joined = await prepared(chosen, listener, pytest.fail)
    assert joined.withheld == {}
    async with started(chosen, listener, joined) as (shared, stores):
        assert not shared.walk_wanted.is_set()
        for store in stores:
            assert await store.have([SECRET, chunk_id_of(OTHER)]) == [False, True]


@pytest.mark.parametrize("how", ["hangs", "is silent", "database"])
async def test_what_hangs_is_not_served_from_and_done_later(
    chosen: Settings,
    listener: Listeners,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """The start goes on, and so does the other disk; a purger that comes to an end admits it."""
    with monkeypatch.context() as hanging:
        hang(hanging, tmp_path / "two", how)
        async with asyncio.timeout(SECONDS_MAX):
            joined = await prepared(chosen, listener, pytest.fail)
    assert len(joined.withheld) == 1
    async with started(chosen, listener, joined) as (shared, (one, two)):
        assert shared.walk_wanted.is_set(), "its purger runs there"
        assert await one.have([SECRET, chunk_id_of(OTHER)]) == [False, True]
        assert not two.is_well
        for ask in (two.get(SECRET), two.get(chunk_id_of(OTHER)), two.usage()):
            with pytest.raises(StoreUnusable, match="what was purged while it was away"):
                await ask
        assert two.open_if_verified(chunk_id_of(OTHER)) is None
        async with opened(chosen.database) as database:
            purger = Purger(two.store_id, two, Purging(database.connections))
            assert await purger.turn() == 1
        assert two.is_well
        assert await two.get(chunk_id_of(OTHER)) == OTHER
        with pytest.raises(ChunkUnknown):
            await two.get(SECRET)


async def test_a_disk_that_is_away_at_the_start_is_not_served_from_when_it_is_back(
    chosen: Settings, listener: Listeners, tmp_path: Path
) -> None:
    away = (tmp_path / "two").rename(tmp_path / "away")
    joined = await prepared(chosen, listener, lambda _: None)
    assert len(joined.withheld) == 1
    away.rename(tmp_path / "two")
    async with started(chosen, listener, joined) as (_, (_, two)):
        await two.open(SECONDS_MAX)
        with pytest.raises(StoreUnusable, match="what was purged"):
            await two.get(SECRET)


async def test_a_disk_that_hangs_while_it_is_cleaned_holds_up_nothing(
    chosen: Settings, listener: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cleaned on the loop, where nobody gives it up."""
    over = threading.Event()

    def hangs(_: ChunkDirectory) -> int:
        over.wait(SECONDS_MAX)
        return 0

    monkeypatch.setattr(ChunkDirectory, "clean_tmp", hangs)
    monkeypatch.setattr(silence, "SILENT_SECONDS", (0.1, 0.1))
    begun = time.monotonic()
    try:
        await prepared(chosen, listener, pytest.fail)
        assert time.monotonic() - begun < SECONDS_MAX
    finally:
        over.set()


async def test_a_disk_that_hung_at_the_start_is_let_go_of_when_it_is_back(
    chosen: Settings, listener: Listeners, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that were forked meanwhile have a copy of the lock that the hung thread held."""
    hung, back, unlink = threading.Event(), threading.Event(), Disk.unlink

    def hangs(self: Disk, path: Path) -> None:
        if str(path).startswith(str(tmp_path / "two" / "chunks")):
            hung.set()
            back.wait(SECONDS_MAX)
        unlink(self, path)

    monkeypatch.setattr(Disk, "unlink", hangs)
    monkeypatch.setattr(start, "PURGE_SECONDS_MAX", 0.5)
    joined = await prepared(chosen, listener, pytest.fail)
    assert hung.is_set()
    assert len(joined.withheld) == 1
    worker = os.fork()
    if worker == 0:
        signal.pause()
        os._exit(0)
    try:
        back.set()
        async with (
            started(chosen, listener, joined) as (_, (_, two)),
            opened(chosen.database) as database,
            asyncio.timeout(SECONDS_MAX),
        ):
            while not two.is_well:  # the thread has yet to end
                await Purger(two.store_id, two, Purging(database.connections)).turn()
                await asyncio.sleep(0.05)
    finally:
        os.kill(worker, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, worker, 0)


@pytest.mark.parametrize("holds", [True, False])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
async def test_a_disk_that_refuses_to_unlink_is_withheld_if_it_has_any_of_it(
    chosen: Settings,
    listener: Listeners,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    holds: bool,  # noqa: FBT001  a parameter
    code: int,
) -> None:
    """A read-only one refuses also what is not there."""
    if not holds:
        for path in (tmp_path / "two" / "chunks").rglob(SECRET.hex()):
            path.unlink()

    def refuses(_: Disk, path: Path) -> None:
        if str(path).startswith(str(tmp_path / "two")):
            raise OSError(code, os.strerror(code))
        path.unlink()

    monkeypatch.setattr(Disk, "unlink", refuses)
    joined = await prepared(chosen, listener, pytest.fail)
    assert len(joined.withheld) == holds
