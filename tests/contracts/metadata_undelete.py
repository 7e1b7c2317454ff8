"""What `Undelete` promises on either database: whole, in time, or clearly not."""

from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import func, select, text, true
from sqlalchemy.engine import Connection

from tests.contracts.broken_off import broken_off
from tests.contracts.metadata_collection import image
from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, manifest
from tests.database_clock import MovedClock
from treescale.errors import (
    BlobUnknown,
    DatabaseUnavailable,
    ManifestUnknown,
    NameUnknown,
    PageInvalid,
)
from treescale.lease_times import LEASE_SETTING, UNDELETE_SECONDS, UNDELETE_SETTING, stored
from treescale.metadata import manifest_push
from treescale.metadata.collection.deleted import Deleted
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest
from treescale.metadata.schema import manifests, repositories
from treescale.oci.manifests import Reference, ReferenceKind


async def index(database: Database, *children: str, content: bytes = b"index") -> Manifest:
    """Push an index of these, under the tag `i`."""
    made = manifest(content)
    parts = [Reference(child, ReferenceKind.MANIFEST, required=True) for child in children]
    await database.manifests.put(APP, made, parts, ["i"], now=NOW, actor=ACTOR)
    return made


async def is_whole(database: Database, number: int) -> bool:
    """Say whether the image can be pulled: as `image` has pushed it."""
    try:
        await database.manifests.get(APP, manifest(b"%d" % number).digest)
        await database.blobs.find(APP, digest(2 * number))
        await database.blobs.find(APP, digest(2 * number + 1))
    except (ManifestUnknown, BlobUnknown):
        return False
    return True


SAID_MANY = 1200
"""More than two pieces of a deletion."""


async def much_said(database: Database, of: str, *, count: int = SAID_MANY) -> None:
    """Push so much that is said of an image, all in one transaction."""
    row = await database.connections.row(select(repositories.c.repository_id))
    assert row is not None
    row_id = row.repository_id

    def work(connection: Connection) -> None:
        for number in range(count):
            said = manifest(b"said %d" % number, subject=of)
            new = manifest_push.manifest_row(row_id, said, actor=ACTOR)
            manifest_push.write_manifest(connection, new, (), None)
            subject = Reference(of, ReferenceKind.MANIFEST, required=False)
            manifest_push.refer(connection, row_id, said.digest, [subject])

    await database.connections.write(work)


async def there(database: Database, *, live: bool = False) -> int:
    """Return how many manifests there are, deleted or not."""
    which = manifests.c.deleted.is_(None) if live else true()
    row = await database.connections.row(select(func.count()).select_from(manifests).where(which))
    assert row is not None
    return int(row[0])


async def said_of(database: Database, subject: str, *, live: bool) -> list[str]:
    """Return the digests of what is said of an image, of what is deleted or of what is not."""
    deleted = manifests.c.deleted.is_(None) if live else manifests.c.deleted.is_not(None)
    which = select(manifests.c.digest).where(manifests.c.subject == subject, deleted)
    return [row.digest for row in await database.connections.rows(which)]


class UndeleteContract:
    """Subclass with a `database` fixture, whose clock `database_clock` moves."""

    @pytest.fixture
    def undelete(self, database: Database, database_clock: MovedClock) -> Undelete:
        assert database_clock.ahead == 0
        return Undelete(database.connections)

    async def test_an_index_comes_back_with_its_parts_whenever_they_went(
        self, database: Database, undelete: Undelete, database_clock: MovedClock
    ) -> None:
        """One before it, with a layer; one after it; an index within the index."""
        parts = [await image(database, number=number) for number in (1, 2, 3)]
        inner = await index(database, parts[2], content=b"inner")
        outer = await index(database, parts[0], parts[1], inner.digest)
        await database.manifests.delete(APP, parts[0], actor=ACTOR)
        await database.blobs.unlink(APP, digest(2))
        await database_clock.move(database, 3600)
        await database.manifests.delete(APP, outer.digest, actor=ACTOR)
        await database_clock.move(database, 3600)
        for each in (parts[1], inner.digest, parts[2]):
            await database.manifests.delete(APP, each, actor=ACTOR)
        done = await undelete.tag(APP, "i", actor=ACTOR)
        assert done.digest == outer.digest
        assert done.missing == ()
        assert set(done.manifests) == {outer.digest, inner.digest, *parts}
        assert [await is_whole(database, number) for number in (1, 2, 3)] == [True] * 3
        assert await database.manifests.get(APP, inner.digest) == inner

    async def test_what_was_deleted_comes_in_pages(
        self, database: Database, undelete: Undelete
    ) -> None:
        """Many at one moment, and more deleted meanwhile: each that was there is listed once."""
        for number in range(5):
            new = manifest(b"%d" % number)
            await database.manifests.put(APP, new, [], [f"v{number}"], now=NOW, actor=ACTOR)
            bare = manifest(b"bare %d" % number)
            await database.manifests.put(APP, bare, [], [], now=NOW, actor=ACTOR)
            await database.manifests.delete(APP, new.digest, actor=ACTOR)
            await database.manifests.delete(APP, bare.digest, actor=ACTOR)
            other = f"bob/app{number}"
            await database.manifests.put(other, new, [], ["v1"], now=NOW, actor=ACTOR)
            await database.repositories.delete(other, actor=ACTOR)
        whole = await undelete.list(None, 99)
        kinds = [(one.tag is not None, one.digest is not None) for one in whole]
        assert kinds == [(False, False)] * 5 + [(True, True)] * 5 + [(False, True)] * 5
        assert [one.tag for one in whole[5:10]] == ["v4", "v3", "v2", "v1", "v0"]
        for size in (1, 4, 7):
            found: list[Deleted] = []
            while page := await undelete.list(None, size, found[-1].cursor if found else ""):
                found += page
            assert found == whole
        assert [one.tag for one in await undelete.list("bob", 99)] == [None] * 5
        after = whole[6].cursor
        await database.repositories.set_public("bob/late", public=True, now=NOW, actor=ACTOR)
        await database.repositories.delete("bob/late", actor=ACTOR)
        assert await undelete.list(None, 99, after) == whole[7:]
        for wrong in ("3/1.0/1/x", "0/nan/1/", "0/1.0/-1/", "0/x/1/", "1/1.0/1", "0/1e300/1/"):
            with pytest.raises(PageInvalid):
                await undelete.list(None, 9, wrong)

    async def test_a_part_waits_for_its_index_that_was_deleted_later(
        self, database: Database, undelete: Undelete, database_clock: MovedClock
    ) -> None:
        """Though its own time is over; and goes when that of the index is."""
        part, collector = await image(database), RowCollector(database.connections)
        outer = await index(database, part)
        await database.manifests.delete(APP, part, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS - 3600)
        await database.manifests.delete(APP, outer.digest, actor=ACTOR)
        await database_clock.move(database, 7200)
        assert (await collector.cycle()).manifests == 0
        assert (await undelete.tag(APP, "i", actor=ACTOR)).missing == ()
        assert await is_whole(database, 1)
        await database.manifests.delete(APP, part, actor=ACTOR)
        await database.manifests.delete(APP, outer.digest, actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        assert (await collector.cycle()).manifests == 2

    async def test_what_an_index_misses_is_said(
        self, database: Database, undelete: Undelete
    ) -> None:
        """And the other parts are there. A blob that it names as a manifest is not missed."""
        parts = [await image(database, number=number) for number in (1, 2)]
        outer = await index(database, *parts, digest(4))
        await database.manifests.delete(APP, outer.digest, actor=ACTOR)
        await database.manifests.delete(APP, parts[1], actor=ACTOR)
        gone = text("DELETE FROM manifests WHERE digest = :gone")
        await database.connections.change(gone, {"gone": parts[0]})
        done = await undelete.manifest(APP, outer.digest, actor=ACTOR)
        assert done.missing == (parts[0],)
        assert await is_whole(database, 2)

    async def test_the_parts_of_an_index_that_is_there_come_back(
        self, database: Database, undelete: Undelete
    ) -> None:
        part = await image(database)
        outer = await index(database, part)
        await database.manifests.delete(APP, part, actor=ACTOR)
        assert (await undelete.manifest(APP, outer.digest, actor=ACTOR)).manifests == (part,)
        assert await is_whole(database, 1)
        with pytest.raises(ManifestUnknown, match="nothing that belongs to it"):
            await undelete.manifest(APP, outer.digest, actor=ACTOR)

    async def test_a_referrer_comes_back_without_its_subject(
        self, database: Database, undelete: Undelete
    ) -> None:
        """It is no part of it."""
        made = await image(database)
        said = manifest(b"said", subject=made)
        of = [Reference(made, ReferenceKind.MANIFEST, required=False)]
        await database.manifests.put(APP, said, of, ["said"], now=NOW, actor=ACTOR)
        for each in (said.digest, made):
            await database.manifests.delete(APP, each, actor=ACTOR)
        done = await undelete.manifest(APP, said.digest, actor=ACTOR)
        assert (done.manifests, done.missing) == ((said.digest,), ())

    async def test_when_its_time_is_over_nothing_comes_back(
        self, database: Database, undelete: Undelete, database_clock: MovedClock
    ) -> None:
        """Though all of it is there still. Control: a minute before."""
        made = await image(database)
        await image(database, "b/c", 2)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database.repositories.delete("b/c", actor=ACTOR)
        await database_clock.move(database, UNDELETE_SECONDS + 60)
        with pytest.raises(ManifestUnknown, match="could be restored until 20"):
            await undelete.manifest(APP, made, actor=ACTOR)
        with pytest.raises(ManifestUnknown, match="could be restored until 20"):
            await undelete.tag(APP, "v1", actor=ACTOR)
        with pytest.raises(NameUnknown, match="could be restored until 20"):
            await undelete.repository("b/c", to=None, actor=ACTOR)
        assert not await is_whole(database, 1)
        await database_clock.move(database, -120)
        await undelete.tag(APP, "v1", actor=ACTOR)
        await undelete.repository("b/c", to=None, actor=ACTOR)
        assert await is_whole(database, 1)

    async def test_without_a_time_to_restore_nothing_comes_back(
        self, database: Database, undelete: Undelete, database_clock: MovedClock
    ) -> None:
        made = await image(database)
        await database.settings.put(UNDELETE_SETTING, stored(0))
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database_clock.move(database, 1)
        with pytest.raises(ManifestUnknown, match="could be restored until"):
            await undelete.manifest(APP, made, actor=ACTOR)

    @pytest.mark.parametrize("breaks_off", [True, pytest.param(False, marks=pytest.mark.long)])
    async def test_much_that_is_said_of_an_image_goes_with_it_when_nothing_can_be_restored(
        self,
        database: Database,
        undelete: Undelete,  # noqa: ARG002  the clock is moved
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
        breaks_off: bool,  # noqa: FBT001  a parameter
    ) -> None:
        """It goes in pieces, and the image is due as soon as the first is done.

        What is said of it after that stays: nobody has deleted it.
        """
        await database.settings.put(UNDELETE_SETTING, stored(0))
        made, collector = await image(database), RowCollector(database.connections)
        await much_said(database, made)
        await database_clock.move(database, 1)
        write, pieces = database.connections.write, 0
        late = manifest(b"late", subject=made)

        async def collected(work: Any, **named: Any) -> Any:
            """Have the collector come between this piece and the next."""
            nonlocal pieces
            pieces += 1
            if breaks_off and pieces > 1:
                raise DatabaseUnavailable("the server is stopped")
            done = await write(work, **named)
            with monkeypatch.context() as inside:
                inside.setattr(database.connections, "write", write)
                await database_clock.move(database, 1)
                await database.manifests.put(APP, late, [], [], now=NOW, actor=ACTOR)
                await collector.cycle()
            return done

        with monkeypatch.context() as outside:
            outside.setattr(database.connections, "write", collected)
            with pytest.raises(DatabaseUnavailable) if breaks_off else nullcontext():
                await database.manifests.delete(APP, made, actor=ACTOR)
        await database_clock.move(database, 1)
        await collector.cycle()
        assert (count := await there(database)) == 1, f"{count} are left"
        assert await database.manifests.get(APP, late.digest) == late

    async def test_a_deletion_that_broke_off_is_finished_though_all_was_pushed_just_before(
        self,
        database: Database,
        undelete: Undelete,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A push gives a lease: what is said and was pushed before the deletion goes all the same.

        And comes back. Control: what was pushed after it stays.
        """
        made, collector = await image(database), RowCollector(database.connections)
        await much_said(database, made, count=600)
        await database_clock.move(database, 1)
        await broken_off(database, made, monkeypatch)
        assert await there(database, live=True) > 0
        await database_clock.move(database, 1)
        late = manifest(b"late", subject=made)
        await database.manifests.put(APP, late, [], [], now=NOW, actor=ACTOR)
        await collector.slow_pass()
        assert (count := await there(database, live=True)) == 1, f"{count} are left"
        await undelete.manifest(APP, made, actor=ACTOR)
        assert await there(database, live=True) == 602

    @pytest.mark.parametrize("lease", [60, 3600, 86_400])
    async def test_what_was_pushed_or_restored_since_stays_whatever_the_lease_is_by_now(
        self,
        database: Database,
        undelete: Undelete,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
        lease: int,
    ) -> None:
        """And what was not goes, which a deletion has left that broke off after 3 of 9.

        The lease was an hour.
        """
        await database.settings.put(LEASE_SETTING, stored(3600))
        monkeypatch.setattr(manifest_push, "_DIGESTS_AT_ONCE", 3)
        monkeypatch.setattr(manifest_push, "_SAID_OF", manifest_push._SAID.limit(3))
        made, put = await image(database), database.manifests.put
        await much_said(database, made, count=9)
        await database_clock.move(database, 1)

        def first_piece(connection: Connection) -> None:
            row_id = connection.execute(select(repositories.c.repository_id)).scalar_one()
            stamp = connection.execute(manifest_push.NOW).scalar_one()
            manifest_push.delete_piece(connection, manifest_push.Deletion(row_id, made, stamp))

        await database.connections.write(first_piece)
        gone = await said_of(database, made, live=False)
        left = await said_of(database, made, live=True)
        assert (len(gone), len(left)) == (3, 6)
        await database_clock.move(database, 1)
        said = {
            each.digest: each for each in (manifest(b"said %d" % n, subject=made) for n in range(9))
        }
        late = manifest(b"late", subject=made)
        for each in (late, said[gone[0]], said[left[0]]):
            await put(APP, each, [], [], now=NOW, actor=ACTOR)
        await undelete.manifest(APP, gone[1], actor=ACTOR)
        await database.settings.put(LEASE_SETTING, stored(lease))
        await RowCollector(database.connections).slow_pass()
        stays = {late.digest, gone[0], gone[1], left[0]}
        assert set(await said_of(database, made, live=True)) == stays

    async def test_what_went_with_an_image_that_was_pushed_again_comes_back(
        self, database: Database, undelete: Undelete, database_clock: MovedClock
    ) -> None:
        """Its tags, referrers, and cosign's; not what was deleted by itself before."""
        made, put = await image(database), database.manifests.put
        before, said = manifest(b"before", subject=made), manifest(b"said", subject=made)
        for one in (before, said):
            await put(APP, one, [], [], now=NOW, actor=ACTOR)
        signed = made.replace(":", "-") + ".sig"
        await put(APP, manifest(b"signed"), [], [signed], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, before.digest, actor=ACTOR)
        await database_clock.move(database, 60)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await put(APP, manifest(b"1"), [], ["again"], now=NOW, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, said.digest)
        await undelete.manifest(APP, made, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["again", signed, "v1"]
        assert await database.manifests.get(APP, said.digest) == said
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, before.digest)

    async def test_a_tag_brings_back_what_went_with_it_though_its_image_is_there_again(
        self, database: Database, undelete: Undelete
    ) -> None:
        made, put = await image(database), database.manifests.put
        said = manifest(b"said", subject=made)
        await put(APP, said, [], [], now=NOW, actor=ACTOR)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await put(APP, manifest(b"1"), [], [], now=NOW, actor=ACTOR)
        await undelete.tag(APP, "v1", actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        assert await database.manifests.get(APP, said.digest) == said

    async def test_a_tag_that_went_before_its_image_brings_both_back(
        self, database: Database, undelete: Undelete, database_clock: MovedClock
    ) -> None:
        made = await image(database)
        said = manifest(b"said", subject=made)
        await database.manifests.put(APP, said, [], [], now=NOW, actor=ACTOR)
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        await database_clock.move(database, 60)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await undelete.tag(APP, "v1", actor=ACTOR)
        assert (await database.manifests.resolve(APP, "v1")).digest == made
        assert await database.manifests.get(APP, said.digest) == said
        await database_clock.move(database, UNDELETE_SECONDS)
        await RowCollector(database.connections).cycle()
        assert await is_whole(database, 1)
