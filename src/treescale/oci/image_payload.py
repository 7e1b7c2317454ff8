"""What the event of a pushed image says of it: sizes, and what an index has inside. Pure.

So one event tells of a whole image: its parts were pushed before, by digest, and are told of once.
Whoever pushes chooses the words: what is longer than any that means something is left out, as an
event is kept, queued for each follower, and stored for each webhook.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from treescale.oci.manifests import Reference, ReferenceKind

PARTS_MAX: Final = 64
"""Of an index that are named."""
WORD_CHARACTERS_MAX: Final = 32
"""Of an operating system, an architecture, a variant."""
TYPE_CHARACTERS_MAX: Final = 255
"""Of a media type (RFC 6838, 4.2: 127 on each side of its slash)."""
_UNKNOWN: Final = "unknown"
_INDEXES: Final = frozenset(
    {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    }
)


class Pushed(Protocol):
    """A manifest, as far as it is told of."""

    @property
    def media_type(self) -> str:
        """Return what it is."""
        ...

    @property
    def payload(self) -> bytes:
        """Return its bytes."""
        ...

    @property
    def artifact_type(self) -> str | None:
        """Return what kind of artifact it says it is, None when it says nothing."""
        ...

    @property
    def subject(self) -> str | None:
        """Return the digest of what it is about, None when it is about nothing."""
        ...


class _Platform(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Part(msgspec.Struct, frozen=True):
    digest: str
    size: int = 0
    platform: _Platform | None = None


class _Index(msgspec.Struct, frozen=True):
    manifests: list[_Part] | None = None


_DECODER: Final = msgspec.json.Decoder(_Index)


def image_payload(manifest: Pushed, references: Sequence[Reference]) -> dict[str, object]:
    """Return what is told of a manifest; `size` is its own, `image_size` with what it refers to."""
    told: dict[str, object] = {
        "media_type": manifest.media_type,
        "size": len(manifest.payload),
    }
    if manifest.artifact_type is not None and len(manifest.artifact_type) <= TYPE_CHARACTERS_MAX:
        told["artifact_type"] = manifest.artifact_type
    if manifest.subject is not None:
        told["subject"] = manifest.subject
    if manifest.media_type in _INDEXES:
        return told | _of_index(manifest.payload)
    blobs = {each.digest: each.size or 0 for each in references if each.kind is ReferenceKind.BLOB}
    if blobs:
        told["image_size"] = len(manifest.payload) + sum(blobs.values())
    return told


def _of_index(payload: bytes) -> dict[str, object]:
    """Return what an index has inside; what cannot be read as one has nothing."""
    try:
        parts = _DECODER.decode(payload).manifests or []
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    told = [_of_part(part) for part in parts[:PARTS_MAX]]
    platforms = sorted({str(each["platform"]) for each in told if "platform" in each})
    found: dict[str, object] = {"manifests": told} if told else {}
    return found | ({"platforms": platforms} if platforms else {})


def _of_part(part: _Part) -> dict[str, object]:
    told: dict[str, object] = {"digest": part.digest, "size": part.size}
    platform = part.platform
    if platform is not None and platform.os not in ("", _UNKNOWN):  # an attestation has none
        words = (platform.os, platform.architecture, platform.variant)
        if all(is_word(word) for word in words):
            told["platform"] = "/".join(word for word in words if word)
    return told


def is_word(text: str) -> bool:
    """Return whether a text is as short and plain as what platforms are called by."""
    return len(text) <= WORD_CHARACTERS_MAX and text.isascii() and (text.isprintable() or not text)
