"""What a store may take away because no row names it, and what holds it back. Pure.

Both are judged on what was looked at in one cycle: the copies of all partitions, with their ages,
before the rows that were read after them (collection.md R3).
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from treescale.chunks.disk.contents import AgedCopy
from treescale.chunks.format.placement import PARTITIONS, Table
from treescale.maintenance.collection.state import Pause

CANDIDATES_MAX: Final = 100_000
"""Old copies that no blob names, of one cycle: 20 MB. What is more waits for the next."""
GUARD_SHARE: Final = 0.2
GUARD_CHUNKS_MIN: Final = 100
"""So few may always go: a fifth of next to nothing is one image."""


def candidates(copies: Iterable[AgedCopy], lease: float) -> list[AgedCopy]:
    """Return those whose lease is over: they were put so many seconds ago, or more."""
    return [copy for copy in copies if copy.age >= lease]


def orphans(candidates: Iterable[AgedCopy], named: Collection[bytes]) -> list[AgedCopy]:
    """Return those that no row names, biggest first. `named` was read after they were looked at."""
    left = [copy for copy in candidates if copy.chunk not in named]
    return sorted(left, key=lambda copy: (-copy.size, copy.chunk))


def share(store_id: str, tables: Sequence[Table], is_up: Callable[[str], bool]) -> float:
    """Return which part of all chunks may lie on the store: of those that go, as many lie here.

    Ids are hashes, so the part of the partitions of which it is a home by a layout in use, or
    stands in for one that is away. All for a store that is in none: it is being emptied, and what
    is left there is rubbish.
    """
    up = {label.store_id for table in tables for label in table.layout.stores}
    up = {name for name in up if is_up(name)}

    def may_have(table: Table, number: int) -> bool:
        order = table.orders[number]
        ready = islice((name for name in order if name in up), table.copies)
        return store_id in order[: table.copies] or store_id in ready

    found = sum(any(may_have(table, number) for table in tables) for number in range(PARTITIONS))
    return found / PARTITIONS if found else 1.0


def explained_here(collected: int, share: float) -> int:
    """Return how many of so many chunks that deletions have left in no row lie on a store.

    Its share, rounded up. Chance has it be off by some square roots of that: far less than the
    fifth, or the hundred chunks, that may go beyond it. So of what no deletion explains at most
    those may go, and of a store whose homes changed meanwhile what moved.
    """
    return math.ceil(collected * share)


def guard(going: int, here: int, explained: int) -> Pause | None:
    """Say whether that is more than a cycle may take of a store: a fifth of its chunks.

    Beyond what recorded deletions explain: so much is rather a wrong database than rubbish. None:
    it may go.
    """
    left = going - explained
    if left <= GUARD_CHUNKS_MIN or left <= GUARD_SHARE * here:
        return None
    told = f", and deletions explain {explained:,} of them" if explained else ""
    return Pause(
        f"{going:,} of the {here:,} chunks on this store are in no row{told}. What is left is more "
        f"than {GUARD_SHARE:.0%}: is this the right database?",
        "treescale collect --resume",
    )
