"""The stores of a layout as the replicated store sees them between two changes of it.

A call takes the view that stands when it begins and keeps it to its end, so a change of layout
never tears it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from treescale.chunks.disk.file import ChunkFiles
from treescale.chunks.format.failure_domains import FailureDomains, write_quorum
from treescale.chunks.format.placement import Table, fair_shares
from treescale.chunks.replication.fanout import StoreClient
from treescale.chunks.replication.health import Health
from treescale.chunks.replication.read_order import Candidate, generations
from treescale.chunks.replication.scheduler import ReadScheduler
from treescale.chunks.replication.write_plan import WritePlan, is_congested
from treescale.clock import Clock


@dataclass(frozen=True, slots=True)
class ReplicationView:
    """`tables` are the current one and those before it, newest first.

    `stores` has all of the current table, and may have more. `quorum` is the least number of
    copies that any of these layouts acknowledged. `files` are the stores whose chunks may be had
    as open files. `shares` are the copies of an average chunk that each store should take.
    """

    tables: tuple[Table, ...]
    stores: Mapping[str, StoreClient]
    health: Health
    clock: Clock
    domains: FailureDomains
    quorum: int
    files: Mapping[str, ChunkFiles]
    shares: Mapping[str, float]
    scheduler: ReadScheduler

    @classmethod
    def over(
        cls,
        tables: Sequence[Table],
        stores: Mapping[str, StoreClient],
        health: Health,
        clock: Clock,
        scheduler: ReadScheduler,
    ) -> Self:
        """Return the view over these stores."""
        missing = {label.store_id for label in tables[0].layout.stores} - stores.keys()
        assert not missing, f"stores of the layout without a connection: {sorted(missing)}"
        return cls(
            tables=tuple(tables),
            stores=stores,
            health=health,
            clock=clock,
            domains=FailureDomains(tables[0].layout),
            quorum=min(write_quorum(table.layout) for table in tables),
            files={name: store.files for name, store in stores.items() if store.files},
            shares=fair_shares(tables[0].layout),
            scheduler=scheduler,
        )

    @property
    def table(self) -> Table:
        """Return the current table."""
        return self.tables[0]

    def now(self) -> float:
        """Return monotonic seconds."""
        return self.clock.monotonic()

    def is_passed_over(self, name: str) -> bool:
        """Say whether the store let requests hang lately."""
        return self.stores[name].figures.breaker.is_open(self.now())

    def is_congested(self, name: str) -> bool:
        """Say whether this process has far more on its way to the store than to others."""
        figures = self.stores[name].figures
        # Stores of older layouts alone are not written to.
        of_all = [self.stores[x].figures.bytes_on_their_way for x in self.domains.labels]
        return is_congested(figures.writes.mean(self.now()), figures.bytes_on_their_way, of_all)

    def write_plan(self, chunk: bytes) -> WritePlan:
        """Return how to write the chunk."""
        return WritePlan(
            self.table,
            self.domains,
            chunk,
            is_up=self.health.is_up,
            is_passed_over=self.is_passed_over,
            is_congested=self.is_congested,
        )

    def homes(self, chunk: bytes) -> list[Candidate]:
        """Return the homes of the chunk under all layouts, as they stand now."""
        found = generations(self.tables, chunk)
        return [self.candidate(name, age) for name, age in found.items() if name in self.stores]

    def candidate(self, name: str, generation: int) -> Candidate:
        """Return how the store stands now."""
        figures, now = self.stores[name].figures, self.now()
        return Candidate(
            store_id=name,
            generation=generation,
            healthy=self.health.is_up(name) and not figures.breaker.is_open(now),
            local=self.health.is_local(name),
            queue=self.queue_of(name),
            service_seconds=figures.reads.service_seconds(now),
        )

    def queue_of(self, name: str) -> int:
        """Return the requests the store has not answered, those just given to it among them."""
        return max(self.stores[name].figures.in_flight, self.scheduler.busy(name))

    def shares_of(self, names: Collection[str]) -> Mapping[str, float]:
        """Return the shares when the other stores of the layout take nothing."""
        if len(names) == len(self.shares):
            return self.shares
        layout = self.table.layout
        left = tuple(label for label in layout.stores if label.store_id in names)
        return fair_shares(replace(layout, stores=left))
