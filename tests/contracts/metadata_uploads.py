"""What `Uploads` promises."""

from dataclasses import replace

import pytest

from tests.contracts.metadata_values import NOW, part, upload
from tests.database_clock import MovedClock
from treescale.errors import NotRecorded, UploadOutOfOrder, UploadUnknown
from treescale.lease_times import LEASE_SETTING, LeaseTimes, lease_of
from treescale.metadata.database import Database
from treescale.metadata.records import EMPTY_TAIL, ChunkPart, UploadProgress, UploadTail


def progress(start: int, end: int, tail: UploadTail, *settled: ChunkPart) -> UploadProgress:
    return UploadProgress(start, end, f"hash of {end}", settled, tail)


def inline(size: int) -> UploadTail:
    return UploadTail(inline=b"x" * size, chunk=None)


def chunk_tail(number: int, size: int) -> UploadTail:
    return UploadTail(inline=None, chunk=part(number, size))


async def chunks_of(database: Database) -> tuple[ChunkPart, ...]:
    got = await database.uploads.get("upload")
    return await database.uploads.settled("upload", got.settled_bytes)


class UploadsContract:
    """Subclass with a `database` fixture."""

    async def test_a_fresh_session_comes_back(self, database: Database) -> None:
        await database.uploads.create(upload())
        assert await database.uploads.get("upload") == upload()
        assert await chunks_of(database) == ()

    async def test_unknown_ones(self, database: Database) -> None:
        with pytest.raises(UploadUnknown):
            await database.uploads.get("upload")
        with pytest.raises(UploadUnknown):
            await database.uploads.delete("upload")
        with pytest.raises(UploadUnknown):
            await database.uploads.advance("upload", progress(0, 1, inline(1)), now=NOW)

    async def test_it_grows_from_tail_to_chunks(self, database: Database) -> None:
        await database.uploads.create(upload())
        steps = [
            progress(0, 10, inline(10)),
            progress(10, 2500, chunk_tail(3, 500), part(1), part(2)),
            progress(2500, 2600, chunk_tail(4, 600)),
            progress(2600, 3000, EMPTY_TAIL, part(5)),
        ]
        settled: list[ChunkPart] = []
        for number, step in enumerate(steps):
            settled += step.settled
            await database.uploads.advance("upload", step, now=NOW + number)
            got = await database.uploads.get("upload")
            assert (got.offset, got.hashed, got.tail) == (step.offset, step.hashed, step.tail)
            assert await chunks_of(database) == tuple(settled)
            assert got.created == NOW

    async def test_the_same_chunk_may_come_again(self, database: Database) -> None:
        await database.uploads.create(upload())
        zeros = part(1)
        await database.uploads.advance("upload", progress(0, 3000, EMPTY_TAIL, *[zeros] * 3), now=0)
        await database.uploads.advance("upload", progress(3000, 4000, EMPTY_TAIL, zeros), now=0)
        assert await chunks_of(database) == (zeros,) * 4

    async def test_the_chunks_of_an_earlier_moment_stay_readable(self, database: Database) -> None:
        await database.uploads.create(upload())
        steps = [
            progress(0, 2000, EMPTY_TAIL, part(1), part(2)),
            progress(2000, 2700, chunk_tail(3, 700)),
            progress(2700, 4000, EMPTY_TAIL, part(4), part(5)),
        ]
        for step in steps:
            await database.uploads.advance("upload", step, now=NOW)
        expected = (part(1), part(2), part(4), part(5))
        for count in range(5):
            settled = await database.uploads.settled("upload", count * 1000)
            assert settled == expected[:count]

    @pytest.mark.parametrize("size", [1, 999, 1001, 2000])
    async def test_chunks_of_another_length_are_of_another_session(
        self, database: Database, size: int
    ) -> None:
        await database.uploads.create(upload())
        await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
        with pytest.raises(UploadUnknown):
            await database.uploads.settled("upload", size)

    async def test_another_offset_is_refused_with_the_one_in_force(
        self, database: Database
    ) -> None:
        await database.uploads.create(upload())
        await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
        for start in (0, 999, 1001):
            late = progress(start, start + 500, EMPTY_TAIL, part(2, 500))
            with pytest.raises(UploadOutOfOrder) as caught:
                await database.uploads.advance("upload", late, now=NOW + 9)
            assert caught.value.offset == 1000
        assert (await database.uploads.get("upload")).offset == 1000
        assert await chunks_of(database) == (part(1),)

    async def test_a_tail_is_settled_once(self, database: Database) -> None:
        await database.uploads.create(upload())
        await database.uploads.advance("upload", progress(0, 500, chunk_tail(1, 500)), now=NOW)
        settle = progress(500, 500, EMPTY_TAIL, part(1, 500))
        await database.uploads.advance("upload", settle, now=NOW)
        with pytest.raises(UploadOutOfOrder) as caught:
            await database.uploads.advance("upload", settle, now=NOW)
        assert caught.value.offset == 500
        assert await chunks_of(database) == (part(1, 500),)

    async def test_delete_forgets(self, database: Database) -> None:
        await database.uploads.create(upload())
        await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
        await database.uploads.delete("upload")
        with pytest.raises(UploadUnknown):
            await database.uploads.get("upload")
        with pytest.raises(UploadUnknown):
            await database.uploads.settled("upload", 1000)
        await database.uploads.create(upload())
        assert await database.uploads.get("upload") == upload()

    async def test_idle_ones_go_oldest_first(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        for number in range(5):
            await database.uploads.create(upload(f"u{number}"))
            await database_clock.move(database, 100)
        assert await database.uploads.delete_idle(150, 3) == 3
        with pytest.raises(UploadUnknown):
            await database.uploads.get("u2")
        assert await database.uploads.delete_idle(150, 3) == 1
        assert await database.uploads.delete_idle(150, 3) == 0
        await database.uploads.get("u4")

    async def test_idleness_is_by_the_databases_clock(self, database: Database) -> None:
        """Whatever the server that began it took the time to be."""
        await database.uploads.create(upload(updated=NOW))
        assert await database.uploads.delete_idle(3600, 3) == 0

    async def test_one_that_is_written_to_is_not_idle(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        await database.uploads.create(upload())
        await database_clock.move(database, 100)
        await database.uploads.touch("upload")
        await database.uploads.touch("gone")
        assert await database.uploads.delete_idle(50, 3) == 0
        await database_clock.move(database, 100)
        await database.uploads.advance("upload", progress(0, 10, inline(10)), now=NOW)
        assert await database.uploads.delete_idle(50, 3) == 0
        await database_clock.move(database, 100)
        assert await database.uploads.delete_idle(50, 3) == 1

    @pytest.mark.parametrize("lease", ["24h", "1h", "30d", "no time"])
    async def test_each_answer_is_the_next_base(
        self, database: Database, database_clock: MovedClock, lease: str
    ) -> None:
        """A chunk put since the base may be named for a twelfth of a day; control: no check.

        Of a shorter lease for a twelfth of that.
        """
        await database.settings.put(LEASE_SETTING, lease)
        await database.uploads.create(upload())
        got = await database.uploads.get("upload")
        base, within = got.base, lease_of(lease).record_within
        assert LeaseTimes(got.lease).checkpoint == lease_of(lease).checkpoint
        for number in range(3):
            await database_clock.move(database, within - 60)
            step = progress(1000 * number, 1000 * number + 1000, EMPTY_TAIL, part(number))
            base = await database.uploads.advance("upload", replace(step, base=base), now=NOW)
        await database_clock.move(database, within + 1)
        late = replace(progress(3000, 4000, EMPTY_TAIL, part(4)), base=base)
        with pytest.raises(NotRecorded):
            await database.uploads.advance("upload", late, now=NOW)
        got = await database.uploads.get("upload")
        assert (got.offset, await chunks_of(database)) == (3000, (part(0), part(1), part(2)))
        again = replace(late, base=got.base)
        await database.uploads.advance("upload", again, now=NOW)
