"""Collection beside real processes and a real disk (collection.md R5, R6, R8, R9).

A gateway that sleeps, a push that is slow, a pull whose files are touched, and a power cut right
after a touch.

Each with its control: without the rule the same test finds what it is there for.
"""

import asyncio
import http.client
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chunks.disk.racing import opened as opened_directory
from tests.contracts.metadata_values import ACTOR, server
from tests.contracts.metadata_values import store as store_row
from tests.crash.hurt import Forgets, Hurt
from tests.crash.nursery import PASSWORD, Home, Nursery
from tests.crash.places import MIB, Mounts, copy_image, make_ext4
from tests.crash.test_power_cut import stopped
from tests.fakes_disk import SteppedDisk
from tests.functional.programs import wait_until
from tests.functional.server import Account
from tests.functional.wire import Answer, Wire
from tests.images import noise, sha256_of
from tests.maintenance.collection.collecting import Cluster
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.label import open_label
from treescale.chunks.disk.store import DiskStore, SharedDisk
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.store import chunk_id_of
from treescale.clock import SystemClock
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING, LeaseTimes, stored
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.collector import Collector, Cycle
from treescale.maintenance.homes import Homes
from treescale.maintenance.trash import Trash
from treescale.metadata.database import Database, opened
from treescale.metadata.migrations import migrate

REPOSITORY = "admin/app"
NO_RESERVE = Reserve(0.0, 0, 0)

DAY = 24 * 3600.0


def prepared(tmp_path: Path, lease: float) -> Home:
    """Return a home without chunks, whose database has this lease."""
    home = Home(tmp_path / "data", tmp_path / "treescale.db")

    async def prepare() -> None:
        await migrate(home.url)
        async with opened(home.url) as database:
            await database.settings.put(LEASE_SETTING, stored(lease))
            await database.settings.put(COLLECTION_SETTING, Mode.ON)

    asyncio.run(prepare())
    return home


@asynccontextmanager
async def collector_of(
    place: Path, database: Database, disk: Disk | None = None
) -> AsyncIterator[Collector]:
    """Open a store in this process, and return its collector."""
    clock, disk = SystemClock(), disk or Disk()
    store_id = open_label(place, disk).store_id
    with ThreadPoolExecutor(2) as threads:
        shared = SharedDisk(renew_seconds=0.0)
        store = DiskStore.later(
            place, store_id, threads=threads, clock=clock, shared=shared, disk=disk
        )
        await store.open(10)
        cluster = Cluster(store, [store_id])
        trash = Trash(store_id, store, cluster, Homes(cluster), database, clock)
        yield Collector(store_id, store, trash, database, clock=clock)


async def cycle(collector: Collector) -> Cycle:
    done = Cycle()
    async for _ in collector.steps(done):
        pass
    return done


def trash_what_is_old(home: Home, times: LeaseTimes) -> int:
    """Have a cycle once the store may remove anything; return how many chunks went."""

    async def collect() -> int:
        async with opened(home.url) as database, collector_of(home.data, database) as collector:
            await asyncio.sleep(times.quiet)
            done = await cycle(collector)
            assert done.pause is None, done.pause
            return len(done.gone)

    return asyncio.run(collect())


def named_and_gone(home: Home) -> list[str]:
    """Return the chunks that a blob names, and that are not on the store."""
    with sqlite3.connect(home.database) as database:
        names = [chunk.hex() for (chunk,) in database.execute("SELECT chunk FROM blob_chunks")]
    database.close()
    return [
        name for name in names if not (home.data / "chunks" / name[:2] / name[2:4] / name).exists()
    ]


def wire_to(nursery: Nursery) -> Wire:
    wire = Wire(nursery, Account("admin", PASSWORD))
    wire.push_blob(REPOSITORY, b"the token is there")
    return wire


@pytest.mark.parametrize("forgets", [(), ("base",)], ids=["compares", "forgets"])
def test_a_gateway_that_slept_for_a_lease_after_its_last_put(
    tmp_path: Path, nursery: Nursery, forgets: tuple[Forgets, ...]
) -> None:
    """R5: what it has put is gone, and it must name nothing of it."""
    times = LeaseTimes(1.0)
    home, data = prepared(tmp_path, times.lease), noise(MIB)
    # What is recorded before the commit would stay: so nothing is.
    asleep = Hurt(
        at=1, how="stop", only=("blobs.commit before",), forgets=("checkpoints", *forgets)
    )
    nursery.start(home, asleep)
    wire = wire_to(nursery)
    with ThreadPoolExecutor(1) as client:
        pushed = client.submit(wire.put_whole, REPOSITORY, data)
        wait_until("it sleeps", lambda: stopped(nursery.pid))
        time.sleep(times.lease)
        gone = trash_what_is_old(home, times)
        nursery.go_on()
        answer: Answer = pushed.result(20)
    nursery.end()
    assert gone == 1
    if forgets:
        assert answer.status == 201
        assert named_and_gone(home), "the negative control: acknowledged, and gone"
        return
    assert (answer.status, bool(answer.headers["Retry-After"])) == (503, True)
    assert named_and_gone(home) == []
    nursery.start(home, Hurt(forgets=("base",)))  # as a client does that tries again
    wire_to(nursery).put_whole(REPOSITORY, data).expect(201)
    assert wire_to(nursery).pull_blob(REPOSITORY, sha256_of(data)) == data


@pytest.mark.parametrize("forgets", [(), ("checkpoints",)], ids=["by time", "by bytes"])
def test_a_put_whose_body_takes_longer_than_it_may_be_unrecorded(
    tmp_path: Path, nursery: Nursery, forgets: tuple[Forgets, ...]
) -> None:
    """R6: it is recorded meanwhile; else it is refused, and nothing is named that may be gone."""
    times = LeaseTimes(12.0)
    home, data = prepared(tmp_path, times.lease), noise(6 * MIB)
    nursery.start(home, Hurt(forgets=forgets))
    wire = wire_to(nursery)

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(data), MIB):
            yield data[start : start + MIB]
            time.sleep(times.record_within / 4)

    answer = wire.finish_upload(wire.begin_upload(REPOSITORY), sha256_of(data), slowly())
    answer.expect(503 if forgets else 201)
    assert named_and_gone(home) == []
    if not forgets:
        assert wire.pull_blob(REPOSITORY, sha256_of(data)) == data


@pytest.mark.parametrize("forgets", [(), ("bytes",)], ids=["looks", "compares times"])
def test_a_pull_while_its_chunks_are_put_again_trashed_and_brought_back(
    tmp_path: Path, nursery: Nursery, forgets: tuple[Forgets, ...]
) -> None:
    """R9: other times are no other bytes, and cut nobody."""
    home, data = prepared(tmp_path, DAY), noise(16 * MIB)
    nursery.start(home, Hurt(forgets=forgets))
    wire = wire_to(nursery)
    digest = wire.push_blob(REPOSITORY, data)
    _, copies = opened_directory(home.data)
    files = [path for path in (home.data / "chunks").rglob("*") if path.is_file()]
    connection = nursery.connect()
    token = {"Authorization": f"Bearer {wire._tokens[f'/v2/{REPOSITORY}']}"}
    connection.request("GET", f"/v2/{REPOSITORY}/blobs/{digest}", headers=token)
    answer, got = connection.getresponse(), b""
    try:
        while piece := answer.read(4 * MIB):
            got += piece
            for path in files:
                chunk = bytes.fromhex(path.name)
                assert copies.keep(chunk)
                (stamp,) = copies.stamps([chunk])
                assert stamp is not None
                assert copies.trim(chunk, stamp)
                (home.data / "trash" / path.name).rename(path)
    except http.client.IncompleteRead:
        assert forgets, "it was cut"
    finally:
        connection.close()
    assert (got == data) is not bool(forgets)


@pytest.mark.parametrize("quiet", [True, False], ids=["quiet", "at once"])
async def test_a_power_cut_takes_a_new_time_back(
    tmp_path: Path, mounts: Mounts, monkeypatch: pytest.MonkeyPatch, *, quiet: bool
) -> None:
    """R8: a push has put a chunk again, and relies on it; nothing says so after the cut."""
    memory, data = mounts.memory("memory", 128 * MIB), noise(100_000)
    chunk, disk = chunk_id_of(data), SteppedDisk()
    image = make_ext4(memory / "disk.img", 32 * MIB)
    place = mounts.ext4(image, "disk")
    name = chunk.hex()
    within = f"store/chunks/{name[:2]}/{name[2:4]}/{name}"
    with ThreadPoolExecutor(2) as threads:
        store = DiskStore.create_or_open(
            place / "store", threads=threads, clock=SystemClock(), disk=disk, reserve=NO_RESERVE
        )
        await store.put(chunk, data)
        first = (place / within).stat().st_mtime
        disk.passed = DAY + 3600
        await store.put(chunk, data)
    assert (place / within).stat().st_mtime > first + DAY
    crashed = mounts.ext4(copy_image(image, memory / "crash.img"), "crashed")
    assert (crashed / within).stat().st_mtime == first, "a new time is not synced"
    if not quiet:
        monkeypatch.setattr(LeaseTimes, "quiet", 0.0)
    home = Home(crashed / "store", tmp_path / "treescale.db")
    await asyncio.to_thread(asyncio.run, migrate(home.url))
    async with opened(home.url) as database:
        await database.settings.put(COLLECTION_SETTING, Mode.ON)
        await database.servers.register(
            replace(server("on-a"), version="0.2.0"), live_seconds=15, actor=ACTOR
        )
        await database.stores.register(store_row(store.store_id, "on-a"))
        async with collector_of(home.data, database, disk) as collector:
            done = await cycle(collector)
    assert (done.pause is not None) is quiet
    assert (crashed / within).exists() is quiet
