"""`/hooks`: webhooks and what was sent to them, for whoever they belong to.

A webhook has a secret, which is made for whoever shows the password: see `check_fresh`.
"""

from datetime import UTC, datetime

import msgspec

from treescale.auth.policy import Standing, may
from treescale.auth.roles import Permission
from treescale.console.route import PREFIX, Answered, Asked, check_fresh
from treescale.errors import HookUnknown, PageInvalid
from treescale.events.hooks.planner import DEFAULT_KINDS
from treescale.events.hooks.request import masked_headers, masked_url
from treescale.metadata.events.hook_records import Delivery, Hook, HookFormat
from treescale.oci.pages import link_header, parse_last, parse_page_size
from treescale.registry.hooks import Caller, HookTerms, WebhookService

_DIGITS_MAX = 18


class NewHook(msgspec.Struct, forbid_unknown_fields=True):
    """What a webhook is to be."""

    scope: str
    """NAMESPACE, NAMESPACE/REPOSITORY, a pattern such as NAMESPACE/*, or * (administrators)."""
    url: str
    format: HookFormat = HookFormat.TREESCALE
    kinds: list[str] = msgspec.field(default_factory=lambda: [*DEFAULT_KINDS])
    headers: dict[str, str] = {}
    template: str = ""
    secret: str = ""
    """One is made without it."""
    settle: float = 0.0
    untagged: bool = False


class HookRow(msgspec.Struct):
    """A webhook, without what is secret of it; times are of UTC."""

    id: str
    scope: str
    url: str
    format: str
    kinds: list[str]
    headers: dict[str, str]
    template: str
    settle: float
    untagged: bool
    state: str
    reason: str
    failing_since: datetime | None
    created: datetime
    created_by: str


class HookPage(msgspec.Struct):
    """Some of them, by id; `next` is what `after` has to be for those that follow."""

    hooks: list[HookRow]
    next: str | None


class HookMade(msgspec.Struct):
    """A new webhook, and its secret if one was made: it is shown this once."""

    hook: HookRow
    secret: str | None


class NewSecret(msgspec.Struct, forbid_unknown_fields=True):
    """What to sign with from now on; one is made without it."""

    secret: str = ""


class SecretMade(msgspec.Struct):
    """The secret if one was made: it is shown this once."""

    secret: str | None


class DeliveryRow(msgspec.Struct):
    """A delivery. Of a receiver in a private network `answer` is empty."""

    id: int
    event_id: str
    kind: str
    repository: str
    state: str
    attempts: int
    status: int | None
    answer: str
    seconds: float | None
    created: datetime
    tried: datetime | None
    next: datetime | None
    """When it is sent next."""


class DeliveryList(msgspec.Struct):
    """The newest deliveries of a webhook, newest first."""

    deliveries: list[DeliveryRow]


class DeliveryMade(msgspec.Struct):
    """The id of a delivery that is on its way."""

    delivery: int


class HookDesk:
    """What answers for webhooks."""

    def __init__(self, service: WebhookService) -> None:
        self._service = service

    async def list(self, asked: Asked) -> Answered:
        """List the caller's, administrators' all there are; or those of one namespace."""
        limit = parse_page_size(_given(asked, "n"))
        if limit == 0:
            raise PageInvalid("n must be 1 or more")
        after = parse_last(_given(asked, "after"), "after")
        namespace = asked.query.get("namespace")
        found = await self._service.page(_caller(asked), after, limit + 1, namespace=namespace)
        last = found[limit - 1].hook_id if len(found) > limit else None
        page = HookPage([_row(one) for one in found[:limit]], last)
        filters = {} if namespace is None else {"namespace": namespace}
        path = f"{PREFIX}/hooks"
        link = link_header(path, limit, last, filters, cursor="after") if last else ""
        return Answered(page, {"Link": link} if link else {})

    async def add(self, asked: Asked) -> Answered:
        """Make one."""
        check_fresh(asked)
        wanted: NewHook = asked.body
        terms = HookTerms(
            wanted.scope,
            wanted.url,
            wanted.format,
            tuple(wanted.kinds),
            tuple(wanted.headers.items()),
            wanted.template,
            wanted.secret,
            wanted.settle,
            wanted.untagged,
        )
        hook, secret = await self._service.add(terms, _caller(asked))
        return Answered(HookMade(_row(hook), secret or None))

    async def show(self, asked: Asked) -> Answered:
        """Show one."""
        return Answered(_row(await self._service.get(_id(asked), _caller(asked))))

    async def remove(self, asked: Asked) -> Answered:
        """Remove one, and say what it was."""
        hook = await self._service.get(_id(asked), _caller(asked))
        await self._service.remove(hook.hook_id, _caller(asked))
        return Answered(_row(hook))

    async def enable(self, asked: Asked) -> Answered:
        """Have one be asked again."""
        await self._service.enable(_id(asked), _caller(asked))
        return await self.show(asked)

    async def disable(self, asked: Asked) -> Answered:
        """Have one be left alone."""
        await self._service.disable(_id(asked), _caller(asked))
        return await self.show(asked)

    async def rotate(self, asked: Asked) -> Answered:
        """Sign with another secret."""
        check_fresh(asked)
        wanted: NewSecret = asked.body
        made = await self._service.rotate(_id(asked), _caller(asked), wanted.secret)
        return Answered(SecretMade(made or None))

    async def ping(self, asked: Asked) -> Answered:
        """Send an event that is none."""
        return Answered(DeliveryMade(await self._service.ping(_id(asked), _caller(asked))))

    async def deliveries(self, asked: Asked) -> Answered:
        """List what was sent lately."""
        found = await self._service.history(_id(asked), _caller(asked))
        return Answered(DeliveryList([_delivery(one) for one in found]))

    async def redeliver(self, asked: Asked) -> Answered:
        """Send once more what was sent."""
        text = asked.parameters["delivery"]
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
            raise HookUnknown("a delivery's id is a number")
        again = await self._service.redeliver(int(text), _caller(asked))
        return Answered(DeliveryMade(again))


def _caller(asked: Asked) -> Caller:
    principal = asked.principal
    if asked.is_administrator:
        return Caller(principal.user)

    def where(right: Permission) -> frozenset[str]:
        held = {name: Standing(grants=member.grants) for name, member in asked.held.items()}
        theirs = (name for name, standing in held.items() if may(principal, name, right, standing))
        return frozenset({principal.user, *theirs})

    return Caller(principal.user, where(Permission.HOOKS), where(Permission.MEMBERS))


def _id(asked: Asked) -> str:
    return asked.parameters["hook"]


def _given(asked: Asked, name: str) -> list[str]:
    return [asked.query[name]] if name in asked.query else []


def _row(hook: Hook) -> HookRow:
    return HookRow(
        id=hook.hook_id,
        scope=hook.scope,
        url=masked_url(hook.url),
        format=hook.format.value,
        kinds=[*hook.kinds],
        headers=masked_headers(hook.headers),
        template=hook.template,
        settle=hook.settle,
        untagged=hook.untagged,
        state=hook.state.value,
        reason=hook.reason,
        failing_since=_time(hook.failing_since),
        created=datetime.fromtimestamp(int(hook.created), UTC),
        created_by=hook.actor,
    )


def _delivery(one: Delivery) -> DeliveryRow:
    return DeliveryRow(
        id=one.delivery_id,
        event_id=one.event_id,
        kind=one.kind,
        repository=one.repository,
        state=one.state.value,
        attempts=one.attempt,
        status=one.status,
        answer=one.answer,
        seconds=one.seconds,
        created=datetime.fromtimestamp(int(one.created), UTC),
        tried=_time(one.updated),
        next=_time(one.next_at) if one.state.value == "waiting" else None,
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(int(seconds), UTC)
