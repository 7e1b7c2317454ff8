"""Which kinds of events there are, for whoever names them: a slip is said, and waits for nothing.

Kinds of later versions are unknown here: what is stored, or comes by the API, is not looked at.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final

from treescale.metadata.events.recording import Kind

KINDS: Final = tuple(kind.value for kind in Kind)


def unknown_kind(globs: Iterable[str]) -> str:
    """Return what to tell whoever wants kinds of which one is no event's; "" when all are."""
    for glob in globs:
        if not any(fnmatchcase(kind, glob) for kind in KINDS):
            near = get_close_matches(glob.lower(), KINDS, n=1)
            meant = f"did you mean {near[0]}?" if near else "such as image.pushed, tag.*"
            return f"no event has the kind {glob[:64]}: {meant}"
    return ""
