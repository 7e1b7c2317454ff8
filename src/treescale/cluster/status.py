"""What a cluster looks like from its database's rows alone. Pure.

Nobody is asked anything, so this works while servers are down, and says no more than the rows do:
who was heard of lately (by the database's clock, as they are written), what is owed, which layout
rules and which one is due. What an administrator should make of it is in `advice`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.chunks.format.placement import PARTITIONS, Layout
from treescale.cluster.layout import (
    Blocked,
    Desired,
    Observed,
    layout_of,
    next_layout,
    wanted_copies,
)
from treescale.cluster.liveness import LIVE_SECONDS, WATCH, is_live
from treescale.cluster.snapshot import Snapshot
from treescale.metadata.records import (
    OwedCopies,
    ServerRecord,
    StoreRecord,
    StoreState,
    StoreWalk,
    Throughput,
    Unreached,
    is_full,
)

STARTING_SECONDS: Final = LIVE_SECONDS + 10.0
"""For so long after its start others may say that they did not reach it, of before."""
QUORUM: Final = 2
"""Servers that must have a copy before a push is acknowledged, where there are several copies."""
_SPANS: Final = ((86_400, "days"), (3_600, "h"), (60, "min"))


class Condition(StrEnum):
    """How a server or store is, as far as the rows tell; the words are for people."""

    UP = "up"
    SILENT = "silent"
    TROUBLE = "in trouble"
    """Its server is up and says that the disk cannot be used."""
    FULL = "full"
    """Its server is up and says that it takes no more; what it holds is read."""
    STOPPED = "stopped"
    """It said so when it ended; or it was of a version that sends no heartbeats."""


@dataclass(frozen=True, slots=True)
class ServerView:
    """A server; without an id it is only the name that its stores' rows give it."""

    server_id: str
    name: str
    address: str
    zone: str
    started: float | None
    heard: float | None
    condition: Condition
    stores: int
    throughput: Throughput | None
    """None when it has not said, or is not up: what passed through it then is no news."""
    version: str = ""
    """"" of one that says none."""
    clock_error: float | None = None
    """How many seconds its clock is ahead of the database's; None when it has not said, or is not
    up."""
    certificate_expires: float | None = None
    """None without TLS, when it has not said, or is not up."""
    unreached_by: tuple[Unreached, ...] = ()
    """The servers that are up and do not reach it, with the reason of each."""


@dataclass(frozen=True, slots=True)
class StoreView:
    """A store."""

    record: StoreRecord
    server_condition: Condition
    condition: Condition
    in_layout: bool
    owed: int
    owed_since: float | None
    walk: StoreWalk | None = None
    """Where its walk stands; None before it began, and of one whose server does not walk."""

    @property
    def label(self) -> str:
        """Return what people call it: where it is. `lookup.resolve` understands it."""
        return f"{self.record.server}:{self.record.path}"

    @property
    def fill(self) -> float | None:
        """Return the used part of its disk, from 0 to 1; None when its server has not said."""
        total, free = self.record.bytes_total, self.record.bytes_free
        if not total or free is None:
            return None
        return (total - free) / total


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """The cluster."""

    now: float
    servers: tuple[ServerView, ...]
    stores: tuple[StoreView, ...]
    layout: Layout | None
    layout_created: float | None
    layout_due: bool
    """Whether the rows ask for another layout, which the next server that looks puts in force."""
    copies_asked: int | None
    copies_wanted: int
    held: Mapping[str, Blocked]
    """The stores that should leave the layout but must stay, and why."""
    owed: int
    owed_since: float | None
    owed_to_forgotten: tuple[OwedCopies, ...]
    """Debts to stores that are no more: somebody stopped half-way through forgetting them."""


def status_of(snapshot: Snapshot) -> ClusterStatus:
    """Return the picture."""
    servers = _servers(snapshot)
    conditions = {server.server_id: server.condition for server in servers}
    debts = {debt.store_id: debt for debt in snapshot.missing}
    layout = None if snapshot.layout is None else layout_of(snapshot.layout)
    members = {label.store_id for label in layout.stores} if layout else set()
    stores = tuple(
        _store(store, snapshot, conditions, debts.pop(store.store_id, None), members)
        for store in snapshot.stores
    )
    decision = next_layout(
        Observed(layout, snapshot.stores, WATCH, snapshot.now), Desired(snapshot.copies_asked)
    )
    return ClusterStatus(
        now=snapshot.now,
        servers=servers,
        stores=stores,
        layout=layout,
        layout_created=None if snapshot.layout is None else snapshot.layout.created,
        layout_due=decision.layout is not None,
        copies_asked=snapshot.copies_asked,
        copies_wanted=wanted_copies(snapshot.copies_asked, snapshot.stores),
        held=decision.held,
        owed=sum(debt.copies for debt in snapshot.missing),
        owed_since=min((debt.since for debt in snapshot.missing), default=None),
        owed_to_forgotten=tuple(debts.values()),
    )


def in_words(seconds: float) -> str:
    """Return a length of time as people say it: `40 s`, `12 min`, `3 h`, `5 days`."""
    for length, unit in _SPANS:
        if seconds >= 2 * length or (seconds >= length and unit != "days"):
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _servers(snapshot: Snapshot) -> tuple[ServerView, ...]:
    """Return those that have a row, by name, then those that only their stores speak of."""
    owners = Counter(store.server_id for store in snapshot.stores)
    up = {
        one.server_id for one in snapshot.servers if _heard(one.seen, snapshot.now) is Condition.UP
    }
    known = [
        ServerView(
            server_id=server.server_id,
            name=server.name,
            address=server.address,
            zone=server.zone,
            started=server.started,
            heard=server.seen or None,
            condition=_heard(server.seen, snapshot.now),
            stores=owners[server.server_id],
            throughput=server.throughput if server.server_id in up else None,
            version=server.version,
            clock_error=server.clock_error if server.server_id in up else None,
            certificate_expires=server.certificate_expires if server.server_id in up else None,
            unreached_by=_unreached_by(server, snapshot, up),
        )
        for server in sorted(snapshot.servers, key=lambda server: (server.name, server.address))
    ]
    ids = {server.server_id for server in snapshot.servers}
    return (*known, *_without_row(store for store in snapshot.stores if store.server_id not in ids))


def _unreached_by(server: ServerRecord, snapshot: Snapshot, up: set[str]) -> tuple[Unreached, ...]:
    """Return who does not reach it; nobody while it may only have been started just now."""
    if snapshot.now - server.started < STARTING_SECONDS:
        return ()
    return tuple(
        Unreached(other.server_id, one.reason)
        for other in snapshot.servers
        if other.server_id in up
        for one in other.unreached
        if one.server_id == server.server_id
    )


def _without_row(stores: Iterable[StoreRecord]) -> Iterable[ServerView]:
    counts = Counter((store.server_id, store.server, store.zone) for store in stores)
    for (server_id, name, zone), count in sorted(counts.items()):
        yield ServerView(server_id, name, "", zone, None, None, Condition.STOPPED, count, None)


def _store(
    store: StoreRecord,
    snapshot: Snapshot,
    conditions: Mapping[str, Condition],
    debt: OwedCopies | None,
    members: set[str],
) -> StoreView:
    server = conditions[store.server_id]
    condition = (
        Condition.STOPPED if server is Condition.STOPPED else _heard(store.seen, snapshot.now)
    )
    if store.trouble and server is Condition.UP:
        condition = Condition.FULL if is_full(store.trouble) else Condition.TROUBLE
    return StoreView(
        record=store,
        server_condition=server,
        condition=condition,
        in_layout=store.store_id in members,
        owed=debt.copies if debt else 0,
        owed_since=debt.since if debt else None,
        walk=next((walk for walk in snapshot.walks if walk.store_id == store.store_id), None),
    )


def _heard(seen: float, now: float) -> Condition:
    """Return whether that is lately, as `layout` sees it."""
    if not seen:
        return Condition.STOPPED
    return Condition.UP if is_live(seen, now) else Condition.SILENT


def drained(store: StoreView) -> bool:
    """Return whether it was to be drained and is no home any more."""
    return store.record.state is StoreState.DRAINING and not store.in_layout


@dataclass(frozen=True, slots=True)
class Redundancy:
    """What may be done to a server now."""

    may_stop: bool
    """Whether any one server may be stopped, and everything can be pulled on."""
    text: str
    """The same for people: what it is that has to be waited for."""


def redundancy(seen: ClusterStatus) -> Redundancy:
    """Return whether any one server may be stopped, as far as the rows tell."""
    members = [store for store in seen.stores if store.in_layout]
    servers = {store.record.server_id or store.record.server for store in members}
    if seen.layout is None or min(seen.layout.copies, len(servers)) < QUORUM:
        text = "none may be stopped unnoticed: each chunk is on one server only"
        return Redundancy(may_stop=False, text=text)
    whys = [*_whys(seen, seen.layout, members)]
    if whys:
        return Redundancy(may_stop=False, text=f"wait: {'; '.join(whys)}")
    meanwhile = "; pushes are refused meanwhile" if len(servers) == QUORUM else ""
    return Redundancy(may_stop=True, text=f"any one server may be stopped now{meanwhile}")


def _whys(seen: ClusterStatus, layout: Layout, members: Sequence[StoreView]) -> Iterator[str]:
    """Yield what has to be waited for."""
    away = sorted({store.record.server for store in members if not _is_read(store)})
    if away:
        yield f"stores of {', '.join(away)} are away"
    if seen.layout_due:
        yield "the layout is about to change"
    missing = sum(store.walk.missing for store in members if store.walk) + seen.owed
    if missing:
        yield f"{missing:,} copies are missing"
    looking = sum(_unlooked(store, layout.number) for store in members if _is_read(store))
    if looking:
        yield f"{looking:,} partitions are still to be looked at"


def _is_read(store: StoreView) -> bool:
    return store.condition in (Condition.UP, Condition.FULL)


def _unlooked(store: StoreView, layout: int) -> int:
    """Return how many of its partitions were not looked at under the layout in force."""
    if store.walk is None or store.walk.layout != layout:
        return PARTITIONS
    return store.walk.pending
