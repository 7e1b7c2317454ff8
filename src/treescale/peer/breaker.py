"""Whether another server may be asked: one table of states, and the counts that make its events.

Two things are told apart. A server that is *silent* (refused, cut off, pings missed) is asked again
as soon as it answers a ping. One that *fails* (it answers pings, and not what it is asked: a disk
hangs) is asked again by one request at a time, first after a second, later after up to thirty;
a ping says nothing about what fails there. (faults.md section 6)

    up ──5 failures──> failing ──time for a probe──> probing ──answered──> up
     │                    ^                             │
     │                    └────────── failed ───────────┘
     ├──2 pings missed──> suspect ──4 pings missed──> down
     └──refused, lost───────────────────────────────> down
    suspect, down ──ping answered──> up          failing, probing: as up when silent
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

PINGS_MISSED_SUSPECT: Final = 2
PINGS_MISSED_DOWN: Final = 4
FAILURES_MAX: Final = 5
"""So many requests in a row that failed, and no more are sent."""
PROBE_SECONDS_MIN: Final = 1.0
PROBE_SECONDS_MAX: Final = 30.0
PROBE_JITTER: Final = 0.25
"""By up to this fraction a probe comes earlier: servers must not all probe at once."""


class State(Enum):
    """What is known of another server."""

    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
    FAILING = "failing"
    PROBING = "probing"


class Event(Enum):
    """What was seen of it."""

    PONG = "a ping was answered"
    MISSED = "some pings in a row were not answered"
    SILENT = "many pings in a row were not answered"
    GONE = "nobody listens there, or not the one that should"
    ANSWERED = "a request was answered"
    FAILED = "a request was not answered in time, or broke off"
    FAILED_OFTEN = "many requests in a row failed"
    CANCELLED = "a request was given up by whoever made it"
    PROBED = "a request is sent to see whether it is answered"


_UP, _SUSPECT, _DOWN, _FAILING, _PROBING = State

TABLE: Final[Mapping[tuple[State, Event], State]] = {
    (_UP, Event.PONG): _UP,
    (_UP, Event.MISSED): _SUSPECT,
    (_UP, Event.GONE): _DOWN,
    (_UP, Event.ANSWERED): _UP,
    (_UP, Event.FAILED): _UP,
    (_UP, Event.FAILED_OFTEN): _FAILING,
    (_UP, Event.CANCELLED): _UP,
    (_SUSPECT, Event.PONG): _UP,
    (_SUSPECT, Event.MISSED): _SUSPECT,
    (_SUSPECT, Event.SILENT): _DOWN,
    (_SUSPECT, Event.GONE): _DOWN,
    # What was asked before goes on. Pings alone tell whether new requests get through.
    (_SUSPECT, Event.ANSWERED): _SUSPECT,
    (_SUSPECT, Event.FAILED): _SUSPECT,
    (_SUSPECT, Event.CANCELLED): _SUSPECT,
    (_DOWN, Event.PONG): _UP,
    (_DOWN, Event.MISSED): _DOWN,
    (_DOWN, Event.SILENT): _DOWN,
    (_DOWN, Event.GONE): _DOWN,
    (_DOWN, Event.ANSWERED): _DOWN,
    (_DOWN, Event.FAILED): _DOWN,
    (_DOWN, Event.CANCELLED): _DOWN,
    (_FAILING, Event.PONG): _FAILING,
    (_FAILING, Event.MISSED): _SUSPECT,
    (_FAILING, Event.GONE): _DOWN,
    (_FAILING, Event.ANSWERED): _UP,
    (_FAILING, Event.FAILED): _FAILING,
    (_FAILING, Event.CANCELLED): _FAILING,
    (_FAILING, Event.PROBED): _PROBING,
    (_PROBING, Event.PONG): _PROBING,
    (_PROBING, Event.MISSED): _SUSPECT,
    (_PROBING, Event.GONE): _DOWN,
    (_PROBING, Event.ANSWERED): _UP,
    (_PROBING, Event.FAILED): _FAILING,
    (_PROBING, Event.CANCELLED): _FAILING,
}
"""A pair that is not here cannot happen: `Breaker` makes no such event in that state."""


class Breaker:
    """The state of one other server. Times are monotonic seconds; `chance` gives 0 up to 1."""

    def __init__(self, chance: Callable[[], float]) -> None:
        self.state = State.UP
        """Up until something else is known: a server that has just started asks at once."""
        self._chance = chance
        self._missed = 0
        self._failures = 0
        self._wait = PROBE_SECONDS_MIN
        self._probe_at = 0.0

    def would_admit(self, now: float) -> bool:
        """Say whether a request would be let through now."""
        return self.state is State.UP or (self.state is State.FAILING and now >= self._probe_at)

    def admit(self) -> None:
        """Let a request through, when `would_admit`; its end must be told, whatever it is."""
        if self.state is State.FAILING:
            self._move(Event.PROBED)

    def pong(self) -> None:
        """Take notice of an answered ping."""
        self._missed = 0
        if self.state in (State.SUSPECT, State.DOWN):
            self._failures = 0  # of requests that were under way when it went
        self._move(Event.PONG)

    def missed(self) -> None:
        """Take notice of a ping that was not answered in time."""
        self._missed += 1
        if self._missed >= PINGS_MISSED_DOWN:
            self._move(Event.SILENT)
        elif self._missed >= PINGS_MISSED_SUSPECT:
            self._move(Event.MISSED)

    def gone(self) -> None:
        """Take notice that nobody listens there."""
        self._move(Event.GONE)

    def answered(self) -> None:
        """Take notice of an answer to a request, whatever it says."""
        self._failures = 0
        self._wait = PROBE_SECONDS_MIN
        self._move(Event.ANSWERED)

    def failed(self, now: float) -> None:
        """Take notice of a request without an answer."""
        self._failures += 1
        probed = self.state is State.PROBING
        often = self.state is State.UP and self._failures >= FAILURES_MAX
        self._move(Event.FAILED_OFTEN if often else Event.FAILED)
        if often or probed:
            self._probe_at = now + self._wait * (1 - PROBE_JITTER * self._chance())
            self._wait = min(2 * self._wait, PROBE_SECONDS_MAX)

    def cancelled(self) -> None:
        """Take notice that a request was abandoned: it says nothing, and a probe is due again."""
        self._move(Event.CANCELLED)

    def _move(self, event: Event) -> None:
        self.state = TABLE[self.state, event]
