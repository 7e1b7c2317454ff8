"""How fit a server is, seen by one of its workers and told by all: a board in shared memory.

Whoever leads looks and notes what it saw; any worker answers from the board, with what it knows of
peers itself. A look that does not come back leaves what was seen before, which ages: so a worker
that hangs with the lead is noticed as well. The board is numbers alone, each written whole.
"""

import asyncio
import mmap
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from typing import Final

from treescale.clock import Clock
from treescale.cluster.liveness import HEARTBEAT_SECONDS
from treescale.cluster.readiness import (
    Around,
    Check,
    Finding,
    Purpose,
    Reason,
    Seen,
    clock_reason,
    findings,
    why,
)
from treescale.metadata.database import Database
from treescale.server.background import Job, Scope
from treescale.server.cluster_view import ClusterView
from treescale.server.heartbeat import Heartbeat

_SEEN: Final = (
    Check.DATABASE_READ,
    Check.DATABASE_WRITE,
    Check.SCHEMA,
    Check.CLOCK,
)
"""What is looked at in the background."""
_FILE: Final = len(Check)
"""Where it stands whether the database's file and disk can be written: beside the heartbeat."""
_POLLED: Final = 2 * (_FILE + 1)
"""When somebody asked last, and the time before, at a distance."""
_ENDING_TOLD: Final = _POLLED + 2
_NUMBERS: Final = _ENDING_TOLD + 1
POLL_SECONDS_MIN: Final = 0.4
"""Questions closer together are one: whoever asks so often is not a balancer."""
POLL_SECONDS_MAX: Final = 10.0
"""Who asked longer ago asks no more."""
NOTICE_SECONDS_MAX: Final = 5.0
"""So long, at most, a server that ends goes on taking connections, to be seen as ending."""
LOOK_AGAIN_SECONDS: Final = 0.05
LOOK_SECONDS: Final = 2.0
"""How often the database is looked at."""
LOOK_SECONDS_MAX: Final = 5.0
REPORT_SECONDS_MAX: Final = 10.0
TOLD_MIN: Final = 2
"""So often it is to be seen: balancers want a failure confirmed."""


class Board:
    """What was last seen of one server; to be made before its workers are forked."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * _NUMBERS)).cast("d")

    def note_start(self, clock_error: float, now: float) -> None:
        """Note what the start of a server has made sure of: it read, wrote, opened its stores."""
        for check in _SEEN:
            self.note(check, Reason.WELL, now)
        self.note_file(Reason.WELL, now)
        self.note(Check.CLOCK, clock_reason(clock_error), now)

    def note(self, check: Check, reason: Reason, now: float) -> None:
        """Note what was seen, at this monotonic second."""
        self._write(check, reason, now)

    def note_file(self, reason: Reason, now: float) -> None:
        """Note whether the database's file can be written: it counts as `database_write`."""
        self._write(_FILE, reason, now)

    def seen(self) -> dict[Check, Seen]:
        """Return what was seen last of each."""
        found = {check: self._read(check) for check in _SEEN}
        file = self._read(_FILE)
        if found[Check.DATABASE_WRITE].reason is Reason.WELL and file.reason is not Reason.WELL:
            found[Check.DATABASE_WRITE] = file
        return found

    def polled(self, now: float, *, ending: bool) -> None:
        """Note that somebody asked how the server is."""
        if now - self._numbers[_POLLED] >= POLL_SECONDS_MIN:
            self._numbers[_POLLED + 1] = self._numbers[_POLLED]
            self._numbers[_POLLED] = now
            self._numbers[_ENDING_TOLD] += ending

    def notice_seconds(self, now: float) -> float:
        """Return for how long whoever asks regularly needs to notice that the server ends."""
        last, before = self._numbers[_POLLED], self._numbers[_POLLED + 1]
        if not before or now - last > POLL_SECONDS_MAX or last - before > POLL_SECONDS_MAX:
            return 0.0
        return min(NOTICE_SECONDS_MAX, TOLD_MIN * (last - before) + POLL_SECONDS_MIN)

    @property
    def is_noticed(self) -> bool:
        """Say whether it was told often enough that the server ends."""
        return self._numbers[_ENDING_TOLD] >= TOLD_MIN

    def _write(self, at: int, reason: Reason, now: float) -> None:
        self._numbers[2 * at + 1] = reason
        self._numbers[2 * at] = now

    def _read(self, at: int) -> Seen:
        when = self._numbers[2 * at]
        return Seen(Reason(int(self._numbers[2 * at + 1])), when) if when else Seen()


class Readiness:
    """What one worker answers from the board."""

    def __init__(self, board: Board, view: ClusterView, clock: Clock) -> None:
        self._board = board
        self._view = view
        self._clock = clock
        self._ending = False

    def __call__(self, purpose: Purpose) -> Sequence[Finding]:
        """Return how the server is for a purpose; at once."""
        self._board.polled(self._clock.monotonic(), ending=self._ending)
        return self.look(purpose)

    def look(self, purpose: Purpose) -> Sequence[Finding]:
        """Return the same to somebody who does not decide by it where connections go."""
        now = self._clock.monotonic()
        seen = self._board.seen()
        clock = seen[Check.CLOCK]
        right = clock.at is not None and clock.reason is Reason.WELL
        around = Around(
            self._view.peers.counts(clock_is_right=right),
            stores_writable=not self._view.unwritable(),
            ending=self._ending,
        )
        return findings(purpose, seen, around, now)

    def end(self) -> float:
        """Be ending from now on; return for how many seconds to go on taking connections."""
        self._ending = True
        return self._board.notice_seconds(self._clock.monotonic())

    @property
    def is_noticed(self) -> bool:
        """Say whether whoever asks regularly knows by now that the server ends."""
        return self._board.is_noticed


async def be_seen_ending(readiness: Readiness) -> None:
    """Go on taking connections until whoever asks regularly has noticed, for a bounded time."""
    try:
        async with asyncio.timeout(readiness.end()):
            while not readiness.is_noticed:  # noqa: ASYNC110  other workers are asked as well
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
    except TimeoutError:
        return


class Looks:
    """What one worker of a server does in the background so that the board is true."""

    def __init__(
        self, board: Board, database: Database, heartbeat: Heartbeat, clock: Clock
    ) -> None:
        self._board = board
        self._database = database
        self._heartbeat = heartbeat
        self._clock = clock

    def jobs(self) -> Iterator[Job]:
        """Yield what is to be registered."""
        yield Job(
            "cluster.report",
            self.report,
            "other servers do not hear that this one lives, nor how its stores are",
            period_seconds=HEARTBEAT_SECONDS,
            limit_seconds=REPORT_SECONDS_MAX,
            scope=Scope.SERVER,
        )
        yield Job(
            "readiness.look",
            self.look,
            "how the database is gets known by heartbeats alone",
            period_seconds=LOOK_SECONDS,
            limit_seconds=LOOK_SECONDS_MAX,
            scope=Scope.SERVER,
            at_once=True,
        )

    async def report(self) -> None:
        """Say that the server lives: the one write that shows whether the database takes writes."""
        try:
            found = await self._heartbeat.beat()
        except CancelledError:
            self._note(Check.DATABASE_WRITE, Reason.LATE)
            raise
        except Exception as error:
            self._note(Check.DATABASE_WRITE, why(error))
            raise
        self._note(Check.DATABASE_WRITE, Reason.WELL)
        self._note(Check.CLOCK, clock_reason(found.clock_error))

    async def look(self) -> None:
        """Look how the database is, where no request looks just now."""
        try:
            found = await self._database.examine()
        except CancelledError:
            self._note(Check.DATABASE_READ, Reason.LATE)
            raise
        self._note(Check.DATABASE_READ, _reason(found.read))
        if found.read is None:
            self._note(Check.SCHEMA, _reason(found.schema))
        self._board.note_file(_reason(found.write), self._clock.monotonic())

    def _note(self, check: Check, reason: Reason) -> None:
        self._board.note(check, reason, self._clock.monotonic())


def _reason(error: Exception | None) -> Reason:
    return Reason.WELL if error is None else why(error)
