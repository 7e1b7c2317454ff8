"""Conditions of a request: If-Match and If-None-Match (RFC 9110, 13.1 and 13.2).

The entity tag of a manifest or a blob is its digest in quotes, a strong one. If-Match compares
strongly, so a weak tag never matches; If-None-Match compares weakly. There are no modification
dates here, so the conditions on dates are ignored, as 13.1.3 and 13.1.4 ask for then. If-Range
belongs to the ranges.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treescale.errors import PreconditionFailed, RequestInvalid

_TAG: Final = re.compile(r'[ \t]*+(?:(W/)?"([!#-~\u0080-\uffff]*+)")?+[ \t]*+(?:,|$)')
"""Possessive, so that blanks are looked at once: they may fill a header."""


@dataclass(frozen=True, slots=True)
class EntityTags:
    """What a condition lists: anything (`*`), or tags without their quotes."""

    anything: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    def has(self, digest: str | None) -> bool:
        """Return whether it lists what is there, by strong comparison; None: nothing is there."""
        return digest is not None and (self.anything or digest in self.strong)

    def has_weakly(self, digest: str | None) -> bool:
        """Return whether it lists what is there, by weak comparison."""
        return self.has(digest) or (digest is not None and digest in self.weak)


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be true of what is there now for a request to be done; None where unsaid."""

    match: EntityTags | None = None
    none_match: EntityTags | None = None

    def check_match(self, digest: str | None) -> None:
        """Raise PreconditionFailed unless If-Match holds of what is there."""
        if self.match is not None and not self.match.has(digest):
            raise PreconditionFailed(
                "If-Match names something else than what is there now: read it again, then decide"
            )

    def check(self, digest: str | None) -> None:
        """Raise PreconditionFailed unless both hold of what is there: before a change."""
        self.check_match(digest)
        if self.holds_already(digest):
            raise PreconditionFailed("If-None-Match: there is one, and it is left as it is")

    def holds_already(self, digest: str | None) -> bool:
        """Return whether If-None-Match is false: a reader has it, a writer must not write."""
        return self.none_match is not None and self.none_match.has_weakly(digest)


def parse_condition(match: Sequence[str], none_match: Sequence[str]) -> Condition | None:
    """Return the condition that all lines of both header fields make; None without any.

    Raises RequestInvalid for what is no list of entity tags: a condition that is not understood
    must not be passed over.
    """
    if not match and not none_match:
        return None
    return Condition(_parse("If-Match", match), _parse("If-None-Match", none_match))


def _parse(field: str, lines: Sequence[str]) -> EntityTags | None:
    if not lines:
        return None
    text = ", ".join(lines)
    if text.strip(" \t") == "*":
        return EntityTags(anything=True)
    tags: dict[bool, set[str]] = {True: set(), False: set()}
    at = 0
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None:
            break
        if found[2] is not None:
            tags[found[1] is None].add(found[2])
        at = found.end()
    if at < len(text) or not (tags[True] or tags[False]):
        raise RequestInvalid(f'{field} is * or a list of entity tags, such as "sha256:…" in quotes')
    return EntityTags(strong=frozenset(tags[True]), weak=frozenset(tags[False]))
