"""Manifests in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import BindParameter, ColumnElement, Row, Select, bindparam, delete, select
from sqlalchemy.engine import Connection

from treescale.errors import ManifestBlobUnknown, ManifestUnknown
from treescale.metadata.records import Manifest, ReferrerDescriptor
from treescale.metadata.schema import manifest_references, manifests, repository_blobs, tags
from treescale.metadata.sql.connections import Connections
from treescale.metadata.sql.statements import (
    hold_repository,
    id_of,
    insert_or_ignore,
    insert_or_update,
)
from treescale.oci.manifests import Reference, ReferenceKind

digests_max: Final = 500
"""Digests looked up, and rows written, in one statement."""

_COLUMNS: Final = (
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.subject,
    manifests.c.artifact_type,
    manifests.c.annotations,
    manifests.c.payload,
)
_THIS: Final = (
    manifests.c.repository_id == id_of(),
    manifests.c.digest == bindparam("digest"),
)

GET: Final = select(*_COLUMNS).where(*_THIS)
RESOLVE: Final = (
    select(*_COLUMNS)
    .select_from(tags.join(manifests))
    .where(tags.c.repository_id == id_of(), tags.c.name == bindparam("tag"))
)
DELETE: Final = delete(manifests).where(*_THIS)
# Found rows are held, in digest order, until the manifest that needs them is written.
_WANTED: Final[BindParameter[str]] = bindparam("digests", expanding=True)
HOLD_BLOBS: Final = (
    select(repository_blobs.c.digest)
    .where(
        repository_blobs.c.repository_id == bindparam("row_id"),
        repository_blobs.c.digest.in_(_WANTED),
    )
    .order_by(repository_blobs.c.digest)
    .with_for_update(read=True, key_share=True)
)
HOLD_MANIFESTS: Final = (
    select(manifests.c.digest)
    .where(manifests.c.repository_id == bindparam("row_id"), manifests.c.digest.in_(_WANTED))
    .order_by(manifests.c.digest)
    .with_for_update(read=True, key_share=True)
)
_WRITE: Final = insert_or_update(
    manifests, ["media_type", "subject", "artifact_type", "annotations_bytes", "annotations"]
)
_REFER: Final = insert_or_ignore(manifest_references)
_TAG: Final = insert_or_update(tags, ["digest", "updated"])


def _referring() -> Select[tuple[str, int]]:
    """Return the query for one page of a subject's referrers, without their annotations."""
    return (
        select(manifests.c.digest, manifests.c.annotations_bytes)
        .where(
            manifests.c.repository_id == id_of(),
            manifests.c.subject == bindparam("subject"),
            manifests.c.digest > bindparam("after"),
        )
        .order_by(manifests.c.digest)
        .limit(bindparam("limit"))
    )


_OF_TYPE: Final[ColumnElement[bool]] = manifests.c.artifact_type == bindparam("artifact_type")
REFERRERS: Final = _referring()
REFERRERS_OF_TYPE: Final = _referring().where(_OF_TYPE)
_DESCRIBED: Final = (
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.size,
    manifests.c.artifact_type,
    manifests.c.annotations,
)
_UP_TO: Final = manifests.c.digest <= bindparam("last")
DESCRIBE: Final = _referring().with_only_columns(*_DESCRIBED).where(_UP_TO)
DESCRIBE_OF_TYPE: Final = DESCRIBE.where(_OF_TYPE)


class SqlManifests:
    """Implements `protocols.Manifests`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def put(
        self,
        repository: str,
        manifest: Manifest,
        references: Sequence[Reference],
        tags: Sequence[str],
        *,
        now: float,
    ) -> None:
        """Store the manifest and point `tags` at it, atomically; idempotent."""

        def work(connection: Connection) -> None:
            row_id = hold_repository(connection, repository, now=now)
            _hold_references(connection, row_id, references)
            connection.execute(_WRITE.on(connection), _row(row_id, manifest, now=now))
            _refer(connection, row_id, manifest.digest, references)
            # In one order everywhere, so that two pushes never wait for each other.
            for tag in sorted(set(tags)):
                target = {
                    "repository_id": row_id,
                    "name": tag,
                    "digest": manifest.digest,
                    "updated": now,
                }
                connection.execute(_TAG.on(connection), target)

        await self._connections.write(work)

    async def get(self, repository: str, digest: str) -> Manifest:
        """Return the manifest; raises ManifestUnknown."""
        row = await self._connections.row(GET, {"repository": repository, "digest": digest})
        if row is None:
            raise _unknown(repository, digest)
        return _manifest(row)

    async def resolve(self, repository: str, tag: str) -> Manifest:
        """Return the manifest a tag points at; raises ManifestUnknown."""
        row = await self._connections.row(RESOLVE, {"repository": repository, "tag": tag})
        if row is None:
            raise _unknown(repository, tag)
        return _manifest(row)

    async def delete(self, repository: str, digest: str) -> None:
        """Remove the manifest and every tag that points at it; raises ManifestUnknown."""
        gone = await self._connections.change(DELETE, {"repository": repository, "digest": digest})
        if gone == 0:
            raise _unknown(repository, digest)

    async def referrers(
        self,
        repository: str,
        subject: str,
        artifact_type: str | None,
        after: str,
        limit: int,
        annotation_bytes_max: int,
    ) -> list[ReferrerDescriptor]:
        """Return a page, by digest, of the manifests whose subject this is; [] when none."""
        wanted: dict[str, object] = {"repository": repository, "subject": subject, "after": after}
        find, describe = REFERRERS, DESCRIBE
        if artifact_type is not None:
            wanted["artifact_type"] = artifact_type
            find, describe = REFERRERS_OF_TYPE, DESCRIBE_OF_TYPE
        found = await self._connections.rows(find, {**wanted, "limit": limit})
        fitting = _fitting([row.annotations_bytes for row in found], annotation_bytes_max)
        if fitting == 0:
            return []
        page = {**wanted, "limit": fitting, "last": found[fitting - 1].digest}
        return [_descriptor(row) for row in await self._connections.rows(describe, page)]


def _hold_references(
    connection: Connection, repository_id: int, references: Sequence[Reference]
) -> None:
    """Hold everything the manifest refers to that is here; raise when a required one is not.

    Either kind meets either need: BuildKit's cache indexes name blobs as if they were manifests.
    """
    digests = {reference.digest for reference in references}
    found = _held(connection, HOLD_BLOBS, repository_id, digests)
    named = {each.digest for each in references if each.kind is ReferenceKind.MANIFEST}
    # An image's layers and config are all blobs: it does not ask for manifests at all.
    found |= _held(connection, HOLD_MANIFESTS, repository_id, named | (digests - found))
    for reference in references:
        if reference.required and reference.digest not in found:
            raise ManifestBlobUnknown(
                f"{reference.kind} {reference.digest} is not in this repository: push it first"
            )


def _held(
    connection: Connection, hold: Select[Any], repository_id: int, digests: set[str]
) -> set[str]:
    """Hold which of the digests `hold` finds, in one order everywhere."""
    ordered, found = sorted(digests), set[str]()
    for start in range(0, len(ordered), digests_max):
        page = {"row_id": repository_id, "digests": ordered[start : start + digests_max]}
        found.update(connection.execute(hold, page).scalars())
    return found


def _refer(
    connection: Connection,
    repository_id: int,
    manifest: str,
    references: Iterable[Reference],
) -> None:
    kinds = {reference.digest: str(reference.kind) for reference in references}
    rows = [
        {"repository_id": repository_id, "manifest": manifest, "digest": digest, "kind": kind}
        for digest, kind in sorted(kinds.items())
    ]
    for start in range(0, len(rows), digests_max):
        connection.execute(_REFER.on(connection), rows[start : start + digests_max])


def _row(repository_id: int, manifest: Manifest, *, now: float) -> dict[str, object]:
    annotations = msgspec.json.encode(manifest.annotations)
    return {
        "repository_id": repository_id,
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "size": len(manifest.payload),
        "subject": manifest.subject,
        "artifact_type": manifest.artifact_type,
        "annotations_bytes": len(annotations) if manifest.annotations else 0,
        "pushed": now,
        "annotations": annotations.decode(),
        "payload": manifest.payload,
    }


def _fitting(sizes: Sequence[int], bytes_max: int) -> int:
    """Return how many of the first sizes stay within `bytes_max` together, but at least one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > bytes_max:
            return count
    return len(sizes)


def _annotations(text: str) -> dict[str, str]:
    return msgspec.json.decode(text, type=dict[str, str])


def _manifest(row: Row[Any]) -> Manifest:
    return Manifest(
        digest=row.digest,
        media_type=row.media_type,
        payload=row.payload,
        subject=row.subject,
        artifact_type=row.artifact_type,
        annotations=_annotations(row.annotations),
    )


def _descriptor(row: Row[Any]) -> ReferrerDescriptor:
    return ReferrerDescriptor(
        digest=row.digest,
        media_type=row.media_type,
        size=row.size,
        artifact_type=row.artifact_type,
        annotations=_annotations(row.annotations),
    )


def _unknown(repository: str, reference: str) -> ManifestUnknown:
    return ManifestUnknown(f"no manifest {reference} in {repository}")
