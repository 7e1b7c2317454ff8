"""A replicated store over stores that misbehave, in virtual time."""

from collections.abc import Iterable, Mapping, Sequence
from random import Random  # noqa: TID251  a seeded source

from tests.chunks.layouts import layout_of, table_of
from tests.fakes_store import FaultyStore
from tests.virtualtime import LoopClock
from treescale.chunks.format.placement import Table
from treescale.chunks.replication.health import Handoffs
from treescale.chunks.replication.store import ReplicatedStore


class ToldHealth:
    """Health as a test tells it."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.local: set[str] = set()

    def is_up(self, store_id: str) -> bool:
        """Say whether it is not told to be down."""
        return store_id not in self.down

    def is_local(self, store_id: str) -> bool:
        """Say whether it is told to be local."""
        return store_id in self.local


class Faulty:
    """Faulty stores, the replicated store over them, and its health."""

    def __init__(
        self,
        table: Table,
        *,
        older: Sequence[Table] = (),
        extra: Iterable[str] = (),
        handoffs: Handoffs | None = None,
        seed: int = 0,
    ) -> None:
        self.table = table
        self.random = Random(seed)  # noqa: S311  nothing here is a secret
        names = [label.store_id for each in (table, *older) for label in each.layout.stores]
        self.stores = {name: self.new_store(name) for name in dict.fromkeys((*names, *extra))}
        self.health = ToldHealth()
        self.cluster = ReplicatedStore(
            table,
            self.stores,
            older=older,
            health=self.health,
            handoffs=handoffs,
            clock=LoopClock(),
            # By hand: the order of preference. By seed: as it comes.
            chance=self.random.random if seed else lambda: 0.0,
        )

    def new_store(self, name: str) -> FaultyStore:
        """Return a store that is well."""
        return FaultyStore(name, self.random)

    def homes(self, chunk: bytes) -> list[FaultyStore]:
        """Return the chunk's home stores."""
        return [self.stores[name] for name in self.table.homes(chunk)]

    async def holders(self, chunk: bytes) -> set[str]:
        """Return the stores with a good copy."""
        return {name for name, store in self.stores.items() if store.holds(chunk)}

    def asked(self) -> Mapping[str, int]:
        """Return how often each store was asked."""
        return {name: store.asked for name, store in self.stores.items()}


def servers(count: int, copies: int, *, number: int = 1) -> Table:
    """Return a table of so many servers in one zone, with a store each."""
    return table_of(layout_of(((1,) * count,), copies, number=number))


def zones(copies: int, *shape: tuple[int, ...]) -> Table:
    """Return a table of this shape."""
    return table_of(layout_of(shape, copies))
