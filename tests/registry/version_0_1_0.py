"""Bearer tokens as version 0.1.0 makes and reads them: its claims, leeway and rule of times."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import jwt
import msgspec

from treescale.auth.jwt import KeyPair

LEEWAY_SECONDS: Final = 10
CHARACTERS_MAX: Final = 7 * 1024
ACCESS_SECONDS: Final = 300
REFRESH_SECONDS: Final = 90 * 86_400


class _Repository(msgspec.Struct, frozen=True, tag_field="type", tag="repository"):
    name: str
    actions: list[Literal["pull", "push", "delete"]]


class _Registry(msgspec.Struct, frozen=True, tag_field="type", tag="registry"):
    name: Literal["catalog"] = "catalog"
    actions: tuple[Literal["*"]] = ("*",)


class Payload(msgspec.Struct, frozen=True):
    """Its claims."""

    iss: str
    aud: str
    sub: str
    tid: str
    typ: Literal["access", "refresh"]
    iat: float
    nbf: float
    exp: float
    auth_time: float
    allow: list[Literal["pull", "push", "delete"]]
    glob: str
    until: float | None = None
    access: list[_Repository | _Registry] = []
    proof: str = ""


def made(pair: KeyPair, identity: str, kind: str, now: float, **claims: Any) -> str:
    """Return a token as it signs it, of a user who was proven just now."""
    lasts = ACCESS_SECONDS if kind == "access" else REFRESH_SECONDS
    payload = {
        "iss": identity,
        "aud": f"{identity}/{kind}",
        "sub": "alice",
        "tid": "",
        "typ": kind,
        "iat": now,
        "nbf": now,
        "exp": now + lasts,
        "auth_time": now,
        "allow": ["pull", "push", "delete"],
        "glob": "*",
        "until": None,
        "access": [{"type": "repository", "name": "alice/app", "actions": ["pull", "push"]}],
        "proof": "",
    }
    return jwt.encode(payload | claims, pair.private, "EdDSA", headers={"kid": pair.key_id})


def read(
    token: str,
    pair: KeyPair,
    identity: str,
    now: float,
    revoked: Mapping[str, float],
) -> Payload:
    """Return what it makes of a token of ours; raises when it refuses it."""
    assert len(token) <= CHARACTERS_MAX
    header = jwt.get_unverified_header(token)
    assert header.keys() <= {"alg", "kid", "typ"}
    kind = msgspec.json.decode(jwt.utils.base64url_decode(token.split(".")[1]))["typ"]
    raw = jwt.decode(
        token,
        pair.public,
        algorithms=["EdDSA"],
        issuer=identity,
        audience=f"{identity}/{kind}",
        options={
            "require": ["iss", "aud", "sub", "iat", "nbf", "exp"],
            "strict_aud": True,
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        },
    )
    payload = msgspec.convert(raw, Payload)
    assert payload.iat <= now + LEEWAY_SECONDS, "not valid yet"
    assert payload.exp + LEEWAY_SECONDS > now, "expired"
    subjects = [f"user:{payload.sub}", *([f"token:{payload.tid}"] if payload.tid else [])]
    assert all(revoked.get(one, -1.0) < payload.auth_time for one in subjects), "revoked"
    return payload
