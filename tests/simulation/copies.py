"""Stores in memory that walks can work on: copies with stamps, a trash, rot; reached by ways.

A store does what it is told at once. A way to it takes its time, and its asker may be stopped for
good at each step: before the store has done it, after it, and between the two parts of `keep`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from treescale.chunks.disk.directory import StoreUsage
from treescale.chunks.disk.verified import FileStamp
from treescale.chunks.store import Bytes, chunk_id_of, partition_of
from treescale.errors import ChunkUnknown, Corrupt, StoreFull, Unreachable

Step = Callable[[], Awaitable[None]]
Trimmed = Callable[[bytes, int], None]
"""Hears of a copy that was trimmed: the chunk, and when its stamp was looked at."""


@dataclass
class Copy:
    """A file; `stamp` is another one after each change of it."""

    data: bytes
    stamp: int


@dataclass
class CopyStore:
    """One store; `moments` numbers all that happens in a world."""

    name: str
    moments: Iterator[int]
    is_down: bool = False
    is_full: bool = False
    copies: dict[bytes, Copy] = field(default_factory=dict)
    trash: dict[bytes, bytes] = field(default_factory=dict)
    kept: dict[bytes, int] = field(default_factory=dict)
    """When each chunk was kept for somebody last."""

    def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; a copy that is there stays as it is."""
        if chunk_id_of(data) != chunk:
            raise Corrupt(f"{self.name}: not that chunk")
        if self.keeps(chunk):
            return
        self.write(chunk, bytes(data))

    def write(self, chunk: bytes, data: bytes) -> None:
        """Write whatever it is."""
        if self.is_full:
            raise StoreFull(f"{self.name} is full")
        self.copies[chunk] = Copy(data, next(self.moments))

    def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, if need be those in the trash."""
        if chunk in self.copies and not self.keeps(chunk):
            raise Corrupt(f"{self.name}: {chunk.hex()} is rotten")
        if chunk in self.copies:
            return self.copies[chunk].data
        if chunk in self.trash:
            return self.trash[chunk]
        raise ChunkUnknown(f"{self.name} has no {chunk.hex()}")

    def keeps(self, chunk: bytes) -> bool:
        """Say whether a sound copy is here; a bad one goes."""
        if not self.holds(chunk):
            self.copies.pop(chunk, None)
            return False
        return True

    def holds(self, chunk: bytes) -> bool:
        """Say so, and change nothing."""
        return chunk in self.copies and chunk_id_of(self.copies[chunk].data) == chunk

    def renew(self, chunk: bytes) -> None:
        """Give the copy another time."""
        if chunk in self.copies:
            self.copies[chunk].stamp = next(self.moments)

    def trim(self, chunk: bytes, stamp: int) -> bool:
        """Move the copy to the trash if it has this stamp."""
        copy = self.copies.get(chunk)
        if copy is None or copy.stamp != stamp:
            return False
        self.trash[chunk] = self.copies.pop(chunk).data
        return True


class Way:
    """A way to a store, for one asker: what a store on another server looks like from here."""

    def __init__(self, store: CopyStore, step: Step) -> None:
        self.store = store
        self.step = step

    async def _go(self) -> None:
        await self.step()
        if self.store.is_down:
            raise Unreachable(f"{self.store.name} is away")

    async def check_space(self, size: int) -> None:
        """Say whether there is room."""
        await self._go()
        if self.store.is_full:
            raise StoreFull(f"{self.store.name} has no room for {size}")

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; the answer may be lost."""
        await self._go()
        self.store.put(chunk, data)
        await self._go()

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk."""
        await self._go()
        data = self.store.get(chunk)
        await self._go()
        return data

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is there."""
        await self._go()
        return [chunk in self.store.copies for chunk in chunks]

    async def delete(self, chunk: bytes) -> None:
        """Nobody does."""
        raise NotImplementedError

    async def keep(self, chunks: Sequence[bytes]) -> list[bool]:
        """Renew each copy, then make sure of it."""
        found = []
        for chunk in chunks:
            await self._go()
            self.store.renew(chunk)
            await self._go()
            found.append(self.store.keeps(chunk))
            if found[-1]:
                self.store.kept[chunk] = next(self.store.moments)
        await self._go()
        return found

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk, with pauses."""
        wanted = None if partitions is None else frozenset(partitions)
        for chunk in tuple(self.store.copies):
            if wanted is None or partition_of(chunk) in wanted:
                yield chunk
        await self._go()


class Here(Way):
    """The way to a store of one's own."""

    def __init__(self, store: CopyStore, step: Step, trimmed: Trimmed) -> None:
        super().__init__(store, step)
        self._trimmed = trimmed
        self._looked: dict[FileStamp, int] = {}

    @property
    def is_well(self) -> bool:
        """Say whether it answers."""
        return not self.store.is_down

    async def stamps(self, chunks: Sequence[bytes]) -> list[FileStamp | None]:
        """Return the stamps."""
        await self._go()
        copies = [self.store.copies.get(chunk) for chunk in chunks]
        found = [None if copy is None else (0, 0, len(copy.data), copy.stamp, 0) for copy in copies]
        self._looked |= {stamp: next(self.store.moments) for stamp in found if stamp}
        await self._go()
        return found

    async def trim(self, chunk: bytes, stamp: FileStamp) -> bool:
        """Move the copy to the trash if it has this stamp."""
        await self._go()
        done = self.store.trim(chunk, stamp[3])
        if done:
            self._trimmed(chunk, self._looked[stamp])
        await self._go()
        return done

    async def read_back(self, chunk: bytes) -> int:
        """Hash the copy."""
        await self._go()
        if chunk not in self.store.copies:
            raise ChunkUnknown("trimmed")
        return len(self.store.get(chunk))

    async def trashed(self, seconds: float, limit: int, after: bytes = b"") -> list[bytes]:
        """Return what is in the trash; here it is old enough at once."""
        del seconds
        await self._go()
        return sorted(chunk for chunk in self.store.trash if chunk > after)[:limit]

    async def in_trash(self, chunk: bytes) -> bool:
        """Say so."""
        return chunk in self.store.trash

    async def restore(self, chunk: bytes) -> bool:
        """Bring it back from the trash, in two steps."""
        await self._go()
        if chunk not in self.store.trash:
            return False
        self.store.put(chunk, self.store.trash[chunk])
        await self._go()
        self.store.trash.pop(chunk, None)
        return True

    async def drop(self, chunk: bytes) -> None:
        """Remove it from the trash."""
        await self._go()
        self.store.trash.pop(chunk, None)

    async def usage(self) -> StoreUsage:
        """Say that there is room."""
        await self._go()
        return StoreUsage(1, 1, 1, None, 0)
