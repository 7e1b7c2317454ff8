"""What is kept of sizes and pulls on either database: at any time what summing anew would say."""

import random  # noqa: TID251  from a seed
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import pytest
from sqlalchemy import select, text, update

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    large,
    manifest,
    part,
    small,
)
from tests.database_clock import MovedClock
from treescale.errors import Refused, TreeScaleError
from treescale.lease_times import UNDELETE_SETTING, LeaseTimes, stored
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.schema import (
    blobs,
    namespace_blobs,
    namespaces,
    repositories,
    repository_blobs,
    repository_usage,
    tags,
    usage_changes,
)
from treescale.metadata.usage import counting
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.figures import Usage
from treescale.metadata.usage.pull_counts import SETTING, ImagePulls, PullCounts, Pulled
from treescale.oci.names import namespace_of

TIMES: Final = LeaseTimes()
SEEDS: Final = range(4)
STEPS: Final = 60
OLD_REPOSITORY: Final = text(
    "INSERT INTO repositories (name, namespace, public, created) "
    "VALUES (:name, :namespace, false, 1) ON CONFLICT DO NOTHING"
)
OLD_LINKS: Final = text(
    "INSERT INTO repository_blobs (repository_id, digest, blob_id, lease_until) "
    "SELECT r.repository_id, b.digest, b.blob_id, 1 FROM repositories r, blobs b "
    "WHERE r.name = :name AND b.digest LIKE 'sha%' ON CONFLICT DO NOTHING"
)
NAMES: Final = ("alice/app", "alice/other", "alice/third", "bob/app")


@dataclass
class Sums:
    """What repositories (by name) and namespaces hold: bytes, and how many blobs."""

    repositories: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    namespaces: dict[str, tuple[int, int]] = field(default_factory=dict)


async def anew(database: Database) -> Sums:
    """Sum it all anew, from the rows themselves, without a word of the code that keeps it."""
    rows = database.connections.rows
    sizes = {row.blob_id: row.size for row in await rows(select(blobs))}
    live = [row for row in await rows(select(repositories)) if row.deleted is None]
    links = [row for row in await rows(select(repository_blobs)) if row.hidden is None]
    tagged = [row.repository_id for row in await rows(select(tags))]
    found, by_namespace = Sums(), dict[str, dict[str, int]]()
    for one in live:
        here = {
            link.digest: sizes[link.blob_id]
            for link in links
            if link.repository_id == one.repository_id
        }
        count = tagged.count(one.repository_id)
        found.repositories[one.name] = (sum(here.values()), len(here), count)
        by_namespace.setdefault(one.namespace, {}).update(here)
    for name, distinct in by_namespace.items():
        if distinct:
            found.namespaces[name] = (sum(distinct.values()), len(distinct))
    return found


async def kept(database: Database) -> Sums:
    """Return what is kept."""
    found = Sums()
    for one in await Usage(database.connections).repositories("", 100):
        found.repositories[one.name] = (one.bytes, one.blobs, one.tags)
    for row in await database.connections.rows(select(namespaces)):
        if row.blobs or row.bytes:
            found.namespaces[row.name] = (row.bytes, row.blobs)
    return found


Act = Callable[[Database, random.Random], Awaitable[object]]


async def commit(database: Database, chance: random.Random) -> None:
    number = chance.randrange(6)
    new = large(number, *(part(number * 8 + each, 100 + number) for each in range(number + 1)))
    await database.blobs.commit(chance.choice(NAMES), new, upload_id=None, now=NOW, actor=ACTOR)


async def mount(database: Database, chance: random.Random) -> None:
    wanted, to = digest(chance.randrange(6)), chance.choice(NAMES)
    await database.blobs.mount(to, wanted, NAMES, now=NOW, actor=ACTOR)


async def put(database: Database, chance: random.Random) -> None:
    number, tag = chance.randrange(5), f"v{chance.randrange(3)}"
    needed = [blob_reference(number), blob_reference(number + 1)]
    made, name = manifest(b"%d" % number), chance.choice(NAMES)
    await database.manifests.put(name, made, needed, [tag], now=NOW, actor=ACTOR)


async def unlink(database: Database, chance: random.Random) -> None:
    await database.blobs.unlink(chance.choice(NAMES), digest(chance.randrange(6)))


async def delete(database: Database, chance: random.Random) -> None:
    made = manifest(b"%d" % chance.randrange(5))
    await database.manifests.delete(chance.choice(NAMES), made.digest, actor=ACTOR)


async def undelete(database: Database, chance: random.Random) -> None:
    made = manifest(b"%d" % chance.randrange(5))
    undo = Undelete(database.connections)
    await undo.manifest(chance.choice(NAMES), made.digest, actor=ACTOR)


async def leave(database: Database, chance: random.Random) -> None:
    await database.repositories.delete(chance.choice(NAMES), actor=ACTOR)


async def restore(database: Database, chance: random.Random) -> None:
    """Also under another name, of another namespace."""
    undo, to = Undelete(database.connections), chance.choice((*NAMES, None))
    await undo.repository(chance.choice(NAMES), to=to, actor=ACTOR)


async def collect(database: Database, _: random.Random) -> None:
    await RowCollector(database.connections).cycle()


async def old_server(database: Database, chance: random.Random) -> None:
    """Do as 0.1.0 does: make a repository and a link, unlink, delete with all that hangs on it."""
    name, change = chance.choice(NAMES), database.connections.change
    what = chance.randrange(3)
    if what == 0:
        await change(OLD_REPOSITORY, {"name": name, "namespace": namespace_of(name)})
        await change(OLD_LINKS, {"name": name})
    elif what == 1:
        one = {"digest": digest(chance.randrange(6))}
        await change(text("DELETE FROM repository_blobs WHERE digest = :digest"), one)
    else:
        await change(text("DELETE FROM repositories WHERE name = :name"), {"name": name})


async def count(database: Database, _: random.Random) -> None:
    await UsageCounter(database.connections).count()


async def fold(database: Database, _: random.Random) -> None:
    await UsageCounter(database.connections).fold()


ACTS: Final[tuple[Act, ...]] = (
    *(commit, commit, commit, mount, mount, put, put, put, unlink, delete, undelete),
    *(leave, restore, restore, collect, old_server, fold, count),
)


class UsageContract:
    """Subclass with a `database` fixture, whose clock `database_clock` moves."""

    @pytest.fixture
    def counter(self, database: Database) -> UsageCounter:
        return UsageCounter(database.connections)

    @pytest.fixture
    def usage(self, database: Database) -> Usage:
        return Usage(database.connections)

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_whatever_happens_what_is_kept_is_what_is_there(
        self,
        database: Database,
        counter: UsageCounter,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
        seed: int,
    ) -> None:
        """Sizes of repositories at every step; those of namespaces when all is added up."""
        chance = random.Random(seed)  # noqa: S311
        monkeypatch.setattr(counting, "LINKS_AT_ONCE", 2)
        await database.settings.put(UNDELETE_SETTING, stored(3 * TIMES.link))
        for step in range(STEPS):
            act = chance.choice(ACTS)
            with suppress(TreeScaleError):
                await act(database, chance)
            if chance.random() < 0.1:
                await database_clock.move(database, TIMES.link + 60)
            truth = await anew(database)
            assert (await kept(database)).repositories == truth.repositories, (step, act)
        await counter.count()
        assert await kept(database) == await anew(database)
        assert await counter.recount() == 0, "nothing was wrong"
        assert await database.connections.rows(select(usage_changes)) == []

    async def test_a_blob_in_two_repositories_counts_once_in_their_namespace(
        self, database: Database, counter: UsageCounter, usage: Usage
    ) -> None:
        for name in (APP, "alice/other", "bob/app"):
            for number, size in ((1, 5), (2, 7)):
                new = small(number, b"x" * size)
                await database.blobs.commit(name, new, upload_id=None, now=NOW, actor=ACTOR)
        await counter.count()
        alice = await usage.namespace("alice")
        assert alice is not None
        assert (alice.kind, alice.bytes, alice.blobs) == ("user", 12, 2)
        await database.repositories.delete("alice/other", actor=ACTOR)
        await database.blobs.unlink(APP, digest(2))
        await counter.count()
        alice = await usage.namespace("alice")
        assert alice is not None
        assert (alice.bytes, alice.blobs) == (5, 1)
        assert await usage.namespace("carol") is None

    async def test_what_finds_nothing_writes_nothing(
        self,
        database: Database,
        counter: UsageCounter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        assert await counter.count() == 1
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)

        async def write(*_: object, **__: object) -> object:
            raise AssertionError("any commit empties what workers remember")

        monkeypatch.setattr(database.connections, "write", write)
        assert await counter.count() == 0, "a link that was there already is no change"
        assert await counter.recount() == 0
        await PullCounts(database.connections).add([], actor=ACTOR)
        assert await PullCounts(database.connections).prune() == 0

    async def test_what_is_wrong_is_found_and_mended(
        self, database: Database, counter: UsageCounter
    ) -> None:
        """The control of the property: a number that is another is seen, and counted anew."""
        chance = random.Random(1)  # noqa: S311
        for _ in range(30):
            with suppress(Refused):
                await chance.choice((commit, mount, put))(database, chance)
        await counter.count()
        truth = await anew(database)
        change = database.connections.change
        await change(update(repository_usage).values(bytes=repository_usage.c.bytes + 1))
        await change(update(namespaces).values(blobs=7))
        await change(namespace_blobs.delete().where(namespace_blobs.c.digest == digest(1)))
        await change(
            namespace_blobs.update()
            .values(digest=digest(9))
            .where(namespace_blobs.c.digest == digest(2))
        )
        assert await kept(database) != truth
        assert await counter.recount() > len(truth.repositories)
        assert await kept(database) == truth
        assert await counter.recount() == 0

    async def test_a_namespace_keeps_its_id(self, database: Database) -> None:
        """All its repositories have it, also one that comes after all others went."""

        async def ids() -> set[int]:
            found = await database.connections.rows(select(repositories.c.namespace_id))
            return {row.namespace_id for row in found}

        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        (first,) = await ids()
        await database.repositories.set_public("alice/b", public=True, now=NOW, actor=ACTOR)
        await database.repositories.delete(APP, actor=ACTOR)
        await database.repositories.delete("alice/b", actor=ACTOR)
        await database.repositories.set_public("alice/c", public=True, now=NOW, actor=ACTOR)
        assert await ids() == {first}
        await Undelete(database.connections).repository(APP, to="bob/app", actor=ACTOR)
        assert len(await ids()) == 2

    async def test_an_id_is_given_out_once(self, database: Database) -> None:
        """What hung on a namespace that was removed does not hang on the next of its name."""
        found = []
        for _ in range(2):
            await database.repositories.set_public(APP, public=True, now=NOW, actor=ACTOR)
            rows = await database.connections.rows(select(namespaces.c.namespace_id))
            found += [row.namespace_id for row in rows]
            await database.connections.change(repositories.delete())
            await database.connections.change(namespaces.delete())
        assert found[0] < found[1]

    async def test_pulls_are_told_of_with_the_write(self, database: Database) -> None:
        """One event for each image that is there still; none where the cluster wants none."""
        pulls = PullCounts(database.connections)
        await database.manifests.put(APP, manifest(), [], ["v1"], now=NOW, actor=ACTOR)
        made = manifest().digest
        images = [
            ImagePulls(APP, "v1", made, 7),
            ImagePulls(APP, "", "", 3),
            ImagePulls("alice/gone", "v1", made, 1),
        ]
        count = [Pulled(APP, "v1", 50.0, 7)]
        for setting in ("off", "on"):
            await database.settings.put(SETTING, setting)
            await pulls.add(count, images, actor="server:s1")
        while await database.event_log.number():
            pass
        found = await database.event_log.after(0, 100)
        told = [one for one in found if one.kind == "image.pulled"]
        assert [(one.reference, one.digest, one.payload, one.actor) for one in told] == [
            (None, None, {"count": 3}, "server:s1"),
            ("v1", made, {"count": 7}, "server:s1"),
        ]
        assert {(one.namespace, one.repository) for one in told} == {("alice", APP)}

    async def test_pulls_are_added_up(self, database: Database, usage: Usage) -> None:
        pulls, put = PullCounts(database.connections), database.manifests.put
        await put(APP, manifest(), [], ["v1", "v2"], now=NOW, actor=ACTOR)
        tag, other = await usage.tags(APP, "", 9)
        assert (tag.pushed, tag.pushed_by, tag.pulled, tag.pulls) == (NOW, ACTOR, None, 0)
        made = manifest().digest
        counts = [Pulled(APP, "v1", 50.0, 2), Pulled(APP, made, 60.0, 3)]
        await pulls.add(counts, actor=ACTOR)
        await pulls.add(
            [Pulled("alice/gone", "v1", 70.0, 1), Pulled(APP, made, 55.0, 1)], actor=ACTOR
        )
        tag, other = await usage.tags(APP, "", 9)
        assert (tag.name, tag.pulled, tag.pulls) == ("v1", 60.0, 4)
        assert (other.name, other.pulled, other.pulls) == ("v2", 60.0, 4), "by its digest"
        assert await pulls.prune() == 0
        await put(APP, manifest(b"[]"), [], ["v2"], now=NOW + 1, actor="bob")
        (other,) = await usage.tags(APP, "v1", 9)
        assert (other.pushed_by, other.pulled, other.pulls) == ("bob", None, 0)
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        assert await pulls.prune() == 1

    async def test_the_last_push_is_one_of_a_tag(
        self, database: Database, counter: UsageCounter, usage: Usage
    ) -> None:
        put = database.manifests.put
        await database.repositories.set_public("alice/empty", public=True, now=NOW, actor=ACTOR)
        for each in range(3):
            await put(APP, manifest(), [], [f"v{each % 2}"], now=NOW + each, actor=ACTOR)
            (app,) = await usage.repositories("", 1)
            assert (app.tags, app.pushed) == (min(each + 1, 2), NOW + each)
            await counter.fold()
        _, empty = await usage.repositories("", 9)
        assert (empty.name, empty.bytes, empty.tags, empty.pushed) == ("alice/empty", 0, 0, None)
        await database.manifests.delete_tag(APP, "v0", actor=ACTOR)
        (app,) = await usage.repositories("", 1)
        assert (app.tags, app.pushed) == (1, NOW + 2)
