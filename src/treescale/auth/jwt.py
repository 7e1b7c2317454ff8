"""Signed tokens: what `/token` gives out, written and read (RFC 7519, 8725; Docker token spec).

EdDSA and nothing else. A header may hold `alg`, `kid` and `typ` alone: anything that would let the
token bring its own key, or ask for an algorithm or extension of its choice, is refused before the
signature is looked at. `kid` is looked up in the given keys only. Issuer and audience are the
cluster's identity; what a client calls its `service` is never part of either. An access token and a
refresh token differ in audience and in a claim, so that neither passes for the other. The time is
an argument.

Keys are kept for the logins that they signed. Should one leak after it has retired, it signs
nothing that counts: no access token that ends later than its last one, and no refresh token, as
that says something of the password or access token behind it which only the database knows.
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from treescale.auth.policy import Principal
from treescale.auth.scopes import Access, Action, parse_scope, scope_text
from treescale.errors import CredentialsInvalid, Failed

ALGORITHM: Final = "EdDSA"
ACCESS_SECONDS: Final = 300
REFRESH_SECONDS_0_1_0: Final = 90 * 86400
"""How long a refresh token of 0.1.0 lasts."""
FOR_EVER: Final = 253_402_300_799.0
"""The end of the year 9999, in place of the end of what has none: 0.1.0 asks for one."""
LEEWAY_SECONDS: Final = 60
"""How far servers' clocks may be apart, both ways, and how late a token may arrive, before anybody
notices."""
CHARACTERS_MAX: Final = 26 * 1024
"""As long as 64 scopes of the longest names make it; a header field may have 32 KiB here."""
PLAIN_CHARACTERS_MAX: Final = 7 * 1024
"""Longer ones say their scopes in fewer characters, as most proxies take 8 KiB in a header line.
0.1.0 made none so long, and does not read them."""
SEED_BYTES: Final = 32
_HEADER_KEYS: Final = frozenset({"alg", "kid", "typ"})
_OPTIONS: Final[Any] = {
    "require": ["iss", "aud", "sub", "iat", "nbf", "exp"],
    "strict_aud": True,
    # Compared below, with the clock that was passed in.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class TokenKind(StrEnum):
    """What a signed token is good for."""

    ACCESS = "access"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key, named by a digest of its public half; when it signs, and when it no longer may."""

    key_id: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey
    not_before: float
    retire_at: float


@dataclass(frozen=True, slots=True)
class BearerClaims:
    """What a signed token says; `catalog`: that it may list repositories.

    `refused` names the repositories for which pulling was asked and not granted: asking again is of
    no use. `proof` ties a refresh token to the password, or the access token's secret, of its day.
    """

    kind: TokenKind
    principal: Principal
    access: tuple[Access, ...]
    issued: float
    expires: float
    proof: str = ""
    catalog: bool = False
    refused: tuple[str, ...] = ()


class _Repository(msgspec.Struct, frozen=True, tag_field="type", tag="repository"):
    name: str
    actions: list[Action]


class _Registry(msgspec.Struct, frozen=True, tag_field="type", tag="registry"):
    name: Literal["catalog"] = "catalog"
    actions: tuple[Literal["*"]] = ("*",)


class _Payload(msgspec.Struct, frozen=True):
    """The claims on the wire. Times are NumericDate with fractions (RFC 7519, 2)."""

    iss: str
    aud: str
    sub: str
    tid: str
    typ: TokenKind
    iat: float
    nbf: float
    exp: float
    auth_time: float
    allow: list[Action]
    glob: str
    until: float | None = None
    access: list[_Repository | _Registry] = []
    proof: str = ""
    gen: int | None = None
    """The principal's generation. Versions that do not know it pass over it."""
    scopes: list[str] = []
    """In place of repositories in `access`: NAME:pull,push."""
    refused: list[str] = []


def new_private_pem(seed: bytes) -> str:
    """Return the Ed25519 key made of these 32 random bytes (PKCS #8, PEM)."""
    assert len(seed) == SEED_BYTES
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def load_key_pair(private_pem: str, *, not_before: float, retire_at: float) -> KeyPair:
    """Return the key pair of a PEM; raises Failed for anything but an Ed25519 private key."""
    try:
        private = serialization.load_pem_private_key(private_pem.encode(), password=None)
    except (ValueError, TypeError) as error:
        raise Failed("a signing key in the database cannot be read") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise Failed("a signing key in the database is not an Ed25519 key")
    public = private.public_key()
    return KeyPair(_key_id(public), private, public, not_before, retire_at)


def sign(pair: KeyPair, identity: str, claims: BearerClaims) -> str:
    """Return the claims as a token of the cluster `identity`, of `CHARACTERS_MAX` at most."""
    principal = claims.principal
    assert not principal.is_operator, "nobody proves to be the operator"
    payload = _Payload(
        iss=identity,
        aud=_audience(identity, claims.kind),
        sub=principal.user,
        tid=principal.token_id,
        typ=claims.kind,
        iat=claims.issued,
        nbf=claims.issued,
        exp=claims.expires,
        auth_time=principal.proven,
        allow=[a for a in Action if a in principal.allow],
        glob=principal.repository_glob,
        until=principal.expires,
        access=_access(claims),
        proof=claims.proof,
        gen=principal.generation,
        refused=list(claims.refused),
    )
    token = _encoded(pair, payload)
    if len(token) <= PLAIN_CHARACTERS_MAX:
        return token
    short = msgspec.structs.replace(
        payload,
        access=[one for one in payload.access if isinstance(one, _Registry)],
        scopes=[scope_text(one.repository, one.actions).partition(":")[2] for one in claims.access],
    )
    return _encoded(pair, short)


def _encoded(pair: KeyPair, payload: _Payload) -> str:
    claims = msgspec.to_builtins(payload)
    return jwt.encode(claims, pair.private, ALGORITHM, headers={"kid": pair.key_id})


def key_id_of(token: str) -> str:
    """Return the `kid` of a token that may be ours; raises CredentialsInvalid for all others."""
    if len(token) > CHARACTERS_MAX:
        raise CredentialsInvalid("the bearer token is too long: ask for a new one")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, UnicodeError, RecursionError):
        raise _not_ours() from None
    key_id = header.get("kid")
    if not header.keys() <= _HEADER_KEYS or header.get("alg") != ALGORITHM:
        raise _not_ours()
    if not isinstance(key_id, str):
        raise _not_ours()
    return key_id


def verify(token: str, keys: Mapping[str, KeyPair], identity: str, kind: TokenKind) -> BearerClaims:
    """Return what a token of this kind says, once its signature, issuer and audience are right.

    Raises CredentialsInvalid for any other. Times are left to `check_times`, so that the costly
    part may be remembered.
    """
    pair = keys.get(key_id_of(token))
    if pair is None:
        raise _not_ours()
    try:
        raw = jwt.decode(
            token,
            pair.public,
            algorithms=[ALGORITHM],
            issuer=identity,
            audience=_audience(identity, kind),
            options=_OPTIONS,
        )
        payload = msgspec.convert(raw, _Payload)
    except (jwt.InvalidTokenError, msgspec.ValidationError, UnicodeError, RecursionError):
        raise _not_ours() from None
    if payload.typ is not kind or _retired(pair, payload):
        raise _not_ours()
    return _claims(payload)


def check_times(claims: BearerClaims, now: float, *, expired_grace_seconds: float = 0) -> None:
    """Raise CredentialsInvalid when the token is not good yet, or not any more.

    For `expired_grace_seconds` it may have ended already; no grace reaches beyond the end of the
    access token behind it.
    """
    if claims.issued > now + LEEWAY_SECONDS:
        raise CredentialsInvalid("the bearer token is not valid yet: the servers' clocks differ")
    ends = claims.principal.bound(claims.expires + expired_grace_seconds)
    if ends + LEEWAY_SECONDS <= now:
        raise CredentialsInvalid("the bearer token has expired: ask for a new one")


def _access(claims: BearerClaims) -> list[_Repository | _Registry]:
    listing = [_Registry()] if claims.catalog else []
    named = [
        _Repository(one.repository, [a for a in Action if a in one.actions])
        for one in claims.access
    ]
    return [*listing, *named]


def _claims(payload: _Payload) -> BearerClaims:
    principal = Principal(
        payload.sub,
        payload.tid,
        frozenset(payload.allow),
        payload.glob,
        payload.until,
        proven=payload.auth_time,
        generation=payload.gen,
    )
    plain = [
        Access(one.name, frozenset(one.actions))
        for one in payload.access
        if isinstance(one, _Repository)
    ]
    short = [one for text in payload.scopes if (one := parse_scope(text)) is not None]
    return BearerClaims(
        payload.typ,
        principal,
        (*plain, *short),
        payload.iat,
        payload.exp,
        proof=payload.proof,
        catalog=_Registry() in payload.access,
        refused=tuple(payload.refused),
    )


def _retired(pair: KeyPair, payload: _Payload) -> bool:
    """Say whether the key had retired by then: should it leak, it signs nothing that counts."""
    last = pair.retire_at + LEEWAY_SECONDS
    if payload.typ is TokenKind.ACCESS:
        lasts = float(ACCESS_SECONDS)
    else:
        lasts = REFRESH_SECONDS_0_1_0 if payload.gen is None else math.inf
    return payload.iat > last or payload.exp > last + lasts


def _audience(identity: str, kind: TokenKind) -> str:
    return f"{identity}/{kind}"


def _key_id(public: Ed25519PublicKey) -> str:
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()[:12]).decode()


def _not_ours() -> CredentialsInvalid:
    """One error for all of it: a forger learns nothing from the text."""
    return CredentialsInvalid("the bearer token is not one of this registry: ask it for one")
