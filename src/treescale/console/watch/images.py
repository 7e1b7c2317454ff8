"""`/repositories/NAME/spread`: where an image lies, and from where it is pulled at this moment.

Who may pull it may see it. The names of servers and stores are for administrators and for who
maintains the repository: they are the operator's, and help others to nothing but an attack. Others
see as many servers, by number.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from treescale.auth.policy import permitted
from treescale.auth.scopes import Action
from treescale.clock import Clock
from treescale.cluster.queries import missing_among
from treescale.cluster.status import ClusterStatus, StoreView
from treescale.console.content.rights import check_pull, repository_name, standing_in
from treescale.console.route import Answered, Asked
from treescale.console.watch.gathering import ClusterGatherer, Picture
from treescale.console.watch.image_chunks import ImageChunks, read_image
from treescale.console.watch.partitions import runs
from treescale.console.watch.picture import alive, labels
from treescale.console.watch.spread import Cell, Facts, Spread, cell_size, spread_of
from treescale.errors import NotEnoughStores, RequestInvalid
from treescale.metadata.database import Database
from treescale.metrics.chunk_reads import Read, begin_of
from treescale.oci.digest import parse_digest
from treescale.oci.names import check_tag

KNOWN_SECONDS: Final = 10.0
"""So long what was found of an image is told once more."""
KNOWN_MAX: Final = 4
READ_SECONDS: Final = 10.0
"""Reads are told of for so long."""


class SpreadStore(msgspec.Struct):
    """A store that is a home of some of the chunks."""

    store: str
    """Its id; "" for who may not know."""
    server: str
    path: str
    condition: str
    chunks: int
    """That belong there."""
    owed: int
    """Of those, how many it has yet to get."""
    cells: list[tuple[int, int]]
    """What the chunks are to it, in order: so many cells in a row are 0 elsewhere, 1 here, 2 on a
    store that cannot be read now, 3 still to be copied there, 4 lost."""


class SpreadRead(msgspec.Struct):
    """Chunks that were read for clients of this server lately."""

    store: int
    """Its place in `stores`."""
    cell: int
    seconds_ago: float


class WithoutServer(msgspec.Struct):
    """What would be if a server died alone."""

    server: str
    chunks: int
    """So many could not be read any more."""


class ImageSpread(msgspec.Struct):
    """An image across the cluster."""

    name: str
    digest: str
    chunks: int
    bytes: int
    blobs_in_database: int
    copies: int
    """So many there should be of each chunk."""
    cells: int
    chunks_per_cell: int
    stores: list[SpreadStore]
    unreadable: int
    """Chunks that no store has that can be read now."""
    without: list[WithoutServer]
    owed: int
    lost: int
    settled: bool
    """Whether all stores were looked through under the layout in force: else copies may lie
    elsewhere, too."""
    complete: bool
    """Whether all chunks were looked at."""
    named: bool
    """Whether servers have their names here."""
    seen_by: str
    """The server that tells of `reads`: of pulls through it."""
    reads: list[SpreadRead]
    """None where servers have no names: a chunk that is read may be of another image, and who pulls
    that is nobody's business."""


@dataclass(slots=True)
class _Known:
    """What was found of an image."""

    at: float
    image: ImageChunks
    owed: Mapping[str, set[bytes]]
    lost: frozenset[bytes]
    cells: Mapping[bytes, int]
    """The cell of each chunk, by the begin of its id."""
    facts: Facts | None = None
    spread: Spread | None = None
    """What came of those facts."""


@dataclass(frozen=True, slots=True)
class _Names:
    """What the stores and servers are called for whoever looks."""

    stores: Mapping[str, StoreView]
    order: Sequence[str]
    """The stores that are shown."""
    numbers: Mapping[str, int]
    """Of servers."""
    called: Mapping[str, str]
    named: bool

    @classmethod
    def of(cls, seen: ClusterStatus, shown: Iterable[str], *, named: bool) -> "_Names":
        stores = {one.record.store_id: one for one in seen.stores}
        order = sorted(
            (name for name in shown if name in stores),
            key=lambda name: (stores[name].record.server, stores[name].record.path, name),
        )
        servers = dict.fromkeys(_server_of(stores[name]) for name in order)
        numbers = {name: number for number, name in enumerate(servers, start=1)}
        return cls(stores, order, numbers, labels(seen), named)

    def server(self, key: str) -> str:
        number = f"server {self.numbers.get(key, 0)}"
        return self.called.get(key, key) if self.named else number


class SpreadDesk:
    """What answers for images across the cluster."""

    def __init__(self, database: Database, clock: Clock, gatherer: ClusterGatherer) -> None:
        self._database = database
        self._clock = clock
        self._gatherer = gatherer
        self._finding = asyncio.Lock()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()

    async def show(self, asked: Asked) -> Answered:
        """Say where it is; for some seconds from now reads of it are noted, and told of next."""
        name = repository_name(asked.name)
        await check_pull(asked, self._database, name)
        standing = await standing_in(asked, self._database, name)
        rights = permitted(asked.principal.person, name, standing)
        picture, known = await self._gatherer.now(), await self._find(name, asked.query)
        named = asked.is_administrator or Action.DELETE in rights
        return Answered(await self._spread(name, picture, known, named=named))

    async def _find(self, name: str, query: Mapping[str, str]) -> _Known:
        tag, digest = query.get("tag", ""), query.get("digest", "")
        if bool(tag) == bool(digest):
            raise RequestInvalid("say of which image: tag=, or digest=")
        wanted = check_tag(tag) if tag else str(parse_digest(digest))
        key = (name, wanted)
        async with self._finding:
            known = self._known.get(key)
            if known is None or self._clock.monotonic() - known.at >= KNOWN_SECONDS:
                known = await self._read(name, tag, digest)
                self._known[key] = known
                while len(self._known) > KNOWN_MAX:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return known

    async def _read(self, name: str, tag: str, digest: str) -> _Known:
        image = await read_image(self._database, name, tag=tag, digest=digest)
        owed = self._database.under_replicated
        debts = {
            debt.store_id: await missing_among(owed, debt.store_id, image.chunks)
            for debt in await owed.summary()
        }
        lost = frozenset(await self._database.lost.among(image.chunks))
        size = cell_size(len(image.chunks))
        cells = {begin_of(chunk): place // size for place, chunk in enumerate(image.chunks)}
        return _Known(self._clock.monotonic(), image, debts, lost, cells)

    async def _spread(
        self, name: str, picture: Picture, known: _Known, *, named: bool
    ) -> ImageSpread:
        spread = await _spread_of(picture, known)
        image, names = known.image, _Names.of(picture.status, spread.rows, named=named)
        size = cell_size(len(image.chunks))
        return ImageSpread(
            name=name,
            digest=image.digest,
            chunks=len(image.chunks),
            bytes=sum(image.chunks.values()),
            blobs_in_database=image.blobs_inline,
            copies=0 if picture.table is None else picture.table.copies,
            cells=-(-len(image.chunks) // size),
            chunks_per_cell=size,
            stores=[_store(names, key, spread) for key in names.order],
            unreadable=spread.unreadable,
            without=_without(names, spread),
            owed=sum(one[Cell.OWED] for one in spread.counts.values()),
            lost=len(known.lost),
            settled=_is_settled(picture),
            complete=image.complete,
            named=named,
            seen_by=names.called.get(self._gatherer.sights.server_id, "") if named else "",
            reads=self._reads(known, names) if named else [],
        )

    def _reads(self, known: _Known, names: _Names) -> list[SpreadRead]:
        watched = self._gatherer.sights.reads
        if watched is None:
            return []
        watched.watch()
        places = {store_id: place for place, store_id in enumerate(names.order)}
        now = self._clock.monotonic()
        newest: dict[tuple[int, int], Read] = {}
        for read in watched.since(READ_SECONDS):
            cell, place = known.cells.get(read.chunk), places.get(read.store_id)
            if cell is None or place is None:
                continue
            before = newest.get((place, cell))
            if before is None or before.at < read.at:
                newest[place, cell] = read
        return [
            SpreadRead(place, cell, round(max(0.0, now - read.at), 1))
            for (place, cell), read in sorted(newest.items(), key=lambda one: one[0])
        ]


async def _spread_of(picture: Picture, known: _Known) -> Spread:
    """Return where its chunks are; raises NotEnoughStores before there is any layout."""
    if not known.image.chunks:
        return Spread({}, {}, 0, {})
    if picture.table is None:
        raise NotEnoughStores("no server of this cluster has a store yet")
    facts = Facts(picture.table, alive(picture.status), known.owed, known.lost)
    if known.spread is None or known.facts != facts:
        servers = {one.record.store_id: _server_of(one) for one in picture.status.stores}
        # Of many chunks a long sum: nobody else is to wait for it.
        known.spread = await asyncio.to_thread(spread_of, [*known.image.chunks], facts, servers)
        known.facts = facts
    return known.spread


def _server_of(store: StoreView) -> str:
    return store.record.server_id or store.record.server


def _store(names: _Names, key: str, spread: Spread) -> SpreadStore:
    store, tally = names.stores[key], spread.counts[key]
    return SpreadStore(
        store=key if names.named else "",
        server=names.server(_server_of(store)),
        path=store.record.path if names.named else "",
        condition=store.condition.value,
        chunks=tally.total(),
        owed=tally[Cell.OWED],
        cells=[(run.value, run.length) for run in runs(spread.rows[key])],
    )


def _without(names: _Names, spread: Spread) -> list[WithoutServer]:
    found = [
        WithoutServer(names.server(key), chunks)
        for key, chunks in spread.without.items()
        if key in names.numbers
    ]
    return sorted(found, key=lambda one: one.server)


def _is_settled(picture: Picture) -> bool:
    layout = picture.status.layout
    walks = [one.walk for one in picture.status.stores if one.in_layout]
    return layout is not None and (
        len(walks) == 1
        or all(
            walk is not None and walk.layout == layout.number and not walk.pending for walk in walks
        )
    )
