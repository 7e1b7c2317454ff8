"""Of which share of a quota is told: once when it is reached, and again only after it fell. Pure.

A level is taken back when the use is well below it, so that a namespace at its edge, where each
push follows a deletion, is told of once.
"""

from typing import Final

NOTHING: Final = 0
WARNED: Final = 80
REACHED: Final = 100
"""Levels, in percent of the quota."""
_FORGOTTEN_BELOW: Final = {WARNED: 75, REACHED: 95}
"""Percent below which a level is taken back."""


def level_of(used: int, quota: int | None, told: int) -> int:
    """Return the level that is to be known as told; more than `told` is to be told of now."""
    if quota is None:
        return NOTHING
    level = NOTHING
    for each in (WARNED, REACHED):
        if used * 100 >= quota * each:
            level = each
    if level >= told:
        return level
    return max(
        level, *(each for each in (NOTHING, WARNED, REACHED) if _holds(each, told, used, quota))
    )


def _holds(level: int, told: int, used: int, quota: int) -> bool:
    """Say whether a level that was told of, or one below it, is not taken back yet."""
    return level <= told and (level == NOTHING or used * 100 >= quota * _FORGOTTEN_BELOW[level])
