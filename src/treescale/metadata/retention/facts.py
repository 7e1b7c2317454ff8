"""What rules of retention have to know of the tags of a repository. Reads a page at a time."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from sqlalchemy import BindParameter, Row, Select, Text, bindparam, select, tuple_

from treescale.metadata.engine.connections import Connections
from treescale.metadata.retention.rules import Ruled
from treescale.metadata.rules.records import TagFacts, latest_pull
from treescale.metadata.schema import manifest_references, manifests, pulls, tags
from treescale.oci.manifests import ReferenceKind

READ_AT_ONCE: Final = 1000
_ROW_ID: Final[BindParameter[int]] = bindparam("row_id")
_AFTER: Final = bindparam("after", type_=Text())
TAGS_AFTER: Final = (
    select(tags.c.name, tags.c.digest, tags.c.updated)
    .where(tags.c.repository_id == _ROW_ID, tags.c.name > _AFTER)
    .order_by(tags.c.name)
    .limit(READ_AT_ONCE)
)
TAG: Final = select(tags.c.name).where(
    tags.c.repository_id == _ROW_ID, tags.c.name == bindparam("tag")
)
PULLS_AFTER: Final = (
    select(pulls.c.reference.label("name"), pulls.c.pulled)
    .where(pulls.c.repository_id == _ROW_ID, pulls.c.reference > _AFTER)
    .order_by(pulls.c.reference)
    .limit(READ_AT_ONCE)
)
_INDEX: Final = manifests.alias("parent")
_KEY: Final = tuple_(manifest_references.c.manifest, manifest_references.c.digest)
# A subject is no part of what refers to it.  An outer join, so that SQLite goes by the
# references, in their order.
PARTS_AFTER: Final = (
    select(manifest_references.c.manifest, manifest_references.c.digest)
    .outerjoin(
        _INDEX,
        (_INDEX.c.repository_id == manifest_references.c.repository_id)
        & (_INDEX.c.digest == manifest_references.c.manifest),
    )
    .where(
        manifest_references.c.repository_id == _ROW_ID,
        tuple_(bindparam("manifest", type_=Text()), _AFTER) < _KEY,
        manifest_references.c.kind == str(ReferenceKind.MANIFEST),
        _INDEX.c.subject.is_distinct_from(manifest_references.c.digest),
    )
    .order_by(manifest_references.c.manifest, manifest_references.c.digest)
    .limit(READ_AT_ONCE)
)


async def tag_facts(
    connections: Connections, repository: Ruled, *, with_pulls: bool
) -> list[TagFacts]:
    """Return what is known of each tag, by name; of pulls nothing without `with_pulls`."""
    found = [row async for row in _pages(connections, TAGS_AFTER, repository)]
    pulled: Mapping[str, float] = {}
    parts: Mapping[str, list[str]] = {}
    if with_pulls:
        pages = _pages(connections, PULLS_AFTER, repository)
        pulled = {row.name: row.pulled async for row in pages}
    if pulled:
        parts = await _parts(connections, repository)
    return [
        TagFacts(
            row.name, row.digest, row.updated, latest_pull((row.name, row.digest), pulled, parts)
        )
        for row in found
    ]


async def has_tag(connections: Connections, repository: Ruled, tag: str) -> bool:
    """Return whether there is the tag."""
    return await connections.row(TAG, {"row_id": repository.row_id, "tag": tag}) is not None


async def _parts(connections: Connections, repository: Ruled) -> Mapping[str, list[str]]:
    """Return the manifests that each index is made of."""
    found: dict[str, list[str]] = {}
    place = {"manifest": "", "after": ""}
    while True:
        page = await connections.rows(PARTS_AFTER, {"row_id": repository.row_id, **place})
        for row in page:
            found.setdefault(row.manifest, []).append(row.digest)
        if len(page) < READ_AT_ONCE:
            return found
        place = {"manifest": page[-1].manifest, "after": page[-1].digest}


async def _pages(
    connections: Connections, statement: Select[Any], repository: Ruled
) -> AsyncIterator[Row[Any]]:
    after = ""
    while page := await connections.rows(statement, {"row_id": repository.row_id, "after": after}):
        for row in page:
            yield row
        after = page[-1].name
