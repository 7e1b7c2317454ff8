"""Manifests, tags and referrers: what is published under names, and what refers to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from treescale.clock import Clock
from treescale.errors import DigestInvalid
from treescale.metadata.protocols import Manifests, Repositories, Tags
from treescale.metadata.records import Manifest, ReferrerDescriptor, Repository
from treescale.oci.digest import Digest, digest_of
from treescale.oci.manifests import parse_manifest

referrers_annotation_bytes_max: Final = 2 * 1024 * 1024
"""A page of referrers stays under 4 MiB, which is what clients read."""


@dataclass(frozen=True, slots=True)
class Published:
    """What a manifest PUT did."""

    digest: Digest
    subject: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of names, and where the next one starts; None at the end."""

    names: Sequence[str]
    last: str | None


@dataclass(frozen=True, slots=True)
class RepositoriesPage:
    """A page of repositories, and the name the next one starts after; None at the end."""

    repositories: Sequence[Repository]
    last: str | None


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """A page of referrers, and the digest the next one starts after; None at the end."""

    descriptors: Sequence[ReferrerDescriptor]
    last: str | None


class Publishing:
    """Everything that has a name: manifests by digest and tag, and the lists of them."""

    def __init__(
        self, *, manifests: Manifests, tags: Tags, repositories: Repositories, clock: Clock
    ) -> None:
        self._manifests = manifests
        self._tags = tags
        self._repositories = repositories
        self._clock = clock

    async def put(
        self,
        repository: str,
        payload: bytes,
        content_type: str | None,
        *,
        digest: Digest | None,
        tags: Sequence[str],
    ) -> Published:
        """Keep the exact bytes and point the tags at them, in one transaction.

        With `digest` the bytes must have it (its algorithm then names the manifest). Raises
        ManifestInvalid, DigestInvalid, TooLarge, ManifestBlobUnknown.
        """
        parsed = parse_manifest(payload, content_type)
        actual = digest_of(payload, digest.algorithm if digest else "sha256")
        if digest is not None and actual != digest:
            raise DigestInvalid(f"the manifest's digest is {actual}")
        manifest = Manifest(
            digest=str(actual),
            media_type=parsed.media_type,
            payload=payload,
            subject=parsed.subject,
            artifact_type=parsed.artifact_type,
            annotations=parsed.annotations,
        )
        await self._manifests.put(
            repository, manifest, parsed.references, tags, now=self._clock.now()
        )
        return Published(actual, parsed.subject)

    async def get(self, repository: str, reference: str) -> Manifest:
        """Return a manifest by tag or digest; raises ManifestUnknown."""
        if ":" in reference:
            return await self._manifests.get(repository, reference)
        return await self._manifests.resolve(repository, reference)

    async def delete(self, repository: str, reference: str) -> None:
        """Remove a tag alone, or by digest a manifest with all its tags; visible at once."""
        if ":" in reference:
            await self._manifests.delete(repository, reference)
        else:
            await self._tags.delete(repository, reference)

    async def list_tags(self, repository: str, after: str, limit: int) -> Page:
        """Return a page of tags; raises NameUnknown."""
        names = await self._tags.list(repository, after, limit + 1)
        return _page(names, limit)

    async def list_repositories(
        self, namespace: str | None, after: str, limit: int
    ) -> RepositoriesPage:
        """Return a page of the repositories visible to `namespace`'s user (None: anybody)."""
        found = await self._repositories.list_visible(namespace, after, limit + 1)
        more = len(found) > limit > 0
        return RepositoriesPage(found[:limit], found[limit - 1].name if more else None)

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str | None, after: str, limit: int
    ) -> ReferrersPage:
        """Return a page of what refers to `subject`; empty when nothing does, or it is unknown."""
        if limit == 0:
            return ReferrersPage([], None)
        found = await self._manifests.referrers(
            repository,
            str(subject),
            artifact_type,
            after,
            limit,
            referrers_annotation_bytes_max,
        )
        more = bool(found) and await self._manifests.referrers(
            repository, str(subject), artifact_type, found[-1].digest, 1, 0
        )
        return ReferrersPage(found, found[-1].digest if more else None)


def _page(names: Sequence[str], limit: int) -> Page:
    shown = names[:limit]
    more = len(names) > limit > 0
    return Page(shown, shown[-1] if more else None)
