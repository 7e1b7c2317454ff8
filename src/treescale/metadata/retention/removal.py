"""Tags that go by a rule: taken away as a client would, a few in a transaction, and restorable.

With the last tag of an image goes the image, with all that is said of it, and with an index its
parts, unless something else holds them: a tag, an index, a subject. That is looked at where it is
done, with the manifests held; so are the rules, and whether each tag points where it did.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, bindparam, exists, not_, select
from sqlalchemy.engine import Connection

from treescale.metadata.engine.connections import Connections
from treescale.metadata.events.recording import Event, Kind, record, record_all
from treescale.metadata.layouts import HOLD_WRITABLE, may_collect
from treescale.metadata.manifest_push import (
    HAS_PARENT,
    HAS_TAG,
    NOW,
    delete_with_all_said_of_it,
    take_tag,
)
from treescale.metadata.retention.rules import FIND_FOR, Ruled
from treescale.metadata.rules.records import Rule, TagFacts
from treescale.metadata.rules.rows import rules_of
from treescale.metadata.schema import manifest_references, manifests, repositories, tags
from treescale.oci.manifests import ReferenceKind

ACTOR: Final = "rule:retention"
"""Who does it, among the events."""
CAUSE: Final[Mapping[str, object]] = {"cause": "retention"}
TOLD_MAX: Final = 50
"""Tags that the event of a run names."""
DEPTH_MAX: Final = 16
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_NAMES: Final[BindParameter[Any]] = bindparam("names", expanding=True)
_ROW_ID: Final[BindParameter[int]] = bindparam("row_id")
_NAME: Final = select(repositories.c.name).where(
    repositories.c.repository_id == _ROW_ID, repositories.c.deleted.is_(None)
)
_LIVE: Final = (
    manifests.c.repository_id == _ROW_ID,
    manifests.c.digest.in_(_THESE),
    manifests.c.deleted.is_(None),
)
HOLD_MANIFESTS: Final = (
    select(manifests.c.digest).where(*_LIVE).order_by(manifests.c.digest).with_for_update()
)
HOLD_TAGS: Final = (
    select(tags.c.name, tags.c.digest, tags.c.updated)
    .where(tags.c.repository_id == _ROW_ID, tags.c.name.in_(_NAMES))
    .order_by(tags.c.name)
    .with_for_update()
)
_SUBJECT: Final = manifests.alias("subject_of")
_HAS_SUBJECT: Final = exists().where(
    _SUBJECT.c.repository_id == manifests.c.repository_id,
    _SUBJECT.c.digest == manifests.c.subject,
    _SUBJECT.c.deleted.is_(None),
)
_OTHER_TAG: Final = exists().where(
    tags.c.repository_id == manifests.c.repository_id,
    tags.c.digest == manifests.c.digest,
    tags.c.name.not_in(_NAMES),
)
FREE_BUT_FOR: Final = select(manifests.c.digest).where(
    *_LIVE, not_(_OTHER_TAG), not_(HAS_PARENT), not_(_HAS_SUBJECT)
)
FREE: Final = select(manifests.c.digest).where(
    *_LIVE, not_(HAS_TAG), not_(HAS_PARENT), not_(_HAS_SUBJECT)
)
_PARTS: Final = (
    select(manifest_references.c.digest)
    .where(
        manifest_references.c.repository_id == _ROW_ID,
        manifest_references.c.manifest.in_(_THESE),
        manifest_references.c.kind == str(ReferenceKind.MANIFEST),
    )
    .distinct()
)


@dataclass(frozen=True, slots=True)
class Due:
    """A tag that is to go, as it was seen, and by which rules."""

    tag: TagFacts
    rules: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """What went, of what was due."""

    tags: tuple[Due, ...] = ()
    manifests: int = 0


class Removal:
    """Removes tags of repositories."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def take(
        self, repository: Ruled, due: Sequence[Due], rules: Collection[Rule]
    ) -> Gone | None:
        """Take those away that still point where they did, if the rules are still these.

        None when nothing may be taken there now: it is read-only, nothing is collected, other rules
        are in force, or it was deleted or renamed.
        """
        seen = frozenset(rules)

        def work(connection: Connection) -> Gone | None:
            if not _may(connection, repository, seen):
                return None
            return _take(connection, repository, due)

        return await self._connections.write(work)

    async def tell(self, repository: Ruled, gone: Sequence[Due], kept: int, images: int) -> None:
        """Record what a run has removed in one repository."""
        named = [
            {"tag": each.tag.name, "digest": each.tag.digest, "rules": list(each.rules)}
            for each in gone[:TOLD_MAX]
        ]
        told = {"removed": len(gone), "images": images, "kept": kept, "tags": named}
        event = Event(Kind.RETENTION_RAN, ACTOR, repository.name, payload=told)
        await self._connections.write(lambda connection: record(connection, event))


def _may(connection: Connection, repository: Ruled, seen: frozenset[Rule]) -> bool:
    """Say whether it is as it was when that was decided; hold the repository."""
    collects = may_collect(connection)
    this = {"repository": repository.name, "row_id": repository.row_id}
    why = connection.execute(HOLD_WRITABLE, this).scalar_one_or_none()
    is_there = connection.execute(_NAME, this).scalar_one_or_none() == repository.name
    there = frozenset(rules_of(connection.execute(FIND_FOR, this)))
    return collects and why is None and is_there and there == seen


def _take(connection: Connection, repository: Ruled, due: Sequence[Due]) -> Gone:
    row_id = repository.row_id
    _hold_parts_first(connection, row_id, {each.tag.digest for each in due})
    names = {"row_id": row_id, "names": sorted(each.tag.name for each in due)}
    there = {row.name: (row.digest, row.updated) for row in connection.execute(HOLD_TAGS, names)}
    taken = [each for each in due if there.get(each.tag.name) == (each.tag.digest, each.tag.pushed)]
    if not taken:
        return Gone()
    these = {
        "row_id": row_id,
        "these": sorted({each.tag.digest for each in taken}),
        "names": sorted(each.tag.name for each in taken),
    }
    whole = set(connection.execute(FREE_BUT_FOR, these).scalars())
    for each in taken:
        if each.tag.digest not in whole:
            take_tag(connection, row_id, each.tag.name)
    gone = _take_images(connection, row_id, whole)
    record_all(connection, [*_events(repository.name, taken, gone)])
    return Gone(tuple(taken), len(gone))


def _hold_parts_first(connection: Connection, row_id: int, digests: set[str]) -> None:
    """Hold manifests as a push of them does: what an index is made of before the index."""
    levels, seen = [digests], set(digests)
    while levels[-1] and len(levels) < DEPTH_MAX:
        these = {"row_id": row_id, "these": sorted(levels[-1])}
        parts = {*connection.execute(_PARTS, these).scalars()} - seen
        levels.append(parts)
        seen |= parts
    for level in reversed([each for each in levels if each]):
        connection.execute(HOLD_MANIFESTS, {"row_id": row_id, "these": sorted(level)})


def _take_images(connection: Connection, row_id: int, digests: Iterable[str]) -> set[str]:
    """Delete these with all that is said of them, and the parts that nothing else holds."""
    stamp = connection.execute(NOW).scalar_one()
    gone, fresh = set[str](), set(digests)
    for _ in range(DEPTH_MAX):
        if not fresh:
            break
        new = delete_with_all_said_of_it(connection, row_id, *sorted(fresh), stamp=stamp)
        gone |= new
        these = {"row_id": row_id, "these": sorted(new)}
        parts = sorted({*connection.execute(_PARTS, these).scalars()})
        held = {"row_id": row_id, "these": parts}
        connection.execute(HOLD_MANIFESTS, held)
        fresh = set(connection.execute(FREE, held).scalars())
    return gone


def _events(name: str, taken: Iterable[Due], gone: Iterable[str]) -> Iterable[Event]:
    for each in taken:
        told = {**CAUSE, "rules": list(each.rules)}
        tag, digest = each.tag.name, each.tag.digest
        yield Event(Kind.TAG_DELETED, ACTOR, name, reference=tag, digest=digest, payload=told)
    for digest in sorted(gone):
        yield Event(Kind.IMAGE_DELETED, ACTOR, name, digest=digest, payload=CAUSE)
