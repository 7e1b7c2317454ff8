"""Whoever leaves in the middle leaves no error behind that nobody notices.

asyncio tells its loop of those ("Future exception was never retrieved"), when nobody can do
anything about them any more.
"""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from tests.chunks.faulty import Faulty, servers
from tests.fakes_disk import HangingDisk, JumpingClock
from tests.tables import each_row
from tests.unnoticed import nothing_unnoticed
from treescale.chunks.disk.directory import Reserve
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.recipe import Recipe
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.store import MemoryStore, chunk_id_of
from treescale.chunks.stream import writer
from treescale.chunks.stream.reader import BlobReader
from treescale.chunks.stream.writer import BlobWriter, RunningHash
from treescale.errors import StoreFull

DATA = b"data" * 1000
CHUNK = chunk_id_of(DATA)


class FailingLate(HangingDisk):
    """Hangs, and then says that it is broken."""

    def _hanging(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        hanging = super()._hanging(name, call)

        def failing(*args: object) -> object:
            hung = name in self.names
            found = hanging(*args)
            if hung:
                raise OSError(errno.EIO, "broken")
            return found

        return failing


async def leave(asked: Awaitable[object], hung: Callable[[], bool]) -> asyncio.Task[object]:
    """Ask, and leave when the answer is on its way."""

    async def ask() -> object:
        return await asked

    task = asyncio.get_running_loop().create_task(ask())
    while not hung():  # noqa: ASYNC110  a thread sets it
        await asyncio.sleep(0.001)
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    return task


async def test_an_error_that_nobody_notices_is_noticed_here() -> None:
    """The control."""
    with pytest.raises(AssertionError, match="lost"):
        async with nothing_unnoticed():
            asyncio.get_running_loop().create_future().set_exception(ValueError("lost"))


def call_of(store: DiskStore, how: str) -> Awaitable[object]:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: store.put(CHUNK, DATA),
        "get": lambda: store.get(CHUNK),
        "open_verified": lambda: store.open_verified(CHUNK),
        "verify": lambda: store.verify(CHUNK),
        "check_space": lambda: store.check_space(1 << 40),
        "delete": lambda: store.delete(CHUNK),
        "have": lambda: store.have([CHUNK]),
    }
    return calls[how]()


@pytest.mark.parametrize(
    "how", ["put", "get", "open_verified", "verify", "check_space", "delete", "have"]
)
async def test_a_call_of_a_disk_that_fails_later(
    tmp_path: Path, clock: JumpingClock, how: str
) -> None:
    disk = FailingLate()
    reserve = Reserve(fraction=0.0, bytes_min=0, inodes_min=0)

    async def call_and_leave() -> None:
        with ThreadPoolExecutor(4) as threads:  # at its end nothing of a call is left
            store = DiskStore.create_or_open(
                tmp_path / "store", threads=threads, clock=clock, disk=disk, reserve=reserve
            )
            if how != "put":
                await store.put(CHUNK, DATA)
            disk.freeze()
            left = await leave(call_of(store, how), disk.hung.is_set)
            disk.thaw()
            await asyncio.wait([left])

    async with nothing_unnoticed():
        await call_and_leave()


async def test_bytes_that_cannot_be_hashed(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload is given up while a thread works on it, and the thread fails then."""
    begun, go_on = Event(), Event()

    def broken(_: object) -> bytes:
        begun.set()
        go_on.wait()
        raise MemoryError("no room for this")

    monkeypatch.setattr(writer, "chunk_id_of", broken)

    async def upload() -> None:
        async with BlobWriter(MemoryStore(), threads, running=RunningHash("sha256")) as upload:
            await upload.write(DATA * 2000)
            await upload.flush()

    async with nothing_unnoticed():
        left = await leave(upload(), begun.is_set)
        go_on.set()
        await asyncio.wait([left])


class LateStore(MemoryStore):
    """Fails, but only when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.go_on = asyncio.Event()

    async def get(self, chunk: bytes) -> bytes:
        self.asked += 1
        await self.go_on.wait()
        raise StoreFull(chunk.hex())


async def test_chunks_read_ahead_of_a_reader_that_leaves() -> None:
    store = LateStore()
    recipe = Recipe(DEFAULT, tuple((chunk_id_of(bytes([n])), 1) for n in range(8)))

    async def read() -> None:
        async with BlobReader(store, recipe, 0, 7) as reader:
            await reader.next_piece()

    async with nothing_unnoticed():
        left = await leave(read(), lambda: store.asked >= 4)
        await asyncio.wait([left])
        store.go_on.set()
        with pytest.raises(StoreFull):
            await read()


@each_row("how", ["get", "put"])
@each_row("rounds", range(6))
async def test_stores_that_are_asked_beside_each_other(how: str, rounds: int) -> None:
    """They all fail at the moment when whoever asked leaves."""
    faulty = Faulty(servers(5, 3))
    await faulty.cluster.put(CHUNK, DATA)
    for store in faulty.stores.values():
        store.is_.hung = True
    async with nothing_unnoticed():
        asked = faulty.cluster.get(CHUNK) if how == "get" else faulty.cluster.put(CHUNK, DATA)
        left = await leave(asked, lambda: any(store.running for store in faulty.stores.values()))
        for _ in range(rounds):
            await asyncio.sleep(0)
        for store in faulty.stores.values():
            store.crash()
        await asyncio.wait([left])
