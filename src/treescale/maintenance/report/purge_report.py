"""Purges that are not over, as `treescale cluster status` shows them: who is waited for, and why.

And why nothing can be expected of a store now, which `collect --purge` says as well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from treescale.cluster.status import ClusterStatus, Condition, StoreView
from treescale.lease_times import unreadable_collection
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.collection.open_purges import ROUNDS, OpenPurge, unconfirmed

PURGES: Final = (
    Column("purge"),
    Column("since", Kind.TIME),
    Column("chunks", Kind.COUNT),
    Column("bytes", Kind.BYTES),
    Column("unconfirmed", empty="-"),
    Column("what_to_do"),
)
"""What is being purged, and which stores have not confirmed."""
_ALIVE: Final = (Condition.UP, Condition.FULL)


def purge_rows(purges: Iterable[OpenPurge], seen: ClusterStatus) -> list[Row]:
    """Return the purges that are not over, the oldest first."""
    views = {view.record.store_id: view for view in seen.stores}
    return [_row(one, views) for one in unconfirmed(list(purges))]


def silence(store: StoreView | None) -> str:
    """Return why nothing can be expected of a store now; "" when something can."""
    if store is None:
        return "it is forgotten"
    if store.condition in _ALIVE:
        return ""
    if store.condition is Condition.TROUBLE:
        return store.record.trouble
    return f"its server is {store.server_condition.value}"


def _silence(purge: OpenPurge, view: StoreView) -> str:
    """Return why nothing can be expected of a store now for this purge.

    A store that is withheld until it has unlinked all is in trouble, and at work nevertheless.
    """
    return "" if purge.stands[view.record.store_id].is_at_work else silence(view)


def _row(purge: OpenPurge, views: Mapping[str, StoreView]) -> Row:
    waited = sorted(_waited_for(purge, views), key=lambda view: view.label)
    return {
        "purge": purge.reference,
        "since": time(purge.begun),
        "actor": purge.actor,
        "chunks": purge.chunks,
        "bytes": purge.size,
        "unconfirmed": ", ".join(view.label for view in waited) or None,
        "what_to_do": _what_to_do(purge, waited),
        "stores": [
            {
                "store": view.record.store_id,
                "server": view.record.server,
                "path": view.record.path,
                "why": _silence(purge, view) or None,
                "rounds": purge.stands[view.record.store_id].rounds,
                "rounds_needed": ROUNDS,
                "looked": purge.stands[view.record.store_id].looked,
            }
            for view in waited
        ],
    }


def _waited_for(purge: OpenPurge, views: Mapping[str, StoreView]) -> Iterator[StoreView]:
    """Yield the stores that hold it up; not those that wait for them to have looked as often."""
    least = min((stand.rounds for stand in purge.stands.values()), default=ROUNDS)
    for name, stand in purge.stands.items():
        view = views.get(name)
        if view is None or stand.has_confirmed:
            continue
        if stand.rounds == least or _silence(purge, view):
            yield view


def _what_to_do(purge: OpenPurge, waited: Sequence[StoreView]) -> str:
    """Return what has it come to its end."""
    for setting in unreadable_collection(purge.collection):
        return f"nothing is unlinked, since {setting.why}: {setting.mended_by}"
    if not purge.is_trusted:
        return (
            "nothing is unlinked, since the database was restored: "
            "`treescale collect --after-restore`, if it is the right one"
        )
    if not purge.is_ready:
        return (
            "its rows are being taken away; if its command has ended, "
            f"`treescale collect --purge {purge.reference}` goes on with it, and so do servers "
            "some minutes after it began"
        )
    away = [view for view in waited if _silence(purge, view)]
    if not away:
        busy = [view.label for view in waited if purge.stands[view.record.store_id].is_at_work]
        return "nothing: " + (
            f"{', '.join(busy)} is unlinking" if busy else "the servers do it by themselves"
        )
    servers = dict.fromkeys(
        view.record.server for view in away if view.condition is not Condition.TROUBLE
    )
    disks = [view for view in away if view.condition is Condition.TROUBLE]
    told = [f"start {', '.join(servers)}"] if servers else []
    told += [f"bring back {view.label} ({silence(view)})" for view in disks]
    gone = [*servers, *(view.record.store_id for view in disks)]
    commands = ", ".join(f"`treescale cluster forget {each}`" for each in gone)
    return (
        f"{'; '.join(told)}: it is unlinked there before anything is served. If it will never come "
        f"back: {commands} (with --lost if the last copies of something are lost with it). Until "
        "then nobody can push the same chunks"
    )
