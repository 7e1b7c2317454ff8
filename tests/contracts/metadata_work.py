"""What `Walks`, `Jobs` and `References` promise."""

import asyncio
from dataclasses import replace

import pytest

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, ending, large, part, upload
from treescale.metadata import blobs
from treescale.metadata.database import Database
from treescale.metadata.records import (
    EMPTY_TAIL,
    ChunkPart,
    JobState,
    StoreWalk,
    UploadProgress,
    UploadTail,
)

WALK = StoreWalk(
    "s1",
    7,
    pending=3,
    missing=2,
    misplaced=1,
    rate=1000,
    looked=NOW,
    verified=NOW,
    partitions=b"\x01packed",
)
NOTHING, ALL = b"", b"\xff" * 33


class WalksContract:
    """Subclass with a `database` fixture."""

    async def test_what_was_put_is_found(self, database: Database) -> None:
        assert await database.walks.get("s1") is None
        before = await database.servers.now()
        await database.walks.put(WALK)
        found = await database.walks.get("s1")
        assert found is not None
        assert replace(found, updated=0.0) == WALK
        assert before - 1 <= found.updated <= before + 60
        assert not found.is_whole

    async def test_the_last_one_of_a_layout_counts(self, database: Database) -> None:
        await database.walks.put(WALK)
        later = replace(WALK, pending=0, missing=0, misplaced=0, partitions=b"\x01later")
        await database.walks.put(later)
        found = await database.walks.get("s1")
        assert found is not None
        assert replace(found, updated=0.0) == later
        assert found.is_whole

    async def test_of_an_older_layout_nothing_is_noted(self, database: Database) -> None:
        await database.walks.put(WALK)
        await database.walks.put(replace(WALK, layout=6, missing=99))
        await database.walks.put(replace(WALK, layout=8, missing=5))
        await database.walks.put(replace(WALK, layout=7, missing=99))
        found = await database.walks.get("s1")
        assert found is not None
        assert (found.layout, found.missing) == (8, 5)

    async def test_all_are_listed_without_their_partitions(self, database: Database) -> None:
        for name in ("s2", "s1"):
            await database.walks.put(replace(WALK, store_id=name))
        found = await database.walks.list()
        assert [walk.store_id for walk in found] == ["s1", "s2"]
        assert {walk.partitions for walk in found} == {b""}
        assert found[0].missing == WALK.missing

    async def test_removed_it_is_gone(self, database: Database) -> None:
        await database.walks.put(WALK)
        for _ in range(2):
            await database.walks.remove("s1")
        assert await database.walks.list() == []
        await database.walks.put(replace(WALK, layout=1))
        assert await database.walks.get("s1") is not None


class JobsContract:
    """Subclass with a `database` fixture."""

    async def test_each_store_has_its_part(self, database: Database) -> None:
        await database.jobs.begin("j1", "repair", ["s2", "s1"], actor=ACTOR)
        first, second = await database.jobs.parts("j1")
        assert (first.store_id, second.store_id) == ("s1", "s2")
        assert (first.kind, first.state, first.actor) == ("repair", JobState.WAITING, ACTOR)
        assert (first.done, first.total, first.moved, first.problems) == (0, 0, 0, "")
        now = await database.servers.now()
        assert now - 60 < first.created <= first.updated <= now + 1
        assert await database.jobs.parts("j2") == []

    async def test_what_is_open_comes_oldest_first(self, database: Database) -> None:
        for job in ("b", "a", "c"):
            await database.jobs.begin(job, "verify", ["s1", "s2"], actor=ACTOR)
            await asyncio.sleep(0.005)
        found = await database.jobs.open_of("s1")
        assert [part.job_id for part in found] == ["b", "a", "c"]
        await database.jobs.report(replace(found[0], state=JobState.DONE))
        await database.jobs.report(replace(found[1], state=JobState.RUNNING))
        await database.jobs.report(replace(found[2], state=JobState.FAILED))
        assert [part.job_id for part in await database.jobs.open_of("s1")] == ["a"]
        assert len(await database.jobs.open_of("s2")) == 3
        assert await database.jobs.open_of("s3") == []

    async def test_what_is_reported_is_found(self, database: Database) -> None:
        await database.jobs.begin("j1", "drain", ["s1", "s2"], actor=ACTOR)
        first, second = await database.jobs.parts("j1")
        said = replace(
            first, state=JobState.RUNNING, done=5, total=4096, moved=2**40, problems="none"
        )
        await database.jobs.report(said)
        found, other = await database.jobs.parts("j1")
        assert replace(found, updated=said.updated) == said
        assert other == second

    async def test_the_newest_come_first_and_not_too_many(self, database: Database) -> None:
        for job in ("a", "b"):
            await database.jobs.begin(job, "verify", ["s2", "s1"], actor=ACTOR)
        found = await database.jobs.recent(10)
        assert sorted((part.job_id, part.store_id) for part in found) == [
            ("a", "s1"),
            ("a", "s2"),
            ("b", "s1"),
            ("b", "s2"),
        ]
        assert [part.created for part in found] == sorted(
            (part.created for part in found), reverse=True
        )
        assert await database.jobs.recent(3) == found[:3]

    async def test_what_was_pruned_is_not_made_again(self, database: Database) -> None:
        await database.jobs.begin("j1", "drain", ["s1"], actor=ACTOR)
        (part,) = await database.jobs.parts("j1")
        await database.jobs.prune(3600)
        assert len(await database.jobs.parts("j1")) == 1
        await database.jobs.prune(-60)
        await database.jobs.report(part)
        assert await database.jobs.parts("j1") == []


class ReferencesContract:
    """Subclass with a `database` fixture."""

    async def commit(self, database: Database, number: int, *parts: ChunkPart) -> None:
        new = large(number, *parts)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)

    async def begin(
        self,
        database: Database,
        upload_id: str,
        *settled: ChunkPart,
        tail: ChunkPart | None = None,
    ) -> None:
        """Begin a session that has these chunks, each in a part of its own."""
        session, offset = upload(upload_id), 0
        await database.uploads.create(session)
        for chunk in settled:
            progress = UploadProgress(
                offset, offset + chunk[1], session.hashed, settled=(chunk,), tail=EMPTY_TAIL
            )
            await database.uploads.advance(upload_id, progress, now=NOW)
            offset = progress.offset
        if tail is not None:
            progress = UploadProgress(
                offset,
                offset + tail[1],
                session.hashed,
                settled=(),
                tail=UploadTail(inline=None, chunk=tail),
            )
            await database.uploads.advance(upload_id, progress, now=NOW)

    async def test_what_blobs_name_by_range(self, database: Database) -> None:
        await self.commit(database, 1, part(1, 11), part(2, 22))
        await self.commit(database, 2, part(2, 22), part(5, 55))
        names = database.references
        everything = {part(n)[0]: n * 11 for n in (1, 2, 5)}
        assert await names.in_blobs(NOTHING, ALL) == everything
        assert await names.in_blobs(part(1)[0], part(5)[0]) == {part(2)[0]: 22}
        assert await names.in_blobs(part(5)[0], ALL) == {}

    async def test_a_chunk_that_no_blob_has_any_more_is_not_named(self, database: Database) -> None:
        await self.commit(database, 1, part(1), part(2))
        await self.commit(database, 1, part(2), part(3))
        found = await database.references.in_blobs(NOTHING, ALL)
        assert sorted(found) == [part(2)[0], part(3)[0]]
        assert await database.references.among([part(1)[0], part(2)[0]]) == {part(2)[0]}

    async def test_pages_leave_nothing_out(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for limit in ("NAMED_AT_ONCE", "PARTS_AT_ONCE", "TAILS_AT_ONCE", "ASKED_AT_ONCE"):
            monkeypatch.setattr(blobs, limit, 2)
        await self.commit(database, 1, *(part(n) for n in range(5)))
        for n in range(5):
            settled = (part(100 + 10 * n + k) for k in range(n))
            await self.begin(database, f"u{n}", *settled, tail=part(200 + n))
        names = database.references
        assert len(await names.in_blobs(NOTHING, ALL)) == 5
        sessions = await names.in_sessions(lambda _: True)
        expected = {part(100 + 10 * n + k)[0] for n in range(5) for k in range(n)}
        assert sessions.keys() == expected | {part(200 + n)[0] for n in range(5)}
        assert set(sessions.values()) == {1000}
        asked = [part(n)[0] for n in (*range(7), 100, 110, 120, 200, 204, 205)]
        expected = {part(n)[0] for n in (*range(5), 110, 120, 200, 204)}
        assert await names.among(asked) == expected

    async def test_only_what_is_wanted_of_sessions(self, database: Database) -> None:
        await self.begin(database, "u", part(1), part(2), tail=part(3))
        wanted = {part(2)[0], part(3)[0]}
        found = await database.references.in_sessions(wanted.__contains__)
        assert found.keys() == wanted

    async def test_what_was_a_tail_and_is_settled_meanwhile_is_seen(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the two things that `in_sessions` reads."""
        await self.begin(database, "u", part(1), tail=part(2))
        session = await database.uploads.get("u")
        rows, asked = database.references._connections.rows, []

        async def settled_after(*args: object) -> object:
            found = await rows(*args)  # type: ignore[arg-type]
            asked.append(args)
            if len(asked) == 2:  # a page, and the empty one after it
                progress = UploadProgress(
                    session.offset,
                    session.offset,
                    session.hashed,
                    settled=(part(2),),
                    tail=EMPTY_TAIL,
                )
                await database.uploads.advance("u", progress, now=NOW)
            return found

        monkeypatch.setattr(database.references._connections, "rows", settled_after)
        found = await database.references.in_sessions(lambda _: True)
        assert found.keys() == {part(1)[0], part(2)[0]}
        assert len(asked) > 2

    async def test_what_goes_from_a_session_to_a_blob_is_seen(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sessions are read first (collection.md R3)."""
        await self.begin(database, "u", part(1), tail=part(2))
        new = ending(large(1, part(1), part(2)), await database.uploads.get("u"))
        names = database.references
        in_sessions = names.in_sessions

        async def committed_before(wanted: object) -> dict[bytes, int]:
            found = await in_sessions(wanted)  # type: ignore[arg-type]
            await database.blobs.commit(APP, new, upload_id="u", now=NOW, actor=ACTOR)
            return found

        both = {part(1)[0], part(2)[0]}
        monkeypatch.setattr(names, "in_sessions", committed_before)
        assert await names.among(both) == both
        assert digest(1) == new.blob.digest
        monkeypatch.undo()
        assert await names.in_sessions(lambda _: True) == {}
        assert (await names.in_blobs(NOTHING, ALL)).keys() == both

    async def test_nothing_is_read_before_open_writes_have_ended(self, database: Database) -> None:
        """On PostgreSQL nobody waits: it ends what stands open."""
        await self.commit(database, 1, part(1))
        await database.references.after_writers()
        assert await database.references.among([part(1)[0]]) == {part(1)[0]}


class CollectionsContract:
    """Subclass with a `database` fixture."""

    async def test_what_was_noted_last_is_found_by_store(self, database: Database) -> None:
        assert await database.collections.list() == {}
        await database.collections.put("s2", "{}")
        await database.collections.put("s1", "first")
        await database.collections.put("s1", '{"trash":1}')
        for name in ("collection", "collection0", "collections/x", "copies"):
            await database.settings.put(name, "no store's")
        assert await database.collections.list() == {"s1": '{"trash":1}', "s2": "{}"}

    async def test_a_setting_that_is_removed_is_unset(self, database: Database) -> None:
        await database.settings.put("collection", "frozen")
        await database.settings.remove("collection")
        await database.settings.remove("collection")
        assert await database.settings.get("collection") is None
