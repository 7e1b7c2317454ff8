"""Who is calling: the Authorization header as a caller, and the challenge for those without rights.

Bearer tokens are verified from memory; Basic credentials go through the login. Anonymous callers
may do nothing here, not even on public repositories: the challenge sends them to `/token` for an
anonymous token, as every client expects. Missing rights and missing repositories look the same.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aiohttp import web

from treescale.auth.policy import Principal, Standing, permitted
from treescale.auth.roles import NO_MEMBER, Memberships, Visibility
from treescale.auth.scopes import ALL_ACTIONS, CATALOG, Access, Action, scope_text
from treescale.errors import CredentialsInvalid, NameInvalid, TooMany, Unauthorized
from treescale.http.clients import Clients
from treescale.http.cors import NO_CORS, Cors
from treescale.http.request_record import request_id
from treescale.log import get_logger
from treescale.metadata.events.recording import actor_of
from treescale.metadata.records import Repository
from treescale.metrics.meters import Meters, Refusal
from treescale.oci.names import check_namespace, namespace_of, robot_parts
from treescale.registry.counted.logins import Logins
from treescale.registry.counted.rates import Rates
from treescale.registry.login import Login
from treescale.registry.people.accounts import prove
from treescale.registry.robots.login import Exchanged, RobotLogin
from treescale.registry.token_service import TokenService

CREDENTIALS_CHARACTERS_MAX: Final = 16 * 1024
_QUOTABLE: Final = re.compile(r"[ !#-\[\]-~]{1,400}")


@dataclass(slots=True)
class Caller:
    """Somebody who proved who they are: a bearer token's holder, or a user with Basic credentials.

    A bearer token says what was granted; for Basic credentials `tokens` is asked when needed.
    `refused` are the repositories for which pulling was asked of `/token` in vain. `is_valid_still`
    says at once whether the same credentials would make the same caller; None where asking tells.
    """

    principal: Principal
    granted: Mapping[str, frozenset[Action]] = field(default_factory=dict)
    catalog: bool = False
    refused: frozenset[str] = frozenset()
    tokens: TokenService | None = None
    is_valid_still: Callable[[], bool] | None = None

    @property
    def user(self) -> str:
        """Return the user's name, "" for the anonymous."""
        return self.principal.user

    @property
    def actor(self) -> str:
        """Return who did what this caller asks for, in the log of events."""
        return actor_of(self.user)

    async def actions(self, repository: str) -> frozenset[Action]:
        """Return what the caller may do to `repository`."""
        if self.tokens is None:
            return self.granted.get(repository, frozenset())
        found = await self.tokens.granted(self.principal, [Access(repository, ALL_ACTIONS)])
        return found[0].actions if found else frozenset()

    def could_ask(self, repository: str, action: Action) -> bool:
        """Return whether a token asked for with more might let this caller do what theirs does not.

        Told from the request alone: whether the repository exists, is public, or is one in which
        the caller has a role, is not looked up.
        """
        if self.tokens is not None:
            return False
        if action in permitted(self.principal, repository):
            return True
        return action is Action.PULL and repository not in self.refused

    def pullable(self) -> list[str]:
        """Return the repositories the caller's token names for pulling."""
        return [name for name, actions in self.granted.items() if Action.PULL in actions]

    def check_catalog(self) -> None:
        """Raise Unauthorized when the caller may not list repositories.

        A bearer token must have been asked for with the catalog's scope: one that was made for a
        single repository, and handed on, does not tell the names of the others.
        """
        if self.tokens is None and not self.catalog:
            raise Unauthorized(
                f"this token was not asked for with the scope {CATALOG}",
                scope=CATALOG,
                error="insufficient_scope",
            )

    def may_list(self, repository: Repository, held: Memberships) -> bool:
        """Return whether a list may show it to the caller, who was granted what is in `held`."""
        grants = held.get(namespace_of(repository.name), NO_MEMBER).grants
        standing = Standing(Visibility(repository.visibility), grants)
        return Action.PULL in permitted(self.principal, repository.name, standing)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Turns requests into callers; what it refuses is counted, and wrong logins are logged."""

    login: Login
    tokens: TokenService
    clients: Clients = field(default_factory=Clients)
    cors: Cors = NO_CORS
    meters: Meters | None = None
    robots: RobotLogin | None = None
    rates: Rates | None = None
    """What counts requests, where anything does."""
    logins: Logins | None = None
    """What tells the audit log of them."""

    async def authenticate(self, request: web.BaseRequest, *, grace: bool = False) -> Caller | None:
        """Return the caller; None without credentials. Raises Unauthorized for bad ones.

        With `grace` a bearer token that expired lately still says who somebody is: a long upload
        may outlive the token it began with.
        """
        presented = _presented(request)
        if presented is None:
            return None
        scheme, value = presented
        if scheme == "bearer":
            return await self._bearer(value, grace=grace)
        if scheme == "basic":
            return Caller(_of_registry(await self._proven(request, value)), tokens=self.tokens)
        raise CredentialsInvalid("use Bearer or Basic credentials")

    async def _bearer(self, text: str, *, grace: bool) -> Caller:
        try:
            bearer = await self.tokens.verify(text, grace=grace)
        except CredentialsInvalid as refused:
            self._count(Refusal.TOKEN)
            raise Unauthorized(str(refused), error="invalid_token") from None
        return Caller(
            bearer.principal,
            granted=bearer.access,
            catalog=bearer.catalog,
            refused=bearer.refused,
            is_valid_still=None if grace else partial(self.tokens.is_valid_still, bearer.proof),
        )

    async def basic(self, request: web.BaseRequest) -> Principal | None:
        """Return whom Basic credentials prove; None without any credentials.

        Raises CredentialsInvalid for wrong ones, and for any others.
        """
        presented = _presented(request)
        if presented is None:
            return None
        scheme, value = presented
        if scheme != "basic":
            raise CredentialsInvalid("use Basic credentials here, or none for an anonymous token")
        return await self._proven(request, value)

    async def registry_login(self, request: web.BaseRequest) -> Principal | None:
        """Return whom `basic` returns, if the registry takes the credential."""
        principal = await self.basic(request)
        return None if principal is None else _of_registry(principal)

    async def log_in(self, request: web.BaseRequest, name: str, secret: str) -> Principal:
        """Return whom a name and a secret prove to the registry; see `Login.authenticate`."""
        return _of_registry(await self._login(request, name, secret))

    async def prove(self, request: web.BaseRequest, name: str, secret: str) -> Principal:
        """Return the person whom a password proves; see `registry.people.accounts.prove`."""
        with self._refusals(request, name):
            return await prove(self.login, name, secret, source=self.client_address(request))

    async def exchange(self, request: web.BaseRequest, robot: str, token: str) -> Exchanged:
        """Return a robot's secret for an ID token; see `RobotLogin.exchange`."""
        with self._refusals(request, robot):
            if self.robots is None:
                raise CredentialsInvalid("no ID token is taken here")
            return await self.robots.exchange(robot, token, self.client_address(request))

    async def redeem(self, request: web.BaseRequest, refresh_token: str) -> Principal:
        """Return whom a refresh token is of; see `TokenService.redeem`."""
        try:
            principal = await self.tokens.redeem(refresh_token)
        except CredentialsInvalid:
            self._count(Refusal.TOKEN)
            raise
        self.note_login(request, principal)
        return principal

    def note_login(self, request: web.BaseRequest, principal: Principal) -> None:
        """Have the audit log tell that somebody came in, by whatever proves it."""
        if self.logins is not None:
            self.logins.succeeded(principal, self.client_address(request), request_id(request))

    def note_refusal(self, request: web.BaseRequest) -> None:
        """Count and log that nobody was let in, who did not say who they were."""
        self._refused(request, "", Refusal.CREDENTIALS)

    async def _proven(self, request: web.BaseRequest, value: str) -> Principal:
        with self._refusals(request, ""):
            name, secret = decode_basic(value)
        return await self._login(request, name, secret)

    async def _login(self, request: web.BaseRequest, name: str, secret: str) -> Principal:
        address = self.client_address(request)
        with self._refusals(request, name):
            principal = await self.login.authenticate(name, secret, source=address)
        self.note_login(request, principal)
        return principal

    @contextmanager
    def _refusals(self, request: web.BaseRequest, name: str) -> Iterator[None]:
        """Count and log what is refused within."""
        try:
            yield
        except CredentialsInvalid:
            self._refused(request, name, Refusal.CREDENTIALS)
            raise
        except TooMany:
            self._refused(request, name, Refusal.THROTTLED)
            raise

    def _refused(self, request: web.BaseRequest, name: str, why: Refusal) -> None:
        self._count(why)
        user, reason, client = _loggable(name), why.name.lower(), self.client_address(request)
        if self.logins is not None:
            self.logins.refused(user, client, reason)
        get_logger().info(
            "login.refused",
            user=user,
            reason=reason,
            client=client,
            request_id=request_id(request),
        )

    def _count(self, why: Refusal) -> None:
        if self.meters is not None:
            self.meters.refused(why)

    def client_address(self, request: web.BaseRequest) -> str:
        """Return the address the request came from; what a trusted proxy says it was."""
        return self.clients.address(request)

    def challenge(self, request: web.BaseRequest, refused: Unauthorized) -> str:
        """Return the WWW-Authenticate header: where to get a token, and for what."""
        origin = self.clients.origin(request)
        host = origin.partition("://")[2]
        parts = [f'realm="{origin}/token"', f'service="{host}"']
        if refused.scope:
            parts.append(f'scope="{refused.scope}"')
        if refused.error:
            parts.append(f'error="{refused.error}"')
            if _QUOTABLE.fullmatch(str(refused)):
                parts.append(f'error_description="{refused}"')  # docker shows it (RFC 6750, 3)
        return "Bearer " + ",".join(parts)


def _of_registry(principal: Principal) -> Principal:
    """Raise CredentialsInvalid for an access token that is for something else."""
    if not principal.is_for_registry:
        scopes = ", ".join(sorted(principal.scopes))
        raise CredentialsInvalid(
            f"this access token is for {scopes}, and not for the registry: make one with "
            "--allow pull or --allow pull,push"
        )
    return principal


def _loggable(name: str) -> str:
    """Return a name that somebody can have; "" for anything else: it may be a password."""
    if robot_parts(name) is not None:
        return name
    try:
        return check_namespace(name)
    except NameInvalid:
        return ""


def _presented(request: web.BaseRequest) -> tuple[str, str] | None:
    """Return scheme, in lower case, and value of the credentials; None without any.

    Raises CredentialsInvalid for several: which of them counts, two readers may see differently.
    """
    headers = request.headers.getall("Authorization", [])
    if not headers:
        return None
    if len(headers) > 1:
        raise CredentialsInvalid("send one Authorization header")
    scheme, _, value = headers[0].strip().partition(" ")
    return scheme.lower(), value.strip()


def decode_basic(value: str) -> tuple[str, str]:
    """Return name and secret of Basic credentials, strictly decoded; raises CredentialsInvalid."""
    wrong = CredentialsInvalid("the Basic credentials are not base64 of name:password")
    if len(value) > CREDENTIALS_CHARACTERS_MAX:
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
