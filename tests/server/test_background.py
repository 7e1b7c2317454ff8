"""Background work: what fails is told, counted and tried again, and takes nothing with it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from tests.virtualtime import LoopClock, virtual
from treescale.clock import SystemClock
from treescale.errors import DatabaseUnavailable, Unreachable
from treescale.metadata.records import LeaseRecord
from treescale.server.background import (
    CANCEL_SECONDS,
    LOOK_SECONDS,
    PAUSE_JITTER,
    PAUSE_SECONDS_MAX,
    PAUSE_SECONDS_MIN,
    SETTLED_SECONDS,
    Background,
    Job,
    LeaseLost,
    Scope,
)
from treescale.server.processes.leader_lock import LEASE_SECONDS, MARGIN_SECONDS, RENEW_SECONDS

PERIOD = 8.0
LIMIT = 2.0
ROUNDING = 0.01
EXACT = pytest.approx


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class MemoryLeases:
    """Leases in memory, by the loop's time."""

    rows: dict[str, LeaseRecord] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    """Holders whose questions are refused."""
    hung: set[str] = field(default_factory=set)
    """Holders whose questions nobody answers."""
    odd: set[str] = field(default_factory=set)
    """Holders whose questions fail in a way that nobody thought of."""

    async def hold(self, name: str, holder: str, seconds: float) -> int | None:
        await self._reach(holder)
        row = self.rows.get(name, LeaseRecord(name, "", 0.0, 0))
        over = row.until <= now()
        if row.holder != holder and not over:
            return None
        self.rows[name] = LeaseRecord(name, holder, now() + seconds, row.fence + over)
        return self.rows[name].fence

    async def release(self, name: str, holder: str) -> None:
        await self._reach(holder)
        row = self.rows[name]
        if row.holder == holder:
            self.rows[name] = LeaseRecord(name, holder, 0.0, row.fence)

    async def list(self) -> list[LeaseRecord]:
        return list(self.rows.values())

    async def _reach(self, holder: str) -> None:
        if holder in self.hung:
            await asyncio.sleep(1e6)
        if holder in self.away:
            raise DatabaseUnavailable("the database is away")
        if holder in self.odd:
            raise RuntimeError("odd")


def runner(
    leases: MemoryLeases | None = None,
    holder: str = "a",
    *,
    leads: Callable[[], bool] = lambda: True,
    chance: Callable[[], float] = lambda: 0.0,
) -> Background:
    return Background(
        leases or MemoryLeases(), holder, leads=leads, clock=LoopClock(), chance=chance
    )


@dataclass
class Worked:
    """Work that notes when it began, and then does what the test says."""

    act: Callable[[int], Awaitable[object]]
    begun: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    async def __call__(self) -> None:
        self.begun.append(now())
        try:
            await self.act(len(self.begun))
        finally:
            self.ended.append(now())


async def nothing(_: int) -> None:
    """Succeed."""


def failing(*turns: int, error: Callable[[], Exception] = lambda: ValueError("odd")) -> Worked:
    """Return work that fails in these turns; without any, in all."""

    async def act(turn: int) -> None:
        if not turns or turn in turns:
            raise error()

    return Worked(act)


def lasting(seconds: float) -> Worked:
    async def act(_: int) -> None:
        await asyncio.sleep(seconds)

    return Worked(act)


def periodic(work: Callable[[], Awaitable[object]], *, scope: Scope = Scope.WORKER) -> Job:
    return Job("job", work, "nothing", period_seconds=PERIOD, limit_seconds=LIMIT, scope=scope)


@contextmanager
def logged(event: str) -> Iterator[list[EventDict]]:
    """Yield the log's lines of this event, as soon as it is left."""
    lines: list[EventDict] = []
    with capture_logs() as logs:
        yield lines
    lines.extend(line for line in logs if line["event"] == event)


class TestTurns:
    @virtual
    async def test_it_comes_after_its_period(self) -> None:
        work = lasting(1)
        async with runner() as background:
            background.register(periodic(work))
            await asyncio.sleep(3 * (PERIOD + 1) + PERIOD / 2)
            counts = background.counts["job"]
        assert work.begun == EXACT([PERIOD, 2 * PERIOD + 1, 3 * PERIOD + 2], abs=ROUNDING)
        assert (counts.runs, counts.failures) == (3, 0)
        assert counts.succeeded == EXACT(3 * (PERIOD + 1), abs=ROUNDING)

    @virtual
    async def test_it_may_begin_at_once(self) -> None:
        work = Worked(nothing)
        async with runner() as background:
            background.register(
                Job("job", work, "-", period_seconds=PERIOD, limit_seconds=LIMIT, at_once=True)
            )
            await asyncio.sleep(1)
        assert work.begun == EXACT([0.0], abs=ROUNDING)

    @virtual
    async def test_jobs_do_not_wait_for_each_other(self) -> None:
        slow, other = lasting(1e6), Worked(nothing)
        async with runner() as background:
            background.register(Job("slow", slow, "-"))
            background.register(periodic(other))
            await asyncio.sleep(3 * PERIOD + 1)
            assert background.counts["slow"].running_since == EXACT(0.0, abs=ROUNDING)
        assert len(other.begun) == 3

    @virtual
    async def test_one_can_be_taken_out(self) -> None:
        work = Worked(nothing)
        async with runner() as background:
            task = background.register(periodic(work))
            await asyncio.sleep(PERIOD + 1)
            task.cancel()
            await asyncio.sleep(3 * PERIOD)
            assert background.counts == {}
        assert len(work.begun) == 1

    @virtual
    async def test_a_name_may_be_registered_anew(self) -> None:
        """A peer that moved: the old one ends after the new one has begun."""
        async with runner() as background:
            background.register(periodic(lasting(1))).cancel()
            background.register(periodic(lasting(1)))
            await asyncio.sleep(PERIOD + 1.5)
            assert background.counts["job"].runs == 1

    def test_what_comes_again_and_again_has_a_limit(self) -> None:
        with pytest.raises(AssertionError, match="job has no time limit"):
            Job("job", Worked(nothing), "-", period_seconds=1.0)


class TestFailures:
    @virtual
    async def test_it_is_told_with_its_traceback_and_what_it_means(self) -> None:
        with logged("background.failed") as lines:
            async with runner() as background:
                background.register(periodic(failing(1)))
                await asyncio.sleep(PERIOD + 0.1)
                counts = background.counts["job"]
                assert (counts.failures, counts.failures_in_a_row) == (1, 1)
                assert (counts.succeeded, counts.reason) == (None, "odd")
        (line,) = lines
        assert line["log_level"] == "warning"
        assert (line["job"], line["error"], line["means"]) == ("job", "odd", "nothing")
        assert (line["failures"], line["again_seconds"]) == (1, PAUSE_SECONDS_MIN)
        assert line["exc_info"].__traceback__.tb_next is not None

    @virtual
    async def test_the_pause_grows_up_to_the_period(self) -> None:
        work = failing()
        async with runner() as background:
            background.register(periodic(work))
            await asyncio.sleep(10 * PERIOD)
        pauses = [later - before for before, later in zip(work.begun, work.begun[1:], strict=False)]
        assert pauses[:6] == EXACT([0.5, 1, 2, 4, PERIOD, PERIOD], abs=ROUNDING)

    @virtual
    async def test_without_a_period_it_grows_up_to_a_limit(self) -> None:
        work = failing()
        async with runner() as background:
            background.register(Job("job", work, "-"))
            await asyncio.sleep(20 * PAUSE_SECONDS_MAX)
        assert work.begun[-1] - work.begun[-2] == EXACT(PAUSE_SECONDS_MAX, abs=ROUNDING)
        assert len(work.begun) < 40

    @pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
    def test_pauses_are_spread(self, chance: float) -> None:
        @virtual
        async def first_pause() -> None:
            work = failing(1)
            async with runner(chance=lambda: chance) as background:
                background.register(periodic(work))
                await asyncio.sleep(2 * PERIOD)
            waited = PAUSE_SECONDS_MIN * (1 - PAUSE_JITTER * chance)
            assert work.begun[1] - work.begun[0] == EXACT(waited, abs=ROUNDING)

        first_pause()

    @virtual
    async def test_the_same_failure_again_is_told_without_its_traceback(self) -> None:
        errors = iter([ValueError("odd"), ValueError("odd"), ValueError("other"), OSError("other")])

        async def act(_: int) -> None:
            raise next(errors)

        with logged("background.failed") as lines:
            async with runner() as background:
                background.register(periodic(Worked(act)))
                await asyncio.sleep(PERIOD + 5)
        assert [("exc_info" in line) for line in lines] == [True, False, True, True]
        assert [line["failures"] for line in lines] == [1, 2, 3, 4]

    @virtual
    async def test_its_end_is_told_and_the_next_one_begins_anew(self) -> None:
        work = failing(1, 2, 3, 5)
        with capture_logs() as logs:
            async with runner() as background:
                background.register(periodic(work))
                await asyncio.sleep(4 * PERIOD)
                counts = background.counts["job"]
        told = [(line["event"], line["failures"]) for line in logs]
        fail, well = "background.failed", "background.recovered"
        assert told == [(fail, 1), (fail, 2), (fail, 3), (well, 3), (fail, 1), (well, 1)]
        assert ["exc_info" in line for line in logs] == [True, False, False, False, True, False]
        assert work.begun[5] - work.begun[4] == EXACT(PAUSE_SECONDS_MIN, abs=ROUNDING)
        assert (counts.failures, counts.failures_in_a_row, counts.reason) == (4, 0, "")

    @virtual
    async def test_a_missed_limit_is_one_and_shows_where_it_hung(self) -> None:
        work = lasting(1e6)
        with logged("background.failed") as lines:
            async with runner() as background:
                background.register(periodic(work))
                await asyncio.sleep(PERIOD + LIMIT + 0.1)
        (line,) = lines
        assert line["error"] == "it was not done in 2 s"
        assert work.ended == EXACT([PERIOD + LIMIT], abs=ROUNDING)
        assert isinstance(line["exc_info"].__cause__, asyncio.CancelledError)
        assert line["exc_info"].__cause__.__traceback__ is not None

    @virtual
    async def test_one_that_does_not_heed_its_cancelling_is_waited_for(self) -> None:
        async def stubborn(_: int) -> None:
            for _ in range(3):
                try:
                    await asyncio.sleep(10 * CANCEL_SECONDS)
                except asyncio.CancelledError:
                    continue

        work = Worked(stubborn)
        with logged("background.stuck") as lines:
            async with runner() as background:
                background.register(periodic(work))
                await asyncio.sleep(PERIOD + 100)
                for begun, ended in zip(work.begun[1:], work.ended, strict=False):
                    assert begun >= ended, "two runs of it at once"
        assert lines[0]["job"] == "job"
        *_, place, _ = lines[0]["where"]
        assert place.startswith(f"{__file__}:")
        assert place.endswith("stubborn")

    @virtual
    async def test_what_should_never_end_and_does_is_begun_again(self) -> None:
        work = lasting(1)
        with logged("background.failed") as lines:
            async with runner() as background:
                background.register(Job("job", work, "-"))
                await asyncio.sleep(3)
        assert work.begun == EXACT([0.0, 1 + PAUSE_SECONDS_MIN], abs=ROUNDING)
        assert lines[0]["error"] == "it ended by itself"

    @virtual
    async def test_what_ran_for_long_is_begun_again_soon(self) -> None:
        async def act(turn: int) -> None:
            await asyncio.sleep(SETTLED_SECONDS if turn == 8 else 0)
            raise OSError("gone")

        work = Worked(act)
        async with runner() as background:
            background.register(Job("job", work, "-"))
            await asyncio.sleep(sum((0.5, 1, 2, 4, 8, 16, 30)) + SETTLED_SECONDS + 0.1)
            assert background.counts["job"].failures == 8
            assert background.counts["job"].failures_in_a_row == 1
            await asyncio.sleep(PAUSE_SECONDS_MIN + 0.1)
        assert work.begun[8] - work.ended[7] == EXACT(PAUSE_SECONDS_MIN, abs=ROUNDING)

    @virtual
    async def test_several_at_once_are_one(self) -> None:
        """Work with a TaskGroup of its own raises groups."""

        async def act(_: int) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing(1)())

        async with runner() as background:
            background.register(periodic(Worked(act)))
            await asyncio.sleep(PERIOD + 0.1)
            assert background.counts["job"].failures == 1


class TestBrokenInvariants:
    @virtual
    async def test_one_ends_everything(self) -> None:
        other = lasting(1e6)
        with pytest.RaisesGroup(pytest.RaisesExc(AssertionError, match="two and two")):
            async with runner() as background:
                background.register(Job("other", other, "-"))
                background.register(
                    periodic(failing(2, error=lambda: AssertionError("two and two")))
                )
                await asyncio.sleep(1e6)
        assert len(other.ended) == 1

    @virtual
    async def test_also_in_a_group(self) -> None:
        async def act(_: int) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(failing(1)())
                group.create_task(failing(1, error=lambda: AssertionError("five"))())

        with pytest.RaisesGroup(pytest.RaisesGroup(ValueError, AssertionError)):
            async with runner() as background:
                background.register(periodic(Worked(act)))
                await asyncio.sleep(1e6)


class TestEnd:
    @virtual
    async def test_everything_ends_at_once(self) -> None:
        works = [lasting(1e6) for _ in range(3)]
        async with runner() as background:
            for number, work in enumerate(works):
                background.register(Job(str(number), work, "-"))
            background.register(periodic(failing()))
            await asyncio.sleep(PERIOD + 3)
            before = now()
        assert now() - before < ROUNDING
        assert [len(work.ended) for work in works] == [1, 1, 1]

    @virtual
    async def test_an_error_of_what_is_within_comes_through_as_it_is(self) -> None:
        with pytest.raises(Unreachable):  # noqa: PT012  it is what is within that raises
            async with runner() as background:
                background.register(Job("job", lasting(1e6), "-"))
                raise Unreachable("no")

    async def test_also_when_a_thread_hangs(self) -> None:
        go_on = threading.Event()
        clock = SystemClock()
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.to_thread(go_on.wait, 20)

        background = Background(
            MemoryLeases(), "a", leads=lambda: True, clock=clock, chance=lambda: 0.0
        )
        async with background:
            background.register(Job("job", hang, "-"))
            await begun.wait()
            before = clock.monotonic()
        took = clock.monotonic() - before
        go_on.set()
        assert took < 5


class TestServers:
    @virtual
    async def test_one_worker_of_a_server_does_it(self) -> None:
        leading = "a"
        works = {name: Worked(nothing) for name in "ab"}
        async with (
            runner(leads=lambda: leading == "a") as a,
            runner(leads=lambda: leading == "b") as b,
        ):
            a.register(periodic(works["a"], scope=Scope.SERVER))
            b.register(periodic(works["b"], scope=Scope.SERVER))
            await asyncio.sleep(3 * PERIOD + 1)
            assert [len(works[name].begun) for name in "ab"] == [3, 0]
            leading, before = "b", now()
            await asyncio.sleep(2 * PERIOD)
        assert len(works["a"].begun) == 3
        assert works["b"].begun[0] - before <= LOOK_SECONDS + ROUNDING


@dataclass
class Overlap:
    """Two servers that would do the same; `most` is how many were at it at once."""

    leases: MemoryLeases = field(default_factory=MemoryLeases)
    doing: list[str] = field(default_factory=list)
    most: int = 0
    fences: list[int] = field(default_factory=list)

    def job(self, background: Background, name: str, seconds: float, period: float | None) -> Job:
        async def work() -> None:
            self.doing.append(name)
            self.most = max(self.most, len(self.doing))
            self.fences.append(background.fence("job"))
            try:
                await asyncio.sleep(seconds)
            finally:
                self.doing.remove(name)

        return Job("job", work, "-", period, None if period is None else 1e5, Scope.CLUSTER)


class TestClusters:
    @virtual
    async def test_one_server_does_it(self) -> None:
        both = Overlap()
        async with runner(both.leases, "a") as a, runner(both.leases, "b") as b:
            a.register(both.job(a, "a", 1.0, PERIOD))
            b.register(both.job(b, "b", 1.0, PERIOD))
            await asyncio.sleep(10 * (PERIOD + 1) + 1)
            assert {a.counts["job"].runs, b.counts["job"].runs} == {10, 0}
        assert (both.most, set(both.fences)) == (1, {1})

    @virtual
    async def test_it_keeps_its_lease_while_it_works(self) -> None:
        both = Overlap()
        async with runner(both.leases, "a") as a, runner(both.leases, "b") as b:
            a.register(both.job(a, "a", 1e6, None))
            b.register(both.job(b, "b", 1e6, None))
            await asyncio.sleep(20 * LEASE_SECONDS)
        assert (both.most, both.fences) == (1, [1])

    @virtual
    async def test_at_a_clean_end_another_may_begin_at_once(self) -> None:
        both = Overlap()
        async with runner(both.leases, "b") as b:
            async with runner(both.leases, "a") as a:
                a.register(both.job(a, "a", 1e6, None))
                await asyncio.sleep(1)
            before = now()
            b.register(both.job(b, "b", 1e6, None))
            await asyncio.sleep(ROUNDING)
            assert both.doing == ["b"]
            assert now() - before < 1
        assert both.fences == [1, 2]

    @pytest.mark.parametrize("how", ["away", "hung"])
    def test_who_cannot_renew_stops_before_another_begins(self, how: str) -> None:
        @virtual
        async def cut_off() -> None:
            both = Overlap()
            async with runner(both.leases, "a") as a, runner(both.leases, "b") as b:
                a.register(both.job(a, "a", 1e6, None))
                await asyncio.sleep(1)
                b.register(both.job(b, "b", 1e6, None))
                await asyncio.sleep(RENEW_SECONDS + 1)
                getattr(both.leases, how).add("a")
                with logged("background.failed") as lines:
                    await asyncio.sleep(LEASE_SECONDS - MARGIN_SECONDS + ROUNDING)
                assert both.doing == [], "it goes on without a lease"
                assert lines[0]["error"] == "its lease could not be renewed in time"
                with pytest.raises(LeaseLost):
                    a.fence("job")
                await asyncio.sleep(2 * LEASE_SECONDS)
                assert both.doing == ["b"]
                assert (both.most, both.fences) == (1, [1, 2])
                getattr(both.leases, how).clear()

        cut_off()

    @virtual
    async def test_a_lease_that_is_another_s_ends_the_work(self) -> None:
        """Somebody took it out of the row: a restored database, a hand."""
        both = Overlap()
        async with runner(both.leases, "a") as a:
            a.register(both.job(a, "a", 1e6, None))
            await asyncio.sleep(1)
            both.leases.rows["job"] = LeaseRecord("job", "b", 1e9, 7)
            with logged("background.failed") as lines:
                await asyncio.sleep(RENEW_SECONDS)
            assert lines[0]["error"] == "another server has its lease"
            assert both.doing == []

    @virtual
    async def test_a_lease_taken_anew_is_not_the_one_that_was(self) -> None:
        both = Overlap()
        async with runner(both.leases, "a") as a:
            a.register(both.job(a, "a", 1e6, None))
            await asyncio.sleep(1)
            both.leases.rows["job"] = LeaseRecord("job", "b", 0.0, 2)
            await asyncio.sleep(RENEW_SECONDS + 1)
            assert both.fences == [1, 3]

    @virtual
    async def test_while_the_database_is_away_it_does_not_run(self) -> None:
        both = Overlap(MemoryLeases(away={"a"}))
        with capture_logs() as logs:
            async with runner(both.leases, "a") as a:
                a.register(both.job(a, "a", 1.0, PERIOD))
                await asyncio.sleep(10 * PERIOD)
                assert (a.counts["job"].runs, a.counts["job"].failures) == (0, 0)
                with pytest.raises(LeaseLost):
                    a.fence("job")
                both.leases.away.clear()
                await asyncio.sleep(2 * PERIOD)
                assert a.counts["job"].runs > 0
        assert logs == []

    @virtual
    async def test_a_release_that_fails_is_told(self) -> None:
        both = Overlap()
        with logged("background.kept") as lines:
            async with runner(both.leases, "a") as a:
                a.register(both.job(a, "a", 1e6, None))
                await asyncio.sleep(1)
                both.leases.away.add("a")
        assert lines[0]["reason"] == "the database is away"

    @virtual
    async def test_what_fails_may_be_done_by_another_server(self) -> None:
        leases, good = MemoryLeases(), Worked(nothing)
        async with runner(leases, "a") as a, runner(leases, "b") as b:
            a.register(periodic(failing(), scope=Scope.CLUSTER))
            await asyncio.sleep(PERIOD + 1)
            b.register(periodic(good, scope=Scope.CLUSTER))
            await asyncio.sleep(10 * LEASE_SECONDS)
        assert good.begun == [], "it fails in time to keep its lease"
