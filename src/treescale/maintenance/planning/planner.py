"""What one store has to do for one partition. Pure.

Only chunks that a row names are moved (collection.md R11): what no row names stays where its push
has put it, until it is named or collected.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.chunks.format.placement import PARTITIONS, Table

BATCH_FIRST: Final = 1
"""Partitions whose names are read at once, while nobody has seen how many names one has."""
BATCH_MAX: Final = 64
"""And later."""
NAMES_MAX: Final = 40_000
"""Names in memory: about 8 MB."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows for one store."""

    fetch: tuple[tuple[bytes, int], ...]
    """Chunks of which it is a home and has no copy, with their lengths; by id."""
    surplus: tuple[bytes, ...]
    """Named chunks that lie here although it is no home of theirs; by id."""
    held: tuple[bytes, ...]
    """Named chunks that lie where they belong; by id."""
    unnamed: int
    """Chunks here that no row names: of a push under way, or left by one that broke off."""
    surplus_bytes: int = 0


def plan(
    store_id: str, homes: Collection[str], here: Collection[bytes], named: Mapping[bytes, int]
) -> Plan:
    """Return what the store has to do for one partition.

    `here` lies on it, `named` are the lengths of what rows name.

    A second plan, after the first was carried out and nothing else has happened, is empty but for
    what is held.
    """
    present = sorted(named.keys() & set(here))
    unnamed = len(here) - len(present)
    if store_id not in homes:
        size = sum(named[chunk] for chunk in present)
        return Plan((), tuple(present), (), unnamed, size)
    missing = sorted(named.keys() - set(here))
    return Plan(tuple((chunk, named[chunk]) for chunk in missing), (), tuple(present), unnamed)


def spans(partitions: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield what sorts before, and what after, all ids of each run of these partitions."""
    ordered = sorted(partitions)
    starts = [n for n, number in enumerate(ordered) if n == 0 or ordered[n - 1] != number - 1]
    for begin, end in zip(starts, [*starts[1:], len(ordered)], strict=False):
        yield _before(ordered[begin]), _before(ordered[end - 1] + 1)


def _before(partition: int) -> bytes:
    """Return what sorts before the partition's ids, and after those of the one before it."""
    return b"\xff" * 33 if partition == PARTITIONS else (partition << 4).to_bytes(2)


def batch_after(batch: int, names: int) -> int:
    """Return how many partitions to take at once, after so many took this many names of chunks.

    So the memory is bounded by about `NAMES_MAX` names, or by those of one partition.
    """
    if names > NAMES_MAX:
        return max(1, batch // 2)
    return min(BATCH_MAX, 2 * batch) if names < NAMES_MAX // 4 else batch


def by_risk(
    numbers: Iterable[int], tables: Sequence[Table], is_up: Callable[[str], bool]
) -> list[int]:
    """Return the partitions with the fewest surviving copies first, then by number."""
    known = {label.store_id for table in tables for label in table.layout.stores}
    up = frozenset(filter(is_up, known))
    return sorted(numbers, key=lambda number: (surviving(number, tables, up.__contains__), number))


def surviving(number: int, tables: Sequence[Table], is_up: Callable[[str], bool]) -> int:
    """Return how many copies of a partition are on stores that answer.

    Counted where they were before the last change: a home that has just joined has none yet.
    `tables` are the layouts' in use, newest first.
    """
    table = tables[1] if len(tables) > 1 else tables[0]
    return sum(map(is_up, table.orders[number][: table.copies]))
