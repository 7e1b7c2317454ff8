"""One store with a real database, whose orphans a test makes, and a collector."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import delete, insert, select
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import upload
from tests.fakes_disk import JumpingClock, SteppedDisk
from treescale.chunks.disk.store import DiskStore
from treescale.chunks.format.placement import Layout, StoreLabel, Table, build_table
from treescale.chunks.store import ChunkStore, chunk_id_of
from treescale.errors import NotEnoughStores
from treescale.maintenance.collection.state import State, unpacked
from treescale.maintenance.collector import Collector, Cycle
from treescale.maintenance.trash import Trash
from treescale.metadata.database import Database
from treescale.metadata.schema import blob_chunks, blobs, chunks, upload_parts, uploads
from treescale.metadata.uploads import pack_parts

LEASE = 24 * 3600.0
QUIET = 3 * 3600.0
TRASH = 24 * 3600.0
STORE = "a"
SERVER = "server:s1"


class Cluster:
    """A cluster of the one store; what others have a test says."""

    def __init__(self, store: DiskStore, homes: Sequence[str] = (STORE,)) -> None:
        self.lay_out(homes, 1)
        self.store = store
        self.elsewhere: set[bytes] = set()
        self.is_away = False
        self.up = {STORE}

    def lay_out(self, stores: Sequence[str], copies: int) -> None:
        """Put a layout of these in force."""
        labels = tuple(StoreLabel(name, f"on-{name}", "") for name in stores)
        self.tables: Sequence[Table] = [build_table(Layout(1, labels, copies))]

    def is_up(self, store_id: str) -> bool:
        return store_id in self.up

    def way_to(self, store_id: str) -> ChunkStore | None:
        return self.store if store_id == STORE else None

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        raise NotImplementedError

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        if self.is_away:
            raise NotEnoughStores("somebody is away")
        here = await self.store.have(chunks)
        return [has or chunk in self.elsewhere for has, chunk in zip(here, chunks, strict=True)]

    async def is_lost(self, chunk: bytes) -> bool:
        raise NotImplementedError


@dataclass
class Rig:
    """What a test of collection works with."""

    database: Database
    store: DiskStore
    disk: SteppedDisk
    clock: JumpingClock
    cluster: Cluster
    trash: Trash
    collector: Collector
    data: dict[bytes, bytes] = field(default_factory=dict)

    def go(self, seconds: float) -> None:
        """Let time pass, by all clocks."""
        self.disk.passed += seconds
        self.clock.seconds += seconds

    async def put(self, number: int) -> bytes:
        """Put a chunk that no row names."""
        data = b"chunk %d" % number * 10
        chunk = chunk_id_of(data)
        self.data[chunk] = data
        await self.store.put(chunk, data)
        return chunk

    async def name(self, number: int, *names: bytes, session: str = "") -> None:
        """Have a blob name these chunks, in one transaction with the end of the session."""

        def work(connection: Connection) -> None:
            if session:
                connection.execute(delete(uploads).where(uploads.c.upload_id == session))
            row = {"digest": f"sha256:{number:064x}", "size": 1, "recipe": b"r"}
            connection.execute(insert(blobs), row)
            (blob_id,) = connection.execute(
                select(blobs.c.blob_id).where(blobs.c.digest == row["digest"])
            ).one()
            for chunk in names:
                held = {"chunk": chunk, "length": len(self.data[chunk])}
                connection.execute(insert(chunks), held)
                connection.execute(insert(blob_chunks), {"blob_id": blob_id, "chunk": chunk})

        await self.database._connections.write(work)

    async def open_session(self, upload_id: str, *names: bytes) -> None:
        """Have an unfinished upload name them."""
        await self.database.uploads.create(upload(upload_id))
        packed = pack_parts([(chunk, len(self.data[chunk])) for chunk in names])
        row = {"upload_id": upload_id, "part": 0, "entries": packed}

        def work(connection: Connection) -> None:
            connection.execute(insert(upload_parts), row)

        await self.database._connections.write(work)

    async def unname(self, *names: bytes) -> None:
        """Take the rows of these chunks away, or of all, with those of all blobs."""

        def work(connection: Connection) -> None:
            if names:
                connection.execute(delete(blob_chunks).where(blob_chunks.c.chunk.in_(names)))
                connection.execute(delete(chunks).where(chunks.c.chunk.in_(names)))
                return
            for table in (blob_chunks, chunks, blobs):
                connection.execute(delete(table))

        await self.database._connections.write(work)

    async def cycle(self, *, dry: bool = False, resume: bool = False) -> Cycle:
        """Have a cycle now."""
        cycle = Cycle(dry=dry, resume=resume)
        async for _ in self.collector.steps(cycle):
            pass
        return cycle

    async def here(self, *chunks: bytes) -> list[bool]:
        """Say of each whether it is on the store, outside its trash."""
        return await self.store.have(chunks)

    async def state(self) -> State:
        """Return what was told of it."""
        return unpacked((await self.database.collections.list()).get(STORE))


def before(patch: pytest.MonkeyPatch, where: object, name: str, act: Callable[[], Any]) -> None:
    """Have something done once, before the method is called."""
    method, done = getattr(where, name), list[bool]()

    async def after_that(*args: Any, **named: Any) -> Any:
        if not done:
            done.append(True)
            await act()
        return await method(*args, **named)

    patch.setattr(where, name, after_that)
