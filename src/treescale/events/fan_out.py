"""One reading of the log for many followers: a bounded queue for each. Pure.

A follower that does not take what is there costs nobody: when its queue is full it is let go of,
and reads on in the log by itself, from where it was, until it is level again.

    level ──publish──► level, its queue longer
      │
      ├──publish, the queue is full──► behind ──attach──► level
      └──let go, with its queue──────► behind
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from treescale.metadata.events.recorded import Place, Recorded
from treescale.metadata.records import Repository

QUEUE_MAX: Final = 256
"""Events that wait for one follower: some 150 KB."""
_START: Final = Place(0)
Told = tuple[Recorded, Repository | None]
"""An event, and the repository of its name as it is now."""
Select = Callable[[Recorded, Repository | None], Recorded | None]
"""Returns the event as a follower is shown it; None when it is not."""


@dataclass(slots=True, eq=False)
class Follower:
    """Whoever follows: how far the log was looked through for it, and what waits."""

    select: Select
    place: Place
    """All up to here was looked at."""
    waiting: deque[Recorded] = field(default_factory=deque)
    taken: Place = _START
    """All up to here it has taken, or was not shown."""
    behind: bool = True

    def __post_init__(self) -> None:
        """Begin where it wants to."""
        self.taken = self.place

    def go_to(self, place: Place) -> None:
        """Have it stand there, with nothing that waits."""
        self.place = self.taken = place

    def take(self) -> list[Recorded]:
        """Return what waits, in order."""
        found = [*self.waiting]
        self.waiting.clear()
        self.taken = self.place
        return found


class FanOut:
    """The followers that are level with one reading of the log."""

    def __init__(self) -> None:
        self._followers: set[Follower] = set()
        self.place = Place(0)
        """How far the log was read for them."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._followers)

    def attach(self, follower: Follower) -> bool:
        """Take in a follower that has read all up to its place; False when that is too little.

        Then it has to read on by itself first.
        """
        if self._followers and follower.place.sequence < self.place.sequence:
            return False
        if not self._followers:
            self.place = follower.place
        follower.behind = False
        self._followers.add(follower)
        return True

    def detach(self, follower: Follower) -> None:
        """Let go of a follower; twice is once."""
        self._followers.discard(follower)

    def let_go(self) -> list[Follower]:
        """Have all read on by themselves, once they have taken what waits; return whom to wake."""
        found = [*self._followers]
        for follower in found:
            follower.behind = True
            self.detach(follower)
        return found

    def publish(self, page: Iterable[Told]) -> list[Follower]:
        """Queue a page of the log, in order; return whom to wake."""
        woken: dict[Follower, None] = {}
        for event, repository in page:
            place = event.place
            if place.sequence > self.place.sequence:
                self.place = place
            for follower in tuple(self._followers):
                if place.sequence <= follower.place.sequence:
                    continue
                if self._offer(follower, place, follower.select(event, repository)):
                    woken[follower] = None
        return list(woken)

    def _offer(self, follower: Follower, place: Place, seen: Recorded | None) -> bool:
        """Queue an event for a follower, if it is shown it; say whether to wake it."""
        if seen is None:
            follower.place = place
            if not follower.waiting:
                follower.taken = place
            return False
        if len(follower.waiting) >= QUEUE_MAX:
            follower.waiting.clear()
            follower.place, follower.behind = follower.taken, True
            self.detach(follower)
            return True
        follower.place = place
        follower.waiting.append(seen)
        return True
