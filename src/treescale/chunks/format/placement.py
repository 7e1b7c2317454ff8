"""Which stores are a chunk's homes: weighted rendezvous hashing over 4,096 partitions. Pure.

The table is computed once per layout and depends on the layout alone, so every server arrives at
the same one. Copies of a partition are kept apart: in different zones if there are enough, else on
different servers, else in different stores. docs/formats.md fixes the computation.

Hashing alone would give ten equal stores shares that differ by a tenth, a hundred stores by a
third. So the pull of the stores that are too far off their fair share is corrected, a few times at
most; a store that joins then moves a little more than its share. A store that should have but a few
partitions is left as hashing has it: one partition more or less is too much for any correction.
"""

import math
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import mul
from typing import Final, TypeVar

from blake3 import blake3

from treescale.chunks.store import partition_of
from treescale.errors import SettingInvalid

_Found = TypeVar("_Found")

PARTITIONS: Final = 4096
_DRAWS: Final = struct.Struct(f">{PARTITIONS}Q")
_TOLERANCE: Final = 0.045
"""How far, relative to its fair share, a store may be off it."""
_AIM: Final = 0.7 * _TOLERANCE
"""How far off it a corrected store is meant to be in the first round: less corrected, less moved.
Each round aims closer, until the last aims at the fair share itself."""
_ROUNDS_MAX: Final = 16
_FEW: Final = 5
"""Stores: of so many there are at most 120 rankings, and each comes in many partitions."""
_AT_ONCE: Final = 64
"""Partitions: after so many other threads may run."""
CORRECTED_PARTITIONS_MIN: Final = 80
"""A store whose fair share is less is not corrected: with three copies from 154 equal stores on."""


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
    """Compute the table; raises SettingInvalid for a layout that cannot hold a chunk.

    For 150 stores about a second of a processor: never in an event loop.
    """
    _check(layout)
    if len(layout.stores) == 1:
        return Table(layout, ((layout.stores[0].store_id,),) * PARTITIONS)
    ranking = Ranking(layout)
    fair = fair_shares(layout)
    pulls = {label.store_id: label.weight for label in layout.stores}
    coarse = {name for name, share in fair.items() if PARTITIONS * share < CORRECTED_PARTITIONS_MIN}
    for done in range(_ROUNDS_MAX):
        errors = _errors(ranking.held(pulls), fair)
        errors = {name: x for name, x in errors.items() if name not in coarse}
        if all(abs(error) <= _TOLERANCE for error in errors.values()):
            break
        aim = _AIM * (1 - done / _ROUNDS_MAX)
        pulls |= {name: _corrected(pulls[name], error, aim) for name, error in errors.items()}
    table = Table(layout, ranking.orders(pulls))
    ranking.close()
    return table


def fair_shares(layout: Layout) -> dict[str, float]:
    """Return how many copies of an average partition each store should hold: at most one.

    In proportion to the weights, as far as keeping copies apart allows: first between the zones,
    in each between its servers, on each between its stores.
    """
    copies = min(layout.copies, len(layout.stores))
    shares: dict[str, float] = {}
    zones = _grouped(layout.stores, lambda label: label.zone)
    for zone, (amount, least, most) in _divided(copies, zones, _zone_limits(copies, zones)).items():
        servers = _grouped(zones[zone], lambda label: label.server)
        limits = _limits(least, most, servers)
        for server, (part, low, high) in _divided(amount, servers, limits).items():
            stores = _grouped(servers[server], lambda label: label.store_id)
            limits = _limits(low, high, stores)
            shares |= {name: share for name, (share, *_) in _divided(part, stores, limits).items()}
    return shares


def _check(layout: Layout) -> None:
    if not layout.stores:
        raise SettingInvalid("a layout needs at least one store")
    if layout.copies < 1:
        raise SettingInvalid("copies must be at least 1")
    if len({label.store_id for label in layout.stores}) != len(layout.stores):
        raise SettingInvalid("a store may be in the layout only once")
    if not all(label.weight > 0 and math.isfinite(label.weight) for label in layout.stores):
        raise SettingInvalid("a store's weight must be a positive number")


def _draws(label: StoreLabel) -> tuple[float, ...]:
    """Return -1 / ln(u) for each partition, u uniform in (0, 1) and fixed by the store's id.

    Times the store's pull it is its score: the best score is a store's with a probability
    proportional to its pull, and whether one beats another does not depend on any third. So a
    store that joins only takes partitions, and one that leaves only gives.
    """
    draws = _DRAWS.unpack(blake3(label.store_id.encode()).digest(length=_DRAWS.size))
    return tuple(-1.0 / math.log(((draw >> 11) + 0.5) * 2.0**-53) for draw in draws)


class Ranking:
    """The stores of a layout, by number in the order of their ids, ranked for each partition."""

    def __init__(self, layout: Layout) -> None:
        labels = sorted(layout.stores, key=lambda label: label.store_id)
        self.names = [label.store_id for label in labels]
        self._zones = _numbered([label.zone for label in labels])
        self._zone_sizes = list(Counter(self._zones).values())
        self._servers = _numbered([label.server for label in labels])
        self._copies = min(layout.copies, len(labels))
        alone = len({*self._servers}) == len(labels)
        self._best_are_apart = alone and len(self._zone_sizes) in (1, len(labels))
        self._draws: list[tuple[float, ...]] = []
        """For each partition the draws of all stores."""
        drawn = zip(*map(_draws, labels), strict=True)
        while some := list(islice(drawn, _AT_ONCE)):  # see `close`
            self._draws += some

    def held(self, pulls: Mapping[str, float]) -> dict[str, int]:
        """Return for how many partitions each store is a home under these pulls."""
        if self._copies == len(self.names):
            return dict.fromkeys(self.names, PARTITIONS)
        counts = [0] * len(self.names)
        for homes in self._of_each(pulls, self.homes):
            for store in homes:
                counts[store] += 1
        return dict(zip(self.names, counts, strict=True))

    def orders(self, pulls: Mapping[str, float]) -> tuple[tuple[str, ...], ...]:
        """Return the ids of all stores for each partition, homes first, each part best first."""
        return tuple(self._of_each(pulls, self._order))

    def _order(self, ranked: Sequence[int]) -> tuple[str, ...]:
        homes = self.homes(ranked)
        return tuple(map(self.names.__getitem__, dict.fromkeys((*homes, *ranked))))

    def _of_each(
        self, pulls: Mapping[str, float], found: Callable[[Sequence[int]], _Found]
    ) -> Iterator[_Found]:
        """Yield for each partition what is found of its ranking: of few stores once of each."""
        if len(self.names) > _FEW:
            yield from map(found, self._ranked(pulls))
            return
        known: dict[tuple[int, ...], _Found] = {}
        for ranked in map(tuple, self._ranked(pulls)):
            if ranked not in known:
                known[ranked] = found(ranked)
            yield known[ranked]

    def close(self) -> None:
        """Let go of the draws little by little: all at one stroke would stop other threads."""
        while self._draws:
            del self._draws[-_AT_ONCE:]

    def _ranked(self, pulls: Mapping[str, float]) -> Iterator[list[int]]:
        """Yield for each partition all stores, best score first; of equal ones the lower id."""
        pulled = [-pulls[name] for name in self.names]
        stores = range(len(pulled))
        for draws in self._draws:
            yield sorted(stores, key=list(map(mul, pulled, draws)).__getitem__)

    def homes(self, ranked: Sequence[int]) -> list[int]:
        """Return the homes among the stores ranked so.

        Each comes from the zones used least so far, in them from the servers used least, and is
        the best scored of those.
        """
        if self._best_are_apart:
            return [*ranked[: self._copies]]
        zones, servers = self._zones, self._servers
        in_zones, on_servers = [0] * len(self._zone_sizes), [0] * len(ranked)
        homes: list[int] = []
        while len(homes) < self._copies:
            least = min(
                used for used, size in zip(in_zones, self._zone_sizes, strict=True) if used < size
            )
            for best in ranked:
                if not on_servers[servers[best]] and in_zones[zones[best]] == least:
                    break
            else:  # each server there has one already
                left = [store for store in ranked if store not in homes]
                best = min(left, key=lambda x: (in_zones[zones[x]], on_servers[servers[x]]))
            in_zones[zones[best]] += 1
            on_servers[servers[best]] += 1
            homes.append(best)
        return homes


def _numbered(words: Sequence[str]) -> list[int]:
    """Return a number for each word, the same for the same."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return [numbers[word] for word in words]


def _errors(held: Mapping[str, int], fair: Mapping[str, float]) -> dict[str, float]:
    """Return how far each store is off its fair share, relative to it."""
    return {name: held[name] / (PARTITIONS * share) - 1 for name, share in fair.items()}


def _corrected(pull: float, error: float, aim: float) -> float:
    """Return the pull that brings a store which is off by more than `aim` to just that."""
    if abs(error) <= aim:
        return pull
    return pull * (1 + math.copysign(aim, error)) / (1 + max(error, -0.5))


_Part = tuple[float, int, int]
"""Copies of an average partition, and the least and the most of any."""
_Limits = dict[str, tuple[int, int]]
"""The least and the most copies of a partition that each group may get."""
_Groups = Mapping[str, Sequence[StoreLabel]]


def _grouped(
    labels: Sequence[StoreLabel], key: Callable[[StoreLabel], str]
) -> dict[str, list[StoreLabel]]:
    groups: dict[str, list[StoreLabel]] = defaultdict(list)
    for label in labels:
        groups[key(label)].append(label)
    return groups


def _zone_limits(copies: int, zones: _Groups) -> _Limits:
    """Return the limits of the zones.

    Of zones used equally, `_homes` takes from the one that still has a server used less.
    """
    limits = _limits(copies, copies, zones)
    full = _rounds(copies, [len(group) for group in zones.values()])[0]
    open_zones = [name for name, (low, high) in limits.items() if low < high]
    uses = {
        name: _rounds(full, Counter(label.server for label in zones[name]).values())[0]
        for name in open_zones
    }
    first = [name for name in open_zones if uses[name] == min(uses.values())]
    extra = copies - sum(low for low, _ in limits.values())
    if len(first) >= extra:
        return limits | {name: (full, full) for name in open_zones if name not in first}
    return limits | dict.fromkeys(first, (full + 1, full + 1))


def _limits(least: int, most: int, groups: _Groups) -> _Limits:
    """Return the limits of the groups when `least` to `most` copies are dealt out evenly."""
    sizes = {name: len(group) for name, group in groups.items()}
    low, high = _rounds(least, sizes.values())[0], _rounds(most, sizes.values())[1]
    return {name: (min(size, low), min(size, high)) for name, size in sizes.items()}


def _divided(amount: float, groups: _Groups, limits: _Limits) -> dict[str, _Part]:
    """Divide `amount` copies between the groups by weight, within their limits."""
    left = {name: sum(label.weight for label in group) for name, group in groups.items()}
    parts: dict[str, _Part] = {}
    while left:
        unit = amount / sum(left.values())
        over = {name: unit * w - limits[name][1] for name, w in left.items()}
        under = {name: limits[name][0] - unit * w for name, w in left.items()}
        side = 1 if _excess(over) >= _excess(under) else 0
        bound = [name for name, excess in (over if side else under).items() if excess > 0]
        for name in bound or left:
            share = limits[name][side] if bound else unit * left[name]
            parts[name] = (share, *limits[name])
        amount -= sum(parts[name][0] for name in bound)
        left = {name: w for name, w in left.items() if bound and name not in bound}
    return parts


def _excess(values: Mapping[str, float]) -> float:
    return sum(value for value in values.values() if value > 0)


def _rounds(copies: int, sizes: Collection[int]) -> tuple[int, int]:
    """Return how many full rounds, and how many begun, it takes to deal copies out one by one."""
    full = 0
    while full < copies and sum(min(size, full + 1) for size in sizes) <= copies:
        full += 1
    begun = full + (sum(min(size, full) for size in sizes) < copies)
    return full, begun
