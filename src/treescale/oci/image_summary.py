"""What a manifest says of an image, as people look at it: platforms, layers, attestations. Pure.

Whoever pushed it chose every word. It was checked where the registry depends on it
(`oci.manifests`); what is of another form here than the specification has it is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from treescale.oci.image_payload import is_word
from treescale.oci.manifests import DOCKER_LIST, OCI_INDEX

INDEXES: Final = frozenset({DOCKER_LIST, OCI_INDEX})
HELM_CONFIG: Final = "application/vnd.cncf.helm.config.v1+json"
IMAGE_CONFIGS: Final = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)
_ATTESTS: Final = "vnd.docker.reference.type"
_ATTESTATION: Final = "attestation-manifest"
_ATTESTED: Final = "vnd.docker.reference.digest"
_PREDICATE: Final = "in-toto.io/predicate-type"
_UNKNOWN: Final = "unknown"
PROVENANCE: Final = "provenance"
SBOM: Final = "sbom"
SIGNATURE: Final = "signature"
_WORDS: Final = (
    (SBOM, ("spdx", "cyclonedx", "syft", "sbom")),
    (PROVENANCE, ("slsa", "provenance", "in-toto", "intoto")),
    (SIGNATURE, ("cosign", "signature", "sigstore", "notary", "simplesigning", "pgp")),
)
_COSIGN: Final = {"sig": SIGNATURE, "sbom": SBOM, "att": PROVENANCE}


class _Platform(msgspec.Struct, frozen=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class _Descriptor(msgspec.Struct, frozen=True, rename={"media_type": "mediaType"}):
    digest: str = ""
    size: int = 0
    media_type: str = ""
    annotations: dict[str, str] | None = None
    platform: _Platform | None = None


class _Document(msgspec.Struct, frozen=True, rename={"artifact_type": "artifactType"}):
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    blobs: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    artifact_type: str | None = None


_DECODER: Final = msgspec.json.Decoder(_Document)


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob that an image is made of."""

    digest: str
    size: int
    media_type: str
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A manifest in an index."""

    digest: str
    size: int
    media_type: str
    platform: str
    """As `linux/arm64/v8`; "" where it says none, or `unknown`."""
    attests: str
    """The digest of what it attests something of; "" for an image."""
    is_attestation: bool


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """A manifest, or an index."""

    is_index: bool
    config: Layer | None = None
    layers: Sequence[Layer] = ()
    parts: Sequence[Part] = ()

    @property
    def size(self) -> int:
        """Return the bytes of config and layers, each once, as the manifest says them."""
        return sum(self.blobs.values())

    @property
    def blobs(self) -> Mapping[str, int]:
        """Return the bytes of each, by digest."""
        found = {one.digest: one.size for one in self.layers}
        return found if self.config is None else found | {self.config.digest: self.config.size}

    @property
    def platforms(self) -> Sequence[str]:
        """Return those of an index, in its order, each once."""
        return list(dict.fromkeys(one.platform for one in self.parts if one.platform))

    @property
    def said(self) -> frozenset[str]:
        """Return what an attestation has: `provenance`, `sbom`."""
        predicates = [one.annotations.get(_PREDICATE, "") for one in self.layers]
        return frozenset(what for one in predicates if (what := what_says(one)))


def summary_of(payload: bytes, media_type: str) -> ImageSummary:
    """Return what a manifest says."""
    is_index = media_type in INDEXES
    try:
        document = _DECODER.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ImageSummary(is_index)
    if is_index:
        return ImageSummary(is_index, parts=[_part(one) for one in document.manifests or ()])
    config = None if document.config is None else _layer(document.config)
    layers = [_layer(one) for one in document.layers or document.blobs or ()]
    return ImageSummary(is_index, config, layers)


def what_says(kind: str) -> str:
    """Return what an artifact of this type is of an image, "" for anything else."""
    lower = kind.lower()
    return next((what for what, words in _WORDS if any(one in lower for one in words)), "")


def cosign_tags(digest: str) -> Mapping[str, str]:
    """Return the tags under which cosign keeps what it says of an image, and what each is."""
    base = digest.replace(":", "-", 1)
    return {f"{base}.{end}": what for end, what in _COSIGN.items()}


def platform_of(*words: str) -> str:
    """Return a platform's words as one; "" where it is unknown, or no platform is called so."""
    is_one = words[0] not in ("", _UNKNOWN) and all(is_word(word) for word in words)
    return "/".join(word for word in words if word) if is_one else ""


def _layer(one: _Descriptor) -> Layer:
    return Layer(one.digest, max(0, one.size), one.media_type, one.annotations or {})


def _part(one: _Descriptor) -> Part:
    annotations = one.annotations or {}
    is_attestation = annotations.get(_ATTESTS) == _ATTESTATION
    attests = annotations.get(_ATTESTED, "") if is_attestation else ""
    platform = "" if is_attestation else _platform(one.platform)
    return Part(one.digest, max(0, one.size), one.media_type, platform, attests, is_attestation)


def _platform(platform: _Platform | None) -> str:
    return (
        ""
        if platform is None
        else platform_of(platform.os, platform.architecture, platform.variant)
    )
