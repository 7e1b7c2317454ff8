"""What `Manifests` promises of writes under a condition, alone and at once."""

from collections.abc import Callable

import pytest

from tests.contracts.metadata_races import race, refused
from tests.contracts.metadata_values import ACTOR, APP, NOW, blob_reference, digest, manifest
from treescale.errors import (
    ManifestBlobUnknown,
    ManifestUnknown,
    NameUnknown,
    PreconditionFailed,
)
from treescale.metadata.database import Database
from treescale.metadata.records import Manifest
from treescale.oci.conditions import Condition, EntityTags

OLD, NEW, OTHER = manifest(b"old"), manifest(b"new"), manifest(b"other")
EXISTS = Condition(match=EntityTags(anything=True))
ABSENT = Condition(none_match=EntityTags(anything=True))
ROUNDS = 6


def matches(*known: Manifest) -> Condition:
    return Condition(match=EntityTags(strong=frozenset(one.digest for one in known)))


def is_not(*known: Manifest) -> Condition:
    return Condition(none_match=EntityTags(strong=frozenset(one.digest for one in known)))


async def put(
    database: Database, made: Manifest, *tags: str, condition: Condition | None = None
) -> None:
    await database.manifests.put(APP, made, [], tags, now=NOW, condition=condition, actor=ACTOR)


class ConditionsContract:
    """Subclass with `database` and `other`, a second one at the same place, as a fixture each."""

    @pytest.mark.parametrize(
        ("condition", "there", "written"),
        [
            (matches(OLD), OLD, True),
            (matches(OTHER, OLD), OLD, True),
            (matches(OTHER), OLD, False),
            (matches(OLD), None, False),
            (EXISTS, OLD, True),
            (EXISTS, None, False),
            (ABSENT, OLD, False),
            (ABSENT, None, True),
            (is_not(OLD), OLD, False),
            (is_not(OTHER), OLD, True),
            (is_not(OLD), None, True),
        ],
    )
    async def test_a_tag(
        self, database: Database, condition: Condition, there: Manifest | None, *, written: bool
    ) -> None:
        await put(database, OTHER, "beside")
        if there is not None:
            await put(database, there, "v1")
        if written:
            await put(database, NEW, "v1", condition=condition)
            assert await database.manifests.resolve(APP, "v1") == NEW
            return
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, "v1", condition=condition)
        assert ("v1" in await database.manifests.list_tags(APP, "", 9)) == (there is not None)
        if there is not None:
            assert await database.manifests.resolve(APP, "v1") == there
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, NEW.digest)

    async def test_every_tag_must_meet_it(self, database: Database) -> None:
        await put(database, OLD, "a", "b")
        await put(database, OTHER, "b")
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, "a", "b", condition=matches(OLD))
        assert await database.manifests.resolve(APP, "a") == OLD
        await put(database, NEW, "a", "b", condition=matches(OLD, OTHER))
        assert await database.manifests.resolve(APP, "b") == NEW

    async def test_with_tags_it_is_not_about_the_manifest(self, database: Database) -> None:
        await put(database, NEW)
        await put(database, NEW, "v1", condition=ABSENT)
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, "v1", condition=ABSENT)

    async def test_a_manifest_by_its_digest(self, database: Database) -> None:
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, condition=EXISTS)
        await put(database, NEW, condition=ABSENT)
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, condition=ABSENT)
        await put(database, NEW, condition=matches(NEW))
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, condition=matches(OLD))

    async def test_a_refused_put_leaves_no_repository(self, database: Database) -> None:
        with pytest.raises(PreconditionFailed):
            await put(database, NEW, "v1", condition=EXISTS)
        with pytest.raises(NameUnknown):
            await database.repositories.get(APP)

    async def test_what_is_missing_is_said_first(self, database: Database) -> None:
        with pytest.raises(ManifestBlobUnknown, match=digest(1)):
            await database.manifests.put(
                APP, NEW, [blob_reference(1)], ["v1"], now=NOW, condition=EXISTS, actor=ACTOR
            )

    async def test_deleting_a_tag(self, database: Database) -> None:
        with pytest.raises(ManifestUnknown):
            await database.manifests.delete_tag(APP, "v1", matches(OLD), actor=ACTOR)
        await put(database, OLD, "v1")
        for wrong in (matches(NEW), ABSENT, is_not(OLD)):
            with pytest.raises(PreconditionFailed):
                await database.manifests.delete_tag(APP, "v1", wrong, actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == OLD
        await database.manifests.delete_tag(APP, "v1", matches(OLD), actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.resolve(APP, "v1")

    async def test_deleting_a_manifest(self, database: Database) -> None:
        with pytest.raises(ManifestUnknown):
            await database.manifests.delete(APP, OLD.digest, matches(NEW), actor=ACTOR)
        await put(database, OLD, "v1")
        with pytest.raises(PreconditionFailed):
            await database.manifests.delete(APP, OLD.digest, matches(NEW), actor=ACTOR)
        assert await database.manifests.resolve(APP, "v1") == OLD
        await database.manifests.delete(APP, OLD.digest, EXISTS, actor=ACTOR)
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, OLD.digest)

    @pytest.mark.parametrize("condition", [matches(OLD), ABSENT])
    async def test_of_many_puts_of_a_tag_at_once_one_is_done(
        self, database: Database, other: Database, condition: Condition
    ) -> None:
        """A tag that is there, and one that is not yet."""
        for number in range(ROUNDS):
            tag = f"v{number}"
            if condition.match is not None:
                await put(database, OLD, tag)
            made = [manifest(b"%d of %d" % (one, number)) for one in range(10)]
            results = await race(
                *(
                    put((database, other)[n % 2], each, tag, condition=condition)
                    for n, each in enumerate(made)
                ),
                may=(PreconditionFailed,),
            )
            assert len(refused(results)) == len(made) - 1
            assert await other.manifests.resolve(APP, tag) == made[results.index(None)]

    async def test_of_many_puts_of_a_manifest_at_once_one_is_new(
        self, database: Database, other: Database
    ) -> None:
        for number in range(ROUNDS):
            made = manifest(b"%d" % number)
            results = await race(
                *(put(each, made, condition=ABSENT) for each in (database, other) * 3),
                may=(PreconditionFailed,),
            )
            assert len(refused(results)) == 5

    async def test_a_deletion_against_a_push(self, database: Database, other: Database) -> None:
        """Either the tag that was read is deleted and then pushed, or it has moved and stays."""
        for number in range(ROUNDS):
            await put(database, OLD, "v1")
            made = manifest(b"%d" % number)
            deleted, _, conditional = await race(
                database.manifests.delete_tag(APP, "v1", matches(OLD), actor=ACTOR),
                put(other, made, "v1"),
                put(database, OTHER, "v1", condition=matches(OLD)),
                may=(PreconditionFailed, ManifestUnknown),
            )
            assert await other.manifests.resolve(APP, "v1") == made or conditional is None
            assert deleted is None or isinstance(deleted, PreconditionFailed)

    async def test_with_the_manifests_own_deletion(
        self, database: Database, other: Database
    ) -> None:
        """No deadlock, and no state that no order of the two could have led to."""
        attempts: list[Callable[[], Condition]] = [lambda: ABSENT, lambda: matches(OLD)]
        for number in range(ROUNDS):
            await put(database, OLD, "v1", "v2")
            await race(
                database.manifests.delete(APP, OLD.digest, actor=ACTOR),
                put(other, NEW, "v1", "v2", condition=attempts[number % 2]()),
                put(database, OLD, "v2"),
                may=(PreconditionFailed, ManifestUnknown),
            )
            for tag in await other.manifests.list_tags(APP, "", 9):
                assert await other.manifests.resolve(APP, tag) in (OLD, NEW)
