"""What the images of a repository are made of: manifests, their blobs, and the blobs' chunks.

For administration: reads whole repositories, but holds at most `PARTS_READ_MAX` parts of recipes.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from treescale.chunks.format.recipe import decode
from treescale.errors import Corrupt, ManifestUnknown
from treescale.metadata.manifests import Manifests
from treescale.metadata.records import Blob, ChunkPart, Manifest
from treescale.oci.manifests import ReferenceKind, parse_manifest

PARTS_READ_MAX: Final = 500_000
"""Parts of recipes that are read: about 80 MB here, half a terabyte of layers."""
PARTS_SUMMED_MAX: Final = 5_000_000
"""Parts that all sums together look at: some seconds."""
MANIFESTS_READ_MAX: Final = 10_000
"""Manifests that one image may have below it."""


class RepositoryChunks:
    """The chunks of a repository's blobs, as far as they were read."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[ChunkPart, ...]] = {}
        self._read = 0
        self._summed = 0
        self.said: dict[str, set[int]] = {}
        """What the images that were looked at say of their blobs' lengths."""
        self.complete = True
        """Whether everything that was asked for was also looked at."""

    def add(self, blob: Blob) -> None:
        """Read the blob's recipe, unless that were too much; raises Corrupt, naming the blob."""
        if blob.recipe is None:
            self._parts[blob.digest] = ()
            return
        if self._read >= PARTS_READ_MAX:
            self.complete = False
            return
        try:
            parts = decode(blob.recipe).parts
        except Corrupt as error:
            raise Corrupt(f"{blob.digest}: {error}") from error
        self._parts[blob.digest] = parts
        self._read += len(parts)

    def chunks(self, blobs: Iterable[str] | None = None) -> Mapping[bytes, int] | None:
        """Return the distinct chunks (length by id) of these blobs, of all without an argument.

        What is not in the repository (a foreign layer) has none. None when that were too much.
        """
        names = self._parts.keys() if blobs is None else self._parts.keys() & set(blobs)
        count = sum(len(self._parts[name]) for name in names)
        if self._summed + count > PARTS_SUMMED_MAX:
            self.complete = False
            return None
        self._summed += count
        return {chunk: length for name in names for chunk, length in self._parts[name]}

    async def image(self, manifests: Manifests, repository: str, top: Manifest) -> set[str]:
        """Return the digests of the blobs that an image and its children name.

        Children that are not there are passed over: indexes may be sparse. An image's subject is
        another image.
        """
        blobs: set[str] = set()
        seen, waiting = {top.digest}, [top]
        while waiting:
            for digest in self._named(waiting.pop(), blobs) - seen:
                if len(seen) >= MANIFESTS_READ_MAX:
                    self.complete = False
                    return blobs
                seen.add(digest)
                try:
                    waiting.append(await manifests.get(repository, digest))
                except ManifestUnknown:
                    continue
        return blobs

    def _named(self, manifest: Manifest, blobs: set[str]) -> set[str]:
        """Add the blobs that a manifest names, and return its children."""
        parsed = parse_manifest(manifest.payload, manifest.media_type)
        for reference in parsed.references:
            if reference.kind is ReferenceKind.BLOB:
                blobs.add(reference.digest)
                if reference.size is not None:
                    self.said.setdefault(reference.digest, set()).add(reference.size)
        return {
            reference.digest
            for reference in parsed.references
            if reference.kind is ReferenceKind.MANIFEST and reference.digest != parsed.subject
        }
