"""An image across the cluster: where its chunks can be read, and which server may die. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from treescale.chunks.format.placement import Table

CELLS_MAX: Final = 512
"""What a picture has room for; neighbours share a cell."""


class Cell(IntEnum):
    """What some chunks in a row are to a store, the worst of them."""

    ELSEWHERE = 0
    """They belong to others."""
    HERE = 1
    AWAY = 2
    """The store cannot be read now."""
    OWED = 3
    """It has yet to get some."""
    LOST = 4
    """No store has them."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What says where chunks are."""

    table: Table
    alive: Collection[str]
    """The stores that can be read."""
    owed: Mapping[str, Collection[bytes]]
    """By store the chunks that it has yet to get."""
    lost: Collection[bytes]

    def of(self, chunk: bytes) -> Mapping[str, Cell]:
        """Return what a chunk is to each of its homes."""
        return {name: self._at(name, chunk) for name in self.table.homes(chunk)}

    def _at(self, name: str, chunk: bytes) -> Cell:
        if chunk in self.lost:
            return Cell.LOST
        if chunk in self.owed.get(name, ()):
            return Cell.OWED
        return Cell.HERE if name in self.alive else Cell.AWAY


def cell_size(chunks: int, most: int = CELLS_MAX) -> int:
    """Return how many chunks share a cell so that there are at most so many cells."""
    return max(1, -(-chunks // most))


@dataclass(frozen=True, slots=True)
class Spread:
    """Where the chunks of an image are."""

    rows: Mapping[str, Sequence[Cell]]
    """For each store that is a home of any what they are to it, cell by cell."""
    counts: Mapping[str, Counter[Cell]]
    """Of each store how many chunks are what to it."""
    unreadable: int
    """Chunks that no home has that can be read."""
    without: Mapping[str, int]
    """By server, how many more could not be read if it died, alone."""

    @property
    def may_die(self) -> list[str]:
        """Return the servers without which every chunk can be read that can be now."""
        return sorted(name for name, chunks in self.without.items() if not chunks)


def spread_of(chunks: Sequence[bytes], facts: Facts, servers: Mapping[str, str]) -> Spread:
    """Return it; `servers` has the server of each store."""
    size = cell_size(len(chunks))
    cells = -(-len(chunks) // size)
    rows: dict[str, list[Cell]] = {}
    counts: dict[str, Counter[Cell]] = {}
    alone, unreadable = Counter[str](), 0
    for place, chunk in enumerate(chunks):
        has = set()
        for name, cell in facts.of(chunk).items():
            row = rows.setdefault(name, [Cell.ELSEWHERE] * cells)
            row[place // size] = max(row[place // size], cell)
            counts.setdefault(name, Counter())[cell] += 1
            if cell is Cell.HERE:
                has.add(servers.get(name, name))
        unreadable += not has
        if len(has) == 1:
            alone.update(has)
    holders = {servers.get(name, name) for name in rows if name in facts.alive}
    return Spread(rows, counts, unreadable, {name: alone[name] for name in sorted(holders)})
