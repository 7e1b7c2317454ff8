"""What is promised of images that nothing holds: they go in time, and nothing else does."""

from collections.abc import Sequence
from contextlib import nullcontext

import pytest
from sqlalchemy import func, select, update

from tests.contracts.metadata_values import ACTOR, APP, INDEX_TYPE, NOW, manifest
from tests.database_clock import MovedClock
from treescale.clock import SystemClock
from treescale.errors import ManifestBlobUnknown, ManifestUnknown
from treescale.lease_times import (
    COLLECTION_SETTING,
    FROZEN,
    UNDELETE_SECONDS,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
    LeaseTimes,
    stored,
)
from treescale.metadata.collection import untagged
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.collection.untagged import ACTOR as RULE
from treescale.metadata.collection.untagged import TAKEN_AT_ONCE, UntaggedCollector
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest
from treescale.metadata.schema import deleted_tags, events, manifests
from treescale.oci.manifests import Reference, ReferenceKind

DAY = 86_400.0
KEPT = 30 * DAY
LEASE = LeaseTimes().lease


def child(of: Manifest, *, required: bool = True) -> Reference:
    return Reference(of.digest, ReferenceKind.MANIFEST, required=required)


class Images:
    """A repository, its collector and its clock."""

    def __init__(self, database: Database, clock: MovedClock) -> None:
        self.database = database
        self.clock = clock
        self.collector = UntaggedCollector(database.connections)

    async def put(
        self, name: bytes, *tags: str, subject: Manifest | None = None, of: Sequence[Manifest] = ()
    ) -> Manifest:
        made = manifest(name, subject=None if subject is None else subject.digest)
        references = [child(each) for each in of]
        if subject is not None:
            references.append(child(subject, required=False))
        await self.database.manifests.put(APP, made, references, tags, now=NOW, actor=ACTOR)
        return made

    async def after(self, seconds: float) -> int:
        """Let so much time pass, and everything be looked at; return how many went."""
        await self.clock.move(self.database, seconds)
        await self.collector.look_if_due()
        return await self.collector.take()

    async def here(self, *wanted: Manifest) -> list[bool]:
        rows = await self.database.connections.rows(
            select(manifests.c.digest).where(manifests.c.deleted.is_(None))
        )
        live = {row.digest for row in rows}
        return [each.digest in live for each in wanted]

    async def pull(self, image: Manifest) -> None:
        """Do as `ManifestService` does for who is told of it."""
        found = await self.database.manifests.get(APP, image.digest)
        now = SystemClock().now() + self.clock.ahead
        if found.promised_until is not None and found.promised_until <= now:
            await self.database.manifests.renew(APP, image.digest)


class UntaggedContract:
    """Subclass with a `database` fixture, whose clock `database_clock` moves."""

    @pytest.fixture
    async def images(self, database: Database, database_clock: MovedClock) -> Images:
        await database.settings.put(UNTAGGED_SETTING, stored(KEPT))
        return Images(database, database_clock)

    async def test_it_goes_so_long_after_it_was_seen_that_nothing_holds_it(
        self, images: Images, database: Database
    ) -> None:
        image = await images.put(b"image", "v1")
        assert await images.after(40 * DAY) == 0, "it has a tag"
        await images.put(b"next", "v1")
        assert await images.after(DAY + 60) == 0, "not when it was pushed"
        assert await images.after(KEPT - 60) == 0
        assert await images.after(120) == 1
        assert await images.here(image) == [False]
        told = await database.connections.rows(select(events).where(events.c.actor == RULE))
        assert [(row.kind, row.digest) for row in told] == [("image.deleted", image.digest)]

    async def test_it_stays_where_all_is_read_only_and_holds_up_no_others(
        self, images: Images, database: Database
    ) -> None:
        """As many as are taken at once stay in one repository: others behind them go."""
        frozen = "carol/frozen"
        for number in range(TAKEN_AT_ONCE):
            made = manifest(b"%d" % number)
            await database.manifests.put(frozen, made, [], [], now=NOW, actor=ACTOR)
        await images.after(1)
        image = await images.put(b"image")
        await images.after(DAY + 60)
        switches = database.read_only
        await switches.set_repository(frozen, read_only=True, actor=ACTOR)
        assert await images.after(KEPT) == 1
        assert await images.here(image) == [False]
        await switches.set_repository(frozen, read_only=False, actor=ACTOR)
        await switches.set_namespace("carol", read_only=True, actor=ACTOR)
        assert await images.after(1) == 0
        await switches.set_namespace("carol", read_only=False, actor=ACTOR)
        await switches.set_cluster(read_only=True, actor=ACTOR)
        assert await images.after(1) == 0
        await switches.set_cluster(read_only=False, actor=ACTOR)
        assert await images.after(1) == TAKEN_AT_ONCE

    async def test_it_is_kept_unless_somebody_said_otherwise(
        self, images: Images, database: Database
    ) -> None:
        """The look goes on, so that one who says so later need not wait as long again."""
        image = await images.put(b"image")
        await database.settings.remove(UNTAGGED_SETTING)
        await images.after(DAY)
        assert await images.after(1000 * DAY) == 0
        assert await images.here(image) == [True]
        await database.settings.put(UNTAGGED_SETTING, stored(KEPT))
        assert await images.after(0) == 1

    async def test_it_can_be_restored_and_has_its_time_again(
        self, images: Images, database: Database
    ) -> None:
        """Control: a mark that is kept, so that it goes again at once."""
        image = await images.put(b"image")
        await images.after(1)
        assert await images.after(KEPT + 1) == 1
        await Undelete(database.connections).manifest(APP, image.digest, actor=ACTOR)
        assert await images.after(1) == 0
        await images.after(DAY)
        assert await images.after(KEPT - 60) == 0
        assert await images.after(120) == 1
        await images.clock.move(database, UNDELETE_SECONDS + 1)
        assert (await RowCollector(database.connections).cycle()).manifests == 1

    async def test_who_was_told_while_a_look_slept_has_a_day(
        self, images: Images, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the shortest setting. A mark as old as that look would have it go four hours later."""
        await database.settings.put(UNTAGGED_SETTING, stored(DAY))
        image = await images.put(b"image")
        await images.clock.move(database, 10 * DAY)
        look = UntaggedCollector._look_at_marks

        async def sleeping(collector: UntaggedCollector) -> int:
            monkeypatch.setattr(UntaggedCollector, "_look_at_marks", look)
            await images.clock.move(database, 20 * 3600)
            await images.pull(image)
            return await look(collector)

        monkeypatch.setattr(UntaggedCollector, "_look_at_marks", sleeping)
        assert await images.after(0) == 0
        assert await images.after(DAY - 60) == 0, "another look has marked it just now"
        assert await images.after(DAY) == 0, "and an hour more than a day, since a look takes time"
        assert await images.after(3700) == 1

    async def test_what_something_holds_stays(self, images: Images) -> None:
        """A tag, an index, a subject; cosign's tags; also a child of a child's."""
        leaf, parts = await images.put(b"leaf"), await images.put(b"parts")
        inner = await images.put(b"inner", of=[leaf])
        index = await images.put(b"index", "v1", of=[inner, parts])
        bom = await images.put(b"bom", subject=leaf)
        signed = await images.put(b"signed bom", subject=bom)
        cosign = await images.put(b"cosign", index.digest.replace(":", "-") + ".sig")
        held = (leaf, parts, inner, index, bom, signed, cosign)
        for _ in range(3):
            assert await images.after(KEPT + 1) == 0
        assert await images.here(*held) == [True] * 7

    async def test_an_index_goes_and_comes_back_with_all_that_hangs_on_it(
        self, images: Images, database: Database
    ) -> None:
        leaf, shared = await images.put(b"leaf"), await images.put(b"shared")
        tagged = await images.put(b"tagged", "amd64")
        inner = await images.put(b"inner", of=[leaf])
        index = await images.put(b"index", "v1", of=[inner, shared, tagged])
        bom = await images.put(b"bom", subject=leaf)
        cosign = await images.put(b"cosign", index.digest.replace(":", "-") + ".sig")
        await images.put(b"other index", "v1", of=[shared])
        await images.after(DAY + 1)
        assert await images.after(KEPT + 1) == 5
        gone, kept = (index, inner, leaf, bom, cosign), (shared, tagged)
        assert await images.here(*gone) == [False] * 5
        assert await images.here(*kept) == [True] * 2
        await Undelete(database.connections).manifest(APP, index.digest, actor=ACTOR)
        assert await images.here(*gone, *kept) == [True] * 7
        assert (await database.manifests.list_tags(APP, "", 9))[-2:] == [
            cosign_tag(index),
            "v1",
        ]

    async def test_one_of_those_that_went_together_comes_back_alone(
        self, images: Images, database: Database
    ) -> None:
        """With what is said of it and its parts: nobody has named the others."""
        undelete = Undelete(database.connections)
        one, other = await images.put(b"one"), await images.put(b"other")
        bom = await images.put(b"bom", subject=one)
        signed = await images.put(b"signed bom", subject=bom)
        also = await images.put(b"also", subject=other)
        leaf = await images.put(b"leaf")
        index = await images.put(b"index", of=[leaf])
        said = await images.put(b"said", subject=leaf)
        await images.after(1)
        assert await images.after(KEPT + 1) == 8
        stamps = await database.connections.rows(select(manifests.c.deleted).distinct())
        assert len(stamps) == 1, "they went at one moment"
        back = await undelete.manifest(APP, one.digest, actor=ACTOR)
        assert set(back.manifests) == {one.digest, bom.digest, signed.digest}
        assert await images.here(other, also, leaf, index, said) == [False] * 5
        back = await undelete.manifest(APP, leaf.digest, actor=ACTOR)
        assert set(back.manifests) == {leaf.digest, said.digest}, "no part needs its index"
        back = await undelete.manifest(APP, index.digest, actor=ACTOR)
        assert back.manifests == (index.digest,)
        assert await images.here(other, also) == [False] * 2

    async def test_a_tag_of_the_same_moment_stays_away(
        self, images: Images, database: Database
    ) -> None:
        """As of two images that one transaction took, each with its signature's tag."""
        one, other = await images.put(b"one", "1"), await images.put(b"other", "2")
        for each in (one, other):
            await images.put(b"signed " + each.payload, cosign_tag(each))
            await database.manifests.delete(APP, each.digest, actor=ACTOR)
        row = await database.connections.row(select(func.max(manifests.c.deleted)))
        assert row is not None
        for table in (manifests, deleted_tags):
            await database.connections.change(update(table).values(deleted=row[0]))
        await Undelete(database.connections).manifest(APP, one.digest, actor=ACTOR)
        assert await database.manifests.list_tags(APP, "", 9) == ["1", cosign_tag(one)]
        await Undelete(database.connections).tag(APP, "2", actor=ACTOR)
        assert len(await database.manifests.list_tags(APP, "", 9)) == 4

    async def test_what_could_be_restored_holds_its_children(
        self, images: Images, database: Database
    ) -> None:
        """Else the index came back without them."""
        await database.settings.put(UNDELETE_SETTING, stored(90 * DAY))
        leaf = await images.put(b"leaf")
        index = await images.put(b"index", "v1", of=[leaf])
        await database.manifests.delete(APP, index.digest, actor=ACTOR)
        await images.after(DAY)
        assert await images.after(KEPT + 1) == 0
        await Undelete(database.connections).manifest(APP, index.digest, actor=ACTOR)
        assert await images.here(index, leaf) == [True, True]

    @pytest.mark.parametrize("is_renewed", [True, False])
    async def test_a_child_that_was_told_of_is_there_for_its_index(
        self,
        images: Images,
        is_renewed: bool,  # noqa: FBT001  a parameter
    ) -> None:
        """R21: a child of 31 days; HEAD 200, so it is not pushed again; then the index.

        And the control, a HEAD that renews nothing: the index is refused.
        """
        leaf = await images.put(b"leaf")
        await images.after(DAY)
        await images.clock.move(images.database, KEPT + 1)
        if is_renewed:
            await images.pull(leaf)
        else:
            await images.database.manifests.get(APP, leaf.digest)
        assert await images.after(23 * 3600) == (0 if is_renewed else 1)
        refused = nullcontext() if is_renewed else pytest.raises(ManifestBlobUnknown)
        with refused:
            await images.put(b"index", "v1", of=[leaf])

    async def test_what_0_1_0_has_pushed_is_promised_as_well(
        self, images: Images, database: Database
    ) -> None:
        """It wrote no lease beside it: none is running."""
        leaf = await images.put(b"leaf")
        await database.connections.change(update(manifests).values(lease_until=None))
        await images.after(DAY + 60)
        await images.after(KEPT - 60)
        await images.pull(leaf)
        assert await images.after(23 * 3600) == 0
        await images.put(b"index", "v1", of=[leaf])

    async def test_a_push_without_a_tag_is_a_promise_too(
        self, images: Images, database: Database
    ) -> None:
        """Whatever the setting: an index has a lease's time to follow."""
        await database.settings.put(UNTAGGED_SETTING, stored(60))
        leaf = await images.put(b"leaf")
        await images.after(1)
        assert await images.after(LEASE) == 0
        await images.put(b"index", "v1", of=[leaf])

    async def test_what_is_pulled_by_its_digest_stays(self, images: Images) -> None:
        """A deployment that pins it, or a platform of it. Control: the same without pulls."""
        leaf, idle = await images.put(b"leaf"), await images.put(b"idle")
        index = await images.put(b"index", of=[leaf])
        await images.after(1)
        for _ in range(8):
            await images.pull(leaf)
            await images.after(10 * DAY)
        assert await images.here(leaf, index, idle) == [True, False, False]

    async def test_a_read_writes_once_in_a_lease_and_only_of_what_nothing_holds(
        self, images: Images, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pinned, tagged = await images.put(b"pinned"), await images.put(b"tagged", "v1")
        await images.after(2 * DAY)
        writes: list[object] = []
        change = images.database.connections.change

        async def counted(statement: object, *values: object, **named: object) -> int:
            writes.append(statement)
            return await change(statement, *values, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(images.database.connections, "change", counted)
        for _ in range(3):
            await images.pull(pinned)
            await images.pull(tagged)
        assert len(writes) == 1

    async def test_what_has_gone_meanwhile_is_not_told_of(
        self, images: Images, database: Database
    ) -> None:
        image = await images.put(b"image")
        await images.after(DAY)
        await images.after(KEPT)
        with pytest.raises(ManifestUnknown):
            await database.manifests.renew(APP, image.digest)

    async def test_a_child_has_its_time_from_the_end_of_its_index(
        self, images: Images, database: Database
    ) -> None:
        """Also when no look saw that index. Control: a push that takes no mark back."""
        await database.settings.put(UNDELETE_SETTING, stored(0))
        leaf = await images.put(b"leaf")
        await images.after(DAY)
        await images.clock.move(database, KEPT - DAY)
        index = await images.put(b"index", "v1", of=[leaf])
        await database.manifests.delete(APP, index.digest, actor=ACTOR)
        await database_purged(images)
        assert await images.after(2 * DAY) == 0

    async def test_a_cycle_that_finds_nothing_writes_nothing(
        self, images: Images, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await images.put(b"tagged", "v1")
        await images.put(b"untagged")
        await images.after(DAY)

        async def write(*_: object, **__: object) -> object:
            raise AssertionError("any commit empties what workers remember")

        monkeypatch.setattr(database.connections, "write", write)
        assert await images.collector.look_if_due() == 0
        assert await images.collector.take() == 0

    async def test_marks_are_taken_back_when_something_holds_it(
        self, images: Images, database: Database
    ) -> None:
        """As servers of earlier versions leave it, which know of no marks."""
        image = await images.put(b"image", "v1")
        stale = {"untagged_since": 1.0, "lease_until": 1.0}
        await database.connections.change(manifests.update().values(stale))
        assert await images.after(0) == 0, "it has a tag"
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        assert await images.after(DAY + 1) == 0
        assert await images.here(image) == [True]

    async def test_many_go_in_small_transactions_and_all_of_them(
        self, images: Images, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(untagged, "MARKED_AT_ONCE", 7)
        for number in range(3 * untagged.TAKEN_AT_ONCE + 1):
            await images.put(b"%d" % number)
        await images.after(DAY)
        assert await images.after(KEPT) == 3 * untagged.TAKEN_AT_ONCE + 1

    async def test_nothing_goes_from_a_restored_database_nor_from_a_deleted_repository(
        self, images: Images, database: Database
    ) -> None:
        image = await images.put(b"image")
        await images.after(DAY)
        await database.settings.put(COLLECTION_SETTING, FROZEN)
        assert await images.after(KEPT + 1) == 0
        await database.settings.remove(COLLECTION_SETTING)
        await database.repositories.delete(APP, actor=ACTOR)
        assert await images.after(1) == 0
        assert await images.here(image) == [True]


def cosign_tag(image: Manifest) -> str:
    assert image.media_type == INDEX_TYPE
    return image.digest.replace(":", "-") + ".sig"


async def database_purged(images: Images) -> None:
    await images.clock.move(images.database, 1)
    assert (await RowCollector(images.database.connections).cycle()).manifests == 1
