"""What an administrator should know and do about a cluster, in plain words. Pure.

Each piece of advice says what is the matter, what follows from it, and what to do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.chunks.format.failure_domains import FailureDomains, write_quorum
from treescale.chunks.format.placement import Layout
from treescale.cluster.layout import GRACE_SECONDS
from treescale.cluster.placement_report import NOTHING_UNCOUNTED, Uncounted
from treescale.cluster.status import ClusterStatus, Condition, ServerView, StoreView, in_words
from treescale.lease_times import Unreadable
from treescale.metadata.records import LostBlob, LostData, is_read_only

CLOCK_SECONDS_MAX: Final = 5.0
"""A clock that is further off the database's is worth a word."""
CERTIFICATE_SECONDS: Final = 14 * 86_400.0
"""A certificate that ends sooner is worth a word."""
FILL_MAX: Final = 0.9
OWED_SECONDS_MAX: Final = 3600.0
IMAGES_TOLD_MAX: Final = 20
NOTHING_LOST: Final = LostData(chunks=0, blobs=0, links=0, since=None, listed=())


@dataclass(frozen=True, slots=True)
class Advice:
    """Something to know. `about` is for scripts and does not change, `text` is for people."""

    about: str
    """pushes, read_only, lost, server, store, room, copies, layout, owed, clock, certificate or
    setting."""
    text: str


READ_ONLY: Final = Advice(
    "read_only",
    "the registry is read-only: pushes and deletions are refused, and nothing is collected. "
    "When what that was for is over: `treescale cluster set read_only=off`",
)


def advice(
    seen: ClusterStatus,
    *,
    clock_error: float = 0.0,
    lost: LostData = NOTHING_LOST,
    uncounted: Uncounted = NOTHING_UNCOUNTED,
    settings: Sequence[Unreadable] = (),
    read_only: bool = False,
) -> tuple[Advice, ...]:
    """Return what there is to say, the most urgent first; nothing when all is well.

    `clock_error` is how many seconds the clock of this machine is ahead of the database's,
    `settings` are those that cannot be read; `read_only` whether the cluster is.
    """
    found = [
        *_pushes(seen),
        *[READ_ONLY] * read_only,
        *_lost(seen, lost),
        *_servers(seen),
        *_stores(seen),
        *_copies(seen),
        *_layout(seen),
        *_owed(seen),
        *_uncounted(uncounted),
        *_clocks(seen, clock_error),
        *_certificates(seen),
        *(Advice("setting", f"{one.why}. Set it: {one.mended_by}") for one in settings),
    ]
    return tuple(found)


def _pushes(seen: ClusterStatus) -> Iterator[Advice]:
    """Compare what is up with what an acknowledgement needs (faults.md G2, G3)."""
    known = [server for server in seen.servers if server.condition is not Condition.STOPPED]
    if known and not any(server.condition is Condition.UP for server in known):
        yield Advice("pushes", "no server is up: nothing is served. Start them, and look again")
        return
    if seen.layout is None or not known:
        return
    domains = FailureDomains(seen.layout)
    up = [one.record.store_id for one in seen.stores if _usable(one)]
    need = f"copies must lie on {_few(domains.quorum, domains.level)}"
    if not domains.reach_quorum(up):
        have = len({domains.of(store_id) for store_id in up})
        yield Advice(
            "pushes",
            f"pushes are refused: {need} and {have} can be written to; pulls go on as far as the "
            f"copies reach. {_remedy(seen, domains.level)}",
        )
        return
    there = len({domains.of(label.store_id) for label in seen.layout.stores})
    if domains.quorum > 1 and there == domains.quorum:
        yield Advice(
            "pushes",
            f"{need}, and there are no more than that: while one of them is down pushes are "
            f"refused, and pulls go on. {_one_more(domains.level)}",
        )


def _remedy(seen: ClusterStatus, level: str) -> str:
    """Return what lets stores of the layout be written to that cannot be now."""
    members = [store for store in seen.stores if store.in_layout]
    full = any(store.condition is Condition.FULL for store in members)
    down = any(store.condition not in (Condition.FULL, Condition.UP) for store in members)
    room = "make room on the disks that are full, or add a disk or a server"
    back = f"bring back the {level} that are down"
    told = "; ".join([*([back] if down or not full else []), *([room] if full else [])])
    return told[0].upper() + told[1:]


def _lost(seen: ClusterStatus, lost: LostData) -> Iterator[Advice]:
    """Say what has to be pushed again, by names that can be typed."""
    if not lost.links:
        return
    images = dict.fromkeys(name for blob in lost.listed for name in images_of(blob))
    shown = [*images][:IMAGES_TOLD_MAX]
    more = len(images) - len(shown)
    others = f" and {more} more" if more else ""
    if lost.links > len(lost.listed):
        others = " and more"
    age = "" if lost.since is None else f" since {in_words(seen.now - lost.since)}"
    yield Advice(
        "lost",
        f"bytes of {_few(lost.blobs, 'blobs')} are lost{age}: every store has answered that it has "
        f"no good copy. Push these images again, the push sends what is missing: "
        f"{', '.join(shown)}{others}. If a disk that has them still exists, bring it back: a pull "
        "that finds them takes them off this list",
    )


def images_of(blob: LostBlob) -> tuple[str, ...]:
    """Return what has to be pushed again, as people name it."""
    if not blob.tags:
        return (f"{blob.repository} (without a tag, blob {blob.digest})",)
    return tuple(f"{blob.repository}:{tag}" for tag in blob.tags)


def _servers(seen: ClusterStatus) -> Iterator[Advice]:
    some_up = any(server.condition is Condition.UP for server in seen.servers)
    for server in seen.servers:
        ended = server.condition is Condition.STOPPED and server.started is not None
        if ended and server.stores and some_up:
            yield Advice(
                "server",
                f"{_called(seen, server)} was stopped: what it holds is read again when it is "
                f"started. If it will never come back, say `treescale cluster forget "
                f"{_name(seen, server)}`",
            )
        if server.condition is Condition.UP and server.unreached_by:
            yield Advice("server", _unreached(seen, server))
        if server.condition is not Condition.SILENT or server.heard is None:
            continue
        silent = seen.now - server.heard
        told = f"{_called(seen, server)} has been silent for {in_words(silent)}"
        if not server.stores:
            yield Advice("server", f"{told}; it has no stores, so nothing is missing but its API")
        elif silent <= GRACE_SECONDS:
            yield Advice(
                "server",
                f"{told}. Is it restarting? {in_words(GRACE_SECONDS)} after it was last heard of "
                "its stores leave the layout, and others take their part",
            )
        else:
            yield Advice(
                "server",
                f"{told}: start it, or, if it will never come back, say "
                f"`treescale cluster forget {_name(seen, server)}`",
            )


def _unreached(seen: ClusterStatus, server: ServerView) -> str:
    """Return what to do about a server that reaches the database, and that others do not reach."""
    servers = {each.server_id: each for each in seen.servers}
    names = sorted(_name(seen, servers[one.server_id]) for one in server.unreached_by)
    reasons = "; ".join(dict.fromkeys(one.reason for one in server.unreached_by))
    return (
        f"{_called(seen, server)} is up, but not for {', '.join(names)}: {reasons}. They do not "
        "read or write what it holds meanwhile. If it was not just killed, see that its "
        "--advertise is an address at which they reach it, and that no firewall lies between"
    )


def _stores(seen: ClusterStatus) -> Iterator[Advice]:
    for store in seen.stores:
        if store.condition is Condition.TROUBLE:
            yield Advice("store", _trouble(store))
        elif store.condition is Condition.SILENT and store.server_condition is Condition.UP:
            silent = in_words(seen.now - store.record.seen)
            yield Advice(
                "store",
                f"{store.label} has been silent for {silent} although its server is up: is it "
                "still in that server's --data? If it is gone for good, say "
                f"`treescale cluster forget {store.record.store_id}`",
            )
        if store.condition is Condition.FULL:
            yield Advice(
                "room",
                f"{store.label} is full and takes no more; what it holds is read. Add a disk or a "
                "server, or make room on the disk: it is written to again by itself",
            )
        elif store.fill is not None and store.fill >= FILL_MAX:
            yield Advice(
                "room",
                f"{store.label} is {store.fill:.0%} full: add a disk or a server before it takes "
                "no more",
            )


def _trouble(store: StoreView) -> str:
    """Return what is wrong with a store that its living server cannot use."""
    trouble = store.record.trouble
    if is_read_only(trouble):
        return (
            f"{store.label} cannot be written to: {trouble}. What it holds is read, and it is "
            "written to again by itself once that is done"
        )
    return (
        f"{store.label} cannot be used: {trouble}. It is used again by itself when it is well, "
        "after a restart of its server if that is asked for. Only if the disk is lost for good, "
        f"say `treescale cluster forget {store.record.store_id}`"
    )


def _copies(seen: ClusterStatus) -> Iterator[Advice]:
    if seen.layout is None:
        return
    placed = seen.layout.copies
    if placed < seen.copies_wanted:
        yield Advice(
            "copies",
            f"{seen.copies_wanted} copies are wanted, but new chunks get {placed}: the layout has "
            f"{_few(len(seen.layout.stores), 'stores')}. Bring stores back or add some, or ask "
            f"for fewer with `treescale cluster set copies={placed}`",
        )
    elif write_quorum(seen.layout) == 1 and _servers_in(seen.layout) > 1:
        yield Advice(
            "copies",
            "new chunks have one copy: what lies on a lost disk is lost. Say "
            "`treescale cluster set copies=2`, or 3",
        )


def _layout(seen: ClusterStatus) -> Iterator[Advice]:
    labels = {store.record.store_id: store.label for store in seen.stores}
    for store_id, why in seen.held.items():
        yield Advice("layout", f"{labels[store_id]} is to leave the layout but stays: {why}")
    if seen.layout is None and any(server.server_id for server in seen.servers):
        yield Advice("layout", "no store is in a layout yet: a server that is up makes the first")


def _owed(seen: ClusterStatus) -> Iterator[Advice]:
    age = 0.0 if seen.owed_since is None else seen.now - seen.owed_since
    if age > OWED_SECONDS_MAX:
        yield Advice(
            "owed",
            f"copies are owed since {in_words(age)}: until they are made, what lacks them has "
            f"fewer copies than it should. {_payment(seen)}",
        )
    for debt in seen.owed_to_forgotten:
        yield Advice(
            "owed",
            f"{debt.copies:,} copies are owed to {debt.store_id}, which was forgotten: say "
            f"`treescale cluster forget {debt.store_id}` once more",
        )


def _payment(seen: ClusterStatus) -> str:
    """Return what brings owed copies about."""
    down = any(store.owed and store.condition is not Condition.UP for store in seen.stores)
    back = "Bring back what is down. " if down else ""
    return f"{back}A pull that meets a home without its copy makes it"


def _uncounted(uncounted: Uncounted) -> Iterator[Advice]:
    """Say that copies may be missing of which there is no list."""
    count = uncounted.partitions
    if count:
        up_to = "" if uncounted.exact else "up to "
        yield Advice(
            "owed",
            f"how many copies are missing is not known: the layout has changed, and in {up_to}"
            f"{count:,} of {len(uncounted.homes):,} partitions a present home was none when "
            "something was pushed. That is read from where it was put, as far as those stores are "
            "still there, so keep them in service; a pull that meets a home without its copy makes "
            "it",
        )


def _clocks(seen: ClusterStatus, clock_error: float) -> Iterator[Advice]:
    """Name the servers whose clocks are not the database's; this machine's, when it is none."""
    off = [one for one in seen.servers if abs(one.clock_error or 0.0) >= CLOCK_SECONDS_MAX]
    for server in off:
        assert server.clock_error is not None, "it said so"
        yield Advice(
            "clock",
            f"the clock of {_called(seen, server)} is {_apart(server.clock_error)} the database's. "
            "What servers share goes by the database's, so nothing fails by that while none is of "
            "version 0.1.0; its log and its certificates go by its own. Let NTP set both",
        )
    if abs(clock_error) >= CLOCK_SECONDS_MAX and not off:
        yield Advice(
            "clock",
            f"this machine's clock is {_apart(clock_error)} the database's. Let NTP set both",
        )
    for server in seen.servers:
        ahead = (server.started or 0.0) - seen.now
        if ahead >= CLOCK_SECONDS_MAX and server.clock_error is None:
            yield Advice(
                "clock",
                f"{_called(seen, server)} says that it was started {in_words(ahead)} from now: "
                "its clock is ahead of the database's. Let NTP set both",
            )


def _certificates(seen: ClusterStatus) -> Iterator[Advice]:
    """Name the servers whose certificate ends soon, or has ended."""
    for server in seen.servers:
        if not certificate_is_near(server, seen.now):
            continue
        assert server.certificate_expires is not None, "it ends"
        left = server.certificate_expires - seen.now
        when = f"ends in {in_words(left)}" if left > 0 else f"has expired {in_words(-left)} ago"
        yield Advice(
            "certificate",
            f"the certificate of {_called(seen, server)} {when}: clients refuse one that has "
            "expired. Renew it: new files are taken into use by themselves; one that the server "
            "made itself (--tls-self-signed) is made anew when it is started again",
        )


def certificate_is_near(server: ServerView, now: float) -> bool:
    """Say whether the end of a server's certificate is worth a word."""
    ends = server.certificate_expires
    return ends is not None and ends - now < CERTIFICATE_SECONDS


def _apart(clock_error: float) -> str:
    side = "ahead of" if clock_error > 0 else "behind"
    return f"{in_words(abs(clock_error))} {side}"


def _usable(store: StoreView) -> bool:
    """Return whether a copy on it counts: only stores of the layout are in a failure domain."""
    return store.in_layout and store.condition is Condition.UP


def _called(seen: ClusterStatus, server: ServerView) -> str:
    """Return how people know the server, apart from others on machines of the same name."""
    name = _name(seen, server)
    return f"the server {name}" if name == server.address else f"{name} ({server.address})"


def _name(seen: ClusterStatus, server: ServerView) -> str:
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
