"""The cluster in figures: what its rows say of it, and of the stores of one server. Pure.

What all servers would say alike has `cluster` in its name; of single stores each server tells its
own, so that a sum over servers counts none twice.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from treescale.cluster.status import ClusterStatus, Condition, StoreView, redundancy
from treescale.maintenance.collection.state import State
from treescale.metadata.events.figures import EventFigures
from treescale.metadata.limits.level import REACHED, WARNED
from treescale.metadata.portable.last_backup import LastBackup
from treescale.metadata.records import LostData, StoreWalk
from treescale.metrics import catalog
from treescale.metrics.catalog import Metric
from treescale.metrics.page import Family, Sample, one

_OfWalk = Callable[[StoreWalk], float]
_OfCollection = Callable[[State], float]
_NOT_COLLECTED: Final = State()
_NO_EVENTS: Final = EventFigures()
_LEVELS: Final = {"warned": WARNED, "reached": REACHED}
_OF_A_SERVER: Final = (Condition.UP, Condition.SILENT, Condition.STOPPED)
_OF_A_WALK: Final[Mapping[Metric, _OfWalk]] = {
    catalog.STORE_MISSING: lambda walk: walk.missing,
    catalog.STORE_MISPLACED: lambda walk: walk.misplaced,
    catalog.STORE_PENDING: lambda walk: walk.pending,
    catalog.STORE_WALK_RATE: lambda walk: walk.rate,
    catalog.STORE_LOOKED: lambda walk: walk.looked,
    catalog.STORE_VERIFIED: lambda walk: walk.verified,
}
_OF_A_COLLECTION: Final[Mapping[Metric, _OfCollection]] = {
    catalog.STORE_WAITING: lambda state: state.waiting_bytes,
    catalog.STORE_TRASH: lambda state: state.trash_bytes,
    catalog.STORE_COLLECTION_PAUSED: lambda state: state.paused is not None,
}


@dataclass(frozen=True, slots=True)
class ClusterRows:
    """What was read of the cluster."""

    status: ClusterStatus
    lost: LostData
    collections: Mapping[str, State]
    """Where the collection of each store stands."""
    is_paused: bool
    """Whether the cluster's settings have nothing taken away."""
    read_only: bool
    """Whether nothing is pushed or deleted."""
    backup: LastBackup | None = None
    """The last one that was read back."""
    events: EventFigures = _NO_EVENTS
    quotas: Mapping[int, int] = field(default_factory=dict)
    """How many namespaces were told of each level of their quota, in percent."""


def cluster_families(rows: ClusterRows) -> Iterator[Family]:
    """Yield what every server says alike."""
    status = rows.status
    walks = [store.walk for store in status.stores if store.in_layout and store.walk is not None]
    yield _by_condition(catalog.SERVERS, (each.condition for each in status.servers), _OF_A_SERVER)
    yield _by_condition(catalog.STORES, (each.condition for each in status.stores))
    named = [each for each in status.servers if each.server_id]
    yield Family(
        catalog.SERVER_UP,
        [Sample((each.server_id, each.name), each.condition is Condition.UP) for each in named],
    )
    yield Family(
        catalog.CLOCK_ERROR,
        [
            Sample((each.server_id,), each.clock_error)
            for each in named
            if each.clock_error is not None
        ],
    )
    yield Family(
        catalog.UNREACHED_BY,
        [Sample((each.server_id,), len(each.unreached_by)) for each in named],
    )
    if status.layout is not None:
        yield one(catalog.LAYOUT, status.layout.number)
        yield one(catalog.COPIES, status.layout.copies)
    yield one(catalog.COPIES_OWED, status.owed)
    yield one(catalog.COPIES_MISSING, sum(walk.missing for walk in walks))
    yield one(catalog.COPIES_MISPLACED, sum(walk.misplaced for walk in walks))
    yield one(catalog.PARTITIONS_PENDING, sum(walk.pending for walk in walks))
    yield one(catalog.LOST_CHUNKS, rows.lost.chunks)
    yield one(catalog.LOST_BLOBS, rows.lost.blobs)
    yield one(catalog.MAY_STOP, redundancy(status).may_stop)
    yield one(catalog.COLLECTION_PAUSED, rows.is_paused)
    yield one(catalog.BACKUP_SUCCESS, 0 if rows.backup is None else rows.backup.taken)
    yield one(catalog.BACKUP_SIZE, 0 if rows.backup is None else rows.backup.bytes)
    yield one(catalog.READ_ONLY, rows.read_only)
    yield Family(
        catalog.QUOTAS,
        [Sample((name,), rows.quotas.get(level, 0)) for name, level in _LEVELS.items()],
    )
    yield from _of_events(rows)


def _of_events(rows: ClusterRows) -> Iterator[Family]:
    events = rows.events
    yield one(catalog.EVENTS_SEQUENCE, events.newest)
    yield one(catalog.EVENTS_WAITING, events.waiting)
    states = {"enabled": events.hooks_enabled, "disabled": events.hooks_disabled}
    yield Family(catalog.HOOKS, [Sample((state,), count) for state, count in states.items()])
    yield one(catalog.DELIVERIES_WAITING, events.deliveries_waiting)
    yield one(catalog.DELIVERIES_AGE, events.oldest_seconds)
    behind = 0 if events.groups_read is None else events.newest - events.groups_read
    yield one(catalog.GROUPS, events.groups)
    yield one(catalog.GROUPS_LAG, max(0, behind))


def nats_families(rows: ClusterRows) -> Iterator[Family]:
    """Yield what every server says alike where events go to NATS."""
    yield one(catalog.NATS_LAG, max(0, rows.events.newest - rows.events.read))


def own_families(rows: ClusterRows, own: Collection[str]) -> Iterator[Family]:
    """Yield what the rows say of these stores."""
    stores = [store for store in rows.status.stores if store.record.store_id in own]
    walked = [(store.record.store_id, store.walk) for store in stores if store.walk is not None]
    yield Family(
        catalog.STORE_IN_LAYOUT,
        [Sample((store.record.store_id,), store.in_layout) for store in stores],
    )
    for metric, read in _OF_A_WALK.items():
        yield Family(metric, [Sample((store_id,), read(walk)) for store_id, walk in walked])
    for metric, told in _OF_A_COLLECTION.items():
        yield Family(metric, [_collected(store, rows, told) for store in stores])


def _collected(store: StoreView, rows: ClusterRows, told: _OfCollection) -> Sample:
    state = rows.collections.get(store.record.store_id, _NOT_COLLECTED)
    return Sample((store.record.store_id,), told(state))


def _by_condition(
    metric: Metric, found: Iterable[Condition], possible: Iterable[Condition] = Condition
) -> Family:
    conditions = [*found]
    return Family(metric, [Sample((each.value,), conditions.count(each)) for each in possible])
