"""One image, whole: what it is made of, what is said of it, and what became of its tag."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from treescale.auth.policy import permitted
from treescale.auth.scopes import Action
from treescale.console.content.config import ConfigReport, config_of
from treescale.console.content.described import Descriptions, Facts
from treescale.console.content.rights import (
    check_pull,
    is_known,
    repository_name,
    standing_in,
    standing_of,
)
from treescale.console.content.shown import ALIASES_SHOWN, time_of
from treescale.console.route import Answered, Asked
from treescale.errors import ManifestUnknown, NamespaceUnknown, TagInvalid
from treescale.events.rights import Reader, shown
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest, ReferrerDescriptor
from treescale.metadata.shown.image_facts import Document, ShownImages
from treescale.metadata.shown.tag_pages import ShownTags
from treescale.oci.digest import is_digest
from treescale.oci.image_summary import Layer, Part, what_says
from treescale.oci.names import check_tag

LAYERS_SHOWN: Final = 200
LAYERS_LOOKED_UP: Final = 32
"""Of which it is told who else has them."""
SHARING_SHOWN: Final = 5
REFERRERS_SHOWN: Final = 50
PARTS_SHOWN: Final = 200
HISTORY_SHOWN: Final = 50
ANNOTATION_BYTES_MAX: Final = 128 * 1024
MANIFEST_BYTES_SHOWN: Final = 64 * 1024


class LayerRow(msgspec.Struct):
    """A blob of an image; bytes as the manifest says them."""

    digest: str
    size: int
    media_type: str
    title: str
    """A file's name, of artifacts."""
    command: str
    """What made it, as the config tells."""
    shared_with: list[str]
    """Other repositories with it that the caller may see: some."""


class PartRow(msgspec.Struct):
    """A manifest in an index."""

    digest: str
    media_type: str
    platform: str
    size: int | None
    """That a client pulls of it; null where it is not there, or not read."""
    attests: str
    """The digest of what it attests something of."""
    is_attestation: bool
    has: list[str]
    is_there: bool


class ReferrerRow(msgspec.Struct):
    """What is said of an image by its `subject`."""

    digest: str
    media_type: str
    artifact_type: str | None
    what: str
    """`signature`, `sbom`, `provenance`, or "" for anything else."""
    size: int
    annotations: dict[str, str]


class TagEvent(msgspec.Struct):
    """What happened to a tag; the time is of UTC."""

    kind: str
    """`image.pushed`, `tag.deleted`, `image.restored` or another kind of event."""
    at: datetime
    actor: str | None
    """Null for strangers."""
    digest: str | None
    previous_digest: str | None
    is_there: bool
    """Whether the image of the digest is there to be pulled, so that the tag can go back to it."""


class ImageReport(msgspec.Struct):
    """One image; times are of UTC, sizes in bytes."""

    name: str
    tag: str | None
    digest: str
    tags: list[str]
    """That point at it; some, when there are many."""
    kind: str
    """`index`, `image`, `chart` or `artifact`."""
    media_type: str
    artifact_type: str | None
    subject: str | None
    platforms: list[str]
    size: int | None
    size_all: int | None
    has: list[str]
    annotations: dict[str, str]
    manifest: str | None
    """As it was pushed; null when it is longer than 64 KiB."""
    manifest_size: int
    config: ConfigReport | None
    """Null of what has none, or one above 64 KiB."""
    config_digest: str | None
    layers: list[LayerRow]
    parts: list[PartRow]
    referrers: list[ReferrerRow]
    referrers_more: bool
    history: list[TagEvent]
    """Of the tag, the latest first, as far as the caller may see it."""
    pushed: datetime
    pushed_by: str | None
    pulled: datetime | None
    pulls: int
    rights: list[str]
    """What the caller may do in the repository: of `pull`, `push`, `delete`."""


class ImageReportDesk:
    """What answers for one image."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tags = ShownTags(database.connections)
        self._images = ShownImages(database.connections)
        self._descriptions = Descriptions(database)

    async def show(self, asked: Asked) -> Answered:
        """Show it, by a tag or a digest, to who may pull."""
        name, reference = repository_name(asked.name), asked.parameters["reference"]
        await check_pull(asked, self._database, name)
        tag = None if is_digest(reference) else _tag(reference)
        manifests = self._database.manifests
        if tag is None:
            manifest = await manifests.get(name, reference, certain=True)
        else:
            manifest = await manifests.resolve(name, tag, certain=True)
        return Answered(await self._report(asked, name, tag, manifest))

    async def _report(
        self, asked: Asked, name: str, tag: str | None, manifest: Manifest
    ) -> ImageReport:
        facts = await self._facts(name, manifest)
        layers = facts.summary.layers[:LAYERS_SHOWN]
        config_digest = None if facts.summary.config is None else facts.summary.config.digest
        config = await self._config(name, config_digest)
        referrers = await self._database.manifests.referrers(
            name, manifest.digest, None, "", REFERRERS_SHOWN + 1, ANNOTATION_BYTES_MAX
        )
        figures = await self._tags.named(name, [] if tag is None else [tag])
        figure = figures.get(tag or "")
        pushed = await self._tags.pushed(name, manifest.digest)
        when, by = (figure.pushed, figure.pushed_by) if figure else pushed or (0.0, None)
        aliases = await self._tags.aliases(name, [manifest.digest], ALIASES_SHOWN + 1)
        size = len(manifest.payload)
        standing = await standing_in(asked, self._database, name)
        rights = permitted(asked.principal.person, name, standing)
        return ImageReport(
            name=name,
            tag=tag,
            digest=manifest.digest,
            tags=aliases.get(manifest.digest, []),
            kind=facts.kind,
            media_type=manifest.media_type,
            artifact_type=manifest.artifact_type,
            subject=manifest.subject,
            platforms=[*facts.platforms],
            size=facts.size,
            size_all=facts.size_all,
            has=[*facts.has],
            annotations=manifest.annotations,
            manifest=_text(manifest.payload) if size <= MANIFEST_BYTES_SHOWN else None,
            manifest_size=size,
            config=config,
            config_digest=config_digest,
            layers=await self._layers(asked, name, layers, config),
            parts=_parts(facts),
            referrers=[_referrer(one) for one in referrers[:REFERRERS_SHOWN]],
            referrers_more=len(referrers) > REFERRERS_SHOWN,
            history=await self._history(asked, name, tag),
            pushed=time_of(when),
            pushed_by=by if is_known(asked, name) else None,
            pulled=None if figure is None or figure.pulled is None else time_of(figure.pulled),
            pulls=0 if figure is None else figure.pulls,
            rights=sorted(one.value for one in rights if one in Action),
        )

    async def _facts(self, name: str, manifest: Manifest) -> Facts:
        """Return what is told of it, also when it is too large for lists, or just went."""
        facts = (await self._descriptions.of(name, [manifest.digest])).get(manifest.digest)
        if facts is not None and facts.document.payload is not None:
            return facts
        document = Document(
            manifest.digest,
            manifest.media_type,
            manifest.artifact_type,
            len(manifest.payload),
            manifest.payload,
        )
        return await self._descriptions.alone(name, document)

    async def _config(self, name: str, digest: str | None) -> ConfigReport | None:
        found = await self._images.inline(name, [] if digest is None else [digest])
        return config_of(found[digest]) if digest in found else None

    async def _layers(
        self, asked: Asked, name: str, layers: Sequence[Layer], config: ConfigReport | None
    ) -> list[LayerRow]:
        steps = [] if config is None else [one for one in config.history if not one.is_empty]
        is_told = len(steps) == len(layers)
        return [
            LayerRow(
                digest=one.digest,
                size=one.size,
                media_type=one.media_type,
                title=one.annotations.get("org.opencontainers.image.title", ""),
                command=steps[number].command if is_told else "",
                shared_with=(
                    await self._sharing(asked, name, one.digest)
                    if number < LAYERS_LOOKED_UP
                    else []
                ),
            )
            for number, one in enumerate(layers)
        ]

    async def _sharing(self, asked: Asked, name: str, digest: str) -> list[str]:
        """Return other repositories with a layer, as far as the caller may pull from them."""
        person = asked.principal.person
        found = [
            one.name
            for one in await self._images.sharing(digest)
            if one.name != name
            and Action.PULL in permitted(person, one.name, standing_of(asked, one))
        ]
        return found[:SHARING_SHOWN]

    async def _history(self, asked: Asked, name: str, tag: str | None) -> list[TagEvent]:
        if tag is None or asked.principal.anonymous:
            return []
        repository = await self._database.repositories.get(name)
        reader = Reader(
            asked.principal, asked.is_administrator, asked.held, await self._begun(asked)
        )
        events = [
            seen
            for one in await self._images.history(name, tag, HISTORY_SHOWN)
            if (seen := shown(reader, one, repository)) is not None
        ]
        digests = [one.digest for one in events if one.digest is not None]
        there = await self._images.documents(name, digests)
        return [
            TagEvent(
                one.kind,
                time_of(one.at),
                one.actor or None,
                one.digest,
                one.previous_digest,
                one.digest in there,
            )
            for one in events
        ]

    async def _begun(self, asked: Asked) -> float:
        """Return since when the caller's name is theirs, 0 where nobody wrote it down."""
        try:
            found = await self._database.organisations.get(asked.principal.user)
        except NamespaceUnknown:
            return 0.0
        return found.created or 0.0


def _tag(reference: str) -> str:
    try:
        return check_tag(reference)
    except TagInvalid:
        raise ManifestUnknown(f"no image {reference[:200]}: say a tag, or a digest") from None


def _text(payload: bytes) -> str:
    return payload.decode(errors="replace")


def _parts(facts: Facts) -> list[PartRow]:
    return [_part(facts, one) for one in facts.summary.parts[:PARTS_SHOWN]]


def _part(facts: Facts, one: Part) -> PartRow:
    known = facts.parts.get(one.digest)
    return PartRow(
        digest=one.digest,
        media_type=one.media_type,
        platform=one.platform,
        size=None if known is None or known.is_index else known.size,
        attests=one.attests,
        is_attestation=one.is_attestation,
        has=sorted(known.said) if known is not None and one.is_attestation else [],
        is_there=known is not None,
    )


def _referrer(one: ReferrerDescriptor) -> ReferrerRow:
    kind = one.artifact_type or one.media_type
    return ReferrerRow(
        one.digest, one.media_type, one.artifact_type, what_says(kind), one.size, one.annotations
    )
