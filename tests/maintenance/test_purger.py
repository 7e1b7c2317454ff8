"""A store's part in a purge: every file goes, and nothing that was given up is done later."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    large,
    manifest,
    server,
    store,
)
from tests.templates import empty_database
from treescale.chunks.disk.copies import Copies
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.store import chunk_id_of
from treescale.clock import SystemClock
from treescale.errors import ChunkUnknown, StoreUnusable
from treescale.maintenance import purger as purger_module
from treescale.maintenance.purger import Purger
from treescale.metadata.collection.open_purges import OpenPurges
from treescale.metadata.collection.purge_plan import PurgeReader
from treescale.metadata.collection.purging import Purging
from treescale.metadata.database import Database, open_database

DATA = [b"a secret", b"another", b"a third"]
NAMES = [chunk_id_of(data) for data in DATA]
OTHER = b"of another image"
SECONDS_MAX = 60


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    empty_database(tmp_path / "treescale.db")
    opened = open_database(f"sqlite:///{tmp_path}/treescale.db")
    yield opened
    await opened.close()


@pytest.fixture
async def disk_store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    with ThreadPoolExecutor(2) as threads:
        opened = DiskStore.create_or_open(
            tmp_path / "store", threads=threads, clock=SystemClock(), reserve=Reserve(0.0, 0, 0)
        )
        for data in (*DATA, OTHER):
            await opened.put(chunk_id_of(data), data)
        yield opened


@pytest.fixture
async def purging(database: Database) -> Purging:
    """An image is purged that has these chunks: the store has not looked yet."""
    await database.servers.register(server("s"), live_seconds=15, actor=ACTOR)
    await database.stores.register(store("a", "s"))
    new = large(1, *((name, len(data)) for name, data in zip(NAMES, DATA, strict=True)))
    await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
    made = manifest()
    await database.manifests.put(APP, made, [blob_reference(1)], [], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    purging = Purging(database.connections)
    plan = await PurgeReader(database.connections).plan(APP, None, None)
    await purging.begin("p", APP, actor=ACTOR)
    await purging.take("p", plan, actor=ACTOR)
    await purging.finish("p")
    return purging


def files(at: DiskStore) -> list[str]:
    """Return the names of all files but the label's."""
    found = (path for path in at.root.rglob("*") if path.is_file())
    return sorted(path.name for path in found if path.name != "store.json")


async def test_wherever_they_lie_they_go_and_nothing_else(
    disk_store: DiskStore, purging: Purging
) -> None:
    trash, quarantine, tmp = (disk_store.root / name for name in ("trash", "quarantine", "tmp"))
    (trash / NAMES[0].hex()).write_bytes(DATA[0])
    (quarantine / f"{NAMES[1].hex()}.17").write_bytes(b"damaged")
    (tmp / f"{NAMES[2].hex()}.1-1.0").write_bytes(b"half of it, of a dead process")
    await disk_store.delete(NAMES[0])
    assert len(files(disk_store)) == 6
    purger = Purger("a", disk_store, purging)
    assert await purger.turn() == 3
    assert files(disk_store) == [chunk_id_of(OTHER).hex()]
    with pytest.raises(ChunkUnknown):
        await disk_store.get(NAMES[0])
    assert await purger.turn() == 3, "and once more, for what was on its way"
    assert await purger.turn() == 0


async def test_who_waits_knows_that_it_is_at_work_before_anything_is_unlinked(
    database: Database, disk_store: DiskStore, purging: Purging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first hundred chunks may take long: until then nothing else tells."""
    erase, seen = DiskStore.erase, list[bool]()

    async def at_work() -> bool:
        return (await OpenPurges(database.connections).stands(["p"]))["p"]["a"].is_at_work

    async def looked_at(self: DiskStore, *wanted: Any) -> list[bytes]:
        seen.append(await at_work())
        return await erase(self, *wanted)

    assert not await at_work()
    monkeypatch.setattr(DiskStore, "erase", looked_at)
    await Purger("a", disk_store, purging).turn()
    assert seen == [True]
    assert not await at_work()


async def test_one_that_writes_beside_is_waited_for(
    disk_store: DiskStore, purging: Purging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: say that it is done when it is not."""
    disk = Disk()
    held = [
        disk.lock_shared(disk_store.root / "chunks" / name.hex()[:2] / name.hex()[2:4])
        for name in NAMES[:1]
    ]

    async def let_go(_: float) -> None:
        while held:
            disk.close(held.pop())

    assert await Purger("a", disk_store, purging, sleep=let_go).turn() == 3
    assert files(disk_store) == [chunk_id_of(OTHER).hex()]
    monkeypatch.setattr(purger_module, "BUSY_TRIES_MAX", 1)
    held.append(
        disk.lock_shared(disk_store.root / "chunks" / NAMES[0].hex()[:2] / NAMES[0].hex()[2:4])
    )
    with pytest.raises(StoreUnusable):
        await Purger("a", disk_store, purging, sleep=let_go).turn()
    assert len(await purging.due_at("a")) == 1


async def test_a_copy_that_is_being_written_is_waited_for(
    disk_store: DiskStore, purging: Purging
) -> None:
    """However long its sync takes: by then the store would have looked twice."""
    name = NAMES[0].hex()
    draft = disk_store.root / "tmp" / f"{name}.{Disk().process_token(os.getpid())}.900"
    draft.write_bytes(DATA[0])

    async def arrive(_: float) -> None:
        draft.rename(disk_store.root / "chunks" / name[:2] / name[2:4] / name)

    assert await Purger("a", disk_store, purging, sleep=arrive).turn() == 3
    assert files(disk_store) == [chunk_id_of(OTHER).hex()]
    draft.write_bytes(b"what could not be removed")
    os.utime(draft, (1.0, 1.0))
    assert await Purger("a", disk_store, purging).turn() == 3, "it holds up no purge"


async def test_what_was_given_up_is_not_done_later(
    disk_store: DiskStore, purging: Purging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For then the chunk may have been put again. Control: no `may`."""
    go, over = threading.Event(), threading.Event()
    erase = Copies.erase

    def slow(self: Copies, chunks: Sequence[bytes], may: Callable[[], bool]) -> list[bytes]:
        assert go.wait(SECONDS_MAX)
        try:
            return erase(self, chunks, may)
        finally:
            over.set()

    monkeypatch.setattr(Copies, "erase", slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await Purger("a", disk_store, purging).turn()
    go.set()
    await asyncio.to_thread(over.wait, SECONDS_MAX)
    assert await disk_store.have(NAMES) == [True] * 3
    assert len(await purging.due_at("a")) == 1


async def test_a_store_that_is_away_is_not_asked(disk_store: DiskStore, purging: Purging) -> None:
    disk_store.forget("its disk is away")
    assert await Purger("a", disk_store, purging).turn() == 0
    assert len(await purging.due_at("a")) == 1
