"""Several stores as one: each chunk on its homes, read from whichever copy is good.

A put is acknowledged when at least the write quorum of copies is durable: 2, or 1 when the layout
asks for one copy only. So when fewer stores than that cannot be asked, a chunk that none of the
others has is known to be nowhere.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from typing import Final, TypeVar

from treescale.chunks.files import ChunkFile, ChunkFiles
from treescale.chunks.placement import PARTITIONS, Table
from treescale.chunks.store import Bytes, ChunkStore
from treescale.errors import (
    ChunkUnknown,
    Corrupt,
    Failed,
    NotEnoughStores,
    StoreFull,
    StoreUnusable,
    Unreachable,
)

_AWAY: Final = (StoreFull, StoreUnusable, Unreachable)
_Result = TypeVar("_Result")
_Failures = list[Failed]
_partitions_listed_at_once: Final = 16
"""One top directory of a disk store: bounds what a list holds in memory."""


class ClusterStore:
    """A ChunkStore over the stores of a layout.

    `stores` has every store of the table, and may have more (of older layouts): these are read
    and deleted from, never written to.
    """

    def __init__(self, table: Table, stores: Mapping[str, ChunkStore]) -> None:
        missing = {label.store_id for label in table.layout.stores} - stores.keys()
        assert not missing, f"stores of the layout without a connection: {sorted(missing)}"
        self._table = table
        self._stores = stores
        # Looked up once: to ask whether a store is of this kind takes longer than to open a file.
        self._files = {name: one for name, one in stores.items() if isinstance(one, ChunkFiles)}
        self._quorum = min(2, table.copies)
        self.repaired = 0
        """Bad copies replaced by good ones while reading."""
        self.repairs_failed = 0
        """Bad copies found while reading that could not be replaced then."""

    async def reserve(self, size: int) -> None:
        """Return when the copies of `size` bytes find room: a full store's go to the others.

        Asks the stores for an equal share each, and when some refuse, the rest for a larger one,
        until all that are left agree. What little the refusing ones may still take is not counted.
        """
        names = [label.store_id for label in self._table.layout.stores]
        refusals: _Failures = []
        while True:
            # No store takes more than one copy of a chunk.
            share = min(size, -(-size * self._table.copies // len(names)))
            refused = await self._ask(names, partial(_reserve, share))
            refusals += refused.values()
            names = [name for name in names if name not in refused]
            self._check_quorum(len(names), refusals)
            if not refused:
                return

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk on its homes, or on the next best stores where a home cannot take it.

        Raises NotEnoughStores (StoreFull when that is why) below the write quorum.
        """
        candidates = iter(self._table.preference(chunk))
        failures: _Failures = []
        copies = await _together(
            self._put_once(candidates, chunk, data, failures) for _ in range(self._table.copies)
        )
        self._check_quorum(sum(copies), failures)

    async def get(self, chunk: bytes) -> bytes:
        """Return the first good copy; homes whose copy was bad or missing get it again."""
        lacking: list[str] = []
        failures: _Failures = []
        for name in self._by_preference(chunk):
            try:
                data = await self._stores[name].get(chunk)
            except (Corrupt, ChunkUnknown) as error:
                lacking.append(name)
                failures.append(error)
            except _AWAY as error:
                failures.append(error)
            else:
                await self._repair(chunk, data, lacking)
                return data
        raise self._verdict(chunk, failures)

    def opened(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if a store of this server trusts its copy, else None."""
        for name in self._by_preference(chunk):
            store = self._files.get(name)
            file = None if store is None else store.opened(chunk)
            if file is not None:
                return file
        return None

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether any store that answers has it."""
        found = dict.fromkeys(chunks, False)
        failures: _Failures = []
        for name in self._stores:
            wanted = [chunk for chunk, known in found.items() if not known]
            if not wanted:
                break
            try:
                answers = await self._stores[name].have(wanted)
            except _AWAY as error:
                failures.append(error)
            else:
                found.update(zip(wanted, answers, strict=True))
        if not all(found.values()):
            self._check_answers(failures)
        return [found[chunk] for chunk in chunks]

    async def delete(self, chunk: bytes) -> None:
        """Remove every copy; one on a store that is away stays until that store is looked through.

        Raises ChunkUnknown when there is none, NotEnoughStores when too many stores are away.
        """
        answers = await self._ask(self._stores, lambda store: store.delete(chunk))
        failures = list(answers.values())
        unknown = [error for error in failures if isinstance(error, ChunkUnknown)]
        self._check_answers([error for error in failures if not isinstance(error, ChunkUnknown)])
        if len(failures) == len(self._stores):
            raise unknown[0]

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield the chunks of all stores that answer, each once."""
        wanted = sorted(range(PARTITIONS) if partitions is None else set(partitions))
        for begin in range(0, len(wanted), _partitions_listed_at_once):
            part = wanted[begin : begin + _partitions_listed_at_once]
            found: set[bytes] = set()
            failures = await self._ask(self._stores, partial(_collect, part, found))
            self._check_answers(list(failures.values()))
            for chunk in found:
                yield chunk

    def _by_preference(self, chunk: bytes) -> Iterator[str]:
        """Yield every store: homes first, then where a handoff would be, then older ones."""
        preferred = self._table.preference(chunk)
        yield from preferred
        yield from (name for name in self._stores if name not in preferred)

    async def _put_once(
        self, candidates: Iterator[str], chunk: bytes, data: Bytes, failures: _Failures
    ) -> bool:
        """Put one copy on the first of the candidates that takes it; False when none is left."""
        for name in candidates:
            try:
                await self._stores[name].put(chunk, data)
            except _AWAY as error:
                failures.append(error)
            else:
                return True
        return False

    async def _repair(self, chunk: bytes, data: bytes, lacking: Sequence[str]) -> None:
        """Write the good bytes to the homes among those that lacked them.

        A failure is counted and not raised: the reader has the right bytes, and the next read or
        scrub tries again.
        """
        homes = self._table.homes(chunk)
        for name in lacking:
            if name in homes:
                try:
                    await self._stores[name].put(chunk, data)
                except Failed:
                    self.repairs_failed += 1
                else:
                    self.repaired += 1

    async def _ask(
        self, names: Iterable[str], ask: Callable[[ChunkStore], Coroutine[object, object, None]]
    ) -> dict[str, Failed]:
        """Ask the stores at once and return the failures of those that could not oblige."""
        failures: dict[str, Failed] = {}

        async def answer(name: str) -> None:
            try:
                await ask(self._stores[name])
            except (ChunkUnknown, *_AWAY) as error:
                failures[name] = error

        await _together(answer(name) for name in names)
        return failures

    def _check_quorum(self, copies: int, failures: Sequence[Failed]) -> None:
        if copies >= self._quorum:
            return
        message = f"{copies} of {self._quorum} copies are possible: " + "; ".join(
            map(str, failures)
        )
        full = all(isinstance(error, StoreFull) for error in failures)
        raise StoreFull(message) if full else NotEnoughStores(message)

    def _check_answers(self, failures: Sequence[Failed]) -> None:
        """Raise NotEnoughStores when a chunk could be only on the stores that gave no answer."""
        if len(failures) >= self._quorum:
            raise NotEnoughStores(
                f"{len(failures)} stores did not answer: " + "; ".join(map(str, failures))
            ) from failures[0]

    def _verdict(self, chunk: bytes, failures: Sequence[Failed]) -> Failed:
        """Return why no copy could be read."""
        away = [error for error in failures if isinstance(error, _AWAY)]
        if len(away) >= self._quorum:
            reasons = "; ".join(map(str, away))
            return NotEnoughStores(f"chunk {chunk.hex()} may be on a store that is away: {reasons}")
        for error in failures:
            if isinstance(error, Corrupt):
                return error
        return ChunkUnknown(f"no store has chunk {chunk.hex()}")


async def _reserve(size: int, store: ChunkStore) -> None:
    await store.reserve(size)


async def _collect(partitions: Sequence[int], into: set[bytes], store: ChunkStore) -> None:
    async for chunk in store.list(partitions):
        into.add(chunk)


async def _together(work: Iterable[Coroutine[object, object, _Result]]) -> list[_Result]:
    """Run all at once and return their results in order; the first error is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
