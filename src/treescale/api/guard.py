"""Who is calling: the Authorization header as a caller, and the challenge for those without rights.

Bearer tokens are verified from memory; Basic credentials go through the login. Anonymous callers
may do nothing here, not even on public repositories: the challenge sends them to `/token` for an
anonymous token, as every client expects. Missing rights and missing repositories look the same.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from treescale.auth.policy import Principal, permitted
from treescale.auth.scopes import ALL_ACTIONS, CATALOG, Access, Action, scope_text
from treescale.errors import CredentialsInvalid, Unauthorized
from treescale.registry.bearer import TokenService
from treescale.registry.login import Login

credentials_characters_max: Final = 16 * 1024
_QUOTABLE: Final = re.compile(r"[ !#-\[\]-~]{1,400}")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(slots=True)
class Caller:
    """Somebody who proved who they are: a bearer token's holder, or a user with Basic credentials.

    A bearer token says what was granted; for Basic credentials `tokens` is asked when needed.
    """

    principal: Principal
    granted: Mapping[str, frozenset[Action]] = field(default_factory=dict)
    catalog: bool = False
    tokens: TokenService | None = None

    @property
    def user(self) -> str:
        """Return the user's name, "" for the anonymous."""
        return self.principal.user

    async def actions(self, repository: str) -> frozenset[Action]:
        """Return what the caller may do to `repository`."""
        if self.tokens is None:
            return self.granted.get(repository, frozenset())
        found = await self.tokens.granted(self.principal, [Access(repository, ALL_ACTIONS)])
        return found[0].actions if found else frozenset()

    def pullable(self) -> list[str]:
        """Return the repositories the caller's token names for pulling."""
        return [name for name, actions in self.granted.items() if Action.PULL in actions]

    def check_catalog(self) -> None:
        """Return when the caller may list repositories; raises Unauthorized.

        A bearer token must have been asked for with the catalog's scope: one that was made for a
        single repository, and handed on, does not tell the names of the others.
        """
        if self.tokens is None and not self.catalog:
            raise Unauthorized(
                "requested access to the resource is denied",
                scope=CATALOG,
                error="insufficient_scope",
            )

    def sees(self, repository: str, *, public: bool) -> bool:
        """Return whether a list may show this repository to the caller."""
        return Action.PULL in permitted(self.principal, repository, public=public)


@dataclass(frozen=True, slots=True)
class Guard:
    """Turns requests into callers."""

    login: Login
    tokens: TokenService
    trusted_proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = ()

    async def identify(self, request: web.BaseRequest, *, grace: bool = False) -> Caller | None:
        """Return the caller; None without credentials. Raises Unauthorized for bad ones.

        With `grace` a bearer token that expired lately still says who somebody is: a long upload
        may outlive the token it began with.
        """
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return await self._bearer(value.strip(), grace=grace)
        if scheme.lower() == "basic":
            principal = await self.basic(request)
            assert principal is not None, "the header was there"
            return Caller(principal, tokens=self.tokens)
        raise Unauthorized("use Bearer or Basic credentials")

    async def _bearer(self, text: str, *, grace: bool) -> Caller:
        try:
            bearer = await self.tokens.verify(text, grace=grace)
        except CredentialsInvalid as refused:
            raise Unauthorized(str(refused), error="invalid_token") from None
        return Caller(bearer.principal, granted=bearer.access, catalog=bearer.catalog)

    async def basic(self, request: web.BaseRequest) -> Principal | None:
        """Return whom Basic credentials prove; None without any. Raises CredentialsInvalid."""
        header = request.headers.get("Authorization", "")
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "basic":
            return None
        name, secret = decode_basic(value.strip())
        return await self.login.authenticate(name, secret, source=self.client_address(request))

    def client_address(self, request: web.BaseRequest) -> str:
        """Return the address the request came from; what a trusted proxy says it was."""
        if self._from_proxy(request):
            forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
            if forwarded:
                return forwarded[:64]
        return request.remote or ""

    def origin(self, request: web.BaseRequest) -> str:
        """Return scheme and host as the client knows us: its Host, or what a trusted proxy says."""
        scheme = "https" if request.secure else "http"
        host = request.headers.get("Host", "")
        if self._from_proxy(request):
            host = request.headers.get("X-Forwarded-Host", host)
            forwarded = request.headers.get("X-Forwarded-Proto", scheme)
            scheme = forwarded if forwarded in ("http", "https") else scheme
        if _HOST.fullmatch(host) is None:
            host = _own_address(request)
        return f"{scheme}://{host}"

    def challenge(self, request: web.BaseRequest, refused: Unauthorized) -> str:
        """Return the WWW-Authenticate header: where to get a token, and for what."""
        origin = self.origin(request)
        host = origin.partition("://")[2]
        parts = [f'realm="{origin}/token"', f'service="{host}"']
        if refused.scope:
            parts.append(f'scope="{refused.scope}"')
        if refused.error:
            parts.append(f'error="{refused.error}"')
            if _QUOTABLE.fullmatch(str(refused)):
                parts.append(f'error_description="{refused}"')  # docker shows it (RFC 6750, 3)
        return "Bearer " + ",".join(parts)

    def _from_proxy(self, request: web.BaseRequest) -> bool:
        if not self.trusted_proxies or request.remote is None:
            return False
        address = ipaddress.ip_address(request.remote)
        if isinstance(address, ipaddress.IPv6Address):
            # A socket that listens on [::] shows IPv4 peers so.
            address = address.ipv4_mapped or address
        return any(address in network for network in self.trusted_proxies)


def decode_basic(value: str) -> tuple[str, str]:
    """Return name and secret of Basic credentials, strictly decoded; raises CredentialsInvalid."""
    wrong = CredentialsInvalid("the Basic credentials are not base64 of name:password")
    if len(value) > credentials_characters_max:
        raise wrong
    try:
        name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        raise wrong from None
    if not colon:
        raise wrong
    return name, secret


def needed_scope(repository: str, action: Action) -> str:
    """Return the scope a challenge names: pushing always needs pulling too."""
    actions = {action} if action is Action.PULL else {action, Action.PULL}
    return scope_text(repository, frozenset(actions))


def _own_address(request: web.BaseRequest) -> str:
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "localhost"
