"""Stores in memory whose copies have leases, by clocks of their own that can be set.

A put of what is there renews its time as the store on a disk does it; a power cut takes back the
times that were not on the disk yet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.simulation.copies import CopyStore, Here, Step, Trimmed
from tests.virtualtime import LoopClock
from treescale.chunks.disk.contents import AgedCopy, TrashContents
from treescale.chunks.disk.quiet import Quiet
from treescale.chunks.disk.verified import FileStamp
from treescale.chunks.store import Bytes
from treescale.lease_times import LeaseTimes

LEASE = 3600.0
TIMES = LeaseTimes(LEASE)
JOURNAL_SECONDS = 5.0
"""So long a new time may be in memory alone."""
Removed = Callable[[bytes], None]
"""Hears of a copy that collection has taken away."""


@dataclass
class LeasedStore(CopyStore):
    """One store, with a clock."""

    ahead: float = 0.0
    """By how much its clock was set."""
    dated: dict[bytes, float] = field(default_factory=dict)
    trashed_at: dict[bytes, float] = field(default_factory=dict)
    _before: dict[bytes, tuple[float, float]] = field(default_factory=dict)
    """What a power cut brings back: the time of a file before its last touch, and when that was."""

    def wall(self) -> float:
        """Return what its clock says."""
        return LoopClock().monotonic() + self.ahead

    def clocks(self) -> tuple[float, float]:
        """Return that, and what nobody sets."""
        return self.wall(), LoopClock().monotonic()

    def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; one that is there, and is not young, gets a new time."""
        known = self.keeps(chunk)
        super().put(chunk, data)
        if known and self.is_old(chunk):
            self.touch(chunk)

    def write(self, chunk: bytes, data: bytes) -> None:
        """Write it, with its time."""
        super().write(chunk, data)
        self.dated[chunk] = self.wall()
        self._before.pop(chunk, None)

    def is_old(self, chunk: bytes) -> bool:
        """Say whether a put must renew its time."""
        return not 0 <= self.wall() - self.dated[chunk] < TIMES.renew_age

    def touch(self, chunk: bytes) -> None:
        """Renew its time, which is not on the disk yet."""
        if chunk in self.copies:
            self._before.setdefault(chunk, (self.dated[chunk], 0.0))
            date, at = self._before[chunk]
            if at and LoopClock().monotonic() - at > JOURNAL_SECONDS:
                date = self.dated[chunk]
            self._before[chunk] = date, LoopClock().monotonic()
            self.dated[chunk] = self.wall()
            super().renew(chunk)

    def renew(self, chunk: bytes) -> None:
        """Do so for somebody who relies on it."""
        self.touch(chunk)

    def discard(self, chunk: bytes) -> None:
        """Move it to the trash, whatever it is."""
        self.trash[chunk] = self.copies.pop(chunk).data
        self.trashed_at[chunk] = LoopClock().monotonic()

    def trim(self, chunk: bytes, stamp: int) -> bool:
        """Move it to the trash if it has this stamp."""
        copy = self.copies.get(chunk)
        if copy is None or copy.stamp != stamp:
            return False
        self.discard(chunk)
        return True

    def cut_power(self) -> None:
        """Lose the times that were not on the disk yet."""
        for chunk, (date, at) in self._before.items():
            if chunk in self.copies and LoopClock().monotonic() - at <= JOURNAL_SECONDS:
                self.dated[chunk] = date
        self._before.clear()


class LeasedHere(Here):
    """The way to a store of one's own, for a walk and a collector."""

    def __init__(self, store: LeasedStore, step: Step, trimmed: Trimmed, removed: Removed) -> None:
        super().__init__(store, step, trimmed)
        self.leased = store
        self.quiet = Quiet(store.clocks)
        self.renew_seconds = TIMES.renew_age
        self._removed = removed

    async def aged(self, chunks: Sequence[bytes]) -> list[AgedCopy]:
        """Return those that are here."""
        now = self.leased.wall()
        found = [
            AgedCopy(chunk, stamp, now - self.leased.dated[chunk])
            for chunk, stamp in zip(chunks, self._stamps(chunks), strict=True)
            if stamp is not None
        ]
        await self._go()
        return found

    def _stamps(self, chunks: Sequence[bytes]) -> list[FileStamp | None]:
        copies = [self.store.copies.get(chunk) for chunk in chunks]
        return [None if copy is None else (0, 0, len(copy.data), copy.stamp, 0) for copy in copies]

    async def remove(
        self, copies: Sequence[tuple[bytes, FileStamp]], may: Callable[[], bool]
    ) -> list[bytes]:
        """Move them to the trash, one after the other."""
        gone = []
        for chunk, stamp in copies:
            await self._go()
            if not may():
                break
            if self.store.trim(chunk, stamp[3]):
                gone.append(chunk)
                self._removed(chunk)
        await self._go()
        return gone

    async def drop(self, chunk: bytes) -> None:
        """Remove it from the trash."""
        await super().drop(chunk)
        self._removed(chunk)

    async def trashed(self, seconds: float, limit: int, after: bytes = b"") -> list[bytes]:
        """Return what has been in the trash for so long."""
        before = LoopClock().monotonic() - seconds
        found = await super().trashed(seconds, limit, after)
        return [chunk for chunk in found if self.leased.trashed_at[chunk] <= before]

    async def trash(self) -> TrashContents:
        """Say what lies there."""
        await self._go()
        return TrashContents(len(self.store.trash), 0, self.leased.wall())

    async def clean(self, seconds: float) -> int:
        """Find nothing."""
        del seconds
        await self._go()
        return 0
