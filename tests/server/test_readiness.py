"""The board in shared memory, what is noted on it, and how a server that ends is noticed."""

import asyncio
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import pytest

from treescale.cluster.layout import Decision
from treescale.cluster.membership import HeartbeatResult
from treescale.cluster.readiness import Check, PeerCounts, Purpose, Reason, Seen
from treescale.errors import DatabaseTrouble, DatabaseUnavailable
from treescale.metadata.database import Database
from treescale.metadata.records import Examined
from treescale.server.cluster_view import ClusterView
from treescale.server.heartbeat import Heartbeat
from treescale.server.readiness import (
    NOTICE_SECONDS_MAX,
    TOLD_MIN,
    Board,
    Looks,
    Readiness,
)

AWAY = DatabaseUnavailable("the file is damaged: /srv/x", DatabaseTrouble.DAMAGED)


class Hand:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.second = 100.0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return self.second


@dataclass
class Around:
    """A database and a view of the cluster that do as a test says."""

    condition: Examined = field(default_factory=Examined)
    clock_error: float = 0.0
    trouble: str = ""
    fails: Exception | None = None
    hangs: bool = False
    clock_is_right: bool | None = None

    async def examine(self) -> Examined:
        await self._wait()
        return self.condition

    async def beat(self) -> HeartbeatResult:
        await self._wait()
        if self.fails:
            raise self.fails
        return HeartbeatResult(
            None, changed=False, decision=Decision(None, {}), clock_error=self.clock_error
        )

    def unwritable(self) -> str:
        return self.trouble

    @property
    def peers(self) -> "Around":
        return self

    def counts(self, *, clock_is_right: bool) -> PeerCounts:
        self.clock_is_right = clock_is_right
        return PeerCounts()

    async def _wait(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()


@dataclass
class Rig:
    """A worker's part in readiness."""

    board: Board
    around: Around
    looks: Looks
    readiness: Readiness
    clock: Hand

    def wrong(self) -> dict[Check, Reason]:
        found = self.readiness(Purpose.EVERYTHING)
        return {one.check: one.reason for one in found if not one.ok}


@pytest.fixture
def rig() -> Rig:
    board, around, clock = Board(), Around(), Hand()
    board.note_start(0.0, clock.monotonic())
    view = cast("ClusterView", around)
    looks = Looks(board, cast("Database", around), cast("Heartbeat", around), clock)
    return Rig(board, around, looks, Readiness(board, view, clock), clock)


def test_a_server_that_has_just_started_is_fit(rig: Rig) -> None:
    assert rig.wrong() == {}
    assert rig.around.clock_is_right


def test_what_one_process_notes_others_read() -> None:
    board = Board()
    assert board.seen()[Check.CLOCK] == Seen()
    noting = partial(board.note, Check.CLOCK, Reason.CLOCK, 5.0)
    other = multiprocessing.get_context("fork").Process(target=noting)
    other.start()
    other.join(20)
    assert board.seen()[Check.CLOCK] == Seen(Reason.CLOCK, 5.0)


async def test_a_heartbeat_tells_of_writes_stores_and_the_clock(rig: Rig) -> None:
    rig.around.trouble, rig.around.clock_error = "/disk is full", 61.0
    await rig.looks.report()
    assert rig.wrong() == {Check.STORE: Reason.STORES, Check.CLOCK: Reason.CLOCK}
    assert not rig.around.clock_is_right
    rig.around.trouble, rig.around.clock_error, rig.around.fails = "", 0.0, AWAY
    with pytest.raises(DatabaseUnavailable):
        await rig.looks.report()
    assert rig.wrong()[Check.DATABASE_WRITE] is Reason.DAMAGED
    rig.around.fails = None
    await rig.looks.report()
    assert rig.wrong() == {}


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        (
            Examined(read=AWAY, write=AWAY),
            {Check.DATABASE_READ: Reason.DAMAGED, Check.DATABASE_WRITE: Reason.DAMAGED},
        ),
        (Examined(write=AWAY), {Check.DATABASE_WRITE: Reason.DAMAGED}),
        (
            Examined(schema=DatabaseUnavailable("x", DatabaseTrouble.SCHEMA)),
            {Check.SCHEMA: Reason.SCHEMA},
        ),
    ],
)
async def test_a_look_tells_of_the_database(
    rig: Rig, condition: Examined, wrong: dict[Check, Reason]
) -> None:
    rig.around.condition = condition
    await rig.looks.look()
    assert rig.wrong() == wrong
    await rig.looks.report()
    assert rig.wrong() == wrong, "a heartbeat that gets through says nothing of the file"
    rig.around.condition = Examined()
    await rig.looks.look()
    assert rig.wrong() == {}


@pytest.mark.parametrize(
    ("job", "check"), [("look", Check.DATABASE_READ), ("report", Check.DATABASE_WRITE)]
)
async def test_what_is_cut_at_its_limit_was_late(rig: Rig, job: str, check: Check) -> None:
    rig.around.hangs = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await getattr(rig.looks, job)()
    assert rig.wrong() == {check: Reason.LATE}


def test_what_nobody_looks_at_any_more_is_not_believed(rig: Rig) -> None:
    rig.clock.second += 15.1
    assert set(rig.wrong().values()) == {Reason.STALE}
    assert len(rig.wrong()) == 4


Ask = Callable[..., None]


@pytest.fixture
def ask(rig: Rig) -> Ask:
    def ask(*seconds: float) -> None:
        for pause in seconds:
            rig.clock.second += pause
            rig.readiness(Purpose.PULL)

    return ask


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ([], 0.0),
        ([1.0], 0.0),
        ([1.0, 0.02, 0.02, 0.02], 0.0),
        ([1.0, 1.0], 2.4),
        ([1.0, 2.0], 4.4),
        ([1.0, 5.0], NOTICE_SECONDS_MAX),
        ([1.0, 20.0], 0.0),
    ],
)
def test_whoever_asks_regularly_is_waited_for(
    rig: Rig, ask: Ask, asked: list[float], seconds: float
) -> None:
    ask(*asked)
    assert rig.readiness.end() == pytest.approx(seconds)


def test_nobody_is_waited_for_who_asked_long_ago(rig: Rig, ask: Ask) -> None:
    ask(1.0, 1.0)
    rig.clock.second += 11
    assert rig.readiness.end() == 0.0


def test_it_is_noticed_when_it_was_told_twice(rig: Rig, ask: Ask) -> None:
    ask(1.0, 1.0, 1.0)
    assert not rig.readiness.is_noticed
    rig.readiness.end()
    assert rig.wrong() == {Check.ENDING: Reason.ENDING}
    told: list[Any] = []
    for _ in range(TOLD_MIN):
        told.append(rig.readiness.is_noticed)
        ask(1.0)
    assert told == [False, False]
    assert rig.readiness.is_noticed
