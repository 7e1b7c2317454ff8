"""Which tags of a repository go, and which stay, until when and by which rule. Pure.

For a tag the nearest speaks that has a rule for it: the repository, else the namespace, else the
cluster. The tag stays while any of the rules that speak keeps it, and goes when none does. A tag of
which nobody speaks stays, one that is immutable too, unless each rule that has it be so permits its
removal. Of the last N count those alone of which the rule decides.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from treescale.metadata.rules.records import (
    Rule,
    RuleKind,
    RuleScope,
    TagFacts,
    Whose,
    is_of_image,
)


class Why(StrEnum):
    """Why a tag stays, or goes."""

    NO_RULE = "no-rule"
    """No rule of retention speaks of it."""
    IMMUTABLE = "immutable"
    OF_IMAGE = "of-image"
    """It says something of an image, and goes with that."""
    UNCONFIRMED = "unconfirmed"
    """Nobody has confirmed what the rules that speak of it would remove."""
    ALWAYS = "always"
    LAST = "last"
    PUSHED = "pushed"
    PULLED = "pulled"
    NOT_KEPT = "not-kept"
    """Rules speak of it, and none keeps it: it goes."""


FOR_EVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a tag."""

    tag: TagFacts
    why: Why
    rules: tuple[Rule, ...] = ()
    """Which has it stay; or which would have it go, all of them."""
    against: tuple[Rule, ...] = ()
    """Of a tag that is immutable: the rules of retention that speak of it in vain."""
    until: float | None = None
    """Of a tag that stays: until when at least, if nothing happens to it. None: nobody can tell."""

    @property
    def is_kept(self) -> bool:
        """Return whether it stays."""
        return self.why is not Why.NOT_KEPT


def plan(
    tags: Sequence[TagFacts],
    rules: Iterable[Rule],
    now: float,
    *,
    confirmed: Whose | None = None,
) -> list[Verdict]:
    """Return what becomes of each tag of a repository, for which `rules` speak.

    With `confirmed` as if the rules of that one had been confirmed.
    """
    found = list(rules)
    immutable = [rule for rule in found if rule.says.kind is RuleKind.IMMUTABLE]
    levels = _levels(rule for rule in found if rule.says.kind is RuleKind.RETENTION)
    judged = {tag.name: _spoken_for(tag, immutable, levels) for tag in tags}
    ranks = _ranks(tags, judged)
    return [
        judged[tag.name].verdict or _decide(tag, judged[tag.name].deciding, ranks, now, confirmed)
        for tag in tags
    ]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What decides of a tag: a verdict that no time changes, or the rules that speak."""

    verdict: Verdict | None
    deciding: tuple[Rule, ...] = ()


def _levels(rules: Iterable[Rule]) -> list[list[Rule]]:
    """Return the rules of each scope, the nearest first."""
    found: dict[RuleScope, list[Rule]] = {scope: [] for scope in RuleScope}
    for rule in sorted(rules, key=lambda rule: rule.rule_id):
        found[rule.whose.scope].append(rule)
    return [*found.values()]


def _spoken_for(
    tag: TagFacts, immutable: Sequence[Rule], levels: Sequence[Sequence[Rule]]
) -> _Judged:
    speaking: tuple[Rule, ...] = ()
    for level in levels:
        speaking = tuple(rule for rule in level if rule.says.speaks_of(tag.name))
        if speaking:
            break
    kept_by = [rule for rule in immutable if rule.says.speaks_of(tag.name)]
    fixed = tuple(rule for rule in kept_by if not rule.says.may_expire)
    if is_of_image(tag.name):
        return _Judged(Verdict(tag, Why.OF_IMAGE))
    if fixed:
        return _Judged(Verdict(tag, Why.IMMUTABLE, fixed, against=speaking))
    if not speaking:
        return _Judged(Verdict(tag, Why.NO_RULE))
    return _Judged(None, speaking)


def _ranks(
    tags: Iterable[TagFacts], judged: Mapping[str, _Judged]
) -> Mapping[tuple[int, str], int]:
    """Return the place of each tag among those of which a rule decides; 0 was pushed last."""
    newest = sorted(tags, key=lambda tag: (-tag.pushed, tag.name))
    counted: dict[int, int] = {}
    ranks: dict[tuple[int, str], int] = {}
    for tag in newest:
        for rule in judged[tag.name].deciding:
            place = counted.get(rule.rule_id, 0)
            ranks[rule.rule_id, tag.name] = place
            counted[rule.rule_id] = place + 1
    return ranks


def _decide(
    tag: TagFacts,
    rules: tuple[Rule, ...],
    ranks: Mapping[tuple[int, str], int],
    now: float,
    confirmed: Whose | None,
) -> Verdict:
    keeping = [
        (until, rule, why)
        for rule in rules
        for until, why in _kept(tag, rule, ranks[rule.rule_id, tag.name])
        if until > now
    ]
    if keeping:
        until, rule, why = max(keeping, key=lambda each: (each[0], -each[1].rule_id))
        return Verdict(tag, why, (rule,), until=None if until == FOR_EVER else until)
    if any(not rule.is_armed and rule.whose != confirmed for rule in rules):
        return Verdict(tag, Why.UNCONFIRMED, rules)
    return Verdict(tag, Why.NOT_KEPT, rules)


def _kept(tag: TagFacts, rule: Rule, rank: int) -> Iterable[tuple[float, Why]]:
    """Yield until when each condition of a rule keeps the tag."""
    says = rule.says
    if says.keeps_always:
        yield FOR_EVER, Why.ALWAYS
    if says.keep_last is not None and rank < says.keep_last:
        yield FOR_EVER, Why.LAST
    if says.keep_pushed is not None:
        yield tag.pushed + says.keep_pushed, Why.PUSHED
    if says.keep_pulled is not None:
        used = tag.pushed if tag.pulled is None else max(tag.pushed, tag.pulled)
        yield used + says.keep_pulled, Why.PULLED
