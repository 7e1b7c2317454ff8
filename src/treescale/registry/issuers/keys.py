"""What issuers of ID tokens publish: discovery documents and keys, fetched and kept.

Only for issuers that somebody allowed: whoever calls has looked. One fetch at a time for each; keys
are fresh for `FRESH_SECONDS`, and a token that names an unknown key has them fetched again, once in
`AGAIN_SECONDS` at most. What failed is not tried for `FAILED_SECONDS`, and where
none was asked, since its address may not be, for `FORBIDDEN_SECONDS`: that changes by a setting,
which somebody is just trying. While an issuer is down its
last keys count for `STALE_SECONDS_MAX`. A fetch goes where the issuer's URL leads and nowhere else:
the discovery document must name just this issuer, and keys come encrypted if that did.
"""

import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Final, Protocol

from treescale.auth.id_tokens import IssuerKeys, parse_jwks
from treescale.clock import Clock
from treescale.errors import (
    AddressForbidden,
    IssuerAway,
    IssuerKeysInvalid,
    ManifestInvalid,
    OutboundFailed,
)
from treescale.log import get_logger
from treescale.oci.strict_json import parse_object
from treescale.outbound.answers import Answer, Limits
from treescale.registry.flights import Flights

DISCOVERY: Final = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0, section 4."""
LIMITS: Final = Limits(seconds=5.0, answer_bytes=256 * 1024)
"""Of one answer. A login waits for two."""
FRESH_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 60.0
FAILED_SECONDS: Final = 10.0
FORBIDDEN_SECONDS: Final = 1.0
STALE_SECONDS_MAX: Final = 86_400.0
ISSUERS_MAX: Final = 256
"""Of as many the keys are kept; those asked for least lately go first."""
ALLOW_IT: Final = "an administrator allows it by `treescale cluster set issuer-networks=NETWORK`"
_HTTPS: Final = "https://"


class Asking(Protocol):
    """What asks a URL; see `OutboundClient`."""

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Return the answer; raises AddressForbidden, OutboundFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Discovered:
    """What an issuer says of itself, all of it in `document`."""

    issuer: str
    jwks_uri: str
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is known of an issuer; times are monotonic seconds."""

    discovered: Discovered | None = None
    keys: IssuerKeys | None = None
    fetched: float = -math.inf
    """When it last answered."""
    retry: float = -math.inf
    """Until when it is not asked, since it did not."""
    error: str = ""


_NOTHING: Final = _Kept()


class PublishedKeys:
    """Discovery documents and keys, as one worker has fetched them."""

    def __init__(self, client: Callable[[], Awaitable[Asking]], clock: Clock) -> None:
        """`client` returns what may ask by then, made with `LIMITS`."""
        self._client = client
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._flights: Flights[str, _Kept] = Flights()

    async def discover(self, issuer: str) -> Discovered:
        """Return the discovery document of an issuer; raises IssuerAway."""
        kept = await self._current(issuer, None)
        if kept.discovered is None:
            raise IssuerAway(kept.error)
        return kept.discovered

    async def keys(self, issuer: str, key_id: str | None) -> IssuerKeys:
        """Return the keys of an issuer, looked up anew if this one is not among them.

        Raises IssuerAway when there are none to be had.
        """
        kept = await self._current(issuer, key_id)
        if kept.keys is None:
            raise IssuerAway(kept.error)
        return kept.keys

    async def _current(self, issuer: str, key_id: str | None) -> _Kept:
        kept = self._kept.get(issuer, _NOTHING)
        if self._is_due(kept, key_id):
            kept = await self._flights.join(issuer, partial(self._fetch, issuer))
        if self._clock.monotonic() - kept.fetched >= STALE_SECONDS_MAX:
            return _Kept(error=kept.error)
        if issuer in self._kept:
            self._kept.move_to_end(issuer)
        return kept

    def _is_due(self, kept: _Kept, key_id: str | None) -> bool:
        now = self._clock.monotonic()
        age = now - kept.fetched
        if now < kept.retry:
            return False
        if kept.keys is None or age >= FRESH_SECONDS:
            return True
        return age >= AGAIN_SECONDS and not kept.keys.knows(key_id)

    async def _fetch(self, issuer: str) -> _Kept:
        """Return what is published now, or what was if that cannot be had."""
        kept = self._kept.get(issuer, _NOTHING)
        try:
            discovered = await self._discover(issuer)
            keys = parse_jwks(await self._get(discovered.jwks_uri))
        except (AddressForbidden, OutboundFailed, IssuerAway, IssuerKeysInvalid) as error:
            is_forbidden = isinstance(error, AddressForbidden)
            what = f"{error}; {ALLOW_IT}" if is_forbidden else str(error)
            get_logger().warning("issuer.failed", issuer=issuer, error=what)
            why = f"the keys of {issuer} cannot be had now: {what}"
            pause = FORBIDDEN_SECONDS if is_forbidden else FAILED_SECONDS
            kept = replace(kept, retry=self._clock.monotonic() + pause, error=why)
        else:
            kept = _Kept(discovered, keys, fetched=self._clock.monotonic())
        self._kept[issuer] = kept
        while len(self._kept) > ISSUERS_MAX:
            self._kept.popitem(last=False)
        return kept

    async def _discover(self, issuer: str) -> Discovered:
        try:
            document = parse_object(await self._get(issuer.rstrip("/") + DISCOVERY))
        except ManifestInvalid:
            raise IssuerAway("its discovery document cannot be read") from None
        jwks_uri = document.get("jwks_uri")
        if document.get("issuer") != issuer:
            raise IssuerAway("its discovery document is of another issuer")
        if not isinstance(jwks_uri, str):
            raise IssuerAway("its discovery document names no jwks_uri")
        if issuer.startswith(_HTTPS) and not jwks_uri.startswith(_HTTPS):
            raise IssuerAway("its jwks_uri is not encrypted")
        return Discovered(issuer, jwks_uri, document)

    async def _get(self, url: str) -> bytes:
        client = await self._client()
        answer = await client.ask("GET", url, headers={"Accept": "application/json"})
        if answer.status != HTTPStatus.OK:
            raise IssuerAway(f"it answers {answer.status}")
        return answer.body
