"""The nouns that pulls ask, answered from memory when that is as good, or all there is.

Wrappers around the nouns; `known` decides what may be answered. While nothing in the database has
changed, what was read is still true; and while the database is away, a pull of what this worker
knows, or another (`hearsay`), goes on with the last known answer. Writes and lists always go to the
database. Every write that takes something away is in this file, as it must be forgotten here.
"""

from collections.abc import Sequence
from typing import Final

from treescale.clock import Clock
from treescale.errors import Refused
from treescale.metadata.hearsay import Hearsay
from treescale.metadata.known import Changes, Known
from treescale.metadata.protocols import Blobs, Manifests, Repositories, Tags
from treescale.metadata.records import (
    Blob,
    ClusterUsage,
    Manifest,
    NewBlob,
    ReferrerDescriptor,
    Repository,
    RepositoryUsage,
)
from treescale.oci.manifests import Reference

public_seconds_max: Final = 900.0
"""How long a repository is taken for public while the database is away."""
repositories_bytes_max: Final = 4 * 1024 * 1024


class Memory:
    """What one worker knows of one database."""

    def __init__(self, changes: Changes, clock: Clock, hearsay: Hearsay) -> None:
        self.by_digest: Known[Manifest] = Known(
            changes, clock, topic=hearsay.topic("manifest", Manifest)
        )
        self.by_tag: Known[Manifest] = Known(changes, clock, topic=hearsay.topic("tag", Manifest))
        self.blobs: Known[Blob] = Known(changes, clock, topic=hearsay.topic("blob", Blob))
        self.repositories: Known[Repository] = Known(
            changes,
            clock,
            limit=repositories_bytes_max,
            seconds=public_seconds_max,
            topic=hearsay.topic("repository", Repository),
        )

    def forget_repository(self, name: str) -> None:
        """Know nothing of a repository, nor of what is in it."""
        for known in (self.by_digest, self.by_tag, self.blobs):
            known.forget_all(name, _any)
        self.repositories.forget(name, "")


class CachedManifests:
    """Implements `protocols.Manifests`; `get` and `resolve` from memory when possible."""

    def __init__(self, manifests: Manifests, memory: Memory) -> None:
        self._manifests = manifests
        self._by_digest = memory.by_digest
        self._by_tag = memory.by_tag

    async def put(
        self,
        repository: str,
        manifest: Manifest,
        references: Sequence[Reference],
        tags: Sequence[str],
        *,
        now: float,
    ) -> None:
        """Store the manifest and point `tags` at it."""
        digest_mark, tag_mark = self._by_digest.begin(), self._by_tag.begin()
        await self._manifests.put(repository, manifest, references, tags, now=now)
        size = _manifest_size(manifest)
        self._by_digest.keep(repository, manifest.digest, manifest, size, digest_mark)
        self._by_tag.wrote(repository, tags, manifest, size, tag_mark)

    async def get(self, repository: str, digest: str) -> Manifest:
        """Return the manifest; raises ManifestUnknown."""
        return await self._by_digest.read(repository, digest, self._manifests.get, _manifest_size)

    async def resolve(self, repository: str, tag: str) -> Manifest:
        """Return the manifest a tag points at; raises ManifestUnknown."""
        return await self._by_tag.read(repository, tag, self._manifests.resolve, _manifest_size)

    async def delete(self, repository: str, digest: str) -> None:
        """Remove the manifest and every tag that points at it; raises ManifestUnknown."""
        try:
            await self._manifests.delete(repository, digest)
        except Refused:
            self._forget(repository, digest)
            raise
        self._forget(repository, digest)

    async def referrers(
        self,
        repository: str,
        subject: str,
        artifact_type: str | None,
        after: str,
        limit: int,
        annotation_bytes_max: int,
    ) -> list[ReferrerDescriptor]:
        """Return a page of the manifests whose subject this is."""
        return await self._manifests.referrers(
            repository, subject, artifact_type, after, limit, annotation_bytes_max
        )

    def _forget(self, repository: str, digest: str) -> None:
        self._by_digest.forget(repository, digest)
        self._by_tag.forget_all(repository, lambda manifest: manifest.digest == digest)


class CachedTags:
    """Implements `protocols.Tags`; for what `CachedManifests` must forget."""

    def __init__(self, tags: Tags, memory: Memory) -> None:
        self._tags = tags
        self._by_tag = memory.by_tag

    async def list(self, repository: str, after: str, limit: int) -> list[str]:
        """Return a page of tags in byte order; raises NameUnknown for an absent repository."""
        return await self._tags.list(repository, after, limit)

    async def delete(self, repository: str, tag: str) -> None:
        """Remove the tag alone; raises ManifestUnknown."""
        try:
            await self._tags.delete(repository, tag)
        except Refused:
            self._by_tag.forget(repository, tag)
            raise
        self._by_tag.forget(repository, tag)


class CachedBlobs:
    """Implements `protocols.Blobs`; `find` from memory when possible."""

    def __init__(self, blobs: Blobs, memory: Memory) -> None:
        self._blobs = blobs
        self._known = memory.blobs

    async def find(self, repository: str, digest: str) -> Blob:
        """Return the blob when linked to this repository; else raises BlobUnknown."""
        return await self._known.read(repository, digest, self._blobs.find, _blob_size)

    async def commit(
        self, repository: str, new: NewBlob, *, upload_id: str | None, now: float
    ) -> None:
        """Make the blob exist, linked and leased, and end the upload."""
        mark = self._known.begin()
        await self._blobs.commit(repository, new, upload_id=upload_id, now=now)
        self._known.keep(repository, new.blob.digest, new.blob, _blob_size(new.blob), mark)

    async def mount(
        self, repository: str, digest: str, sources: Sequence[str], *, now: float
    ) -> bool:
        """Link the blob if one of `sources` has it, and renew its lease; False when none has."""
        return await self._blobs.mount(repository, digest, sources, now=now)

    async def unlink(self, repository: str, digest: str) -> None:
        """Remove the link; raises BlobUnknown when there is none."""
        try:
            await self._blobs.unlink(repository, digest)
        except Refused:
            self._known.forget(repository, digest)
            raise
        self._known.forget(repository, digest)

    async def list_repository(self, repository: str, after: str, limit: int) -> list[Blob]:
        """Return a page of the linked blobs, by digest."""
        return await self._blobs.list_repository(repository, after, limit)


class CachedRepositories:
    """Implements `protocols.Repositories`; `get` from memory when possible.

    While the database is away only what is public is known. So a private repository, an absent one
    and one never heard of are told alike: not at all.
    """

    def __init__(self, repositories: Repositories, memory: Memory) -> None:
        self._repositories = repositories
        self._memory = memory
        self._known = memory.repositories

    async def get(self, name: str) -> Repository:
        """Return the repository; raises NameUnknown."""
        found = await self._known.read(name, "", self._ask, _no_size)
        if not found.public:
            self._known.forget(name, "")
        return found

    async def list_all(self, after: str, limit: int) -> list[Repository]:
        """Return a page of all repositories."""
        return await self._repositories.list_all(after, limit)

    async def first_created(self) -> float | None:
        """Return when the oldest there ever was came into being; None when there are none now."""
        return await self._repositories.first_created()

    async def list_visible(self, namespace: str | None, after: str, limit: int) -> list[Repository]:
        """Return a page of the public ones and those of `namespace`."""
        return await self._repositories.list_visible(namespace, after, limit)

    async def set_public(self, name: str, *, public: bool, now: float) -> None:
        """Open pulling to everybody, or close it. Creates an empty repository when absent."""
        await self._repositories.set_public(name, public=public, now=now)
        self._known.forget(name, "")

    async def delete(self, name: str) -> None:
        """Remove it with tags, manifests and links; raises NameUnknown."""
        try:
            await self._repositories.delete(name)
        except Refused:
            self._memory.forget_repository(name)
            raise
        self._memory.forget_repository(name)

    async def usage(self, name: str) -> RepositoryUsage:
        """Count what it holds; raises NameUnknown."""
        return await self._repositories.usage(name)

    async def cluster_usage(self) -> ClusterUsage:
        """Count what all hold."""
        return await self._repositories.cluster_usage()

    async def _ask(self, name: str, _: str) -> Repository:
        return await self._repositories.get(name)


def _manifest_size(manifest: Manifest) -> int:
    return len(manifest.payload)


def _blob_size(blob: Blob) -> int:
    return len(blob.inline or b"") + len(blob.recipe or b"")


def _no_size(_: Repository) -> int:
    return 0


def _any(_: object) -> bool:
    return True
