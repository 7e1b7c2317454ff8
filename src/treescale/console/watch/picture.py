"""What a cluster looks like now: its rows, and what this server sees of the others by itself. Pure.

Rows say that somebody is silent only after three heartbeats; pings, within a second or so. So who
is up by the rows and is not reached from here counts as silent: whether it is down, or only the way
to it, nobody here can tell, and nothing that lies on it can be read from here.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from treescale.chunks.format.placement import PARTITIONS
from treescale.cluster.status import ClusterStatus, Condition, ServerView, StoreView
from treescale.metadata.records import LostData, StoreWalk

READABLE: Final = (Condition.UP, Condition.FULL)
STEADY_LOOKS_MIN: Final = 3
"""From so few looks at a walk nobody can say how long it takes."""


def as_reached(seen: ClusterStatus, reached: Mapping[str, bool]) -> ClusterStatus:
    """Return the picture in which who is not reached is silent; `reached` by the server's id."""
    away = {name for name, is_reached in reached.items() if not is_reached}
    return replace(
        seen,
        servers=tuple(_server(one, away) for one in seen.servers),
        stores=tuple(_store(one, away) for one in seen.stores),
    )


def _server(server: ServerView, away: Collection[str]) -> ServerView:
    if server.server_id not in away or server.condition is not Condition.UP:
        return server
    return replace(server, condition=Condition.SILENT, throughput=None)


def _store(store: StoreView, away: Collection[str]) -> StoreView:
    if store.record.server_id not in away or store.condition is Condition.STOPPED:
        return store
    return replace(store, condition=Condition.SILENT, server_condition=Condition.SILENT)


def labels(seen: ClusterStatus) -> dict[str, str]:
    """Return what people call each server, by id, or by name where it has none: apart from others.

    Machines may have the same name; their addresses are never the same.
    """
    names = Counter(server.name for server in seen.servers)
    return {
        server.server_id or server.name: f"{server.name} ({_short(server.address)})"
        if names[server.name] > 1 and server.address
        else server.name
        for server in seen.servers
    }


def _short(address: str) -> str:
    return address.partition("://")[2] or address


def alive(seen: ClusterStatus) -> frozenset[str]:
    """Return the stores that can be read."""
    return frozenset(one.record.store_id for one in seen.stores if one.condition in READABLE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether everything is whole, and the same for people, the most important first."""

    is_whole: bool
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return it in a row."""
        return " ".join(self.sentences)


def verdict(seen: ClusterStatus, copies: Sequence[int], lost: LostData) -> Verdict:
    """Return it; `copies` are those of each partition that are on stores that can be read."""
    if seen.layout is None:
        return Verdict(is_whole=False, sentences=("No server with a store has been started yet.",))
    whys = [*_whys(seen, lost)]
    wanted = min(seen.layout.copies, len(seen.layout.stores))
    if not whys and min(copies, default=0) >= wanted:
        many = f"{wanted} copies" if wanted > 1 else "one copy"
        told = f"Everything is whole: each of the {PARTITIONS:,} partitions has its {many}."
        return Verdict(is_whole=True, sentences=(told,))
    return Verdict(is_whole=False, sentences=(*whys, *_pulls(copies, wanted)))


def _whys(seen: ClusterStatus, lost: LostData) -> Iterator[str]:
    called = labels(seen)
    if lost.chunks:
        yield f"{_many(lost.chunks, 'chunk')} of {_many(lost.blobs, 'blob')} are lost."
    for server in seen.servers:
        if server.condition is Condition.SILENT:
            yield f"{called[server.server_id or server.name]} does not answer."
        elif server.condition is Condition.STOPPED and server.stores:
            yield f"{called[server.server_id or server.name]} was stopped."
    for store in seen.stores:
        if store.in_layout and store.server_condition is Condition.UP and not _is_read(store):
            yield f"The disk {store.record.path} of {store.record.server} is in trouble."
    members = [store for store in seen.stores if store.in_layout]
    missing = sum(store.walk.missing for store in members if store.walk) + seen.owed
    if missing:
        yield f"{_many(missing, 'copy')} {'is' if missing == 1 else 'are'} still to be made."
    if seen.layout_due:
        yield "The layout is about to change."
    # Of a server that is away nobody looks: that it is away has been said.
    pending = sum(_pending(seen, store) for store in members if _is_read(store))
    if pending and len(members) > 1:
        yield f"{_many(pending, 'partition')} of stores are still to be looked at."


def _pulls(copies: Sequence[int], wanted: int) -> Iterator[str]:
    without, fewer = sum(not one for one in copies), sum(0 < one < wanted for one in copies)
    if without:
        yield (
            f"{_many(without, 'partition')} of {PARTITIONS:,} {'has' if without == 1 else 'have'} "
            "no copy that can be read now: what lies there cannot be pulled until a server with it "
            "is back."
        )
    else:
        yield "Pulls go on: each partition has a copy that can be read."
    if fewer:
        has = "has" if fewer == 1 else "have"
        yield f"{_many(fewer, 'partition')} of {PARTITIONS:,} {has} fewer copies than {wanted}."


def _is_read(store: StoreView) -> bool:
    return store.condition in READABLE


def _pending(seen: ClusterStatus, store: StoreView) -> int:
    assert seen.layout is not None, "it is a member of one"
    if store.walk is None or store.walk.layout != seen.layout.number:
        return PARTITIONS
    return store.walk.pending


def _many(count: int, what: str) -> str:
    if count == 1:
        return f"one {what}"
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count:,} {plural}"


@dataclass(frozen=True, slots=True)
class Looked:
    """How much was left of a walk at a moment, in monotonic seconds."""

    at: float
    left: int


def work_left(walk: StoreWalk) -> int:
    """Return what a walk has to do before its store is whole: partitions and copies together."""
    return walk.pending + walk.missing + walk.misplaced


def seconds_left(looks: Sequence[Looked]) -> float | None:
    """Return how long it takes at the pace of these looks, oldest first; None: nobody knows."""
    if not looks or not looks[-1].left or len(looks) < STEADY_LOOKS_MIN:
        return None
    first, last = looks[0], looks[-1]
    done, seconds = first.left - last.left, last.at - first.at
    return last.left * seconds / done if done > 0 and seconds > 0 else None
