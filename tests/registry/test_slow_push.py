"""A body that comes slowly, over days, keeps its session: somebody is at work on it."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise

import pytest

from tests.database_clock import MovedClock, database_clock
from tests.registry.test_push import (
    DATA,
    REPOSITORY,
    Body,
    CountingStore,
    database,
    store,
    stored,
    threads,
)
from treescale.errors import BlobUnknown, DatabaseUnavailable, UploadUnknown
from treescale.lease_times import LeaseTimes
from treescale.metadata.database import Database
from treescale.metadata.records import Base, UploadProgress
from treescale.oci.digest import digest_of
from treescale.registry.push import Pushes

__all__ = ["database", "database_clock", "store", "threads"]  # fixtures

IDLE_SECONDS = 86_400.0
PIECE_SECONDS = 55.0
"""Just within what the API waits for the next piece."""
PIECE_BYTES = 4000


class HandClock:
    """Stands still until somebody puts it forward."""

    def __init__(self, database: Database, database_clock: MovedClock) -> None:
        self.seconds = 1_700_000_000.0
        self._database = database
        self._database_clock = database_clock

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def wait(self, seconds: float) -> None:
        """Let time pass, for the database, too."""
        self.seconds += seconds
        await self._database_clock.move(self._database, seconds)


class SlowBody(Body):
    """Comes in small pieces with a pause before each, in which idle sessions are taken away."""

    def __init__(self, data: bytes, database: Database, clock: HandClock) -> None:
        super().__init__(data)
        self._database = database
        self._clock = clock
        self.expired = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), PIECE_BYTES):
            await self._clock.wait(PIECE_SECONDS)
            self.expired += await self._database.uploads.delete_idle(IDLE_SECONDS, 10)
            yield self._data[start : start + PIECE_BYTES]


@pytest.fixture
def clock(database_clock: MovedClock, database: Database) -> HandClock:
    return HandClock(database, database_clock)


@pytest.fixture
def pushes(
    database: Database, store: CountingStore, threads: ThreadPoolExecutor, clock: HandClock
) -> Pushes:
    numbers = count()
    return Pushes(
        blobs=database.blobs,
        uploads=database.uploads,
        lost=database.lost,
        store=store,
        threads=threads,
        clock=clock,
        new_id=lambda: f"upload{next(numbers)}",
    )


FIRST, REST = DATA[:400_000], DATA[400_000 : 400_000 + 2000 * PIECE_BYTES]
WHOLE = FIRST + REST
assert len(REST) / PIECE_BYTES * PIECE_SECONDS > IDLE_SECONDS


@pytest.mark.long
async def test_a_patch_of_more_than_a_day_keeps_its_session(
    pushes: Pushes, database: Database, store: CountingStore, clock: HandClock
) -> None:
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(FIRST), at=0)
    body = SlowBody(REST, database, clock)
    await pushes.append(REPOSITORY, "alice", upload_id, body, at=len(FIRST))
    assert body.expired == 0
    digest = digest_of(WHOLE)
    await pushes.finish(REPOSITORY, "alice", upload_id, Body(b""), digest, at=None)
    assert await stored(database, store, digest) == WHOLE


@pytest.mark.long
async def test_a_put_of_more_than_a_day_keeps_what_came_before(
    pushes: Pushes, database: Database, store: CountingStore, clock: HandClock
) -> None:
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(FIRST), at=0)
    body, digest = SlowBody(REST, database, clock), digest_of(WHOLE)
    await pushes.finish(REPOSITORY, "alice", upload_id, body, digest, at=None)
    assert body.expired == 0
    assert await stored(database, store, digest) == WHOLE


@pytest.mark.long
async def test_without_checkpoints_by_time_it_would_be_gone(
    pushes: Pushes, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a day without a word in the session's row."""
    monkeypatch.setattr(LeaseTimes, "checkpoint", float("inf"))
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    await pushes.append(REPOSITORY, "alice", upload_id, Body(FIRST), at=0)
    body = SlowBody(REST, database, clock)
    with pytest.raises(UploadUnknown):
        await pushes.append(REPOSITORY, "alice", upload_id, body, at=len(FIRST))
    assert body.expired == 1


async def test_progress_is_recorded_every_quarter_of_an_hour(
    pushes: Pushes, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [clock.seconds]
    original = database.uploads.advance

    async def advance(upload: str, progress: UploadProgress, *, now: float) -> Base:
        times.append(now)
        return await original(upload, progress, now=now)

    monkeypatch.setattr(database.uploads, "advance", advance)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    body = SlowBody(REST[: 100 * PIECE_BYTES], database, clock)
    await pushes.append(REPOSITORY, "alice", upload_id, body, at=0)
    gaps = [late - early for early, late in pairwise(times)]
    assert max(gaps) <= LeaseTimes().checkpoint + PIECE_SECONDS
    assert len(gaps) == 6


def failing(original: Callable[..., object], failures: int) -> Callable[..., object]:
    left = count()

    async def call(*args: object, **named: object) -> object:
        if next(left) < failures:
            raise DatabaseUnavailable("away for a moment")
        return await original(*args, **named)  # type: ignore[misc]

    return call


@pytest.mark.parametrize("way", ["patch", "put"])
async def test_a_database_that_is_away_at_a_checkpoint_costs_nothing(
    pushes: Pushes,
    database: Database,
    store: CountingStore,
    clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    for name in ("advance", "touch"):
        flaky = failing(getattr(database.uploads, name), 3)
        monkeypatch.setattr(database.uploads, name, flaky)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    data = WHOLE[: 300 * PIECE_BYTES]
    body, digest = SlowBody(data, database, clock), digest_of(data)
    if way == "patch":
        await pushes.append(REPOSITORY, "alice", upload_id, body, at=0)
        body = SlowBody(b"", database, clock)
    await pushes.finish(REPOSITORY, "alice", upload_id, body, digest, at=None)
    assert await stored(database, store, digest) == data


async def test_a_database_that_is_away_at_the_end_is_an_error(
    pushes: Pushes, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    flaky = failing(database.uploads.advance, 99)
    monkeypatch.setattr(database.uploads, "advance", flaky)
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    with pytest.raises(DatabaseUnavailable):
        await pushes.append(REPOSITORY, "alice", upload_id, SlowBody(FIRST, database, clock), at=0)
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(digest_of(FIRST)))
