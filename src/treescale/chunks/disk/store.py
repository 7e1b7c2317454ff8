"""A directory on a disk as a ChunkStore: the blocking work of `directory` done in threads.

A read verifies the chunk's BLAKE3 before it returns, unless the very same file (device, inode,
size, mtime and ctime of the opened file) was written or verified within the last ten minutes by a
process with the same `VerifiedFiles`; see there for what that leaves out. Every worker process
opens the directory for itself.

No call waits for a disk that hangs. Threads are the disk's own (`lanes`), a call that waits too
long makes the disk silent for all workers (`silence`, `state`), and whoever waits for it then
gets StoreSilent while the thread stays behind. `look` has a silent disk probed and taken back, and
one opened that was away.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from treescale.chunks.disk.contents import AgedCopy, TrashContents
from treescale.chunks.disk.copies import Copies
from treescale.chunks.disk.directory import RENEW_SECONDS, ChunkDirectory, Reserve, StoreUsage
from treescale.chunks.disk.file import ChunkFile
from treescale.chunks.disk.label import create_label, open_label
from treescale.chunks.disk.quiet import Quiet
from treescale.chunks.disk.silence import LOOK_SECONDS, Kind, is_over, stood_still
from treescale.chunks.disk.state import DiskState
from treescale.chunks.disk.syscalls import Disk
from treescale.chunks.disk.threads import Lanes, lanes_of
from treescale.chunks.disk.verified import FileStamp, VerifiedFiles
from treescale.chunks.store import Bytes
from treescale.clock import Clock
from treescale.errors import Failed, StoreSilent, StoreUnusable

_Result = TypeVar("_Result")

ROOMY_BYTES_MIN: Final = 1024 * 1024 * 1024
ROOMY_SECONDS_MAX: Final = 0.1
"""A store with so much room is believed for so long to have it still; each write asks anyway."""
OPEN_PAUSE_SECONDS: Final = 5.0
"""Between two tries to open a disk that is away."""


@dataclass(slots=True, eq=False)
class _Call:
    """A call on the disk, from when it was asked for; `begun` is set once a thread has it."""

    kind: Kind
    asked: float
    answered: asyncio.Future[Any]
    work: Callable[[], Any] | None
    """None once nobody waits for it: what it would have written is not kept for that."""
    begun: float | None = None
    took: float | None = None
    """Seconds, once it was done."""

    def forget_work(self, _: object) -> None:
        """Let go of what is to be done: it is done, or nobody waits for it any more."""
        self.work = None

    def answer(self, done: Future[Any]) -> None:
        """Tell the one who waits, if that one still does. On the loop."""
        if self.answered.done():
            return
        error = done.exception()
        if error is not None:
            self.answered.set_exception(error)
            self.answered.exception()  # whoever was cancelled does not look
        else:
            self.answered.set_result(done.result())

    def give_up(self, why: str) -> None:
        """Wait no longer. On the loop."""
        if not self.answered.done():
            self.answered.set_exception(StoreSilent(why))
            self.answered.exception()  # whoever was cancelled does not look


@dataclass(frozen=True, slots=True)
class _Opening:
    """How the directory is opened; blocks."""

    root: Path
    clock: Clock
    disk: Disk
    reserve: Reserve
    trust: VerifiedFiles
    state: DiskState
    renew_seconds: float

    def open(self) -> tuple[str, ChunkDirectory]:
        """Return the store's id and its directory; raises StoreUnusable."""
        label = open_label(self.root, self.disk)
        directory = ChunkDirectory(
            self.root,
            label,
            clock=self.clock,
            disk=self.disk,
            reserve=self.reserve,
            trust=self.trust,
            state=self.state,
        )
        directory.renew_seconds = self.renew_seconds
        return label.store_id, directory


def _not_timed(_kind: Kind, _seconds: float) -> None:
    """Hear nothing of it."""


@dataclass(frozen=True, slots=True)
class SharedDisk:
    """What the workers of a server share of a disk: to be made before they are forked."""

    trust: VerifiedFiles = field(default_factory=VerifiedFiles)
    state: DiskState = field(default_factory=DiskState)
    renew_seconds: float = RENEW_SECONDS
    """A put renews the time of a copy that is older."""
    timed: Callable[[Kind, float], None] = _not_timed
    """Hears of each call that the disk has answered, and how many seconds that took."""


class DiskStore:
    """Chunks on one disk; keeps every promise of ChunkStore. Used from one event loop.

    Every call raises StoreSilent when the disk hangs, and StoreUnusable while it is away.
    """

    def __init__(
        self, store_id: str, opening: _Opening, lanes: Lanes, directory: ChunkDirectory | None
    ) -> None:
        self.store_id = store_id
        self.root = opening.root
        self.state = opening.state
        self._opening = opening
        self._directory = directory
        self._quiet = Quiet(opening.disk.clocks)
        self._away = f"{opening.root}: the disk does not answer"
        self._open_at = 0.0
        self._lanes = lanes
        self._clock = opening.clock
        self._roomy_until = 0.0
        self._usage: StoreUsage | None = None
        self._writing: dict[bytes, asyncio.Future[None]] = {}
        self._calls: set[_Call] = set()
        self._sweeping = False
        self._swept = 0.0
        self._busy = False
        self._timed: Callable[[Kind, float], None] = _not_timed

    @classmethod
    def create_or_open(
        cls,
        path: Path,
        *,
        threads: Executor | Lanes,
        clock: Clock,
        disk: Disk | None = None,
        reserve: Reserve | None = None,
        trust: VerifiedFiles | None = None,
        state: DiskState | None = None,
    ) -> Self:
        """Open the store at `path`, made there first if the directory is absent or empty.

        Blocks: it syncs the file system, so that what a killed process left there is durable
        before it counts as stored. Processes that share a `trust` believe each other, and those
        that share a `state` hear of a disk that hangs. Raises StoreUnusable when `path` holds
        anything but a store.
        """
        opening = _opening(path, clock, disk, reserve, trust, state, RENEW_SECONDS)
        create_label(opening.root, opening.disk)
        store_id, directory = opening.open()
        return cls(store_id, opening, lanes_of(threads), directory)

    @classmethod
    def later(
        cls,
        path: Path,
        store_id: str,
        why: str = "",
        *,
        threads: Executor | Lanes,
        clock: Clock,
        shared: SharedDisk,
        disk: Disk | None = None,
    ) -> Self:
        """Return the store of that id, not open yet: `open` opens it, or `look` once it is there.

        Until then every call raises StoreUnusable, saying `why`. Nothing is ever made at `path`.
        """
        opening = _opening(
            path, clock, disk, None, shared.trust, shared.state, shared.renew_seconds
        )
        store = cls(store_id, opening, lanes_of(threads), None)
        store._timed = shared.timed
        store._away = why or store._away
        return store

    async def open(self, seconds: float) -> None:
        """Open it, and wait so long for that; `look` goes on with it. Raises StoreUnusable."""
        if self._directory is None and not self._busy:
            self._open_at = self._clock.monotonic() + OPEN_PAUSE_SECONDS
            await asyncio.wait([self._apart(self._opening.open, self._opened)], timeout=seconds)
        self._there()

    async def clean_tmp(self) -> int:
        """Remove what dead processes left half-written; return how many files.

        For the one process that starts the others; what living ones write is left alone.
        """
        return await self._run(Kind.WRITE, self._there().clean_tmp)

    def forget(self, why: str) -> None:
        """Use it no more: every call raises StoreUnusable, saying `why`, until the process ends."""
        self._directory, self._away, self._open_at = None, why, float("inf")

    def close(self) -> None:
        """End the threads that have nothing to do; nobody waits for those that hang."""
        self._lanes.close()

    @property
    def is_well(self) -> bool:
        """Say whether it can be expected to answer; from memory."""
        return self.answers and not self.state.withheld

    @property
    def answers(self) -> bool:
        """Say whether its disk is there and does not hang, served from or not; from memory."""
        return self._directory is not None and self.state.is_well

    def admit(self) -> None:
        """Serve from it again, if it was withheld: every call but `erase` raised StoreUnusable."""
        if self.state.withheld:
            self.state.withhold("")

    @property
    def is_open(self) -> bool:
        """Say whether its directory was there, and was opened; from memory."""
        return self._directory is not None

    @property
    def trouble(self) -> str:
        """Return what is wrong with it, in words; "" when nothing is known to be. From memory."""
        return self._away if self._directory is None else self.state.trouble

    @property
    def unwritable(self) -> str:
        """Return why nothing can be written to it, in words for anybody; "" when it can."""
        return "a disk is away" if self._directory is None else self.state.unwritable

    def look(self) -> None:
        """Begin what is due for a disk that hangs, that nobody uses, or that is away.

        To be called in every worker about every second; never waits.
        """
        now = self._clock.monotonic()
        if self._busy:
            return
        if self._directory is None:
            if now >= self._open_at:
                self._open_at = now + OPEN_PAUSE_SECONDS
                self._apart(self._opening.open, self._opened)
        elif self.state.claim_probe(now):
            self._apart(self._directory.probe, self._probed)

    async def usage(self) -> StoreUsage:
        """Return how full the store is, and what is wrong with it.

        Of a disk that is silent what it said last, with that as its trouble; StoreSilent when it
        never said anything.
        """
        if not self.state.is_well and self._usage is not None:
            return self._usage.with_trouble(self.state.trouble)
        directory = self._here()
        self._usage = await self._run(Kind.READ, directory.usage)
        return self._usage

    async def check_space(self, size: int) -> None:
        """Return when `size` more bytes may be written; raises StoreFull or StoreUnusable.

        A disk that had far more room a moment ago is not asked again: many small uploads at once
        spent half of their time on that.
        """
        self._check(Kind.WRITE)
        now = self._clock.monotonic()
        if now < self._roomy_until and size <= ROOMY_BYTES_MIN // 16:
            return
        left = await self._run(Kind.READ, partial(self._here().check_space, size))
        self._roomy_until = now + ROOMY_SECONDS_MAX if left >= ROOMY_BYTES_MIN else 0.0

    async def put(self, chunk: bytes, data: Bytes) -> None:
        """Keep the chunk; durable when it returns. A cancelled put may still finish."""
        while (other := self._writing.get(chunk)) is not None:
            await asyncio.wait([other])
        # The thread cannot be stopped, so it must not see what the caller writes after leaving.
        data = data if memoryview(data).readonly else bytes(data)
        running = self._run(Kind.WRITE, partial(self._here().put, chunk, data))
        self._writing[chunk] = running
        running.add_done_callback(lambda _: self._writing.pop(chunk))
        await asyncio.shield(running)

    async def get(self, chunk: bytes) -> bytes:
        """Return the chunk's bytes, verified; raises ChunkUnknown, Corrupt, StoreUnusable."""
        return await self._run(Kind.READ, partial(self._here().get, chunk))

    async def verify(self, chunk: bytes) -> None:
        """Hash the chunk, whatever is trusted; see VerifyingStore."""
        await self._run(Kind.READ, partial(self._here().verify, chunk))

    def open_if_verified(self, chunk: bytes) -> ChunkFile | None:
        """Return the chunk's open file if this process trusts it, else None; see ChunkFiles.

        Asks the kernel for what it has in memory alone: whatever may wait is for `open_verified`.
        """
        if self._directory is None or self.state.withheld:
            return None
        file = self._directory.open_if_verified(chunk)
        return None if file is None else self._lent(file)

    async def open_verified(self, chunk: bytes) -> ChunkFile | bytes:
        """Return the chunk as a file, verified and trusted now, or its bytes; see ChunkFiles."""
        found = await self._run(Kind.READ, partial(self._here().open_verified, chunk))
        return self._lent(found) if isinstance(found, ChunkFile) else found

    async def have(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether it is here."""
        return await self._run(Kind.READ, partial(self._here().have, chunks))

    async def keep(self, chunks: Sequence[bytes]) -> list[bool]:
        """Say of each whether a sound copy is here, kept anew; see `KeepingStore`."""
        copies = self._copies()
        return [await self._run(Kind.WRITE, partial(copies.keep, chunk)) for chunk in chunks]

    async def stamps(self, chunks: Sequence[bytes]) -> list[FileStamp | None]:
        """Return the stamp of each chunk's file, None where there is none."""
        return await self._run(Kind.READ, partial(self._copies().stamps, chunks))

    async def trim(self, chunk: bytes, stamp: FileStamp) -> bool:
        """Move it to the trash if its file still has this stamp; say whether it had."""
        return await self._run(Kind.WRITE, partial(self._copies().trim, chunk, stamp))

    @property
    def quiet(self) -> Quiet:
        """Return since when nothing has happened to it, or its clock, after which nothing may go.

        Another one after the disk was away.
        """
        return self._quiet

    @property
    def renew_seconds(self) -> float:
        """Return the age from which on a put renews the time of a copy."""
        return self._opening.renew_seconds

    async def aged(self, chunks: Sequence[bytes]) -> list[AgedCopy]:
        """Return those that are here, with what their age is by the store's clock."""
        return await self._run(Kind.READ, partial(self._copies().aged, chunks))

    async def remove(
        self, copies: Sequence[tuple[bytes, FileStamp]], may: Callable[[], bool]
    ) -> list[bytes]:
        """Move them to the trash if nothing has happened to them; see `Copies.remove`."""
        return await self._run(Kind.WRITE, partial(self._copies().remove, copies, may))

    async def in_trash(self, chunk: bytes) -> bool:
        """Say whether it lies in the trash."""
        return await self._run(Kind.READ, partial(self._copies().in_trash, chunk))

    async def restore(self, chunk: bytes) -> bool:
        """Bring it back from the trash; say whether it was there."""
        return await self._run(Kind.WRITE, partial(self._copies().restore, chunk))

    async def trashed(self, seconds: float, limit: int, after: bytes = b"") -> list[bytes]:
        """Return up to `limit` chunks that have been in the trash for so long, by id."""
        before = self._clock.now() - seconds
        return await self._run(Kind.READ, partial(self._copies().trashed, before, limit, after))

    async def trash(self) -> TrashContents:
        """Return what lies in the trash."""
        return await self._run(Kind.READ, self._copies().trash)

    async def clean(self, seconds: float) -> int:
        """Remove what dead processes left, and evidence that is so old; return how many files."""
        return await self._run(
            Kind.WRITE, partial(self._copies().clean, self._clock.now() - seconds)
        )

    async def drop(self, chunk: bytes) -> None:
        """Remove it from the trash, for good."""
        await self._run(Kind.WRITE, partial(self._copies().drop, chunk))

    async def erase(self, chunks: Sequence[bytes], may: Callable[[], bool]) -> list[bytes]:
        """Unlink all that is left of them, for good, while `may` says so; see `Copies.erase`."""
        copies = Copies(self._there(), self._clock, self._opening.disk)
        return await self._run(Kind.WRITE, partial(copies.erase, chunks, may))

    async def read_back(self, chunk: bytes) -> int:
        """Hash what the disk has of it; return how many bytes. See `Copies.read_back`."""
        return await self._run(Kind.READ, partial(self._copies().read_back, chunk))

    async def delete(self, chunk: bytes) -> None:
        """Move it to the trash, where a later get finds it; raises ChunkUnknown.

        Nobody asks for it but tests and people: what it does cannot be known to be safe.
        """
        await self._run(Kind.WRITE, partial(self._copies().delete, chunk))

    async def list(self, partitions: Iterable[int] | None = None) -> AsyncIterator[bytes]:
        """Yield each chunk id once; 1/256 of the store is held in memory at a time."""
        wanted = None if partitions is None else frozenset(partitions)
        firsts = range(256) if wanted is None else sorted({number >> 4 for number in wanted})
        for first in firsts:
            for chunk in await self._run(Kind.READ, partial(self._here().listed, first, wanted)):
                yield chunk

    def _lent(self, file: ChunkFile) -> ChunkFile:
        """Have what waits for the file's bytes wait in the threads of its disk."""
        file.apart = self._reading
        return file

    def _reading(self, work: Callable[[], Any]) -> "asyncio.Future[Any]":
        return self._run(Kind.READ, work)

    def _there(self) -> ChunkDirectory:
        """Return the directory, also of a store that is withheld."""
        if self._directory is None:
            raise StoreUnusable(self._away)
        return self._directory

    def _here(self) -> ChunkDirectory:
        if withheld := self.state.withheld:
            raise StoreUnusable(withheld)
        return self._there()

    def _copies(self) -> Copies:
        return Copies(self._here(), self._clock, self._opening.disk)

    def _check(self, kind: Kind) -> None:
        if self.state.is_silent(kind):
            raise StoreSilent(self._silence())

    def _silence(self) -> str:
        return f"{self.root}: {self.state.trouble or 'the disk did not answer in time'}"

    def _run(self, kind: Kind, work: Callable[[], _Result]) -> "asyncio.Future[_Result]":
        """Have it done in a thread; raises StoreSilent now or later instead of waiting for ever."""
        self._check(kind)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[_Result] = loop.create_future()
        call = _Call(kind, self._clock.monotonic(), answered, work)
        answered.add_done_callback(call.forget_work)
        running = self._lanes.of(kind).submit(self._do, call)
        running.add_done_callback(partial(_tell, loop, partial(self._end, call)))
        self._watch(call)
        return answered

    def _watch(self, call: _Call) -> None:
        """Have it given up when the disk does not answer it."""
        self._calls.add(call)
        if not self._sweeping:
            self._sweep_later(self._clock.monotonic())

    def _sweep_later(self, now: float) -> None:
        self._sweeping, self._swept = True, now
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._sweep)

    def _do(self, call: _Call) -> Any:
        """Do it unless nobody waits for it any more; note that the disk answered. In a thread."""
        work = call.work
        if work is None:
            return None
        call.begun = begun = self._clock.monotonic()
        try:
            return work()
        finally:
            now = self._clock.monotonic()
            call.took = now - begun
            self.state.answered(call.kind, now)

    def _end(self, call: _Call, done: Future[Any]) -> None:
        self._calls.discard(call)
        if call.took is not None:
            self._timed(call.kind, call.took)
        call.answer(done)

    def _sweep(self) -> None:
        """Give up what the disk does not answer."""
        now = self._clock.monotonic()
        missed = stood_still(self._swept, now)
        for call in tuple(self._calls):
            call.asked = min(now, call.asked + missed)
            if call.begun is not None:
                call.begun = min(now, call.begun + missed)
            # One that has no thread yet waits for the disk as well: all threads do.
            self.state.waits(call.kind, call.begun or call.asked, now)
        for call in tuple(self._calls):
            if self.state.is_silent(call.kind) or is_over(call.asked, now):
                call.give_up(self._silence())
                self._calls.discard(call)
        self._sweeping = False
        if self._calls:
            self._sweep_later(now)

    def _apart(
        self, work: Callable[[], Any], then: Callable[[Future[Any]], None]
    ) -> "asyncio.Future[None]":
        """Have it done in the thread for that; one at a time, for as long as it takes.

        The future only says when that is over.
        """
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        call = _Call(Kind.WRITE, self._clock.monotonic(), loop.create_future(), work)

        def ended(done: Future[Any]) -> None:
            self._busy = False
            self._calls.discard(call)
            over.cancel()
            then(done)

        running = self._lanes.probes.submit(self._do, call)
        self._busy = True
        if self._directory is not None:
            self._watch(call)
        running.add_done_callback(partial(_tell, loop, ended))
        return over

    def _opened(self, done: Future[Any]) -> None:
        """Use the disk that was away, if it is the right one."""
        error = done.exception()
        if isinstance(error, Failed):
            self._away = str(error)
            return
        store_id, directory = done.result()
        if self._open_at == float("inf"):
            return  # forgotten meanwhile
        if store_id == self.store_id:
            self._lanes.begin()
            self._directory = directory
            self._quiet = Quiet(self._opening.disk.clocks)
        else:
            self._away = f"{self.root} holds the store {store_id}, not {self.store_id}"

    def _probed(self, done: Future[Any]) -> None:
        """Take the disk back: it answered, whatever it said."""
        error = done.exception()
        if error is not None and not isinstance(error, Failed):
            raise error
        self.state.probed(self._clock.monotonic())


def _opening(
    path: Path,
    clock: Clock,
    disk: Disk | None,
    reserve: Reserve | None,
    trust: VerifiedFiles | None,
    state: DiskState | None,
    renew_seconds: float,
) -> _Opening:
    return _Opening(
        path.absolute(),
        clock,
        disk or Disk(),
        reserve or Reserve(),
        trust or VerifiedFiles(),
        state or DiskState(),
        renew_seconds,
    )


def _tell(
    loop: asyncio.AbstractEventLoop, ended: Callable[[Future[Any]], None], done: Future[Any]
) -> None:
    """Have the loop hear of it. In a thread."""
    try:
        loop.call_soon_threadsafe(ended, done)
    except RuntimeError:
        return  # the loop has ended, and nobody waits
