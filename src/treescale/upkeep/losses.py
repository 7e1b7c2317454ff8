"""What would be lost with stores that are forgotten, as far as layouts and debts tell. Pure.

Where a chunk lies is not written down anywhere; where it belongs follows from the layout under
which it was written. So this looks at every layout under which something may have been pushed: a
partition whose homes all leave would lose its last copies. It may be wrong on the safe side (a
handoff or a repaired copy is somewhere else) and, after copies rotted unnoticed, on the other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from treescale.chunks.placement import PARTITIONS, Table
from treescale.metadata.records import LayoutRecord, LayoutStore

layouts_weighed_max: Final = 16
clocks_apart_seconds: Final = 60.0
"""Repositories are dated by servers' clocks, layouts by the database's: no further apart."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What has no copy elsewhere."""

    shares: tuple[tuple[int, float], ...]
    """For layouts, by number: the part of what was pushed under it, above 0, up to 1."""
    owed: int
    """Chunks whose other homes have yet to get their copies."""
    certain: bool
    """False when more is owed than was looked at."""

    def __bool__(self) -> bool:
        """Return whether there may be any."""
        return bool(self.shares or self.owed or not self.certain)


@dataclass(frozen=True, slots=True)
class Debts:
    """Copies owed: for each chunk the stores that lack it; `complete` unless there were more."""

    by_chunk: Mapping[bytes, Collection[str]]
    complete: bool


def weighed(
    layouts: Sequence[LayoutRecord], existing: Collection[str], first_push: float | None
) -> tuple[LayoutRecord, ...]:
    """Return the layouts under which chunks may lie where no newer one says, newest first.

    `first_push` is when the oldest repository there ever was came into being: what was replaced
    before it placed nothing. None: there is nothing that could be pulled.
    """
    if first_push is None:
        return ()
    replaced = dict(pairwise(sorted((each.number for each in layouts), reverse=True)))
    created = {each.number: each.created for each in layouts}
    ends = {older: created[newer] for newer, older in replaced.items()}
    found: dict[tuple[frozenset[LayoutStore], int], LayoutRecord] = {}
    for layout in sorted(layouts, key=lambda each: -each.number):
        left = frozenset(store for store in layout.stores if store.store_id in existing)
        end = ends.get(layout.number)
        unused = end is not None and end + clocks_apart_seconds < first_push
        if left and not unused:
            found.setdefault((left, layout.copies), layout)
    return tuple(found.values())[:layouts_weighed_max]


def loss(
    leaving: Collection[str], tables: Iterable[Table], existing: Collection[str], debts: Debts
) -> Loss:
    """Return what goes with the stores; the first table is that of the layout in force."""
    shares, owed = [], 0
    for index, table in enumerate(tables):
        lost = sum(_last(order[: table.copies], leaving, existing) for order in table.orders)
        if lost:
            shares.append((table.layout.number, lost / PARTITIONS))
        if index == 0:
            owed = sum(
                _last(
                    [home for home in table.homes(chunk) if home not in lacking], leaving, existing
                )
                for chunk, lacking in debts.by_chunk.items()
            )
    return Loss(tuple(shares), owed, certain=debts.complete)


def _last(homes: Sequence[str], leaving: Collection[str], existing: Collection[str]) -> bool:
    """Return whether some of these homes exist, and all that do are leaving."""
    left = [home for home in homes if home in existing]
    return bool(left) and all(home in leaving for home in left)
