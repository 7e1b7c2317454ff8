"""How many copies of each partition are on stores that answer. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from treescale.chunks.format.placement import PARTITIONS, Table

NOTHING_LACKING: Mapping[str, Collection[int]] = {}


class Run(NamedTuple):
    """Neighbours that are alike."""

    value: int
    begin: int
    length: int


def copies_alive(
    table: Table, alive: Collection[str], lacking: Mapping[str, Collection[int]] = NOTHING_LACKING
) -> bytes:
    """Return for each partition how many of its homes are alive, and lack no chunk of it.

    `alive` are stores; `lacking` has of each the partitions of which it lacks something.
    """
    wanted, none = table.copies, frozenset[int]()
    lacks = {name: frozenset(lacking.get(name, none)) for name in alive}
    return bytes(
        min(255, sum(name in lacks and number not in lacks[name] for name in order[:wanted]))
        for number, order in enumerate(table.orders)
    )


def runs(values: Sequence[int]) -> Iterator[Run]:
    """Yield the longest stretches of equal values, in order; together they are all of it."""
    begin = 0
    for place in range(1, len(values) + 1):
        if place == len(values) or values[place] != values[begin]:
            yield Run(values[begin], begin, place - begin)
            begin = place


def tally(values: Sequence[int], most: int) -> list[int]:
    """Return how many there are of 0, 1, … up to `most`, which stands for what is more, too."""
    counts = Counter(min(value, most) for value in values)
    return [counts[value] for value in range(most + 1)]


def homes_of(table: Table) -> Counter[str]:
    """Return of how many partitions each store is a home."""
    return Counter(name for order in table.orders for name in order[: table.copies])


assert PARTITIONS < 1 << 16, "a strip of them is drawn whole"
