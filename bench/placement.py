"""Placement at scale, simulated: how even it is, what joining and leaving move, how long it takes.

The table is the real one (`chunks/format/placement`). Chunks are drawn at random, as their names
are: each falls into one of 4,096 partitions, so that a store's chunks follow from how many fall
into the partitions it is a home of.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random  # noqa: TID251  seeded: the same run each time
from typing import Final

from tests.simulation.moved import Holdings, join, leave, tables
from treescale.chunks.format.placement import PARTITIONS, Layout, StoreLabel, Table, build_table

SERVERS_MAX: Final = 100
"""More stores than that are several to a server. All are in one zone; who joins is a new server."""
SIZES: Final = (10, 100, 300, 1000)
CHUNKS: Final = 10_000_000
LINES: Final = (
    "| stores | copies | table built | bytes of the fullest and emptiest store, of the mean "
    "| spread of stores (std) | a store joins: moved, of its fair share "
    "| a store leaves: moved, of what it held |\n|---|---|---|---|---|---|---|"
)

MOVED_SIZES: Final = (2, 3, 4, 6, 8, 10, 12, 16, 20)
MOVED_COPIES: Final = (1, 2, 3)
MOVED_CHUNKS: Final = 8_000
MOVED_SEEDS: Final = range(8)
MOVED_LINES: Final = (
    "| equal stores | copies | the last one joins: bytes moved, of its share: mean, most "
    "| it leaves: bytes moved, of what it held: mean, most |\n|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Chunks:
    """How many chunks fall into each partition."""

    of_partition: Sequence[int]

    @classmethod
    def drawn(cls, count: int, random: Random) -> "Chunks":
        """Draw the partition of each chunk."""
        found = Counter(random.choices(range(PARTITIONS), k=count))
        return cls([found[partition] for partition in range(PARTITIONS)])

    def held(self, table: Table) -> Mapping[str, int]:
        """Return how many chunks each store holds."""
        held = dict.fromkeys((label.store_id for label in table.layout.stores), 0)
        for order, count in zip(table.orders, self.of_partition, strict=True):
            for name in order[: table.copies]:
                held[name] += count
        return held

    def moved(self, old: Table, new: Table) -> int:
        """Return how many copies have another home in the new table."""
        return sum(
            count * len(set(after[: new.copies]) - set(before[: old.copies]))
            for before, after, count in zip(old.orders, new.orders, self.of_partition, strict=True)
        )


def measure(stores: int, count: int, copies: int = 3) -> str:
    """Return one line of the table."""
    drawn = Chunks.drawn(count, Random(stores))  # noqa: S311  nothing here is a secret
    labels = tuple(_label(number, stores) for number in range(stores + 1))
    smaller = Layout(1, labels[:-1], copies)
    began = time.process_time()
    before = build_table(smaller)
    seconds = time.process_time() - began
    after = build_table(replace(smaller, number=2, stores=labels))
    held = list(drawn.held(before).values())
    mean = sum(held) / len(held)
    spread = (sum((one - mean) ** 2 for one in held) / len(held)) ** 0.5 / mean
    joined = drawn.held(after)[labels[-1].store_id]
    moved = drawn.moved(before, after)
    left = drawn.moved(after, before)
    fair = count * copies / (stores + 1)
    return (
        f"| {stores:,} | {copies} | {seconds:.1f} s of CPU "
        f"| {max(held) / mean:.3f}, {min(held) / mean:.3f} | {spread:.1%} "
        f"| {moved / fair:.2f} | {left / max(joined, 1):.2f} |"
    )


def lines() -> Iterator[str]:
    """Yield both tables."""
    yield MOVED_LINES
    yield from moved()
    yield f"\n{LINES}"
    for stores in SIZES:
        yield measure(stores, CHUNKS)


def moved() -> Iterator[str]:
    """Yield the lines of what joins and leaves move, by the planner; seeds 0 to 7 name the stores.

    With as many copies as stores each has all: a join makes copies, and a leave moves nothing.
    """
    holdings = Holdings(MOVED_CHUNKS, seed=0)
    for stores in MOVED_SIZES:
        for copies in (copies for copies in MOVED_COPIES if copies < stores):
            pairs = [tables(stores - 1, copies, seed) for seed in MOVED_SEEDS]
            joins = [join(holdings, few, many).ratio for few, many in pairs]
            leaves = [leave(holdings, few, many).ratio for few, many in pairs]
            yield f"| {stores} | {copies} | {_mean_and_most(joins)} | {_mean_and_most(leaves)} |"


def _mean_and_most(ratios: Sequence[float]) -> str:
    return f"{sum(ratios) / len(ratios):.3f}, {max(ratios):.3f}"


def _label(number: int, stores: int) -> StoreLabel:
    disks = max(1, stores // SERVERS_MAX)
    return StoreLabel(f"store-{number}", f"server-{number // disks}", "")
