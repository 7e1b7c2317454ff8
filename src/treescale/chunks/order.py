"""In which order the stores that may have a chunk are asked for it (faults.md R6). Pure."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.chunks.placement import Table

local_advantage: Final = 4.0
"""A store of this server is preferred until it takes this many times as long as another: it spares
the wire, but a sick or swamped disk must not hold what another server has at hand."""
load_seconds_min: Final = 0.0001
"""Less than this is no difference."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A store that may have the chunk, as it stands now.

    `generation` counts layouts back from the current one, whose homes are 0. `clear`: neither
    down nor in doubt. `load` is the seconds that a request may be expected to take.
    """

    store_id: str
    generation: int
    clear: bool
    local: bool
    load: float


def ranked(copies: Iterable[Copy], chance: Callable[[], float]) -> list[Copy]:
    """Return them best first: clear before others, newer homes before older, local, least busy.

    Loads within a factor of two are the same; among the same, chance decides, so that the readers
    of one chunk spread over its copies.
    """

    def rank(copy: Copy) -> tuple[bool, int, int, float]:
        load = max(copy.load, load_seconds_min) / (local_advantage if copy.local else 1.0)
        return not copy.clear, copy.generation, math.floor(math.log2(load)), chance()

    return sorted(copies, key=rank)


def generations(tables: Sequence[Table], chunk: bytes) -> dict[str, int]:
    """Return the homes of the chunk under each layout, newest first, each store once."""
    found: dict[str, int] = {}
    for generation, table in enumerate(tables):
        for store_id in table.homes(chunk):
            found.setdefault(store_id, generation)
    return found


def beyond(
    table: Table, chunk: bytes, asked: Iterable[str], others: Iterable[str]
) -> tuple[str, ...]:
    """Return where else it may be: handoffs by preference, then any other store, each once."""
    known = set(asked)
    rest = dict.fromkeys((*table.preference(chunk), *others))
    return tuple(store_id for store_id in rest if store_id not in known)
