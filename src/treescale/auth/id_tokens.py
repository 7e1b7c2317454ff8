"""ID tokens of others, read: what an identity provider signed (OpenID Connect Core 1.0; RFC 8725).

RS256 and ES256 and nothing else. A token is verified with the keys that are given, which its `kid`
only chooses from: a header that brings a key, says where one is, or names an extension is refused
before anything is looked at. Header and claims are read strictly, so that no two readers see
different ones. Issuer and audience are compared letter by letter. The time is an argument. Errors
say what is wrong, and nothing of what the token says.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from treescale.errors import IdTokenInvalid, IssuerKeysInvalid, ManifestInvalid
from treescale.oci.strict_json import parse_object

ALGORITHMS: Final[Mapping[str, str]] = {"RS256": "RSA", "ES256": "EC"}
"""What is accepted, and the kind of key of each (RFC 7518, 3.1)."""
CHARACTERS_MAX: Final = 16 * 1024
LEEWAY_SECONDS: Final = 60.0
"""How far an issuer's clock may be from ours."""
LIFETIME_SECONDS_MAX: Final = 86_400.0
"""A token for longer is a password that nobody can change."""
CLAIM_CHARACTERS_MAX: Final = 1024
"""Of those that say who it is of."""
AUDIENCES_MAX: Final = 16
KEYS_MAX: Final = 64
"""Of one issuer."""
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 8192
_CURVE: Final = "P-256"
_MODULUS_CHARACTERS_MAX: Final = RSA_BITS_MAX // 6 + 4
_EXPONENT_CHARACTERS_MAX: Final = 8
_FORM: Final = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_BRINGS_ITS_OWN: Final = frozenset({"b64", "crit", "jku", "jwk", "x5c", "x5u"})


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key of an issuer, and what it verifies."""

    key_id: str | None
    algorithm: str
    public: RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """All that an issuer signs with."""

    keys: tuple[IssuerKey, ...]

    def knows(self, key_id: str | None) -> bool:
        """Return whether one of them has this id; None asks for any."""
        return any(key_id in (None, one.key_id) for one in self.keys)

    def choose(self, key_id: str | None, algorithm: str) -> IssuerKey | None:
        """Return the one key that a header means; None when it means none, or several."""
        found = [
            one for one in self.keys if one.algorithm == algorithm and key_id in (None, one.key_id)
        ]
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class Unproven:
    """What a token says of itself, by which keys are looked for; nobody has signed it yet."""

    issuer: str
    key_id: str | None
    algorithm: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must be: of this issuer, and for one of these audiences."""

    issuer: str
    audiences: tuple[str, ...]
    lifetime_seconds_max: float = LIFETIME_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class IdToken:
    """A token that was verified."""

    issuer: str
    subject: str
    issued: float
    expires: float
    claims: Mapping[str, object]
    fingerprint: str
    """Stands for this one token: of its `jti`, or of what was signed where it has none."""


def is_jwt(text: str) -> bool:
    """Return at sight whether a text is a JWT; says nothing of its being valid."""
    return _FORM.fullmatch(text) is not None


def look(token: str) -> Unproven:
    """Return what a token says of its issuer and key; raises IdTokenInvalid."""
    header, claims = _parts(token)
    issuer, key_id, algorithm = claims.get("iss"), header.get("kid"), header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise IdTokenInvalid(f"the ID token must be signed with {' or '.join(ALGORITHMS)}")
    if _BRINGS_ITS_OWN & header.keys():
        raise IdTokenInvalid("the ID token's header has what is not taken here: crit, or a key")
    if not isinstance(issuer, str) or not 0 < len(issuer) <= CLAIM_CHARACTERS_MAX:
        raise IdTokenInvalid("the ID token names no issuer")
    if not issuer.isascii() or not issuer.isprintable():  # no database takes a NUL
        raise IdTokenInvalid("the ID token names no issuer")
    if key_id is not None and not isinstance(key_id, str):
        raise IdTokenInvalid("the ID token's kid is no text")
    return Unproven(issuer, key_id, algorithm)


def verify_id_token(token: str, keys: IssuerKeys, expected: Expected, now: float) -> IdToken:
    """Return what a token says that one of the keys signed, if it is what is expected.

    Raises IdTokenInvalid for any other.
    """
    unproven = look(token)
    if unproven.issuer != expected.issuer:
        raise IdTokenInvalid(f"the ID token is not of the issuer {expected.issuer}")
    key = keys.choose(unproven.key_id, unproven.algorithm)
    if key is None:
        raise IdTokenInvalid(f"the ID token is signed by none of the keys of {expected.issuer}")
    try:
        jwt.PyJWS().decode_complete(token, key.public, algorithms=[key.algorithm])
    except (jwt.InvalidTokenError, ValueError, UnicodeError, RecursionError):
        raise IdTokenInvalid("the ID token's signature is wrong") from None
    _, claims = _parts(token)
    _check_audience(claims.get("aud"), expected)
    issued, expires = _times(claims, expected, now)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= CLAIM_CHARACTERS_MAX:
        raise IdTokenInvalid("the ID token names no subject")
    if not subject.isprintable():  # no database takes a NUL
        raise IdTokenInvalid("the ID token names no subject")
    return IdToken(unproven.issuer, subject, issued, expires, claims, _fingerprint(token, claims))


def parse_jwks(payload: bytes) -> IssuerKeys:
    """Return the keys of a JWK set (RFC 7517, 5) that verify here; others are passed over.

    Raises IssuerKeysInvalid when it is no such set, or has none.
    """
    try:
        found = parse_object(payload).get("keys")
    except ManifestInvalid:
        raise IssuerKeysInvalid("this is no JWK set: say a JSON object with keys") from None
    if not isinstance(found, list) or len(found) > KEYS_MAX:
        raise IssuerKeysInvalid(f"a JWK set has a list of keys, {KEYS_MAX} at most")
    keys = tuple(key for one in found if (key := _key(one)) is not None)
    if not keys:
        raise IssuerKeysInvalid(
            f"the JWK set has no key that is taken here: RSA of {RSA_BITS_MIN} bits or more for "
            f"RS256, {_CURVE} for ES256"
        )
    return IssuerKeys(keys)


def _key(found: object) -> IssuerKey | None:
    """Return a key that verifies; None for one of another kind, use or algorithm."""
    if not isinstance(found, dict) or "d" in found or found.get("use", "sig") != "sig":
        return None
    kind, key_id = found.get("kty"), found.get("kid")
    algorithm = next((name for name, of in ALGORITHMS.items() if of == kind), None)
    if algorithm is None or found.get("alg", algorithm) != algorithm:
        return None
    if not (key_id is None or isinstance(key_id, str)):
        return None
    public = _rsa(found) if kind == "RSA" else _elliptic(found)
    return None if public is None else IssuerKey(key_id, algorithm, public)


def _rsa(found: dict[str, Any]) -> RSAPublicKey | None:
    modulus, exponent = found.get("n"), found.get("e")
    if not isinstance(modulus, str) or not isinstance(exponent, str):
        return None
    if len(modulus) > _MODULUS_CHARACTERS_MAX or len(exponent) > _EXPONENT_CHARACTERS_MAX:
        return None
    try:
        public = RSAAlgorithm.from_jwk({"kty": "RSA", "n": modulus, "e": exponent})
    except (jwt.InvalidKeyError, ValueError):
        return None
    if not isinstance(public, RSAPublicKey):
        return None
    return public if RSA_BITS_MIN <= public.key_size <= RSA_BITS_MAX else None


def _elliptic(found: dict[str, Any]) -> EllipticCurvePublicKey | None:
    x, y = found.get("x"), found.get("y")
    if found.get("crv") != _CURVE or not isinstance(x, str) or not isinstance(y, str):
        return None
    try:
        public = ECAlgorithm.from_jwk({"kty": "EC", "crv": _CURVE, "x": x, "y": y})
    except (jwt.InvalidKeyError, ValueError):
        return None
    return public if isinstance(public, EllipticCurvePublicKey) else None


def _parts(token: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return header and claims, strictly read; raises IdTokenInvalid."""
    if len(token) > CHARACTERS_MAX:
        raise IdTokenInvalid(f"the ID token is longer than {CHARACTERS_MAX} characters")
    if not is_jwt(token):
        raise IdTokenInvalid("this is no ID token: it has not the form of a JWT")
    header, claims, _ = token.split(".")
    try:
        return parse_object(_decoded(header)), parse_object(_decoded(claims))
    except (ManifestInvalid, ValueError):
        raise IdTokenInvalid(
            "the ID token cannot be read: it is no JSON that every reader reads alike"
        ) from None


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _check_audience(found: object, expected: Expected) -> None:
    audiences = [found] if isinstance(found, str) else found
    if not isinstance(audiences, list) or len(audiences) > AUDIENCES_MAX:
        raise IdTokenInvalid("the ID token names no audience")
    if not any(one in expected.audiences for one in audiences if isinstance(one, str)):
        raise IdTokenInvalid(
            f"the ID token is for another audience: have it made for {expected.audiences[0]}"
        )


def _times(claims: Mapping[str, object], expected: Expected, now: float) -> tuple[float, float]:
    """Return when it was issued and when it expires, if it is good at this moment."""
    issued, expires = _time(claims, "iat"), _time(claims, "exp")
    begins = _time(claims, "nbf") if "nbf" in claims else issued
    if max(issued, begins) > now + LEEWAY_SECONDS:
        raise IdTokenInvalid("the ID token is not valid yet: its issuer's clock differs from ours")
    if expires + LEEWAY_SECONDS <= now:
        raise IdTokenInvalid("the ID token has expired: have a new one made")
    if expires - issued > expected.lifetime_seconds_max:
        raise IdTokenInvalid(
            f"the ID token is good for more than {expected.lifetime_seconds_max:g} s: have it made "
            "for less"
        )
    return issued, expires


def _time(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenInvalid(f"the ID token has no time {name}")
    return float(value)


def _fingerprint(token: str, claims: Mapping[str, object]) -> str:
    """Return what stands for the token; its signature has no part in it, of which there are two."""
    jti = claims.get("jti")
    if isinstance(jti, str) and 0 < len(jti) <= CLAIM_CHARACTERS_MAX:
        words = ["jti", str(claims["iss"]), jti]
    else:
        words = ["token", token.rpartition(".")[0]]
    framed = "".join(f"{len(word)}:{word}" for word in words)
    return hashlib.sha256(framed.encode()).hexdigest()
