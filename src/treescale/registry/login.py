"""Logging in: a name and a password, or a name and one of its access tokens; robots by theirs.

Wrong is wrong: an unknown user, a wrong password, an expired or foreign access token all raise the
same error after the same work. Clients send their credential with every request, so a success is
remembered for `REMEMBERED_SECONDS` (as a keyed hash; failures are never remembered): that is also
the longest a revoked credential goes on working here; one that is right again, such as the same
password of a user who was made anew, is looked at anew as soon as the change is known. Only while
the database is away it counts for longer (credential_cache.py), with the rights it had. Whoever
guesses passwords has to wait longer and longer, and behind everybody else (throttle.py); access
tokens, which nobody can guess, wait for nothing.
"""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from treescale.auth.access_tokens import is_access_token, secret_sha256
from treescale.auth.guessing import Urgency, address_key
from treescale.auth.id_tokens import is_jwt
from treescale.auth.passwords import PasswordCheck, possible
from treescale.auth.policy import ROBOT_MARK, Principal
from treescale.auth.scopes import ALL_ACTIONS, Action, TokenScope
from treescale.clock import Clock
from treescale.errors import (
    CredentialsInvalid,
    DatabaseUnavailable,
    NameInvalid,
    StoreFull,
    TokenUnknown,
    UserUnknown,
)
from treescale.log import get_logger
from treescale.metadata.accounts import Users
from treescale.metadata.keys import AccessTokens
from treescale.metadata.records import AccessToken, User
from treescale.oci.names import check_namespace
from treescale.registry.credential_cache import AWAY_SECONDS_MAX, CredentialCache
from treescale.registry.flights import Flights
from treescale.registry.throttle import Throttle

REMEMBERED_SECONDS: Final = 30.0
RECORD_SECONDS_MAX: Final = 0.5
"""For noting a token's use: a login waits for it, and does not need it."""


class RobotCredentials(Protocol):
    """What robots log in by."""

    async def authenticate(self, login: str, secret: str, source: str) -> Principal:
        """Return which robot this is; raises CredentialsInvalid, IssuerAway."""
        ...


class Login:
    """Turns credentials into a Principal."""

    def __init__(
        self,
        users: Users,
        access_tokens: AccessTokens,
        passwords: PasswordCheck,
        clock: Clock,
        *,
        remembered: CredentialCache | None = None,
        throttle: Throttle | None = None,
        revoked: Callable[[Principal], bool] = lambda _: False,
    ) -> None:
        """`revoked` says of somebody remembered whether they are known to have changed since."""
        self.passwords_off: Callable[[], bool] = lambda: False
        """Says whether passwords of administrators alone count."""
        self._users = users
        self._access_tokens = access_tokens
        self._passwords = passwords
        self._clock = clock
        self._remembered = remembered or CredentialCache(secrets.token_bytes(32), clock)
        self._throttle = throttle or Throttle(clock)
        self._revoked = revoked
        self.robots: RobotCredentials | None = None
        """What robots log in by; None: none does."""
        self._attempts: Flights[tuple[bytes, str], Principal] = Flights()

    async def authenticate(self, name: str, secret: str, *, source: str = "") -> Principal:
        """Return who this is; `source` is the address the credentials came from.

        Raises CredentialsInvalid when anything about them is wrong, TooMany when the password may
        not be looked at now (see `throttle`), or cannot be in time, and DatabaseUnavailable when it
        is, unless just these credentials were right within `AWAY_SECONDS_MAX`.
        """
        fingerprint = self._fingerprint(name, secret)
        principal = self._recall(fingerprint, REMEMBERED_SECONDS)
        if principal is not None:
            if not principal.token_id:
                await self._throttle.note(name, source)
            return principal
        try:
            if ROBOT_MARK in name:
                principal = await self._by_robot(name, secret, source)
            elif is_access_token(secret):
                principal = await self._by_token(name, secret)
            else:
                principal = await self._by_password(name, secret, source, fingerprint)
        except CredentialsInvalid:
            self._remembered.reject(fingerprint)
            raise
        except DatabaseUnavailable:
            principal = self._recall(fingerprint, AWAY_SECONDS_MAX)
            if principal is None:
                principal = await self._remembered.ask_others(fingerprint)
            if principal is None:
                raise
        self._remembered.put(fingerprint, principal)
        return principal

    async def _by_robot(self, name: str, secret: str, source: str) -> Principal:
        """Nobody guesses what robots log in with: no password is looked at, and nobody waits."""
        if self.robots is None:
            raise _wrong()
        return await self.robots.authenticate(name, secret, source)

    async def _by_token(self, name: str, secret: str) -> Principal:
        now = self._clock.now()
        try:
            token = await self._access_tokens.find(secret_sha256(secret))
        except TokenUnknown:
            raise _wrong() from None
        if not hmac.compare_digest(token.user.encode(), _comparable(name)) or expired(token, now):
            raise _wrong()
        if token.user_suspended:
            raise _wrong()
        await record_use(self._access_tokens, token, now)
        return token_principal(token, proven=now)

    async def _by_password(
        self, name: str, secret: str, source: str, fingerprint: bytes
    ) -> Principal:
        """Have the password looked at once, however many requests bring it at the same time."""
        try:
            if not possible(secret):
                raise _wrong()
            attempt = partial(self._attempt, name, secret, source, fingerprint)
            return await self._attempts.join((fingerprint, address_key(source)), attempt)
        except CredentialsInvalid:
            if is_jwt(secret):
                raise _of_robots() from None
            raise

    async def _attempt(self, name: str, secret: str, source: str, fingerprint: bytes) -> Principal:
        principal = self._recall(fingerprint, REMEMBERED_SECONDS)
        if principal is not None:
            return principal
        proven = self._recall(fingerprint, AWAY_SECONDS_MAX) is not None
        busy = self._passwords.busy
        async with self._throttle.attempt(name, source, proven=proven, busy=busy) as urgency:
            now = self._clock.now()
            user = await self._checked(name, secret, urgency)
        principal = Principal(name, proven=now, generation=user.generation)
        self._remembered.put(fingerprint, principal)
        await self._throttle.note(name, source)
        return principal

    def _recall(self, fingerprint: bytes, seconds: float) -> Principal | None:
        """Return whom these credentials proved lately, if nothing has changed since."""
        principal = self._remembered.get(fingerprint, seconds)
        return None if principal is None or self._revoked(principal) else principal

    async def _checked(self, name: str, secret: str, urgency: Urgency) -> User:
        user = await self._user(name)
        password_hash = None if user is None else user.password_hash
        is_off = self.passwords_off()
        if not await self._passwords.matches(password_hash, secret, urgency) or user is None:
            raise _wrong(passwords_off=is_off)
        if user.is_suspended or (is_off and not user.admin):
            raise _wrong(passwords_off=is_off)
        return user

    async def _user(self, name: str) -> User | None:
        try:
            return await self._users.get(check_namespace(name))
        except (UserUnknown, NameInvalid):
            return None

    def _fingerprint(self, name: str, secret: str) -> bytes:
        return self._remembered.fingerprint(_comparable(name), _comparable(secret))


async def record_use(access_tokens: AccessTokens, token: AccessToken, now: float) -> None:
    """Keep when the access token was used last; see `note_use`."""
    await note_use(access_tokens.touch(token.token_id, now=now), token.token_id)


async def note_use(noting: Awaitable[None], token_id: str) -> None:
    """Keep that a credential was used, if the database can write just now.

    Pulling needs no write, and must go on when the database's disk is full or somebody holds its
    lock: then the log says so, and the login succeeds.
    """
    try:
        async with asyncio.timeout(RECORD_SECONDS_MAX):
            await noting
    except (StoreFull, DatabaseUnavailable, TimeoutError) as error:
        why = str(error) or f"not within {RECORD_SECONDS_MAX:g} s"
        get_logger().warning("access_token.use_not_recorded", token_id=token_id, error=why)


def expired(token: AccessToken, now: float) -> bool:
    """Return whether the token's time is over."""
    return token.expires is not None and token.expires <= now


def token_principal(token: AccessToken, *, proven: float) -> Principal:
    """Return who the bearer of an access token is, and what it is limited to."""
    allow = frozenset(action for action in Action if action in token.allow) & ALL_ACTIONS
    return Principal(
        token.user,
        token.token_id,
        allow,
        token.repository,
        token.expires,
        proven=proven,
        generation=token.generation,
        scopes=frozenset(scope for scope in TokenScope if scope in token.allow),
    )


def _comparable(text: str) -> bytes:
    """Text from a header may hold what UTF-8 cannot spell; it must not match, nor fail."""
    return text.encode("utf-8", "surrogatepass")


def _of_robots() -> CredentialsInvalid:
    """Return what is told of an ID token, whoever is named with it."""
    return CredentialsInvalid(
        "this looks like an ID token, by which robots log in and nobody else: say whose it is, as "
        "NAMESPACE+NAME"
    )


def _wrong(*, passwords_off: bool = False) -> CredentialsInvalid:
    if passwords_off:
        return CredentialsInvalid(
            "the user name or access token is wrong, or this is a password, which only "
            "administrators have here: make an access token at /-/account"
        )
    return CredentialsInvalid("the user name, password or access token is wrong")
