"""The chunks of an image in the order of its layers, each once; a bounded number of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from treescale.chunks.format.recipe import decode
from treescale.errors import BlobUnknown
from treescale.metadata.database import Database
from treescale.registry.contents import RepositoryChunks

CHUNKS_MAX: Final = 50_000
"""Of an image, some fifty gigabytes: what is beyond is left out, and that is said."""
BLOBS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class ImageChunks:
    """What an image is made of."""

    digest: str
    chunks: Mapping[bytes, int]
    """Their lengths, in order."""
    blobs_inline: int
    """Small ones, which lie in the database."""
    complete: bool


async def read_image(
    database: Database, repository: str, *, tag: str = "", digest: str = ""
) -> ImageChunks:
    """Return it; raises ManifestUnknown, and Corrupt for a recipe that cannot be read."""
    found = database.manifests
    top = await (found.resolve(repository, tag) if tag else found.get(repository, digest))
    contents = RepositoryChunks()
    names = sorted(await contents.image(found, repository, top))
    chunks: dict[bytes, int] = {}
    inline, complete = 0, contents.complete and len(names) <= BLOBS_MAX
    for name in names[:BLOBS_MAX]:
        try:
            blob = await database.blobs.find(repository, name)
        except BlobUnknown:  # a foreign layer, or of a platform that was left out
            continue
        if blob.recipe is None:
            inline += 1
            continue
        for part in decode(blob.recipe).parts:
            chunks.setdefault(part[0], part[1])
        if len(chunks) > CHUNKS_MAX:
            complete = False
            chunks = dict([*chunks.items()][:CHUNKS_MAX])
            break
    return ImageChunks(top.digest, chunks, inline, complete)
