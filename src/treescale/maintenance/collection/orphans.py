"""What a store may take away because no row names it, and what holds it back. Pure.

Both are judged on what was looked at in one cycle: the copies of all partitions, with their ages,
before the rows that were read after them (collection.md R3).
"""

from collections.abc import Collection, Iterable
from typing import Final

from treescale.chunks.disk.contents import AgedCopy
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
