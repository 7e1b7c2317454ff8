"""A directory on a disk as a ChunkStore: the blocking work of `directory` done in threads.

A read verifies the chunk's BLAKE3 before it returns, unless the very same file (device, inode,
size, mtime and ctime of the opened file) was written or verified within the last ten minutes by a
process with the same `Trust`; see there for what that leaves out. Every worker process opens the
directory for itself.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from treescale.chunks.directory import ChunkDirectory, DiskUsage, Reserve
from treescale.chunks.files import ChunkFile
from treescale.chunks.label import create_label, open_label
from treescale.chunks.store import Bytes
from treescale.chunks.syscalls import Disk
from treescale.chunks.trust import Trust
from treescale.clock import Clock

_Result = TypeVar("_Result")

roomy_bytes_min: Final = 1024 * 1024 * 1024
roomy_seconds_max: Final = 0.1
"""A store with so much room is believed for so long to have it still; each write asks anyway."""


class DiskStore:
    """Chunks on one disk; keeps every promise of ChunkStore. Used from one event loop."""

    def __init__(
        self, store_id: str, directory: ChunkDirectory, threads: Executor, clock: Clock
    ) -> None:
        self.store_id = store_id
        self._directory = directory
        self._threads = threads
        self._clock = clock
        self._roomy_until = 0.0
        self._writing: dict[bytes, asyncio.Future[None]] = {}

    @classmethod
    def create_or_open(
        cls,
        path: Path,
        *,
        threads: Executor,
        clock: Clock,
        disk: Disk | None = None,
        reserve: Reserve | None = None,
        trust: Trust | None = None,
    ) -> Self:
        """Open the store at `path`, made there first if the directory is absent or empty.

        Blocks: it syncs the file system, so that what a killed process left there is durable
        before it counts as stored. Processes that share a `trust` believe each other. Raises
        StoreUnusable when `path` holds anything but a store.
        """
        disk = disk or Disk()
        root = path.absolute()
        create_label(root, disk)
        label = open_label(root, disk)
        directory = ChunkDirectory(
            root,
            label,
            clock=clock,
            disk=disk,
            reserve=reserve or Reserve(),
            trust=trust or Trust(),
        )
        return cls(label.store_id, directory, threads, clock)

    def clean_tmp(self) -> int:
        """Remove what dead processes left half-written; return how many files. Blocks.

        For the one process that starts the others; what living ones write is left alone.
        """
        return self._directory.clean_tmp()

    async def usage(self) -> DiskUsage:
        """Return how full the store is, and what is wrong with it."""
        return await self._run(self._directory.usage)

    async def reserve(self, size: int) -> None:
        """Return when `size` more bytes may be written; raises StoreFull or StoreUnusable.

        A disk that had far more room a moment ago is not asked again: many small uploads at once
        spent half of their time on that.
        """
        now = self._clock.monotonic()
        if now < self._roomy_until and size <= roomy_bytes_min // 16:
            return
        left = await self._run(partial(self._directory.reserve, size))
        self._roomy_until = now + roomy_seconds_max if left >= roomy_bytes_min else 0.0

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; durable when it returns. A cancelled put may still finish."""
        while (other := self._writing.get(chunk)) is not None:
            await asyncio.wait([other])
        # The thread cannot be stopped, so it must not see what the caller writes after leaving.
        data = data if memoryview(data).readonly else bytes(data)
        running = self._run(partial(self._directory.put, chunk, data))
        self._writing[chunk] = running
        running.add_done_callback(lambda _: self._writing.pop(chunk))
        await asyncio.shield(running)

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified; raises ChunkUnknown, Corrupt, StoreUnusable."""
        return await self._run(partial(self._directory.get, chunk))

    async def verify(self, chunk: bytes) -> None:
        """Hash the chunk, whatever is trusted; see VerifyingStore."""
        await self._run(partial(self._directory.verify, chunk))

    def opened(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if this process trusts it, else None; see ChunkFiles."""
        return self._directory.opened(chunk)

    async def checked(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk as a file, verified and trusted now, or its bytes; see ChunkFiles."""
        return await self._run(partial(self._directory.checked, chunk))

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here."""
        return await self._run(partial(self._directory.have, chunks))

    async def delete(self, chunk: bytes) -> None:
        """Move it to the trash, from where a later get brings it back; raises ChunkUnknown."""
        await self._run(partial(self._directory.delete, chunk))

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once; 1/256 of the store is held in memory at a time."""
        wanted = None if partitions is None else frozenset(partitions)
        firsts = range(256) if wanted is None else sorted({number >> 4 for number in wanted})
        for first in firsts:
            for chunk in await self._run(partial(self._directory.listed, first, wanted)):
                yield chunk

    def _run(self, work: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        return asyncio.get_running_loop().run_in_executor(self._threads, work)
