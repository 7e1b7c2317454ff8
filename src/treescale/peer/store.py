"""A store of another server as a ChunkStore: what is asked of it, and what is believed.

Of chunks only bytes count that hash to their name. Nothing is tried again here: whoever has other
copies does that.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Final

import msgspec

from treescale.chunks.disk.directory import StoreUsage
from treescale.chunks.disk.store import ROOMY_BYTES_MIN, ROOMY_SECONDS_MAX
from treescale.chunks.format.placement import PARTITIONS
from treescale.chunks.store import CHUNK_BYTES_MAX, Bytes, chunk_id_of
from treescale.clock import Clock, SystemClock
from treescale.errors import ChunkUnknown, Corrupt, Failed, StoreFull, Unreachable
from treescale.peer.client import PeerClient
from treescale.peer.protocol import (
    CHUNKS_ASKED_MAX,
    CHUNKS_KEPT_MAX,
    PARTITIONS_LISTED_MAX,
    UNREADABLE,
    Action,
    PeerRequest,
    read_bits,
    read_ids,
    write_partitions,
)

TIGHT_SECONDS_MAX: Final = 60.0
"""For so long a store that had no room to spare is asked for what is needed, and no more."""
HASHED_HERE_BYTES_MAX: Final = 16 * 1024
"""Hashing so little takes less time than asking a thread to."""


class PeerStore:
    """One store of another server; keeps every promise of ChunkStore, and may raise Unreachable."""

    def __init__(
        self,
        store_id: str,
        client: PeerClient,
        threads: Executor,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.store_id = store_id
        self._client = client
        self._timeouts = client.timeouts
        self._threads = threads
        self._clock = clock or SystemClock()
        self._roomy_until = 0.0
        self._tight_until = 0.0

    async def check_space(self, size: int) -> None:
        """Raise StoreFull or StoreUnusable when `size` more bytes may not be written.

        As of a disk here (see DiskStore), the answer counts for a moment when there is far more
        room: every upload asks, and each would cost a trip. To know that, far more is asked for.
        """
        now = self._clock.monotonic()
        small = size <= ROOMY_BYTES_MIN // 16
        if small and now < self._roomy_until:
            return
        if small and now >= self._tight_until:
            try:
                await self._check_space(size + ROOMY_BYTES_MIN)
            except StoreFull:
                self._tight_until = now + TIGHT_SECONDS_MAX
            else:
                self._roomy_until = now + ROOMY_SECONDS_MAX
                return
        await self._check_space(size)

    async def _check_space(self, size: int) -> None:
        request = PeerRequest(Action.RESERVE, self.store_id, size=size)
        await self._client.ask(request, self._timeouts.read_seconds)

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; durable there when it returns. See ChunkStore.

        A cancelled put may still finish there.
        """
        view = memoryview(data).cast("B")
        if len(view) > CHUNK_BYTES_MAX:
            raise Corrupt(f"bytes put as chunk {chunk.hex()} are not that chunk: too many")
        try:
            request = PeerRequest(Action.PUT, self.store_id, chunk)
            await self._client.ask(request, self._timeouts.write_seconds, view)
        except Corrupt as error:
            if await self._name(view) != chunk:
                raise
            raise Unreachable(f"chunk {chunk.hex()} was damaged on its way: {error}") from error

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified here (R1).

        Bytes that are not the chunk's are Corrupt if the other server, asked to look at its copy
        again (R2), finds it bad, too; else they say nothing of it, and that is Unreachable.
        """
        request = PeerRequest(Action.GET, self.store_id, chunk)
        data = await self._client.ask(request, self._timeouts.read_seconds)
        return await self._verified(chunk, data)

    async def get_last_resort(self, chunk: bytes, seconds: float) -> bytes:
        """Do as `get`, also while the server is away, and wait so long; see LastResortStore."""
        request = PeerRequest(Action.GET, self.store_id, chunk)
        data = await self._client.ask(request, seconds, anyway=True)
        return await self._verified(chunk, data)

    async def _verified(self, chunk: bytes, data: bytes) -> bytes:
        if await self._name(data) == chunk:
            return data
        what = f"what server {self._client.peer} sent as chunk {chunk.hex()} is not that chunk"
        try:
            await self.verify(chunk)
        except (ChunkUnknown, Corrupt) as bad:
            raise Corrupt(f"{what}; {bad}") from bad
        except Failed as unknown:
            raise Unreachable(f"{what}; {unknown}") from unknown
        raise Unreachable(f"{what}; its own copy is sound, so they were damaged on their way")

    async def verify(self, chunk: bytes) -> None:
        """Have the other server hash its copy; see VerifyingStore."""
        request = PeerRequest(Action.VERIFY, self.store_id, chunk)
        await self._client.ask(request, self._timeouts.read_seconds)

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is there."""
        return await self._ask_of(
            Action.HAVE, chunks, CHUNKS_ASKED_MAX, self._timeouts.read_seconds
        )

    async def keep(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether a sound copy is there, kept anew; see KeepingStore.

        A server of version 0.1.0 knows no such question: Unreachable.
        """
        return await self._ask_of(
            Action.KEEP, chunks, CHUNKS_KEPT_MAX, self._timeouts.write_seconds
        )

    async def _ask_of(
        self, action: Action, chunks: Sequence[bytes], at_once: int, seconds: float
    ) -> list[bool]:
        request, found = PeerRequest(action, self.store_id), list[bool]()
        for start in range(0, len(chunks), at_once):
            asked = chunks[start : start + at_once]
            bits = await self._client.ask(request, seconds, b"".join(asked))
            with self._understood():
                found += read_bits(bits, len(asked))
        return found

    async def usage(self) -> StoreUsage:
        """Return how full the store is, and what is wrong with it."""
        request = PeerRequest(Action.USAGE, self.store_id)
        found = await self._client.ask(request, self._timeouts.read_seconds)
        with self._understood():
            return msgspec.json.decode(found, type=StoreUsage)

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once; 1/256 of the store is asked for, and held, at a time."""
        request = PeerRequest(Action.LIST, self.store_id)
        wanted = sorted(range(PARTITIONS) if partitions is None else set(partitions))
        for start in range(0, len(wanted), PARTITIONS_LISTED_MAX):
            part = write_partitions(wanted[start : start + PARTITIONS_LISTED_MAX])
            ids = await self._client.ask(request, self._timeouts.write_seconds, part)
            with self._understood():
                found = read_ids(ids)
            for chunk in found:
                yield chunk

    async def _name(self, data: Bytes) -> bytes:
        """Return the name of these bytes; much is hashed in a thread."""
        if len(data) <= HASHED_HERE_BYTES_MAX:
            return chunk_id_of(data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, chunk_id_of, data)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Raise Unreachable for an answer that is signed, and still none to the question."""
        try:
            yield
        except (ValueError, *UNREADABLE) as error:
            raise Unreachable(f"server {self._client.peer} speaks otherwise: {error}") from error
