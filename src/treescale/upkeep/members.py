"""Which stores belong to the layout, decided from what the database's rows say. Pure.

A store that is heard of joins at once. One that is silent (its server is, or says that the disk is
in trouble) stays for the grace period: its copies count again when it is back, and a layout that
followed every hiccup would move data to and fro. After it, it leaves, unless that did harm: no
server's stores leave while fewer than three quarters of all are in (then the fault is probably ours
or the network's; Ceph's mon_osd_min_in_ratio), and none leaves when the rest were fewer than the
copies asked for (its data could go nowhere). A draining store is no home any more but is read on.

The same rows give the same layout on every server, and a layout that is in force stays until
something about the stores has changed. Only silence is each server's own observation: see `Watch`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.chunks.placement import Layout, StoreLabel, Table
from treescale.errors import SettingInvalid
from treescale.metadata.records import LayoutRecord, LayoutStore, StoreRecord, StoreState

heartbeat_seconds: Final = 5.0
"""Between two heartbeats of a server."""
live_seconds: Final = 15.0
"""Who was heard of within this time is alive: three heartbeats."""
grace_seconds: Final = 600.0
"""How long a silent store stays in the layout, unless it is set otherwise."""
prune_seconds: Final = 3600.0
"""After this time a silent server without stores is forgotten."""
in_ratio_min: Final = 0.75
"""While fewer of the active stores are in the layout, no more are put out for being silent."""
copies_by_default: Final = 3
COPIES_SETTING: Final = "copies"
"""The name in `Settings` of how many copies are asked for; unset: see `wanted_copies`."""
copies_max: Final = 10
layouts_searched_max: Final = 8
"""A table takes memory and time, and each older layout is one more place to ask in vain."""


class Held(StrEnum):
    """Why a store that should leave the layout is still in it; the words are for people."""

    TOO_FEW_IN = "too many stores are out already: is it the network? Else forget what is lost"
    TOO_FEW_LEFT = "fewer stores than copies would be left: add a store, or ask for fewer copies"


@dataclass(frozen=True, slots=True)
class Watch:
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


WATCH: Final = Watch({}, 0.0)
"""Nothing has been looked at yet."""


def watched(
    watch: Watch, stores: Iterable[StoreRecord], monotonic: float, *, gap_seconds: float
) -> Watch:
    """Return the watch after another look at the rows, at this second of the monotonic clock.

    When the last look is more than `gap_seconds` ago, the watch begins anew: whoever could not
    reach the database meanwhile is not to be blamed for it.
    """
    before = watch.noticed if monotonic - watch.looked <= gap_seconds else {}
    noticed = {}
    for store in stores:
        seen, since = before.get(store.store_id, (store.seen, monotonic))
        noticed[store.store_id] = (store.seen, since if seen == store.seen else monotonic)
    return Watch(noticed, monotonic)


@dataclass(frozen=True, slots=True)
class View:
    """What is known at one moment; `now` is the database's time, as `seen` is in the rows."""

    layout: Layout | None
    stores: tuple[StoreRecord, ...]
    watch: Watch
    now: float


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator wants."""

    copies: int | None = None
    """None: as many as there are servers, at most 3."""
    grace_seconds: float = grace_seconds


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows."""

    layout: Layout | None
    """The next layout; None when the present one stands."""
    held: Mapping[str, Held]
    """The stores that should leave but must stay, and why."""


def decide(view: View, wish: Wish) -> Decision:
    """Return the layout that is due, and what is held back.

    Deciding again, when it is in force and nothing else has changed, gives None.
    """
    known = {store.store_id: store for store in view.stores}
    members = frozenset(label.store_id for label in view.layout.stores) if view.layout else ()
    copies = wanted_copies(wish.copies, view.stores)
    staying = {name for name in members if name in known}
    staying |= {store.store_id for store in view.stores if _joins(store, view, wish)}
    held: dict[str, Held] = {}
    for name in sorted(staying):
        if known[name].state is StoreState.DRAINING:
            _leave({name}, staying, held, copies)
    active = [store for store in view.stores if store.state is StoreState.ACTIVE]
    for group in _silent(active, staying, view.watch, wish.grace_seconds):
        inside = sum(store.store_id in staying for store in active)
        if inside < in_ratio_min * len(active):
            held |= dict.fromkeys(group, Held.TOO_FEW_IN)
        else:
            _leave(group, staying, held, copies)
    labels = tuple(_label(known[name]) for name in sorted(staying))
    return Decision(_next(view.layout, labels, copies), held)


def wanted_copies(asked: int | None, stores: Iterable[StoreRecord]) -> int:
    """Return how many copies are to be: what is asked for, else 3 or as many as servers.

    Silent servers count: to want fewer copies because a server is down would be to give up what
    was promised just when it is needed. Draining ones do not.
    """
    if asked is not None:
        return asked
    servers = {_server(store) for store in stores if store.state is StoreState.ACTIVE}
    return max(1, min(copies_by_default, len(servers)))


def copies_asked(setting: str | None) -> int | None:
    """Return what the setting `copies` says, None when it is unset; raises SettingInvalid."""
    if setting is None:
        return None
    if not setting.isascii() or not setting.isdigit() or not 1 <= int(setting) <= copies_max:
        raise SettingInvalid(f"copies is a number from 1 to {copies_max}, not {setting!r}")
    return int(setting)


def clock_error(before: float, database: float, after: float) -> float:
    """Return how many seconds our clock is ahead of the database's, at least; below 0: behind.

    `before` and `after` are our clock's around the call that returned the database's time.
    """
    return max(0.0, before - database) + min(0.0, after - database)


def layout_of(record: LayoutRecord) -> Layout:
    """Return the layout as placement takes it."""
    labels = (
        StoreLabel(store.store_id, store.server, store.zone, store.weight)
        for store in record.stores
    )
    return Layout(record.number, tuple(labels), record.copies)


def record_of(layout: Layout, *, created: float) -> LayoutRecord:
    """Return the layout as the database keeps it."""
    stores = (
        LayoutStore(label.store_id, label.server, label.zone, label.weight)
        for label in layout.stores
    )
    return LayoutRecord(layout.number, tuple(stores), layout.copies, created)


def searched(layouts: Iterable[Layout], existing: Collection[str]) -> tuple[Layout, ...]:
    """Return the layouts by which chunks may have been placed, newest first, at most 8.

    One without any store that still exists is of no use. Of those that are alike but for forgotten
    stores the newest stands for all: without them rendezvous hashing leaves the others in the same
    order, nearly. So stores that came and went leave nothing behind. What this misses,
    `search_order` makes good: it ends with every store there is.
    """
    found: dict[frozenset[StoreLabel], Layout] = {}
    for layout in sorted(layouts, key=lambda layout: -layout.number):
        left = frozenset(label for label in layout.stores if label.store_id in existing)
        if left:
            found.setdefault(left, layout)
    return tuple(found.values())[:layouts_searched_max]


def search_order(chunk: bytes, tables: Sequence[Table], existing: Iterable[str]) -> Iterator[str]:
    """Yield every existing store once, in the order in which the chunk is likely to be there.

    Its homes under each layout, newest first; then where a handoff would be; then all others.
    """
    there = set(existing)
    likely = [name for table in tables for name in table.homes(chunk)]
    likely += [name for table in tables[:1] for name in table.preference(chunk)]
    for name in (*likely, *sorted(there)):
        if name in there:
            there.remove(name)
            yield name


def _joins(store: StoreRecord, view: View, wish: Wish) -> bool:
    """Return whether the store is one to be in the layout, and alive by both clocks."""
    alive = min(live_seconds, wish.grace_seconds)
    heard = abs(view.now - store.seen) <= alive
    active = store.state is StoreState.ACTIVE
    return active and heard and view.watch.silence(store.store_id) <= alive


def _silent(
    active: Iterable[StoreRecord], staying: Collection[str], watch: Watch, grace: float
) -> list[set[str]]:
    """Return the members that were silent for too long, by server, the longest silent first.

    A server's stores leave together or not at all: half a dead server is no use to anybody.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for store in active:
        if store.store_id in staying and watch.silence(store.store_id) > grace:
            groups[_server(store)].add(store.store_id)

    def longest(server: str) -> tuple[float, str]:
        return -max(watch.silence(name) for name in groups[server]), server

    return [groups[server] for server in sorted(groups, key=longest)]


def _leave(group: set[str], staying: set[str], held: dict[str, Held], copies: int) -> None:
    """Take the group out, unless too few stores were left."""
    if len(staying - group) < copies:
        held |= dict.fromkeys(group, Held.TOO_FEW_LEFT)
    else:
        staying -= group


def _next(layout: Layout | None, labels: tuple[StoreLabel, ...], copies: int) -> Layout | None:
    """Return the layout of these stores if it is another than that in force."""
    placed = min(copies, len(labels))
    unchanged = layout is not None and (layout.stores, layout.copies) == (labels, placed)
    if not labels or unchanged:
        return None
    return Layout(layout.number + 1 if layout else 1, labels, placed)


def _label(store: StoreRecord) -> StoreLabel:
    return StoreLabel(store.store_id, _server(store), store.zone, store.weight)


def _server(store: StoreRecord) -> str:
    """Return the failure domain: the server's id or, of a row older than those, its name."""
    return store.server_id or store.server
