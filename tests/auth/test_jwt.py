"""Signed tokens: what we sign is read back, and no forgery is (faults.md S05, S06, S07)."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from tests.tables import each_row
from treescale.auth.jwt import (
    ACCESS_SECONDS,
    CHARACTERS_MAX,
    LEEWAY_SECONDS,
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
from treescale.auth.policy import Principal, operator
from treescale.auth.scopes import Access, Action
from treescale.errors import CredentialsInvalid, Failed

NOW = 1_800_000_000.0
IDENTITY = "treescale:test"


def key(seed: int = 1, *, not_before: float = 0, retire_at: float = 1e11) -> KeyPair:
    return load_key_pair(
        new_private_pem(bytes([seed]) * 32), not_before=not_before, retire_at=retire_at
    )


KEY = key()
KEYS = {KEY.key_id: KEY}
PRINCIPAL = Principal("alice", "t1", frozenset({Action.PULL}), "alice/*", proven=NOW - 1)
CLAIMS = BearerClaims(
    TokenKind.ACCESS,
    PRINCIPAL,
    (Access("alice/app", frozenset({Action.PULL})),),
    NOW,
    NOW + ACCESS_SECONDS,
)
TOKEN = sign(KEY, IDENTITY, CLAIMS)


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def payload(**changes: Any) -> dict[str, Any]:
    return {**jwt.decode(TOKEN, options={"verify_signature": False}), **changes}


def resigned(header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token by our own key, with other claims or headers."""
    headers = {"kid": KEY.key_id, **(header or {})}
    document = json.dumps(payload(**changes)).encode()
    return jwt.PyJWS().encode(document, KEY.private, "EdDSA", headers=headers)


def read(token: str, kind: TokenKind = TokenKind.ACCESS) -> BearerClaims:
    return verify(token, KEYS, IDENTITY, kind)


def test_what_is_signed_is_read_back() -> None:
    found = read(TOKEN)
    assert found == CLAIMS
    assert found.principal.proven == PRINCIPAL.proven
    assert key_id_of(TOKEN) == KEY.key_id
    assert read(resigned()) == CLAIMS, "the tests' own signing is like ours"


def test_the_wire_form_is_the_docker_specifications() -> None:
    claims = payload()
    assert claims["access"] == [{"type": "repository", "name": "alice/app", "actions": ["pull"]}]
    assert (claims["sub"], claims["tid"]) == ("alice", "t1")
    assert claims["exp"] - claims["iat"] == ACCESS_SECONDS == 300


def test_a_token_with_a_key_of_its_own_is_refused() -> None:
    """S05: the key that a token brings along counts for nothing."""
    forger = ed25519.Ed25519PrivateKey.generate()
    raw = forger.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    own = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode().rstrip("=")}
    for extra in (
        {},
        {"jwk": own},
        {"jku": "http://127.0.0.1/keys"},
        {"x5u": "http://127.0.0.1/certificate"},
        {"x5c": ["AAAA"]},
        {"x5t": "AAAA"},
    ):
        token = jwt.encode(payload(), forger, "EdDSA", headers={"kid": KEY.key_id, **extra})
        with pytest.raises(CredentialsInvalid):
            read(token)


@each_row("extra", ["jwk", "jku", "x5u", "x5c", "x5t", "crit", "cty", "b64", "zip"])
def test_no_other_header_is_let_through_even_when_we_signed_it(extra: str) -> None:
    """S07 among them: `crit` asks for something we do not know."""
    value: object = {"crit": ["x"], "b64": False}.get(extra, "x")
    with pytest.raises(CredentialsInvalid):
        read(resigned({extra: value}))


def forms_of_the_public_key() -> list[bytes]:
    raw, openssh = serialization.Encoding.Raw, serialization.Encoding.OpenSSH
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public = KEY.public
    return [
        public.public_bytes(raw, serialization.PublicFormat.Raw),
        public.public_bytes(pem, info),
        public.public_bytes(der, info),
        public.public_bytes(openssh, serialization.PublicFormat.OpenSSH),
        b"",
    ]


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_not_a_secret(algorithm: str) -> None:
    """S06: our public key, as the key of an HMAC."""
    for secret in forms_of_the_public_key():
        signed = f"{part({'alg': algorithm, 'kid': KEY.key_id})}.{part(payload())}"
        name = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[algorithm]
        mac = hmac.digest(secret, signed.encode(), getattr(hashlib, name))
        token = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        with pytest.raises(CredentialsInvalid):
            read(token)


@each_row("algorithm", ["none", "None", "NONE", "", "eddsa", "ES256", 7, None])
def test_no_signature_and_no_other_algorithm(algorithm: object) -> None:
    header = part({"alg": algorithm, "kid": KEY.key_id, "typ": "JWT"})
    for signature in ("", TOKEN.rpartition(".")[2]):
        with pytest.raises(CredentialsInvalid):
            read(f"{header}.{part(payload())}.{signature}")


def test_keys_of_other_kinds_are_refused() -> None:
    for private, algorithm in (
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
    ):
        token = jwt.encode(payload(), private, algorithm, headers={"kid": KEY.key_id})
        with pytest.raises(CredentialsInvalid):
            read(token)


@each_row("key_id", ["", "unknown", "../../etc/passwd", None, 5, ["a"], {}])
def test_an_unknown_key_is_refused(key_id: object) -> None:
    header = part({"alg": "EdDSA", "kid": key_id})
    with pytest.raises(CredentialsInvalid):
        read(f"{header}.{TOKEN.partition('.')[2]}")
    with pytest.raises(CredentialsInvalid):
        verify(TOKEN, {}, IDENTITY, TokenKind.ACCESS)


@each_row(
    "changes",
    [
        {"aud": "127.0.0.1:5000"},
        {"aud": ["treescale:test/access", "other"]},
        {"aud": "treescale:other/access"},
        {"aud": "treescale:test/refresh"},
        {"aud": ""},
        {"aud": None},
        {"iss": "treescale:other"},
        {"iss": None},
        {"typ": "refresh"},
        {"typ": "admin"},
        {"sub": 5},
        {"exp": "soon"},
        {"exp": None},
        {"iat": None},
        {"nbf": None},
        {"access": "all"},
        {"access": [{"type": "repository", "name": "alice/app", "actions": ["fly"]}]},
        {"access": [{"type": "registry", "name": "catalog", "actions": ["pull"]}]},
        {"access": [{"type": "registry", "name": "everything", "actions": ["*"]}]},
        {"access": [{"type": "server", "name": "catalog", "actions": ["*"]}]},
        {"allow": ["everything"]},
    ],
)
def test_a_claim_that_is_not_ours_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CredentialsInvalid):
        read(resigned(**changes))


def test_no_token_makes_anybody_the_operator() -> None:
    assert not read(resigned(is_operator=True, operator=True)).principal.is_operator
    with pytest.raises(AssertionError):
        sign(KEY, IDENTITY, replace(CLAIMS, principal=operator("cli:root@here")))


@each_row("claim", ["iss", "aud", "sub", "tid", "typ", "iat", "nbf", "exp"])
def test_a_missing_claim_is_refused(claim: str) -> None:
    claims = payload()
    del claims[claim]
    token = jwt.encode(claims, KEY.private, "EdDSA", headers={"kid": KEY.key_id})
    with pytest.raises(CredentialsInvalid):
        read(token)


def test_refresh_and_access_tokens_do_not_pass_for_each_other() -> None:
    refresh = sign(
        KEY, IDENTITY, BearerClaims(TokenKind.REFRESH, PRINCIPAL, (), NOW, NOW + 10, proof="p")
    )
    assert read(refresh, TokenKind.REFRESH).proof == "p"
    with pytest.raises(CredentialsInvalid):
        read(refresh, TokenKind.ACCESS)
    with pytest.raises(CredentialsInvalid):
        read(TOKEN, TokenKind.REFRESH)


def test_listing_repositories_is_a_right_of_its_own() -> None:
    claims = replace(CLAIMS, catalog=True)
    token = sign(KEY, IDENTITY, claims)
    assert read(token) == claims
    entry = {"type": "registry", "name": "catalog", "actions": ["*"]}
    assert entry in jwt.decode(token, options={"verify_signature": False})["access"]
    assert not read(TOKEN).catalog


def test_times_are_compared_with_the_clock_that_is_given() -> None:
    end = NOW + ACCESS_SECONDS + LEEWAY_SECONDS
    check_times(CLAIMS, NOW)
    check_times(CLAIMS, end - 1)
    check_times(CLAIMS, NOW - LEEWAY_SECONDS)
    with pytest.raises(CredentialsInvalid, match="expired"):
        check_times(CLAIMS, end)
    with pytest.raises(CredentialsInvalid, match="not valid yet"):
        check_times(CLAIMS, NOW - LEEWAY_SECONDS - 1)
    check_times(CLAIMS, end + 3599, expired_grace_seconds=3600)
    with pytest.raises(CredentialsInvalid, match="expired"):
        check_times(CLAIMS, end + 3600, expired_grace_seconds=3600)


def test_nothing_outlives_the_access_token_behind_it() -> None:
    ends = NOW + 1000
    claims = replace(CLAIMS, principal=replace(PRINCIPAL, expires=ends))
    assert read(sign(KEY, IDENTITY, claims)) == claims
    check_times(claims, ends + LEEWAY_SECONDS - 1, expired_grace_seconds=3600)
    for grace in (3600, 0):
        with pytest.raises(CredentialsInvalid, match="expired"):
            check_times(claims, ends + LEEWAY_SECONDS, expired_grace_seconds=grace)
    with pytest.raises(CredentialsInvalid, match="expired"):
        check_times(claims, NOW + ACCESS_SECONDS + LEEWAY_SECONDS)


def test_a_retired_key_signs_nothing_that_counts() -> None:
    for retire_at, counts in ((NOW, True), (NOW - LEEWAY_SECONDS - 1, False)):
        retired = {KEY.key_id: key(retire_at=retire_at)}
        if counts:
            assert verify(TOKEN, retired, IDENTITY, TokenKind.ACCESS) == CLAIMS
        else:
            with pytest.raises(CredentialsInvalid):
                verify(TOKEN, retired, IDENTITY, TokenKind.ACCESS)


def test_too_long_a_token_is_not_looked_at() -> None:
    with pytest.raises(CredentialsInvalid, match="too long"):
        key_id_of("x" * (CHARACTERS_MAX + 1))


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_any_text_is_refused(text: str) -> None:
    for token in (text, f"{text}.{text}.{text}", f"{TOKEN}{text}x", f"{TOKEN[:40]}{text}"):
        with pytest.raises(CredentialsInvalid):
            read(token)


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_any_change_is_noticed(at: int, character: str) -> None:
    changed = TOKEN[:at] + character + TOKEN[at + 1 :]
    try:
        found = read(changed)
    except CredentialsInvalid:
        return
    # base64's last character carries unused bits: other text, same signature.
    assert found == CLAIMS


def test_deeply_nested_json_is_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 4000).decode().rstrip("=")
    for token in (f"{deep}.e30.AAAA", f"{TOKEN.partition('.')[0]}.{deep}.AAAA"):
        with pytest.raises(CredentialsInvalid):
            read(token)


@pytest.mark.parametrize("pem", ["", "not a key", new_private_pem(bytes(32))[:60]])
def test_a_key_that_cannot_be_read_is_our_fault(pem: str) -> None:
    """S08: no empty or missing key is ever taken."""
    with pytest.raises(Failed):
        load_key_pair(pem, not_before=0, retire_at=1)


def test_a_key_of_another_kind_is_our_fault() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(Failed, match="not an Ed25519 key"):
        load_key_pair(other.decode(), not_before=0, retire_at=1)


def test_other_seeds_are_other_keys() -> None:
    """S09: nothing about a key is built in."""
    assert len({key(seed).key_id for seed in range(1, 20)}) == 19
