"""Upload sessions across workers: two `Pushes` over one database and store are two processes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from tests.bodies import BodyOfPieces
from tests.templates import empty_database
from treescale.chunks.format.recipe import decode
from treescale.chunks.format.split import Splitter
from treescale.chunks.store import (
    CHUNK_BYTES_MAX,
    Bytes,
    ChunkStore,
    MemoryStore,
    WriteResult,
    chunk_id_of,
)
from treescale.clock import SystemClock
from treescale.errors import (
    BlobUnknown,
    BodyIncomplete,
    DigestInvalid,
    SizeInvalid,
    StoreFull,
    UploadOutOfOrder,
    UploadUnknown,
)
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import Base, ChunkPart, UploadProgress
from treescale.oci.digest import Digest, digest_of
from treescale.registry import push, recording
from treescale.registry.push import Pushes

REPOSITORY = "alice/app"
DATA = hashlib.shake_256(b"a layer").digest(9_000_000)
"""Several chunks."""


class Body(BodyOfPieces):
    """A request body made of pieces; it can break off, or wait for a moment, after a piece."""

    def __init__(
        self, data: bytes, *, announced: bool = False, breaks_after: int | None = None
    ) -> None:
        self._data = data if breaks_after is None else data[:breaks_after]
        self._breaks = breaks_after is not None
        self.length = len(data) if announced or not data else None
        self.asked_for = False
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        self.asked_for = True
        for start in range(0, len(self._data), 100_000):
            self.begun.set()
            await self.go_on.wait()
            yield self._data[start : start + 100_000]
        if self._breaks:
            raise BodyIncomplete("gone")


def streamed(data: bytes) -> Body:
    """Return a body that does not announce its length, not even when it is empty."""
    body = Body(data)
    body.length = None
    return body


class CountingStore(MemoryStore):
    """Counts the bytes that are read back."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes_read = 0

    async def get(self, chunk: bytes) -> bytes:
        data = await super().get(chunk)
        self.bytes_read += len(data)
        return data


class FullStore(MemoryStore):
    """Has no room, and says so before a byte of a body is read."""

    async def check_space(self, size: int) -> None:
        raise StoreFull(f"no room for {size} bytes")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = open_database(empty_database(tmp_path / "treescale.db"))
    yield database
    await database.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def worker(database: Database, store: ChunkStore, threads: ThreadPoolExecutor) -> Pushes:
    """Return what one worker process has."""
    numbers = count()
    return Pushes(
        blobs=database.blobs,
        uploads=database.uploads,
        lost=database.lost,
        store=store,
        threads=threads,
        clock=SystemClock(),
        new_id=lambda: f"upload{next(numbers)}",
    )


async def stored(database: Database, store: ChunkStore, digest: Digest) -> bytes:
    """Return a blob's bytes, read without any of the code under test."""
    blob = await database.blobs.find(REPOSITORY, str(digest))
    if blob.inline is not None:
        return blob.inline
    assert blob.recipe is not None
    return b"".join([await store.get(chunk) for chunk, _ in decode(blob.recipe).parts])


def pieces_of(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size
    yield data[start:]


@pytest.mark.parametrize("sizes", [[], [1], [70_000, 5], [1_000_000] * 8, [4_500_000]])
async def test_an_upload_goes_from_worker_to_worker(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor, sizes: list[int]
) -> None:
    workers = [worker(database, store, threads) for _ in range(3)]
    upload = await workers[0].begin(REPOSITORY, "alice")
    for number, piece in enumerate(pieces_of(DATA, sizes)):
        one = workers[(number + 1) % 3]
        at = upload.offset
        upload = await one.append(REPOSITORY, "alice", upload.upload_id, Body(piece), at=at)
    digest = digest_of(DATA)
    store.bytes_read = 0
    await workers[0].finish(REPOSITORY, "alice", upload.upload_id, Body(b""), digest, at=None)
    assert store.bytes_read == 0, "the final PUT must not read the blob back"
    assert await stored(database, store, digest) == DATA


@pytest.mark.parametrize("sizes", [[], [70_000, 5], [1_000_000] * 8, [8_999_999]])
async def test_the_recipe_does_not_depend_on_how_the_bytes_came(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor, sizes: list[int]
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    for piece in pieces_of(DATA, sizes):
        await pushes.append(REPOSITORY, "alice", upload_id, Body(piece), at=None)
    digest = digest_of(DATA)
    await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    splitter = Splitter()
    chunks = splitter.cut(memoryview(DATA))
    expected = [chunk_id_of(chunk) for chunk in [*chunks, memoryview(DATA)[splitter.start :]]]
    blob = await database.blobs.find(REPOSITORY, str(digest))
    assert blob.recipe is not None
    assert [chunk for chunk, _ in decode(blob.recipe).parts] == expected


async def test_each_worker_reads_a_byte_back_at_most_once(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    workers = [worker(database, store, threads) for _ in range(2)]
    upload_id = (await workers[0].begin(REPOSITORY, "alice")).upload_id
    pieces = list(pieces_of(DATA, [1_000_000] * 8))
    for number, piece in enumerate(pieces):
        await workers[number % 2].append(REPOSITORY, "alice", upload_id, Body(piece), at=None)
    tails = len(pieces) * 4 * 2**20  # each request reads the tail to cut it again
    assert store.bytes_read <= 2 * len(DATA) + tails


@pytest.mark.parametrize("body", [Body(b""), streamed(b"")], ids=["no body", "an empty stream"])
async def test_a_final_put_without_bytes_reads_nothing_back(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor, body: Body
) -> None:
    first, second = (worker(database, store, threads) for _ in range(2))
    upload_id = (await first.begin(REPOSITORY, "alice")).upload_id
    await first.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0)
    digest = digest_of(DATA)
    await second.finish(REPOSITORY, "alice", upload_id, body, digest, at=None)
    assert store.bytes_read == 0
    assert await stored(database, store, digest) == DATA


async def test_a_final_put_that_breaks_off_before_its_first_byte(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0)
    digest = digest_of(DATA)
    with pytest.raises(BodyIncomplete):
        await pushes.finish(
            REPOSITORY, "alice", upload_id, Body(b"more", breaks_after=0), digest, at=None
        )
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(digest))
    await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=len(DATA))
    assert await stored(database, store, digest) == DATA


async def test_the_chunks_of_a_session_are_read_once_at_its_end(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    original = database.uploads.settled

    async def settled(upload_id: str, size: int) -> tuple[ChunkPart, ...]:
        sizes.append(size)
        return await original(upload_id, size)

    monkeypatch.setattr(database.uploads, "settled", settled)
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    *pieces, last = pieces_of(DATA, [300_000] * 28)
    for piece in pieces:
        await pushes.append(REPOSITORY, "alice", upload_id, Body(piece), at=None)
    upload = await pushes.status(REPOSITORY, "alice", upload_id)
    assert sizes == []
    digest = digest_of(DATA)
    await pushes.finish(REPOSITORY, "alice", upload_id, Body(last), digest, at=None)
    assert sizes == [upload.settled_bytes]
    assert await stored(database, store, digest) == DATA


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_session_that_moves_on_while_it_is_finished(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    finishing, moving = (worker(database, store, threads) for _ in range(2))
    upload_id = (await finishing.begin(REPOSITORY, "alice")).upload_id
    await finishing.append(REPOSITORY, "alice", upload_id, Body(DATA[:5_000_000]), at=0)
    original = database.uploads.settled

    async def moved_first(upload_id: str, size: int) -> tuple[ChunkPart, ...]:
        monkeypatch.setattr(database.uploads, "settled", original)
        await moving.append(REPOSITORY, "alice", upload_id, Body(DATA[5_000_000:]), at=5_000_000)
        return await original(upload_id, size)

    monkeypatch.setattr(database.uploads, "settled", moved_first)
    digest = Digest(algorithm, hashlib.new(algorithm, DATA[:5_000_000]).hexdigest())
    with pytest.raises(UploadOutOfOrder) as caught:
        await finishing.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=5_000_000)
    assert caught.value.offset == len(DATA)
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(digest))
    size = await moving.finish(REPOSITORY, "alice", upload_id, Body(b""), digest_of(DATA), at=None)
    assert size == len(DATA)


async def test_a_session_that_ends_while_it_is_finished(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0)
    original = database.uploads.settled

    async def ended_first(upload_id: str, size: int) -> tuple[ChunkPart, ...]:
        await pushes.cancel(REPOSITORY, "alice", upload_id)
        return await original(upload_id, size)

    monkeypatch.setattr(database.uploads, "settled", ended_first)
    with pytest.raises(UploadUnknown):
        await pushes.finish(
            REPOSITORY, "alice", upload_id, Body(b""), digest_of(DATA), at=len(DATA)
        )


async def test_small_blobs_live_in_the_database(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    pushes = worker(database, store, threads)
    for data in (b"", b"{}", DATA[: push.INLINE_BYTES_MAX]):
        await pushes.put_whole(REPOSITORY, "alice", Body(data), digest_of(data))
        assert (await database.blobs.find(REPOSITORY, str(digest_of(data)))).inline == data
    data = DATA[: push.INLINE_BYTES_MAX + 1]
    await pushes.put_whole(REPOSITORY, "alice", Body(data), digest_of(data))
    assert (await database.blobs.find(REPOSITORY, str(digest_of(data)))).inline is None
    assert await stored(database, store, digest_of(data)) == data


async def test_what_arrived_before_the_client_left_can_be_continued(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    first, second = (worker(database, store, threads) for _ in range(2))
    upload_id = (await first.begin(REPOSITORY, "alice")).upload_id
    broken = Body(DATA, breaks_after=5_000_000)
    with pytest.raises(BodyIncomplete):
        await first.append(REPOSITORY, "alice", upload_id, broken, at=0)
    upload = await second.status(REPOSITORY, "alice", upload_id)
    assert upload.offset == 5_000_000
    rest = Body(DATA[upload.offset :])
    await second.append(REPOSITORY, "alice", upload_id, rest, at=upload.offset)
    digest = digest_of(DATA)
    await second.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    assert await stored(database, store, digest) == DATA


async def test_the_worker_that_was_cut_off_goes_on_where_it_was(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    with pytest.raises(BodyIncomplete):
        await pushes.append(
            REPOSITORY, "alice", upload_id, Body(DATA, breaks_after=8_000_000), at=0
        )
    rest = Body(DATA[8_000_000:])
    await pushes.finish(REPOSITORY, "alice", upload_id, rest, digest_of(DATA), at=8_000_000)
    assert store.bytes_read <= CHUNK_BYTES_MAX, "only the tail is read, to cut it again"
    assert await stored(database, store, digest_of(DATA)) == DATA


async def test_a_long_request_is_recorded_on_the_way(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recording, "CHECKPOINT_BYTES", 2_000_000)
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    offsets: set[int] = set()

    original = database.uploads.advance

    async def advance(upload: str, progress: UploadProgress, *, now: float) -> Base:
        base = await original(upload, progress, now=now)
        offsets.add((await pushes.status(REPOSITORY, "alice", upload_id)).offset)
        return base

    monkeypatch.setattr(database.uploads, "advance", advance)
    await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0)
    assert offsets == {2_000_000, 4_000_000, 6_000_000, 8_000_000, 9_000_000}


@pytest.mark.parametrize("announced", [5_000_000, len(DATA) - 1, len(DATA) + 1, 2**40])
async def test_a_body_that_is_not_what_it_said_is_not_added_in_part(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
    announced: int,
) -> None:
    """Not even what was there when progress is recorded otherwise."""
    monkeypatch.setattr(recording, "CHECKPOINT_BYTES", 1_000_000)
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    with pytest.raises(SizeInvalid):
        await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0, announced=announced)
    assert (await pushes.status(REPOSITORY, "alice", upload_id)).offset == 0
    await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0, announced=len(DATA))
    digest = digest_of(DATA)
    size = await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=len(DATA))
    assert size == len(DATA)
    assert await stored(database, store, digest) == DATA


async def test_a_client_that_leaves_a_chunk_half_sent_continues_it(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    body = Body(DATA, breaks_after=4_000_000)
    with pytest.raises(BodyIncomplete):
        await pushes.append(REPOSITORY, "alice", upload_id, body, at=0, announced=len(DATA))
    assert (await pushes.status(REPOSITORY, "alice", upload_id)).offset == 4_000_000


async def test_of_two_writers_one_wins(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    slow, fast = (worker(database, store, threads) for _ in range(2))
    upload_id = (await slow.begin(REPOSITORY, "alice")).upload_id
    body = Body(DATA[::-1])
    body.go_on.clear()
    async with asyncio.TaskGroup() as group:

        async def lose() -> None:
            with pytest.raises(UploadOutOfOrder) as refused:
                await slow.append(REPOSITORY, "alice", upload_id, body, at=0)
            assert refused.value.offset == len(DATA)

        group.create_task(lose())
        await body.begun.wait()
        await fast.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0)
        body.go_on.set()
    digest = digest_of(DATA)
    await slow.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=len(DATA))
    assert await stored(database, store, digest) == DATA


async def test_a_wrong_digest_leaves_the_session_as_it_was(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA[:5_000_000]), at=0)
    wrong, right = digest_of(b"something else"), digest_of(DATA)
    for body in (Body(b""), Body(DATA[5_000_000:])):
        with pytest.raises(DigestInvalid):
            await pushes.finish(REPOSITORY, "alice", upload_id, body, wrong, at=None)
        assert (await pushes.status(REPOSITORY, "alice", upload_id)).offset == 5_000_000
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(wrong))
    rest = Body(DATA[5_000_000:])
    await pushes.finish(REPOSITORY, "alice", upload_id, rest, right, at=5_000_000)
    assert await stored(database, store, right) == DATA


@pytest.mark.parametrize("announced", ["sha512", "sha256"])
async def test_sha512_announced_or_not(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor, announced: str
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice", announced)).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(DATA), at=0)
    digest = Digest("sha512", hashlib.sha512(DATA).hexdigest())
    await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    assert await stored(database, store, digest) == DATA


async def test_a_full_store_refuses_before_the_body_is_read(
    database: Database, threads: ThreadPoolExecutor
) -> None:
    pushes = worker(database, FullStore(), threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    body = Body(DATA, announced=True)
    with pytest.raises(StoreFull):
        await pushes.append(REPOSITORY, "alice", upload_id, body, at=0)
    assert not body.asked_for
    for unknown in (Body(DATA), streamed(b"")):
        with pytest.raises(StoreFull):
            await pushes.finish(REPOSITORY, "alice", upload_id, unknown, digest_of(b""), at=0)
        assert not unknown.asked_for


@pytest.mark.parametrize(("repository", "user"), [("bob/app", "bob"), (REPOSITORY, "bob")])
async def test_a_session_is_its_users_in_its_repository(
    database: Database,
    store: CountingStore,
    threads: ThreadPoolExecutor,
    repository: str,
    user: str,
) -> None:
    pushes = worker(database, store, threads)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    with pytest.raises(UploadUnknown):
        await pushes.append(repository, user, upload_id, Body(DATA), at=0)
    with pytest.raises(UploadUnknown):
        await pushes.cancel(repository, user, upload_id)
    assert (await pushes.status(REPOSITORY, "alice", upload_id)).offset == 0
    await pushes.cancel(REPOSITORY, "alice", upload_id)
    with pytest.raises(UploadUnknown):
        await pushes.status(REPOSITORY, "alice", upload_id)


async def test_a_lost_answer_to_the_last_request_is_given_again(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor
) -> None:
    first, second = (worker(database, store, threads) for _ in range(2))
    upload_id = (await first.begin(REPOSITORY, "alice")).upload_id
    digest = digest_of(DATA)
    await first.finish(REPOSITORY, "alice", upload_id, Body(DATA), digest, at=None)
    await second.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    other = digest_of(b"never pushed")
    with pytest.raises(UploadUnknown):
        await second.finish(REPOSITORY, "alice", upload_id, Body(b""), other, at=None)
    with pytest.raises(UploadUnknown):
        await second.finish("alice/other", "alice", upload_id, Body(b""), digest, at=None)


class OwingStore(CountingStore):
    """One home of every chunk is down: each is owed its copy there."""

    async def write(self, chunk: bytes, data: Bytes) -> WriteResult:
        await self.put(chunk, data)
        return WriteResult(1, ("a", "b"), ("down",))


class TestWhatIsOwed:
    @pytest.fixture
    def store(self) -> OwingStore:
        return OwingStore()

    async def test_a_sessions_progress_carries_it(
        self, database: Database, store: OwingStore, threads: ThreadPoolExecutor
    ) -> None:
        pushes = worker(database, store, threads)
        upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
        for start in (0, 4_000_000, 8_000_000):
            body = Body(DATA[start : start + 4_000_000])
            await pushes.append(REPOSITORY, "alice", upload_id, body, at=None)
            assert set(await database.under_replicated.list("down", b"", 1000)) == set(
                store._chunks
            )
        await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest_of(DATA), at=None)
        assert set(await database.under_replicated.list("down", b"", 1000)) == set(store._chunks)

    @pytest.mark.parametrize("size", [70_000, len(DATA)])
    @pytest.mark.parametrize("session", [True, False])
    async def test_the_blobs_commit_carries_it(
        self,
        database: Database,
        store: OwingStore,
        threads: ThreadPoolExecutor,
        size: int,
        *,
        session: bool,
    ) -> None:
        pushes, data = worker(database, store, threads), DATA[:size]
        if session:
            upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
            await pushes.finish(
                REPOSITORY, "alice", upload_id, Body(data), digest_of(data), at=None
            )
        else:
            await pushes.put_whole(REPOSITORY, "alice", Body(data), digest_of(data))
        assert store._chunks
        assert set(await database.under_replicated.list("down", b"", 1000)) == set(store._chunks)

    async def test_a_tail_that_becomes_a_chunk_in_the_end_counts_too(
        self, database: Database, store: OwingStore, threads: ThreadPoolExecutor
    ) -> None:
        cut = sum(map(len, Splitter().cut(memoryview(DATA[:8_000_000]))))
        data = DATA[: cut + 1000]
        pushes = worker(database, store, threads)
        upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
        await pushes.append(REPOSITORY, "alice", upload_id, Body(data), at=0)
        tail = chunk_id_of(data[cut:])
        assert tail not in await database.under_replicated.list("down", b"", 1000)
        await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest_of(data), at=None)
        assert tail in await database.under_replicated.list("down", b"", 1000)

    async def test_nothing_is_owed_for_what_was_not_kept(
        self, database: Database, store: OwingStore, threads: ThreadPoolExecutor
    ) -> None:
        pushes = worker(database, store, threads)
        with pytest.raises(DigestInvalid):
            await pushes.put_whole(REPOSITORY, "alice", Body(DATA), digest_of(b"another"))
        assert await database.under_replicated.summary() == []
