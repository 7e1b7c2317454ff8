"""What was asked of one store, carried out beside its walk: repair, verify, check, collect.

The rows of `jobs` say what is wanted and how far it is. A repair has the walk look at everything
now, and waits until it has; the others read names, and bytes, by themselves. All open jobs of a
store get on in turns, so that a short one does not wait for a long one. A process that dies loses
nothing but time: the next one begins again. Memory is bounded by a batch of partitions.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from typing import Final

from treescale.chunks.format.placement import PARTITIONS
from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, Failed, StoreUnusable
from treescale.log import get_logger
from treescale.maintenance.collector import Collector, Cycle, note
from treescale.maintenance.planning.findings import Findings, Kind, packed
from treescale.maintenance.planning.planner import Plan
from treescale.maintenance.planning.tally import Tally
from treescale.maintenance.walk import Walk
from treescale.metadata.database import Database
from treescale.metadata.records import JobState, StoreJob

LOOK_SECONDS: Final = 2.0
"""Between two looks at what is asked of the store."""
TURN_SECONDS: Final = 0.5
"""Of one job, before the next has its turn."""
REPORT_SECONDS: Final = 1.0
"""Between two reports of what changes."""
ALIVE_SECONDS: Final = 5.0
"""Between two reports of what does not: whoever follows the job sees that it goes on."""
ATTEMPTS_MAX: Final = 3
"""Looks in a row that leave something undone, after which a repair ends without it."""
ASKED_AT_ONCE: Final = 500
KEPT_SECONDS: Final = 7 * 86_400.0
"""So long rows are kept, from when the work was asked for."""


@dataclass(slots=True)
class _Doing:
    """A job under way."""

    part: StoreJob
    before: Tally
    """What the walk had done when it began."""
    findings: Findings = field(default_factory=Findings)
    done: int = 0
    read: int = 0
    """Bytes."""
    steps: AsyncGenerator[bool, None] | None = None
    reported: StoreJob | None = None
    reported_at: float = float("-inf")


class StoreJobs:
    """The jobs of one walk's store; used from its event loop."""

    def __init__(
        self,
        walk: Walk,
        collector: Collector,
        database: Database,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._walk = walk
        self._collector = collector
        self._database = database
        self._clock = clock
        self._sleep = sleep
        self._doing: dict[str, _Doing] = {}
        self._look_at = float("-inf")
        self._log = get_logger()

    async def run(self) -> None:
        """Carry out what is asked until cancelled; raises DatabaseUnavailable."""
        while True:
            if not await self.turn():
                await self._sleep(LOOK_SECONDS if not self._doing else TURN_SECONDS)

    async def turn(self) -> bool:
        """Get on with each open job for a moment; say whether any can go on at once."""
        if not self._walk.is_well:
            return False
        await self._look()
        return any([await self._get_on(doing) for doing in list(self._doing.values())])

    async def _look(self) -> None:
        """Begin what is new, oldest first, and leave what nobody wants any more."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        open_parts = await self._database.jobs.open_of(self._walk.store_id)
        self._look_at = now + LOOK_SECONDS
        wanted = {part.job_id for part in open_parts}
        for job_id in self._doing.keys() - wanted:
            await self._leave(self._doing.pop(job_id))
        for part in open_parts:
            if part.job_id not in self._doing:
                self._doing[part.job_id] = self._begun(part)

    def _begun(self, part: StoreJob) -> _Doing:
        self._log.info("job.begun", store=part.store_id, kind=part.kind, job=part.job_id)
        doing = _Doing(replace(part, state=JobState.RUNNING, total=PARTITIONS), self._walk.spent)
        doing.steps = self._steps(doing)
        return doing

    def _steps(self, doing: _Doing) -> AsyncGenerator[bool, None] | None:
        """Return what does the job bit by bit; None when this version does not know it.

        It yields whether it can go on at once.
        """
        everything = range(PARTITIONS)
        does: Mapping[str, Callable[[], AsyncGenerator[bool, None]]] = {
            Kind.REPAIR: lambda: self._repair(doing),
            Kind.VERIFY: lambda: self._verify(doing),
            Kind.CHECK: lambda: self._check(doing, everything, read=False),
            Kind.CHECK_BYTES: lambda: self._check(doing, everything, read=True),
            Kind.COLLECT: lambda: self._collect(doing, Cycle(asked_by=doing.part.actor)),
            Kind.COLLECT_CHECK: lambda: self._collect(doing, Cycle(dry=True)),
            Kind.COLLECT_RESUME: lambda: self._collect(
                doing, Cycle(resume=True, asked_by=doing.part.actor)
            ),
        }
        begin = does.get(doing.part.kind)
        return None if begin is None else begin()

    async def _get_on(self, doing: _Doing) -> bool:
        if doing.steps is None:
            doing.findings.note_reason(f"its server does not know the work {doing.part.kind!r}")
            await self._end(doing, JobState.FAILED)
            return False
        until, more = self._clock.monotonic() + TURN_SECONDS, True
        try:
            while more and self._clock.monotonic() < until:
                more = await anext(doing.steps)
                await self._report(doing)
        except StopAsyncIteration:
            await self._end(doing, JobState.DONE)
        except DatabaseUnavailable:
            self._doing.pop(doing.part.job_id, None)  # it begins again
            raise
        except Failed as error:
            doing.findings.note_reason(str(error))
            await self._end(doing, JobState.FAILED)
        else:
            return more
        return True

    async def _end(self, doing: _Doing, state: JobState) -> None:
        doing.part = replace(doing.part, state=state)
        await self._report(doing, over=True)
        self._doing.pop(doing.part.job_id, None)
        self._log.info(
            "job.ended",
            store=doing.part.store_id,
            kind=doing.part.kind,
            job=doing.part.job_id,
            whole=doing.findings.is_whole,
        )

    async def _leave(self, doing: _Doing) -> None:
        if doing.steps is not None:
            await doing.steps.aclose()

    async def _report(self, doing: _Doing, *, over: bool = False) -> None:
        """Write how far it is, not too often."""
        waited = self._clock.monotonic() - doing.reported_at
        if waited < REPORT_SECONDS and not over:
            return
        part = self._told(doing)
        if part == doing.reported and waited < ALIVE_SECONDS and not over:
            return
        await self._database.jobs.report(part)
        doing.reported, doing.reported_at = part, self._clock.monotonic()

    def _told(self, doing: _Doing) -> StoreJob:
        found, moved = doing.findings, doing.read
        if doing.part.kind in (Kind.REPAIR, Kind.VERIFY):
            spent = self._walk.spent
            found.fetched = spent.fetched - doing.before.fetched
            found.given = spent.given - doing.before.given
            found.trimmed = spent.trimmed - doing.before.trimmed
            moved += spent.moved - doing.before.moved
        return replace(doing.part, done=doing.done, moved=moved, problems=packed(found))

    # Doing

    async def _repair(self, doing: _Doing) -> AsyncGenerator[bool, None]:
        self._hurry_all()
        self._walk.asked_by = doing.part.actor
        async for more in self._settling(doing):
            yield more

    async def _verify(self, doing: _Doing) -> AsyncGenerator[bool, None]:
        self._hurry_all()
        self._walk.asked_by = doing.part.actor
        any_lost = await self._is_any_lost()
        here = await self._walk.partitions_here()
        for number in range(PARTITIONS):
            if number in here:
                async for more in self._read_back(doing, number, any_lost=any_lost):
                    yield more
            else:
                self._walk.progress.verify(number, self._clock.now())
            # What the walk has still to do for it counts as well, at the end.
            doing.done = min(number + 1, PARTITIONS - 1)
        # A pull may have met a bad copy, and taken it away, since the names were looked at.
        self._hurry_all()
        async for more in self._settling(doing):
            yield more

    async def _collect(self, doing: _Doing, cycle: Cycle) -> AsyncGenerator[bool, None]:
        steps = self._collector.steps(cycle)
        try:
            async for more in steps:
                doing.done = cycle.done
                yield more
        finally:
            await steps.aclose()
        doing.done = PARTITIONS
        note(doing.findings, cycle, doing.part.store_id)

    def _hurry_all(self) -> None:
        self._walk.refusal = ""
        self._walk.progress.hurry_all()

    async def _settling(self, doing: _Doing) -> AsyncIterator[bool]:
        """Wait until the walk has done all that can be done now; then find out what is left."""
        settled: Sequence[bool] = ()
        while not settled or not all(settled):
            settled = self._walk.progress.settled(ATTEMPTS_MAX)
            doing.done = max(doing.done, min(sum(settled), PARTITIONS - 1))
            yield False
        doing.findings.note_reason(self._walk.refusal)
        left = self._walk.progress.left()
        async for more in self._check(doing, left, read=False):
            yield more
        doing.done = PARTITIONS

    # Looking

    async def _check(
        self, doing: _Doing, numbers: Iterable[int], *, read: bool
    ) -> AsyncGenerator[bool, None]:
        """Count what is to be done for these partitions, and do nothing of it."""
        any_lost, left = await self._is_any_lost(), deque(numbers)
        while left:
            batch = [left.popleft() for _ in range(min(len(left), self._walk.batch))]
            try:
                plans = await self._walk.plans(batch)
            except StoreUnusable as error:
                self._note_unlooked(doing, len(batch), error)
                plans = {}
            for number, plan in plans.items():
                await self._count(doing, plan, any_lost=any_lost)
                yield True
                if read and (plan.held or plan.surplus or plan.unnamed):
                    named = frozenset((*plan.held, *plan.surplus))
                    reading = self._read_back(doing, number, any_lost=any_lost, named=named)
                    async for more in reading:
                        yield more
                doing.done = min(doing.done + 1, PARTITIONS)
            yield True

    async def _count(self, doing: _Doing, plan: Plan, *, any_lost: bool) -> None:
        found = doing.findings
        found.held += len(plan.held)
        found.missing += len(plan.fetch)
        found.missing_bytes += sum(length for _, length in plan.fetch)
        found.surplus += len(plan.surplus)
        found.surplus_bytes += plan.surplus_bytes
        found.unnamed += plan.unnamed
        await self._seek(doing, [chunk for chunk, _ in plan.fetch])
        if any_lost:
            await self._welcome([*plan.held, *plan.surplus])

    async def _read_back(
        self,
        doing: _Doing,
        number: int,
        *,
        any_lost: bool,
        named: Collection[bytes] | None = None,
    ) -> AsyncIterator[bool]:
        """Read back a partition's copies; a bad one counts if a row names it, as `named` says."""
        good: list[bytes] = []
        try:
            async for chunk, size in self._walk.read_back(number):
                if size is not None:
                    doing.findings.read += 1
                    doing.read += size
                    good += [chunk] if any_lost else []
                elif await self._is_named(chunk, named):
                    doing.findings.note_rotten(chunk)
                    if named is not None:  # else the walk looks for it, and what is left is told of
                        await self._seek(doing, [chunk])
                yield True
        except StoreUnusable as error:
            self._note_unlooked(doing, 1, error)
        if any_lost:
            await self._welcome(good)

    async def _is_named(self, chunk: bytes, named: Collection[bytes] | None) -> bool:
        if named is not None:
            return chunk in named
        return bool(await self._database.references.among([chunk]))

    def _note_unlooked(self, doing: _Doing, partitions: int, error: Failed) -> None:
        doing.findings.unlooked += partitions
        doing.findings.note_reason(str(error))
        doing.done = min(doing.done + partitions, PARTITIONS)

    # What is nowhere

    async def _is_any_lost(self) -> bool:
        return bool((await self._database.lost.overview(0)).chunks)

    async def _seek(self, doing: _Doing, chunks: Sequence[bytes]) -> None:
        """Find out which of these, of which there is no copy here, nobody has."""
        for start in range(0, len(chunks), ASKED_AT_ONCE):
            page = chunks[start : start + ASKED_AT_ONCE]
            try:
                there = await self._walk.cluster.have(page)
            except DatabaseUnavailable:
                raise
            except Failed as error:
                doing.findings.note_reason(str(error))
                there = [False] * len(page)
            for chunk, has in zip(page, there, strict=True):
                if not has:
                    await self._seek_further(doing, chunk)

    async def _seek_further(self, doing: _Doing, chunk: bytes) -> None:
        try:
            if await self._walk.cluster.is_lost(chunk):
                doing.findings.note_lost(chunk)
        except DatabaseUnavailable:
            raise
        except Failed as error:  # somebody who might have it cannot be asked
            doing.findings.note_unfound(chunk)
            doing.findings.note_reason(str(error))

    async def _welcome(self, chunks: Sequence[bytes]) -> None:
        """Look closely at those that are noted as lost, and are here: a disk is back."""
        for chunk in await self._database.lost.among(chunks):
            try:
                await self._walk.cluster.is_lost(chunk)
            except DatabaseUnavailable:
                raise
            except Failed:
                continue  # it stays noted
