"""Where chunks belong: how many of them, and how many bytes, on each store. Pure.

Computed from placement alone: nobody was asked whether the copies are there. What a home has yet
to get is in the debts; what was written under an older layout lies at its homes of then until it is
moved. So of a home that was none then nobody knows whether it has what was written then: that is
*uncounted*, and no number of missing copies is a true one while there is any.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Final

from treescale.chunks.format.placement import PARTITIONS, Table
from treescale.chunks.store import partition_of


@dataclass(frozen=True, slots=True)
class Place:
    """What belongs on a store."""

    store_id: str
    chunks: int
    bytes: int
    owed: int
    """Of these chunks, how many it has yet to get."""
    uncounted: int
    """Of these chunks, those that may have been placed when it was no home of them."""
    earlier_chunks: int
    """Chunks of which it was a home under an older layout and is none now."""
    earlier_bytes: int


def placement_report(
    chunks: Mapping[bytes, int],
    tables: Sequence[Table],
    existing: Collection[str],
    owed: Mapping[str, Collection[bytes]],
    uncounted: "Uncounted | None" = None,
) -> tuple[Place, ...]:
    """Return the stores where these chunks (length by id) belong or belonged, by store id.

    `tables` are those of the layout in force, then of older ones (`layout.readable_layouts`).
    """
    now, before, unsure = _Tally(), _Tally(), _Tally()
    for partition, held in _by_partition(chunks).items():
        homes = _homes(partition, tables[:1])
        now.add(homes, held)
        if uncounted is not None:
            unsure.add(uncounted.homes[partition], held)
        before.add(_homes(partition, tables[1:]) - homes, held)
    return tuple(
        Place(
            store_id=name,
            chunks=now.counts[name],
            bytes=now.bytes[name],
            owed=sum(chunk in chunks for chunk in owed.get(name, ())),
            uncounted=unsure.counts[name],
            earlier_chunks=before.counts[name],
            earlier_bytes=before.bytes[name],
        )
        for name in sorted({*now.counts, *before.counts} & {*existing})
    )


@dataclass(frozen=True)
class Uncounted:
    """For each partition the present homes that may lack what was placed by older layouts."""

    homes: tuple[frozenset[str], ...]
    exact: bool
    """False: too many layouts to look through; then all homes are here, and fewer may be meant."""

    @cached_property
    def partitions(self) -> int:
        """Return in how many partitions there are any."""
        return sum(map(bool, self.homes))

    def partitions_of(self, store_id: str) -> int:
        """Return how many partitions the store is such a home of."""
        return self._counts[store_id]

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(chain.from_iterable(self.homes))


NOTHING_UNCOUNTED: Final = Uncounted((frozenset(),) * PARTITIONS, exact=True)


def uncounted(now: Table, used: Sequence[Table]) -> Uncounted:
    """Return what is not known when chunks may have been placed by these layouts, too."""
    found = []
    known: dict[tuple[tuple[str, ...], ...], frozenset[str]] = {}
    for partition in range(PARTITIONS):
        places = tuple(table.orders[partition][: table.copies] for table in (now, *used))
        if places not in known:
            homes, *had = places
            known[places] = frozenset(
                home for home in homes if any(home not in each for each in had)
            )
        found.append(known[places])
    return Uncounted(tuple(found), exact=True)


def all_uncounted(store_ids: Collection[str]) -> Uncounted:
    """Return that nothing is known of these stores."""
    return Uncounted((frozenset(store_ids),) * PARTITIONS, exact=False)


class _Tally:
    """Chunks and their bytes, by store."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, names: Iterable[str], held: tuple[int, int]) -> None:
        for name in names:
            self.counts[name] += held[0]
            self.bytes[name] += held[1]


def _by_partition(chunks: Mapping[bytes, int]) -> Mapping[int, tuple[int, int]]:
    """Return count and bytes of each partition's chunks: what is in one shares its homes."""
    found: dict[int, tuple[int, int]] = {}
    for chunk, length in chunks.items():
        count, size = found.get(partition_of(chunk), (0, 0))
        found[partition_of(chunk)] = (count + 1, size + length)
    return found


def _homes(partition: int, tables: Sequence[Table]) -> set[str]:
    return {name for table in tables for name in table.orders[partition][: table.copies]}
