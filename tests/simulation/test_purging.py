"""Pushes and purges interleaved at every step on the real rows: no row names what is nowhere.

The stores are sets of chunks; what a store does for a purge takes it several steps, and another may
be away for long. `PURGE_SEEDS=1000` runs so many seeds; a failure prints its seed and all steps.
"""

import os
import random  # noqa: TID251  from a seed
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    large,
    manifest,
    part,
    server,
    store,
    upload,
)
from tests.templates import empty_database
from treescale.errors import (
    BeingPurged,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    UploadUnknown,
)
from treescale.metadata import blobs as blobs_module
from treescale.metadata import uploads as uploads_module
from treescale.metadata.collection.purge_plan import PurgePlan, PurgeReader
from treescale.metadata.collection.purging import Purging, Round
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import EMPTY_TAIL, Base, ChunkPart, NewBlob, UploadProgress
from treescale.metadata.schema import blob_chunks

pytestmark = pytest.mark.early
SEEDS: Final = int(os.environ.get("PURGE_SEEDS", "12"))
STEPS: Final = 150
BLOBS: Final = {1: (1, 2), 2: (2, 3), 3: (4,)}
STORES: Final = ("a", "b")


@dataclass
class Push:
    """A push under way: what it has put since its base, and what its session names."""

    number: int
    base: Base
    session: str | None
    fresh: set[int] = field(default_factory=set)
    recorded: list[int] = field(default_factory=list)


@dataclass
class World:
    database: Database
    chance: random.Random
    on: dict[str, set[bytes]] = field(default_factory=lambda: {name: set() for name in STORES})
    pushes: list[Push] = field(default_factory=list)
    purge: tuple[str, PurgePlan, bool] | None = None
    doing: dict[str, Round] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    purges: int = 0

    def __post_init__(self) -> None:
        self.purging = Purging(self.database.connections)
        self.sessions = 0

    async def step(self) -> None:
        acts: list[Callable[[], Awaitable[str]]] = [
            self.begin,
            *(self.put,) * 4,
            *(self.record,) * 2,
            *(self.commit,) * 3,
            self.delete,
            *(self.purge_on,) * 3,
            *(self.look,) * 3,
            self.give_up,
        ]
        self.steps.append(await self.chance.choice(acts)())

    async def begin(self) -> str:
        number = self.chance.choice([*BLOBS])
        session = None
        if self.chance.random() < 0.5:
            self.sessions += 1
            session = f"u{self.sessions}"
            await self.database.uploads.create(upload(session))
        base, _ = await self.database.uploads.time()
        self.pushes.append(Push(number, base, session))
        return f"push of {number} begins, session {session}"

    async def put(self) -> str:
        if not self.pushes:
            return "nobody puts"
        push = self.chance.choice(self.pushes)
        chunk = self.chance.choice(BLOBS[push.number])
        where = [name for name in STORES if self.chance.random() < 0.7] or ["a"]
        for name in where:
            self.on[name].add(part(chunk)[0])
        push.fresh.add(chunk)
        return f"push of {push.number} puts {chunk} on {where}"

    async def record(self) -> str:
        pushes = [push for push in self.pushes if push.session and push.fresh]
        if not pushes:
            return "nobody records"
        push = self.chance.choice(pushes)
        assert push.session
        begun = 1000 * len(push.recorded)
        more = sorted(push.fresh)
        progress = UploadProgress(
            begun,
            begun + 1000 * len(more),
            "h",
            tuple(part(chunk) for chunk in more),
            EMPTY_TAIL,
            base=push.base,
        )
        try:
            push.base = await self.database.uploads.advance(push.session, progress, now=NOW)
        except (BeingPurged, UploadUnknown) as error:
            return await self.end(push, f"is refused {more}: {error}")
        push.recorded += more
        push.fresh.clear()
        return f"session {push.session} records {more}"

    async def commit(self) -> str:
        ready = [
            push
            for push in self.pushes
            if set(BLOBS[push.number]) <= push.fresh | set(push.recorded)
        ]
        if not ready:
            return "nobody commits"
        push = self.chance.choice(ready)
        new: NewBlob = large(push.number, *(part(chunk) for chunk in BLOBS[push.number]))
        state = None
        if push.session:
            state = (await self.database.uploads.get(push.session)).state
        new = NewBlob(new.blob, new.chunks, base=push.base, session=state)
        try:
            await self.database.blobs.commit(APP, new, upload_id=push.session, now=NOW, actor=ACTOR)
        except (BeingPurged, UploadUnknown) as error:
            return await self.end(push, f"is refused: {error}")
        self.pushes.remove(push)
        made = manifest(b"%d" % push.number)
        needed = [blob_reference(push.number)]
        await self.database.manifests.put(APP, made, needed, [], now=NOW, actor=ACTOR)
        return f"{push.number} is pushed"

    async def give_up(self) -> str:
        if not self.pushes:
            return "nobody gives up"
        return await self.end(self.chance.choice(self.pushes), "is given up")

    async def end(self, push: Push, why: str) -> str:
        self.pushes.remove(push)
        if push.session:
            await self.database.uploads.delete(push.session)
        return f"push of {push.number}, session {push.session}, {why}"

    async def delete(self) -> str:
        number = self.chance.choice([*BLOBS])
        with suppress(ManifestUnknown):
            digest = manifest(b"%d" % number).digest
            await self.database.manifests.delete(APP, digest, actor=ACTOR)
            return f"{number} is deleted"
        return "nothing is deleted"

    async def purge_on(self) -> str:
        """Go on with the purge by a step."""
        if self.purge is None:
            try:
                plan = await PurgeReader(self.database.connections).plan(APP, None, None)
            except (NameUnknown, PreconditionFailed):
                return "nothing to purge"
            self.purges += 1
            await self.purging.begin(f"p{self.purges}", APP, actor=ACTOR)
            self.purge = f"p{self.purges}", plan, False
            return f"p{self.purges} begins: {plan.chunks} chunks"
        name, plan, taken = self.purge
        if not taken:
            await self.purging.take(name, plan, actor=ACTOR)
            self.purge = name, plan, True
            return f"{name} takes"
        await self.purging.finish(name)
        self.purge = None
        return f"{name} has the stores look"

    async def look(self) -> str:
        """A store goes on with what it does for a purge."""
        name = self.chance.choice(STORES)
        if name in self.doing:
            done = self.doing.pop(name)
            await self.purging.confirm(name, done)
            return f"store {name} confirms {done}"
        due = await self.purging.due_at(name)
        if not due:
            return f"store {name} has nothing to do"
        self.doing[name] = due[0]
        gone = await self.purging.chunks_of(due[0].purge_id, b"")
        self.on[name] -= set(gone)
        return f"store {name} unlinks {len(gone)}"

    async def check(self) -> None:
        """Fail when a row names a chunk that no store has."""
        rows = await self.database.connections.rows(select(blob_chunks.c.chunk).distinct())
        named = {bytes(row.chunk) for row in rows}
        named |= (await self.database.references.in_sessions(lambda _: True)).keys()
        numbers = {part(each)[0]: each for chunks in BLOBS.values() for each in chunks}
        lost = [numbers[chunk] for chunk in named - (self.on["a"] | self.on["b"])]
        assert not lost, f"lost {lost}:\n" + "\n".join(self.steps)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    empty_database(tmp_path / "treescale.db")
    opened = open_database(f"sqlite:///{tmp_path}/treescale.db")
    await opened.servers.register(server("s"), live_seconds=15, actor=ACTOR)
    for name in STORES:
        await opened.stores.register(store(name, "s"))
    yield opened
    await opened.close()


async def lived(database: Database, seed: int) -> World:
    world = World(database, random.Random(seed))  # noqa: S311  from a seed
    for _ in range(STEPS):
        await world.step()
        await world.check()
    return world


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_no_row_names_what_is_nowhere(database: Database, seed: int) -> None:
    print(f"PURGE seed {seed}")  # noqa: T201  of a failure
    await lived(database, seed)


async def several(database: Database, seeds: int) -> None:
    for seed in range(seeds):
        await lived(database, seed)


def no_fence(*_: object) -> None: ...


def no_look_at_the_base(
    connection: Connection, parts: Sequence[ChunkPart], base: Base | None
) -> None:
    assert base is not None
    CHECK(connection, parts, Base(base.time, 2**62))


CHECK = uploads_module.check_fence


@pytest.mark.parametrize("instead", [no_fence, no_look_at_the_base])
async def test_without_the_fence_a_row_does(
    database: Database, instead: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_module, "check_fence", instead)
    monkeypatch.setattr(uploads_module, "check_fence", instead)
    with pytest.raises(AssertionError, match="lost"):
        await several(database, 40)
