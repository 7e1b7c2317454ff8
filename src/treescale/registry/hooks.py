"""Webhooks: what whoever may do it does with them.

Of a namespace its user and its maintainers do, and of everything the administrators. A secret that
was made here leaves once, when it is made; the URL's query, headers and secrets are never shown
again.
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from treescale.clock import Clock, SystemClock
from treescale.errors import Forbidden, HookUnknown, NameInvalid, Refused, RequestInvalid
from treescale.events.hooks.formats import said_kinds
from treescale.events.hooks.message import JSON, Told
from treescale.events.hooks.planner import DEFAULT_KINDS, ping_of, planned
from treescale.events.hooks.request import check_headers
from treescale.events.hooks.signing import SECRET_BYTES, secret_text
from treescale.events.hooks.template import check_names, check_places, fill, for_json, for_url
from treescale.events.kinds import KINDS, unknown_kind
from treescale.events.rights import is_for_maintainers
from treescale.metadata.database import Database
from treescale.metadata.events.hook_records import (
    ALL,
    NETWORKS_SETTING,
    Delivery,
    Hook,
    HookFormat,
    HookState,
    NewDelivery,
)
from treescale.metadata.events.hooks import unknown, unknown_delivery
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.events.recording import CHANCE_BYTES, uuid7
from treescale.oci.names import NAME_CHARACTERS_MAX, check_namespace, check_repository
from treescale.outbound.networks import Networks, parse_targets
from treescale.outbound.urls import check_url, parse_url

HOOK_ID_BYTES: Final = 8
HOOKS_MAX: Final = 100
"""Of a namespace, and of those of none: each costs a look at every event."""
KINDS_MAX: Final = 32
SECRET_CHARACTERS_MAX: Final = 1024
TEMPLATE_CHARACTERS_MAX: Final = 8 * 1024
SETTLE_SECONDS_MAX: Final = 300.0
OLD_SECRET_SECONDS: Final = 24 * 3600.0
HISTORY_MAX: Final = 200
_KIND: Final = re.compile(r"[a-z0-9._*?-]{1,64}")
_SCOPE: Final = re.compile(r"[a-z0-9._/*?-]+")
_SECRET: Final = re.compile(r"[\x21-\x7e]+")
_GLOB: Final = re.compile(r"[*?]")
_CLOCK: Final = SystemClock()
_NO_PUBLIC_URL: Final = (
    "a webhook says where images are: set public_url first, which is how clients reach this "
    "registry (`--public-url https://registry.example.com`, TREESCALE_PUBLIC_URL or the file)"
)


@dataclass(frozen=True, slots=True)
class HookTerms:
    """What a webhook is to be."""

    scope: str
    """A namespace, a repository or a glob of one namespace's, or `*`."""
    url: str
    format: HookFormat = HookFormat.TREESCALE
    kinds: tuple[str, ...] = DEFAULT_KINDS
    headers: tuple[tuple[str, str], ...] = ()
    template: str = ""
    secret: str = ""
    """"" has one made."""
    settle: float = 0.0
    untagged: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """Who does it, and in which namespaces they may; None for an administrator: everywhere."""

    actor: str
    namespaces: frozenset[str] | None = None
    owned: frozenset[str] = frozenset()
    """Those of which they are shown every event; of the others what maintainers are."""

    def may(self, namespace: str | None) -> bool:
        """Return whether a hook of this namespace is theirs to see and change."""
        return self.namespaces is None or namespace in self.namespaces

    def sees_all(self, namespace: str | None) -> bool:
        """Return whether a hook of theirs may hear of everything in this namespace."""
        return self.namespaces is None or namespace in self.owned


class WebhookService:
    """Adds, shows, changes and removes webhooks.

    Everything raises HookUnknown for what is not there, or not the caller's. `public_url` is where
    clients reach the registry.
    """

    def __init__(
        self,
        database: Database,
        public_url: str,
        *,
        clock: Clock = _CLOCK,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._hooks = database.hooks
        self._log = database.event_log
        self._settings = database.settings
        self._public_url = public_url
        self._clock = clock
        self._random = random

    async def add(self, terms: HookTerms, caller: Caller) -> tuple[Hook, str]:
        """Make a hook; return it, and its secret if one was made ("" else).

        Raises Refused without public_url, Forbidden, RequestInvalid, NameInvalid, AddressForbidden.
        """
        if not self._public_url:
            raise Refused(_NO_PUBLIC_URL)
        namespace = namespace_of_scope(terms.scope)
        if not caller.may(namespace):
            yours = sorted(caller.namespaces or ())
            raise Forbidden(
                f"a webhook of yours is of {' or '.join(yours)}, or of repositories such as "
                f"{yours[0]}/app or {yours[0]}/*: elsewhere you are no maintainer"
            )
        check_terms(terms)
        if not caller.sees_all(namespace):
            _check_is_for_maintainers(terms)
        allowed = parse_targets(await self._settings.get(NETWORKS_SETTING) or "")
        networks = Networks(allowed, setting=NETWORKS_SETTING)
        check_url(sample_url(terms), networks)
        if await self._hooks.count(namespace) >= HOOKS_MAX:
            raise RequestInvalid(f"there are {HOOKS_MAX} webhooks already: remove one first")
        made = "" if terms.secret else secret_text(self._random(SECRET_BYTES))
        hook = Hook(
            hook_id=self._random(HOOK_ID_BYTES).hex(),
            namespace=namespace,
            scope=terms.scope,
            url=terms.url,
            format=terms.format,
            secret=terms.secret or made,
            public_url=self._public_url,
            kinds=terms.kinds,
            headers=terms.headers,
            template=terms.template,
            settle=terms.settle,
            untagged=terms.untagged,
            sequence=await self._log.last(),
        )
        await self._hooks.add(hook, actor=caller.actor)
        return await self._hooks.get(hook.hook_id), made

    async def page(
        self, caller: Caller, after: str, limit: int, *, namespace: str | None = None
    ) -> list[Hook]:
        """Return a page of the caller's hooks, by id; `after` is exclusive, "" starts.

        With `namespace` of those that are of it: none of one that is not the caller's.
        """
        if namespace is None:
            return await self._hooks.page(caller.namespaces, after, limit)
        of = [namespace] if caller.may(namespace) else []
        return await self._hooks.page(of, after, limit)

    async def get(self, hook_id: str, caller: Caller) -> Hook:
        """Return one."""
        hook = await self._hooks.get(hook_id)
        if not caller.may(hook.namespace):
            raise unknown(hook_id)
        return hook

    async def history(self, hook_id: str, caller: Caller) -> list[Delivery]:
        """Return its newest deliveries, newest first."""
        hook = await self.get(hook_id, caller)
        return await self._hooks.history(hook.hook_id, HISTORY_MAX)

    async def remove(self, hook_id: str, caller: Caller) -> None:
        """Remove it, and what was to be sent to it."""
        await self.get(hook_id, caller)
        await self._hooks.remove(hook_id, actor=caller.actor)

    async def enable(self, hook_id: str, caller: Caller) -> None:
        """Have it asked again: of what waits for it still, and of what happens from now on."""
        await self.get(hook_id, caller)
        last = await self._log.last()
        await self._hooks.enable(hook_id, skip_to=last, actor=caller.actor)

    async def disable(self, hook_id: str, caller: Caller) -> None:
        """Have it not asked any more, until it is enabled."""
        await self.get(hook_id, caller)
        await self._hooks.disable(hook_id, f"disabled by {caller.actor}", actor=caller.actor)

    async def rotate(self, hook_id: str, caller: Caller, secret: str = "") -> str:
        """Sign with another secret, and for a day with the one before too; return it if made."""
        await self.get(hook_id, caller)
        check_secret(secret)
        made = "" if secret else secret_text(self._random(SECRET_BYTES))
        await self._hooks.rotate(hook_id, secret or made, OLD_SECRET_SECONDS, actor=caller.actor)
        return made

    async def ping(self, hook_id: str, caller: Caller) -> int:
        """Send an event that is none, once; return the delivery's id. Raises RequestInvalid."""
        hook = await self._enabled(hook_id, caller)
        now = self._clock.now()
        event_id = uuid7(now, self._random(CHANCE_BYTES))
        event = ping_of(hook, event_id, now, caller.actor)
        return await self._hooks.send(hook_id, planned(event))

    async def redeliver(self, delivery_id: int, caller: Caller) -> int:
        """Send once more what was sent, with the same webhook-id; return the new delivery's id.

        Raises RequestInvalid for a hook that is disabled.
        """
        old = await self._hooks.delivery(delivery_id)
        try:
            await self._enabled(old.hook_id, caller)
        except HookUnknown:  # another's: as if there were none
            raise unknown_delivery(delivery_id) from None
        again = NewDelivery(old.event_id, old.kind, old.repository, old.event)
        return await self._hooks.send(old.hook_id, again)

    async def _enabled(self, hook_id: str, caller: Caller) -> Hook:
        hook = await self.get(hook_id, caller)
        if hook.state is not HookState.ENABLED:
            raise RequestInvalid(f"the webhook is disabled ({hook.reason}): enable it first")
        return hook


def namespace_of_scope(scope: str) -> str | None:
    """Return whose a scope is, None for everything; raises NameInvalid, RequestInvalid."""
    if scope == ALL:
        return None
    namespace, slash, rest = scope.partition("/")
    if (
        len(scope) > NAME_CHARACTERS_MAX
        or _SCOPE.fullmatch(scope) is None
        or _GLOB.search(namespace)
        or (slash and not rest)
    ):
        raise RequestInvalid(
            "say of what: NAMESPACE, NAMESPACE/REPOSITORY, a pattern such as NAMESPACE/*, or *"
        )
    check_namespace(namespace)
    if slash:
        _check_pattern(scope)
    return namespace


def _check_is_for_maintainers(terms: HookTerms) -> None:
    """Raise Forbidden when a hook would hear of what its maker is not shown, as of members."""
    if "/" in terms.scope:
        return
    for kind in terms.kinds:
        if not is_for_maintainers(kind):
            raise Forbidden(
                f"{kind} is also of members and tokens, which owners alone are shown: as a "
                f"maintainer say kinds such as image.* or hook.*, or of {terms.scope}/*"
            )


def _check_pattern(scope: str) -> None:
    """Raise NameInvalid for a pattern of repositories that no name can match."""
    try:
        check_repository(_GLOB.sub("a", scope))
    except NameInvalid as error:  # also a namespace's, which `docker push` is told otherwise
        raise NameInvalid(str(error)) from None


def check_terms(terms: HookTerms) -> None:
    """Raise RequestInvalid when no hook may be like this, AddressForbidden for what is no URL."""
    templated = terms.format is HookFormat.TEMPLATE
    if not 0 < len(terms.kinds) <= KINDS_MAX or not all(
        _KIND.fullmatch(kind) for kind in terms.kinds
    ):
        raise RequestInvalid(
            "a kind is a word such as image.pushed, or a pattern such as tag.*: one in each --kind"
        )
    check_kinds(terms)
    if not 0 <= terms.settle <= SETTLE_SECONDS_MAX:
        raise RequestInvalid(f"settle is 0 to {SETTLE_SECONDS_MAX:g} seconds")
    check_secret(terms.secret)
    check_headers(terms.headers, templated=templated)
    if not templated:
        if terms.template:
            raise RequestInvalid("a template is for --format template")
        parse_url(terms.url)
        return
    if len(terms.template) > TEMPLATE_CHARACTERS_MAX:
        raise RequestInvalid(f"a template has at most {TEMPLATE_CHARACTERS_MAX} characters")
    if "\0" in terms.template:  # no database's text
        raise RequestInvalid("a template has no NUL")
    check_names(terms.template)
    check_places(terms.url)
    parse_url(sample_url(terms))
    _check_json(terms)


def check_kinds(terms: HookTerms) -> None:
    """Raise RequestInvalid for a kind that no event has, or that the format has no words for."""
    if why := unknown_kind(terms.kinds):
        raise RequestInvalid(why)
    for glob in terms.kinds:
        if not any(fnmatchcase(kind, glob) for kind in said_kinds(terms.format, KINDS)):
            said = ", ".join(sorted(said_kinds(terms.format, KINDS)))
            raise RequestInvalid(
                f"the format {terms.format.value} has no words for {glob}: it says {said}"
            )


def check_secret(secret: str) -> None:
    """Raise RequestInvalid for a secret that cannot be one; "" asks for a new one."""
    if secret and (len(secret) > SECRET_CHARACTERS_MAX or _SECRET.fullmatch(secret) is None):
        raise RequestInvalid(
            "a secret is printable ASCII without blanks, "
            f"at most {SECRET_CHARACTERS_MAX} characters"
        )


def sample_url(terms: HookTerms) -> str:
    """Return the URL as it would be for some event."""
    if terms.format is not HookFormat.TEMPLATE:
        return terms.url
    return fill(terms.url, _SAMPLE, for_url)


def _check_json(terms: HookTerms) -> None:
    """Raise RequestInvalid when the body says that it is JSON and never will be."""
    types = [value for name, value in terms.headers if name.lower() == "content-type"]
    if not terms.template or (types and JSON not in types[0]):
        return
    try:
        msgspec.json.decode(fill(terms.template, _SAMPLE, for_json))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RequestInvalid(
            "the template is no JSON once it is filled in: write strings in quotes, or give the "
            "header Content-Type that says what it is"
        ) from None


_SAMPLE: Final = Told(
    Recorded(
        1,
        "01890000-0000-7000-8000-000000000000",
        "image.pushed",
        0.0,
        "user",
        "user",
        "user/app",
        "v1.0",  # no number: else a template without quotes would be JSON
        "sha256:" + 64 * "0",
    ),
    "https://registry.example.com",
)
