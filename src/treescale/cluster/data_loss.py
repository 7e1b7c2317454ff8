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

from treescale.chunks.format.placement import PARTITIONS, Table
from treescale.metadata.records import LayoutRecord, LayoutStore

LAYOUTS_IN_USE_MAX: Final = 16
CLOCKS_APART_SECONDS: Final = 60.0
"""Repositories are dated by servers' clocks, layouts by the database's: no further apart."""


@dataclass(frozen=True, slots=True)
class DataLoss:
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
class MissingCopies:
    """Copies owed: for each chunk the stores that lack it; `complete` unless there were more."""

    by_chunk: Mapping[bytes, Collection[str]]
    complete: bool


@dataclass(frozen=True, slots=True)
class Placing:
    """What is known of when chunks were placed, and by which layouts."""

    oldest: int | None
    """The lowest number of a layout by which any was; 0: none was; None: that is not known."""
    first_push: float | None
    """When the oldest repository there ever was came into being: what was replaced before it
    placed nothing. None: there is nothing that could be pulled."""


def layouts_in_use(
    layouts: Sequence[LayoutRecord], existing: Collection[str], placing: Placing
) -> tuple[LayoutRecord, ...]:
    """Return the layouts under which chunks may lie where no newer one says, newest first.

    Layouts that differ in stores that are forgotten place differently: of what had copies on those
    fewer are left.
    """
    if placing.first_push is None or placing.oldest == 0:
        return ()
    found: dict[tuple[frozenset[LayoutStore], int], LayoutRecord] = {}
    for layout in sorted(_used(layouts, placing), key=lambda each: -each.number):
        if any(store.store_id in existing for store in layout.stores):
            found.setdefault((frozenset(layout.stores), layout.copies), layout)
    return tuple(found.values())[:LAYOUTS_IN_USE_MAX]


def _used(layouts: Sequence[LayoutRecord], placing: Placing) -> Iterable[LayoutRecord]:
    """Return those by which something may have been placed."""
    if placing.oldest is not None or placing.first_push is None:
        return [each for each in layouts if each.number >= (placing.oldest or 0)]
    replaced = dict(pairwise(sorted((each.number for each in layouts), reverse=True)))
    created = {each.number: each.created for each in layouts}
    ends = {older: created[newer] for newer, older in replaced.items()}
    first_push = placing.first_push - CLOCKS_APART_SECONDS
    return [
        each for each in layouts if ends.get(each.number) is None or ends[each.number] >= first_push
    ]


def loss(
    leaving: Collection[str],
    tables: Iterable[Table],
    existing: Collection[str],
    debts: MissingCopies,
) -> DataLoss:
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
    return DataLoss(tuple(shares), owed, certain=debts.complete)


def _last(homes: Sequence[str], leaving: Collection[str], existing: Collection[str]) -> bool:
    """Return whether some of these homes exist, and all that do are leaving."""
    left = [home for home in homes if home in existing]
    return bool(left) and all(home in leaving for home in left)
