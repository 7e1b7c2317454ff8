"""Manifests: what is read out of one before it is kept, byte for byte (OCI Image Spec)."""

from dataclasses import dataclass
from enum import StrEnum


class ReferenceKind(StrEnum):
    """What a manifest's descriptor points at."""

    BLOB = "blob"
    MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Reference:
    """Something a manifest refers to. A `required` one must exist when the manifest is put."""

    digest: str
    kind: ReferenceKind
    required: bool


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """What the registry needs to know of a manifest; its bytes are kept apart, untouched.

    `artifact_type` is already what a referrers list shows: the manifest's own, else its config's
    media type, None for an index without one. `subject` is a digest.
    """

    media_type: str
    references: tuple[Reference, ...]
    subject: str | None
    artifact_type: str | None
    annotations: dict[str, str]
