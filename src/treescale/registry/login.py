"""Logging in: a name and a password, or a name and one of its access tokens.

Wrong is wrong: an unknown user, a wrong password, an expired or foreign access token all raise the
same error after the same work. Clients send their credential with every request, so a success is
remembered for `remembered_seconds` (as a keyed hash; failures are never remembered): that is also
the longest a revoked credential goes on working here. Only while the database is away it counts for
longer (remembered.py), with the rights it had. Whoever guesses has to wait longer and longer
(throttle.py); whoever knows the password and is remembered does not.
"""

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from treescale.auth.passwords import PasswordCheck
from treescale.auth.policy import Principal
from treescale.auth.scopes import ALL_ACTIONS, Action
from treescale.auth.tokens import is_access_token, secret_sha256
from treescale.clock import Clock
from treescale.errors import (
    CredentialsInvalid,
    DatabaseAway,
    NameInvalid,
    StoreFull,
    TokenUnknown,
    UserUnknown,
)
from treescale.log import get_logger
from treescale.metadata.protocols import AccessTokens, Users
from treescale.metadata.records import AccessToken
from treescale.oci.names import check_namespace
from treescale.registry.remembered import Remembered, away_seconds_max
from treescale.registry.throttle import Throttle

remembered_seconds: Final = 30.0


class Login:
    """Turns credentials into a Principal."""

    def __init__(
        self,
        users: Users,
        access_tokens: AccessTokens,
        passwords: PasswordCheck,
        clock: Clock,
        *,
        remembered: Remembered | None = None,
    ) -> None:
        self._users = users
        self._access_tokens = access_tokens
        self._passwords = passwords
        self._clock = clock
        self._remembered = remembered or Remembered(secrets.token_bytes(32), clock)
        self._throttle = Throttle(clock)
        self._turns = _Turns()

    async def authenticate(self, name: str, secret: str, *, source: str = "") -> Principal:
        """Return who this is; `source` is the address the credentials came from.

        Raises CredentialsInvalid when anything about them is wrong, TooMany when this source has
        failed too often for this account, or when too many logins are under way, and DatabaseAway
        when it is, unless just these credentials were right within `away_seconds_max`.
        """
        fingerprint = self._fingerprint(name, secret)
        principal = self._remembered.recall(fingerprint, remembered_seconds)
        if principal is not None:
            return principal
        try:
            if is_access_token(secret):
                principal = await self._by_token(name, secret)
            else:
                principal = await self._by_password(name, secret, source, fingerprint)
        except CredentialsInvalid:
            self._remembered.forget(fingerprint)
            raise
        except DatabaseAway:
            principal = self._remembered.recall(fingerprint, away_seconds_max)
            if principal is None:
                principal = await self._remembered.hear(fingerprint)
            if principal is None:
                raise
        self._remembered.remember(fingerprint, principal)
        return principal

    async def _by_token(self, name: str, secret: str) -> Principal:
        now = self._clock.now()
        try:
            token = await self._access_tokens.find(secret_sha256(secret))
        except TokenUnknown:
            raise _wrong() from None
        if not hmac.compare_digest(token.user.encode(), _comparable(name)) or expired(token, now):
            raise _wrong()
        await record_use(self._access_tokens, token, now)
        return token_principal(token, proven=now)

    async def _by_password(
        self, name: str, secret: str, source: str, fingerprint: bytes
    ) -> Principal:
        """One attempt at a time per account and source.

        So parallel requests of one client cost one verification (the others recall it), and
        parallel guesses are counted like guesses one after the other.
        """
        account = self._fingerprint(name, source)
        async with self._turns.turn(account):
            principal = self._remembered.recall(fingerprint, remembered_seconds)
            if principal is not None:
                return principal
            self._throttle.check(account)
            now = self._clock.now()
            password_hash = await self._password_hash(name)
            if not await self._passwords.matches(password_hash, secret):
                self._throttle.failed(account)
                raise _wrong()
            self._throttle.forget(account)
            principal = Principal(name, proven=now)
            self._remembered.remember(fingerprint, principal)
            return principal

    async def _password_hash(self, name: str) -> str | None:
        try:
            return (await self._users.get(check_namespace(name))).password_hash
        except (UserUnknown, NameInvalid):
            return None

    def _fingerprint(self, name: str, secret: str) -> bytes:
        return self._remembered.fingerprint(_comparable(name), _comparable(secret))


class _Turns:
    """A lock per key, kept only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[bytes, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: bytes) -> AsyncIterator[None]:
        """Hold the key's lock."""
        lock, holders = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, holders + 1)
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._locks[key]
            if holders == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, holders - 1)


async def record_use(access_tokens: AccessTokens, token: AccessToken, now: float) -> None:
    """Keep when the access token was used last, if the database can write just now.

    Pulling needs no write, and must go on when the database's disk is full or somebody holds its
    lock: then the log says so, and the login succeeds.
    """
    try:
        await access_tokens.touch(token.token_id, now=now)
    except (StoreFull, DatabaseAway) as error:
        get_logger().warning(
            "access_token.use_not_recorded", token_id=token.token_id, error=str(error)
        )


def expired(token: AccessToken, now: float) -> bool:
    """Return whether the token's time is over."""
    return token.expires is not None and token.expires <= now


def token_principal(token: AccessToken, *, proven: float) -> Principal:
    """Return who the bearer of an access token is, and what it is limited to."""
    allow = frozenset(action for action in Action if action in token.allow) & ALL_ACTIONS
    return Principal(
        token.user, token.token_id, allow, token.repository, token.expires, proven=proven
    )


def _comparable(text: str) -> bytes:
    """Text from a header may hold what UTF-8 cannot spell; it must not match, nor fail."""
    return text.encode("utf-8", "surrogatepass")


def _wrong() -> CredentialsInvalid:
    return CredentialsInvalid("the user name, password or access token is wrong")
