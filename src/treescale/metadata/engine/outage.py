"""Whether the database is away, from what is heard of it. Pure: `availability` asks and waits.

| state | a call fails, or nothing is heard for a while | a probe is answered | a probe fails |
|---|---|---|---|
| HERE | DOUBTED | HERE | AWAY |
| DOUBTED | DOUBTED | HERE | AWAY |
| AWAY | AWAY | HERE | AWAY |

Only a probe decides: a call may fail because its one connection was cut, or take long because it
waits for a lock, with the database alive. While it is AWAY nobody asks but the probe, one at a time
(faults.md section 6); its first answer ends the outage.
"""

from enum import Enum, auto
from typing import Final

SILENCE_SECONDS_MAX: Final = 0.5
"""Somebody waits and nothing at all is heard for so long: then a probe is sent."""
PROBE_PAUSE_SECONDS_MIN: Final = 0.25
PROBE_PAUSE_SECONDS_MAX: Final = 2.0
"""Between two probes of a database that is away; doubled from one to the other."""


class State(Enum):
    """What is believed."""

    HERE = auto()
    DOUBTED = auto()
    AWAY = auto()


class OutageDetector:
    """What one process believes of one database. All times are monotonic seconds."""

    def __init__(self) -> None:
        self.state = State.HERE
        self._heard = 0.0
        self._probe = 0.0
        self._pause = PROBE_PAUSE_SECONDS_MIN

    def heard(self, now: float) -> None:
        """Count an answer, also one that says no. It proves nothing of a database that is away."""
        self._heard = now
        if self.state is State.DOUBTED:
            self.state = State.HERE

    def failed(self) -> None:
        """Count a call that got no answer."""
        if self.state is State.HERE:
            self.state = State.DOUBTED

    def is_probe_due(self, now: float, waiting_since: float | None) -> bool:
        """Say whether to probe now; `waiting_since` is when the oldest open call began."""
        if self.state is State.AWAY:
            return now >= self._probe
        if waiting_since is not None and now - max(waiting_since, self._heard) >= (
            SILENCE_SECONDS_MAX
        ):
            self.failed()
        return self.state is State.DOUBTED

    def probed(self, now: float, *, answered: bool) -> None:
        """Count a probe's end."""
        if answered:
            self.state = State.HERE
            self._heard = now
            self._pause = PROBE_PAUSE_SECONDS_MIN
            return
        self.state = State.AWAY
        self._probe = now + self._pause
        self._pause = min(2 * self._pause, PROBE_PAUSE_SECONDS_MAX)
