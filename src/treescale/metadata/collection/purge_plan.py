"""What a purge would take away, and what stays although it was deleted: reads alone.

Only what was deleted is purged. A blob stays that something else has, a chunk that another blob or
an unfinished upload names. It is looked up page by page; what is decided counts in `purging`, where
each transaction asks once more.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BindParameter, Select, and_, bindparam, or_, select

from treescale.errors import ManifestUnknown, NameUnknown, PreconditionFailed
from treescale.metadata.blobs import References
from treescale.metadata.collection.adoption import among, is_among
from treescale.metadata.engine.connections import Connections
from treescale.metadata.manifest_push import COSIGN_SUFFIXES
from treescale.metadata.repositories import DELETED_MARK
from treescale.metadata.schema import (
    blob_chunks,
    chunks,
    deleted_tags,
    manifest_references,
    manifests,
    repositories,
    repository_blobs,
    tags,
)

AT_ONCE: Final = 500
PAGE: Final = 2000
LIVE_NAMED_MAX: Final = 5
"""Images that are named of those that keep something."""

_links, _references = repository_blobs, manifest_references
_THESE: Final[BindParameter[Any]] = bindparam("these", expanding=True)
_ROW: Final[BindParameter[int]] = bindparam("row_id")
Pair = tuple[int, str]
"""A repository's row id, and a digest in it."""

NAMED: Final = select(repositories.c.repository_id, repositories.c.name).where(
    repositories.c.name == bindparam("named")
)
DELETED_NAMED: Final = select(repositories.c.repository_id, repositories.c.name).where(
    repositories.c.deleted.is_not(None),
    repositories.c.name > bindparam("first"),
    repositories.c.name < bindparam("end"),
)
MANIFESTS_IN: Final = (
    select(manifests.c.digest, manifests.c.deleted, manifests.c.subject)
    .where(manifests.c.repository_id == _ROW, manifests.c.digest > bindparam("after"))
    .order_by(manifests.c.digest)
    .limit(PAGE)
)
LINKS_IN: Final = (
    select(_links.c.digest, _links.c.hidden)
    .where(_links.c.repository_id == _ROW, _links.c.digest > bindparam("after"))
    .order_by(_links.c.digest)
    .limit(PAGE)
)
_TAG: Final = select(tags.c.digest).where(
    tags.c.repository_id == _ROW, tags.c.name == bindparam("tag")
)
_DELETED_TAG: Final = select(deleted_tags.c.digest).where(
    deleted_tags.c.repository_id == _ROW, deleted_tags.c.name == bindparam("tag")
)
_DIGEST: Final = select(manifests.c.deleted).where(
    manifests.c.repository_id == _ROW, manifests.c.digest == bindparam("digest")
)
_SAID_BY_TAG: Final = select(deleted_tags.c.name, deleted_tags.c.digest).where(
    deleted_tags.c.repository_id == _ROW, deleted_tags.c.name.in_(_THESE)
)
_PARENT: Final = manifests.alias("parent")
_PARENTS: Final = (
    select(_references.c.digest, _references.c.manifest)
    .select_from(
        _references.join(
            _PARENT,
            and_(
                _PARENT.c.repository_id == _references.c.repository_id,
                _PARENT.c.digest == _references.c.manifest,
            ),
        )
    )
    .where(
        is_among(_references.c.repository_id, _references.c.digest),
        or_(_PARENT.c.subject.is_(None), _PARENT.c.subject != _references.c.digest),
    )
)
_LIVE_INDEXES: Final = (
    select(
        _references.c.repository_id,
        _references.c.digest,
        _references.c.manifest,
        tags.c.name.label("tag"),
    )
    .select_from(
        _references.join(
            _PARENT,
            and_(
                _PARENT.c.repository_id == _references.c.repository_id,
                _PARENT.c.digest == _references.c.manifest,
            ),
        ).outerjoin(
            tags,
            and_(
                tags.c.repository_id == _PARENT.c.repository_id, tags.c.digest == _PARENT.c.digest
            ),
        )
    )
    .where(
        is_among(_references.c.repository_id, _references.c.digest),
        _PARENT.c.deleted.is_(None),
        or_(_PARENT.c.subject.is_(None), _PARENT.c.subject != _references.c.digest),
    )
    .order_by(_references.c.digest, _references.c.manifest, tags.c.name)
    .limit(1)
)
_REFERRED: Final = (
    select(_links.c.repository_id, _links.c.digest)
    .distinct()
    .select_from(
        _references.join(
            _links,
            and_(
                _links.c.repository_id == _references.c.repository_id,
                _links.c.digest == _references.c.digest,
            ),
        )
    )
    .where(is_among(_references.c.repository_id, _references.c.manifest))
)
_REFERRING: Final = select(
    _references.c.repository_id, _references.c.digest, _references.c.manifest
).where(is_among(_references.c.repository_id, _references.c.digest))
_CHILDREN: Final = (
    select(manifests.c.repository_id, manifests.c.digest)
    .distinct()
    .select_from(
        _references.join(
            manifests,
            and_(
                manifests.c.repository_id == _references.c.repository_id,
                manifests.c.digest == _references.c.digest,
            ),
        )
    )
    .where(
        is_among(_references.c.repository_id, _references.c.manifest),
        manifests.c.deleted.is_(None),
    )
)
_BLOB_OF: Final = select(_links.c.blob_id).where(is_among(_links.c.repository_id, _links.c.digest))
_LINKS_OF: Final = select(_links.c.blob_id, _links.c.repository_id, _links.c.digest).where(
    _links.c.blob_id.in_(_THESE)
)
_CHUNKS_OF: Final = (
    select(chunks.c.chunk, chunks.c.length)
    .select_from(blob_chunks.join(chunks, chunks.c.chunk == blob_chunks.c.chunk))
    .where(blob_chunks.c.blob_id == bindparam("blob"), blob_chunks.c.chunk > bindparam("after"))
    .order_by(blob_chunks.c.chunk)
    .limit(PAGE)
)
_BLOBS_OF: Final = select(blob_chunks.c.chunk, blob_chunks.c.blob_id).where(
    blob_chunks.c.chunk.in_(_THESE)
)


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What a purge takes away."""

    names: Mapping[int, str]
    """What the repositories are, or were, called."""
    manifests: Sequence[Pair]
    links: Sequence[Pair]
    """Of blobs that no manifest refers to."""
    whole: Sequence[int]
    """Deleted repositories, which go as well."""
    blobs: int
    chunks: int
    size: int
    """Bytes of these chunks, each counted once."""
    shared: int
    """Chunks of what was deleted that stay: something else names them."""
    live: Sequence[str]
    """Some images that are not deleted, and belong to what is purged: they stay."""


NOTHING: Final = PurgePlan({}, (), (), (), 0, 0, 0, 0, ())


class StillThere(PreconditionFailed):
    """Nobody has deleted it."""


class PartInUse(PreconditionFailed):
    """It was deleted by itself, and is a part of an index that is not."""


class PurgeReader:
    """Finds out what a purge would take away."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._references = References(connections)

    async def plan(self, name: str, tag: str | None, digest: str | None) -> PurgePlan:
        """Return what would go. Raises NameUnknown, ManifestUnknown when nothing was deleted there.

        Raises StillThere when nobody has deleted it, PartInUse when an index that stays has it.
        """
        live = await self._connections.row(NAMED, {"named": name})
        targets: list[Pair] = []
        links: list[Pair] = []
        names: dict[int, str] = {}
        whole: list[int] = []
        if live is not None:
            names[live.repository_id] = name
        if tag is not None or digest is not None:
            if live is None:
                raise NameUnknown(f"no repository {name}: purge {name} if it was deleted")
            targets = await self._of_image(live.repository_id, name, tag, digest)
        else:
            span = {"first": name + DELETED_MARK, "end": name + chr(ord(DELETED_MARK) + 1)}
            whole = [row.repository_id for row in await self._connections.rows(DELETED_NAMED, span)]
            names |= dict.fromkeys(whole, name)
            for row_id in names:
                is_whole = row_id in whole
                targets += await self._in(MANIFESTS_IN, row_id, "deleted", whole=is_whole)
                links += await self._in(LINKS_IN, row_id, "hidden", whole=is_whole)
            if not (targets or links or whole):
                raise await self._nothing(live and live.repository_id, name)
        await self._check_parts(names, [each for each in targets if each[0] not in whole])
        return await self._plan(names, targets, links, whole)

    async def _check_parts(self, names: Mapping[int, str], targets: Sequence[Pair]) -> None:
        """Raise PartInUse when one of these is a part of an index that is not deleted."""
        for page in _pages(targets):
            for row in await self._rows_of(_LIVE_INDEXES, page):
                name = names[row.repository_id]
                part, index = f"{name}@{row.digest}", f"{name}@{row.manifest}"
                called = index if row.tag is None else f"{name}:{row.tag}"
                raise PartInUse(
                    f"{part} was deleted, and is a part of {called}, which is not: nobody could "
                    f"pull that any more. Delete it as well, `treescale repo delete {index}`, or "
                    f"bring the part back, `treescale repo restore {part}`"
                )

    async def _of_image(
        self, row_id: int, name: str, tag: str | None, digest: str | None
    ) -> list[Pair]:
        """Return the manifest, and what was deleted together with it."""
        digests = [digest]
        if tag is not None:
            this = {"row_id": row_id, "tag": tag}
            if await self._connections.row(_TAG, this) is not None:
                raise _is_there(f"{name}:{tag}")
            digests = [row.digest for row in await self._connections.rows(_DELETED_TAG, this)]
        gone, there = dict[str, float](), []
        for each in digests:
            row = await self._connections.row(_DIGEST, {"row_id": row_id, "digest": each})
            if row is not None and row.deleted is None:
                there.append(f"{name}@{each}")
            elif row is not None:
                gone[str(each)] = row.deleted
        if there and not gone:
            raise _is_there(there[0])
        if not gone:
            raise ManifestUnknown(
                f"nothing was deleted at {name}{f':{tag}' if tag else f'@{digest}'}: "
                "`treescale repo deleted` lists what was"
            )
        return [(row_id, each) for each in await self._together(row_id, gone)]

    async def _together(self, row_id: int, gone: Mapping[str, float]) -> set[str]:
        """Return these, with what belongs to them of all that was deleted at the same moments.

        That is what is said of them, and parts that no other image has. Other images may have gone
        at the same moment: nobody has named them.
        """
        moments, found = set(gone.values()), set(gone)
        subjects = {
            row.digest: row.subject
            async for row in self._rows_in(MANIFESTS_IN, row_id)
            if row.deleted in moments
        }
        parents: dict[str, set[str]] = {each: set() for each in subjects}
        said_of: dict[str, set[str]] = {}
        for page in _pages(sorted(subjects)) if len(subjects) > len(gone) else []:
            pairs = [(row_id, each) for each in page]
            for row in await self._rows_of(_PARENTS, pairs):
                parents[row.digest].add(row.manifest)
            for suffix in COSIGN_SUFFIXES:
                names = {each.replace(":", "-", 1) + suffix: each for each in page}
                said = {"row_id": row_id, "these": list(names)}
                for row in await self._connections.rows(_SAID_BY_TAG, said):
                    said_of.setdefault(row.digest, set()).add(names[row.name])
        while fresh := {
            each
            for each in subjects.keys() - found
            if subjects[each] in found
            or said_of.get(each, set()) & found
            or (parents[each] and parents[each] <= found)
        }:
            found |= fresh
        return found

    async def _nothing(self, row_id: int | None, name: str) -> NameUnknown | StillThere:
        if row_id is None:
            return NameUnknown(
                f"no repository {name}, deleted or not: `treescale repo deleted` lists what was"
            )
        return _is_there(name)

    async def _in(self, which: Select[Any], row_id: int, mark: str, *, whole: bool) -> list[Pair]:
        return [
            (row_id, row.digest)
            async for row in self._rows_in(which, row_id)
            if whole or getattr(row, mark) is not None
        ]

    async def _rows_in(self, which: Select[Any], row_id: int) -> AsyncIterator[Any]:
        after = ""
        while page := await self._connections.rows(which, {"row_id": row_id, "after": after}):
            for row in page:
                yield row
            after = page[-1].digest

    async def _plan(
        self,
        names: Mapping[int, str],
        targets: Sequence[Pair],
        links: Sequence[Pair],
        whole: Sequence[int],
    ) -> PurgePlan:
        going_manifests = frozenset(targets)
        wanted = set(links)
        children: set[Pair] = set()
        for page in _pages(targets):
            wanted |= {_pair(row) for row in await self._rows_of(_REFERRED, page)}
            children |= {_pair(row) for row in await self._rows_of(_CHILDREN, page)}
        going = set(wanted)
        for page in _pages(sorted(wanted)):
            for row in await self._rows_of(_REFERRING, page):
                if (row.repository_id, row.manifest) not in going_manifests:
                    going.discard(_pair(row))
        blobs = await self._blobs(going)
        sizes, shared = await self._chunks(blobs)
        deleted_here = frozenset(whole)
        live = sorted({pair for pair in children if pair[0] not in deleted_here} - going_manifests)
        return PurgePlan(
            names,
            sorted(targets),
            sorted(set(links) & going),
            whole,
            len(blobs),
            len(sizes),
            sum(sizes.values()),
            shared,
            [f"{names[row_id]}@{digest}" for row_id, digest in live[:LIVE_NAMED_MAX]],
        )

    async def _blobs(self, going: Collection[Pair]) -> set[int]:
        """Return the blobs that only these links lead to."""
        found: set[int] = set()
        for page in _pages(sorted(going)):
            found |= {row.blob_id for row in await self._rows_of(_BLOB_OF, page)}
        for page in _pages(sorted(found)):
            for row in await self._rows(_LINKS_OF, page):
                if _pair(row) not in going:
                    found.discard(row.blob_id)
        return found

    async def _chunks(self, blobs: Collection[int]) -> tuple[dict[bytes, int], int]:
        """Return the lengths of chunks that only these blobs have, and how many others have too."""
        sizes: dict[bytes, int] = {}
        for blob in blobs:
            after = b""
            this = {"blob": blob}
            while page := await self._connections.rows(_CHUNKS_OF, {**this, "after": after}):
                sizes |= {bytes(row.chunk): row.length for row in page}
                after = bytes(page[-1].chunk)
        shared: set[bytes] = set()
        for names in _pages(sorted(sizes)):
            for row in await self._rows(_BLOBS_OF, names):
                if row.blob_id not in blobs:
                    shared.add(bytes(row.chunk))
        if sizes:
            shared |= (await self._references.in_sessions(sizes.__contains__)).keys()
        return {chunk: size for chunk, size in sizes.items() if chunk not in shared}, len(shared)

    async def _rows(self, statement: Select[Any], these: Iterable[Any]) -> Sequence[Any]:
        return await self._connections.rows(statement, {"these": list(these)})

    async def _rows_of(self, statement: Select[Any], pairs: Iterable[Pair]) -> Sequence[Any]:
        return await self._connections.rows(statement, among(pairs))


def _pair(row: Any) -> Pair:
    return row.repository_id, row.digest


def _pages(all_of_them: Sequence[Any]) -> list[Sequence[Any]]:
    return [all_of_them[at : at + AT_ONCE] for at in range(0, len(all_of_them), AT_ONCE)]


def _is_there(what: str) -> StillThere:
    return StillThere(
        f"{what} is still there, and nothing is purged that nobody deleted: delete it first, "
        f"`treescale repo delete {what}`"
    )
