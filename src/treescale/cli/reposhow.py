"""What `treescale repo show` shows below the summary: tags, blobs, and where the chunks belong.

Computed from the database and placement; no store is asked. What a home has yet to get is owed;
what was pushed under an older layout lies at its homes of then until it is moved.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from treescale.chunks.placement import Table
from treescale.cli.output import Column, Kind, Row
from treescale.metadata.protocols import Database
from treescale.metadata.records import Blob, Manifest, StoreRecord
from treescale.registry.contents import Contents, parts_read_max
from treescale.upkeep.debts import owed_among
from treescale.upkeep.survey import tables_of
from treescale.upkeep.whereabouts import Place, places

page_size = 500
TAGS: Final = (
    Column("tag"),
    Column("digest"),
    Column("media_type"),
    Column("chunks", Kind.COUNT, empty="?"),
    Column("chunked_bytes", Kind.BYTES, empty="?"),
    Column("servers", Kind.COUNT, empty="?"),
    Column("copies_owed", Kind.COUNT, empty="?"),
)
BLOBS: Final = (Column("blob"), Column("size", Kind.BYTES), Column("kept_as"))
PLACES: Final = (
    Column("server"),
    Column("store", Kind.ID),
    Column("path"),
    Column("chunks", Kind.COUNT),
    Column("bytes", Kind.BYTES),
    Column("share", Kind.SHARE),
    Column("copies_owed", Kind.COUNT),
    Column("earlier_chunks", Kind.COUNT),
    Column("earlier_bytes", Kind.BYTES),
)
_WHERE: Final = (
    "Where chunks belong under the present layout, from the database alone: no store was asked."
)
_EARLIER: Final = (
    "earlier_chunks: stores that were homes of these chunks under an older layout. What was pushed "
    "then lies there until it is moved, and is found there."
)
_NO_LAYOUT: Final = "No layout is in force yet, so nothing says where chunks belong."
_STOPPED: Final = (
    f"Not everything was looked at: the chunks of the first {parts_read_max:,} parts of layers are "
    "counted. Say NAME:TAG to look at one image."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """The lists, and how they are to be taken."""

    tags: list[Row]
    blobs: list[Row]
    places: list[Row]
    layout: int | None
    complete: bool
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> Row:
        """Return all of it."""
        return {
            "layout": self.layout,
            "tag_list": self.tags,
            "blob_list": self.blobs,
            "belongs_on": self.places,
            "complete": self.complete,
        }


@dataclass(frozen=True, slots=True)
class _Homes:
    """What says where chunks belong."""

    stores: Mapping[str, StoreRecord]
    tables: list[Table]
    owed: Mapping[str, set[bytes]]

    def of(self, chunks: Mapping[bytes, int]) -> tuple[Place, ...]:
        """Return the places of these chunks."""
        return places(chunks, self.tables, self.stores, self.owed)


async def look(database: Database, repository: str, tag: str | None) -> Shown:
    """Return what the repository holds, or what the image with this tag does."""
    contents = Contents()
    found = [pair async for pair in _tagged(database, repository, tag)]
    images = {
        name: await contents.image(database.manifests, repository, top) for name, top in found
    }
    wanted = None if tag is None else images[tag]
    blobs = []
    async for blob in _blobs(database, repository):
        if wanted is None or blob.digest in wanted:
            contents.add(blob)
            blobs.append(_blob_row(blob))
    chunks = contents.chunks() or {}
    homes = await _homes(database, chunks)
    tags: list[Row] = [
        _tag_row(name, top, contents.chunks(images[name]), homes) for name, top in found
    ]
    rows = _place_rows(homes, homes.of(chunks))
    layout = homes.tables[0].layout.number if homes.tables else None
    shown = Shown(tags, blobs, rows, layout, contents.complete)
    shown.notes.extend(_notes(shown, chunks))
    return shown


async def _homes(database: Database, chunks: Mapping[bytes, int]) -> _Homes:
    stores = {store.store_id: store for store in await database.stores.list()}
    tables = await tables_of(database.layouts, frozenset(stores))
    owed = {
        debt.store_id: await owed_among(database.owed, debt.store_id, chunks)
        for debt in await database.owed.summary()
    }
    return _Homes(stores, tables, owed)


async def _tagged(
    database: Database, repository: str, only: str | None
) -> AsyncIterator[tuple[str, Manifest]]:
    if only is not None:
        yield only, await database.manifests.resolve(repository, only)
        return
    after = ""
    while page := await database.tags.list(repository, after, page_size):
        for tag in page:
            yield tag, await database.manifests.resolve(repository, tag)
        after = page[-1]


async def _blobs(database: Database, repository: str) -> AsyncIterator[Blob]:
    after = ""
    while page := await database.blobs.list_repository(repository, after, page_size):
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
    row["copies_owed"] = sum(place.owed for place in found)
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
            "copies_owed": place.owed,
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
    if any(row["earlier_chunks"] for row in shown.places):
        notes.append(_EARLIER)
    if not shown.complete:
        notes.append(_STOPPED)
    return notes


def _blob_row(blob: Blob) -> Row:
    kept = "chunks" if blob.inline is None else "inline"
    return {"blob": blob.digest, "size": blob.size, "kept_as": kept}


def _server_of(store: StoreRecord) -> str:
    return store.server_id or store.server
