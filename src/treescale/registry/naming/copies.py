"""Copies within the registry: an image under another name, and no byte of it moved.

What a client does that pushes it, in the same order and by the same writes: blobs are linked where
the source has them, then come the parts of an index, then what is said of the image (referrers, and
cosign's tags), then its manifest with the tag. So whoever pulls the tag finds all of it, rules and
limits hold as for a push, and what a failure leaves is what a push that broke off leaves. A tag of
cosign's moves only to what says no less: no signature is lost.
"""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from treescale.clock import Clock
from treescale.errors import ManifestUnknown, PreconditionFailed, Refused, TooLarge
from treescale.metadata.database import Database
from treescale.metadata.manifest_push import COSIGN_SUFFIXES
from treescale.metadata.records import Manifest
from treescale.oci.conditions import Condition, EntityTags
from treescale.oci.manifests import ParsedManifest, ReferenceKind, parse_manifest
from treescale.oci.strict_json import parse_object

MANIFESTS_MAX: Final = 10_000
"""Of one image, with all that is said of it."""
REFERRERS_AT_ONCE: Final = 100
_ANNOTATION_BYTES_MAX: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did."""

    digest: str
    manifests: int
    """With its parts, and what is said of it."""
    previous_digest: str | None
    """What the tag pointed at until then."""


@dataclass(slots=True)
class _Copy:
    """One copy under way."""

    source: str
    target: str
    actor: str
    linked: set[str] = field(default_factory=set)
    """Blobs that the target has by now."""
    published: set[str] = field(default_factory=set)


class CopyService:
    """Copies images from repository to repository, or to another tag of the same."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._manifests = database.manifests
        self._blobs = database.blobs
        self._clock = clock

    async def copy(
        self, source: str, reference: str, target: str, tag: str, *, actor: str
    ) -> Copied:
        """Have `tag` of `target` point at what `reference`, a tag or digest of `source`, does.

        Raises ManifestUnknown when that is not there, and what a push of it raises.
        """
        get = self._manifests.get if ":" in reference else self._manifests.resolve
        top = await get(source, reference, certain=True)
        previous = await self._points_at(target, tag)
        copy = _Copy(source, target, actor)
        if source == target:
            await self._manifests.move_tag(
                target, top, _parsed(top).references, tag, now=self._clock.now(), actor=actor
            )
            return Copied(top.digest, 1, previous)
        await self._below(copy, top)
        await self._said_of(copy, top)
        await self._put(copy, top, (tag,))
        return Copied(top.digest, len(copy.published), previous)

    async def _points_at(self, repository: str, tag: str) -> str | None:
        try:
            return (await self._manifests.resolve(repository, tag, certain=True)).digest
        except ManifestUnknown:
            return None

    async def _said_of(self, copy: _Copy, top: Manifest) -> None:
        """Copy what is said of the image and of its parts, and what is said of that."""
        waiting = [top.digest, *sorted(copy.published)]
        looked_at = set[str]()
        while waiting:
            subject = waiting.pop()
            if subject in looked_at:
                continue
            looked_at.add(subject)
            async for manifest, tags in self._referring(copy.source, subject):
                condition = None
                if tags:
                    condition = await self._replaces(copy.target, manifest, tags[0])
                    if condition is None:
                        continue
                if manifest.digest != top.digest and manifest.digest not in copy.published:
                    before = set(copy.published)
                    await self._below(copy, manifest)
                    await self._put(copy, manifest, tags, condition)
                    waiting += sorted(copy.published - before)
                elif tags and manifest.digest != top.digest:
                    await self._put(copy, manifest, tags, condition)

    async def _replaces(self, target: str, manifest: Manifest, tag: str) -> Condition | None:
        """Return what must be true of a tag of cosign's in the target for it to say this instead.

        None when what is there says all of it, or more. Raises Refused when each says what the
        other does not: the tag points at one of them, and signatures would be lost.
        """
        try:
            there = await self._manifests.resolve(target, tag, certain=True)
        except ManifestUnknown:
            return Condition(none_match=EntityTags(anything=True))
        new, old = _said(manifest), _said(there)
        if not (new <= old or old <= new):
            raise Refused(
                f"{target}:{tag} has signatures, or the like, that the source lacks, and lacks "
                "some that it has: nothing was changed there. Sign the image anew in one of them, "
                f"or delete {target}:{tag}"
            )
        if new <= old and manifest.digest != there.digest:
            return None
        return Condition(match=EntityTags(strong=frozenset({there.digest})))

    async def _referring(
        self, repository: str, subject: str
    ) -> AsyncIterator[tuple[Manifest, tuple[str, ...]]]:
        """Yield what is said of a manifest, with the tags that it is said by."""
        after = ""
        while page := await self._manifests.referrers(
            repository, subject, None, after, REFERRERS_AT_ONCE, _ANNOTATION_BYTES_MAX
        ):
            for each in page:
                try:
                    yield await self._manifests.get(repository, each.digest, certain=True), ()
                except ManifestUnknown:
                    continue  # deleted meanwhile
            after = page[-1].digest
        for suffix in COSIGN_SUFFIXES:
            tag = subject.replace(":", "-") + suffix
            try:
                yield await self._manifests.resolve(repository, tag, certain=True), (tag,)
            except ManifestUnknown:
                continue

    async def _below(self, copy: _Copy, top: Manifest) -> None:
        """Have everything in the target that a manifest needs: parts of parts first."""
        stack = [(top, iter(self._parts(top)))]
        entered = {top.digest}
        await self._link(copy, _blobs(top))
        while stack:
            manifest, parts = stack[-1]
            digest = next(parts, None)
            if digest is None:
                stack.pop()
                if stack:
                    await self._put(copy, manifest, ())
                continue
            if digest in entered or digest in copy.published:
                continue
            entered.add(digest)
            if len(entered) + len(copy.published) > MANIFESTS_MAX:
                raise TooLarge(f"an image of more than {MANIFESTS_MAX:,} manifests is not copied")
            try:
                part = await self._manifests.get(copy.source, digest, certain=True)
            except ManifestUnknown:  # of an index that leaves some out, or names a blob so
                await self._link(copy, [digest])
                continue
            await self._link(copy, _blobs(part))
            stack.append((part, iter(self._parts(part))))

    @staticmethod
    def _parts(manifest: Manifest) -> list[str]:
        parsed = _parsed(manifest)
        return [
            each.digest
            for each in parsed.references
            if each.kind is ReferenceKind.MANIFEST and each.digest != parsed.subject
        ]

    async def _link(self, copy: _Copy, digests: Iterable[str]) -> None:
        """Link the blobs that the source has; whether one was needed is asked when it is put."""
        for digest in sorted(set(digests) - copy.linked):
            copy.linked.add(digest)
            await self._blobs.mount(
                copy.target, digest, [copy.source], now=self._clock.now(), actor=copy.actor
            )

    async def _put(
        self,
        copy: _Copy,
        manifest: Manifest,
        tags: tuple[str, ...],
        condition: Condition | None = None,
    ) -> None:
        try:
            await self._manifests.put(
                copy.target,
                manifest,
                _parsed(manifest).references,
                tags,
                now=self._clock.now(),
                actor=copy.actor,
                condition=condition,
            )
        except PreconditionFailed:
            raise PreconditionFailed(
                f"{copy.target}:{tags[0]} has changed just now: copy the image again"
            ) from None
        copy.published.add(manifest.digest)


def _said(manifest: Manifest) -> frozenset[bytes]:
    """Return each signature, or the like, of a manifest by one of cosign's tags.

    They are its layers with their annotations: of two signatures of an image by two keys the layer
    is the same.
    """
    layers = parse_object(manifest.payload).get("layers")
    found = layers if isinstance(layers, list) else []
    return frozenset(msgspec.json.encode(one, order="sorted") for one in found)


def _parsed(manifest: Manifest) -> ParsedManifest:
    return parse_manifest(manifest.payload, manifest.media_type)


def _blobs(manifest: Manifest) -> list[str]:
    return [each.digest for each in _parsed(manifest).references if each.kind is ReferenceKind.BLOB]
