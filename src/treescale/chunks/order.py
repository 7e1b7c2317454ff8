"""In which order the stores that may have a chunk are asked for it (faults.md R6). Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.chunks.placement import Table

local_advantage: Final = 4.0
"""A store of this server is preferred until it takes this many times as long as another: it spares
the wire, but a sick or swamped disk must not hold what another server has at hand."""
turn_seconds_min: Final = 0.0001
"""Less than this is no difference."""
turns_alike_max: Final = 2.0
"""Stores within this factor of the fastest are as fast: what differs is how busy they are."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A store that may have the chunk, as it stands now.

    `generation` counts layouts back from the current one, whose homes are 0. `clear`: neither
    down nor in doubt. `queue` are the requests it has not answered yet, `turn` the seconds that
    each of them may be expected to take.
    """

    store_id: str
    generation: int
    clear: bool
    local: bool
    queue: int
    turn: float


def ranked(copies: Collection[Copy], chance: Callable[[], float]) -> list[Copy]:
    """Return them best first: clear before others, newer homes before older, local, least busy.

    Among stores that are as fast and as busy chance decides, so that the readers of one chunk
    spread over its copies.
    """
    fastest = min((max(copy.turn, turn_seconds_min) for copy in copies), default=turn_seconds_min)

    def rank(copy: Copy) -> tuple[bool, int, float, float]:
        turn = copy.turn if copy.turn > turns_alike_max * fastest else fastest
        load = (copy.queue + 1) * turn / (local_advantage if copy.local else 1.0)
        return not copy.clear, copy.generation, load, chance()

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
