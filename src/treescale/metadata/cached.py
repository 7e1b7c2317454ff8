"""Reads answered from memory for as long as nothing in the database has changed.

Wrappers of the nouns that pulls ask. What was read is kept together with the database's number of
changes, asked for *before* the reading; the next commit, of whichever process, makes that number
another one and everything kept is forgotten. So an answer from memory is what the database would
have answered at this moment: a pull sees the last acknowledged push, and nothing that was deleted.
A database that has no such number is asked each time. What is *not* there is never remembered.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from treescale.metadata.protocols import Blobs, Manifests
from treescale.metadata.records import Blob, Manifest, NewBlob, ReferrerDescriptor
from treescale.oci.manifests import Reference

bytes_max: Final = 16 * 1024 * 1024
"""For each noun, in each worker."""
entry_bytes: Final = 1024
"""What an entry costs beside its payload, about."""

Changes = Callable[[], int | None]
Value = TypeVar("Value")


class Recent(Generic[Value]):
    """What was read since the last change, the oldest forgotten first when it is too much."""

    def __init__(self, changes: Changes, *, limit: int = bytes_max) -> None:
        self._changes = changes
        self._limit = limit
        self._version: int | None = None
        self._kept: dict[tuple[str, str], tuple[Value, int]] = {}
        self._size = 0

    def version(self) -> int | None:
        """Return what `keep` is to be told, and forget what is older; None to keep nothing."""
        version = self._changes()
        if version != self._version:
            self._kept.clear()
            self._size = 0
            self._version = version
        return version

    def find(self, repository: str, name: str) -> Value | None:
        """Return what is kept and still true."""
        if self.version() is None:
            return None
        entry = self._kept.get((repository, name))
        return None if entry is None else entry[0]

    def keep(
        self, repository: str, name: str, value: Value, size: int, version: int | None
    ) -> None:
        """Keep what was read after `version` was returned, unless something changed since."""
        key, size = (repository, name), size + entry_bytes
        if version is None or version != self.version() or key in self._kept or size > self._limit:
            return
        self._kept[key] = (value, size)
        self._size += size
        while self._size > self._limit:
            _, gone = self._kept.pop(next(iter(self._kept)))
            self._size -= gone


class CachedManifests:
    """Implements `protocols.Manifests`; `get` and `resolve` from memory when possible."""

    def __init__(self, manifests: Manifests, changes: Changes) -> None:
        self._manifests = manifests
        self._by_digest: Recent[Manifest] = Recent(changes)
        self._by_tag: Recent[Manifest] = Recent(changes)

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
        await self._manifests.put(repository, manifest, references, tags, now=now)

    async def get(self, repository: str, digest: str) -> Manifest:
        """Return the manifest; raises ManifestUnknown."""
        found = self._by_digest.find(repository, digest)
        if found is None:
            version = self._by_digest.version()
            found = await self._manifests.get(repository, digest)
            self._by_digest.keep(repository, digest, found, len(found.payload), version)
        return found

    async def resolve(self, repository: str, tag: str) -> Manifest:
        """Return the manifest a tag points at; raises ManifestUnknown."""
        found = self._by_tag.find(repository, tag)
        if found is None:
            version = self._by_tag.version()
            found = await self._manifests.resolve(repository, tag)
            self._by_tag.keep(repository, tag, found, len(found.payload), version)
        return found

    async def delete(self, repository: str, digest: str) -> None:
        """Remove the manifest and every tag that points at it; raises ManifestUnknown."""
        await self._manifests.delete(repository, digest)

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


class CachedBlobs:
    """Implements `protocols.Blobs`; `find` from memory when possible."""

    def __init__(self, blobs: Blobs, changes: Changes) -> None:
        self._blobs = blobs
        self._found: Recent[Blob] = Recent(changes)

    async def find(self, repository: str, digest: str) -> Blob:
        """Return the blob when linked to this repository; else raises BlobUnknown."""
        blob = self._found.find(repository, digest)
        if blob is None:
            version = self._found.version()
            blob = await self._blobs.find(repository, digest)
            size = len(blob.inline or b"") + len(blob.recipe or b"")
            self._found.keep(repository, digest, blob, size, version)
        return blob

    async def commit(
        self, repository: str, new: NewBlob, *, upload_id: str | None, now: float
    ) -> None:
        """Make the blob exist, linked and leased, and end the upload."""
        await self._blobs.commit(repository, new, upload_id=upload_id, now=now)

    async def mount(
        self, repository: str, digest: str, sources: Sequence[str], *, now: float
    ) -> bool:
        """Link the blob if one of `sources` has it, and renew its lease; False when none has."""
        return await self._blobs.mount(repository, digest, sources, now=now)

    async def unlink(self, repository: str, digest: str) -> None:
        """Remove the link; raises BlobUnknown when there is none."""
        await self._blobs.unlink(repository, digest)

    async def list_repository(self, repository: str, after: str, limit: int) -> list[Blob]:
        """Return a page of the linked blobs, by digest."""
        return await self._blobs.list_repository(repository, after, limit)
