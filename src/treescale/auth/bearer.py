"""Signed tokens: what `/token` gives out, written and read (RFC 7519, 8725; Docker token spec).

EdDSA and nothing else. A header may hold `alg`, `kid` and `typ` alone: anything that would let the
token bring its own key, or ask for an algorithm or extension of its choice, is refused before the
signature is looked at. `kid` is looked up in the given keys only. Issuer and audience are the
cluster's identity; what a client calls its `service` is never part of either. An access token and a
refresh token differ in audience and in a claim, so that neither passes for the other. The time is
an argument.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from treescale.auth.policy import Principal
from treescale.auth.scopes import Access, Action
from treescale.errors import CredentialsInvalid, Failed

ALGORITHM: Final = "EdDSA"
access_seconds: Final = 300
refresh_seconds: Final = 90 * 86400
leeway_seconds: Final = 10
"""How far servers' clocks may be apart, and how late a token may arrive, before anybody notices."""
characters_max: Final = 7 * 1024
"""Longer ones would not fit into the header line that carries them (8 KiB in most servers)."""
seed_bytes: Final = 32
_HEADER_KEYS: Final = frozenset({"alg", "kid", "typ"})
_OPTIONS: Final[Any] = {
    "require": ["iss", "aud", "sub", "iat", "nbf", "exp"],
    "strict_aud": True,
    # Compared below, with the clock that was passed in.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
}


class Kind(StrEnum):
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

    `proof` ties a refresh token to the password of its day.
    """

    kind: Kind
    principal: Principal
    access: tuple[Access, ...]
    issued: float
    expires: float
    proof: str = ""
    catalog: bool = False


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
    typ: Kind
    iat: float
    nbf: float
    exp: float
    auth_time: float
    allow: list[Action]
    glob: str
    until: float | None = None
    access: list[_Repository | _Registry] = []
    proof: str = ""


def new_private_pem(seed: bytes) -> str:
    """Return the Ed25519 key made of these 32 random bytes (PKCS #8, PEM)."""
    assert len(seed) == seed_bytes
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
    """Return the claims as a token of the cluster `identity`."""
    principal = claims.principal
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
    )
    return jwt.encode(
        msgspec.to_builtins(payload), pair.private, ALGORITHM, headers={"kid": pair.key_id}
    )


def key_id_of(token: str) -> str:
    """Return the `kid` of a token that may be ours; raises CredentialsInvalid for all others."""
    if len(token) > characters_max:
        raise CredentialsInvalid("the bearer token is too long")
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


def verify(token: str, keys: Mapping[str, KeyPair], identity: str, kind: Kind) -> BearerClaims:
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
    if payload.typ is not kind or _retired(pair, payload.iat):
        raise _not_ours()
    return _claims(payload)


def check_times(claims: BearerClaims, now: float, *, expired_grace_seconds: float = 0) -> None:
    """Return when the token is good now, or was until `expired_grace_seconds` ago.

    No grace reaches beyond the end of the access token behind it. Raises CredentialsInvalid when
    it is not yet good, or no longer.
    """
    if claims.issued > now + leeway_seconds:
        raise CredentialsInvalid("the bearer token is not valid yet: the servers' clocks differ")
    ends = claims.principal.bound(claims.expires + expired_grace_seconds)
    if ends + leeway_seconds <= now:
        raise CredentialsInvalid("the bearer token has expired")


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
    )
    access = tuple(
        Access(one.name, frozenset(one.actions))
        for one in payload.access
        if isinstance(one, _Repository)
    )
    return BearerClaims(
        payload.typ,
        principal,
        access,
        payload.iat,
        payload.exp,
        proof=payload.proof,
        catalog=_Registry() in payload.access,
    )


def _retired(pair: KeyPair, issued: float) -> bool:
    """Say whether the key had retired by then: should it leak, it signs nothing that counts."""
    return issued > pair.retire_at + leeway_seconds


def _audience(identity: str, kind: Kind) -> str:
    return f"{identity}/{kind}"


def _key_id(public: Ed25519PublicKey) -> str:
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()[:12]).decode()


def _not_ours() -> CredentialsInvalid:
    """One error for all of it: a forger learns nothing from the text."""
    return CredentialsInvalid("the bearer token is not one of this registry")
