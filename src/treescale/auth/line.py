"""A line that is bounded and ordered by urgency; within an urgency, who came first. Pure."""

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from treescale.auth.guessing import Urgency

Item = TypeVar("Item")


class LineFull(Exception):
    """Nobody in the line can wait longer than the newcomer."""


class Line(Generic[Item]):
    """Who waits, each once."""

    def __init__(self, length_max: int) -> None:
        self._length_max: Final = length_max
        self._waiting: dict[Urgency, OrderedDict[Item, None]] = {
            urgency: OrderedDict() for urgency in Urgency
        }

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def enter(self, item: Item, urgency: Urgency) -> Item | None:
        """Add somebody; return who has to leave for that: the last of the least urgent.

        Raises LineFull when that would be the newcomer.
        """
        leaves = None
        if len(self) >= self._length_max:
            least = max((one for one in Urgency if self._waiting[one]), default=urgency)
            if least <= urgency:
                raise LineFull
            leaves, _ = self._waiting[least].popitem(last=True)
        self._waiting[urgency][item] = None
        return leaves

    def leave(self, item: Item) -> None:
        """Remove somebody, wherever they are; nothing happens when they are not there."""
        for waiting in self._waiting.values():
            waiting.pop(item, None)

    def first(self) -> tuple[Item, Urgency] | None:
        """Return whose turn it is, and how urgent that is; None when nobody waits."""
        for urgency, waiting in self._waiting.items():
            for item in waiting:
                return item, urgency
        return None
