"""Pictures as paths of squares: one path for all squares of a kind. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

SIDE: Final = 64
"""Squares in a row of the picture of all partitions."""


def grid(runs: Iterable[tuple[int, int]], side: int = SIDE) -> Mapping[int, str]:
    """Return for each value the path of its squares, row by row; a run may go over several."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    begin = 0
    for value, length in runs:
        left = length
        while left:
            row, column = divmod(begin, side)
            wide = min(left, side - column)
            found[value].append(f"M{column} {row}h{wide}v1h-{wide}z")
            begin, left = begin + wide, left - wide
    return {value: "".join(parts) for value, parts in sorted(found.items())}


def row(runs: Sequence[tuple[int, int]]) -> Mapping[int, str]:
    """Return for each value the path of its squares, all in one row."""
    return grid(runs, max(1, sum(length for _, length in runs)))


def marks(places: Iterable[int]) -> str:
    """Return the path of single squares in a row."""
    return "".join(f"M{place} 0h1v1h-1z" for place in sorted(places))
