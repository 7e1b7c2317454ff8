"""`/rules`, `/retention`, `/explain`: which tags stay as they are, and which go after a while."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from treescale.auth.policy import Standing, may, permitted
from treescale.auth.roles import NO_MEMBER, Permission, Visibility
from treescale.auth.scopes import Action
from treescale.console.route import Answered, Asked, no_namespace, no_repository
from treescale.errors import Forbidden, NameInvalid, NamespaceUnknown, NameUnknown, RequestInvalid
from treescale.metadata.database import Database
from treescale.metadata.rules.records import EVERY_TAG, Rule, RuleScope, Whose
from treescale.oci.names import check_repository, namespace_of
from treescale.registry.rules.planner import Verdict
from treescale.registry.rules.service import (
    Explained,
    Planned,
    RuleService,
    Wanted,
    parse_whose,
)

ID_DIGITS_MAX = 18


class RuleRow(msgspec.Struct):
    """A rule; times are of seconds."""

    rule: int
    scope: str
    """`repository`, `namespace` or `cluster`."""
    name: str
    """Of the repository or namespace; empty for the cluster."""
    kind: str
    """`immutable` or `retention`."""
    tags: list[str]
    may_delete: bool
    may_expire: bool
    keep_last: int | None
    keep_pushed: float | None
    keep_pulled: float | None
    confirmed: bool
    """False: of retention, and it removes nothing until its plan is confirmed."""


class RuleList(msgspec.Struct):
    """The rules that speak there: its own, and those of what it is in."""

    rules: list[RuleRow]


class NewRule(msgspec.Struct, forbid_unknown_fields=True):
    """What a rule is to say. One of retention without `keep_…` keeps all it speaks of."""

    kind: str
    """`immutable` or `retention`."""
    tags: list[str] = msgspec.field(default_factory=lambda: [EVERY_TAG])
    """Patterns: `v*`."""
    may_delete: bool = False
    may_expire: bool = False
    keep_last: int | None = None
    keep_pushed: str | None = None
    """`30d`: so long after a push."""
    keep_pulled: str | None = None
    """`30d`: so long after a pull, or the push if it was never pulled."""


class GoingTag(msgspec.Struct):
    """A tag that goes; times are of UTC."""

    repository: str
    tag: str
    digest: str
    pushed: datetime
    pulled: datetime | None
    rules: list[int]
    """Those that speak of it, and do not keep it."""


class RetentionPlan(msgspec.Struct):
    """What rules of retention would remove now, if they were confirmed."""

    removed: int
    kept: int
    immutable: int
    """Of those that are kept: immutable, though a rule of retention speaks of them."""
    tags: list[GoingTag]
    """The first 1,000 that go, by repository and name."""
    digest: str
    """What is to be sent to confirm that very plan."""


class Confirmation(msgspec.Struct, forbid_unknown_fields=True):
    """The digest of a plan that somebody has looked at."""

    confirmed_digest: str


class Explanation(msgspec.Struct):
    """What becomes of a tag, and by which rule; times are of UTC."""

    repository: str
    tag: str
    digest: str
    kept: bool
    why: str
    """`no-rule`, `immutable`, `of-image`, `unconfirmed`, `always`, `last`, `pushed`, `pulled`; or
    `not-kept`: it goes within the hour."""
    rules: list[RuleRow]
    """Which keep it, or let it go."""
    against: list[RuleRow]
    """Rules of retention that speak of it in vain, since it is immutable."""
    pushed: datetime
    pulled: datetime | None
    until: datetime | None
    """Until when it stays at least, if nothing happens to it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Whose rules are asked for, and what the caller may do there."""

    whose: Whose
    may_change: bool


class RuleDesk:
    """What answers for rules."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._service = RuleService(database)

    async def list(self, asked: Asked) -> Answered:
        """List the rules that speak there, to whoever may pull there, or change them."""
        place = await self._seen(asked)
        return await self._listed(place.whose)

    async def add(self, asked: Asked) -> Answered:
        """Make a rule."""
        whose = await self._changing(asked)
        new: NewRule = asked.body
        wanted = Wanted(
            new.kind,
            new.tags,
            may_delete=new.may_delete,
            may_expire=new.may_expire,
            keep_last=new.keep_last,
            keep_pushed=new.keep_pushed,
            keep_pulled=new.keep_pulled,
        )
        return Answered(_row(await self._service.add(whose, wanted, actor=asked.principal.user)))

    async def remove(self, asked: Asked) -> Answered:
        """Remove a rule."""
        whose, rule_id = await self._changing(asked), _rule_id(asked)
        confirmed = asked.query.get("confirmed_digest")
        actor = asked.principal.user
        gone = await self._service.remove(whose, rule_id, confirmed=confirmed, actor=actor)
        return Answered(_row(gone))

    async def plan(self, asked: Asked) -> Answered:
        """Say what rules of retention would remove now, or without one of the rules."""
        whose = await self._changing(asked)
        without = _rule_id(asked, "without") if "without" in asked.query else None
        return Answered(_plan(await self._service.plan(whose, without=without)))

    async def confirm(self, asked: Asked) -> Answered:
        """Have them do so from now on."""
        whose = await self._changing(asked)
        body: Confirmation = asked.body
        actor = asked.principal.user
        planned = await self._service.confirm(whose, body.confirmed_digest, actor=actor)
        return Answered(_plan(planned))

    async def explain(self, asked: Asked) -> Answered:
        """Say what becomes of one tag."""
        try:
            check_repository(asked.name)
        except NameInvalid as error:  # also a namespace's, which `docker push` is told otherwise
            raise NameInvalid(str(error)) from None
        place = await self._seen(asked)
        tag = asked.query.get("tag")
        if tag is None:
            raise RequestInvalid("say which tag: ?tag=")
        return Answered(_explanation(await self._service.explain(place.whose.name, tag)))

    async def _listed(self, whose: Whose) -> Answered:
        return Answered(RuleList([_row(rule) for rule in await self._service.of(whose)]))

    async def _changing(self, asked: Asked) -> Whose:
        """Return whose rules are meant; raises what keeps the caller from changing them."""
        place = await self._seen(asked)
        if not place.may_change:
            who = "an administrator" if not place.whose.name else "a maintainer"
            raise Forbidden(f"{who} of {place.whose.told} may do this")
        return place.whose

    async def _seen(self, asked: Asked) -> _Place:
        """Return whose rules are meant; raises NameUnknown for what the caller does not see."""
        whose = parse_whose(asked.parameters.get("name"))
        if whose.scope is RuleScope.CLUSTER:
            return _Place(whose, asked.is_administrator)
        if whose.scope is RuleScope.NAMESPACE:
            return await self._namespace(asked, whose)
        return await self._repository(asked, whose)

    async def _namespace(self, asked: Asked, whose: Whose) -> _Place:
        unseen = no_namespace(asked, whose.name)
        standing = _standing(asked, whose.name)
        may_change = may(asked.principal, whose.name, Permission.RULES, standing)
        if not (may_change or standing.grants or whose.name == asked.principal.user):
            raise unseen
        try:
            await self._database.organisations.get(whose.name)
        except NamespaceUnknown:
            raise unseen from None
        return _Place(whose, may_change)

    async def _repository(self, asked: Asked, whose: Whose) -> _Place:
        unseen = no_repository(asked, whose.name)
        try:
            found = await self._database.repositories.get(whose.name)
        except NameUnknown:
            raise unseen from None
        standing = _standing(asked, namespace_of(whose.name), Visibility(found.visibility))
        may_change = may(asked.principal, whose.name, Permission.RULES, standing)
        may_pull = Action.PULL in permitted(asked.principal.person, whose.name, standing)
        if not (may_pull or may_change):
            raise unseen
        return _Place(whose, may_change)


def _standing(
    asked: Asked, namespace: str, visibility: Visibility = Visibility.PRIVATE
) -> Standing:
    grants = asked.held.get(namespace, NO_MEMBER).grants
    return Standing(visibility, grants, asked.is_administrator)


def _rule_id(asked: Asked, parameter: str = "rule") -> int:
    text = asked.query.get(parameter, "")
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX):
        raise RequestInvalid(f"say which rule by its number: ?{parameter}=")
    return int(text)


def _row(rule: Rule) -> RuleRow:
    says = rule.says
    return RuleRow(
        rule=rule.rule_id,
        scope=rule.whose.scope.value,
        name=rule.whose.name,
        kind=says.kind.value,
        tags=[*says.tags],
        may_delete=says.may_delete,
        may_expire=says.may_expire,
        keep_last=says.keep_last,
        keep_pushed=says.keep_pushed,
        keep_pulled=says.keep_pulled,
        confirmed=rule.is_armed,
    )


def _plan(planned: Planned) -> RetentionPlan:
    return RetentionPlan(
        removed=planned.removed,
        kept=planned.kept,
        immutable=planned.immutable,
        tags=[_going(repository, verdict) for repository, verdict in planned.removals],
        digest=planned.digest,
    )


def _going(repository: str, verdict: Verdict) -> GoingTag:
    return GoingTag(
        repository=repository,
        tag=verdict.tag.name,
        digest=verdict.tag.digest,
        pushed=_time(verdict.tag.pushed),
        pulled=None if verdict.tag.pulled is None else _time(verdict.tag.pulled),
        rules=[rule.rule_id for rule in verdict.rules],
    )


def _explanation(found: Explained) -> Explanation:
    verdict = found.verdict
    return Explanation(
        repository=found.repository,
        tag=verdict.tag.name,
        digest=verdict.tag.digest,
        kept=verdict.is_kept,
        why=verdict.why.value,
        rules=[_row(rule) for rule in verdict.rules],
        against=[_row(rule) for rule in verdict.against],
        pushed=_time(verdict.tag.pushed),
        pulled=None if verdict.tag.pulled is None else _time(verdict.tag.pulled),
        until=None if verdict.until is None else _time(verdict.until),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
