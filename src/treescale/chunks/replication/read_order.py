"""In which order the stores that may have a chunk are asked for it (faults.md R6). Pure."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from treescale.chunks.format.placement import Table

LOCAL_ADVANTAGE: Final = 4.0
"""A store of this server is preferred until it takes this many times as long as another: it spares
the wire, but a sick or swamped disk must not hold what another server has at hand."""
TURN_SECONDS_MIN: Final = 0.0001
"""Less than this is no difference."""
TURNS_ALIKE_MAX: Final = 2.0
"""Stores within this factor of the fastest are as fast: what differs is how busy they are."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A store that may have the chunk, as it stands now.

    `generation` counts layouts back from the current one, whose homes are 0. `healthy`: neither
    down nor passed over. `queue` are the requests it has not answered yet, `service_seconds` what
    each of them may be expected to take.
    """

    store_id: str
    generation: int
    healthy: bool
    local: bool
    queue: int
    service_seconds: float


def ranked(copies: Collection[Candidate], chance: Callable[[], float]) -> list[Candidate]:
    """Return them best first: healthy before others, newer homes before older, local, least busy.

    Among stores that are as fast and as busy chance decides, so that the readers of one chunk
    spread over its copies.
    """
    fastest = min(
        (max(copy.service_seconds, TURN_SECONDS_MIN) for copy in copies), default=TURN_SECONDS_MIN
    )

    def rank(copy: Candidate) -> tuple[bool, int, float, float]:
        turn = copy.service_seconds if copy.service_seconds > TURNS_ALIKE_MAX * fastest else fastest
        load = (copy.queue + 1) * turn / (LOCAL_ADVANTAGE if copy.local else 1.0)
        return not copy.healthy, copy.generation, load, chance()

    return sorted(copies, key=rank)


def generations(tables: Sequence[Table], chunk: bytes) -> dict[str, int]:
    """Return the homes of the chunk under each layout, newest first, each store once."""
    found: dict[str, int] = {}
    for generation, table in enumerate(tables):
        for store_id in table.homes(chunk):
            found.setdefault(store_id, generation)
    return found


def remaining(
    table: Table, chunk: bytes, asked: Iterable[str], others: Iterable[str]
) -> tuple[str, ...]:
    """Return where else it may be: handoffs by preference, then any other store, each once."""
    known = set(asked)
    rest = dict.fromkeys((*table.preference(chunk), *others))
    return tuple(store_id for store_id in rest if store_id not in known)
