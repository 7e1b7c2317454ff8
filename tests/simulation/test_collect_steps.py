"""A push and a cycle of collection, the one's steps between any two steps of the other.

Every order is tried: what is named in the end is there. With a rule switched off, some order loses
it (collection.md, section 9).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import combinations_with_replacement, count
from random import Random  # noqa: TID251  of no consequence
from typing import cast

import pytest

from tests.simulation.copies import Way
from tests.simulation.leased import LEASE, LeasedHere, LeasedStore
from tests.simulation.rows import Database, Rows, _References
from tests.simulation.walking import chunk_of, few_partitions, table_over
from tests.virtualtime import LoopClock, virtually
from treescale.chunks.disk.quiet import Quiet
from treescale.chunks.disk.verified import FileStamp
from treescale.chunks.store import ChunkStore
from treescale.errors import Failed
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING
from treescale.maintenance.collection import orphans
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.collector import Collector, Cycle
from treescale.maintenance.homes import Homes
from treescale.maintenance.trash import Trash
from treescale.metadata import database as metadata

CHUNK, DATA = chunk_of(1)
STEPS = 16
"""More than a cycle of one chunk takes: the last ones come after it."""
Acts = Mapping[int, Sequence[Callable[[], None]]]


class Scene:
    """One home whose copy of a chunk was put a lease ago, and another store beside it."""

    def __init__(self) -> None:
        moments = count(1)
        self.store, self.other = LeasedStore("s0", moments), LeasedStore("s1", moments)
        self.rows = Rows(
            settings={COLLECTION_SETTING: Mode.ON, LEASE_SETTING: f"{LEASE:.0f}s"},
            stores=["s0", "s1"],
        )
        self.tables = [table_over(1, ["s0"], 1, Random(1))]  # noqa: S311
        self._acts: Acts = {}
        self._step = 0
        self.start()

    def start(self) -> None:
        """Begin the process that collects."""
        self.here = LeasedHere(self.store, self.step, lambda *_: None, lambda _: None)
        database = cast("metadata.Database", Database(self.rows, self.step))
        trash = Trash("s0", self.here, self, Homes(self), database, LoopClock())
        self.collector = Collector("s0", self.here, trash, database, clock=LoopClock())

    def is_up(self, store_id: str) -> bool:
        return store_id in ("s0", "s1")

    def way_to(self, store_id: str) -> ChunkStore | None:
        return Way(self.store if store_id == "s0" else self.other, self.step)

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        assert lacking == "s0"
        return self.store.get(chunk)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        return [chunk in self.other.copies for chunk in chunks]

    async def is_lost(self, chunk: bytes) -> bool:
        raise NotImplementedError(chunk)

    async def step(self) -> None:
        """Let happen what is to happen before this step."""
        self._step += 1
        for act in self._acts.get(self._step, ()):
            act()

    async def cycle(self, acts: Acts) -> None:
        """Have a cycle, with these acts before its steps, and the rest of them after it."""
        self._acts, self._step = acts, 0
        try:
            async for _ in self.collector.steps(Cycle(resume=True)):
                pass
        except Failed:
            pass
        while self._step < STEPS:
            await self.step()
        self._acts = {}

    # What a push does, and what happens to it

    def put(self) -> None:
        """Put it; the answer is a yes."""
        self.store.put(CHUNK, DATA)

    def record(self) -> None:
        """Have a blob name it, in time: hardly any passes here."""
        self.rows.sessions.pop("u", None)
        self.rows.blobs[CHUNK] = len(DATA)

    def open_session(self) -> None:
        """Have an unfinished upload name it."""
        self.rows.sessions["u"] = {CHUNK: len(DATA)}

    def delete(self) -> None:
        """Take the blob's rows away."""
        self.rows.blobs.pop(CHUNK, None)

    def set_clock(self, seconds: float) -> Callable[[], None]:
        """Return what sets the home's clock."""

        def act() -> None:
            self.store.ahead += seconds

        return act

    @property
    def is_broken(self) -> bool:
        """Say whether it is named, and on no store outside its trash."""
        return CHUNK in self.rows.named() and not (
            self.store.holds(CHUNK) or self.other.holds(CHUNK)
        )


def placed(places: Iterable[int], acts: Sequence[Callable[[], None]]) -> Acts:
    """Return these acts before the steps of these numbers."""
    found: dict[int, list[Callable[[], None]]] = {}
    for place, act in zip(places, acts, strict=True):
        found.setdefault(place, []).append(act)
    return found


# What happens: of each order, whether something was lost


async def pushed_again() -> list[bool]:
    """R1 to R4: an old chunk is put and then named, or goes from an old session to a blob."""
    found = []
    for places in combinations_with_replacement(range(1, STEPS + 1), 2):
        scene = await old_and_unnamed()
        await scene.cycle(placed(places, [scene.put, scene.record]))
        found.append(scene.is_broken)
    for place in range(1, STEPS + 1):
        scene = await old_and_unnamed()
        scene.open_session()
        await scene.cycle({place: [scene.record]})
        found.append(scene.is_broken)
    return found


async def old_and_unnamed() -> Scene:
    """Return a scene in which the home's copy has no lease any more, and is in no row."""
    scene = Scene()
    scene.put()
    await asyncio.sleep(LEASE + 1)
    return scene


async def clock_set() -> list[bool]:
    """R8: put just now, or to be put; the clock is set, forward or back; then it is named."""
    found = []
    for seconds in (2 * LEASE, -2 * LEASE):
        for places in combinations_with_replacement(range(1, STEPS + 1), 3):
            scene = await old_and_unnamed()
            order = [scene.put, scene.set_clock(seconds), scene.record]
            if seconds < 0:  # the put finds a young file
                order = [order[1], order[0], order[2]]
            await scene.cycle(placed(places, order))
            found.append(scene.is_broken)
    return found


async def power_cut() -> list[bool]:
    """R8: the put has touched an old copy, power is cut, and the server starts again."""
    found = []
    for place in range(1, STEPS + 1):
        scene = await old_and_unnamed()
        scene.put()
        scene.store.cut_power()
        scene.start()
        await scene.cycle({place: [scene.record]})
        found.append(scene.is_broken)
    return found


async def trimmed() -> list[bool]:
    """R10: a push put it on another store; its old copy is kept for that one, which trims."""
    found = []
    for place in range(1, STEPS + 1):
        scene = await old_and_unnamed()
        scene.record()  # by an image of before
        scene.other.put(CHUNK, DATA)
        stamp = scene.other.copies[CHUNK].stamp
        if CHUNK in await Homes(scene).kept_by(["s0"], [CHUNK]):
            scene.other.trim(CHUNK, stamp)
        scene.delete()
        await scene.cycle({place: [scene.record]})
        found.append(scene.is_broken)
    return found


def lost_in(scenario: Callable[[], Awaitable[list[bool]]]) -> int:
    """Return in how many orders it was lost; some are tried."""
    found: list[bool] = []

    async def run() -> None:
        found.extend(await scenario())

    with few_partitions():
        virtually(run)
    assert len(found) >= STEPS
    return sum(found)


SCENARIOS = (pushed_again, clock_set, power_cut, trimmed)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_in_no_order_anything_that_is_named_is_lost(
    scenario: Callable[[], Awaitable[list[bool]]],
) -> None:
    assert lost_in(scenario) == 0


def test_an_orphan_goes_in_that_scene() -> None:
    async def run() -> None:
        scene = await old_and_unnamed()
        await scene.cycle({})
        assert not scene.store.copies
        assert CHUNK in scene.store.trash

    with few_partitions():
        virtually(run)


def no_touch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeasedStore, "is_old", lambda *_: False)


def touch_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    """The put finds the file, and says yes; by the time it touches it, it may be in the trash."""
    patch.setattr(
        Scene, "put", lambda scene: scene.store.keeps(CHUNK) or scene.store.put(CHUNK, DATA)
    )
    patch.setattr(Scene, "record", lambda scene: (scene.store.touch(CHUNK), _RECORD(scene)))


_RECORD = Scene.record


def no_stamp(patch: pytest.MonkeyPatch) -> None:
    """What the rename takes is whatever has that name by then."""

    async def remove(
        self: LeasedHere, copies: Sequence[tuple[bytes, FileStamp]], may: Callable[[], bool]
    ) -> list[bytes]:
        await self._go()
        gone = [chunk for chunk, _ in copies if may() and chunk in self.store.copies]
        for chunk in gone:
            self.leased.discard(chunk)
        return gone

    patch.setattr(LeasedHere, "remove", remove)


def no_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(orphans, "candidates", lambda copies, lease: list(copies))  # noqa: ARG005


def blobs_before_sessions(patch: pytest.MonkeyPatch) -> None:
    async def among(self: _References, wanted: Iterable[bytes]) -> set[bytes]:
        asked = set(wanted)
        found = (await self._database.come()).blobs.keys() & asked
        return found | set(await self.in_sessions(asked.__contains__))

    patch.setattr(_References, "among", among)


def no_quiet(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Quiet, "left", lambda *_: 0.0)


def steps_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Quiet, "stretch", lambda *_: 0)


def a_look_outlives_a_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Collector, "_permit", lambda *_: lambda: True)


def homes_see_and_do_not_touch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeasedStore, "renew", lambda *_: None)


@pytest.mark.parametrize(
    ("rule", "scenario"),
    [
        (no_touch, pushed_again),
        (touch_without_the_lock, pushed_again),
        (no_stamp, pushed_again),
        (no_lease, pushed_again),
        (blobs_before_sessions, pushed_again),
        (no_quiet, power_cut),
        (steps_unnoticed, clock_set),
        (a_look_outlives_a_step, clock_set),
        (homes_see_and_do_not_touch, trimmed),
    ],
)
def test_control_without_the_rule_some_order_loses_it(
    rule: Callable[[pytest.MonkeyPatch], None],
    scenario: Callable[[], Awaitable[list[bool]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule(monkeypatch)
    assert lost_in(scenario) > 0
