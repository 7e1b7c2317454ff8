"""The log, followed: this process reads it once for all who follow it here.

A follower that is level hears of an event as soon as it is read. One that joins with an older
cursor, or was too slow, first reads on in the log by itself. Nobody waits for anybody, and nothing
that is kept is left out; where what a follower wanted is not kept any more it is told so.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from treescale.errors import DatabaseUnavailable, TooMany, Unreachable
from treescale.events.fan_out import FanOut, Follower, Select, Told
from treescale.events.signals import Signal, Signals
from treescale.metadata.events.log import READ_AT_ONCE_MAX, EventLog, following
from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.repositories import Repositories

FOLLOWERS_MAX: Final = 1000
"""Of one worker; of one user half as many, so that nobody keeps all others out."""
POLL_SECONDS: Final = 1.0
"""How often the log is looked at while nobody tells of it, if anybody follows."""
PAGE: Final = 200
RETRY_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Batch:
    """What a follower is given at once: perhaps nothing, when it has waited."""

    events: list[Recorded]
    place: Place
    """All up to here was looked at for it."""
    gap: bool = False
    """Whether it may have wanted something before these that was pruned, or that the log, which has
    gone back, has in place of what was there."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the log as a reader is shown it."""

    events: list[Recorded]
    place: Place
    """All up to here was looked at."""
    more: bool
    """Whether the log goes on already."""
    gap: bool
    """Whether something before these was pruned, or is not what was there."""


@dataclass(slots=True, eq=False)
class _Seat:
    """A follower here."""

    follower: Follower
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class LiveLog:
    """What followers follow, in one process."""

    def __init__(
        self,
        log: EventLog,
        repositories: Repositories,
        signals: Signals,
        *,
        followers_max: int = FOLLOWERS_MAX,
    ) -> None:
        self._log = log
        self._repositories = repositories
        self._signals = signals
        self._followers_max = followers_max
        self._fan_out = FanOut()
        self._seats: dict[Follower, _Seat] = {}
        self._level = asyncio.Event()
        self.joined = Signal()
        """Somebody has begun to follow."""
        self._closed = False
        self._waiting = 0
        self.on_followers: Callable[[int], None] = _nobody
        """Hears how many follow, when that has changed."""
        self._of_user = Counter[str]()

    def check_open(self) -> None:
        """Raise Unreachable as this process ends: who looks on goes on elsewhere."""
        if self._closed:
            raise Unreachable("this server ends: follow another one")

    @property
    def followers(self) -> int:
        """Return how many follow, level or not, or wait for more."""
        return len(self._seats) + self._waiting

    async def wait_for_more(self, seconds: float, user: str) -> bool:
        """Wait until the log grows, or as long as a look at it is due; False as this process ends.

        Raises TooMany when too many follow or wait already, and Unreachable after that end.
        """
        with self._room(user):
            self._waiting += 1
            self.on_followers(self.followers)
            self.joined.set()
            try:
                with self._signals.grown.listening() as grown:
                    await grown.wait(min(seconds, POLL_SECONDS))
            finally:
                self._waiting -= 1
                self.on_followers(self.followers)
        return not self._closed

    async def run(self) -> None:
        """Read the log for all who are level, until cancelled: background work of each worker."""
        with self._signals.grown.listening() as grown:
            while True:
                await self._level.wait()
                with suppress(DatabaseUnavailable):  # then the next look reads it
                    await self._read_on()
                if not len(self._fan_out):
                    self._level.clear()
                    continue
                await grown.wait(POLL_SECONDS)

    def close(self) -> None:
        """End what all followers follow, as this process ends."""
        self._closed = True
        self._signals.grown.set()
        for seat in self._seats.values():
            seat.woken.set()

    @contextmanager
    def _room(self, user: str) -> Iterator[None]:
        """Count one more who follows, of this user, for as long as the block takes."""
        self.check_open()
        is_full = self.followers >= self._followers_max
        if is_full or self._of_user[user] >= self._followers_max / 2:
            whose = "" if is_full else "of yours "
            raise TooMany(
                f"this server has as many followers {whose}as it takes: "
                "follow another one, or later",
                retry_seconds=RETRY_SECONDS,
            )
        self._of_user[user] += 1
        try:
            yield
        finally:
            self._of_user[user] -= 1
            if not self._of_user[user]:
                del self._of_user[user]

    async def page(self, select: Select, after: Place | None, limit: int) -> Page:
        """Return up to `limit` events that follow a place, of the next `READ_AT_ONCE_MAX`.

        After None, now, there are none.
        """
        begin, read, is_other = await self._begin(after, READ_AT_ONCE_MAX)
        kept = await self._kept_after(begin.sequence, read)
        gap = is_other or kept > begin.sequence
        begin = begin if kept == begin.sequence else Place(kept)
        found: list[Recorded] = []
        for event, repository in await self._told(read):
            if len(found) == limit:
                return Page(found, begin, more=True, gap=gap)
            begin = event.place
            seen = select(event, repository)
            if seen is not None:
                found.append(seen)
        return Page(found, begin, more=len(read) == READ_AT_ONCE_MAX, gap=gap)

    async def follow(
        self, select: Select, after: Place | None, beat_seconds: float, user: str
    ) -> AsyncGenerator[Batch, None]:
        """Yield what follows a place, or now, as it comes; an empty batch when nothing does.

        `select` says what of it. Ends when this process does. Raises TooMany when too many follow
        already, Unreachable as this process ends, and DatabaseUnavailable; whoever goes on after
        the last batch misses nothing.
        """
        seat = _Seat(Follower(select, Place(0)))
        with self._room(user):
            self._seats[seat.follower] = seat
            self.on_followers(self.followers)
            self.joined.set()
            try:
                begin, _, is_other = await self._begin(after, 0)
                kept = await self._kept_after(begin.sequence, [])
                seat.follower.go_to(begin if kept == begin.sequence else Place(kept))
                gap = is_other or kept > begin.sequence
                yield Batch([], seat.follower.place, gap=gap)
                while not self._closed:
                    async for batch in self._batches(seat, beat_seconds):
                        yield batch
            finally:
                self._fan_out.detach(seat.follower)
                del self._seats[seat.follower]
                self.on_followers(self.followers)

    async def _begin(
        self, after: Place | None, limit: int
    ) -> tuple[Place, Sequence[Recorded], bool]:
        """Return after which place to go on, what follows, and whether another event is there.

        Of a place that is past the end, or that has another event than whoever comes has read,
        nobody knows what has been seen.
        """
        last = await self._log.last()
        if after is None:
            read = await self._log.after(last - 1, 1)
            is_there = bool(read) and read[0].sequence == last
            return read[0].place if is_there else Place(last), [], False
        if after.sequence <= last:
            found = await following(self._log, after, limit)
            if found is not None:
                return after, found, False
        begin = Place(min(after.sequence, last))
        return begin, await self._log.after(begin.sequence, limit) if limit else [], True

    async def _batches(self, seat: _Seat, beat_seconds: float) -> AsyncIterator[Batch]:
        """Yield what is read until it is level, then what comes while it is."""
        follower, is_level = seat.follower, False
        while not self._closed and not is_level:
            batch, at_end = await self._catch_up(follower)
            is_level = at_end and self._fan_out.attach(follower)
            if batch.events or batch.gap or not is_level:
                yield batch
        self._level.set()
        while not self._closed:
            seat.woken.clear()
            if follower.waiting or not follower.behind:
                events = follower.take()
                if events:
                    yield Batch(events, follower.taken)
                    continue
            if follower.behind:
                return
            if not await _set_within(seat.woken, beat_seconds):
                yield Batch([], follower.taken)

    async def _catch_up(self, follower: Follower) -> tuple[Batch, bool]:
        """Read a page for one that is behind; say whether the log ended there.

        What was pruned before it got there is told first, by itself: it has read nothing beyond.
        """
        found: list[Recorded] = []
        level, begin = self._fan_out.place, follower.place.sequence
        page = await following(self._log, follower.place, PAGE)
        if page is None:
            follower.go_to(Place(min(begin, await self._log.last())))
            return Batch([], follower.place, gap=True), False
        kept = await self._kept_after(begin, page)
        if kept > begin:
            follower.go_to(Place(kept))
            return Batch([], follower.place, gap=True), False
        for event, repository in await self._told(page):
            seen = follower.select(event, repository)
            if seen is not None:
                found.append(seen)
            follower.place = event.place
        at_end = len(page) < PAGE
        if at_end and level.sequence > follower.place.sequence:
            follower.place = level
        follower.taken = follower.place
        return Batch(found, follower.place), at_end

    async def _read_on(self) -> None:
        """Read what is new, and queue it for all who are level."""
        while len(self._fan_out):
            after = self._fan_out.place
            page = await following(self._log, after, PAGE)
            told = await self._told(page or [])
            kept = await self._kept_after(after.sequence, page or [])
            if self._fan_out.place != after:
                continue  # all have gone meanwhile, and somebody else begins elsewhere
            # Nobody read for long, or the log has gone back: each is told as it reads on by itself.
            if page is None or kept > after.sequence:
                self._wake(self._fan_out.let_go())
                return
            self._wake(self._fan_out.publish(told))
            if len(page) < PAGE:
                return

    def _wake(self, followers: Iterable[Follower]) -> None:
        for each in followers:
            self._seats[each].woken.set()

    async def _kept_after(self, after: int, page: Sequence[Recorded]) -> int:
        """Return after which number all is kept: this one, or a later one if some was pruned.

        `page` is what follows the number, read before this looks: so what is pruned in between is
        told of too often, and never too seldom.
        """
        if after == 0 or (page and page[0].sequence == after + 1):
            return after
        return max(after, await self._log.first() - 1)

    async def _told(self, page: Sequence[Recorded]) -> list[Told]:
        """Return the events with their repositories, looked up together."""
        names = {event.repository for event in page if event.repository is not None}
        known = await self._repositories.named(names)
        return [(event, known.get(event.repository or "")) for event in page]


def _nobody(_: int) -> None:
    """Nobody is told."""


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
