"""The token service: signed tokens given out and read, without the database on the way in.

Keys and what was revoked lately are held in memory and read again by `refresh`, which whoever owns
this calls every few seconds. A token is void when its user or access token was revoked at or after
the moment its credential was last compared with the database (not the moment it was issued: between
the two lies the memory of login.py). A new key is published `publish_seconds` before it signs, so
that every server knows it by then; the one before it stays good for what it signed.

A refresh token (what `docker login` keeps instead of a password) is believed only together with the
database: the password or access token it was given for must still be the same. While the database
is away, one that was redeemed here within `away_seconds_max` still counts, and keys and revocations
are those of the last reading: what was revoked elsewhere since then is known when it is back.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from treescale.auth.bearer import (
    BearerClaims,
    KeyPair,
    Kind,
    access_seconds,
    characters_max,
    check_times,
    key_id_of,
    load_key_pair,
    new_private_pem,
    refresh_seconds,
    seed_bytes,
    sign,
    verify,
)
from treescale.auth.policy import Principal, permitted
from treescale.auth.scopes import Access, Action
from treescale.clock import Clock
from treescale.errors import (
    CredentialsInvalid,
    DatabaseAway,
    Failed,
    NameUnknown,
    RequestInvalid,
    UserUnknown,
)
from treescale.metadata.protocols import Database
from treescale.metadata.records import AccessToken, SigningKey
from treescale.registry.login import expired, record_use, token_principal
from treescale.registry.remembered import Remembered, away_seconds_max

finish_grace_seconds: Final = 86_400
"""How long after its token's end an upload begun with it may still be finished by its user."""
revocation_window_seconds: Final = finish_grace_seconds + access_seconds + 3600
publish_seconds: Final = 60.0
overlap_seconds: Final = 600.0
rotation_seconds: Final = 30 * 86_400.0
rotation_spread_seconds: Final = 3600.0
unknown_key_refresh_seconds: Final = 1.0
open_end: Final = 253_402_300_799.0
"""When a key retires that no other has followed yet: the end of the year 9999."""
verified_max: Final = 4096
IDENTITY_SETTING: Final = "token_identity"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A bearer token, with what the client is told about it. `granted` may be less than asked."""

    token: str
    expires_in: int
    issued_at: float
    granted: tuple[Access, ...]
    catalog: bool


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who sent a bearer token and what it lets them do, without a look at the database.

    `catalog`: list the repositories they may see.
    """

    principal: Principal
    access: dict[str, frozenset[Action]]
    catalog: bool


class TokenService:
    """Issues, verifies, refreshes and voids signed tokens."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
        redeemed: Remembered | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._random = random
        self._identity = ""
        self._keys: dict[str, KeyPair] = {}
        self._key_rows: list[SigningKey] = []
        self._revoked: dict[str, float] = {}
        self._verified: OrderedDict[bytes, BearerClaims] = OrderedDict()
        self._redeemed = redeemed or Remembered(random(32), clock)
        self._refreshing = asyncio.Lock()
        self._refreshed = -unknown_key_refresh_seconds
        # Servers that started together must not all rotate at the same moment.
        share = int.from_bytes(random(4), "big") / 2**32
        self._rotation_delay = share * rotation_spread_seconds

    async def start(self) -> None:
        """Make the cluster's first key and identity when there are none; read what there is.

        Of several processes that start at once all end up with the same ones.
        """
        pem = new_private_pem(self._random(seed_bytes))
        await self._database.signing_keys.add_first(_new_key(pem, self._clock.now()))
        await self.refresh()
        settings = self._database.settings
        if await settings.get(IDENTITY_SETTING) is None:
            # Whoever else gets here has read the same first key, and writes the same words.
            first = min(self._keys.values(), key=lambda pair: (pair.not_before, pair.key_id))
            await settings.put(IDENTITY_SETTING, f"treescale:{first.key_id}")
        self._identity = await settings.get(IDENTITY_SETTING) or ""
        if not self._identity:
            raise Failed("the setting token_identity in the database is empty: remove it")

    async def refresh(self) -> None:
        """Read keys and revocations again, and rotate the key when its month is over."""
        await self._read()
        newest = max(self._keys.values(), key=lambda pair: pair.not_before)
        due = newest.not_before + rotation_seconds + self._rotation_delay
        if self._clock.now() >= due:
            await self.rotate()

    async def rotate(self) -> None:
        """Publish a new key that signs from `publish_seconds` on, and retire those before it.

        Keys are forgotten once the last token they can have signed has expired.
        """
        now = self._clock.now()
        keys = self._database.signing_keys
        starts = now + publish_seconds
        await keys.add(_new_key(new_private_pem(self._random(seed_bytes)), starts))
        for key in await keys.list():
            if key.retire_at + refresh_seconds + finish_grace_seconds < now:
                await keys.remove(key.key_id)
            elif key.not_before < starts and key.retire_at > starts + overlap_seconds:
                await keys.retire(key.key_id, retire_at=starts + overlap_seconds)
        await self._database.revocations.prune(now - revocation_window_seconds)
        await self._read()

    async def issue(
        self, principal: Principal, wanted: Sequence[Access], *, catalog: bool = False
    ) -> IssuedToken:
        """Return a token for what of `wanted` the principal may do now; nothing is no error.

        With `catalog` it may also list repositories: anybody may, as each sees only their own.
        An absent repository, and a private one of somebody else, grant the same: nothing.
        It lasts `access_seconds`, or until the access token behind it ends. Raises
        CredentialsInvalid when the principal has been revoked since it was proven, or has ended,
        RequestInvalid when the token would be longer than a header can carry.
        """
        now = self._clock.now()
        principal = _proven(principal, now)
        if self._void(principal):
            raise CredentialsInvalid("these credentials have been revoked")
        if principal.ended(now):
            raise _logged_out()
        granted = tuple(await self.granted(principal, wanted))
        expires = principal.bound(now + access_seconds)
        claims = BearerClaims(Kind.ACCESS, principal, granted, now, expires, catalog=catalog)
        token = sign(self._signing_key(now), self._identity, claims)
        if len(token) > characters_max:
            raise RequestInvalid("too many scopes for one token: ask for fewer at once")
        return IssuedToken(token, max(round(expires - now), 1), now, granted, catalog)

    async def granted(self, principal: Principal, wanted: Sequence[Access]) -> list[Access]:
        """Return what of `wanted` the principal may do now, without what grants nothing at all.

        Nothing when the principal has been revoked since it was proven.
        """
        if self._void(principal):
            return []
        return [access for one in wanted if (access := await self._grant(principal, one))]

    async def verify(self, token: str, *, grace: bool = False) -> Bearer:
        """Return what a bearer token says; raises CredentialsInvalid when it counts for nothing.

        Asks the database only when the token names an unknown key, and then at most once a second.
        With `grace` a token that expired in the last `finish_grace_seconds` still counts: for
        finishing, as the same user, an upload that was begun with it, and for nothing else.
        """
        claims = await self._claims(token, Kind.ACCESS)
        seconds = finish_grace_seconds if grace else 0
        check_times(claims, self._clock.now(), expired_grace_seconds=seconds)
        if self._void(claims.principal):
            raise CredentialsInvalid("the bearer token has been revoked")
        access = {one.repository: one.actions for one in claims.access}
        return Bearer(claims.principal, access, claims.catalog)

    async def refresh_token(self, principal: Principal) -> str:
        """Return a refresh token for a user who has just logged in (never for the anonymous).

        Raises CredentialsInvalid when the account or access token has gone meanwhile.
        """
        assert not principal.anonymous
        now = self._clock.now()
        if principal.token_id:
            await self._access_token(principal, now)
            proof = ""
        else:
            proof = await self._password_proof(principal.user)
        # After the proof: if that is of a newer password than the principal's, this says so.
        await self._read()
        if self._void(principal):
            raise CredentialsInvalid("these credentials have been revoked")
        expires = principal.bound(now + refresh_seconds)
        claims = BearerClaims(Kind.REFRESH, principal, (), now, expires, proof)
        return sign(self._signing_key(now), self._identity, claims)

    async def redeem(self, refresh_token: str) -> Principal:
        """Return whose refresh token this is, as the database sees them now.

        Raises CredentialsInvalid when it is not ours or expired, when the password was changed
        since, or when the account or access token is gone; DatabaseAway when it is, unless this
        one was redeemed within `away_seconds_max`.
        """
        claims = await self._claims(refresh_token, Kind.REFRESH)
        now = self._clock.now()
        check_times(claims, now)
        fingerprint = self._redeemed.fingerprint(refresh_token.encode())
        try:
            principal = await self._redeem(claims, now)
        except CredentialsInvalid:
            self._redeemed.forget(fingerprint)
            raise
        except DatabaseAway:
            recalled = self._redeemed.recall(fingerprint, away_seconds_max)
            if recalled is None:
                recalled = await self._redeemed.hear(fingerprint)
            if recalled is None:
                raise
            return recalled
        self._redeemed.remember(fingerprint, principal)
        return principal

    async def _redeem(self, claims: BearerClaims, now: float) -> Principal:
        principal = claims.principal
        if principal.token_id:
            token = await self._access_token(principal, now)
            await record_use(self._database.access_tokens, token, now)
            return token_principal(token, proven=now)
        proof = await self._password_proof(principal.user)
        if not hmac.compare_digest(proof, claims.proof):
            raise _logged_out()
        return Principal(principal.user, proven=now)

    async def _read(self) -> None:
        """Replace keys and revocations in memory by what the database holds.

        Revocations are read over their whole window each time: one that was committed late, with
        an earlier time, is not missed.
        """
        now = self._clock.now()
        rows = await self._database.signing_keys.list()
        revoked = await self._database.revocations.list(now - revocation_window_seconds)
        if not rows:
            raise Failed("the database holds no signing key; restart the server to make one")
        if rows != self._key_rows:
            self._keys = {row.key_id: _key_pair(row) for row in rows}
            self._key_rows = rows
            self._verified.clear()
        self._revoked = {one.subject: one.revoked for one in revoked}
        self._refreshed = self._clock.monotonic()

    async def _claims(self, token: str, kind: Kind) -> BearerClaims:
        """Verify the signature, or remember having done so."""
        fingerprint = hashlib.sha256(f"{kind}:{token}".encode("utf-8", "replace")).digest()
        known = self._verified.get(fingerprint)
        if known is not None:
            self._verified.move_to_end(fingerprint)
            return known
        if key_id_of(token) not in self._keys:
            await self._refresh_for_unknown_key()
        claims = verify(token, self._keys, self._identity, kind)
        self._verified[fingerprint] = claims
        while len(self._verified) > verified_max:
            self._verified.popitem(last=False)
        return claims

    async def _refresh_for_unknown_key(self) -> None:
        async with self._refreshing:
            if self._clock.monotonic() >= self._refreshed + unknown_key_refresh_seconds:
                await self._read()

    async def _grant(self, principal: Principal, wanted: Access) -> Access | None:
        """Return what is granted of one scope; None for nothing.

        Whether a repository is public is looked up only if that makes a difference.
        """
        own = permitted(principal, wanted.repository, public=False)
        if Action.PULL not in wanted.actions - own:
            actions = wanted.actions & own
        else:
            public = await self._is_public(wanted.repository)
            actions = wanted.actions & permitted(principal, wanted.repository, public=public)
        return Access(wanted.repository, actions) if actions else None

    async def _is_public(self, repository: str) -> bool:
        try:
            return (await self._database.repositories.get(repository)).public
        except NameUnknown:
            return False

    async def _access_token(self, principal: Principal, now: float) -> AccessToken:
        for token in await self._database.access_tokens.list(principal.user):
            if token.token_id == principal.token_id and not expired(token, now):
                return token
        raise _logged_out()

    async def _password_proof(self, user: str) -> str:
        """Return what only the present password hash gives: its salt is new with each password."""
        try:
            account = await self._database.users.get(user)
        except UserUnknown:
            raise _logged_out() from None
        digest = hashlib.sha256(account.password_hash.encode()).digest()
        return base64.urlsafe_b64encode(digest[:18]).decode()

    def _signing_key(self, now: float) -> KeyPair:
        """Return the newest key that may sign; the oldest when all are in the future."""
        started = [pair for pair in self._keys.values() if pair.not_before <= now]
        if started:
            return max(started, key=lambda pair: (pair.not_before, pair.key_id))
        return min(self._keys.values(), key=lambda pair: (pair.not_before, pair.key_id))

    def _void(self, principal: Principal) -> bool:
        subjects = [f"user:{principal.user}"] if principal.user else []
        if principal.token_id:
            subjects.append(f"token:{principal.token_id}")
        return any(self._revoked.get(one, -1.0) >= principal.proven for one in subjects)


def _new_key(private_pem: str, not_before: float) -> SigningKey:
    pair = load_key_pair(private_pem, not_before=not_before, retire_at=open_end)
    return SigningKey(pair.key_id, private_pem, not_before, open_end)


def _key_pair(row: SigningKey) -> KeyPair:
    return load_key_pair(row.private_pem, not_before=row.not_before, retire_at=row.retire_at)


def _proven(principal: Principal, now: float) -> Principal:
    """Date the anonymous, who have proven nothing and have nothing that could be revoked."""
    return replace(principal, proven=now) if principal.anonymous else principal


def _logged_out() -> CredentialsInvalid:
    return CredentialsInvalid("this login is no longer valid: log in again")
