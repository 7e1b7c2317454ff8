"""What `treescale repo show` shows below the summary: tags, blobs, and where the chunks belong.

Computed from the database and placement; no store is asked. What a home has yet to get is owed;
what was pushed under an older layout lies at its homes of then until it is moved.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from treescale.chunks.format.placement import Table
from treescale.cluster.placement_report import Place, Uncounted, placement_report
from treescale.cluster.queries import missing_among, tables_of, uncounted_of
from treescale.maintenance.report.columns import Column, Kind, Row, time
from treescale.metadata.database import Database
from treescale.metadata.records import Blob, Manifest, RepositoryUsage, StoreRecord
from treescale.metadata.usage.figures import TagFigures, Usage
from treescale.registry.contents import PARTS_READ_MAX, RepositoryChunks

PAGE_SIZE = 500
WRONG_SIZES_TOLD_MAX: Final = 10
TAGS: Final = (
    Column("tag"),
    Column("digest"),
    Column("media_type"),
    Column("chunks", Kind.COUNT, empty="?"),
    Column("chunked_bytes", Kind.BYTES, empty="?"),
    Column("servers", Kind.COUNT, empty="?"),
    Column("copies_owed", Kind.COUNT, empty="unknown"),
    Column("lost_blobs", Kind.COUNT, empty="?"),
    Column("pushed", Kind.TIME),
    Column("pushed_by", empty="?"),
    Column("pulled", Kind.TIME, empty="-"),
    Column("pulls", Kind.COUNT),
)
BLOBS: Final = (
    Column("blob"),
    Column("size", Kind.BYTES),
    Column("kept_as"),
    Column("lost_since", Kind.TIME, empty="-"),
)
PLACES: Final = (
    Column("server"),
    Column("store", Kind.ID),
    Column("path"),
    Column("chunks", Kind.COUNT),
    Column("bytes", Kind.BYTES),
    Column("share", Kind.SHARE),
    Column("copies_owed", Kind.COUNT, empty="unknown"),
    Column("earlier_chunks", Kind.COUNT),
    Column("earlier_bytes", Kind.BYTES),
    Column("uncounted_chunks", Kind.COUNT),
)
_WHERE: Final = (
    "Where chunks belong under the present layout, from the database alone: no store was asked."
)
_EARLIER: Final = (
    "earlier_chunks: stores that were homes of these chunks under an older layout. What was pushed "
    "then lies there until it is moved, and is found there."
)
_UNCOUNTED: Final = (
    "uncounted_chunks: whether the store has these nobody has looked: it was no home of them under "
    "a layout by which they may have been pushed. So how many copies are owed is not known."
)
_NO_LAYOUT: Final = "No layout is in force yet, so nothing says where chunks belong."
_STOPPED: Final = (
    f"Not everything was looked at: the chunks of the first {PARTS_READ_MAX:,} parts of layers are "
    "counted. Say NAME:TAG to look at one image."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """The lists, and how they are to be taken."""

    tags: list[Row]
    blobs: list[Row]
    placement_report: list[Row]
    layout: int | None
    complete: bool
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> Row:
        """Return all of it."""
        return {
            "layout": self.layout,
            "tag_list": self.tags,
            "blob_list": self.blobs,
            "belongs_on": self.placement_report,
            "complete": self.complete,
        }


@dataclass(frozen=True, slots=True)
class _Homes:
    """What says where chunks belong."""

    stores: Mapping[str, StoreRecord]
    tables: list[Table]
    owed: Mapping[str, set[bytes]]
    uncounted: Uncounted

    def of(self, chunks: Mapping[bytes, int]) -> tuple[Place, ...]:
        """Return the places of these chunks."""
        return placement_report(chunks, self.tables, self.stores, self.owed, self.uncounted)


async def look(database: Database, repository: str, tag: str | None) -> Shown:
    """Return what the repository holds, or what the image with this tag does."""
    contents = RepositoryChunks()
    found = [pair async for pair in _tagged(database, repository, tag)]
    images = {
        name: await contents.image(database.manifests, repository, top) for name, top in found
    }
    wanted = None if tag is None else images[tag]
    blobs, lost, wrong = [], set(), list[Blob]()
    async for blob in _blobs(database, repository):
        if wanted is None or blob.digest in wanted:
            contents.add(blob)
            blobs.append(_blob_row(blob))
            if blob.lost_since is not None:
                lost.add(blob.digest)
            if contents.said.get(blob.digest, set()) - {blob.size}:
                wrong.append(blob)
    chunks = contents.chunks() or {}
    homes, known = await _homes(database, chunks), await _figures(database, repository)
    tags: list[Row] = [
        {
            **_tag_row(name, top, contents.chunks(images[name]), homes),
            "lost_blobs": len(lost.intersection(images[name])),
            **_figures_row(known.get(name)),
        }
        for name, top in found
    ]
    rows = _place_rows(homes, homes.of(chunks))
    layout = homes.tables[0].layout.number if homes.tables else None
    shown = Shown(tags, blobs, rows, layout, contents.complete)
    shown.notes.extend(_notes(shown, chunks))
    if lost:
        shown.notes.append(_lost_note(repository, tags, lost))
    if wrong:
        shown.notes.append(_sizes_note(wrong, contents))
    return shown


async def _homes(database: Database, chunks: Mapping[bytes, int]) -> _Homes:
    stores = {store.store_id: store for store in await database.stores.list()}
    tables = await tables_of(database.layouts, frozenset(stores))
    owed = {
        debt.store_id: await missing_among(database.under_replicated, debt.store_id, chunks)
        for debt in await database.under_replicated.summary()
    }
    return _Homes(stores, tables, owed, await uncounted_of(database))


async def _tagged(
    database: Database, repository: str, only: str | None
) -> AsyncIterator[tuple[str, Manifest]]:
    if only is not None:
        yield only, await database.manifests.resolve(repository, only)
        return
    after = ""
    while page := await database.manifests.list_tags(repository, after, PAGE_SIZE):
        for tag in page:
            yield tag, await database.manifests.resolve(repository, tag)
        after = page[-1]


async def _figures(database: Database, repository: str) -> dict[str, TagFigures]:
    found: dict[str, TagFigures] = {}
    usage, after = Usage(database.connections), ""
    while page := await usage.tags(repository, after, PAGE_SIZE):
        found |= {each.name: each for each in page}
        after = page[-1].name
    return found


def _figures_row(known: TagFigures | None) -> dict[str, object]:
    """Return when and by whom a tag was pushed and pulled; nothing of one that is just gone."""
    if known is None:
        return {}
    return {
        "pushed": time(known.pushed),
        "pushed_by": known.pushed_by,
        "pulled": time(known.pulled),
        "pulls": known.pulls,
    }


async def _blobs(database: Database, repository: str) -> AsyncIterator[Blob]:
    after = ""
    while page := await database.blobs.list_repository(repository, after, PAGE_SIZE):
        for blob in page:
            yield blob
        after = page[-1].digest


def _tag_row(
    tag: str, top: Manifest, chunks: Mapping[bytes, int] | None, homes: _Homes
) -> dict[str, object]:
    """Return a tag, and for scripts where each store comes in."""
    row: dict[str, object] = {"tag": tag, "digest": top.digest, "media_type": top.media_type}
    if chunks is None:
        return row
    found = homes.of(chunks)
    now = [place for place in found if place.chunks]
    row["chunks"] = len(chunks)
    row["chunked_bytes"] = sum(chunks.values())
    row["servers"] = len({_server_of(homes.stores[place.store_id]) for place in now})
    unsure = any(place.uncounted for place in found)
    row["copies_owed"] = None if unsure else sum(place.owed for place in found)
    row["copies_owed_noted"] = sum(place.owed for place in found)
    row["uncounted_chunks"] = max((place.uncounted for place in found), default=0)
    row["belongs_on"] = _place_rows(homes, found)
    return row


def _place_rows(homes: _Homes, found: tuple[Place, ...]) -> list[Row]:
    """Return the stores, by server; a share is of the bytes of all copies."""
    total = sum(place.bytes for place in found)
    rows = [
        {
            "server": homes.stores[place.store_id].server,
            "store": place.store_id,
            "path": homes.stores[place.store_id].path,
            "chunks": place.chunks,
            "bytes": place.bytes,
            "share": round(place.bytes / total, 4) if total else 0.0,
            "copies_owed": None if place.uncounted else place.owed,
            "copies_owed_noted": place.owed,
            "uncounted_chunks": place.uncounted,
            "earlier_chunks": place.earlier_chunks,
            "earlier_bytes": place.earlier_bytes,
        }
        for place in found
    ]
    return sorted(rows, key=lambda row: (str(row["server"]), str(row["path"])))


def _notes(shown: Shown, chunks: Mapping[bytes, int]) -> list[str]:
    notes = []
    if chunks:
        notes.append(_NO_LAYOUT if shown.layout is None else _WHERE)
    if any(row["uncounted_chunks"] for row in shown.placement_report):
        notes.append(_UNCOUNTED)
    if any(row["earlier_chunks"] for row in shown.placement_report):
        notes.append(_EARLIER)
    if not shown.complete:
        notes.append(_STOPPED)
    return notes


def _lost_note(repository: str, tags: Iterable[Row], lost: Collection[str]) -> str:
    names = [f"{repository}:{row['tag']}" for row in tags if row["lost_blobs"]]
    push = f"Push again: {', '.join(names)}." if names else "No tag shown here needs them."
    return f"{len(lost)} blobs are lost: no store has a good copy of all of their bytes. {push}"


def _sizes_note(wrong: Sequence[Blob], contents: RepositoryChunks) -> str:
    told = [
        f"{blob.digest} has {blob.size} bytes and not "
        + " or ".join(str(size) for size in sorted(contents.said[blob.digest] - {blob.size}))
        for blob in wrong[:WRONG_SIZES_TOLD_MAX]
    ]
    return (
        f"Manifests say another size of {len(wrong)} blobs than they have: {'; '.join(told)}. "
        "podman and dockerd pull such images; containerd, crane and others refuse. Build and push "
        "them again."
    )


def _blob_row(blob: Blob) -> Row:
    kept = "chunks" if blob.inline is None else "inline"
    return {
        "blob": blob.digest,
        "size": blob.size,
        "kept_as": kept,
        "lost_since": time(blob.lost_since),
    }


def _server_of(store: StoreRecord) -> str:
    return store.server_id or store.server


def usage_row(usage: RepositoryUsage, read_only: str | None) -> Row:
    """Return the summary of what a repository takes."""
    one = usage.repository
    return {
        "name": one.name,
        "public": one.public,
        "visibility": one.visibility,
        "read_only": read_only,
        "created": time(one.created),
        "tags": usage.tags,
        "manifests": usage.manifests,
        "blobs": usage.blobs,
        "pushed_bytes": usage.bytes_logical,
        "stored_bytes": usage.bytes_chunked,
        "deduplication_saved_bytes": usage.bytes_logical - usage.bytes_chunked,
        "shared_with_others_bytes": usage.bytes_chunked - usage.bytes_exclusive,
        "own_bytes": usage.bytes_exclusive,
    }
