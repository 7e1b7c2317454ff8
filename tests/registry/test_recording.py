"""What a push puts is named by a row in time, or the push is refused (collection.md R5, R6)."""

from collections.abc import AsyncIterator

import pytest

from tests.database_clock import database_clock
from tests.registry.test_push import (
    DATA,
    REPOSITORY,
    CountingStore,
    database,
    store,
    stored,
    threads,
)
from tests.registry.test_slow_push import HandClock, SlowBody, clock, pushes
from treescale.chunks.format.recipe import decode
from treescale.errors import BlobUnknown, DigestInvalid, NotRecorded, UploadUnknown
from treescale.lease_times import LeaseTimes
from treescale.metadata.database import Database
from treescale.oci.digest import digest_of
from treescale.registry import recording
from treescale.registry.push import Pushes

__all__ = ["clock", "database", "database_clock", "pushes", "store", "threads"]  # fixtures

TIMES = LeaseTimes()
SLOW = DATA[: 200 * 4000]
assert TIMES.record_within < 200 * 55.0, "its body takes longer than chunks wait to be named"


class SleepyBody(SlowBody):
    """Its server sleeps after the last byte."""

    def __init__(self, data: bytes, database: Database, clock: HandClock, seconds: float) -> None:
        super().__init__(data, database, clock)
        self._seconds = seconds

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._data
        await self._clock.wait(self._seconds)


async def named(database: Database) -> set[bytes]:
    return set(await database.references.in_sessions(lambda _: True))


async def push(pushes: Pushes, way: str, body: SlowBody, data: bytes) -> None:
    """Push in a way that cannot be resumed, or only as a whole."""
    digest = digest_of(data)
    if way == "post":
        await pushes.put_whole(REPOSITORY, "alice", body, digest)
        return
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    if way == "patch":
        body.length = None
        await pushes.append(REPOSITORY, "alice", upload_id, body, at=0, announced=len(data))
        body = SlowBody(b"", body._database, body._clock)
    await pushes.finish(REPOSITORY, "alice", upload_id, body, digest, at=None)


@pytest.mark.parametrize("way", ["put", "post", "patch"])
async def test_a_body_may_take_longer_than_its_chunks_wait_to_be_named(
    pushes: Pushes, database: Database, store: CountingStore, clock: HandClock, way: str
) -> None:
    """Though no row of its upload may name them before its end."""
    await push(pushes, way, SlowBody(SLOW, database, clock), SLOW)
    assert await stored(database, store, digest_of(SLOW)) == SLOW
    assert await named(database) == set(), "nothing is left of what was noted meanwhile"


@pytest.mark.parametrize("way", ["put", "post", "patch"])
async def test_recorded_by_bytes_only_it_is_refused_and_not_corrupt(
    pushes: Pushes,
    database: Database,
    clock: HandClock,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    """The control: nothing is recorded by time."""
    monkeypatch.setattr(LeaseTimes, "checkpoint", float("inf"))
    with pytest.raises(NotRecorded):
        await push(pushes, way, SlowBody(SLOW, database, clock), SLOW)
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(digest_of(SLOW)))


@pytest.mark.parametrize("way", ["put", "post", "patch"])
async def test_a_server_that_slept_after_its_last_put_names_nothing(
    pushes: Pushes, database: Database, clock: HandClock, way: str
) -> None:
    data = DATA[:500_000]
    with pytest.raises(NotRecorded):
        await push(pushes, way, SleepyBody(data, database, clock, TIMES.lease), data)
    assert await named(database) == set()
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(digest_of(data)))


async def test_a_refused_patch_goes_on_from_what_was_recorded(
    pushes: Pushes, database: Database, store: CountingStore, clock: HandClock
) -> None:
    data, half = DATA[:1_000_000], 500_000
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    body = SlowBody(data[:half], database, clock)
    await pushes.append(REPOSITORY, "alice", upload_id, body, at=0)
    asleep = SleepyBody(data[half:], database, clock, TIMES.record_within + 1)
    with pytest.raises(NotRecorded):
        await pushes.append(REPOSITORY, "alice", upload_id, asleep, at=half)
    assert (await pushes.status(REPOSITORY, "alice", upload_id)).offset == half
    rest = SlowBody(data[half:], database, clock)
    await pushes.finish(REPOSITORY, "alice", upload_id, rest, digest_of(data), at=half)
    assert await stored(database, store, digest_of(data)) == data


async def test_what_is_put_is_named_while_the_body_goes_on(
    pushes: Pushes, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[bytes]] = []
    monkeypatch.setattr(recording, "CHECKPOINT_BYTES", 2_000_000)

    class Watching(SlowBody):
        async def pieces(self) -> AsyncIterator[bytes]:
            for start in range(0, len(self._data), 1_000_000):
                yield self._data[start : start + 1_000_000]
                seen.append(await named(database))

    await push(pushes, "put", Watching(DATA, database, clock), DATA)
    blob = await database.blobs.find(REPOSITORY, str(digest_of(DATA)))
    assert blob.recipe is not None
    assert seen[-1]
    assert seen[-1] <= {chunk for chunk, _ in decode(blob.recipe).parts}
    assert [len(one) for one in seen] == sorted(len(one) for one in seen)


async def test_what_was_noted_ends_with_a_push_that_breaks_off(
    pushes: Pushes, database: Database, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(SlowBody):
        async def pieces(self) -> AsyncIterator[bytes]:
            for start in range(0, len(self._data), 1_000_000):
                yield self._data[start : start + 1_000_000]
            assert await named(database), "control: it was noted"
            raise OSError("gone")

    monkeypatch.setattr(recording, "CHECKPOINT_BYTES", 500_000)
    with pytest.raises(OSError, match="gone"):
        await push(pushes, "post", Breaking(DATA, database, clock), DATA)
    assert await named(database) == set()


async def test_what_has_another_digest_keeps_its_session_as_it_was(
    pushes: Pushes, database: Database, clock: HandClock
) -> None:
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id
    with pytest.raises(DigestInvalid):
        await pushes.finish(
            REPOSITORY, "alice", upload_id, SlowBody(SLOW, database, clock), digest_of(b""), at=0
        )
    assert (await pushes.status(REPOSITORY, "alice", upload_id)).offset == 0


async def test_a_push_whose_session_was_cancelled_meanwhile_names_nothing(
    pushes: Pushes, database: Database, clock: HandClock
) -> None:
    upload_id = (await pushes.begin(REPOSITORY, "alice")).upload_id

    class Cancelling(SlowBody):
        async def pieces(self) -> AsyncIterator[bytes]:
            async for piece in super().pieces():
                yield piece
            await pushes.cancel(REPOSITORY, "alice", upload_id)

    body = Cancelling(SLOW, database, clock)
    with pytest.raises(UploadUnknown):
        await pushes.finish(REPOSITORY, "alice", upload_id, body, digest_of(SLOW), at=0)
    with pytest.raises(BlobUnknown):
        await database.blobs.find(REPOSITORY, str(digest_of(SLOW)))
