"""When rows may be taken away, and when not, and how far a slow pass goes at once.

Where it stands, and why nothing is taken, is a setting, written when it changes and once an hour:
on SQLite any commit has all answers forgotten.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from treescale.clock import Clock
from treescale.lease_times import (
    LEASE_SETTING,
    UNTAGGED_SETTING,
    LeaseTimes,
    lease_of,
    untagged_of,
)
from treescale.log import get_logger
from treescale.maintenance.collection.leaps import RowsState, look, moment, packed, unpacked
from treescale.maintenance.collection.state import Pause, paused_by
from treescale.metadata.collection.adoption import Adoption
from treescale.metadata.collection.rows import BEGINNING, Collected, Place, RowCollector
from treescale.metadata.collection.untagged import UntaggedCollector
from treescale.metadata.database import Database

ROWS_SETTING: Final = "collection_rows"
SLOW_SETTING: Final = "collection_slow"
SLICE_SECONDS_MAX: Final = 5.0
"""So long a slow pass reads at once."""
NOTHING: Final = Collected()
SLOW_SECONDS: Final = 24 * 3600.0
"""So long after one was through the next begins."""


class Slow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the slow pass stands, for whichever process goes on with it."""

    place: Place | None = None
    """None: none is under way."""
    through: float = 0.0
    """When one was through last, by the database's clock."""


@dataclass(frozen=True, slots=True)
class RowCycle:
    """What came of a turn."""

    pause: Pause | None = None
    """Why nothing was taken."""
    untagged: int = 0
    """Images that nothing held: deleted, and can be restored."""
    collected: Collected = NOTHING


class RowTurns:
    """The turns of whoever collects rows; several at once are as good as one."""

    def __init__(self, database: Database, times: LeaseTimes, clock: Clock) -> None:
        self._database = database
        self._times = times
        self._clock = clock
        self._collector = RowCollector(database.connections)
        self._adoption = Adoption(database.connections)
        self._untagged = UntaggedCollector(database.connections)
        self._log = get_logger()

    async def collect(self, *, resume: bool = False) -> RowCycle:
        """Take away all that is due now, if anything may go.

        With `resume` also after a leap of the clock: somebody has looked at it.
        """
        if not await self._may(resume=resume):
            return RowCycle(await self.pause())
        await self._untagged.look_if_due()
        untagged = await self._untagged.take() if await self._may_take_untagged() else 0
        done = await self._collector.cycle()
        if untagged or done != NOTHING:
            self._log.info(
                "collection.rows",
                untagged=untagged,
                manifests=done.manifests,
                links=done.links,
                blobs=done.blobs,
                repositories=done.repositories,
                tags=done.tags,
            )
        return RowCycle(None, untagged, done)

    async def pause(self) -> Pause | None:
        """Return why nothing would be taken now, None if something would; writes nothing."""
        return await paused_by(self._database.settings) or (await self._look()).paused

    async def slow_slice(self) -> None:
        """Go on with the slow pass for some seconds, or begin one a day after the last."""
        if not await self._may():
            return
        slow, now = await self._slow(), await self._database.servers.now()
        every = min(SLOW_SECONDS, self._times.lease)
        if slow.place is None and 0 <= now - slow.through < every:
            return
        begun = self._clock.monotonic()

        def go_on() -> bool:
            return self._clock.monotonic() - begun < SLICE_SECONDS_MAX

        done = await self._collector.slow_pass(slow.place or BEGINNING, go_on)
        new = Slow(done.place, slow.through if done.place else now)
        await self._database.settings.put(SLOW_SETTING, msgspec.json.encode(new).decode())
        if done.found:
            self._log.info("collection.slow", found=done.found)

    async def older(self) -> None:
        """Note which servers of 0.1.0 are at work, and have back what they push again."""
        older = await self._database.servers.note_older(self._times.look_every)
        if await self._database.servers.now() - older.until < await self._link():
            found = await self._adoption.adopt()
            if found:
                self._log.info("collection.adopted", found=found)

    async def _may_take_untagged(self) -> bool:
        """Say whether all that has held an image lately is known.

        A server of 0.1.0 knows of no marks: it may have put a tag on it, and taken it off again.
        """
        seconds = untagged_of(await self._database.settings.get(UNTAGGED_SETTING))
        if seconds is None:
            return False
        older = await self._database.servers.older()
        return older.until + seconds < await self._database.servers.now()

    async def _may(self, *, resume: bool = False) -> bool:
        """Say whether rows may be taken away now; note it, and log it, when that is new."""
        said = unpacked(await self._database.settings.get(ROWS_SETTING))
        state = await self._look(resume=resume)
        pause = await paused_by(self._database.settings) or state.paused
        state = msgspec.structs.replace(state, paused=pause)
        if state != said:
            await self._database.settings.put(ROWS_SETTING, packed(state))
        if pause is not None and (said.paused is None or pause.why != said.paused.why):
            self._log.warning("collection.waits", reason=pause.why, lifted_by=pause.lifted_by)
        return pause is None

    async def _look(self, *, resume: bool = False) -> RowsState:
        """Return what is to be noted of the clock, and of servers of 0.1.0."""
        said = unpacked(await self._database.settings.get(ROWS_SETTING))
        now = await self._database.servers.now()
        if resume:
            said = RowsState(looked=now)
        state = look(said, now, self._clock.now())
        return msgspec.structs.replace(state, paused=state.paused or await self._older(now))

    async def _older(self, now: float) -> Pause | None:
        """Return why nothing may go yet: a push of 0.1.0 holds no rows, and promises no lease."""
        older, link = await self._database.servers.older(), await self._link()
        over = older.until + link
        if now >= over:
            return None
        if older.names:
            hours = link / 3600
            return Pause(
                f"of version 0.1.0 are {', '.join(older.names)}",
                f"itself, {hours:.0f} h after they were heard of last",
            )
        return Pause("a server of version 0.1.0 was at work lately", f"itself, at {moment(over)}")

    async def _link(self) -> float:
        """Return how long a link is kept: of the lease as it is now, which may have been set."""
        return lease_of(await self._database.settings.get(LEASE_SETTING)).link

    async def _slow(self) -> Slow:
        try:
            text = await self._database.settings.get(SLOW_SETTING) or "{}"
            return msgspec.json.decode(text, type=Slow)
        except msgspec.DecodeError:
            return Slow()
