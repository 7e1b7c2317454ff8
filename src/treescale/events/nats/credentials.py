"""Who we are to NATS: a file of credentials as `nsc` writes it, and the signature it asks for.

The file has a JWT, and the seed of an Ed25519 key in NATS's base32 (nats-io/nkeys): two bytes that
say whose seed it is, 32 bytes of seed, two of CRC-16.
"""

import base64
import binascii
import re
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from treescale.errors import SettingInvalid

_PART: Final = r"-+BEGIN {0}-+\s+(\S+)\s+-+END {0}-+"
_JWT: Final = re.compile(_PART.format("NATS USER JWT"))
_SEED: Final = re.compile(_PART.format("USER NKEY SEED"))
FILE_BYTES_MAX: Final = 64 * 1024
PREFIX_BYTES: Final = 2
SEED_BYTES: Final = 32
CRC_BYTES: Final = 2
CRC_START: Final = 0


class Credentials:
    """A JWT and the key that proves it ours."""

    def __init__(self, jwt: str, key: Ed25519PrivateKey) -> None:
        self._jwt = jwt
        self._key = key

    def jwt(self) -> bytes:
        """Return who we say we are."""
        return self._jwt.encode()

    def sign(self, nonce: str) -> bytes:
        """Return the signature of what the server has sent, in base64."""
        return base64.b64encode(self._key.sign(nonce.encode()))


def read_credentials(path: str) -> Credentials:
    """Return what is in the file; raises SettingInvalid, which shows none of it."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingInvalid(f"nats_credentials: cannot read {path}: {why}") from None
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        raise SettingInvalid(
            f"nats_credentials: {path} has no user JWT and seed: name a file that `nsc` has made"
        )
    return Credentials(jwt[1], _key(seed[1], path))


def _key(text: str, path: str) -> Ed25519PrivateKey:
    wrong = SettingInvalid(f"nats_credentials: the seed in {path} is not whole")
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except binascii.Error:
        raise wrong from None
    body, crc = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    if len(body) != PREFIX_BYTES + SEED_BYTES:
        raise wrong
    if binascii.crc_hqx(body, CRC_START) != int.from_bytes(crc, "little"):
        raise wrong
    return Ed25519PrivateKey.from_private_bytes(body[PREFIX_BYTES:])
