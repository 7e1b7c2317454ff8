"""What the requests around a fault came to: how many failed, how long pulls took and when."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from treescale.clock import SystemClock

CLOCK = SystemClock()
"""Beside the servers' own logs."""
PUSHES = frozenset({"push", "manifest push"})
PULLS = frozenset({"pull", "new pull"})
RESET_SECONDS_MAX = 1.5
"""Within which a server that refuses is noticed: by the next packet, of which a ping is one."""
SILENT_SECONDS_MAX = 5.0
"""Within which one that says nothing is: three pings, and what a busy machine adds."""
WRONG = "wrong bytes"
COLUMNS = (
    "fault | requests | failed | refused | wrong bytes | acknowledged, unreadable | noticed, s | "
    "back, s | pulls p50/p99 before, s | during | after | slowest, s"
)


@dataclass(frozen=True)
class Sent:
    """A request and how it ended; `failure` is empty when as it should."""

    kind: str
    at: float
    seconds: float
    failure: str = ""
    refused: bool = False
    """It was a 503 that says when to try again."""


class Record:
    """The requests of one test, and between which moments there was a fault."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.began = math.inf
        self.ended = math.inf

    @contextmanager
    def fault(self) -> Iterator[float]:
        """Note when the fault begins and ends; give its beginning, since the epoch."""
        self.began = CLOCK.now()
        yield self.began
        self.ended = CLOCK.now()

    @property
    def failures(self) -> list[Sent]:
        """Return the requests that failed, for whatever reason."""
        return [sent for sent in self.sent if sent.failure]

    @property
    def broken(self) -> list[Sent]:
        """Return those that were not even refused as they should be."""
        return [sent for sent in self.failures if not sent.refused]

    def of(
        self, kinds: frozenset[str], *, since: float = 0.0, until: float = math.inf
    ) -> list[Sent]:
        """Return the requests of these kinds that began in that time."""
        return [sent for sent in self.sent if sent.kind in kinds and since <= sent.at < until]

    def slowest(self, percent: float, *, since: float = 0.0, until: float = math.inf) -> float:
        """Return what so many of a hundred requests begun in that time stayed under, in seconds."""
        return below([sent for sent in self.sent if since <= sent.at < until], percent)

    def row(
        self,
        fault: str,
        *,
        lost: Sequence[str],
        noticed: Sequence[float] = (),
        back: Sequence[float] = (),
    ) -> str:
        """Return it as a line under COLUMNS; of several servers that noticed, the slowest."""
        pulls = [
            self.of(PULLS, until=self.began),
            self.of(PULLS, since=self.began, until=self.ended),
            self.of(PULLS, since=self.ended),
        ]
        cells = [
            fault,
            str(len(self.sent)),
            str(len(self.broken)),
            str(len(self.failures) - len(self.broken)),
            str(sum(WRONG in sent.failure for sent in self.sent)),
            str(len(lost)),
            f"{max(noticed):.2f}" if noticed else "-",
            f"{max(back):.2f}" if back else "-",
            *(f"{below(s, 50):.3f}/{below(s, 99):.3f}" if s else "-" for s in pulls),
            f"{self.slowest(100):.2f}",
        ]
        return " | ".join(cells)


def below(sent: Sequence[Sent], percent: float) -> float:
    """Return what so many of a hundred of these requests stayed under, in seconds."""
    took = sorted(one.seconds for one in sent)
    return took[min(len(took) - 1, int(len(took) * percent / 100))]
