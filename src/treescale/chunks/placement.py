"""Which stores are a chunk's homes: weighted rendezvous hashing over 4,096 partitions. Pure.

The table is computed once per layout and depends on the layout alone, so every server arrives at
the same one. Copies of a partition are kept apart: in different zones if there are enough, else on
different servers, else in different stores. docs/formats.md fixes the computation.
"""

import math
import struct
from collections import Counter
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from treescale.chunks.store import partition_of
from treescale.errors import SettingInvalid

PARTITIONS: Final = 4096
_DRAWS: Final = struct.Struct(f">{PARTITIONS}Q")


@dataclass(frozen=True, slots=True)
class StoreLabel:
    """A store and where it stands; `weight` is its share relative to the others'."""

    store_id: str
    server: str
    zone: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Layout:
    """A numbered list of stores, and how many copies of each chunk they hold together."""

    number: int
    stores: tuple[StoreLabel, ...]
    copies: int


@dataclass(frozen=True, slots=True)
class Table:
    """For each partition every store of the layout, best first; the first `copies` are homes."""

    layout: Layout
    orders: tuple[tuple[str, ...], ...]

    @property
    def copies(self) -> int:
        """Return how many homes a chunk has: what the layout asks, but at most its stores."""
        return min(self.layout.copies, len(self.layout.stores))

    def homes(self, chunk: bytes) -> tuple[str, ...]:
        """Return the ids of the stores where the chunk belongs."""
        return self.preference(chunk)[: self.copies]

    def preference(self, chunk: bytes) -> tuple[str, ...]:
        """Return the homes and, after them, the stores to use instead when a home is away."""
        return self.orders[partition_of(chunk)]


def build_table(layout: Layout) -> Table:
    """Compute the table; raises SettingInvalid for a layout that cannot hold a chunk."""
    _check(layout)
    scores = [_scores(label) for label in layout.stores]
    return Table(
        layout,
        tuple(
            _order(layout, [of_store[partition] for of_store in scores])
            for partition in range(PARTITIONS)
        ),
    )


def _check(layout: Layout) -> None:
    if not layout.stores:
        raise SettingInvalid("a layout needs at least one store")
    if layout.copies < 1:
        raise SettingInvalid("copies must be at least 1")
    if len({label.store_id for label in layout.stores}) != len(layout.stores):
        raise SettingInvalid("a store may be in the layout only once")
    if not all(label.weight > 0 and math.isfinite(label.weight) for label in layout.stores):
        raise SettingInvalid("a store's weight must be a positive number")


def _scores(label: StoreLabel) -> tuple[float, ...]:
    """Return the store's score in each partition: -weight / ln(u), u uniform in (0, 1).

    A store wins a partition with a probability proportional to its weight, and whether it beats
    another does not depend on any third: a store that joins only takes, one that leaves only gives.
    """
    draws = _DRAWS.unpack(blake3(label.store_id.encode()).digest(length=_DRAWS.size))
    return tuple(-label.weight / math.log(((draw >> 11) + 0.5) * 2.0**-53) for draw in draws)


def _order(layout: Layout, scores: list[float]) -> tuple[str, ...]:
    """Return one partition's stores: homes kept apart first, then the others by score."""
    pairs = sorted(
        zip(scores, layout.stores, strict=True), key=lambda pair: (-pair[0], pair[1].store_id)
    )
    homes, others = _homes([label for _, label in pairs], layout.copies)
    return tuple(label.store_id for label in (*homes, *others))


def _homes(left: list[StoreLabel], copies: int) -> tuple[list[StoreLabel], list[StoreLabel]]:
    """Part the ranked stores into homes and others.

    Each home comes from the zones used least so far, in them from the servers used least, and is
    the best scored of those.
    """
    homes: list[StoreLabel] = []
    zones: Counter[str] = Counter()
    servers: Counter[str] = Counter()
    for _ in range(min(copies, len(left))):
        best = min(left, key=lambda label: (zones[label.zone], servers[label.server]))
        left.remove(best)
        zones[best.zone] += 1
        servers[best.server] += 1
        homes.append(best)
    return homes, left
