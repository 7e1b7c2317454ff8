"""ID tokens: what an issuer signed is read, and nothing that anybody else made."""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.id_tokens import EC_KEY, RSA_KEY, Maker, jwk, jwks, part
from tests.tables import each_row
from treescale.auth.id_tokens import (
    CHARACTERS_MAX,
    LEEWAY_SECONDS,
    LIFETIME_SECONDS_MAX,
    Expected,
    is_jwt,
    look,
    parse_jwks,
    verify_id_token,
)
from treescale.errors import IdTokenInvalid, IssuerKeysInvalid

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "https://registry.example"
EXPECTED = Expected(ISSUER, (AUDIENCE, "registry.example"))
KEYS = parse_jwks(jwks(jwk(RSA_KEY, "k1"), jwk(EC_KEY, "e1")))
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def maker(**more: Any) -> Maker:
    return Maker(ISSUER, NOW, **more)


def refused(token: str, *, now: float = NOW, expected: Expected = EXPECTED) -> str:
    with pytest.raises(IdTokenInvalid) as caught:
        verify_id_token(token, KEYS, expected, now)
    return str(caught.value)


@each_row("audience", [AUDIENCE, "registry.example", [AUDIENCE], ["other", AUDIENCE]])
def test_what_the_issuer_signed_is_read(audience: object) -> None:
    for one in (maker(), maker(private=EC_KEY, algorithm="ES256", key_id="e1")):
        found = verify_id_token(one.token(aud=audience, ref="main"), KEYS, EXPECTED, NOW)
        assert (found.issuer, found.expires - found.issued) == (ISSUER, 300)
        assert found.subject == found.claims["sub"]
        assert found.claims["ref"] == "main"


def test_a_token_without_kid_is_of_the_only_key() -> None:
    token = maker(key_id=None).token()
    assert verify_id_token(token, KEYS, EXPECTED, NOW).issuer == ISSUER
    two = parse_jwks(jwks(jwk(RSA_KEY, "k1"), jwk(OTHER, "k2")))
    with pytest.raises(IdTokenInvalid, match="none of the keys"):
        verify_id_token(token, two, EXPECTED, NOW)


@each_row(
    ("claims", "why"),
    [
        ({"iss": f"{ISSUER}/"}, "not of the issuer"),
        ({"iss": ISSUER.upper()}, "not of the issuer"),
        ({"iss": None}, "names no issuer"),
        ({"iss": [ISSUER]}, "names no issuer"),
        ({"iss": ISSUER + "\0"}, "names no issuer"),
        ({"iss": ISSUER + "é"}, "names no issuer"),
        ({"aud": "https://other.example"}, "another audience"),
        ({"aud": f"{AUDIENCE}/"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": [AUDIENCE.encode().hex()] * 17}, "names no audience"),
        ({"aud": None}, "names no audience"),
        ({"aud": {AUDIENCE: 1}}, "names no audience"),
        ({"sub": None}, "names no subject"),
        ({"sub": ""}, "names no subject"),
        ({"sub": 7}, "names no subject"),
        ({"sub": "a\0b"}, "names no subject"),
        ({"exp": None}, "no time exp"),
        ({"exp": "soon"}, "no time exp"),
        ({"exp": True}, "no time exp"),
        ({"iat": None}, "no time iat"),
        ({"iat": NOW + 3600, "exp": NOW + 3700}, "not valid yet"),
        ({"nbf": NOW + 3600}, "not valid yet"),
        ({"exp": NOW - 3600, "iat": NOW - 3700}, "has expired"),
        ({"exp": NOW + LIFETIME_SECONDS_MAX + 1}, "good for more"),
    ],
)
def test_a_claim_that_is_wrong_is_refused(claims: dict[str, Any], why: str) -> None:
    said = refused(maker().token(**claims))
    assert why in said
    assert "refs/heads" not in said


def test_clocks_may_be_a_minute_apart() -> None:
    token = maker().token()
    for now in (NOW - LEEWAY_SECONDS, NOW + 300 + LEEWAY_SECONDS - 1):
        assert verify_id_token(token, KEYS, EXPECTED, now).issuer == ISSUER
    assert "not valid yet" in refused(token, now=NOW - LEEWAY_SECONDS - 1)
    assert "has expired" in refused(token, now=NOW + 300 + LEEWAY_SECONDS)


def hs256(secret: bytes) -> str:
    """Return a token signed with what is public, as if it were a secret (RFC 8725, 2.1)."""
    signed = f"{part({'alg': 'HS256', 'kid': 'k1'})}.{part({'iss': ISSUER, 'aud': AUDIENCE})}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


PUBLIC_PEM = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
CLAIMS = {"iss": ISSUER, "aud": AUDIENCE, "sub": "s", "iat": NOW, "exp": NOW + 300}
HEADER = {"alg": "RS256", "kid": "k1"}
BY_OTHER = replace(maker(), private=OTHER)


@each_row(
    ("token", "why"),
    [
        (f"{part({'alg': 'none'})}.{part(CLAIMS)}.", "must be signed with"),
        (hs256(PUBLIC_PEM), "must be signed with"),
        (maker().raw({**HEADER, "alg": "RS512"}, CLAIMS), "must be signed with"),
        (maker().raw({**HEADER, "alg": ["RS256"]}, CLAIMS), "must be signed with"),
        (maker().raw({**HEADER, "alg": "ES256"}, CLAIMS), "none of the keys"),
        (maker().raw({**HEADER, "kid": "e1"}, CLAIMS), "none of the keys"),
        (maker().raw({**HEADER, "kid": "../../k1"}, CLAIMS), "none of the keys"),
        (maker().raw({**HEADER, "kid": "k1' OR '1'='1"}, CLAIMS), "none of the keys"),
        (maker().raw({**HEADER, "kid": 1}, CLAIMS), "kid is no text"),
        (maker().raw({**HEADER, "jwk": jwk(OTHER, "k1")}, CLAIMS), "what is not taken"),
        (maker().raw({**HEADER, "jku": "https://evil.example"}, CLAIMS), "what is not taken"),
        (maker().raw({**HEADER, "x5c": []}, CLAIMS), "what is not taken"),
        (maker().raw({**HEADER, "crit": ["b64"], "b64": False}, CLAIMS), "what is not taken"),
        (BY_OTHER.token(), "signature is wrong"),
        (maker().token()[:-4] + "AAAA", "signature is wrong"),
        (maker().raw(HEADER, json.dumps(CLAIMS)[:-1] + f', "iss": "{ISSUER}"}}'), "alike"),
        (maker().raw('{"alg": "none", "alg": "RS256", "kid": "k1"}', CLAIMS), "alike"),
        (maker().raw(HEADER, '{"iss": "a", "exp": NaN}'), "alike"),
        (maker().raw(HEADER, "[" * 5000), "alike"),
        (maker().raw(HEADER, b'{"iss": "\xff"}'), "alike"),
        ("eyJ.eyJ.", "alike"),
        ("password", "form of a JWT"),
        ("eyJhbGciOiJSUzI1NiJ9", "form of a JWT"),
        (maker().token() + ".x", "form of a JWT"),
        (maker().token() + "\n", "form of a JWT"),
        ("eyJ" + "A" * 1024 * 1024 + ".A.A", "longer than"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_forgery_is_refused(token: str, why: str) -> None:
    assert why in refused(token)


def test_the_signature_is_what_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the look at it, anybody's token passes."""
    assert "signature is wrong" in refused(BY_OTHER.token())
    monkeypatch.setattr("jwt.PyJWS.decode_complete", lambda *_, **__: {})
    assert verify_id_token(BY_OTHER.token(), KEYS, EXPECTED, NOW).issuer == ISSUER


@given(
    st.text(max_size=200) | st.builds("eyJ{}.{}.{}".format, *[st.text("AQgw_-.", max_size=40)] * 3)
)
def test_any_text_gives_a_refusal(text: str) -> None:
    with pytest.raises(IdTokenInvalid):
        verify_id_token(text, KEYS, EXPECTED, NOW)
    with pytest.raises(IdTokenInvalid):
        look(text)


def test_a_token_is_known_again_whatever_its_signature_looks_like() -> None:
    """Of an ES256 signature (r, s) there is a twin (r, -s): it must be no other token."""
    one = maker(private=EC_KEY, algorithm="ES256", key_id="e1")
    for jti in ("j", None):
        claims = {**CLAIMS} | ({} if jti is None else {"jti": jti})
        tokens = [one.raw({"alg": "ES256", "kid": "e1"}, claims) for _ in range(2)]
        found = {verify_id_token(each, KEYS, EXPECTED, NOW).fingerprint for each in tokens}
        assert (tokens[0] == tokens[1], len(found)) == (False, 1)
    others = {
        verify_id_token(maker().token(jti=jti), KEYS, EXPECTED, NOW).fingerprint
        for jti in ("j", "k", 7)
    }
    assert len(others) == 3


def test_a_jwt_is_told_at_sight() -> None:
    assert is_jwt(maker().token())
    for text in ("", "ts_abc", "a.b.c", "eyJ", "eyJ.A", "eyJ.A.A.A", " eyJ.A.A"):
        assert not is_jwt(text)
    assert len(maker().token()) < CHARACTERS_MAX
    said = look(maker().token())
    assert (said.issuer, said.key_id, said.algorithm) == (ISSUER, "k1", "RS256")


SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  that is why
LARGE_CURVE = ec.generate_private_key(ec.SECP384R1())


@each_row(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [1, null, "a"]}',
        b'{"keys": [], "keys": []}',
        jwks(*[jwk(EC_KEY, "e1")] * 65),
        jwks(jwk(SMALL, "k1")),
        jwks(jwk(LARGE_CURVE, "k1")),
        jwks({"kty": "oct", "k": "AAAA", "kid": "k1"}),
        jwks(jwk(RSA_KEY, "k1", use="enc")),
        jwks(jwk(RSA_KEY, "k1", alg="RS512")),
        jwks(jwk(RSA_KEY, "k1", d="AQAB")),
        jwks(jwk(RSA_KEY, None, kid=7)),
        jwks(jwk(RSA_KEY, "k1", n="A" * 100_000)),
        jwks(jwk(RSA_KEY, "k1", n=7)),
        jwks(jwk(RSA_KEY, "k1", n="!")),
        jwks(jwk(EC_KEY, "e1", x="AAAA")),
        jwks(jwk(EC_KEY, "e1", x=None)),
        jwks(jwk(EC_KEY, "e1", y=jwk(EC_KEY, "e1")["x"])),
    ],
    ids=lambda value: value[:60],
)
def test_a_set_without_a_key_that_is_taken_is_none(payload: bytes) -> None:
    with pytest.raises(IssuerKeysInvalid):
        parse_jwks(payload)


def test_keys_of_other_kinds_are_passed_over() -> None:
    keys = parse_jwks(jwks({"kty": "OKP"}, jwk(SMALL, "s"), jwk(RSA_KEY, "k1", alg="RS256")))
    assert [one.key_id for one in keys.keys] == ["k1"]
    assert (keys.knows("k1"), keys.knows("s"), keys.knows(None)) == (True, False, True)
