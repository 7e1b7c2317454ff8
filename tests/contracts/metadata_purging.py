"""What purging promises on either database: nothing that a row names goes, and the fence holds."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.engine import Connection

from tests.contracts.broken_off import broken_off
from tests.contracts.metadata_undelete import much_said
from tests.contracts.metadata_untagged import child
from tests.contracts.metadata_uploads import progress
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
    server,
    small,
    store,
    upload,
)
from tests.database_clock import MovedClock
from treescale.errors import (
    BeingPurged,
    BlobUnknown,
    DatabaseUnavailable,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
    UploadUnknown,
)
from treescale.lease_times import COLLECTION_SETTING, FROZEN, OFF, ON, LeaseTimes
from treescale.metadata import manifest_push
from treescale.metadata.collection import left_behind
from treescale.metadata.collection import purging as purging_module
from treescale.metadata.collection.open_purges import AT_WORK_SECONDS, OpenPurges, Stand
from treescale.metadata.collection.purge_plan import PartInUse, PurgePlan, PurgeReader
from treescale.metadata.collection.purging import STALE_SECONDS, InUse, Purging, Round
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.engine.clock import DatabaseNow
from treescale.metadata.engine.connections import NOTHING
from treescale.metadata.records import EMPTY_TAIL, Base, ChunkPart, UploadTail
from treescale.metadata.schema import (
    blob_chunks,
    blobs,
    chunks,
    deleted_tags,
    manifest_references,
    manifests,
    purge_stores,
    purged_chunks,
    repository_blobs,
)

OLD = manifest(b"old")


async def rows_left(database: Database) -> set[str]:
    """Return the tables of images that have rows."""
    found = set()
    for table in (blobs, chunks, blob_chunks, manifests, repository_blobs, purged_chunks):
        row = await database.connections.row(select(func.count()).select_from(table))
        assert row is not None
        found |= {table.name} if row[0] else set()
    return found


class PurgingContract:
    """Subclass with a `database` fixture, whose clock `database_clock` moves."""

    @pytest.fixture
    async def purging(self, database: Database) -> Purging:
        """Two stores, and a deleted image of three chunks and a small thing."""
        await database.servers.register(server("s"), live_seconds=15, actor=ACTOR)
        for name in ("a", "b"):
            await database.stores.register(store(name, "s"))
        new = large(1, part(1), part(2), part(3))
        for blob in (new, small(2)):
            await database.blobs.commit(APP, blob, upload_id=None, now=NOW, actor=ACTOR)
        needed = [blob_reference(1), blob_reference(2)]
        await database.manifests.put(APP, OLD, needed, ["v1"], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, OLD.digest, actor=ACTOR)
        return Purging(database.connections)

    async def plan(self, database: Database, tag: str | None = None) -> PurgePlan:
        return await PurgeReader(database.connections).plan(APP, tag, None)

    async def purge(self, purging: Purging, plan: PurgePlan) -> None:
        await purging.begin("p", APP, actor=ACTOR)
        await purging.take("p", plan, actor=ACTOR)
        await purging.finish("p")

    async def confirm(self, purging: Purging, *stores: str) -> None:
        for name in stores:
            (due,) = await purging.due_at(name)
            await purging.confirm(name, due)

    async def names(self, database: Database, *parts: ChunkPart, base: Base | None = None) -> None:
        new = replace(large(9, *parts), base=base)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)

    async def test_all_of_it_goes_and_comes_back_by_a_push_alone(
        self, database: Database, purging: Purging
    ) -> None:
        plan = await self.plan(database)
        assert (len(plan.manifests), plan.blobs, plan.chunks, plan.size) == (1, 2, 3, 3000)
        before, _ = await database.uploads.time()
        await self.purge(purging, plan)
        assert await rows_left(database) == {"purged_chunks"}
        named = await purging.chunks_of("p", b"")
        assert named == sorted(part(n)[0] for n in (1, 2, 3))
        with pytest.raises(BeingPurged):
            await self.names(database, part(4), part(3), base=before)
        await self.confirm(purging, "a", "b", "a", "b")
        with pytest.raises(UploadUnknown):
            await self.names(database, part(3), base=before)
        after, _ = await database.uploads.time()
        await self.names(database, part(3), base=after)
        assert (await database.blobs.find(APP, digest(9))).size

    async def test_without_the_fence_it_would_be_named(
        self, database: Database, purging: Purging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The control of the test before."""
        before, _ = await database.uploads.time()
        await self.purge(purging, await self.plan(database))
        monkeypatch.setattr("treescale.metadata.blobs.check_fence", lambda *_: None)
        await self.names(database, part(3), base=before)

    async def test_an_upload_is_refused_what_is_purged(
        self, database: Database, purging: Purging
    ) -> None:
        await database.uploads.create(upload())
        base = (await database.uploads.get("upload")).base
        await self.purge(purging, await self.plan(database))
        step = replace(progress(0, 1000, EMPTY_TAIL, part(1)), base=base)
        with pytest.raises(BeingPurged):
            await database.uploads.advance("upload", step, now=NOW)
        tail = uploads_tail(part(2))
        with pytest.raises(BeingPurged):
            await database.uploads.advance("upload", replace(step, settled=(), tail=tail), now=NOW)
        await self.confirm(purging, "a", "b", "a", "b")
        with pytest.raises(UploadUnknown):
            await database.uploads.advance("upload", step, now=NOW)
        got = await database.uploads.get("upload")
        assert got.offset == 0
        base = await database.uploads.advance("upload", replace(step, base=got.base), now=NOW)
        more = replace(progress(1000, 2000, EMPTY_TAIL, part(2)), base=base)
        await database.uploads.advance("upload", more, now=NOW)

    async def test_each_store_looks_twice_and_not_again_before_the_others(
        self, database: Database, purging: Purging
    ) -> None:
        await self.purge(purging, await self.plan(database))
        await self.confirm(purging, "a")
        assert await purging.due_at("a") == []
        assert await purging.due_at("b") == [Round("p", 0)]
        await purging.confirm("b", Round("p", 0))
        await purging.confirm("b", Round("p", 0))  # said twice, and counted once
        assert await purging.due_at("a") == await purging.due_at("b") == [Round("p", 1)]
        await self.confirm(purging, "a")
        with pytest.raises(BeingPurged):
            await self.names(database, part(1))
        await self.confirm(purging, "b")
        await self.names(database, part(1))
        assert await purging.due_at("a") == await purging.due_at("b") == []

    async def test_a_store_that_is_forgotten_is_not_waited_for(
        self, database: Database, purging: Purging
    ) -> None:
        await self.purge(purging, await self.plan(database))
        await self.confirm(purging, "a")
        await database.stores.remove("b", actor=ACTOR)
        await self.confirm(purging, "a")
        await self.names(database, part(1))

    async def test_what_an_upload_or_another_image_has_stays(
        self, database: Database, purging: Purging
    ) -> None:
        """An upload that goes on has what it has put, and is finished."""
        await database.uploads.create(upload())
        await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
        await self.names(database, part(2))
        plan = await self.plan(database)
        assert (plan.chunks, plan.shared) == (1, 2)
        await self.purge(purging, plan)
        assert await purging.chunks_of("p", b"") == [part(3)[0]]
        ended = replace(large(5, part(1)), session=(await database.uploads.get("upload")).state)
        await database.blobs.commit(APP, ended, upload_id="upload", now=NOW, actor=ACTOR)

    async def test_what_begins_to_be_named_after_the_plan_stays(
        self, database: Database, purging: Purging
    ) -> None:
        plan = await self.plan(database)
        await self.names(database, part(2))
        await database.uploads.create(upload())
        await database.uploads.advance("upload", progress(0, 1000, EMPTY_TAIL, part(1)), now=NOW)
        await self.purge(purging, plan)
        assert await purging.chunks_of("p", b"") == [part(3)[0]]

    async def test_what_was_restored_after_the_plan_stays(
        self, database: Database, purging: Purging
    ) -> None:
        plan = await self.plan(database)
        await Undelete(database.connections).manifest(APP, OLD.digest, actor=ACTOR)
        await self.purge(purging, plan)
        assert await purging.chunks_of("p", b"") == []
        assert await purging.due_at("a") == []
        assert (await database.blobs.find(APP, digest(1))).size == 3000

    async def test_what_was_pushed_again_after_the_plan_stays(
        self, database: Database, purging: Purging
    ) -> None:
        """Somebody was told 201 for it, and pushes its manifest next."""
        await self.names(database, part(7))
        await database.blobs.unlink(APP, digest(9))
        plan = await self.plan(database)
        assert len(plan.links) == 1
        await self.names(database, part(7))
        await self.purge(purging, plan)
        assert (await database.blobs.find(APP, digest(9))).size

    @pytest.mark.usefixtures("purging")
    async def test_what_went_at_the_same_moment_and_is_no_part_of_it_stays(
        self, database: Database
    ) -> None:
        """As images do that nothing held: one transaction deletes many."""
        said, other = manifest(b"said", subject=OLD.digest), manifest(b"other")
        signed, also = manifest(b"signed"), manifest(b"also", subject=other.digest)
        part_of, shared = manifest(b"part"), manifest(b"shared")
        index = manifest(b"index")
        put = partial(database.manifests.put, APP, now=NOW, actor=ACTOR)
        await put(part_of, [], [])
        await put(shared, [], [])
        await put(OLD, [blob_reference(1), child(part_of), child(shared)], ["v1"])
        await put(said, [child(OLD)], [])
        await put(signed, [], [f"{OLD.digest.replace(':', '-')}.sig"])
        await put(other, [blob_reference(2), child(shared)], [])
        await put(also, [child(other)], [])
        await put(index, [], [])
        for each in (OLD, other, part_of, shared, index):
            await database.manifests.delete(APP, each.digest, actor=ACTOR)
        for table in (manifests, deleted_tags):
            same = update(table).where(table.c.deleted.is_not(None)).values(deleted=NOW)
            await database.connections.change(same)
        await database.connections.change(
            update(manifests).where(manifests.c.digest == shared.digest).values(deleted=NOW + 1)
        )
        plan = await PurgeReader(database.connections).plan(APP, None, OLD.digest)
        wanted = {each.digest for each in (OLD, said, signed, part_of)}
        assert {digest for _, digest in plan.manifests} == wanted
        await database.connections.change(
            update(manifests).where(manifests.c.digest == shared.digest).values(deleted=NOW)
        )
        plan = await PurgeReader(database.connections).plan(APP, "v1", None)
        assert {digest for _, digest in plan.manifests} == wanted, "one that stays has it as well"

    @pytest.mark.usefixtures("purging")
    async def test_a_part_of_an_index_that_is_there_is_refused(self, database: Database) -> None:
        """By whatever name it is asked for. Control: nothing but the index is deleted as well."""
        reader, put = PurgeReader(database.connections), database.manifests.put
        leaf, index = manifest(b"leaf"), manifest(b"index")
        await put(APP, leaf, [blob_reference(2)], [], now=NOW, actor=ACTOR)
        await put(APP, index, [child(leaf)], ["i", "j"], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, leaf.digest, actor=ACTOR)
        for digest_ in (leaf.digest, None):
            with pytest.raises(PartInUse, match=f"is a part of {APP}:i, which is not") as refused:
                await reader.plan(APP, None, digest_)
            assert f"repo delete {APP}@{index.digest}`" in str(refused.value)
            assert f"repo restore {APP}@{leaf.digest}`" in str(refused.value)
        for tag in ("i", "j"):
            await database.manifests.delete_tag(APP, tag, actor=ACTOR)
        with pytest.raises(PartInUse, match=f"is a part of {APP}@{index.digest}, which is not"):
            await reader.plan(APP, None, leaf.digest)
        await database.manifests.delete(APP, index.digest, actor=ACTOR)
        assert len((await reader.plan(APP, None, leaf.digest)).manifests) == 1
        assert len((await reader.plan(APP, None, None)).manifests) == 3

    async def test_nothing_goes_that_is_not_deleted_whatever_the_plan_says(
        self, database: Database, purging: Purging
    ) -> None:
        """An image and its layer, a layer that was just pushed, a part of an index, a repository.

        What is deleted of the same plan goes.
        """
        put, delete = database.manifests.put, database.manifests.delete
        await self.names(database, part(7))
        live, leaf = manifest(b"live"), manifest(b"leaf")
        await put(APP, live, [blob_reference(2)], ["v2"], now=NOW, actor=ACTOR)
        await put(APP, leaf, [], [], now=NOW, actor=ACTOR)
        await put(APP, manifest(b"index"), [child(leaf)], ["i"], now=NOW, actor=ACTOR)
        await delete(APP, leaf.digest, actor=ACTOR)
        row = await database.connections.row(select(manifests.c.repository_id).limit(1))
        assert row is not None
        row_id = row.repository_id
        images = [(row_id, each.digest) for each in (live, leaf, OLD)]
        links = [(row_id, digest(number)) for number in (2, 9)]
        plan = PurgePlan({row_id: APP}, images, links, [row_id], 0, 0, 0, 0, ())
        await self.purge(purging, plan)
        assert await database.manifests.list_tags(APP, "", 9) == ["i", "v2"]
        assert await database.blobs.find(APP, digest(2)) == small(2).blob
        assert (await database.blobs.find(APP, digest(9))).size
        await Undelete(database.connections).manifest(APP, leaf.digest, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await Undelete(database.connections).manifest(APP, OLD.digest, actor=ACTOR)

    async def test_a_layer_that_another_image_has_stays_with_its_chunks(
        self, database: Database, purging: Purging
    ) -> None:
        """In the same repository, and in another one; the deleted image goes."""
        new, elsewhere = manifest(b"new"), "bob/app"
        put, commit = database.manifests.put, database.blobs.commit
        await put(APP, new, [blob_reference(1)], ["v2"], now=NOW, actor=ACTOR)
        await commit(elsewhere, small(2), upload_id=None, now=NOW, actor=ACTOR)
        await put(elsewhere, new, [blob_reference(2)], ["v2"], now=NOW, actor=ACTOR)
        plan = await self.plan(database)
        assert (len(plan.manifests), plan.blobs, plan.chunks) == (1, 0, 0)
        await self.purge(purging, plan)
        assert await purging.chunks_of("p", b"") == []
        assert (await database.blobs.find(APP, digest(1))).size == 3000
        assert await database.blobs.find(elsewhere, digest(2)) == small(2).blob
        named = [part(number)[0] for number in (1, 2, 3)]
        assert await database.references.among(named) == set(named)

    async def test_what_a_deletion_has_left_that_broke_off_is_deleted_before_its_subject_goes(
        self,
        database: Database,
        purging: Purging,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Else it stayed for ever: nobody could tell what it was said of."""
        monkeypatch.setattr(manifest_push, "_DIGESTS_AT_ONCE", 3)
        await Undelete(database.connections).manifest(APP, OLD.digest, actor=ACTOR)
        said = [manifest(b"said %d" % number, subject=OLD.digest) for number in range(4)]
        of = [manifest(b"of %d" % number, subject=said[number].digest) for number in range(4)]
        for each in (*said, *of):
            await database.manifests.put(APP, each, [], [], now=NOW, actor=ACTOR)
        await database_clock.move(database, 1)
        await broken_off(database, OLD.digest, monkeypatch)
        await self.purge(purging, await PurgeReader(database.connections).plan(APP, "v1", None))
        found = await database.connections.rows(select(manifests.c.digest, manifests.c.deleted))
        assert {row.digest for row in found} == {each.digest for each in of}
        assert all(row.deleted is not None for row in found)

    async def test_much_that_a_deletion_has_left_goes_in_short_transactions(
        self, database: Database, purging: Purging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each is committed: whoever waits to write waits for no more than one."""
        await much_said(database, OLD.digest, count=2 * left_behind.AT_ONCE + 1)
        since = {"deleted": DatabaseNow(), "lease_until": manifest_push.UNFINISHED}
        await database.connections.change(
            update(manifests).where(manifests.c.digest == OLD.digest).values(**since)
        )
        write, left, moved = database.connections.write, list[int](), list[int]()
        live = select(func.count()).where(manifests.c.deleted.is_(None))

        async def counted(work: Any, **named: Any) -> Any:
            done = await write(work, **named)
            row = await database.connections.row(live)
            assert row is not None
            left.append(row[0])
            return done

        plan = await PurgeReader(database.connections).plan(APP, "v1", None)
        await purging.begin("p", APP, actor=ACTOR)
        monkeypatch.setattr(database.connections, "write", counted)
        await purging.take("p", plan, actor=ACTOR, moved=lambda: moved.append(0))
        assert left[:4] == [left_behind.AT_ONCE + 1, 1, 0, 0]
        assert len(moved) == len(left), "whoever waits hears of each"
        with pytest.raises(ManifestUnknown, match="no deleted"):
            await Undelete(database.connections).manifest(APP, OLD.digest, actor=ACTOR)

    async def test_how_far_a_store_is_is_known_until_its_round_ends(
        self, database: Database, purging: Purging, database_clock: MovedClock
    ) -> None:
        async def stand() -> tuple[Stand, bool]:
            of_a = (await OpenPurges(database.connections).stands(["p"]))["p"]["a"]
            return of_a, of_a.is_at_work

        await self.purge(purging, await self.plan(database))
        assert await stand() == (Stand(0), False)
        (due,) = await purging.due_at("a")
        await purging.note("a", due, 0)
        assert await stand() == (Stand(0), True), "it has begun"
        await purging.note("a", due, 2)
        await database_clock.move(database, AT_WORK_SECONDS - 1)
        assert await stand() == (Stand(0, 2), True)
        await database_clock.move(database, 2)
        assert await stand() == (Stand(0, 2), False), "it has said nothing for long"
        await purging.note("a", due, 0)
        assert await stand() == (Stand(0, 2), True), "to begin again is not to go on"
        await self.confirm(purging, "a", "b")
        assert await stand() == (Stand(1), False)
        await purging.note("a", due, 2)
        assert await stand() == (Stand(1), False), "a note of a round that is over"
        await self.confirm(purging, "a", "b")
        noted = select(purge_stores).where(
            or_(purge_stores.c.looked.is_not(None), purge_stores.c.noted.is_not(None))
        )
        assert await database.connections.rows(noted) == []

    async def test_nothing_is_unlinked_while_a_restored_database_may_be_the_wrong_one(
        self, database: Database, purging: Purging
    ) -> None:
        """The backup is of a moment in the purge; the right one names what was pushed since."""
        await self.purge(purging, await self.plan(database))
        await database.settings.put(COLLECTION_SETTING, FROZEN)
        assert await purging.due_at("a") == []
        for told in (ON, OFF):
            await database.settings.put(COLLECTION_SETTING, told)
            assert await purging.due_at("a") == [Round("p", 0)]

    @pytest.mark.long
    async def test_an_image_of_very_many_layers_goes(
        self, database: Database, purging: Purging
    ) -> None:
        """More than a statement may have parameters."""
        row = await database.connections.row(select(repository_blobs).limit(1))
        assert row is not None
        keys = [{"repository_id": row.repository_id, "digest": f"{n:05}"} for n in range(9_000)]
        link = {"blob_id": row.blob_id, "lease_until": 0.0}
        reference = {"manifest": OLD.digest, "kind": "blob"}

        def work(connection: Connection) -> None:
            connection.execute(insert(repository_blobs), [{**key, **link} for key in keys])
            connection.execute(insert(manifest_references), [{**key, **reference} for key in keys])

        await database.connections.write(work)
        await self.purge(purging, await self.plan(database))
        assert await rows_left(database) == {"purged_chunks"}

    async def test_a_store_that_joined_since_it_began_looks_as_well(
        self, database: Database, purging: Purging
    ) -> None:
        """Its walk may have got a copy, of what was named still."""
        plan = await self.plan(database)
        await purging.begin("p", APP, actor=ACTOR)
        await database.stores.register(store("c", "s"))
        await purging.take("p", plan, actor=ACTOR)
        await purging.finish("p")
        assert await purging.due_at("c") == [Round("p", 0)]
        await purging.finish("p")

    async def test_what_is_taken_while_a_server_ends_it_is_ended_as_well(
        self, database: Database, purging: Purging, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its command has stood still for long."""
        plans, read = [await self.plan(database)], database.connections.rows

        async def rows(statement: Any, parameters: Any = NOTHING) -> Any:
            found = await read(statement, parameters)
            if statement is purging_module.LEFT and not found and plans:
                await purging.take("p", plans.pop(), actor=ACTOR)
            return found

        await purging.begin("p", APP, actor=ACTOR)
        monkeypatch.setattr(database.connections, "rows", rows)
        await purging.finish("p")
        assert not plans
        assert await rows_left(database) == {"purged_chunks"}

    async def test_one_that_cannot_be_ended_holds_up_no_other(
        self,
        database: Database,
        purging: Purging,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await purging.begin("broken off", APP, actor=ACTOR)
        await self.purge(purging, await self.plan(database))
        await database_clock.move(database, STALE_SECONDS + 1)

        async def in_use(_: str) -> None:
            raise InUse("a backup reads the table")

        monkeypatch.setattr(purging, "finish", in_use)
        await self.confirm(purging, "a", "b", "a", "b")
        base, _ = await database.uploads.time()
        await self.names(database, part(3), base=base)
        with pytest.raises(InUse):
            await purging.settle()

    async def test_a_link_with_a_running_lease_goes_and_one_that_is_referred_to_stays(
        self, database: Database, purging: Purging
    ) -> None:
        new = manifest(b"new")
        await database.manifests.put(APP, new, [blob_reference(2)], ["v2"], now=NOW, actor=ACTOR)
        plan = await self.plan(database)
        assert plan.blobs == 1
        await self.purge(purging, plan)
        with pytest.raises(BlobUnknown):
            await database.blobs.find(APP, digest(1))
        assert await database.blobs.find(APP, digest(2)) == small(2).blob
        assert (await database.manifests.get(APP, new.digest)).digest == new.digest

    async def test_a_deleted_repository_goes_with_all_it_had(
        self, database: Database, purging: Purging
    ) -> None:
        await self.names(database, part(7))
        await database.repositories.delete(APP, actor=ACTOR)
        plan = await self.plan(database)
        assert (plan.chunks, len(plan.whole)) == (4, 1)
        await self.purge(purging, plan)
        assert await rows_left(database) == {"purged_chunks"}
        with pytest.raises(NameUnknown):
            await Undelete(database.connections).repository(APP, to=None, actor=ACTOR)

    async def test_a_purge_that_broke_off_is_ended_by_a_server(
        self, database: Database, purging: Purging, database_clock: MovedClock
    ) -> None:
        plan = await self.plan(database)
        await purging.begin("p", APP, actor=ACTOR)
        await purging.take("p", plan, actor=ACTOR)
        await RowCollector(database.connections).cycle()  # whose business it is not
        await purging.settle()
        assert await purging.due_at("a") == []
        await database_clock.move(database, STALE_SECONDS + 1)
        await purging.settle()
        assert len(await purging.chunks_of("p", b"")) == 3
        with pytest.raises(DatabaseUnavailable):  # the stores may have looked by now
            await purging.take("p", plan, actor=ACTOR)
        await self.confirm(purging, "a", "b", "a", "b")

    async def test_it_is_forgotten_a_lease_after_it_is_gone(
        self, database: Database, purging: Purging, database_clock: MovedClock
    ) -> None:
        await self.purge(purging, await self.plan(database))
        await self.confirm(purging, "a", "b", "a", "b")
        await database_clock.move(database, LeaseTimes().lease - 60)
        await purging.settle()
        assert "purged_chunks" in await rows_left(database)
        await database_clock.move(database, 120)
        await purging.settle()
        assert await rows_left(database) == set()

    async def test_the_same_is_purged_again(self, database: Database, purging: Purging) -> None:
        await self.purge(purging, await self.plan(database))
        await self.confirm(purging, "a", "b", "a", "b")
        base, _ = await database.uploads.time()
        await self.names(database, part(1), base=base)
        await database.manifests.put(APP, OLD, [blob_reference(9)], ["v1"], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, OLD.digest, actor=ACTOR)
        plan = await self.plan(database)
        await purging.begin("q", APP, actor=ACTOR)
        await purging.take("q", plan, actor=ACTOR)
        await purging.finish("q")
        with pytest.raises(BeingPurged):
            await self.names(database, part(1), base=base)
        await self.names(database, part(2), base=base)

    @pytest.mark.parametrize(
        ("tag", "error"), [("v9", ManifestUnknown), ("v2", PreconditionFailed)]
    )
    async def test_what_is_not_deleted_is_refused(
        self,
        database: Database,
        purging: Purging,  # noqa: ARG002  what was deleted
        tag: str,
        error: type[Exception],
    ) -> None:
        new = manifest(b"new")
        await database.manifests.put(APP, new, [], ["v2"], now=NOW, actor=ACTOR)
        with pytest.raises(error):
            await self.plan(database, tag)
        assert len((await self.plan(database, "v1")).manifests) == 1


def uploads_tail(chunk: ChunkPart) -> UploadTail:
    return UploadTail(inline=None, chunk=chunk)
