"""What a join and a leave move, by the pure placement and the pure planner alone: no servers.

Chunks lie by one layout, another comes into force, and each store asks the planner what it has to
fetch. Then the plans are carried out, and the next ones must be empty.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random  # noqa: TID251  seeded: the same run each time

from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, Table, build_table
from treescale.maintenance.planning.planner import Plan, plan

CHUNK_BYTES = (1, 4 * 1024 * 1024)


@dataclass(frozen=True)
class Moved:
    """Bytes that travelled, and what could not have been less."""

    fetched: int
    ideal: float

    @property
    def ratio(self) -> float:
        """Return how many times the ideal travelled."""
        return self.fetched / self.ideal


class Holdings:
    """Which chunks lie on which store, partition by partition, and how long they are."""

    def __init__(self, chunks: int, seed: int) -> None:
        random = Random(seed)  # noqa: S311  nothing here is a secret
        self.named: list[dict[bytes, int]] = [{} for _ in range(PARTITIONS)]
        for _ in range(chunks):
            partition = random.randrange(PARTITIONS)
            chunk = (partition << 4).to_bytes(2) + random.randbytes(30)
            self.named[partition][chunk] = random.randint(*CHUNK_BYTES)
        self.bytes = sum(sum(named.values()) for named in self.named)
        self.here: dict[str, list[set[bytes]]] = {}

    def lie_by(self, table: Table) -> None:
        """Put each chunk on its homes, and nowhere else."""
        self.here = {label.store_id: self._nothing() for label in table.layout.stores}
        for number, named in enumerate(self.named):
            for store in table.orders[number][: table.copies]:
                self.here[store][number] = set(named)

    def follow(self, table: Table) -> int:
        """Do what the planner says until it says nothing; return the bytes that travelled."""
        for label in table.layout.stores:
            self.here.setdefault(label.store_id, self._nothing())
        fetched = sum(self._fetch(table))
        for number, store, due in self._plans(table):
            self.here[store][number] -= set(due.surplus)
        left = [due for _, _, due in self._plans(table) if due.fetch or due.surplus]
        assert left == [], "a second plan is empty"
        return fetched

    def _fetch(self, table: Table) -> Iterator[int]:
        for number, store, due in self._plans(table):
            self.here[store][number] |= {chunk for chunk, _ in due.fetch}
            yield sum(length for _, length in due.fetch)

    def _plans(self, table: Table) -> Iterator[tuple[int, str, Plan]]:
        for number, named in enumerate(self.named):
            homes = table.orders[number][: table.copies]
            for store, here in self.here.items():
                yield number, store, plan(store, homes, here[number], named)

    def _nothing(self) -> list[set[bytes]]:
        return [set() for _ in range(PARTITIONS)]


def tables(stores: int, copies: int, seed: int) -> tuple[Table, Table]:
    """Return the tables of so many equal stores, and of one more."""
    names = [f"store-{seed}-{number}" for number in range(stores + 1)]
    labels = tuple(StoreLabel(name, f"on-{name}", "") for name in names)
    few = Layout(1, labels[:-1], copies)
    return build_table(few), build_table(replace(few, number=2, stores=labels))


def join(holdings: Holdings, few: Table, many: Table) -> Moved:
    """Have a store join: at least its share has to travel to it."""
    holdings.lie_by(few)
    more = many.copies * holdings.bytes / len(many.layout.stores)
    return Moved(holdings.follow(many), more)


def leave(holdings: Holdings, few: Table, many: Table) -> Moved:
    """Have it leave: at least what it held has to travel."""
    holdings.lie_by(many)
    (gone,) = {x.store_id for x in many.layout.stores} - {x.store_id for x in few.layout.stores}
    held = _bytes_on(holdings, gone)
    return Moved(holdings.follow(few), held)


def _bytes_on(holdings: Holdings, store: str) -> int:
    parts = zip(holdings.named, holdings.here[store], strict=True)
    return sum(named[chunk] for named, part in parts for chunk in part)
