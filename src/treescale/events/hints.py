"""What an event says to the servers themselves: to look sooner. Pure.

What servers know of rights and layouts they read every few seconds, whatever the log says: that is
the truth. An event of one of these kinds only has them read at once.
"""

from collections.abc import Iterable
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final


class Hint(Enum):
    """What is to be looked at."""

    RIGHTS = "rights"
    """Keys, and what tokens and accounts may do."""
    LAYOUT = "layout"
    """Servers, stores and layouts."""


KINDS: Final = {
    Hint.RIGHTS: ("token.*", "user.*", "member.*", "organisation.*"),
    Hint.LAYOUT: ("layout.*", "server.*", "store.*"),
}


def hints(kinds: Iterable[str]) -> set[Hint]:
    """Return what events of these kinds say."""
    found = {*kinds}
    return {
        hint
        for hint, patterns in KINDS.items()
        if any(fnmatchcase(kind, pattern) for kind in found for pattern in patterns)
    }
