"""Manifests: what is read out of one before it is kept, byte for byte (OCI Image Spec).

A manifest is read once, here, and the reading is what the registry acts on: which blobs must exist,
whom it refers to, how it is listed. So a document that another reader could take for something else
is refused (CVE-2021-41190): config or layers beside manifests, a `mediaType` that contradicts the
Content-Type, keys that differ from ours in case alone (Go reads those as ours). Everything else is
kept as it came: unknown fields, unknown config and layer types, `data`, a missing subject.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from treescale.errors import ManifestInvalid, TooLarge
from treescale.oci.digest import DIGEST_RULE, is_digest
from treescale.oci.strict_json import parse_object

MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
MEDIA_TYPE_CHARACTERS_MAX: Final = 255
"""RFC 6838, 4.2: 127 for the type, 127 for the subtype, and a slash."""

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
_INDEXES: Final = frozenset({DOCKER_LIST, OCI_INDEX})
_KEPT: Final = frozenset({DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, OCI_ARTIFACT})
_SCHEMA_VERSION: Final = 2
_SCHEMA1: Final = "application/vnd.docker.distribution.manifest.v1+"
_GENERIC: Final = frozenset(
    {
        "",
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",  # what curl says unless told otherwise
        "text/plain",
    }
)
_DOCUMENT_KEYS: Final = frozenset(
    {
        "annotations",
        "artifactType",
        "blobs",
        "config",
        "layers",
        "manifests",
        "mediaType",
        "schemaVersion",
        "subject",
    }
)
_DESCRIPTOR_KEYS: Final = frozenset(
    {"annotations", "artifactType", "data", "digest", "mediaType", "platform", "size", "urls"}
)
_FOLDED: Final = {key.casefold(): key for key in _DOCUMENT_KEYS | _DESCRIPTOR_KEYS}


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
    size: int | None = field(default=None, compare=False)
    """What the descriptor says of its length: no registry holds it against the bytes, and some
    builders write 0."""


@dataclass(frozen=True, slots=True)
class ParsedManifest:
    """What the registry needs to know of a manifest; its bytes are kept apart, untouched.

    `references` names each digest at most once per kind. `artifact_type` is already what a
    referrers list shows: the manifest's own, else its config's media type, None for an index
    without one. `subject` is a digest.
    """

    media_type: str
    references: tuple[Reference, ...]
    subject: str | None
    artifact_type: str | None
    annotations: dict[str, str]


class _Descriptor(NamedTuple):
    media_type: str
    digest: str
    size: int
    has_urls: bool


def parse_manifest(payload: bytes, content_type: str | None) -> ParsedManifest:
    """Return what `payload`, announced as `content_type`, says.

    Raises TooLarge over `MANIFEST_BYTES_MAX`, ManifestInvalid for all else that cannot be kept.
    """
    if len(payload) > MANIFEST_BYTES_MAX:
        raise TooLarge(f"a manifest has at most {MANIFEST_BYTES_MAX} bytes")
    document = parse_object(payload)
    _check_keys(document, _DOCUMENT_KEYS, "the manifest")
    media_type = _media_type(document, content_type)
    _check_unambiguous(document, media_type)
    subject = _subject(document)
    if media_type in _INDEXES:
        references = [_child(child) for child in _descriptors(document, "manifests")]
        artifact_type = None
    else:
        config = _config(document, media_type)
        key = "blobs" if media_type == OCI_ARTIFACT else "layers"
        layers = _descriptors(document, key)
        references = [_layer(each) for each in (*([config] if config else []), *layers)]
        artifact_type = config.media_type if config else None
    if subject is not None:
        kind = ReferenceKind.MANIFEST
        references.append(Reference(subject.digest, kind, required=False, size=subject.size))
    return ParsedManifest(
        media_type=media_type,
        references=_distinct(references),
        subject=None if subject is None else subject.digest,
        artifact_type=_text(document, "artifactType", "the manifest") or artifact_type,
        annotations=_annotations(document),
    )


def _media_type(document: dict[str, object], content_type: str | None) -> str:
    """Return what kind of manifest this is: both its own word and the sender's must agree."""
    announced = (content_type or "").partition(";")[0].strip().lower()
    stated = _text(document, "mediaType", "the manifest")
    if announced in _GENERIC:
        announced = ""
    if announced and stated and announced != stated:
        raise ManifestInvalid(
            f"the Content-Type is {announced!r} but the manifest's mediaType is {stated!r}"
        )
    version = document.get("schemaVersion")
    if version == 1 or "fsLayers" in document or announced.startswith(_SCHEMA1):
        raise ManifestInvalid(
            "Docker schema 1 is not supported: push again with Docker 1.10 or newer"
        )
    media_type = announced or stated or _guess(document)
    if media_type not in _KEPT:
        raise ManifestInvalid(
            f"{media_type!r} is no manifest type: send an OCI or Docker manifest or index"
        )
    if version is None and media_type == OCI_ARTIFACT:
        return media_type
    if type(version) is not int or version != _SCHEMA_VERSION:  # True and 1.0 are no versions
        raise ManifestInvalid(f"schemaVersion must be {_SCHEMA_VERSION}")
    return media_type


def _guess(document: dict[str, object]) -> str:
    """Return the OCI type whose shape this is."""
    if document.get("manifests") is not None:
        return OCI_INDEX
    if document.get("config") is not None or document.get("layers") is not None:
        return OCI_MANIFEST
    raise ManifestInvalid("neither a Content-Type nor a mediaType says what manifest this is")


def _check_unambiguous(document: dict[str, object], media_type: str) -> None:
    """Refuse what is an index to one reader and an image to another."""
    is_index = document.get("manifests") is not None
    is_image = any(document.get(key) is not None for key in ("config", "layers", "blobs"))
    if is_index and is_image:
        raise ManifestInvalid("a manifest has config and layers, or manifests, never both")
    if (is_image and media_type in _INDEXES) or (is_index and media_type not in _INDEXES):
        raise ManifestInvalid(f"the manifest does not have the form of {media_type}")


def _config(document: dict[str, object], media_type: str) -> _Descriptor | None:
    config = document.get("config")
    if config is not None:
        return _descriptor(config, "config")
    if media_type != OCI_ARTIFACT:
        raise ManifestInvalid("the manifest has no config")
    return None


def _subject(document: dict[str, object]) -> _Descriptor | None:
    subject = document.get("subject")
    return None if subject is None else _descriptor(subject, "subject")


def _descriptors(document: dict[str, object], key: str) -> list[_Descriptor]:
    found = document.get(key)
    if found is None:  # Go writes an empty list as null
        return []
    if not isinstance(found, list):
        raise ManifestInvalid(f"{key} must be a list")
    return [_descriptor(each, f"{key}[{index}]") for index, each in enumerate(found)]


def _descriptor(found: object, place: str) -> _Descriptor:
    """Return the descriptor (OCI Image Spec, descriptor.md) that stands at `place`."""
    if not isinstance(found, dict):
        raise ManifestInvalid(f"{place} must be an object")
    _check_keys(found, _DESCRIPTOR_KEYS, place)
    size = found.get("size")
    # bool is an int to Python, and a database's integer ends at 2^63.
    if type(size) is not int or not 0 <= size < 2**63:
        raise ManifestInvalid(f"{place}.size must be a whole number of bytes")
    media_type = _text(found, "mediaType", place)
    if not media_type:
        raise ManifestInvalid(f"{place}.mediaType is missing")
    digest = found.get("digest")
    if not isinstance(digest, str):
        raise ManifestInvalid(f"{place}.digest is missing")
    if not is_digest(digest):
        raise ManifestInvalid(f"{place}.digest is not a digest: {DIGEST_RULE}")
    return _Descriptor(media_type, digest, size, has_urls=bool(found.get("urls")))


def _layer(layer: _Descriptor) -> Reference:
    """Return the reference to a config or layer; foreign layers need not have been pushed."""
    foreign = (
        layer.has_urls
        or ".nondistributable." in layer.media_type
        or ".foreign." in layer.media_type
    )
    return Reference(layer.digest, ReferenceKind.BLOB, required=not foreign, size=layer.size)


def _child(child: _Descriptor) -> Reference:
    """Return the reference to an index's child: a manifest that may be missing (sparse indexes).

    BuildKit's caches are indexes of layers; those are blobs and as required as any.
    """
    if ".manifest." in child.media_type or ".index." in child.media_type:
        return Reference(child.digest, ReferenceKind.MANIFEST, required=False, size=child.size)
    return Reference(child.digest, ReferenceKind.BLOB, required=True, size=child.size)


def _distinct(references: list[Reference]) -> tuple[Reference, ...]:
    """Return each digest once per kind, required if any mention is, in order of first mention."""
    found: dict[tuple[str, ReferenceKind], Reference] = {}
    for reference in references:
        key = (reference.digest, reference.kind)
        if key not in found or reference.required:
            found[key] = reference
    return tuple(found.values())


def _annotations(document: dict[str, object]) -> dict[str, str]:
    found = document.get("annotations")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ManifestInvalid("annotations must be an object")
    annotations: dict[str, str] = {}
    for key, value in found.items():
        if not isinstance(value, str):
            raise ManifestInvalid(f"the annotation {key[:80]!r} must be text")
        if "\0" in key or "\0" in value:  # C programs see half of it
            raise ManifestInvalid("an annotation contains a NUL character")
        annotations[key] = value
    return annotations


def _text(found: dict[str, object], key: str, place: str) -> str:
    """Return a media type, "" when absent."""
    value = found.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ManifestInvalid(f"{key} of {place} must be text")
    if len(value) > MEDIA_TYPE_CHARACTERS_MAX or not value.isprintable():
        raise ManifestInvalid(
            f"{key} of {place} must be at most {MEDIA_TYPE_CHARACTERS_MAX} printable characters"
        )
    return value


def _check_keys(found: dict[str, object], known: frozenset[str], place: str) -> None:
    """Refuse keys that a reader which ignores case would take for one of ours."""
    if found.keys() <= known:
        return
    for key in found.keys() - known:
        meant = _FOLDED.get(key.casefold())
        if meant in known:
            raise ManifestInvalid(f"{place} has the key {key[:80]!r}: write it {meant!r}")
