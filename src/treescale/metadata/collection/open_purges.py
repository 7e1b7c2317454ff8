"""Purges that are not over: what is taken away, since when, and which stores have not confirmed.

A store notes when it begins a round, and every few seconds for how many chunks it has looked, so
that whoever waits sees that it goes on (`Purging.note`). The round's end takes the note away.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    bindparam,
    case,
    func,
    select,
    update,
)

from treescale.lease_times import COLLECTION_SETTING, OFF, ON
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import Connections
from treescale.metadata.schema import purge_stores, purged_chunks, purges, settings, stores

ROUNDS: Final = 2
"""So often each store looks."""
LISTED_MAX: Final = 100
AT_WORK_SECONDS: Final = 30.0
"""A store is at work for so long after a note; notes come every 5 s, or as fast as it can."""

_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
# A restored database may be the wrong one: what the right one names must be there still (R13).
TRUSTED: Final[ColumnElement[bool]] = ~(
    select(settings.c.value)
    .where(settings.c.name == COLLECTION_SETTING, settings.c.value.not_in((ON, OFF)))
    .exists()
)
OPEN: Final = (
    select(
        purges.c.purge_id,
        purges.c.reference,
        purges.c.actor,
        purges.c.begun,
        purges.c.ready,
        select(settings.c.value)
        .where(settings.c.name == COLLECTION_SETTING)
        .scalar_subquery()
        .label("collection"),
    )
    .where(purges.c.gone.is_(None))
    .order_by(purges.c.begun, purges.c.purge_id)
    .limit(LISTED_MAX)
)
STANDS: Final = (
    select(
        purge_stores.c.purge_id,
        purge_stores.c.store_id,
        purge_stores.c.rounds,
        purge_stores.c.looked,
        (purge_stores.c.noted > DatabaseNow() - AT_WORK_SECONDS).label("at_work"),
    )
    .select_from(purge_stores.join(stores, stores.c.store_id == purge_stores.c.store_id))
    .where(purge_stores.c.purge_id.in_(_THESE))
    .order_by(purge_stores.c.purge_id, purge_stores.c.store_id)
)
_SIZES: Final = (
    select(
        purged_chunks.c.purge_id,
        func.count().label("chunks"),
        func.sum(purged_chunks.c.length).label("size"),
    )
    .where(purged_chunks.c.purge_id.in_(_THESE))
    .group_by(purged_chunks.c.purge_id)
)
_LOOKED: Final = bindparam("so_far", type_=BigInteger())
# Never fewer than before: whoever tries a round again from its beginning has not gone on by that.
NOTE: Final = (
    update(purge_stores)
    .where(
        purge_stores.c.purge_id == bindparam("purge"),
        purge_stores.c.store_id == bindparam("store"),
        purge_stores.c.rounds == bindparam("seen"),
    )
    .values(
        looked=case((purge_stores.c.looked > _LOOKED, purge_stores.c.looked), else_=_LOOKED),
        noted=DatabaseNow(),
    )
)


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a store of the cluster is with a purge."""

    rounds: int
    """How often it has looked for all of it: `ROUNDS` times are enough."""
    looked: int = 0
    """For how many chunks it has looked in the round it is at, as it noted last."""
    is_at_work: bool = field(default=False, compare=False)
    """Whether it noted that lately: it unlinks, also while it is withheld from all else."""

    @property
    def has_confirmed(self) -> bool:
        """Say whether nothing is waited for of it."""
        return self.rounds >= ROUNDS


@dataclass(frozen=True, slots=True)
class OpenPurge:
    """A purge that is not over; times are the database's."""

    purge_id: str
    reference: str
    """What was to be purged, as it was asked for."""
    actor: str
    begun: float
    is_ready: bool
    """Whether its rows are gone, so that the stores look."""
    collection: str | None
    """What the cluster's setting says; on or off, or no store looks."""
    chunks: int
    size: int
    stands: Mapping[str, Stand]
    """By store."""

    @property
    def is_trusted(self) -> bool:
        """Say whether the stores look: whether the database is known to be the right one."""
        return self.collection in (None, ON, OFF)


class OpenPurges:
    """Reads which purges are open, and how far each store is. For administration."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def list(self) -> list[OpenPurge]:
        """Return those that are open, the oldest first. Counts their chunks."""
        rows = await self._connections.rows(OPEN)
        these = {"these": [row.purge_id for row in rows]}
        if not rows:
            return []
        sizes = {row.purge_id: row for row in await self._connections.rows(_SIZES, these)}
        stands = await self.stands(these["these"])
        return [
            OpenPurge(
                row.purge_id,
                row.reference,
                row.actor,
                row.begun,
                row.ready is not None,
                row.collection,
                sizes[row.purge_id].chunks if row.purge_id in sizes else 0,
                int(sizes[row.purge_id].size) if row.purge_id in sizes else 0,
                stands[row.purge_id],
            )
            for row in rows
        ]

    async def stands(self, purge_ids: Collection[str]) -> dict[str, dict[str, Stand]]:
        """Return how far each store of the cluster is with each of these purges."""
        found: dict[str, dict[str, Stand]] = {purge_id: {} for purge_id in purge_ids}
        for row in await self._connections.rows(STANDS, {"these": list(purge_ids)}):
            stand = Stand(row.rounds, row.looked or 0, bool(row.at_work))
            found[row.purge_id][row.store_id] = stand
        return found


def unconfirmed(purges_: Sequence[OpenPurge]) -> list[OpenPurge]:
    """Return those for which a store has still to confirm, or which have rows to lose."""
    return [
        one
        for one in purges_
        if not one.is_ready or any(not stand.has_confirmed for stand in one.stands.values())
    ]
