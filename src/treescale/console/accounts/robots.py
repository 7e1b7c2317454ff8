"""`/organisations/{name}/robots` and `/issuers`: robots, and whose ID tokens are believed."""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from treescale.auth.policy import Standing, may, permitted
from treescale.auth.roles import EVERY_REPOSITORY, NO_MEMBER, Permission
from treescale.auth.scopes import Action, Right, TokenScope
from treescale.auth.trust_rules import advice
from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked, check_fresh
from treescale.errors import Forbidden, NamespaceUnknown
from treescale.metadata.database import Database
from treescale.metadata.identity.records import Issuer, Robot, Secret, TrustRule
from treescale.registry.accounts import parse_allow, parse_duration
from treescale.registry.issuers.service import IssuerService
from treescale.registry.robots.service import RIGHTS, RobotService, RobotTerms

ALLOWED = (*Action, TokenScope.API, TokenScope.EVENTS)
"""In the order in which they are told."""


class RobotRow(msgspec.Struct):
    """A robot; times are of UTC."""

    id: str
    name: str
    """What it logs in as: NAMESPACE+NAME."""
    allow: list[str]
    """Of pull, push, delete, api, events."""
    repository: str
    """The glob that names of repositories match."""
    created: datetime
    expires: datetime | None
    maker: str
    """Who made it."""
    last_used: datetime | None
    last_address: str | None


class RobotPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    robots: list[RobotRow]
    next: str | None


class SecretRow(msgspec.Struct):
    """What a robot logs in with, but for the secret."""

    created: datetime
    expires: datetime | None
    exchanged: bool
    """Whether it was made for an ID token."""


class TrustRuleRow(msgspec.Struct):
    """A trust rule: of each claim a glob, in which `*` is any text."""

    id: str
    issuer: str
    claims: dict[str, str]
    created: datetime


class RobotShown(msgspec.Struct):
    """A robot, and what it logs in by."""

    robot: RobotRow
    secrets: list[SecretRow]
    rules: list[TrustRuleRow]


class NewRobot(msgspec.Struct, forbid_unknown_fields=True):
    """What a robot is to be; `expires` such as 90d, 12h or none."""

    name: str
    allow: list[str] = msgspec.field(default_factory=lambda: ["pull", "push"])
    """Of pull, push and delete on repositories; api and events for management."""
    repository: str = EVERY_REPOSITORY
    expires: str = "none"


class RobotMade(msgspec.Struct):
    """A robot and its secret, which is never shown again."""

    robot: RobotRow
    secret: str


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """Whether the secret before ends at once; else it is good for a day more."""

    now: bool = False


class RobotSecret(msgspec.Struct):
    """A robot's new secret, which is never shown again."""

    name: str
    secret: str


class RobotGone(msgspec.Struct):
    """The robot that was removed."""

    name: str


class NewTrustRule(msgspec.Struct, forbid_unknown_fields=True):
    """Whose ID tokens to take: of each claim a glob. Without an issuer it is the preset's.

    Presets: `github`, `gitlab`, `kubernetes` (claims namespace and service_account).
    """

    claims: dict[str, str]
    issuer: str = ""
    preset: str = ""


class TrustRuleMade(msgspec.Struct):
    """The rule, and what would make it better: "" when nothing is known."""

    rule: TrustRuleRow
    advice: str


class RuleGone(msgspec.Struct):
    """The rule that was removed."""

    id: str


class IssuerRow(msgspec.Struct):
    """Whose ID tokens are believed; `keys` are `published`, or `given`."""

    issuer: str
    keys: str
    created: datetime


class IssuerPage(msgspec.Struct):
    """Some of them, by URL; `next` is what `after` has to be for those that follow."""

    issuers: list[IssuerRow]
    next: str | None


class NewIssuer(msgspec.Struct, forbid_unknown_fields=True):
    """An issuer's URL as `iss` has it; its JWK set, where that cannot be fetched from here."""

    issuer: str
    jwks: str | None = None


class IssuerGone(msgspec.Struct):
    """The issuer that was removed, and how many robots had a rule for it."""

    issuer: str
    robots: int


class RobotDesk:
    """What answers for robots: to maintainers and owners of a namespace, and administrators."""

    def __init__(self, database: Database) -> None:
        self._service = RobotService(database)

    async def list(self, asked: Asked) -> Answered:
        """List a namespace's."""
        _check(asked)
        paging = Paging.of(asked)
        found = await self._service.page(asked.name, paging.after, paging.limit + 1)
        path = f"/organisations/{asked.name}/robots"
        shown, last, headers = page_of(path, paging, found, lambda one: one.name)
        return Answered(RobotPage([_row(one) for one in shown], last), headers)

    async def add(self, asked: Asked) -> Answered:
        """Make one, with no more than the caller has."""
        check_fresh(asked)
        wanted: NewRobot = asked.body
        allow = parse_allow(",".join(wanted.allow), of=RIGHTS)
        lasts = parse_duration(wanted.expires)
        _check(asked, allow)
        terms = RobotTerms(wanted.name, allow, wanted.repository, lasts)
        secret, made = await self._service.add(asked.name, terms, actor=asked.principal.user)
        return Answered(RobotMade(_row(made), secret))

    async def show(self, asked: Asked) -> Answered:
        """Show one, and what it logs in by."""
        _check(asked)
        found = await self._service.show(asked.name, asked.parameters["robot"])
        secrets = [_secret(one) for one in found.secrets]
        return Answered(RobotShown(_row(found.robot), secrets, [_rule(one) for one in found.rules]))

    async def rotate(self, asked: Asked) -> Answered:
        """Give it another secret: to whoever has what it has."""
        check_fresh(asked)
        wanted: Rotation = asked.body
        robot = await self._held(asked)
        secret = await self._service.rotate(
            asked.name, robot.name, at_once=wanted.now, actor=asked.principal.user
        )
        return Answered(RobotSecret(robot.login, secret))

    async def remove(self, asked: Asked) -> Answered:
        """Remove one."""
        _check(asked)
        name = asked.parameters["robot"]
        await self._service.remove(asked.name, name, actor=asked.principal.user)
        return Answered(RobotGone(f"{asked.name}+{name}"))

    async def trust(self, asked: Asked) -> Answered:
        """Have ID tokens be taken for it: by whoever has what it has."""
        check_fresh(asked)
        wanted: NewTrustRule = asked.body
        robot = await self._held(asked)
        rule = await self._service.trust(
            asked.name,
            robot.name,
            wanted.issuer,
            wanted.claims,
            preset=wanted.preset,
            actor=asked.principal.user,
        )
        return Answered(TrustRuleMade(_rule(rule), advice(rule.claims)))

    async def distrust(self, asked: Asked) -> Answered:
        """Remove a rule."""
        _check(asked)
        rule = asked.parameters["rule"]
        await self._service.distrust(
            asked.name, asked.parameters["robot"], rule, actor=asked.principal.user
        )
        return Answered(RuleGone(rule))

    async def _held(self, asked: Asked) -> Robot:
        """Return the robot, if the caller has what it has."""
        _check(asked)
        robot = await self._service.get(asked.name, asked.parameters["robot"])
        _check(asked, [right for right in ALLOWED if right.value in robot.allow])
        return robot


class IssuerDesk:
    """What answers for issuers of ID tokens."""

    def __init__(self, database: Database) -> None:
        self._service = IssuerService(database)

    async def list(self, asked: Asked) -> Answered:
        """List them."""
        paging = Paging.of(asked)
        found = await self._service.page(paging.after, paging.limit + 1)
        shown, last, headers = page_of("/issuers", paging, found, lambda one: one.issuer)
        return Answered(IssuerPage([_issuer(one) for one in shown], last), headers)

    async def add(self, asked: Asked) -> Answered:
        """Allow one, or replace its keys: whoever has them is any robot that trusts it."""
        check_fresh(asked)
        wanted: NewIssuer = asked.body
        actor = asked.principal.user
        return Answered(_issuer(await self._service.add(wanted.issuer, wanted.jwks, actor=actor)))

    async def remove(self, asked: Asked) -> Answered:
        """Forbid one, and remove the rules that name it."""
        issuer = asked.parameters["issuer"]
        robots = await self._service.remove(issuer, actor=asked.principal.user)
        return Answered(IssuerGone(issuer, robots))


def _check(asked: Asked, allow: Collection[Right] = ()) -> None:
    """Raise NamespaceUnknown for a stranger, Forbidden for who lacks the right, or what is given.

    An administrator gives no right on content that she has not been granted herself.
    """
    name, who = asked.name, asked.principal
    grants = asked.held.get(name, NO_MEMBER).grants
    standing = Standing(grants=grants, is_administrator=asked.is_administrator)
    if not may(who, name, Permission.ROBOTS, standing):
        if name not in asked.held and name != who.user:
            raise NamespaceUnknown(f"no organisation {name} in which you have a role")
        raise Forbidden(f"a maintainer of {name} may do this")
    of_all = Standing(grants=tuple(one for one in grants if one.is_for_all))
    has = permitted(who.person, f"{name}/{EVERY_REPOSITORY}", of_all)
    for right in allow:
        if right not in has if isinstance(right, Action) else not who.opens(right):
            raise Forbidden(
                f"you cannot give a robot {right.value} in {name}, which you have not yourself"
            )


def _row(one: Robot) -> RobotRow:
    return RobotRow(
        id=one.robot_id,
        name=one.login,
        allow=[right.value for right in ALLOWED if right.value in one.allow],
        repository=one.repository,
        created=_time(one.created),
        expires=_optional(one.expires),
        maker=one.actor,
        last_used=_optional(one.last_used),
        last_address=one.last_address,
    )


def _secret(one: Secret) -> SecretRow:
    return SecretRow(_time(one.created), _optional(one.expires), one.rule is not None)


def _rule(one: TrustRule) -> TrustRuleRow:
    return TrustRuleRow(one.rule_id, one.issuer, {**one.claims}, _time(one.created))


def _issuer(one: Issuer) -> IssuerRow:
    return IssuerRow(one.issuer, "published" if one.jwks is None else "given", _time(one.created))


def _optional(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
