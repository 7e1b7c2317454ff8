"""An operator, an account and a user of NATS as `nsc` would make them (JWT of `ed25519-nkey`)."""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX_OF_SEED = 18 << 3
KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}


def _text(raw: bytes) -> str:
    whole = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(whole).decode().rstrip("=")


def _part(value: object) -> str:
    return _bytes(json.dumps(value, separators=(",", ":")).encode())


def _bytes(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


@dataclass(frozen=True)
class Identity:
    """A key of one kind."""

    kind: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> str:
        """Return its name."""
        return _text(bytes([KINDS[self.kind]]) + self.key.public_key().public_bytes_raw())

    @property
    def seed(self) -> str:
        """Return its secret, as a file of credentials has it."""
        kind = KINDS[self.kind]
        first = PREFIX_OF_SEED | kind >> 5, (kind & 31) << 3
        return _text(bytes(first) + self.key.private_bytes_raw())

    def vouch(self, other: "Identity", **claims: object) -> str:
        """Return a JWT that says that the other is known to this one."""
        body = {
            "iat": 1_700_000_000,
            "iss": self.public,
            "name": other.kind,
            "sub": other.public,
            "nats": {**claims, "type": other.kind, "version": 2},
        }
        digest = hashlib.sha256(json.dumps(body).encode()).digest()
        body["jti"] = base64.b32encode(digest).decode().rstrip("=")
        signed = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
        return f"{signed}.{_bytes(self.key.sign(signed.encode()))}"


def credentials_file(jwt: str, seed: str) -> str:
    """Return what `nsc generate creds` prints."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
