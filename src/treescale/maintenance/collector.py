"""Collection of one store's copies: what no row names, and nobody has put for long, goes.

A cycle looks at all partitions, then reads the rows, and then moves to the trash what is in none,
if nothing has happened to its file since. `orphans` decides; an error ends the cycle with nothing
taken (collection.md R3, R4, R8, R13). What is in the trash is looked at once more (`trash`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from treescale.chunks.disk.contents import AgedCopy
from treescale.chunks.format.placement import PARTITIONS
from treescale.clock import Clock
from treescale.errors import DatabaseUnavailable, Failed
from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    LeaseTimes,
    lease_of,
)
from treescale.log import get_logger
from treescale.maintenance.collection import orphans
from treescale.maintenance.collection.orphans import CANDIDATES_MAX
from treescale.maintenance.collection.state import (
    Mode,
    Pause,
    State,
    is_news,
    mode_of,
    packed,
    paused_by,
    unpacked,
)
from treescale.maintenance.finished import Tell, tell_nobody
from treescale.maintenance.planning import planner
from treescale.maintenance.planning.findings import GOING_MAX, Findings, Going
from treescale.maintenance.trash import Trash
from treescale.maintenance.walked import CollectedStore
from treescale.metadata.collection.explained import COLLECTED_SETTING
from treescale.metadata.database import Database
from treescale.metadata.events.recording import Kind
from treescale.metadata.layouts import noted_number

AGED_AT_ONCE: Final = 1000
REMOVED_AT_ONCE: Final = 500
"""Copies that are moved to the trash in one call."""
QUARANTINE_SECONDS: Final = 30 * 86_400.0
"""So long what was found corrupt is kept as evidence."""
WAIT_SECONDS_MIN: Final = 1.0


GiveWay = Callable[[float, Callable[[], bool]], Awaitable[None]]


async def _at_once(_: float, __: Callable[[], bool]) -> None:
    """Hold nobody up."""


@dataclass(slots=True)
class Cycle:
    """One cycle: what was asked, and what came of it."""

    dry: bool = False
    """Take nothing away."""
    resume: bool = False
    """Also more than a fifth of the store."""
    asked_by: str = ""
    """Who has asked for it; "": nobody."""
    done: int = 0
    """Partitions looked at."""
    here: int = 0
    """Copies on the store."""
    young: list[AgedCopy] = field(default_factory=list)
    """Those that no blob names, and whose lease runs; as many as fit in memory."""
    candidates: list[AgedCopy] = field(default_factory=list)
    more: int = 0
    """Candidates that did not fit: the next cycle finds them again."""
    orphans: list[AgedCopy] = field(default_factory=list)
    gone: list[AgedCopy] = field(default_factory=list)
    dropped: int = 0
    """Chunks that were in the trash, and are gone for good."""
    pause: Pause | None = None
    collected: int = 0
    """Chunks that recorded deletions had left in no row when it began, in the whole cluster."""
    explained: int = 0
    """Those of them that may lie on the store, and were not taken yet."""


class Collector:
    """The collection of one store; used from one event loop. One cycle runs at a time."""

    def __init__(  # noqa: PLR0913  what it asks, and what tests replace
        self,
        store_id: str,
        store: CollectedStore,
        trash: Trash,
        database: Database,
        *,
        clock: Clock,
        alone: bool = False,
        give_way: GiveWay = _at_once,
        tell: Tell = tell_nobody,
    ) -> None:
        """`alone`: no push is under way anywhere, and none can begin meanwhile.

        `give_way` returns when a cycle that nobody asked for may go on that was at work for so
        many seconds, or when what it is given says that somebody waits.
        """
        self._store_id = store_id
        self._store = store
        self._trash = trash
        self._database = database
        self._clock = clock
        self._alone = alone
        self._give_way = give_way
        self._tell_finished = tell
        self._sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        self._one = asyncio.Lock()
        self._asked = 0
        """How many cycles are under way, or wait for that."""
        self._began = 0.0
        """When the step of the one that is under way began, in monotonic seconds."""
        self._said: State | None = None
        self._log = get_logger()

    async def run(self) -> None:
        """Have a cycle every hour, until cancelled. Raises DatabaseUnavailable."""
        while True:
            await self._sleep(await self._turn())

    async def _turn(self) -> float:
        """Have a cycle if nothing is in its way; return after how long to look again."""
        times, mode = await self._times(), await self._mode()
        left = self._quiet_left(times)
        if mode is Mode.OFF or left or not self._store.is_well:
            return max(WAIT_SECONDS_MIN, min(left or times.look_every, times.look_every))
        try:
            await self._slowly()
        except DatabaseUnavailable:
            raise
        except Failed as error:
            await self._tell(await self._noted(), Pause(str(error), "itself, once that is over"))
        return times.look_every

    async def _slowly(self) -> None:
        """Have a cycle that gives way to clients, until somebody asks for one."""
        async with aclosing(self.steps(Cycle())) as steps:
            async for _ in steps:
                await self._give_way(self._clock.monotonic() - self._began, self._is_waited_for)
                self._began = self._clock.monotonic()

    def _is_waited_for(self) -> bool:
        return self._asked > 1

    async def steps(self, cycle: Cycle) -> AsyncGenerator[bool, None]:
        """Carry out a cycle bit by bit; yields whether it can go on at once.

        Raises what the database and the store raise: then nothing more is taken away.
        """
        async with self._in_turn():
            begun = self._clock.monotonic()
            times = await self._times()
            permit = self._permit(times)  # before it is asked whether anything has happened
            cycle.pause = await self._obstacle(cycle, times)
            if cycle.pause is None:
                cycle.collected = await self._collected()  # before the rows are asked
                async for more in self._look(cycle, times):
                    yield more
                cycle.pause = await self._judge(cycle)
                if not (cycle.pause or cycle.dry):
                    async for more in self._remove(cycle, permit):
                        yield more
            if not cycle.dry:
                cycle.dropped = await self._trash.empty(now=True)
                await self._store.clean(QUARANTINE_SECONDS)
                await self._tell(await self._state(cycle, times), cycle.pause)
                await self._tell_work(cycle, self._clock.monotonic() - begun)
            cycle.done = PARTITIONS

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Have one cycle at a time."""
        self._asked += 1
        try:
            async with self._one:
                self._began = self._clock.monotonic()
                yield
        finally:
            self._asked -= 1

    # What is in its way

    async def _times(self) -> LeaseTimes:
        return lease_of(await self._database.settings.get(LEASE_SETTING))

    async def _mode(self) -> Mode:
        return mode_of(await self._database.settings.get(COLLECTION_SETTING))

    def _quiet_left(self, times: LeaseTimes) -> float:
        quiet = self._store.quiet
        if self._alone and not quiet.stretch(times.clock_step):
            return 0.0
        return quiet.left(times.quiet, times.clock_step)

    async def _obstacle(self, cycle: Cycle, times: LeaseTimes) -> Pause | None:
        """Return why nothing may be taken from the store now; None when something may.

        First what somebody has to do about it, last what passes by itself.
        """
        off = await paused_by(self._database.settings)
        if off is not None and not cycle.dry:
            return off
        known = {store.store_id for store in await self._database.stores.list()}
        if self._store_id not in known:
            return Pause(
                "the database does not know this store: it is another one's", "the right database"
            )
        if since := await self._since_older(times):
            return Pause(
                f"a server of version 0.1.0 was at work {since:.0f} s ago, whose puts renew no "
                "leases",
                "itself, a lease after the last one was heard of",
            )
        if self._store.renew_seconds > times.renew_age:
            return Pause(
                f"a lease of {times.lease:.0f} s is too short for servers that were not started "
                "with TREESCALE_UNSAFE_LEASES=1",
                "`treescale cluster set lease=24h`",
            )
        left = 0.0 if cycle.dry else self._quiet_left(times)
        if left:
            return Pause(
                f"its server was started, or its clock set, {times.quiet - left:.0f} s ago: "
                f"nothing is removed for another {left:.0f} s",
                "itself",
            )
        return None

    async def _since_older(self, times: LeaseTimes) -> float | None:
        """Return how long ago a server was at work that knows no leases, if that is not enough."""
        servers = self._database.servers
        since = await servers.now() - (await servers.older()).until
        return max(since, 1.0) if since < times.lease else None

    def _permit(self, times: LeaseTimes) -> Callable[[], bool]:
        """Return what says, also later and in any thread, that the looks from now on hold."""
        quiet = self._store.quiet
        stretch = quiet.stretch(times.clock_step)

        def may() -> bool:
            return self._store.quiet is quiet and quiet.stretch(times.clock_step) == stretch

        return may

    # Looking

    async def _look(self, cycle: Cycle, times: LeaseTimes) -> AsyncGenerator[bool, None]:
        """Look at all copies that no blob names: their ages now, before the rows are read."""
        size, number = planner.BATCH_FIRST, 0
        while number < PARTITIONS:
            batch = range(number, min(number + size, PARTITIONS))
            here = [chunk async for chunk in self._store.list(batch)]
            named = set[bytes]()
            for span in planner.spans(batch):
                named |= (await self._database.references.in_blobs(*span)).keys()
            unnamed = [chunk for chunk in here if chunk not in named]
            for start in range(0, len(unnamed), AGED_AT_ONCE):
                copies = await self._store.aged(unnamed[start : start + AGED_AT_ONCE])
                self._sort(cycle, copies, times.lease)
            cycle.here += len(here)
            size = planner.batch_after(size, len(here) + len(named))
            number = batch.stop
            cycle.done = min(number, PARTITIONS - 1)
            yield True

    def _sort(self, cycle: Cycle, copies: Sequence[AgedCopy], lease: float) -> None:
        old = orphans.candidates(copies, lease)
        room = CANDIDATES_MAX - len(cycle.candidates)
        cycle.candidates += old[:room]
        cycle.more += len(old[room:])
        looked = {copy.chunk for copy in old}
        young = [copy for copy in copies if copy.chunk not in looked]
        cycle.young += young[: CANDIDATES_MAX - len(cycle.young)]

    async def _judge(self, cycle: Cycle) -> Pause | None:
        """Find out which candidates no row names; sessions are read first, then blobs.

        Returns why they must stay nevertheless.
        """
        if cycle.candidates:
            references = self._database.references
            await references.after_writers()
            named = await references.among([copy.chunk for copy in cycle.candidates])
            cycle.orphans = orphans.orphans(cycle.candidates, named)
        cycle.explained = await self._explained(cycle)
        if cycle.resume:
            return None
        return orphans.guard(len(cycle.orphans) + cycle.more, cycle.here, cycle.explained)

    async def _explained(self, cycle: Cycle) -> int:
        """Return how many chunks on the store recorded deletions explain, and were not taken yet.

        The number that is recorded is the cluster's; of it the store has its share.
        """
        noted = (await self._noted()).explained
        chunks = noted.chunks(cycle.collected)
        if not (chunks and cycle.orphans):
            return 0
        cluster = self._trash.cluster
        share = orphans.share(self._store_id, cluster.tables, cluster.is_up)
        return max(0, orphans.explained_here(chunks, share) - noted.older_taken)

    async def _collected(self) -> int:
        text = await self._database.settings.get(COLLECTED_SETTING)
        return int(noted_number(COLLECTED_SETTING, text) or 0)

    # Taking away

    async def _remove(self, cycle: Cycle, may: Callable[[], bool]) -> AsyncGenerator[bool, None]:
        for start in range(0, len(cycle.orphans), REMOVED_AT_ONCE):
            # It may be frozen meanwhile: then what is in the rows is not what it was.
            cycle.pause = await paused_by(self._database.settings)
            if cycle.pause is not None:
                return
            page = cycle.orphans[start : start + REMOVED_AT_ONCE]
            await self._spend(max(0, min(len(page), cycle.explained - start)))
            gone = await self._store.remove([(each.chunk, each.stamp) for each in page], may)
            taken = set(gone)
            cycle.gone += [copy for copy in page if copy.chunk in taken]
            if not may():
                cycle.pause = Pause(
                    "the clock of its server was set while it was looked at", "itself"
                )
                return
            yield True

    async def _spend(self, taken: int) -> None:
        """Note that so many explained ones are taken, before they are: whatever ends the cycle."""
        said = await self._noted()
        if taken:
            state = replace(said, explained=said.explained.taking(taken))
            await self._database.collections.put(self._store_id, packed(state))
            self._said = state

    # Telling

    async def _noted(self) -> State:
        """Return what was told last; by an earlier process, if this one has told nothing yet."""
        if self._said is None:
            states = await self._database.collections.list()
            self._said = unpacked(states.get(self._store_id))
        return self._said

    async def _state(self, cycle: Cycle, times: LeaseTimes) -> State:
        """Return where it stands after this cycle."""
        said, trash = await self._noted(), await self._store.trash()
        state = replace(
            said,
            trash=trash.chunks,
            trash_bytes=trash.size,
            trash_until=trash.newest + times.trash if trash.chunks else 0.0,
            removed=said.removed + len(cycle.gone),
            removed_bytes=said.removed_bytes + sum(copy.size for copy in cycle.gone),
            met_in_trash=said.met_in_trash + self._trash.met,
        )
        self._trash.met = 0
        if not cycle.done:  # nothing was looked at: what waited then, waits still
            return state
        if not (cycle.pause or cycle.more):
            told = state.explained.after(cycle.collected, self._clock.now(), times.lease)
            state = replace(state, explained=told)
        longest = max((times.lease - copy.age for copy in cycle.young), default=0.0)
        until = self._clock.now() + longest + times.look_every + times.trash
        return replace(
            state,
            waiting=len(cycle.young),
            waiting_bytes=sum(copy.size for copy in cycle.young),
            waiting_until=until if cycle.young else 0.0,
        )

    async def _tell_work(self, cycle: Cycle, seconds: float) -> None:
        if not (cycle.gone or cycle.dropped):
            return
        done = {
            "trashed": len(cycle.gone),
            "bytes": sum(copy.size for copy in cycle.gone),
            "dropped": cycle.dropped,
        }
        self._log.info("collection.copies", store=self._store_id, **done)
        told = {"store_id": self._store_id, "seconds": round(seconds, 1), **done}
        await self._tell_finished(Kind.COLLECT_FINISHED, cycle.asked_by, told)

    async def _tell(self, state: State, pause: Pause | None) -> None:
        """Note where it stands, if that is new."""
        state, said = replace(state, paused=pause), await self._noted()
        if not is_news(state, said):
            return
        if pause != said.paused:
            reason = "" if pause is None else pause.why
            self._log.info("collection.paused", store=self._store_id, reason=reason)
        await self._database.collections.put(self._store_id, packed(state))
        self._said = state


def note(found: Findings, cycle: Cycle, store_id: str) -> None:
    """Add what came of the cycle to what is told of the store."""
    found.looked += cycle.here
    found.orphans += len(cycle.orphans) + cycle.more
    found.orphan_bytes += sum(copy.size for copy in cycle.orphans)
    found.waiting += len(cycle.young)
    found.waiting_bytes += sum(copy.size for copy in cycle.young)
    found.removed += len(cycle.gone)
    found.removed_bytes += sum(copy.size for copy in cycle.gone)
    found.dropped += cycle.dropped
    found.going += [
        Going(copy.size, copy.chunk.hex(), store_id, int(copy.age))
        for copy in cycle.orphans[:GOING_MAX]
    ]
    if cycle.pause is not None:
        found.paused += 1
        found.note_reason(cycle.pause.told)
