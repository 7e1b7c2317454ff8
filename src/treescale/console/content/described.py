"""What is told of images, in few questions for all of a screen: platforms, sizes, signatures.

The size of an image is what a client pulls that has nothing yet: of an index that of its largest
platform. What lists do not read (a manifest above `PAYLOAD_BYTES_MAX`) has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from treescale.metadata.database import Database
from treescale.metadata.shown.image_facts import Document, ShownImages
from treescale.oci.image_summary import (
    HELM_CONFIG,
    IMAGE_CONFIGS,
    PROVENANCE,
    SBOM,
    SIGNATURE,
    ImageSummary,
    Part,
    cosign_tags,
    platform_of,
    summary_of,
    what_says,
)

INDEX: Final = "index"
IMAGE: Final = "image"
CHART: Final = "chart"
ARTIFACT: Final = "artifact"
PARTS_MAX: Final = 400
"""Manifests in the indexes of a screen that are read."""
_ORDER: Final = (SIGNATURE, SBOM, PROVENANCE)
_NOTHING: Final[Mapping[str, int]] = {}


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told of one image."""

    document: Document
    kind: str
    """`index`, `image`, `chart` or `artifact`."""
    summary: ImageSummary
    platforms: Sequence[str]
    size: int | None
    """Bytes that a client pulls."""
    size_all: int | None
    """Bytes of the blobs of all platforms, each once."""
    has: Sequence[str]
    """Of `signature`, `sbom`, `provenance` those that there are."""
    parts: Mapping[str, "ImageSummary"] = field(default_factory=dict)
    """Of an index, by digest, as far as they are there."""


class Descriptions:
    """Describes the images of a repository."""

    def __init__(self, database: Database) -> None:
        self._images = ShownImages(database.connections)

    async def of(self, repository: str, digests: Sequence[str]) -> Mapping[str, Facts]:
        """Return by digest what is told of these, of a screen at most."""
        documents = await self._images.documents(repository, digests)
        return await self._described(repository, documents)

    async def alone(self, repository: str, document: Document) -> Facts:
        """Return what is told of one image that was read, however large it is."""
        found = await self._described(repository, {document.digest: document})
        return found[document.digest]

    async def _described(
        self, repository: str, documents: Mapping[str, Document]
    ) -> Mapping[str, Facts]:
        tops = {digest: _summary(one) for digest, one in documents.items()}
        inside = {part.digest: part for top in tops.values() for part in top.parts}
        wanted = list(inside)[:PARTS_MAX]
        parts = {
            digest: _summary(one)
            for digest, one in (await self._images.documents(repository, wanted)).items()
        }
        said = await self._said(repository, list(documents))
        platforms = await self._platforms(repository, tops.values())
        return {
            digest: _facts(one, tops[digest], parts, said.get(digest, set()), platforms)
            for digest, one in documents.items()
        }

    async def _said(self, repository: str, digests: Sequence[str]) -> dict[str, set[str]]:
        """Return what is said of each, by `subject` and by cosign's tags."""
        found: dict[str, set[str]] = {digest: set() for digest in digests}
        for one in await self._images.said(repository, digests):
            found[one.subject].add(what_says(one.kind))
        by_tag = {
            tag: (digest, what) for digest in digests for tag, what in cosign_tags(digest).items()
        }
        for tag in await self._images.tags_among(repository, list(by_tag)):
            digest, what = by_tag[tag]
            found[digest].add(what)
        return found

    async def _platforms(
        self, repository: str, images: Iterable[ImageSummary]
    ) -> Mapping[str, str]:
        """Return the platforms of images, by the digest of their config."""
        configs = [
            one.config.digest
            for one in images
            if one.config is not None and one.config.media_type in IMAGE_CONFIGS
        ]
        found = await self._images.inline(repository, configs)
        return {digest: _platform_of(content) for digest, content in found.items()}


def _facts(
    document: Document,
    top: ImageSummary,
    known: Mapping[str, ImageSummary],
    said: set[str],
    platforms: Mapping[str, str],
) -> Facts:
    has = set(said)
    if not top.is_index:
        size = None if document.payload is None else top.size
        config = "" if top.config is None else top.config.digest
        found = [platforms[config]] if platforms.get(config) else []
        kind = kind_of(document, top)
        return Facts(document, kind, top, found, size, size, _ordered(has))
    parts = {one.digest: known[one.digest] for one in top.parts if one.digest in known}
    blobs: dict[str, int] = {}
    for part in top.parts:
        summary = parts.get(part.digest)
        blobs |= _NOTHING if summary is None else summary.blobs
        if part.is_attestation:
            has |= {PROVENANCE} if summary is None else summary.said
    sizes = [_size(part, parts) for part in top.parts if not part.is_attestation]
    size = None if document.payload is None else max(sizes, default=0)
    size_all = None if document.payload is None else sum(blobs.values())
    return Facts(document, INDEX, top, top.platforms, size, size_all, _ordered(has), parts)


def _size(part: Part, parts: Mapping[str, ImageSummary]) -> int:
    return parts[part.digest].size if part.digest in parts else 0


def _ordered(has: set[str]) -> list[str]:
    return [what for what in _ORDER if what in has]


def _summary(document: Document) -> ImageSummary:
    return summary_of(document.payload or b"", document.media_type)


def kind_of(document: Document, summary: ImageSummary) -> str:
    """Return what a manifest is, in a word."""
    if summary.is_index:
        return INDEX
    config = "" if summary.config is None else summary.config.media_type
    if config == HELM_CONFIG:
        return CHART
    is_image = config in IMAGE_CONFIGS and document.artifact_type in (None, "", config)
    return IMAGE if is_image else ARTIFACT


def _platform_of(content: bytes) -> str:
    try:
        found = msgspec.json.decode(content, type=_Platform)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return ""
    return platform_of(found.os, found.architecture, found.variant)
