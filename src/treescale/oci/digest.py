"""Content digests (OCI Image Spec, descriptor.md#digests): sha256 and sha512, nothing else."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Protocol

from treescale.errors import DigestInvalid

HEX_LENGTHS: Final = {"sha256": 64, "sha512": 128}
DIGEST_RULE: Final = "a digest is sha256: with 64, or sha512: with 128, lower-case hex digits"
_PATTERN: Final = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")
_ELSEWHERE: Final = re.compile(
    r"(?!(?i:sha256|sha512):)[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,512}"
)
"""A digest as clients know it (distribution/reference), by an algorithm that is not ours."""


class Hasher(Protocol):
    """What hashlib's objects offer, as far as it is used here."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Add data to what is hashed."""
        ...

    def hexdigest(self) -> str:
        """Return the digest of all data so far in lower-case hex."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """An algorithm and a value in lower-case hex; only `parse_digest` and `digest_of` make one."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        """Return the form the wire uses: `sha256:…`."""
        return f"{self.algorithm}:{self.hex}"


def is_digest(text: str) -> bool:
    """Return whether `text` spells a digest that `parse_digest` accepts."""
    return _PATTERN.fullmatch(text) is not None


def is_foreign_digest(text: str) -> bool:
    """Return whether `text` is a digest by an algorithm we do not keep: nothing here has it."""
    return _ELSEWHERE.fullmatch(text) is not None


def parse_digest(text: str) -> Digest:
    """Return the digest that `text` spells; anything else raises DigestInvalid."""
    if not is_digest(text):
        raise DigestInvalid(DIGEST_RULE)
    algorithm, _, value = text.partition(":")
    return Digest(algorithm, value)


def new_hasher(algorithm: str) -> Hasher:
    """Return a fresh hash of `algorithm`; raises DigestInvalid when it is not one we know."""
    if algorithm not in HEX_LENGTHS:
        raise DigestInvalid(f"digest-algorithm must be one of {', '.join(HEX_LENGTHS)}")
    return hashlib.new(algorithm)


def digest_of(data: bytes | memoryview, algorithm: str = "sha256") -> Digest:
    """Return the digest of `data`."""
    hasher = new_hasher(algorithm)
    hasher.update(data)
    return Digest(algorithm, hasher.hexdigest())
