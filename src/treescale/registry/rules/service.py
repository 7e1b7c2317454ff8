"""Rules for tags: what people do with them.

Whether the caller may is asked of `auth.policy` by whoever calls. Nothing is removed here: a rule
of retention is made, somebody looks at what it would remove, and confirms that very plan by its
digest; then `registry.rules.runner` goes by it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

from treescale.errors import (
    ManifestUnknown,
    PlanChanged,
    Refused,
    RequestInvalid,
    RuleUnknown,
    SettingInvalid,
)
from treescale.lease_times import parse_seconds
from treescale.metadata.database import Database
from treescale.metadata.retention.facts import has_tag
from treescale.metadata.retention.rules import Ruled, Rules
from treescale.metadata.rules.records import (
    EVERY_TAG,
    THE_CLUSTER,
    Rule,
    RuleKind,
    RuleScope,
    Saying,
    Whose,
)
from treescale.oci.names import check_namespace, check_repository
from treescale.registry.rules.judging import facts_of, judged
from treescale.registry.rules.planner import Verdict, Why

GLOB_CHARACTERS_MAX: Final = 128
GLOBS_MAX: Final = 20
KEEP_LAST_MAX: Final = 100_000
KEEP_SECONDS_MIN: Final = 3600.0
"""Less is a slip: `30m` are minutes."""
LISTED_MAX: Final = 1000
"""Tags that a plan names; it counts all, and its digest is of all."""
PAGE_SIZE: Final = 500
_GLOB: Final = re.compile(r"[A-Za-z0-9_.*?-]+")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants a rule to say, as it was typed."""

    kind: str
    tags: Sequence[str] = (EVERY_TAG,)
    may_delete: bool = False
    may_expire: bool = False
    keep_last: int | None = None
    keep_pushed: str | None = None
    keep_pulled: str | None = None


@dataclass(slots=True)
class Planned:
    """What the rules of a repository, a namespace or the cluster would remove now."""

    whose: Whose
    rules: list[Rule]
    """Of retention, its own."""
    removals: list[tuple[str, Verdict]] = field(default_factory=list)
    """By repository and tag, up to `LISTED_MAX`."""
    removed: int = 0
    kept: int = 0
    immutable: int = 0
    """Of those that are kept: a rule of retention speaks of them, and they are immutable."""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Explained:
    """What becomes of a tag, and what was known of it."""

    repository: str
    verdict: Verdict
    now: float


class RuleService:
    """Makes, removes and confirms rules, and explains what they do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rules = Rules(database.connections)

    async def of(self, whose: Whose) -> list[Rule]:
        """Return all rules that speak there: its own, and those of what it is in.

        Raises NameUnknown for a repository that is not there.
        """
        if whose.scope is RuleScope.REPOSITORY:
            return await self._rules.for_repository(await self._rules.repository(whose.name))
        own = await self._rules.of(whose)
        if whose.scope is RuleScope.CLUSTER:
            return own
        return own + await self._rules.of(THE_CLUSTER)

    async def add(self, whose: Whose, wanted: Wanted, *, actor: str) -> Rule:
        """Make a rule.

        Raises RequestInvalid, NameUnknown, NamespaceUnknown, RuleExists, and Refused for too many.
        """
        return await self._rules.add(whose, parse_saying(wanted), actor=actor)

    async def remove(
        self, whose: Whose, rule_id: int, *, confirmed: str | None = None, actor: str
    ) -> Rule:
        """Remove a rule.

        Raises RuleUnknown; PlanChanged when other rules would then let go what this one keeps, and
        `confirmed` is not the digest of the plan without it.
        """
        if await self._rules.any_armed():
            planned = await self.plan(whose, without=rule_id)
            if planned.removed and planned.digest != confirmed:
                raise PlanChanged(
                    f"without rule {rule_id} other rules would have {planned.removed:,} tags go: "
                    "look at the plan without it, and confirm its digest"
                )
        return await self._rules.remove(whose, rule_id, actor=actor)

    async def plan(self, whose: Whose, *, without: int | None = None) -> Planned:
        """Return what its rules would remove now, as if they had been confirmed.

        Of a repository also what wider rules remove there. `without` one of its rules: what would
        go that stays with it, as things are. Raises NameUnknown, RuleUnknown.
        """
        own = await self._rules.of(whose)
        gone = None
        if without is not None:
            gone = next((rule for rule in own if rule.rule_id == without), None)
            if gone is None:
                raise RuleUnknown(f"{whose.told} has no rule {without}")
        planned = Planned(whose, [rule for rule in own if rule.says.kind is RuleKind.RETENTION])
        hashed = sha256(f"{without}".encode())
        for rule in planned.rules:
            hashed.update(f"{rule.rule_id} {rule.says}\n".encode())
        now, after = await self._database.servers.now(), ""
        while page := await self._rules.repositories(whose, after, PAGE_SIZE):
            for repository in page:
                going, verdicts = await self._going(repository, now, whose, gone)
                for verdict in going:
                    told = f"{repository.name} {verdict.tag.name} {verdict.tag.digest}\n"
                    hashed.update(told.encode())
                _note(planned, repository.name, going, verdicts)
            after = page[-1].name
        planned.digest = f"sha256:{hashed.hexdigest()}"
        return planned

    async def confirm(self, whose: Whose, digest: str, *, actor: str) -> Planned:
        """Have its rules of retention remove what the plan of this digest says, from now on.

        Raises PlanChanged when the plan is another by now, Refused when there is no such rule.
        """
        planned = await self.plan(whose)
        if not planned.rules:
            raise Refused(f"{whose.told} has no rules of retention: there is nothing to confirm")
        if planned.digest != digest:
            raise PlanChanged(
                f"what the rules of {whose.told} would remove is something else by now: look again "
                "at the plan, and confirm its digest"
            )
        await self._rules.arm(whose, planned.rules, actor=actor)
        return planned

    async def explain(self, repository: str, tag: str) -> Explained:
        """Return what becomes of a tag, and by which rule; raises NameUnknown, ManifestUnknown."""
        found = await self._rules.repository(repository)
        if not await has_tag(self._database.connections, found, tag):
            raise ManifestUnknown(f"no tag {tag} in {repository}")
        now = await self._database.servers.now()
        rules = await self._rules.for_repository(found)
        connections = self._database.connections
        facts = await facts_of(connections, found, rules, for_people=True)
        for verdict in await judged(facts, rules, now):
            if verdict.tag.name == tag:
                return Explained(repository, verdict, now)
        raise ManifestUnknown(f"no tag {tag} in {repository}")

    async def _going(
        self, repository: Ruled, now: float, whose: Whose, gone: Rule | None
    ) -> tuple[list[Verdict], list[Verdict]]:
        """Return which tags the plan has go, and what becomes of all."""
        rules = await self._rules.for_repository(repository)
        connections = self._database.connections
        facts = await facts_of(connections, repository, rules, for_people=True)
        if gone is None:
            verdicts = await judged(facts, rules, now, whose)
            return [verdict for verdict in verdicts if _is_by(whose, verdict)], verdicts
        before = await judged(facts, rules, now)
        after = await judged(facts, rules_without(rules, gone), now)
        pairs = zip(before, after, strict=True)
        return [then for is_now, then in pairs if is_now.is_kept and not then.is_kept], after


def rules_without(rules: Sequence[Rule], gone: Rule) -> list[Rule]:
    """Return what the rules are once one of them was removed: those beside it wait."""
    waits = gone.says.kind is RuleKind.RETENTION
    return [
        replace(rule, is_armed=False)
        if waits and rule.whose == gone.whose and rule.says.kind is RuleKind.RETENTION
        else rule
        for rule in rules
        if rule.rule_id != gone.rule_id
    ]


def _is_by(whose: Whose, verdict: Verdict) -> bool:
    """Say whether the plan of this one has the tag go: not what nearer, or wider, rules decide."""
    if verdict.is_kept:
        return False
    is_repository = whose.scope is RuleScope.REPOSITORY
    return is_repository or any(rule.whose == whose for rule in verdict.rules)


def _note(
    planned: Planned, repository: str, going: Sequence[Verdict], verdicts: Sequence[Verdict]
) -> None:
    planned.removed += len(going)
    planned.kept += len(verdicts) - len(going)
    room = LISTED_MAX - len(planned.removals)
    planned.removals += [(repository, verdict) for verdict in going[:room]]
    planned.immutable += sum(
        verdict.why is Why.IMMUTABLE and bool(verdict.against) for verdict in verdicts
    )


def parse_whose(name: str | None) -> Whose:
    """Return whose rules are meant: a repository's, a namespace's, without a name the cluster's.

    Raises NameInvalid.
    """
    if name is None:
        return THE_CLUSTER
    if "/" in name:
        return Whose(RuleScope.REPOSITORY, check_repository(name))
    return Whose(RuleScope.NAMESPACE, check_namespace(name))


def parse_saying(wanted: Wanted) -> Saying:
    """Return what the rule is to say; raises RequestInvalid."""
    if wanted.kind not in [kind.value for kind in RuleKind]:
        raise RequestInvalid(f"{wanted.kind!r} is no kind of rule: say immutable or retention")
    kind = RuleKind(wanted.kind)
    is_immutable = kind is RuleKind.IMMUTABLE
    keeps = (wanted.keep_last, wanted.keep_pushed, wanted.keep_pulled)
    if is_immutable and keeps != (None, None, None):
        raise RequestInvalid("an immutable tag has no time: let a rule of retention say how long")
    if not is_immutable and (wanted.may_delete or wanted.may_expire):
        raise RequestInvalid("only a rule that has tags be immutable says what may be done to them")
    if wanted.keep_last is not None and not 1 <= wanted.keep_last <= KEEP_LAST_MAX:
        raise RequestInvalid(f"keep the last 1 to {KEEP_LAST_MAX:,}")
    return Saying(
        kind,
        _globs(wanted.tags),
        may_delete=wanted.may_delete,
        may_expire=wanted.may_expire,
        keep_last=wanted.keep_last,
        keep_pushed=_seconds(wanted.keep_pushed),
        keep_pulled=_seconds(wanted.keep_pulled),
    )


def _globs(tags: Sequence[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(tags))
    if not 1 <= len(found) <= GLOBS_MAX:
        raise RequestInvalid(f"a rule has 1 to {GLOBS_MAX} patterns of tags")
    for each in found:
        if len(each) > GLOB_CHARACTERS_MAX or _GLOB.fullmatch(each) is None:
            raise RequestInvalid(
                f"{each[:GLOB_CHARACTERS_MAX]!r} is no pattern of tags: it is made of the "
                f"characters of a tag, * (anything) and ?; of several each is given by itself"
            )
    return found


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = parse_seconds(text)
    except SettingInvalid as error:
        raise RequestInvalid(str(error)) from None
    if seconds < KEEP_SECONDS_MIN:
        raise RequestInvalid(f"{text} is less than an hour: say 24h, 30d or 8w")
    return seconds
