"""A blob in: any pieces give the same chunks and digest, durable once flushed, in little memory."""

import asyncio
import gc
import hashlib
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

import pytest
from blake3 import blake3

from tests.tables import each_row
from treescale.chunks.format.split import SplitParameters, Splitter
from treescale.chunks.store import Bytes, MemoryStore, WriteResult, chunk_id_of
from treescale.chunks.stream.memory_limit import MemoryLimit
from treescale.chunks.stream.writer import BlobWriter, Flushed, RunningHash
from treescale.errors import StoreFull

SMALL = SplitParameters(min_bytes=64, average_bytes=512, max_bytes=2048)
BLOB = blake3(b"content").digest(length=50_000)
UPLOADS = 12


def parts_of(data: bytes) -> list[tuple[bytes, int]]:
    splitter = Splitter(SMALL)
    chunks = splitter.cut(memoryview(data))
    return [(chunk_id_of(chunk), len(chunk)) for chunk in chunks] + tail_part(
        data[splitter.start :]
    )


def tail_part(tail: Bytes) -> list[tuple[bytes, int]]:
    return [(chunk_id_of(tail), len(tail))] if len(tail) > 0 else []


def writer_of(
    store: MemoryStore,
    threads: Executor,
    running: RunningHash | None = None,
    tail: Bytes = b"",
    memory: MemoryLimit | None = None,
    batch_bytes: int = 4096,
    **limits: int,
) -> BlobWriter:
    return BlobWriter(
        store,
        threads,
        running=running or RunningHash("sha256"),
        tail=tail,
        parameters=SMALL,
        memory=memory or MemoryLimit(batch_bytes=batch_bytes),
        **{"bytes_in_flight": 3 * 4096, **limits},
    )


async def content(store: MemoryStore, parts: list[tuple[bytes, int]], tail: Bytes = b"") -> bytes:
    return b"".join([await store.get(chunk) for chunk, _ in parts]) + bytes(tail)


class GatedStore(MemoryStore):
    """Puts wait at a gate; counts how many wait and how many bytes they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waited = asyncio.Event()
        self.waiting = 0
        self.waiting_max = 0

    async def put(self, chunk: bytes, data: Bytes) -> None:
        self.waiting += 1
        self.waited.set()
        self.waiting_max = max(self.waiting_max, self.waiting)
        try:
            await self.gate.wait()
            await super().put(chunk, data)
        finally:
            self.waiting -= 1


class FullStore(MemoryStore):
    """Takes some chunks, then is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    async def put(self, chunk: bytes, data: Bytes) -> None:
        if self.room == 0:
            raise StoreFull("full")
        self.room -= 1
        await super().put(chunk, data)


@each_row("size", [0, 1, 512, 513, 5000, 50_000])
@each_row("piece", [1000, 4096, 50_000])
async def test_a_blob_becomes_its_chunks_and_its_digest(
    threads: Executor, size: int, piece: int
) -> None:
    store, data = MemoryStore(), BLOB[:size]
    async with writer_of(store, threads) as writer:
        for start in range(0, size, piece):
            await writer.write(data[start : start + piece])
        settled = await writer.flush()
    digest = hashlib.sha256(data).hexdigest()
    tail = settled.tail_bytes
    assert settled.settled + tail_part(tail) == parts_of(data)
    assert (settled.hashed, settled.offset) == (digest, size)
    assert await content(store, settled.settled, tail) == data


async def test_settling_in_between_changes_nothing(threads: Executor) -> None:
    store = MemoryStore()
    parts: list[tuple[bytes, int]] = []
    tail: Bytes = b""
    async with writer_of(store, threads) as writer:
        for start in range(0, 50_000, 700):
            await writer.write(BLOB[start : start + 700])
            settled = await writer.flush()
            parts, tail = parts + settled.settled, settled.tail_bytes
            so_far = BLOB[: start + 700]
            assert settled.offset == len(so_far)
            assert settled.hashed == hashlib.sha256(so_far).hexdigest()
            assert await content(store, parts, tail) == so_far
    assert parts + tail_part(tail) == parts_of(BLOB)


@each_row("cut", [1, 200, 600, 10_000, 49_999])
async def test_another_writer_goes_on_where_one_has_settled(threads: Executor, cut: int) -> None:
    store, running = MemoryStore(), RunningHash("sha512")
    async with writer_of(store, threads, running) as writer:
        await writer.write(BLOB[:cut])
        first = await writer.flush()
    async with writer_of(store, threads, running, first.tail_bytes) as writer:
        await writer.write(BLOB[cut:])
        last = await writer.flush()
    assert first.settled + last.settled + tail_part(last.tail_bytes) == parts_of(BLOB)
    assert last.hashed == hashlib.sha512(BLOB).hexdigest()


@each_row("size", [0, 1, 512, 513, 5000, 50_000])
@each_row("count", [1, 1000, 4096])
async def test_bytes_may_be_put_where_they_are_needed(
    threads: Executor, size: int, count: int
) -> None:
    store, at = MemoryStore(), 0
    async with writer_of(store, threads) as writer:
        while at < size:
            room = await writer.room()
            data = BLOB[at : min(size, at + min(count, len(room)))]
            room[: len(data)] = data
            await writer.add(len(data))
            at += len(data)
        settled = await writer.flush()
    assert settled.settled + tail_part(settled.tail_bytes) == parts_of(BLOB[:size])
    assert settled.hashed == hashlib.sha256(BLOB[:size]).hexdigest()
    assert await content(store, settled.settled, settled.tail_bytes) == BLOB[:size]


async def test_the_feeder_waits_while_there_is_no_room(threads: Executor) -> None:
    store = GatedStore()
    async with writer_of(store, threads, bytes_in_flight=2 * 4096, chunks_in_flight=3) as writer:
        for start in (0, 4096):
            await writer.write(BLOB[start : start + 4096])
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(writer.write(BLOB[8192:12288]))
            await store.waited.wait()
            for _ in range(50):
                await asyncio.sleep(0)
            assert not feeding.done()
            store.gate.set()
        settled = await writer.flush()
    assert settled.settled + tail_part(settled.tail_bytes) == parts_of(BLOB[:12288])
    assert store.waiting_max == 3


@pytest.mark.parametrize("room", [0, 5, 60])
async def test_a_failed_put_is_raised_to_the_feeder_unwrapped(threads: Executor, room: int) -> None:
    async def feed_all(writer: BlobWriter) -> None:
        for start in range(0, 50_000, 1000):
            await writer.write(BLOB[start : start + 1000])
        await writer.flush()

    async with writer_of(FullStore(room), threads) as writer:
        with pytest.raises(StoreFull):
            await feed_all(writer)
        with pytest.raises(StoreFull):
            await writer.write(b"more")
        with pytest.raises(StoreFull):
            await writer.flush()


async def test_leaving_stops_everything(threads: Executor) -> None:
    store = GatedStore()

    async def feed_and_fail() -> None:
        async with writer_of(store, threads) as writer:
            await writer.write(BLOB[:8192])
            await store.waited.wait()
            raise KeyError

    with pytest.raises(KeyError):
        await feed_and_fail()
    assert store.waiting == 0
    assert len(asyncio.all_tasks()) == 1


async def test_cancelling_the_feeder_stops_everything(threads: Executor) -> None:
    store = GatedStore()

    async def feed() -> None:
        async with writer_of(store, threads) as writer:
            for start in range(0, 50_000, 1000):
                await writer.write(BLOB[start : start + 1000])

    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed())
        await store.waited.wait()
        feeding.cancel()
    assert feeding.cancelled()
    assert store.waiting == 0


async def test_aborting_twice_is_aborting_once(threads: Executor) -> None:
    async with writer_of(GatedStore(), threads) as writer:
        await writer.write(BLOB[:8192])
        await writer.abort()
        await writer.abort()


async def test_a_cancelled_update_ends_with_its_thread(threads: Executor) -> None:
    running = RunningHash("sha256")
    big = bytes(20_000_000)
    async with asyncio.TaskGroup() as group:
        updates = [group.create_task(running.update(big, threads)) for _ in range(1)]
        await asyncio.sleep(0)
        for update in updates:
            update.cancel()
    digest = running.hexdigest()
    assert digest in {hashlib.sha256().hexdigest(), hashlib.sha256(big).hexdigest()}
    assert running.hexdigest() == digest


async def test_a_running_hash_counts_and_hashes(threads: Executor) -> None:
    running = RunningHash("sha256")
    for piece in (b"ab", memoryview(b"cd"), b""):
        await running.update(piece, threads)
    assert running.offset == 4
    assert running.hexdigest() == hashlib.sha256(b"abcd").hexdigest()


async def feed_all(writer: BlobWriter, data: bytes) -> Flushed:
    async with writer:
        for at in range(0, len(data), 1000):
            await writer.write(data[at : at + 1000])
        return await writer.flush()


class CountingRoom(MemoryLimit):
    """Counts who has asked for room, and the most who had some at once."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max, batch_bytes=4096)
        self.asked = 0
        self.inside = 0
        self.inside_max = 0
        self.all_asked = asyncio.Event()

    async def acquire(self, size: int) -> None:
        self.asked += 1
        if self.asked == UPLOADS:
            self.all_asked.set()
        await super().acquire(size)
        self.inside += 1
        self.inside_max = max(self.inside_max, self.inside)

    def release(self, size: int) -> None:
        self.inside -= size > 0
        super().release(size)


@pytest.mark.parametrize(("batches", "most"), [(2, 2), (100, UPLOADS)])
async def test_all_uploads_share_the_room(threads: Executor, batches: int, most: int) -> None:
    store, data = GatedStore(), BLOB[: 12 * 4096]
    room = CountingRoom(batches * 4096)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        pushes = [
            group.create_task(
                feed_all(writer_of(store, threads, memory=room, bytes_in_flight=5000), data)
            )
            for _ in range(UPLOADS)
        ]
        await room.all_asked.wait()
        await asyncio.sleep(0)  # the last one enters, if it may
        assert room.inside_max == most
        store.gate.set()
    assert {push.result().hashed for push in pushes} == {hashlib.sha256(data).hexdigest()}
    assert (room.inside, room.inside_max) == (0, most)


async def test_a_failed_upload_gives_its_room_back(threads: Executor) -> None:
    room = MemoryLimit(1, batch_bytes=4096)
    async with asyncio.timeout(30):
        with pytest.raises(StoreFull):
            await feed_all(writer_of(FullStore(3), threads, memory=room), BLOB)
        settled = await feed_all(writer_of(MemoryStore(), threads, memory=room), BLOB)
    assert settled.hashed == hashlib.sha256(BLOB).hexdigest()


async def test_an_abandoned_upload_gives_its_room_back(threads: Executor) -> None:
    room = MemoryLimit(1, batch_bytes=4096)
    store = GatedStore()
    async with asyncio.timeout(30):
        async with asyncio.TaskGroup() as group:
            stuck = group.create_task(feed_all(writer_of(store, threads, memory=room), BLOB))
            await store.waited.wait()
            stuck.cancel()
        settled = await feed_all(writer_of(MemoryStore(), threads, memory=room), BLOB)
    assert settled.hashed == hashlib.sha256(BLOB).hexdigest()


class KeepingViews(MemoryStore):
    """Never lets go of the views it gets, as a thread does not that hangs with its disk."""

    def __init__(self) -> None:
        super().__init__()
        self.views: list[tuple[bytes, Bytes]] = []

    async def put(self, chunk: bytes, data: Bytes) -> None:
        self.views.append((chunk, data))
        await super().put(chunk, data)


async def test_memory_that_a_store_still_sees_is_not_used_again(threads: Executor) -> None:
    store = KeepingViews()
    settled = await feed_all(writer_of(store, threads), BLOB)
    assert len(store.views) == len(settled.settled) > 12
    assert all(chunk_id_of(data) == chunk for chunk, data in store.views)


async def test_memory_is_used_again(threads: Executor) -> None:
    memory = MemoryLimit(batch_bytes=4096)
    for _ in range(20):
        await feed_all(writer_of(MemoryStore(), threads, memory=memory), BLOB)
        assert 1 <= memory.buffers.free <= 5  # 3 batches on their way, one gathered, its follower


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Have nothing collected but what nobody refers to."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_failed_upload_leaves_no_memory_to_the_garbage_collector(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, lent = MemoryLimit(batch_bytes=4096), list[weakref.ref[Any]]()
    lend = memory.buffers.lend

    def counted(size: int, *, seldom: int = 0) -> memoryview:
        view = lend(size, seldom=seldom)
        lent.append(weakref.ref(view.obj))
        return view

    monkeypatch.setattr(memory.buffers, "lend", counted)
    with suppress(StoreFull):
        await feed_all(writer_of(FullStore(3), threads, memory=memory), BLOB)
    assert len(lent) > 2
    assert [buffer() for buffer in lent if buffer()] == []


class OwingStore(MemoryStore):
    """Places chunks; those with an even first byte lack their copy on one home."""

    async def write(self, chunk: bytes, data: Bytes) -> WriteResult:
        await self.put(chunk, data)
        return WriteResult(1, ("a",), ("away",) if chunk[0] % 2 == 0 else ())


async def test_what_is_owed_is_told_with_the_chunks(threads: Executor) -> None:
    store = OwingStore()
    owed: list[tuple[bytes, str]] = []
    settled: list[tuple[bytes, int]] = []
    async with writer_of(store, threads) as writer:
        for start in range(0, 50_000, 10_000):
            await writer.write(BLOB[start : start + 10_000])
            found = await writer.flush()
            owing = {chunk for chunk, _ in found.settled if chunk[0] % 2 == 0}
            assert {chunk for chunk, _ in found.owed} == owing
            owed, settled = owed + found.owed, settled + found.settled
    assert 0 < len(owed) < len(settled)
    assert {home for _, home in owed} == {"away"}
