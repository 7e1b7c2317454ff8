"""Which stores belong to the layout, decided from what the database's rows say. Pure.

A store that is heard of joins at once. One that is silent (its server is, or says that the disk is
in trouble) stays for the grace period: its copies count again when it is back, and a layout that
followed every hiccup would move data to and fro. After it, it leaves, unless that did harm: no
server's stores leave while fewer than three quarters of all are in (then the fault is probably ours
or the network's; Ceph's mon_osd_min_in_ratio), and none leaves when the rest were fewer than the
copies asked for (its data could go nowhere). A draining store is no home any more but is read on.

The same rows give the same layout on every server, and a layout that is in force stays until
something about the stores has changed. Only silence is each server's own observation: see
`SilenceWatch`.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.chunks.format.placement import Layout, StoreLabel
from treescale.cluster.liveness import LIVE_SECONDS, SilenceWatch
from treescale.errors import SettingInvalid
from treescale.lease_times import shown
from treescale.metadata.records import LayoutRecord, LayoutStore, StoreRecord, StoreState

GRACE_SECONDS: Final = 600.0
"""How long a silent store stays in the layout, unless it is set otherwise."""
IN_RATIO_MIN: Final = 0.75
"""While fewer of the active stores are in the layout, no more are put out for being silent."""
COPIES_DIGITS_MAX: Final = 9
COPIES_BY_DEFAULT: Final = 3
COPIES_SETTING: Final = "copies"
"""The name in `Settings` of how many copies are asked for; unset: see `wanted_copies`."""
COPIES_MAX: Final = 10
LAYOUTS_SEARCHED_MAX: Final = 8
"""A table takes memory and time, and each older layout is one more place to ask in vain."""


class Blocked(StrEnum):
    """Why a store that should leave the layout is still in it; the words are for people."""

    TOO_FEW_IN = "too many stores are out already: is it the network? Else forget what is lost"
    TOO_FEW_LEFT = "fewer stores than copies would be left: add a store, or ask for fewer copies"


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known at one moment; `now` is the database's time, as `seen` is in the rows."""

    layout: Layout | None
    stores: tuple[StoreRecord, ...]
    watch: SilenceWatch
    now: float


@dataclass(frozen=True, slots=True)
class Desired:
    """What the operator wants."""

    copies: int | None = None
    """None: as many as there are servers, at most 3."""
    grace_seconds: float = GRACE_SECONDS


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows."""

    layout: Layout | None
    """The next layout; None when the present one stands."""
    held: Mapping[str, Blocked]
    """The stores that should leave but must stay, and why."""


def next_layout(view: Observed, wish: Desired) -> Decision:
    """Return the layout that is due, and what is held back.

    Deciding again, when it is in force and nothing else has changed, gives None.
    """
    known = {store.store_id: store for store in view.stores}
    members = frozenset(label.store_id for label in view.layout.stores) if view.layout else ()
    copies = wanted_copies(wish.copies, view.stores)
    staying = {name for name in members if name in known}
    staying |= {store.store_id for store in view.stores if _joins(store, view, wish)}
    held: dict[str, Blocked] = {}
    for name in sorted(staying):
        if known[name].state is StoreState.DRAINING:
            _leave({name}, staying, held, copies)
    active = [store for store in view.stores if store.state is StoreState.ACTIVE]
    for group in _silent(active, staying, view.watch, wish.grace_seconds):
        inside = sum(store.store_id in staying for store in active)
        if inside < IN_RATIO_MIN * len(active):
            held |= dict.fromkeys(group, Blocked.TOO_FEW_IN)
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
    return max(1, min(COPIES_BY_DEFAULT, len(servers)))


def copies_asked(setting: str | None) -> int | None:
    """Return what the setting `copies` says, None when it is unset; raises SettingInvalid."""
    if setting is None:
        return None
    digits = setting if len(setting) <= COPIES_DIGITS_MAX else ""
    if not digits.isascii() or not digits.isdigit() or not 1 <= int(digits) <= COPIES_MAX:
        raise SettingInvalid(f"copies is a number from 1 to {COPIES_MAX}, not {shown(setting)}")
    return int(digits)


def copies_to_keep(setting: str | None, latest: LayoutRecord | None) -> int | None:
    """Return what the setting `copies` says; of one that cannot be read what is in force."""
    try:
        return copies_asked(setting)
    except SettingInvalid:
        return None if latest is None else latest.copies


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


def readable_layouts(layouts: Iterable[Layout], existing: Collection[str]) -> tuple[Layout, ...]:
    """Return the layouts by which chunks may have been placed, newest first, at most 8.

    One without any store that still exists is of no use. Of those that are alike but for forgotten
    stores the newest stands for all: without them rendezvous hashing leaves the others in the same
    order, nearly. So stores that came and went leave nothing behind. What this misses, readers make
    good: in the end they ask every store there is.
    """
    found: dict[frozenset[StoreLabel], Layout] = {}
    for layout in sorted(layouts, key=lambda layout: -layout.number):
        left = frozenset(label for label in layout.stores if label.store_id in existing)
        if left:
            found.setdefault(left, layout)
    return tuple(found.values())[:LAYOUTS_SEARCHED_MAX]


def _joins(store: StoreRecord, view: Observed, wish: Desired) -> bool:
    """Return whether the store is one to be in the layout, and alive by both clocks."""
    alive = min(LIVE_SECONDS, wish.grace_seconds)
    heard = abs(view.now - store.seen) <= alive
    active = store.state is StoreState.ACTIVE
    return active and heard and view.watch.silence(store.store_id) <= alive


def _silent(
    active: Iterable[StoreRecord], staying: Collection[str], watch: SilenceWatch, grace: float
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


def _leave(group: set[str], staying: set[str], held: dict[str, Blocked], copies: int) -> None:
    """Take the group out, unless too few stores were left."""
    if len(staying - group) < copies:
        held |= dict.fromkeys(group, Blocked.TOO_FEW_LEFT)
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
