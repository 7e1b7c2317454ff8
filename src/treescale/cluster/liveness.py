"""Who is alive, and for how long who is not was silent. Pure.

By two clocks: the database's, by which rows say when somebody was heard of, and for silence each
server's own monotonic one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from treescale.metadata.records import StoreRecord

HEARTBEAT_SECONDS: Final = 5.0
"""Between two heartbeats of a server."""
LIVE_SECONDS: Final = 15.0
"""Who was heard of within this time is alive: three heartbeats."""
PRUNE_SECONDS: Final = 3600.0
"""After this time a silent server without stores is forgotten."""


@dataclass(frozen=True, slots=True)
class SilenceWatch:
    """When this server last noticed that a store was heard of, by its own monotonic clock.

    A store is silent for as long as its `seen` stays what it is, watched without a break: no clock
    of another machine is compared with ours (faults.md section 6), a database's clock that is set
    makes nobody silent, and whoever has just started, or had lost the database, has seen no silence
    yet. So after a power cut of the whole cluster nobody is put out by whoever is first.
    """

    noticed: Mapping[str, tuple[float, float]]
    """By store id: its `seen`, and the monotonic second at which it became that."""
    looked: float
    """The monotonic second of the last look."""

    def silence(self, store_id: str) -> float:
        """Return for how many seconds nothing new was heard of the store, as far as we know."""
        _, since = self.noticed.get(store_id, (0.0, self.looked))
        return self.looked - since


WATCH: Final = SilenceWatch({}, 0.0)
"""Nothing has been looked at yet."""


def watched(
    watch: SilenceWatch, stores: Iterable[StoreRecord], monotonic: float, *, gap_seconds: float
) -> SilenceWatch:
    """Return the watch after another look at the rows, at this second of the monotonic clock.

    When the last look is more than `gap_seconds` ago, the watch begins anew: whoever could not
    reach the database meanwhile is not to be blamed for it.
    """
    before = watch.noticed if monotonic - watch.looked <= gap_seconds else {}
    noticed = {}
    for store in stores:
        seen, since = before.get(store.store_id, (store.seen, monotonic))
        noticed[store.store_id] = (store.seen, since if seen == store.seen else monotonic)
    return SilenceWatch(noticed, monotonic)


def is_live(seen: float, now: float) -> bool:
    """Say whether who was seen at that moment is alive; both by the database's clock."""
    return abs(now - seen) <= LIVE_SECONDS


def clock_error(before: float, database: float, after: float) -> float:
    """Return how many seconds our clock is ahead of the database's, at least; below 0: behind.

    `before` and `after` are our clock's around the call that returned the database's time.
    """
    return max(0.0, before - database) + min(0.0, after - database)
