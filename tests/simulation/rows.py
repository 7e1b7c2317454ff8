"""The rows that walks read and write, in memory; each asker reaches them by a way of its own."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field

from treescale.errors import DatabaseUnavailable
from treescale.metadata.records import MissingCopy, StoreWalk
from treescale.metadata.servers import Older

Lengths = dict[bytes, int]


@dataclass
class Rows:
    """What the database has."""

    sessions: dict[str, Lengths] = field(default_factory=dict)
    blobs: Lengths = field(default_factory=dict)
    owed: set[MissingCopy] = field(default_factory=set)
    settings: dict[str, str] = field(default_factory=dict)
    collections: dict[str, str] = field(default_factory=dict)
    walks: dict[str, StoreWalk] = field(default_factory=dict)
    stores: list[str] = field(default_factory=list)
    is_away: bool = False

    def named(self) -> Lengths:
        """Return what is named now."""
        found = dict(self.blobs)
        for chunks in self.sessions.values():
            found |= chunks
        return found


class Database:
    """The rows as one process reaches them."""

    def __init__(self, rows: Rows, step: Callable[[], Awaitable[None]]) -> None:
        self.rows = rows
        self._step = step
        self.references = _References(self)
        self.walks = _Walks(self)
        self.under_replicated = _Owed(self)
        self.settings = _Settings(self)
        self.collections = _Collections(self)
        self.stores = _Stores(self)
        self.servers = _Servers(self)

    async def come(self) -> Rows:
        """Return the rows; raises DatabaseUnavailable."""
        await self._step()
        if self.rows.is_away:
            raise DatabaseUnavailable("away")
        return self.rows


class _References:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def in_sessions(self, is_wanted: Callable[[bytes], bool]) -> Lengths:
        rows, found = await self._database.come(), Lengths()
        for chunks in rows.sessions.values():
            found |= {chunk: length for chunk, length in chunks.items() if is_wanted(chunk)}
        return found

    async def in_blobs(self, after: bytes, end: bytes) -> Lengths:
        rows = await self._database.come()
        return {chunk: n for chunk, n in rows.blobs.items() if after < chunk < end}

    async def among(self, wanted: Iterable[bytes]) -> set[bytes]:
        found = set(await self.in_sessions(frozenset(wanted).__contains__))
        rows = await self._database.come()
        return found | (rows.blobs.keys() & set(wanted))

    async def after_writers(self) -> None:
        await self._database.come()


class _Settings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, name: str) -> str | None:
        return (await self._database.come()).settings.get(name)

    async def several(self, names: Collection[str]) -> dict[str, str]:
        settings = (await self._database.come()).settings
        return {name: text for name, text in settings.items() if name in names}


class _Collections:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, store_id: str, state: str) -> None:
        (await self._database.come()).collections[store_id] = state

    async def list(self) -> dict[str, str]:
        return dict((await self._database.come()).collections)


@dataclass
class _Named:
    """A row of a store."""

    store_id: str


class _Stores:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> list[_Named]:
        return [_Named(name) for name in (await self._database.come()).stores]


LONG_AGO = -1e9


class _Servers:
    """All of this version."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> float:
        await self._database.come()
        return 0.0

    async def older(self) -> Older:
        await self._database.come()
        return Older((), LONG_AGO, LONG_AGO)


class _Walks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, store_id: str) -> StoreWalk | None:
        return (await self._database.come()).walks.get(store_id)

    async def put(self, walk: StoreWalk) -> None:
        rows = await self._database.come()
        known = rows.walks.get(walk.store_id)
        if known is None or known.layout <= walk.layout:
            rows.walks[walk.store_id] = walk


class _Owed:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, store_id: str, after: bytes, limit: int) -> list[bytes]:
        rows = await self._database.come()
        owed = sorted(chunk for chunk, store in rows.owed if store == store_id and chunk > after)
        return owed[:limit]

    async def settle(self, debts: Iterable[MissingCopy]) -> None:
        rows = await self._database.come()
        rows.owed -= set(debts)
