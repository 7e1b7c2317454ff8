"""What keeps the stores of one process whole: the walk of each, and the jobs asked of it.

A server has a process for that; while none runs, a command is it.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from treescale.chunks.format.placement import Table
from treescale.chunks.replication.store import ReplicatedStore
from treescale.chunks.store import ChunkStore
from treescale.clock import Clock
from treescale.cluster.lost import LossRecorder
from treescale.errors import ChunkUnknown, Corrupt, NotEnoughStores
from treescale.maintenance.collector import Collector
from treescale.maintenance.finished import teller
from treescale.maintenance.jobs import StoreJobs
from treescale.maintenance.pace import Pace
from treescale.maintenance.purger import Purger
from treescale.maintenance.walk import Walk
from treescale.maintenance.walked import WholeStore
from treescale.metadata.collection.purging import Purging
from treescale.metadata.database import Database
from treescale.metadata.missing_copies import LostChunks


class Work(NamedTuple):
    """Background work that goes on until it is cancelled."""

    name: str
    run: Callable[[], Awaitable[object]]
    means: str
    """What it means for people that it fails."""


class View(Protocol):
    """What a walk sees of the cluster, from a server or without one."""

    store: ReplicatedStore
    tables: Sequence[Table]

    def is_up(self, store_id: str) -> bool:
        """Say whether the store can be expected to answer."""
        ...

    def way_to(self, store_id: str) -> ChunkStore | None:
        """Return a way to it, None when it is not known."""
        ...


class WalkedCluster:
    """The view as a walk and its jobs ask it."""

    def __init__(self, view: View, lost: LostChunks, losses: LossRecorder) -> None:
        self._view = view
        self._lost = lost
        self._losses = losses

    @property
    def tables(self) -> Sequence[Table]:
        """Return the tables of the layouts in use, newest first."""
        return self._view.tables

    def is_up(self, store_id: str) -> bool:
        """Say whether the store can be expected to answer."""
        return self._view.is_up(store_id)

    def way_to(self, store_id: str) -> ChunkStore | None:
        """Return a way to it, None when it is not known."""
        return self._view.way_to(store_id)

    async def fetch(self, chunk: bytes, lacking: str) -> bytes:
        """Return a chunk's bytes, verified, from whoever has them, for a store that lacks them."""
        return await self._view.store.fetch(chunk, lacking)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether any store that answers has it; raises NotEnoughStores."""
        return await self._view.store.have(chunks)

    async def is_lost(self, chunk: bytes) -> bool:
        """Look for it everywhere, as a read does; say whether it is noted as lost by now.

        Raises NotEnoughStores when one that might have it cannot be asked.
        """
        away = [name for name in self._view.store.figures if not self._view.is_up(name)]
        if away:
            raise NotEnoughStores(f"{len(away)} stores cannot be asked: {', '.join(away)}")
        try:
            await self._view.store.get(chunk)
        except (ChunkUnknown, Corrupt):
            await self._losses.settle()
            if not await self._lost.among([chunk]):
                raise NotEnoughStores(
                    f"no store that answers has chunk {chunk.hex()}, and not all can be asked"
                ) from None
            return True
        await self._losses.heal([chunk])
        return False


def works(  # noqa: PLR0913  what each kind of work asks
    stores: Mapping[str, WholeStore],
    cluster: WalkedCluster,
    database: Database,
    pace: Pace,
    clock: Clock,
    *,
    actor: str,
    mends: bool = True,
    alone: bool = False,
) -> Iterator[Work]:
    """Yield what is to be done for each of these stores.

    Without `mends` none is walked, and nothing is collected by itself: then only what looks and
    changes nothing, and what is to be collected now, comes to an end. `alone`: see `Collector`.
    `actor` is who does what nobody has asked for.
    """
    tell = teller(database, actor)
    for store_id, store in stores.items():
        walk = Walk(store_id, store, cluster, database, pace, clock=clock, tell=tell)
        collector = Collector(
            store_id,
            store,
            walk.trash,
            database,
            clock=clock,
            alone=alone,
            give_way=pace.looking,
            tell=tell,
        )
        if mends:
            yield Work(
                f"store.collect/{store_id}",
                collector.run,
                "what no row names stays on this store",
            )
            yield Work(
                f"store.walk/{store_id}",
                walk.run,
                "copies that this store lacks are not made, and surplus ones stay",
            )
        yield Work(
            f"store.purge/{store_id}",
            Purger(store_id, store, Purging(database.connections)).run,
            "what is purged stays on this store, and cannot be pushed again",
        )
        yield Work(
            f"store.jobs/{store_id}",
            StoreJobs(walk, collector, database, clock=clock).run,
            "what commands ask of this store is not done",
        )
