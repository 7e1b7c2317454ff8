"""The one runner of background work: whatever a worker does again and again, or all the time.

A piece of work is registered with its name, period, time limit, scope and what its failure means.
A failure is any exception, a missed limit, or the end of what should never end. It is logged with
its traceback, counted, and tried again after a pause that grows; it never ends the process. Only a
broken invariant (AssertionError) does that: then nothing this process believes is sure, and the
supervisor makes another.

    due ──not ours to do──> due, later
     │
     └──> running ──returned──────> due, after its period
             ├──raised────────────> due, after a pause
             ├──past its limit────> cancelled ──ended──> due, after a pause
             └──lease is running out: likewise

Two runs of one job never overlap: one that does not heed its cancelling is waited for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import CoroutineType, TracebackType
from typing import Final, Protocol, Self

from treescale.clock import Clock
from treescale.errors import Failed
from treescale.log import get_logger
from treescale.server.processes.leader_lock import LEASE_SECONDS, Tenure

PAUSE_SECONDS_MIN: Final = 0.5
"""After a first failure; doubled with each that follows."""
PAUSE_SECONDS_MAX: Final = 30.0
"""For what has no period; for the rest its period is the longest pause."""
PAUSE_JITTER: Final = 0.25
"""By up to this fraction a pause is shorter: servers must not all try again at once."""
SETTLED_SECONDS: Final = 60.0
"""What ran for so long did not fail because of what made it fail before."""
LOOK_SECONDS: Final = 5.0
"""How often one that does not lead looks whether it does now."""
CANCEL_SECONDS: Final = 1.0
"""How long a cancelled run may take to end before it is said that it does not."""
PLACES_MAX: Final = 8
"""So many places are told of a run that hangs."""
ASK_SECONDS_MAX: Final = 5.0
"""For one question about a lease."""

Work = Callable[[], Awaitable[object]]


class Scope(Enum):
    """Who does it."""

    WORKER = "each worker"
    SERVER = "one worker of each server"
    CLUSTER = "one worker of one server of all, by a lease of the job's name"


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of background work."""

    name: str
    work: Work
    meaning: str
    """What it means for people that it fails: said with each failure."""
    period_seconds: float | None = None
    """From the end of a run to the beginning of the next. None: a run goes on until cancelled."""
    limit_seconds: float | None = None
    """How long a run may take; what has a period has a limit."""
    scope: Scope = Scope.WORKER
    at_once: bool = False
    """Whether what has a period begins with a run, and not with a pause."""

    def __post_init__(self) -> None:
        """Assert that it is complete."""
        assert self.limit_seconds or not self.period_seconds, f"{self.name} has no time limit"

    @property
    def pause_seconds_max(self) -> float:
        """Return after how long a failed run is tried again at the latest.

        A failure makes work rarer than success would at no time.
        """
        return self.period_seconds or PAUSE_SECONDS_MAX


@dataclass(slots=True)
class Counts:
    """What was seen of one job in this process. Times are monotonic seconds."""

    registered: float
    runs: int = 0
    """Begun, in this process; a job that others do is not run here."""
    failures: int = 0
    failures_in_a_row: int = 0
    succeeded: float | None = None
    """When a run last ended well. What has no period never ends well."""
    running_since: float | None = None
    reason: str = ""
    """Why the last run failed; "" when it did not."""


class LeaseLost(Failed):
    """The work was stopped, because others may soon take it to be theirs."""


class _Ended(Failed):
    """What runs until it is cancelled has returned."""


class _Late(Failed):
    """A run was cancelled at its limit."""


@dataclass(slots=True)
class _Run:
    """One run of a job: a task that raises nothing."""

    work: Work
    error: Exception | None = None
    stopped: asyncio.CancelledError | None = None
    """Where it was when it was cancelled."""

    async def go(self) -> None:
        """Do the work, and keep what it raised."""
        try:
            await self.work()
        except asyncio.CancelledError as stopped:
            self.stopped = stopped
            raise
        except Exception as error:  # noqa: BLE001  the runner tells it, counts it and tries again
            self.error = error


@dataclass(slots=True)
class _Known:
    """What is known of a registered job."""

    job: Job
    counts: Counts
    tenure: Tenure | None = None
    told: tuple[type, str] | None = None
    """The failure whose traceback was logged last."""
    pause: float = field(default=PAUSE_SECONDS_MIN)


class LeaseHolding(Protocol):
    """What `metadata.work.Leases` does, as far as it is asked here; in tests, memory does it."""

    async def hold(self, name: str, holder: str, seconds: float) -> int | None:
        """Take or renew a lease; return its fence, None when another has it."""
        ...

    async def release(self, name: str, holder: str) -> None:
        """End it, unless another has it."""
        ...


class Background:
    """Runs what is registered; an async context manager, whose end ends it all.

    `leads` says whether this worker has its server's lead; `holder` is who this worker is in
    `leases`, a text that no other process has; `chance` gives 0 up to 1 from a seeded source;
    `failed` hears the name of a job whose run failed.
    """

    def __init__(
        self,
        leases: LeaseHolding,
        holder: str,
        *,
        leads: Callable[[], bool],
        clock: Clock,
        chance: Callable[[], float],
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._leases = leases
        self._told_failed = failed
        self._holder = holder
        self._leads = leads
        self._clock = clock
        self._chance = chance
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: dict[str, _Known] = {}
        self._log = get_logger()

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cancel everything and wait for its end."""
        for task in self._tasks:
            task.cancel()
        # Told of no exception, the group adds none of its own.
        await self._group.__aexit__(None, None, None)

    @property
    def counts(self) -> Mapping[str, Counts]:
        """Return what was seen of each job, by name."""
        return {name: known.counts for name, known in self._known.items()}

    def register(self, job: Job) -> asyncio.Task[None]:
        """Run it from now on, until the task that is returned is cancelled."""
        known = _Known(job, Counts(self._clock.monotonic()))
        self._known[job.name] = known
        task = self._group.create_task(self._keep(known), name=job.name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def fence(self, name: str) -> int:
        """Return the fence of a CLUSTER job that runs here; raises LeaseLost when it may not."""
        known = self._known.get(name)
        tenure = known.tenure if known is not None else None
        if tenure is None or self._clock.monotonic() >= tenure.ends:
            raise LeaseLost(f"{name} is not this server's to do now")
        return tenure.fence

    async def _keep(self, known: _Known) -> None:
        """Run a job again and again."""
        job = known.job
        try:
            await asyncio.sleep(0 if job.at_once else job.period_seconds or 0)
            while True:  # noqa: ASYNC110  each turn says how long to wait for the next
                await asyncio.sleep(await self._turn(known))
        finally:
            if self._known.get(job.name) is known:
                del self._known[job.name]
            await self._release(known)

    async def _turn(self, known: _Known) -> float:
        """Do what is due; return after how many seconds something is due again.

        What goes wrong around a run, with the lead or the lease, is a failure of the job as well.
        """
        try:
            return await self._do_due(known)
        except Exception as error:
            if _is_broken_invariant(error):
                raise
            return self._failed(known, error)

    async def _do_due(self, known: _Known) -> float:
        job, usual = known.job, known.job.period_seconds or LOOK_SECONDS
        if job.scope is not Scope.WORKER and not self._leads():
            return min(usual, LOOK_SECONDS)
        if job.scope is Scope.CLUSTER:
            known.tenure = await self._hold(job, LEASE_SECONDS)
            if known.tenure is None:
                return min(usual, LEASE_SECONDS)
        error = await self._run(known)
        if error is not None:
            return self._failed(known, error)
        self._succeeded(known)
        if job.scope is Scope.CLUSTER:  # nobody else begins it before we do again
            known.tenure = await self._hold(job, usual + LEASE_SECONDS)
        return usual

    async def _run(self, known: _Known) -> Exception | None:
        """Run the job once, within its limits; return what went wrong."""
        job, counts, begun = known.job, known.counts, self._clock.monotonic()
        counts.runs += 1
        counts.running_since = begun
        run = _Run(job.work)
        task = self._group.create_task(run.go(), name=job.name)
        try:
            late = await self._watch(known, task, begun)
            if late is not None:
                await self._stop(job, task)
                late.__cause__ = run.stopped
        finally:
            task.cancel()
            counts.running_since = None
        if run.error is not None and _is_broken_invariant(run.error):
            raise run.error
        if begun + SETTLED_SECONDS <= self._clock.monotonic():
            known.pause, counts.failures_in_a_row = PAUSE_SECONDS_MIN, 0
        if late is None and run.error is None and job.period_seconds is None:
            return _Ended("it ended by itself")
        return late or run.error

    async def _watch(
        self, known: _Known, task: asyncio.Task[None], begun: float
    ) -> Exception | None:
        """Wait for the end of a run, and keep its lease; return why it must be stopped, if so."""
        end = begun + (known.job.limit_seconds or float("inf"))
        renewal: asyncio.Task[None] | None = None
        while not task.done():
            now, due = self._clock.monotonic(), end
            late = self._why_late(known, now, end)
            if late is not None:
                return late
            if known.tenure is not None:
                if now >= known.tenure.renew_at and (renewal is None or renewal.done()):
                    renewal = self._group.create_task(self._renew(known))
                asking = renewal is not None and not renewal.done()
                due = min(end, known.tenure.ends if asking else known.tenure.renew_at)
            await asyncio.wait(
                {task} if renewal is None or renewal.done() else {task, renewal},
                timeout=None if due == float("inf") else due - now,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if renewal is not None:
            renewal.cancel()
        return None

    @staticmethod
    def _why_late(known: _Known, now: float, end: float) -> Exception | None:
        """Return why a run must not go on, if so."""
        job, tenure = known.job, known.tenure
        if now >= end:
            return _Late(f"it was not done in {job.limit_seconds:g} s")
        if job.scope is Scope.CLUSTER and tenure is None:
            return LeaseLost("another server has its lease")
        if tenure is not None and now >= tenure.ends:
            return LeaseLost("its lease could not be renewed in time")
        return None

    async def _stop(self, job: Job, task: asyncio.Task[None]) -> None:
        """Cancel a run and wait for its end: the next must not begin beside it."""
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_SECONDS)
        if not task.done():
            self._log.error("background.stuck", job=job.name, where=_where(task), means=job.meaning)
            await asyncio.wait({task})

    async def _hold(self, job: Job, seconds: float) -> Tenure | None:
        """Take or renew the job's lease; None when another has it, or the database is away."""
        asked = self._clock.monotonic()
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                fence = await self._leases.hold(job.name, self._holder, seconds)
        except (Failed, TimeoutError):  # it is away: whoever watches over it says so
            return None
        return None if fence is None else Tenure(fence, asked)

    async def _renew(self, known: _Known) -> None:
        """Ask for more time; without an answer nothing changes, and soon it is asked again."""
        asked, tenure = self._clock.monotonic(), known.tenure
        assert tenure is not None, "it runs under a lease"
        try:
            async with asyncio.timeout(ASK_SECONDS_MAX):
                fence = await self._leases.hold(known.job.name, self._holder, LEASE_SECONDS)
        except (Failed, TimeoutError):
            await asyncio.sleep(PAUSE_SECONDS_MIN)
            return
        except Exception as error:
            if _is_broken_invariant(error):
                raise
            # It runs until its lease does; what then is told of it does not say why.
            self._log.warning("background.unrenewed", job=known.job.name, exc_info=error)
            await asyncio.sleep(PAUSE_SECONDS_MIN)
            return
        # Another's, or ours anew after somebody may have had it: what runs must not go on.
        known.tenure = Tenure(fence, asked) if fence == tenure.fence else None

    async def _release(self, known: _Known) -> None:
        """Let another server do it at once."""
        if known.tenure is None:
            return
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                await self._leases.release(known.job.name, self._holder)
        except Exception as error:
            if _is_broken_invariant(error):
                raise
            self._log.info("background.kept", job=known.job.name, reason=_text(error))

    def _succeeded(self, known: _Known) -> None:
        counts = known.counts
        if counts.failures_in_a_row:
            self._log.info(
                "background.recovered", job=known.job.name, failures=counts.failures_in_a_row
            )
        counts.succeeded = self._clock.monotonic()
        counts.failures_in_a_row, counts.reason = 0, ""
        known.told, known.pause = None, PAUSE_SECONDS_MIN

    def _failed(self, known: _Known, error: Exception) -> float:
        """Count a failure and tell of it; return after how many seconds to try again."""
        job, counts = known.job, known.counts
        counts.failures += 1
        self._told_failed(job.name)
        counts.failures_in_a_row += 1
        counts.reason = _text(error)
        longest = job.pause_seconds_max
        pause = min(known.pause, longest) * (1 - PAUSE_JITTER * self._chance())
        known.pause = min(2 * known.pause, longest)
        kind = type(error), counts.reason
        # The traceback of a failure that repeats itself says nothing new.
        trace = error if kind != known.told else None
        known.told = kind
        self._log.warning(
            "background.failed",
            job=job.name,
            error=counts.reason,
            means=job.meaning,
            failures=counts.failures_in_a_row,
            again_seconds=round(pause, 2),
            **({} if trace is None else {"exc_info": trace}),
        )
        return pause


def _is_broken_invariant(error: Exception) -> bool:
    """Say whether it is an AssertionError, or has one in it."""
    if isinstance(error, ExceptionGroup):
        return error.subgroup(AssertionError) is not None
    return isinstance(error, AssertionError)


def _where(task: asyncio.Task[None]) -> list[str]:
    """Return the places at which a task waits, the innermost last."""
    places: list[str] = []
    waits: object = task.get_coro()
    while isinstance(waits, CoroutineType) and waits.cr_frame is not None:
        code, line = waits.cr_frame.f_code, waits.cr_frame.f_lineno
        places.append(f"{code.co_filename}:{line} {code.co_qualname}")
        waits = waits.cr_await
    return places[-PLACES_MAX:]


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
