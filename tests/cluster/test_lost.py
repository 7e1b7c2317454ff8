"""The recorder of losses: what it notes, takes back and looks for, with a real database."""

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    manifest,
    server,
)
from tests.contracts.metadata_values import store as store_row
from treescale.chunks.format.placement import Layout, StoreLabel, build_table
from treescale.chunks.format.recipe import Recipe, encode
from treescale.chunks.format.split import DEFAULT
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import MemoryStore, chunk_id_of
from treescale.clock import SystemClock
from treescale.cluster import lost
from treescale.cluster.lost import LossRecorder
from treescale.errors import DatabaseUnavailable, Failed, Unreachable
from treescale.metadata.database import Database
from treescale.metadata.missing_copies import LostChunks
from treescale.metadata.records import Blob, NewBlob, Noted

NAMES = ("a", "b")
BYTES = {number: bytes([number]) * 100_000 for number in range(1, 9)}
IDS = {number: chunk_id_of(data) for number, data in BYTES.items()}


class Store(MemoryStore):
    """A store that may be away."""

    away = False

    async def get(self, chunk: bytes) -> bytes:
        if self.away:
            raise Unreachable("away")
        return await super().get(chunk)


@dataclass
class Rig:
    database: Database
    stores: dict[str, Store]
    cluster: ReplicatedStore
    recorder: LossRecorder
    clock: SystemClock = field(default_factory=SystemClock)

    async def push(self, number: int, *chunks: int, repository: str = APP) -> None:
        for each in chunks:
            await self.cluster.put(IDS[each], BYTES[each])
        parts = tuple((IDS[each], 100_000) for each in chunks)
        blob = Blob(digest(number), 100_000 * len(parts), None, encode(Recipe(DEFAULT, parts)))
        await self.database.blobs.commit(
            repository, NewBlob(blob, parts), upload_id=None, now=NOW, actor=ACTOR
        )

    async def lose(self, *chunks: int) -> None:
        for each in chunks:
            for store in self.stores.values():
                await store.delete(IDS[each])

    async def read(self, chunk: int) -> None:
        with pytest.raises(Failed):
            await self.cluster.get(IDS[chunk])

    async def lost(self) -> set[int]:
        found = await self.database.lost.among(IDS.values())
        return {number for number, chunk in IDS.items() if chunk in found}


@pytest.fixture
async def rig(database: Database) -> Rig:
    for name in NAMES:
        await database.servers.register(server(f"on-{name}"), live_seconds=15, actor=ACTOR)
        await database.stores.register(store_row(name, f"on-{name}"))
    stores = {name: Store() for name in NAMES}
    layout = Layout(1, tuple(StoreLabel(name, f"on-{name}", "") for name in NAMES), 2)
    cluster = ReplicatedStore(build_table(layout), stores)
    recorder = LossRecorder(database.lost, cluster, SystemClock())
    cluster.tell(recorder.missing)
    return Rig(database, stores, cluster, recorder)


async def test_what_a_read_found_nowhere_is_noted_once_and_said_once(rig: Rig) -> None:
    await rig.push(1, 1)
    await rig.push(2, 1, 2, repository="bob/app")
    await rig.lose(1)
    with capture_logs() as said:
        for _ in range(3):
            await rig.read(1)
            await rig.recorder.settle()
    assert await rig.lost() == {1}
    assert [(each["event"], each["repositories"]) for each in said] == [
        ("chunk.lost", [APP, "bob/app"])
    ]


async def test_a_store_that_is_away_may_have_it(rig: Rig) -> None:
    await rig.push(1, 1)
    await rig.lose(1)
    rig.stores["b"].away = True
    await rig.read(1)
    await rig.recorder.settle()
    assert await rig.lost() == set()


async def test_what_was_put_again_before_it_was_noted_is_not_lost(rig: Rig) -> None:
    await rig.push(1, 1)
    await rig.lose(1)
    await rig.read(1)
    await rig.push(1, 1)  # a push that ends between the read and the note
    with capture_logs() as said:
        await rig.recorder.settle()
    assert await rig.lost() == set()
    assert [each["event"] for each in said] == ["chunk.healed"]
    assert (await rig.database.blobs.find(APP, digest(1))).lost_since is None


async def test_without_a_look_after_the_note_it_would_be_called_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""

    async def blind(_: bytes) -> bool:
        return False

    monkeypatch.setattr(rig.recorder, "_is_there", blind)
    await rig.push(1, 1)
    await rig.lose(1)
    await rig.read(1)
    await rig.push(1, 1)
    await rig.recorder.settle()
    assert await rig.lost() == {1}


async def test_what_is_read_again_is_taken_back(rig: Rig) -> None:
    await rig.push(1, 1, 2)
    await rig.lose(1)
    await rig.read(1)
    await rig.recorder.settle()
    await rig.stores["a"].put(IDS[1], BYTES[1])  # the disk is back
    with capture_logs() as said:
        for chunk in (1, 2):
            rig.recorder.found(IDS[chunk])
        await rig.recorder.settle()
    assert await rig.lost() == set()
    assert [(each["event"], each["chunk"]) for each in said] == [("chunk.healed", IDS[1].hex())]


async def test_the_rest_of_the_image_is_looked_for(rig: Rig) -> None:
    """Else each pull that fails would find a little more, and each push mend a little."""
    await rig.push(1, 1, 2)
    await rig.push(2, 3, 4)
    await rig.push(3, 5)
    references = [blob_reference(1), blob_reference(2)]
    await rig.database.manifests.put(APP, manifest(), references, ["v1"], now=NOW, actor=ACTOR)
    await rig.lose(1, 2, 4, 5)
    await rig.read(1)
    await rig.recorder.settle()
    assert await rig.lost() == {1, 2, 4}  # 5 is of another image


async def test_around_an_image_is_looked_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.push(1, 1, 2, 3)
    await rig.lose(1, 2, 3)
    asked = []
    related = rig.database.lost.related

    async def counted(chunk: bytes, limit: int) -> list[bytes]:
        asked.append(chunk)
        return await related(chunk, limit)

    monkeypatch.setattr(rig.database.lost, "related", counted)
    await rig.read(1)
    await rig.recorder.settle()
    assert await rig.lost() == {1, 2, 3}
    assert asked == [IDS[1]]


class Away:
    """A database that is away at first."""

    def __init__(self, inner: LostChunks, failures: int) -> None:
        self._inner = inner
        self.noted = asyncio.Event()
        self._failures = failures

    async def note(self, chunk: bytes, answered: frozenset[str]) -> Noted:
        if self._failures:
            self._failures -= 1
            raise DatabaseUnavailable("away")
        noted = await self._inner.note(chunk, answered)
        self.noted.set()
        return noted

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


async def test_without_the_database_it_is_noted_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "RETRY_SECONDS_MIN", 0.001)
    away = Away(rig.database.lost, 3)
    recorder = LossRecorder(away, rig.cluster, SystemClock())  # type: ignore[arg-type]
    rig.cluster.tell(recorder.missing)
    await rig.push(1, 1)
    await rig.lose(1)
    async with asyncio.TaskGroup() as group, asyncio.timeout(30):
        running = group.create_task(recorder.run())
        await rig.read(1)
        await away.noted.wait()
        running.cancel()
    assert await rig.lost() == {1}


async def test_what_waits_is_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "WAITING_MAX", 2)
    for number in (1, 2, 3):
        rig.recorder.missing(IDS[number], frozenset(NAMES))
        rig.recorder.found(IDS[number])
    assert len(rig.recorder._missing) == len(rig.recorder._found) == 2
    rig.recorder._found.clear()
    await rig.recorder.settle()
    assert await rig.lost() == {1, 2}
    rig.recorder._settled.clear()
    rig.recorder.missing(IDS[3], frozenset(NAMES))
    await rig.recorder.settle()
    assert await rig.lost() == {1, 2, 3}
    assert len(rig.recorder._settled) <= 2
