"""Access tokens and robots' secrets as text: a prefix, 256 random bits, a checksum. Pure.

The bits come in as an argument. The prefix lets scanners of leaked secrets find them; the checksum
lets us refuse a mangled one without asking the database. Only the SHA-256 of the text is ever kept:
at 256 bits of entropy a plain hash cannot be searched (OWASP ASVS 5.0, 6.5.2), so no slow hash is
needed on each request.
"""

import base64
import hashlib
import hmac
import re
import zlib
from typing import Final

PREFIX: Final = "ts_"
ROBOT_PREFIX: Final = "tsr_"
RANDOM_BYTES: Final = 32
_REST: Final = re.compile(r"[A-Za-z0-9_-]{43}[A-Za-z0-9_-]{6}")
_CHECKSUM_CHARACTERS: Final = 6


def access_token_text(random: bytes) -> str:
    """Return the access token made of these 32 random bytes."""
    return _text(PREFIX, random)


def robot_secret_text(random: bytes) -> str:
    """Return the robot's secret made of these 32 random bytes."""
    return _text(ROBOT_PREFIX, random)


def is_access_token(text: str) -> bool:
    """Return whether `text` has the form of an access token; says nothing of its being valid."""
    return _has_form(PREFIX, text)


def is_robot_secret(text: str) -> bool:
    """Return whether `text` has the form of a robot's secret; says nothing of its being valid."""
    return _has_form(ROBOT_PREFIX, text)


def secret_sha256(text: str) -> str:
    """Return the hash, in hex, under which a token is kept and found."""
    return hashlib.sha256(text.encode()).hexdigest()


def _text(prefix: str, random: bytes) -> str:
    assert len(random) == RANDOM_BYTES
    body = prefix + _base64url(random)
    return body + _checksum(body)


def _has_form(prefix: str, text: str) -> bool:
    if not text.startswith(prefix) or _REST.fullmatch(text, len(prefix)) is None:
        return False
    body, checksum = text[:-_CHECKSUM_CHARACTERS], text[-_CHECKSUM_CHARACTERS:]
    return hmac.compare_digest(_checksum(body), checksum)


def _checksum(body: str) -> str:
    return _base64url(zlib.crc32(body.encode()).to_bytes(4, "big"))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
