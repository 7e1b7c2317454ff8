"""Asking all stores of a cluster for work, and following it until it is done or cannot be.

Only rows are written and read, so that whoever asks may be anywhere, and may go away: the servers
go on. A store of which nothing is heard is waited for a bounded time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from treescale.clock import Clock
from treescale.cluster.queries import read_status
from treescale.cluster.status import ClusterStatus, Condition, StoreView
from treescale.maintenance.planning.findings import Findings, Kind, total, unpacked
from treescale.metadata.database import Database
from treescale.metadata.records import JobState, StoreJob

POLL_SECONDS: Final = 0.5
STATUS_SECONDS: Final = 2.0
"""Between two looks at who is alive."""
SILENT_SECONDS: Final = 20.0
"""So long a store is waited for whose server, or disk, does not answer: it may just be starting."""
STUCK_SECONDS: Final = 180.0
"""So long one is waited for whose server lives, and says nothing of the work."""
_OPEN: Final = (JobState.WAITING, JobState.RUNNING)
_ALIVE: Final = (Condition.UP, Condition.FULL)


@dataclass(frozen=True, slots=True)
class Unasked:
    """A store that could not be asked."""

    store_id: str
    label: str
    """What people call it."""
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    job_id: str
    parts: tuple[StoreJob, ...]
    """Those that came to an end, by store."""
    labels: Mapping[str, str]
    """What people call each store."""
    unasked: tuple[Unasked, ...]

    @property
    def findings(self) -> Findings:
        """Return those of all stores together."""
        return total(unpacked(part.problems) for part in self.parts)


class Watcher(Protocol):
    """Who looks on."""

    def show(self, parts: Sequence[StoreJob]) -> None:
        """Hear how far the stores are."""
        ...

    def say(self, sentence: str) -> None:
        """Hear what is out of the ordinary, once each."""
        ...


@dataclass(slots=True)
class _Heard:
    """What was last heard of a store's part, and when, by our monotonic clock."""

    part: StoreJob
    at: float


class Following:
    """One job, asked of all stores."""

    def __init__(
        self,
        database: Database,
        watcher: Watcher,
        *,
        clock: Clock,
        here: Collection[str] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Follow nothing yet; `here` are the stores that this process walks itself."""
        self._database = database
        self._watcher = watcher
        self._clock = clock
        self._here = frozenset(here)
        self._sleep = sleep
        self._heard: dict[str, _Heard] = {}
        self._told: set[str] = set()

    async def run(self, job_id: str, kind: Kind, *, actor: str) -> Outcome:
        """Ask for it, and return what came of it."""
        seen = await self._settled()
        asked = [store.record.store_id for store in seen.stores]
        await self._database.jobs.begin(job_id, kind.value, asked, actor=actor)
        unasked = {each.store_id: each for each in [*_forgotten(seen), *await self._nobody(asked)]}
        look_at = self._clock.monotonic() + STATUS_SECONDS
        while True:
            parts, now = await self._database.jobs.parts(job_id), self._clock.monotonic()
            if now >= look_at:
                seen, look_at = await self._status(), now + STATUS_SECONDS
            self._hear(parts, now)
            self._watcher.show(parts)
            unasked |= self._given_up(seen, parts, now)
            if not [x for x in parts if x.state in _OPEN and x.store_id not in unasked]:
                break
            await self._sleep(POLL_SECONDS)
        await self._withdraw(kind, [part for part in parts if part.store_id in unasked])
        labels = {store.record.store_id: store.label for store in seen.stores}
        failed = [part for part in parts if part.state is JobState.FAILED]
        unasked = {part.store_id: _failed(part, labels) for part in failed} | unasked
        done = tuple(part for part in parts if part.state is JobState.DONE)
        return Outcome(job_id, done, labels, tuple(unasked[name] for name in sorted(unasked)))

    async def _settled(self) -> ClusterStatus:
        """Return how the cluster is as soon as its layout is of stores that it knows.

        One that was forgotten a moment ago is in it until a server has drawn the next one. Where
        this process walks itself no server runs that could.
        """
        until = self._clock.monotonic() + SILENT_SECONDS
        seen = await self._status()
        while _forgotten(seen) and not self._here and self._clock.monotonic() < until:
            await self._sleep(POLL_SECONDS)
            seen = await self._status()
        return seen

    async def _nobody(self, asked: Sequence[str]) -> list[Unasked]:
        """Return that nobody could be asked, if there are no stores although there are chunks."""
        if asked or not (await self._database.repositories.cluster_usage()).chunks:
            return []
        return [Unasked("", "the cluster", "no store of it is known, and chunks are referred to")]

    async def _status(self) -> ClusterStatus:
        return (await read_status(self._database, self._clock)).status

    def _hear(self, parts: Sequence[StoreJob], now: float) -> None:
        for part in parts:
            known = self._heard.get(part.store_id)
            if known is None or known.part != part:
                self._heard[part.store_id] = _Heard(part, now)

    def _given_up(
        self, seen: ClusterStatus, parts: Sequence[StoreJob], now: float
    ) -> Mapping[str, Unasked]:
        """Return the stores that are not waited for any more; say so of those that are silent."""
        views = {store.record.store_id: store for store in seen.stores}
        found = {}
        for part in parts:
            if part.state not in _OPEN:
                continue
            view, silent = views.get(part.store_id), now - self._heard[part.store_id].at
            why = "" if part.store_id in self._here else _silence(view)
            label = part.store_id if view is None else view.label
            if why and part.store_id not in self._told:
                self._told.add(part.store_id)
                self._watcher.say(f"{label} does not answer: {why}.")
            if silent >= (SILENT_SECONDS if why else STUCK_SECONDS):
                why = why or f"its server lives, and said nothing of it for {STUCK_SECONDS:.0f} s"
                found[part.store_id] = Unasked(part.store_id, label, why)
        return found

    async def _withdraw(self, kind: Kind, parts: Sequence[StoreJob]) -> None:
        """Have nobody look at what nobody waits for any more; what mends stays asked for.

        Nor take away, days later, what somebody has permitted for now.
        """
        if kind not in (Kind.REPAIR, Kind.VERIFY):
            for part in parts:
                await self._database.jobs.report(replace(part, state=JobState.FAILED))


def given_up(store: StoreView | None, silent_seconds: float) -> str | None:
    """Return why a store is not waited for any more, of which nothing was heard for so long.

    None: it is. For whoever looks now and then, and does not follow.
    """
    why = _silence(store)
    if silent_seconds < (SILENT_SECONDS if why else STUCK_SECONDS):
        return None
    return why or f"its server lives, and said nothing of it for {STUCK_SECONDS:.0f} s"


def _silence(store: StoreView | None) -> str:
    """Return why nothing can be expected of a store; "" when something can."""
    if store is None:
        return "it is forgotten"
    if store.condition in _ALIVE:
        return ""
    if store.condition is Condition.TROUBLE:
        return store.record.trouble
    return f"its server is {store.server_condition.value}"


def _forgotten(seen: ClusterStatus) -> list[Unasked]:
    """Return the stores of the layout that have no row any more."""
    known = {store.record.store_id for store in seen.stores}
    members = () if seen.layout is None else seen.layout.stores
    return [
        Unasked(label.store_id, label.store_id, "it is in the layout, and forgotten")
        for label in members
        if label.store_id not in known
    ]


def _failed(part: StoreJob, labels: Mapping[str, str]) -> Unasked:
    why = "; ".join(unpacked(part.problems).reasons) or "it could not be done"
    return Unasked(part.store_id, labels.get(part.store_id, part.store_id), why)
