"""`/quotas` and `/usage`: what namespaces may have, what they have, and what they had by month."""

from collections.abc import Mapping
from typing import Final

import msgspec

from treescale.auth.policy import Standing, may
from treescale.auth.roles import NO_MEMBER, Permission
from treescale.console.pages import Paging, page_of
from treescale.console.route import Answered, Asked
from treescale.errors import FieldInvalid, Forbidden, NamespaceUnknown
from treescale.metadata.database import Database
from treescale.metadata.usage.months import Month
from treescale.metadata.usage.quotas import (
    BYTES,
    NO_LIMIT,
    REPOSITORIES,
    TAGS,
    Limit,
    QuotaFigures,
)
from treescale.registry.counted.quotas import (
    CLUSTER_SETTINGS,
    DEFAULT,
    NONE,
    QuotaService,
    UsageService,
)

CLUSTER_LIMITS: Final = {name: name.replace("-", "_") for name in CLUSTER_SETTINGS}
"""The field of each of the cluster's settings."""


class Own(msgspec.Struct):
    """What was said of this namespace: a number, `none`, or `default` for the cluster's."""

    quota: int | str
    repositories_max: int | str
    tags_max: int | str


class QuotaRow(msgspec.Struct):
    """What a namespace may have, and has; sizes in bytes, a limit that is null is none."""

    namespace: str
    quota: int | None
    used: int | None
    """What counts: each blob and manifest once, deleted ones included; null without a quota."""
    waiting: int | None
    """What of it is deleted, and not gone."""
    share: float | None
    """Of the quota; 1 is all."""
    repositories: int
    repositories_max: int | None
    tags_max: int | None
    """Of each repository."""
    own: Own
    counting: bool
    """Whether `used` is still being added up: it grows for some seconds."""


class QuotaPage(msgspec.Struct):
    """Some of them, by name; `next` is what `after` has to be for those that follow."""

    quotas: list[QuotaRow]
    next: str | None


class NewLimits(msgspec.Struct, forbid_unknown_fields=True):
    """Limits to set: `50GB` or bytes, a number, `none`, or `default`; what is null stays."""

    quota: int | str | None = None
    repositories_max: int | str | None = None
    tags_max: int | str | None = None


class ClusterLimits(msgspec.Struct):
    """What holds for namespaces without a limit of their own, and for each account; null is none.

    `requests_max` and `pulls_max` are in a minute.
    """

    quota: int | None
    repositories_max: int | None
    tags_max: int | None
    requests_max: int | None
    pulls_max: int | None


class NewClusterLimits(msgspec.Struct, forbid_unknown_fields=True):
    """Limits to set: `50GB` or bytes, a number, or `none`; what is null stays."""

    quota: int | str | None = None
    repositories_max: int | str | None = None
    tags_max: int | str | None = None
    requests_max: int | str | None = None
    pulls_max: int | str | None = None


class UsageRow(msgspec.Struct):
    """A month of a namespace; sizes in bytes."""

    namespace: str
    month: str
    kept: int
    """On average: each blob once, without what was deleted."""
    kept_max: int
    byte_hours: int
    pulled: int
    """Of blobs, as they were sent."""
    pulls: int


class UsageList(msgspec.Struct):
    """The months of a namespace, the oldest first."""

    months: list[UsageRow]


class UsagePage(msgspec.Struct):
    """Some namespaces in a month, by name; `next` is what `after` has to be for the others."""

    months: list[UsageRow]
    next: str | None


class QuotaDesk:
    """What answers for quotas, and for what was used."""

    def __init__(self, database: Database) -> None:
        self._quotas = QuotaService(database)
        self._usage = UsageService(database)

    async def list(self, asked: Asked) -> Answered:
        """List the namespaces that have any limit."""
        paging = Paging.of(asked)
        found = await self._quotas.page(paging.after, paging.limit + 1)
        shown, last, link = page_of("/quotas", paging, found, lambda one: one.namespace)
        return Answered(QuotaPage([_quota(one) for one in shown], last), link)

    async def show(self, asked: Asked) -> Answered:
        """Show one to whoever looks after its settings."""
        _check(asked, Permission.SETTINGS, "an owner")
        return Answered(_quota(await self._quotas.get(asked.name)))

    async def change(self, asked: Asked) -> Answered:
        """Set limits; say what is in force then."""
        wanted: NewLimits = asked.body
        given = {
            BYTES.setting: wanted.quota,
            REPOSITORIES.setting: wanted.repositories_max,
            TAGS.setting: wanted.tags_max,
        }
        to = {name: _text(name, value) for name, value in given.items() if value is not None}
        if not to:
            raise FieldInvalid("say quota, repositories_max or tags_max", "")
        found = await self._quotas.set(asked.name, to, actor=asked.principal.user)
        return Answered(_quota(found))

    async def of_namespace(self, asked: Asked) -> Answered:
        """Show the months of a namespace to whoever maintains it."""
        _check(asked, Permission.HISTORY, "a maintainer")
        found = await self._usage.of_namespace(asked.name)
        if not found:
            await self._quotas.get(asked.name)  # raises when there is none of that name
        return Answered(UsageList([_month(one) for one in found]))

    async def of_month(self, asked: Asked) -> Answered:
        """List what namespaces used in a month."""
        paging, month = Paging.of(asked), asked.query.get("month")
        found = await self._usage.of_month(month, paging.after, paging.limit + 1)
        given = {} if month is None else {"month": month}
        shown, last, link = page_of("/usage", paging, found, lambda one: one.namespace, given)
        return Answered(UsagePage([_month(one) for one in shown], last), link)

    async def defaults(self, asked: Asked) -> Answered:
        """Say what holds where nothing else was said."""
        del asked
        return Answered(_limits(await self._quotas.defaults()))

    async def put_defaults(self, asked: Asked) -> Answered:
        """Say so anew, of what is named; say what holds then."""
        wanted: NewClusterLimits = asked.body
        to = {
            setting: _text(setting, value)
            for setting, field in CLUSTER_LIMITS.items()
            if (value := getattr(wanted, field)) is not None
        }
        if not to:
            raise FieldInvalid(f"say one of {', '.join(CLUSTER_LIMITS.values())}", "")
        await self._quotas.set_defaults(to, actor=asked.principal.user)
        return Answered(_limits(await self._quotas.defaults()))


def _text(setting: str, value: int | str) -> str:
    """Return a limit as a command says it; a number of JSON is of bytes where they are counted."""
    return f"{value}B" if setting == BYTES.setting and isinstance(value, int) else str(value)


def _limits(found: Mapping[str, int | None]) -> ClusterLimits:
    return ClusterLimits(**{field: found[name] for name, field in CLUSTER_LIMITS.items()})


def _check(asked: Asked, permission: Permission, who: str) -> None:
    """Raise NamespaceUnknown for a stranger, Forbidden for a member without the permission."""
    grants = asked.held.get(asked.name, NO_MEMBER).grants
    standing = Standing(grants=grants, is_administrator=asked.is_administrator)
    if may(asked.principal, asked.name, permission, standing):
        return
    if asked.name not in asked.held and asked.name != asked.principal.user:
        raise NamespaceUnknown(f"no organisation {asked.name} in which you have a role")
    raise Forbidden(f"{who} of {asked.name} may see this")


def _quota(one: QuotaFigures) -> QuotaRow:
    quota = one.limits[BYTES.setting]
    share = None if one.used is None or not quota else one.used / quota
    return QuotaRow(
        namespace=one.namespace,
        quota=quota,
        used=one.used,
        waiting=one.waiting,
        share=share,
        repositories=one.repositories,
        repositories_max=one.limits[REPOSITORIES.setting],
        tags_max=one.limits[TAGS.setting],
        own=Own(_own(one, BYTES), _own(one, REPOSITORIES), _own(one, TAGS)),
        counting=one.counting,
    )


def _own(one: QuotaFigures, limit: Limit) -> int | str:
    own = one.own[limit.setting]
    if own is None:
        return DEFAULT
    return NONE if own == NO_LIMIT else own


def _month(one: Month) -> UsageRow:
    return UsageRow(
        namespace=one.namespace,
        month=one.month,
        kept=one.kept,
        kept_max=one.kept_max,
        byte_hours=one.byte_hours,
        pulled=one.pulled,
        pulls=one.pulls,
    )
