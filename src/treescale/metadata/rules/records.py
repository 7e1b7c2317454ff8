"""Rules for tags, as values. Times are seconds. Pure.

A rule is a repository's, a namespace's or the cluster's, and speaks of the tags that match one of
its globs. A tag that says something of an image, such as cosign's `sha256-….sig`, goes with that
image: no rule speaks of it but one whose glob begins as it does.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from functools import lru_cache
from typing import Final

_OF_IMAGE: Final = re.compile(r"sha256-[0-9a-f]{64}(\.[a-z0-9]+)?")
OF_IMAGE_PREFIX: Final = "sha256-"
EVERY_TAG: Final = "*"
SEPARATOR: Final = ","
"""Between the globs of a rule; in no tag."""
PATTERNS_MAX: Final = 1000
"""Kept as they were compiled."""
DEPTH_MAX: Final = 16
"""An index of indexes of …: nobody goes further."""


class RuleKind(StrEnum):
    """What a rule is about."""

    IMMUTABLE = "immutable"
    RETENTION = "retention"


class RuleScope(StrEnum):
    """Whose a rule is, the nearest to a tag first."""

    REPOSITORY = "repository"
    NAMESPACE = "namespace"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Whose:
    """A repository, a namespace, or the cluster, which has no name."""

    scope: RuleScope
    name: str = ""

    @property
    def told(self) -> str:
        """Return it in words."""
        if self.scope is RuleScope.CLUSTER:
            return "the cluster"
        return f"the {self.scope} {self.name}"

    @property
    def option(self) -> str:
        """Return how a command names it."""
        return "--cluster" if self.scope is RuleScope.CLUSTER else self.name


THE_CLUSTER: Final = Whose(RuleScope.CLUSTER)


@dataclass(frozen=True, slots=True)
class Saying:
    """What a rule says: `immutable`, or for how long tags are kept.

    A rule of retention keeps a tag while any of its conditions holds, and one without conditions
    always.
    """

    kind: RuleKind
    tags: tuple[str, ...] = (EVERY_TAG,)
    may_delete: bool = False
    """Of an immutable tag: people who may delete may delete it."""
    may_expire: bool = False
    """Of an immutable tag: rules of retention may remove it."""
    keep_last: int | None = None
    """So many of the tags of which it speaks, the last pushed."""
    keep_pushed: float | None = None
    """So long after it was pushed."""
    keep_pulled: float | None = None
    """So long after it was pulled last, or pushed if that was never."""

    @property
    def keeps_always(self) -> bool:
        """Return whether it is a rule of retention that keeps all it speaks of."""
        conditions = (self.keep_last, self.keep_pushed, self.keep_pulled)
        return self.kind is RuleKind.RETENTION and conditions == (None, None, None)

    def speaks_of(self, tag: str) -> bool:
        """Return whether the tag matches one of its globs."""
        globs = self.tags
        if is_of_image(tag):
            globs = tuple(glob for glob in globs if glob.startswith(OF_IMAGE_PREFIX))
        return bool(globs) and _pattern(globs).match(tag) is not None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that there is."""

    rule_id: int
    whose: Whose
    says: Saying
    is_armed: bool = True
    """False: it is of retention, and nobody has confirmed what it would remove."""

    @property
    def told(self) -> str:
        """Return which rule it is, and whose."""
        return f"rule {self.rule_id} of {self.whose.told} ({SEPARATOR.join(self.says.tags)})"


@dataclass(frozen=True, slots=True)
class TagFacts:
    """What is known of a tag; times since 1970."""

    name: str
    digest: str
    pushed: float
    pulled: float | None = None
    """When it, its image or a part of that was pulled last."""


def is_of_image(tag: str) -> bool:
    """Return whether the tag says something of an image, whose digest it has."""
    return tag.startswith(OF_IMAGE_PREFIX) and _OF_IMAGE.fullmatch(tag) is not None


@lru_cache(PATTERNS_MAX)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(glob) for glob in globs))


def latest_pull(
    references: Iterable[str], pulled: Mapping[str, float], parts: Mapping[str, Iterable[str]]
) -> float | None:
    """Return when any of these, or of the parts they have, was pulled last; None for never."""
    seen, fresh = set[str](), set(references)
    for _ in range(DEPTH_MAX):
        seen |= fresh
        fresh = {part for each in fresh for part in parts.get(each, ())} - seen
        if not fresh:
            break
    return max((pulled[each] for each in seen if each in pulled), default=None)
