"""The token service: signed tokens given out and read, without the database on the way in.

Keys and generations are held in memory; `refresh`, which whoever owns this calls every few seconds,
reads what is new. A token is void when its user, or access token, has a higher generation than the
token carries: that of the moment its credential was last compared with the database (not the moment
it was issued: between the two lies the memory of login.py). No two clocks are compared, but for
tokens of 0.1.0, which carry none. A new key is published `PUBLISH_SECONDS` before it signs, so that
every server knows it by then; the one before it stays good for what it signed.

A refresh token (what a client may keep instead of a password) is believed only together with the
database: the password or access token it was given for must still be the same. So it lasts as long
as that. While the database is away, one that was redeemed here within `AWAY_SECONDS_MAX` still
counts, and keys and generations are those of the last reading: what was revoked elsewhere since
then is known when it is back.
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from treescale.auth.jwt import (
    ACCESS_SECONDS,
    CHARACTERS_MAX,
    FOR_EVER,
    SEED_BYTES,
    BearerClaims,
    KeyPair,
    TokenKind,
    check_times,
    key_id_of,
    load_key_pair,
    new_private_pem,
    sign,
    verify,
)
from treescale.auth.policy import Principal, Standing, permitted
from treescale.auth.roles import Memberships, Visibility
from treescale.auth.scopes import Access, Action
from treescale.clock import Clock
from treescale.errors import (
    CredentialsInvalid,
    DatabaseUnavailable,
    Failed,
    NameUnknown,
    TokenUnknown,
    UserUnknown,
)
from treescale.lease_times import OFF
from treescale.metadata.database import Database
from treescale.metadata.organisations import ANONYMOUS_SETTING, PASSWORDS_SETTING
from treescale.metadata.records import AccessToken, SigningKey, User
from treescale.oci.names import namespace_of
from treescale.registry.credential_cache import AWAY_SECONDS_MAX, CredentialCache
from treescale.registry.login import expired, record_use, token_principal
from treescale.registry.organisations import membership_of, memberships_of

FINISH_GRACE_SECONDS: Final = 86_400
"""How long after its token's end an upload begun with it may still be finished by its user."""
GENERATION_SECONDS: Final = FINISH_GRACE_SECONDS + ACCESS_SECONDS + 3600.0
"""By then nothing counts any more that carries an older generation and is believed unasked."""
CHANGES_AT_ONCE: Final = 5000
PUBLISH_SECONDS: Final = 60.0
OVERLAP_SECONDS: Final = 600.0
ROTATION_SECONDS: Final = 30 * 86_400.0
ROTATION_SPREAD_SECONDS: Final = 3600.0
UNKNOWN_KEY_REFRESH_SECONDS: Final = 1.0
VERIFIED_MAX: Final = 4096
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
class VerifiedToken:
    """What a bearer token says, and the keys that were in force when it was verified."""

    claims: BearerClaims
    keys: Sequence[SigningKey]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who sent a bearer token and what it lets them do, without a look at the database.

    `catalog`: list the repositories they may see. `refused`: those for which pulling was asked and
    not granted.
    """

    principal: Principal
    access: dict[str, frozenset[Action]]
    catalog: bool
    refused: frozenset[str]
    proof: VerifiedToken


_Heard = tuple[int, float, float]
"""A change's generation and time, and when we heard of it by our monotonic clock.

Bare numbers in a tuple: Python's garbage collector leaves those alone, and 100,000 objects would
keep every request waiting for 30 ms now and then.
"""


class TokenService:
    """Issues, verifies, refreshes and voids signed tokens."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        random: Callable[[int], bytes] = secrets.token_bytes,
        redeemed: CredentialCache | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._random = random
        self._identity = ""
        self._keys: dict[str, KeyPair] = {}
        self._key_rows: list[SigningKey] = []
        self._changes: OrderedDict[str, _Heard] = OrderedDict()
        self._last = 0
        self._closed = False
        """Whether nobody may do anything without logging in."""
        self._passwords_off = False
        self._verified: OrderedDict[bytes, BearerClaims] = OrderedDict()
        self._redeemed = redeemed or CredentialCache(random(32), clock)
        self._refreshing = asyncio.Lock()
        self._refreshed = -UNKNOWN_KEY_REFRESH_SECONDS
        # Servers that started together must not all rotate at the same moment.
        share = int.from_bytes(random(4), "big") / 2**32
        self._rotation_delay = share * ROTATION_SPREAD_SECONDS

    async def start(self) -> None:
        """Make the cluster's first key and identity when there are none; read what there is.

        Of several processes that start at once all end up with the same ones.
        """
        pem = new_private_pem(self._random(SEED_BYTES))
        await self._database.signing_keys.add_first(_new_key(pem, self._clock.now()))
        await self._database.generations.adopt()
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
        """Read what is new of keys and generations, and rotate the key when its month is over."""
        await self._read()
        newest = max(self._keys.values(), key=lambda pair: pair.not_before)
        due = newest.not_before + ROTATION_SECONDS + self._rotation_delay
        if self._clock.now() >= due:
            await self.rotate()

    async def rotate(self) -> None:
        """Publish a new key that signs from `PUBLISH_SECONDS` on, and retire those before it.

        They are kept: a login that one of them signed lasts as long as what it was made with.
        """
        now = self._clock.now()
        keys = self._database.signing_keys
        starts = now + PUBLISH_SECONDS
        await keys.add(_new_key(new_private_pem(self._random(SEED_BYTES)), starts))
        for key in await keys.list():
            if key.not_before < starts and key.retire_at > starts + OVERLAP_SECONDS:
                await keys.retire(key.key_id, retire_at=starts + OVERLAP_SECONDS)
        await self._read()

    async def issue(
        self, principal: Principal, wanted: Sequence[Access], *, catalog: bool = False
    ) -> IssuedToken:
        """Return a token for what of `wanted` the principal may do now; nothing is no error.

        With `catalog` it may also list repositories: anybody may, as each sees only their own.
        An absent repository, and a private one of somebody else, grant the same: nothing.
        It lasts `ACCESS_SECONDS`, or until the access token behind it ends. Raises
        CredentialsInvalid when the principal has been revoked since it was proven, or has ended.
        """
        now = self._clock.now()
        principal = _proven(principal, now)
        if self.revoked(principal):
            raise CredentialsInvalid("these credentials have been revoked: log in again")
        if principal.is_expired(now):
            raise _logged_out()
        granted = tuple(await self.granted(principal, wanted))
        pulls = {one.repository for one in granted if Action.PULL in one.actions}
        asked = (one.repository for one in wanted if Action.PULL in one.actions)
        refused = tuple(name for name in asked if name not in pulls)
        expires = principal.bound(now + ACCESS_SECONDS)
        claims = BearerClaims(
            TokenKind.ACCESS, principal, granted, now, expires, catalog=catalog, refused=refused
        )
        token = sign(self._signing_key(now), self._identity, claims)
        assert len(token) <= CHARACTERS_MAX, "no header could carry it"
        return IssuedToken(token, max(round(expires - now), 1), now, granted, catalog)

    async def granted(self, principal: Principal, wanted: Sequence[Access]) -> list[Access]:
        """Return what of `wanted` the principal may do now, without what grants nothing at all.

        Nothing when the principal has been revoked since it was proven.
        """
        if self.revoked(principal):
            return []
        return [access for one in wanted if (access := await self._grant(principal, one))]

    async def memberships(self, principal: Principal) -> Memberships:
        """Return what the principal's user was granted, by namespace."""
        if principal.anonymous or principal.is_robot:
            return {}
        return await memberships_of(self._database, principal.user)

    async def verify(self, token: str, *, grace: bool = False) -> Bearer:
        """Return what a bearer token says; raises CredentialsInvalid when it counts for nothing.

        Asks the database only when the token names an unknown key, and then at most once a second.
        With `grace` a token that expired in the last `FINISH_GRACE_SECONDS` still counts: for
        finishing, as the same user, an upload that was begun with it, and for nothing else.
        """
        claims = await self._claims(token, TokenKind.ACCESS)
        self._check(claims, FINISH_GRACE_SECONDS if grace else 0)
        access = {one.repository: one.actions for one in claims.access}
        refused = frozenset(claims.refused)
        proof = VerifiedToken(claims, self._key_rows)
        return Bearer(claims.principal, access, claims.catalog, refused, proof)

    def is_valid_still(self, proof: VerifiedToken) -> bool:
        """Say whether `verify`, without grace, would return the same of the same token; at once."""
        if proof.keys is not self._key_rows:
            return False  # others may be in force, or one that signed it is not any more
        try:
            self._check(proof.claims, 0)
        except CredentialsInvalid:
            return False
        return True

    def _check(self, claims: BearerClaims, grace_seconds: float) -> None:
        """Raise CredentialsInvalid when what a token says counts for nothing now."""
        check_times(claims, self._clock.now(), expired_grace_seconds=grace_seconds)
        if self.revoked(claims.principal):
            raise CredentialsInvalid("the bearer token has been revoked: log in again")
        if self._closed and claims.principal.anonymous:
            raise CredentialsInvalid("nothing is for the anonymous here: log in first")

    def passwords_off(self) -> bool:
        """Return whether passwords of administrators alone count."""
        return self._passwords_off

    @property
    def closed(self) -> bool:
        """Return whether nothing is for the anonymous."""
        return self._closed

    def revoked(self, principal: Principal) -> bool:
        """Say whether the principal's user, or access token, is known to have changed since."""
        return self._changed(principal, principal.subjects)

    async def refresh_token(self, principal: Principal) -> str:
        """Return a refresh token for a user who has just logged in; neither robots nor anonymous.

        Raises CredentialsInvalid when the account or access token has gone meanwhile.
        """
        assert not principal.anonymous
        assert not principal.is_robot
        now = self._clock.now()
        if principal.token_id:
            proof = _proof_of_token(await self._access_token(principal, now))
        else:
            proof = await self._password_proof(principal.user)
        # After the proof: if that is of a newer password than the principal's, this says so.
        await self._read()
        if self.revoked(principal):
            raise CredentialsInvalid("these credentials have been revoked: log in again")
        claims = BearerClaims(
            TokenKind.REFRESH, principal, (), now, principal.bound(FOR_EVER), proof
        )
        return sign(self._signing_key(now), self._identity, claims)

    async def redeem(self, refresh_token: str) -> Principal:
        """Return whose refresh token this is, as the database sees them now.

        Raises CredentialsInvalid when it is not ours or expired, when the password was changed
        since, or when the account or access token is gone; DatabaseUnavailable when it is, unless
        this one was redeemed within `AWAY_SECONDS_MAX`.
        """
        claims = await self._claims(refresh_token, TokenKind.REFRESH)
        now = self._clock.now()
        check_times(claims, now)
        if claims.principal.generation is not None and self._changed(
            claims.principal, claims.principal.login_subjects
        ):
            raise _logged_out()
        fingerprint = self._redeemed.fingerprint(refresh_token.encode())
        try:
            principal = await self._redeem(claims, now)
        except CredentialsInvalid:
            self._redeemed.reject(fingerprint)
            raise
        except DatabaseUnavailable:
            recalled = self._redeemed.get(fingerprint, AWAY_SECONDS_MAX)
            if recalled is None:
                recalled = await self._redeemed.ask_others(fingerprint)
            if recalled is None:
                raise
            return recalled
        self._redeemed.put(fingerprint, principal)
        return principal

    async def _redeem(self, claims: BearerClaims, now: float) -> Principal:
        principal = claims.principal
        if principal.token_id:
            token = await self._access_token(principal, now)
            if principal.generation is not None:  # 0.1.0 gave no such proof
                _check_proof(_proof_of_token(token), claims)
            await record_use(self._database.access_tokens, token, now)
            return token_principal(token, proven=now)
        account = await self._account(principal.user)
        if not account.has_password or (self._passwords_off and not account.admin):
            raise _logged_out()
        _check_proof(_proof_of(account.password_hash), claims)
        return Principal(principal.user, proven=now, generation=account.generation)

    async def _read(self) -> None:
        """Replace the keys in memory by what the database holds, and add what has changed."""
        rows = await self._database.signing_keys.list()
        await self._read_changes()
        told = await self._database.settings.several((ANONYMOUS_SETTING, PASSWORDS_SETTING))
        self._closed = told.get(ANONYMOUS_SETTING) == OFF
        self._passwords_off = told.get(PASSWORDS_SETTING) == OFF
        if not rows:
            raise Failed("the database holds no signing key; restart the server to make one")
        if rows != self._key_rows:
            self._keys = {row.key_id: _key_pair(row) for row in rows}
            self._key_rows = rows
            self._verified.clear()
        self._refreshed = self._clock.monotonic()

    async def _read_changes(self) -> None:
        """Take in what has a higher number than all before; whoever has less was set back."""
        more = True
        while more:
            last = self._last
            found = await self._database.generations.since(last, CHANGES_AT_ONCE)
            if found.present < last:
                self._changes.clear()
                self._last = 0
                continue
            now = self._clock.monotonic()
            for change in found.changes:
                known = self._changes.get(change.subject)
                # Another reading, begun later, may have ended sooner.
                if known is None or known[0] < change.generation:
                    self._changes[change.subject] = change.generation, change.changed, now
                    self._changes.move_to_end(change.subject)
                self._last = max(self._last, change.generation)
            more = len(found.changes) == CHANGES_AT_ONCE
        oldest = self._clock.monotonic() - GENERATION_SECONDS
        while self._changes and next(iter(self._changes.values()))[2] < oldest:
            self._changes.popitem(last=False)

    async def _claims(self, token: str, kind: TokenKind) -> BearerClaims:
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
        while len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return claims

    async def _refresh_for_unknown_key(self) -> None:
        async with self._refreshing:
            if self._clock.monotonic() >= self._refreshed + UNKNOWN_KEY_REFRESH_SECONDS:
                await self._read()

    async def _grant(self, principal: Principal, wanted: Access) -> Access | None:
        """Return what is granted of one scope; None for nothing.

        Roles, and who may pull, are looked up only if that makes a difference.
        """
        name, away = wanted.repository, None
        standing = Standing(closed=self._closed)
        granted = wanted.actions & permitted(principal, name, standing)
        if granted < wanted.actions and self._may_be_member(principal, name):
            try:
                held = await self._database.organisations.holding(
                    principal.user, namespace_of(name)
                )
                standing = replace(standing, grants=membership_of(held).grants)
                granted = wanted.actions & permitted(principal, name, standing)
            except DatabaseUnavailable as error:
                away = error  # what is known to be public is so, whoever asks
        if Action.PULL in wanted.actions - granted and not (principal.anonymous and self._closed):
            standing = replace(standing, visibility=await self._visibility(name))
            granted = wanted.actions & permitted(principal, name, standing)
        if away is not None and Action.PULL not in granted:
            raise away
        return Access(name, granted) if granted else None

    @staticmethod
    def _may_be_member(principal: Principal, repository: str) -> bool:
        if principal.anonymous or principal.is_robot:
            return False
        return namespace_of(repository) != principal.user

    async def _visibility(self, repository: str) -> Visibility:
        try:
            return Visibility((await self._database.repositories.get(repository)).visibility)
        except NameUnknown:
            return Visibility.PRIVATE

    async def _access_token(self, principal: Principal, now: float) -> AccessToken:
        try:
            token = await self._database.access_tokens.get(principal.token_id)
        except TokenUnknown:
            raise _logged_out() from None
        if token.user != principal.user or token.user_suspended or expired(token, now):
            raise _logged_out()
        return token

    async def _password_proof(self, user: str) -> str:
        """Return what only the present password hash gives: its salt is new with each password."""
        return _proof_of((await self._account(user)).password_hash)

    async def _account(self, user: str) -> User:
        try:
            account = await self._database.users.get(user)
        except UserUnknown:
            raise _logged_out() from None
        if account.is_suspended:
            raise _logged_out()
        return account

    def _signing_key(self, now: float) -> KeyPair:
        """Return the newest key that may sign; the oldest when all are in the future."""
        started = [pair for pair in self._keys.values() if pair.not_before <= now]
        if started:
            return max(started, key=lambda pair: (pair.not_before, pair.key_id))
        return min(self._keys.values(), key=lambda pair: (pair.not_before, pair.key_id))

    def _changed(self, principal: Principal, subjects: Iterable[str]) -> bool:
        """Say whether one of the subjects has changed since the principal was proven."""
        return any(
            _voids(heard, principal)
            for subject in subjects
            if (heard := self._changes.get(subject)) is not None
        )


def _voids(heard: _Heard, principal: Principal) -> bool:
    """Say whether the change is later than when the principal was proven."""
    generation, changed, _ = heard
    if principal.generation is None:
        return changed >= principal.proven
    return generation > principal.generation


def _proof_of(secret: str) -> str:
    digest = hashlib.sha256(secret.encode()).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode()


def _proof_of_token(token: AccessToken) -> str:
    return _proof_of(f"token:{token.secret_sha256}")


def _check_proof(present: str, claims: BearerClaims) -> None:
    """Raise CredentialsInvalid when a refresh token was given for what is there no more."""
    if not hmac.compare_digest(present.encode(), claims.proof.encode()):
        raise _logged_out()


def _new_key(private_pem: str, not_before: float) -> SigningKey:
    pair = load_key_pair(private_pem, not_before=not_before, retire_at=FOR_EVER)
    return SigningKey(pair.key_id, private_pem, not_before, FOR_EVER)


def _key_pair(row: SigningKey) -> KeyPair:
    return load_key_pair(row.private_pem, not_before=row.not_before, retire_at=row.retire_at)


def _proven(principal: Principal, now: float) -> Principal:
    """Date the anonymous, who have proven nothing and have nothing that could be revoked."""
    return replace(principal, proven=now) if principal.anonymous else principal


def _logged_out() -> CredentialsInvalid:
    return CredentialsInvalid("this login is no longer valid: log in again")
