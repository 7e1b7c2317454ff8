"""Where chunks belong: how many of them, and how many bytes, on each store. Pure.

Computed from placement alone: nobody was asked whether the copies are there. What a home has yet
to get is in the debts; what was written under an older layout lies at its homes of then until it is
moved.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from treescale.chunks.placement import Table
from treescale.chunks.store import partition_of


@dataclass(frozen=True, slots=True)
class Place:
    """What belongs on a store."""

    store_id: str
    chunks: int
    bytes: int
    owed: int
    """Of these chunks, how many it has yet to get."""
    earlier_chunks: int
    """Chunks of which it was a home under an older layout and is none now."""
    earlier_bytes: int


def places(
    chunks: Mapping[bytes, int],
    tables: Sequence[Table],
    existing: Collection[str],
    owed: Mapping[str, Collection[bytes]],
) -> tuple[Place, ...]:
    """Return the stores where these chunks (length by id) belong or belonged, by store id.

    `tables` are those of the layout in force, then of older ones (`members.searched`).
    """
    now, before = _Tally(), _Tally()
    for partition, held in _by_partition(chunks).items():
        homes = _homes(partition, tables[:1])
        now.add(homes, held)
        before.add(_homes(partition, tables[1:]) - homes, held)
    return tuple(
        Place(
            store_id=name,
            chunks=now.counts[name],
            bytes=now.bytes[name],
            owed=sum(chunk in chunks for chunk in owed.get(name, ())),
            earlier_chunks=before.counts[name],
            earlier_bytes=before.bytes[name],
        )
        for name in sorted({*now.counts, *before.counts} & {*existing})
    )


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
