"""What an administrator should know and do about a cluster, in plain words. Pure.

Each piece of advice says what is the matter, what follows from it, and what to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from treescale.chunks.domains import Domains, write_quorum
from treescale.chunks.placement import Layout
from treescale.upkeep.members import grace_seconds
from treescale.upkeep.overview import Condition, Overview, ServerView, StoreView, in_words

clock_seconds_max: Final = 5.0
"""A clock that is further off the database's is worth a word; bearer tokens tolerate 60 s."""
fill_max: Final = 0.9
owed_seconds_max: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to know. `about` is for scripts and does not change, `text` is for people."""

    about: str
    """pushes, server, store, room, copies, layout, owed or clock."""
    text: str


def advice(seen: Overview, *, clock_error: float = 0.0) -> tuple[Advice, ...]:
    """Return what there is to say, the most urgent first; nothing when all is well.

    `clock_error` is how many seconds the clock of this machine is ahead of the database's.
    """
    found = [
        *_pushes(seen),
        *_servers(seen),
        *_stores(seen),
        *_copies(seen),
        *_layout(seen),
        *_owed(seen),
        *_clocks(seen, clock_error),
    ]
    return tuple(found)


def _pushes(seen: Overview) -> Iterator[Advice]:
    """Compare what is up with what an acknowledgement needs (faults.md G2, G3)."""
    known = [server for server in seen.servers if server.condition is not Condition.UNHEARD]
    if known and not any(server.condition is Condition.UP for server in known):
        yield Advice("pushes", "no server is up: nothing is served. Start them, and look again")
        return
    if seen.layout is None or not known:
        return
    domains = Domains(seen.layout)
    up = [one.record.store_id for one in seen.stores if _usable(one)]
    need = f"copies must lie on {_few(domains.quorum, domains.level)}"
    if not domains.spans(up):
        have = len({domains.of(store_id) for store_id in up})
        yield Advice(
            "pushes",
            f"pushes are refused: {need} and {have} can be written to; pulls go on as far as the "
            f"copies reach. Bring back the {domains.level} that are down",
        )
        return
    there = len({domains.of(label.store_id) for label in seen.layout.stores})
    if domains.quorum > 1 and there == domains.quorum:
        yield Advice(
            "pushes",
            f"{need}, and there are no more than that: while one of them is down pushes are "
            f"refused, and pulls go on. {_one_more(domains.level)}",
        )


def _servers(seen: Overview) -> Iterator[Advice]:
    for server in seen.servers:
        if server.condition is not Condition.SILENT or server.heard is None:
            continue
        silent = seen.now - server.heard
        told = f"{_called(seen, server)} has been silent for {in_words(silent)}"
        if not server.stores:
            yield Advice("server", f"{told}; it has no stores, so nothing is missing but its API")
        elif silent <= grace_seconds:
            yield Advice(
                "server",
                f"{told}. Is it restarting? {in_words(grace_seconds)} after it was last heard of "
                "its stores leave the layout, and others take their part",
            )
        else:
            yield Advice(
                "server",
                f"{told}: start it, or, if it will never come back, say "
                f"`treescale cluster forget {_name(seen, server)}`",
            )


def _stores(seen: Overview) -> Iterator[Advice]:
    for store in seen.stores:
        if store.condition is Condition.TROUBLE:
            yield Advice(
                "store",
                f"{store.label} cannot be used: {store.record.trouble}. Check the disk, then "
                "restart the server; if the disk is lost, say "
                f"`treescale cluster forget {store.record.store_id}`",
            )
        elif store.condition is Condition.SILENT and store.server_condition is Condition.UP:
            silent = in_words(seen.now - store.record.seen)
            yield Advice(
                "store",
                f"{store.label} has been silent for {silent} although its server is up: is it "
                "still in that server's --data? If it is gone for good, say "
                f"`treescale cluster forget {store.record.store_id}`",
            )
        if store.fill is not None and store.fill >= fill_max:
            yield Advice(
                "room",
                f"{store.label} is {store.fill:.0%} full: add a disk or a server before it takes "
                "no more",
            )


def _copies(seen: Overview) -> Iterator[Advice]:
    if seen.layout is None:
        return
    placed = seen.layout.copies
    if placed < seen.copies_wanted:
        yield Advice(
            "copies",
            f"{seen.copies_wanted} copies are wanted, but new chunks get {placed}: the layout has "
            f"{_few(len(seen.layout.stores), 'stores')}. Bring stores back or add some, or ask "
            "for fewer with `treescale cluster set copies=`",
        )
    elif write_quorum(seen.layout) == 1 and _servers_in(seen.layout) > 1:
        yield Advice(
            "copies",
            "new chunks have one copy: what lies on a lost disk is lost. Say "
            "`treescale cluster set copies=2`, or 3",
        )


def _layout(seen: Overview) -> Iterator[Advice]:
    labels = {store.record.store_id: store.label for store in seen.stores}
    for store_id, why in seen.held.items():
        yield Advice("layout", f"{labels[store_id]} is to leave the layout but stays: {why}")
    if seen.layout is None and any(server.server_id for server in seen.servers):
        yield Advice("layout", "no store is in a layout yet: a server that is up makes the first")


def _owed(seen: Overview) -> Iterator[Advice]:
    age = 0.0 if seen.owed_since is None else seen.now - seen.owed_since
    if age > owed_seconds_max:
        yield Advice(
            "owed",
            f"copies are owed since {in_words(age)}: until they are made, what lacks them has "
            "fewer copies than it should. Bring back what is down",
        )
    for debt in seen.owed_to_forgotten:
        yield Advice(
            "owed",
            f"{debt.copies:,} copies are owed to {debt.store_id}, which was forgotten: say "
            f"`treescale cluster forget {debt.store_id}` once more",
        )


def _clocks(seen: Overview, clock_error: float) -> Iterator[Advice]:
    """Compare the clocks that have left a trace with the database's."""
    if abs(clock_error) >= clock_seconds_max:
        side = "ahead of" if clock_error > 0 else "behind"
        yield Advice(
            "clock",
            f"this machine's clock is {in_words(abs(clock_error))} {side} the database's: "
            "log-ins begin to fail from 60 s on. Let NTP set both",
        )
    for server in seen.servers:
        ahead = (server.started or 0.0) - seen.now
        if ahead >= clock_seconds_max:
            yield Advice(
                "clock",
                f"{_called(seen, server)} says that it was started {in_words(ahead)} from now: "
                "its clock is ahead of the database's. Let NTP set both",
            )


def _usable(store: StoreView) -> bool:
    """Return whether a copy on it counts: only stores of the layout are in a failure domain."""
    return store.in_layout and store.condition is Condition.UP


def _called(seen: Overview, server: ServerView) -> str:
    """Return how people know the server, apart from others on machines of the same name."""
    name = _name(seen, server)
    return f"the server {name}" if name == server.address else f"{name} ({server.address})"


def _name(seen: Overview, server: ServerView) -> str:
    """Return its name, or its address when another has that name too."""
    alike = sum(each.name == server.name for each in seen.servers)
    return server.name if alike == 1 or not server.address else server.address


def _few(count: int, what: str) -> str:
    return f"{count} {what if count != 1 else what.removesuffix('s')}"


def _one_more(level: str) -> str:
    one = level.removesuffix("s")
    return f"One more {one} makes room for a failure"


def _servers_in(layout: Layout) -> int:
    return len({label.server for label in layout.stores})
