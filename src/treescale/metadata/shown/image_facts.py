"""What is known of the images of a screen: their manifests, what is said of them, who shares them.

Every statement is bounded by what a screen shows, and tells when it stopped before the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, case, select

from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.log import event_of
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.records import Repository
from treescale.metadata.repositories import id_of
from treescale.metadata.schema import (
    blobs,
    events,
    manifests,
    repositories,
    repository_blobs,
    tags,
)

PAYLOAD_BYTES_MAX: Final = 256 * 1024
"""Of a manifest that is read for a list; one that is larger is opened by itself."""
SAID_MAX: Final = 1000
SHARING_MAX: Final = 200
"""Repositories with a layer that are looked at."""
_THESE: Final[BindParameter[Any]] = bindparam("digests", expanding=True)
DOCUMENTS: Final = select(
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.size,
    case((manifests.c.size <= PAYLOAD_BYTES_MAX, manifests.c.payload)).label("payload"),
).where(
    manifests.c.repository_id == id_of(),
    manifests.c.digest.in_(_THESE),
    manifests.c.deleted.is_(None),
)
SAID: Final = (
    select(manifests.c.subject, manifests.c.artifact_type, manifests.c.media_type)
    .where(
        manifests.c.repository_id == id_of(),
        manifests.c.subject.in_(_THESE),
        manifests.c.deleted.is_(None),
    )
    .limit(bindparam("limit"))
)
INLINE: Final = (
    select(repository_blobs.c.digest, blobs.c.inline)
    .select_from(repository_blobs.join(blobs))
    .where(
        repository_blobs.c.repository_id == id_of(),
        repository_blobs.c.digest.in_(_THESE),
        repository_blobs.c.hidden.is_(None),
        blobs.c.inline.is_not(None),
    )
)
TAGS_OF: Final = select(tags.c.name).where(
    tags.c.repository_id == id_of(), tags.c.name.in_(bindparam("names", expanding=True))
)
_LINKS: Final = (
    select(repository_blobs.c.repository_id)
    .where(
        repository_blobs.c.blob_id
        == select(blobs.c.blob_id).where(blobs.c.digest == bindparam("digest")).scalar_subquery(),
        repository_blobs.c.hidden.is_(None),
    )
    .limit(bindparam("limit"))
    .subquery("linked")
)
SHARING: Final = (
    select(
        repositories.c.name, repositories.c.public, repositories.c.internal, repositories.c.created
    )
    .select_from(_LINKS.join(repositories, repositories.c.repository_id == _LINKS.c.repository_id))
    .where(repositories.c.deleted.is_(None))
    .order_by(repositories.c.name)
)
HISTORY: Final = (
    select(events)
    .where(
        events.c.repository == bindparam("repository"),
        events.c.reference == bindparam("tag"),
        events.c.reference.is_not(None),
    )
    .order_by(events.c.at.desc())
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class Document:
    """A manifest; without its bytes when it is larger than lists read."""

    digest: str
    media_type: str
    artifact_type: str | None
    size: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Said:
    """That something is said of an image, by its `subject`."""

    subject: str
    kind: str
    """The type of artifact, or else of manifest."""


class ShownImages:
    """Images as pages show them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def documents(self, repository: str, digests: Sequence[str]) -> dict[str, Document]:
        """Return by digest those that there are of these."""
        if not digests:
            return {}
        asked = {"repository": repository, "digests": sorted(set(digests))}
        return {
            row.digest: Document(
                row.digest, row.media_type, row.artifact_type, row.size, row.payload
            )
            for row in await self._connections.rows(DOCUMENTS, asked)
        }

    async def said(self, repository: str, digests: Sequence[str]) -> list[Said]:
        """Return what is said of these; not all when it is very much."""
        if not digests:
            return []
        asked = {"repository": repository, "digests": sorted(set(digests)), "limit": SAID_MAX}
        rows = await self._connections.rows(SAID, asked)
        return [Said(row.subject, row.artifact_type or row.media_type) for row in rows]

    async def inline(self, repository: str, digests: Sequence[str]) -> dict[str, bytes]:
        """Return by digest the bytes of those blobs that the database holds: the small ones."""
        if not digests:
            return {}
        asked = {"repository": repository, "digests": sorted(set(digests))}
        rows = await self._connections.rows(INLINE, asked)
        return {row.digest: row.inline for row in rows}

    async def tags_among(self, repository: str, names: Sequence[str]) -> frozenset[str]:
        """Return which of these are tags there."""
        if not names:
            return frozenset()
        asked = {"repository": repository, "names": sorted(set(names))}
        return frozenset(row.name for row in await self._connections.rows(TAGS_OF, asked))

    async def sharing(self, digest: str) -> list[Repository]:
        """Return repositories that have a blob; of very many the first that come."""
        asked = {"digest": digest, "limit": SHARING_MAX}
        rows = await self._connections.rows(SHARING, asked)
        return [
            Repository(row.name, bool(row.public), row.created, bool(row.internal)) for row in rows
        ]

    async def history(self, repository: str, tag: str, limit: int) -> list[Recorded]:
        """Return what happened to a tag, the latest first; also to who had the names before."""
        asked = {"repository": repository, "tag": tag, "limit": limit}
        return [event_of(row) for row in await self._connections.rows(HISTORY, asked)]
