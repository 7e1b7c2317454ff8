"""What a cluster looks like from its database's rows alone. Pure.

Nobody is asked anything, so this works while servers are down, and says no more than the rows do:
who was heard of lately (by the database's clock, as they are written), what is owed, which layout
rules and which one is due. What an administrator should make of it is in `advice`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.chunks.placement import Layout
from treescale.metadata.records import (
    LayoutRecord,
    OwedCopies,
    ServerRecord,
    StoreRecord,
    StoreState,
    Throughput,
)
from treescale.upkeep.members import (
    WATCH,
    Held,
    View,
    Wish,
    decide,
    layout_of,
    live_seconds,
    wanted_copies,
)

_SPANS: Final = ((86_400, "days"), (3_600, "h"), (60, "min"))


class Condition(StrEnum):
    """How a server or store is, as far as the rows tell; the words are for people."""

    UP = "up"
    SILENT = "silent"
    TROUBLE = "in trouble"
    """Its server is up and says that the disk cannot be used."""
    UNHEARD = "stopped"
    """It said so when it ended; or it was of a version that sends no heartbeats."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database says at one moment; `now` is its own time, as `seen` is in the rows."""

    servers: tuple[ServerRecord, ...]
    stores: tuple[StoreRecord, ...]
    layout: LayoutRecord | None
    owed: tuple[OwedCopies, ...]
    copies_asked: int | None
    now: float


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


@dataclass(frozen=True, slots=True)
class StoreView:
    """A store."""

    record: StoreRecord
    server_condition: Condition
    condition: Condition
    in_layout: bool
    owed: int
    owed_since: float | None

    @property
    def label(self) -> str:
        """Return what people call it: where it is. `targets.find` understands it."""
        return f"{self.record.server}:{self.record.path}"

    @property
    def fill(self) -> float | None:
        """Return the used part of its disk, from 0 to 1; None when its server has not said."""
        total, free = self.record.bytes_total, self.record.bytes_free
        if not total or free is None:
            return None
        return (total - free) / total


@dataclass(frozen=True, slots=True)
class Overview:
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
    held: Mapping[str, Held]
    """The stores that should leave the layout but must stay, and why."""
    owed: int
    owed_since: float | None
    owed_to_forgotten: tuple[OwedCopies, ...]
    """Debts to stores that are no more: somebody stopped half-way through forgetting them."""


def overview(rows: Rows) -> Overview:
    """Return the picture."""
    servers = _servers(rows)
    conditions = {server.server_id: server.condition for server in servers}
    debts = {debt.store_id: debt for debt in rows.owed}
    layout = None if rows.layout is None else layout_of(rows.layout)
    members = {label.store_id for label in layout.stores} if layout else set()
    stores = tuple(
        _store(store, rows, conditions, debts.pop(store.store_id, None), members)
        for store in rows.stores
    )
    decision = decide(View(layout, rows.stores, WATCH, rows.now), Wish(rows.copies_asked))
    return Overview(
        now=rows.now,
        servers=servers,
        stores=stores,
        layout=layout,
        layout_created=None if rows.layout is None else rows.layout.created,
        layout_due=decision.layout is not None,
        copies_asked=rows.copies_asked,
        copies_wanted=wanted_copies(rows.copies_asked, rows.stores),
        held=decision.held,
        owed=sum(debt.copies for debt in rows.owed),
        owed_since=min((debt.since for debt in rows.owed), default=None),
        owed_to_forgotten=tuple(debts.values()),
    )


def in_words(seconds: float) -> str:
    """Return a length of time as people say it: `40 s`, `12 min`, `3 h`, `5 days`."""
    for length, unit in _SPANS:
        if seconds >= 2 * length or (seconds >= length and unit != "days"):
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _servers(rows: Rows) -> tuple[ServerView, ...]:
    """Return those that have a row, by name, then those that only their stores speak of."""
    owners = Counter(store.server_id for store in rows.stores)
    known = [
        ServerView(
            server_id=server.server_id,
            name=server.name,
            address=server.address,
            zone=server.zone,
            started=server.started,
            heard=server.seen or None,
            condition=_heard(server.seen, rows.now),
            stores=owners[server.server_id],
            throughput=server.throughput if _heard(server.seen, rows.now) is Condition.UP else None,
        )
        for server in sorted(rows.servers, key=lambda server: (server.name, server.address))
    ]
    ids = {server.server_id for server in rows.servers}
    return (*known, *_without_row(store for store in rows.stores if store.server_id not in ids))


def _without_row(stores: Iterable[StoreRecord]) -> Iterable[ServerView]:
    counts = Counter((store.server_id, store.server, store.zone) for store in stores)
    for (server_id, name, zone), count in sorted(counts.items()):
        yield ServerView(server_id, name, "", zone, None, None, Condition.UNHEARD, count, None)


def _store(
    store: StoreRecord,
    rows: Rows,
    conditions: Mapping[str, Condition],
    debt: OwedCopies | None,
    members: set[str],
) -> StoreView:
    server = conditions[store.server_id]
    condition = Condition.UNHEARD if server is Condition.UNHEARD else _heard(store.seen, rows.now)
    if store.trouble and server is Condition.UP:
        condition = Condition.TROUBLE
    return StoreView(
        record=store,
        server_condition=server,
        condition=condition,
        in_layout=store.store_id in members,
        owed=debt.copies if debt else 0,
        owed_since=debt.since if debt else None,
    )


def _heard(seen: float, now: float) -> Condition:
    """Return whether that is lately, as `members` sees it."""
    if not seen:
        return Condition.UNHEARD
    return Condition.UP if abs(now - seen) <= live_seconds else Condition.SILENT


def drained(store: StoreView) -> bool:
    """Return whether it was to be drained and is no home any more."""
    return store.record.state is StoreState.DRAINING and not store.in_layout
