"""How far apart the copies of a chunk must lie before its write is acknowledged. Pure.

Copies in one failure domain are lost together, so a write quorum counts domains, not copies
(faults.md G2, G3): zones when the layout has as many as the quorum, else servers, else stores.
What is down does not lower this: of two zones with one away, nothing new is acknowledged.
"""

from collections.abc import Callable, Iterable
from typing import Final

from treescale.chunks.format.placement import Layout, StoreLabel

WRITE_QUORUM_MAX: Final = 2

_LEVELS: Final[tuple[tuple[str, Callable[[StoreLabel], str]], ...]] = (
    ("zones", lambda label: label.zone),
    ("servers", lambda label: label.server),
    ("stores", lambda label: label.store_id),
)


def write_quorum(layout: Layout) -> int:
    """Return how many durable copies, each in another domain, an acknowledgement needs."""
    return min(WRITE_QUORUM_MAX, layout.copies, len(layout.stores))


class FailureDomains:
    """The failure domains of a layout, at the highest level that has enough of them.

    `level` names it: zones, servers or stores.
    """

    def __init__(self, layout: Layout) -> None:
        self.quorum = write_quorum(layout)
        self.level, key = next(
            (level, key)
            for level, key in _LEVELS
            if len({key(label) for label in layout.stores}) >= self.quorum
        )
        self.labels = {label.store_id: label for label in layout.stores}
        self._domains = {label.store_id: key(label) for label in layout.stores}

    def of(self, store_id: str) -> str:
        """Return the domain of a store of the layout."""
        return self._domains[store_id]

    def reach_quorum(self, store_ids: Iterable[str]) -> bool:
        """Say whether copies on these stores suffice for an acknowledgement."""
        return len({self._domains[store_id] for store_id in store_ids}) >= self.quorum
