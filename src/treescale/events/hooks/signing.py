"""Signatures of a delivery, made anew for each attempt. Pure.

`webhook-id`, `-timestamp` and `-signature` are those of Standard Webhooks: HMAC-SHA256 of
`id.timestamp.body` by the decoded part of a secret `whsec_…` (any other secret counts as its own
bytes), one for each secret that is valid. `X-Hub-Signature-256` and `X-Signature` are the HMAC of
the body alone by the secret's text, for receivers that know those: of the newest secret.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from hmac import new as hmac
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 24
"""Of a secret that is made here; the standard asks for 24 to 64."""


def secret_text(chance: bytes) -> str:
    """Return a secret of random bytes."""
    return PREFIX + b64encode(chance).decode()


def key_of(secret: str) -> bytes:
    """Return what Standard Webhooks signs with."""
    if secret.startswith(PREFIX):
        text = secret.removeprefix(PREFIX)
        try:
            key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if key:
            return key
    return secret.encode()


def signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """Return one signature of the standard, with its version."""
    signed = b".".join((webhook_id.encode(), str(timestamp).encode(), body))
    return "v1," + b64encode(hmac(key_of(secret), signed, sha256).digest()).decode()


def signed_headers(
    secrets: Sequence[str], webhook_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the headers of an attempt at `timestamp` (seconds since the epoch), newest first.

    Without a secret nothing is signed.
    """
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp)}
    if not secrets:
        return headers
    signatures = (signature(secret, webhook_id, timestamp, body) for secret in secrets)
    of_body = "sha256=" + hmac(secrets[0].encode(), body, sha256).hexdigest()
    return {
        **headers,
        "webhook-signature": " ".join(signatures),
        "X-Hub-Signature-256": of_body,
        "X-Signature": of_body,
    }
