"""Which backups of a directory stay, by their names alone. Pure.

A name says when the backup was taken (UTC) and of which cluster, so each cluster is counted for
itself. Of each day the last one stays, and of days those that are newest; the one that was just
made stays in any case. Days without a backup do not count: whoever was away for a month finds as
many as ever.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

_NAME: Final = re.compile(r"treescale-(\d{8})T\d{6}Z-([0-9a-f]{8}|new)\.backup")
_CLUSTER_CHARACTERS: Final = 8
_NEW: Final = "new"
"""A database without keys: no server has been started on it."""


def name_of(taken: float, cluster: str) -> str:
    """Return the name of a backup that is taken then, in seconds since 1970."""
    when = datetime.fromtimestamp(taken, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"treescale-{when}-{cluster[:_CLUSTER_CHARACTERS] or _NEW}.backup"


def draft_of(name: str) -> str:
    """Return the name under which it is written: one for all of a cluster, so none is left over."""
    return f"treescale-{_cluster_of(name)}.part"


def is_name(name: str) -> bool:
    """Say whether `name_of` could have made it."""
    return _NAME.fullmatch(name) is not None


def to_remove(names: Iterable[str], made: str, keep: int) -> list[str]:
    """Return which of these go, now that `made` is whole: of `keep` days the last ones stay."""
    same = sorted(
        name for name in names if is_name(name) and _cluster_of(name) == _cluster_of(made)
    )
    last_of_day = {_day_of(name): name for name in same}
    days = sorted(last_of_day, reverse=True)[:keep]
    kept = {last_of_day[day] for day in days} | {made}
    return [name for name in same if name not in kept]


def _cluster_of(name: str) -> str:
    return name.removesuffix(".backup").rpartition("-")[2]


def _day_of(name: str) -> str:
    return name.split("-")[1][:8]
