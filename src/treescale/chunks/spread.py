"""The stores of a layout as the cluster store sees them between two changes of it.

A call takes the Spread that stands when it begins and keeps it to its end, so a change of layout
never tears it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from treescale.chunks.domains import Domains, write_quorum
from treescale.chunks.files import ChunkFiles
from treescale.chunks.health import Health
from treescale.chunks.order import Copy, generations
from treescale.chunks.placement import Table, fair_shares
from treescale.chunks.turns import Turns
from treescale.chunks.watched import WatchedStore
from treescale.chunks.writeplan import WritePlan
from treescale.clock import Clock


@dataclass(frozen=True, slots=True)
class Spread:
    """`tables` are the current one and those before it, newest first.

    `stores` has all of the current table, and may have more. `quorum` is the least number of
    copies that any of these layouts acknowledged. `files` are the stores whose chunks may be had
    as open files. `shares` are the copies of an average chunk that each store should take.
    """

    tables: tuple[Table, ...]
    stores: Mapping[str, WatchedStore]
    health: Health
    clock: Clock
    domains: Domains
    quorum: int
    files: Mapping[str, ChunkFiles]
    shares: Mapping[str, float]
    turns: Turns

    @classmethod
    def over(
        cls,
        tables: Sequence[Table],
        stores: Mapping[str, WatchedStore],
        health: Health,
        clock: Clock,
        turns: Turns,
    ) -> Self:
        """Return the spread over these stores."""
        missing = {label.store_id for label in tables[0].layout.stores} - stores.keys()
        assert not missing, f"stores of the layout without a connection: {sorted(missing)}"
        return cls(
            tables=tuple(tables),
            stores=stores,
            health=health,
            clock=clock,
            domains=Domains(tables[0].layout),
            quorum=min(write_quorum(table.layout) for table in tables),
            files={name: store.files for name, store in stores.items() if store.files},
            shares=fair_shares(tables[0].layout),
            turns=turns,
        )

    @property
    def table(self) -> Table:
        """Return the current table."""
        return self.tables[0]

    def now(self) -> float:
        """Return monotonic seconds."""
        return self.clock.monotonic()

    def is_doubtful(self, name: str) -> bool:
        """Say whether the store let requests hang lately."""
        return self.stores[name].figures.doubt.holds(self.now())

    def write_plan(self, chunk: bytes) -> WritePlan:
        """Return how to write the chunk."""
        return WritePlan(
            self.table,
            self.domains,
            chunk,
            is_up=self.health.is_up,
            is_doubtful=self.is_doubtful,
        )

    def homes(self, chunk: bytes) -> list[Copy]:
        """Return the homes of the chunk under all layouts, as they stand now."""
        found = generations(self.tables, chunk)
        return [self.copy(name, age) for name, age in found.items() if name in self.stores]

    def copy(self, name: str, generation: int) -> Copy:
        """Return how the store stands now."""
        figures, now = self.stores[name].figures, self.now()
        return Copy(
            store_id=name,
            generation=generation,
            clear=self.health.is_up(name) and not figures.doubt.holds(now),
            local=self.health.is_local(name),
            queue=self.queue_of(name),
            turn=figures.reads.turn(now),
        )

    def queue_of(self, name: str) -> int:
        """Return the requests the store has not answered, those just given to it among them."""
        return max(self.stores[name].figures.in_flight, self.turns.busy(name))

    def shares_of(self, names: Collection[str]) -> Mapping[str, float]:
        """Return the shares when the other stores of the layout take nothing."""
        if len(names) == len(self.shares):
            return self.shares
        layout = self.table.layout
        left = tuple(label for label in layout.stores if label.store_id in names)
        return fair_shares(replace(layout, stores=left))
