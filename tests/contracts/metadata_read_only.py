"""What is read-only stays as it is, and from when: the promises of `ReadOnlySwitches`."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    digest,
    ending,
    manifest,
    small,
    upload,
    user,
)
from tests.metadata.waiting import wait_for
from treescale.errors import ManifestUnknown, NameUnknown, ReadOnly, ReadOnlyCluster
from treescale.lease_times import READ_ONLY_SETTING
from treescale.maintenance.collection.state import READ_ONLY, paused_by
from treescale.metadata import manifest_push
from treescale.metadata.collection.purge_plan import PurgeReader
from treescale.metadata.collection.purging import Purging
from treescale.metadata.collection.rows import Collected, RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.layouts import ReadOnlyBy, may_collect
from treescale.metadata.repositories import hold
from treescale.metadata.usage.figures import Usage

ELSEWHERE = "bob/app"
WAIT_SECONDS = 0.3
Change = Callable[[Database], Awaitable[object]]


async def commit(database: Database, repository: str = APP, number: int = 1) -> None:
    await database.blobs.commit(repository, small(number), upload_id=None, now=NOW, actor=ACTOR)


async def push(database: Database) -> None:
    await database.manifests.put(APP, manifest(b"[]"), [], ["new"], now=NOW, actor=ACTOR)


def push_begins(connection: Connection) -> None:
    hold(connection, APP, actor=ACTOR, now=NOW)


CHANGES: dict[str, Change] = {
    "a blob": lambda db: commit(db, number=7),
    "the end of an upload": lambda db: db.blobs.commit(
        APP, ending(small(8)), upload_id="begun", now=NOW, actor=ACTOR
    ),
    "a manifest": push,
    "a mount": lambda db: db.blobs.mount(APP, digest(5), [ELSEWHERE], now=NOW, actor=ACTOR),
    "the begin of an upload": lambda db: db.uploads.create(upload("another")),
    "a tag that goes": lambda db: db.manifests.delete_tag(APP, "latest", actor=ACTOR),
    "a manifest that goes": lambda db: db.manifests.delete(APP, manifest().digest, actor=ACTOR),
    "a blob that goes": lambda db: db.blobs.unlink(APP, digest(1)),
    "a repository that goes": lambda db: db.repositories.delete(APP, actor=ACTOR),
    "a manifest that comes back": lambda db: Undelete(db.connections).manifest(
        APP, manifest(b"gone").digest, actor=ACTOR
    ),
    "a tag that comes back": lambda db: Undelete(db.connections).tag(APP, "gone", actor=ACTOR),
    "a repository that comes back": lambda db: Undelete(db.connections).repository(
        "alice/gone", to=None, actor=ACTOR
    ),
}
"""Everything that changes what a repository holds."""


async def fill(database: Database) -> None:
    """Make a repository with what each of the changes needs."""
    await database.users.add(user(), actor=ACTOR)
    await commit(database)
    await commit(database, ELSEWHERE, 5)
    await commit(database, "alice/gone", 1)
    await database.repositories.delete("alice/gone", actor=ACTOR)
    for content, tag in ((b"gone", "gone"), (b"{}", "latest")):
        await database.manifests.put(APP, manifest(content), [], [tag], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, manifest(b"gone").digest, actor=ACTOR)
    await database.uploads.create(upload("begun"))


async def refused(database: Database, error: type[ReadOnly], *, but: str = "") -> None:
    """See that each change is refused, and changes nothing, but the one of this name."""
    for name, change in CHANGES.items():
        if name == but:
            continue
        with pytest.raises(ReadOnly) as told:
            await change(database)
        assert type(told.value) is error, name


async def put(database: Database, what: ReadOnlyBy, *, read_only: bool) -> None:
    switches = database.read_only
    if what is ReadOnlyBy.CLUSTER:
        await switches.set_cluster(read_only=read_only, actor=ACTOR)
    elif what is ReadOnlyBy.NAMESPACE:
        await switches.set_namespace("alice", read_only=read_only, actor=ACTOR)
    else:
        await switches.set_repository(APP, read_only=read_only, actor=ACTOR)


class ReadOnlyContract:
    """Subclass with a `database` fixture."""

    async def test_nothing_is_changed_and_all_is_there(self, database: Database) -> None:
        await fill(database)
        for what, error, but in (
            (ReadOnlyBy.CLUSTER, ReadOnlyCluster, ""),
            (ReadOnlyBy.NAMESPACE, ReadOnly, ""),
            (ReadOnlyBy.REPOSITORY, ReadOnly, "a repository that comes back"),
        ):
            await put(database, what, read_only=True)
            await put(database, what, read_only=True)
            assert await database.read_only.why(APP) is what
            await refused(database, error, but=but)
            assert (await database.blobs.find(APP, digest(1))).digest == digest(1)
            assert (await database.manifests.resolve(APP, "latest")).payload == b"{}"
            assert (await database.uploads.get("begun")).read_only == what
            await put(database, what, read_only=False)
            assert await database.read_only.why(APP) is None
            assert (await database.uploads.get("begun")).read_only is None

    async def test_once_it_is_over_everything_is_done(self, database: Database) -> None:
        await fill(database)
        await put(database, ReadOnlyBy.CLUSTER, read_only=True)
        await put(database, ReadOnlyBy.CLUSTER, read_only=False)
        for name, change in CHANGES.items():
            if name in {"a manifest that comes back", "a repository that goes"}:
                continue  # the tag brings it back; the last would leave nothing
            await change(database)

    async def test_others_are_not_concerned(self, database: Database) -> None:
        await fill(database)
        await put(database, ReadOnlyBy.REPOSITORY, read_only=True)
        await commit(database, "alice/other")
        await put(database, ReadOnlyBy.NAMESPACE, read_only=True)
        await commit(database, ELSEWHERE, 6)
        await commit(database, "alice2/app", 6)
        with pytest.raises(ReadOnly, match="the namespace alice is read-only"):
            await commit(database, "alice/new")
        with pytest.raises(NameUnknown):
            await database.repositories.get("alice/new")

    async def test_it_may_be_made_private_meanwhile(self, database: Database) -> None:
        await fill(database)
        await put(database, ReadOnlyBy.CLUSTER, read_only=True)
        await database.repositories.set_public(APP, public=True, now=NOW, actor=ACTOR)
        assert (await database.repositories.get(APP)).public

    async def test_a_namespace_may_be_before_its_first_repository(self, database: Database) -> None:
        await database.users.add(user("carol"), actor=ACTOR)
        await database.read_only.set_namespace("carol", read_only=True, actor=ACTOR)
        assert await database.read_only.of_namespace("carol")
        with pytest.raises(ReadOnly):
            await commit(database, "carol/app")

    async def test_what_is_not_there_is_not_made_read_only(self, database: Database) -> None:
        with pytest.raises(NameUnknown):
            await database.read_only.set_repository(APP, read_only=True, actor=ACTOR)
        with pytest.raises(NameUnknown):
            await database.read_only.set_namespace("nobody", read_only=True, actor=ACTOR)
        for look in (database.read_only.of_repository(APP), database.read_only.of_namespace("x")):
            with pytest.raises(NameUnknown):
                await look
        assert await database.read_only.why(APP) is None

    async def test_the_list_says_what_has_it_be_so(self, database: Database) -> None:
        await fill(database)
        usage = Usage(database.connections)

        async def listed() -> dict[str, str | None]:
            return {one.name: one.read_only for one in await usage.repositories("", 10)}

        await put(database, ReadOnlyBy.REPOSITORY, read_only=True)
        assert await listed() == {APP: "repository", ELSEWHERE: None}
        await put(database, ReadOnlyBy.NAMESPACE, read_only=True)
        assert await listed() == {APP: "namespace", ELSEWHERE: None}
        await put(database, ReadOnlyBy.CLUSTER, read_only=True)
        assert await listed() == {APP: "cluster", ELSEWHERE: "cluster"}

    async def test_nothing_is_collected_while_the_cluster_is(self, database: Database) -> None:
        await fill(database)
        rows = RowCollector(database.connections)
        await database.settings.put("undelete", "0s")
        await put(database, ReadOnlyBy.CLUSTER, read_only=True)
        assert await paused_by(database.settings) == READ_ONLY
        assert await rows.cycle() == Collected()
        await database.settings.put("undelete", "7d")
        await put(database, ReadOnlyBy.CLUSTER, read_only=False)
        assert await paused_by(database.settings) is None
        await Undelete(database.connections).tag(APP, "gone", actor=ACTOR)

    async def test_a_purge_that_was_begun_takes_no_more(self, database: Database) -> None:
        await fill(database)
        reader, purging = PurgeReader(database.connections), Purging(database.connections)
        for name, what in ((APP, ReadOnlyBy.REPOSITORY), ("alice/gone", ReadOnlyBy.CLUSTER)):
            plan = await reader.plan(name, None, None)
            assert plan.manifests or plan.links
            await purging.begin(name, name, actor=ACTOR)
            await put(database, what, read_only=True)
            with pytest.raises(ReadOnly):
                await purging.take(name, plan, actor=ACTOR)
            await put(database, what, read_only=False)
            assert await reader.plan(name, None, None) == plan, "all of it is there"

    async def test_a_deletion_that_is_under_way_goes_no_further(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was deleted is; what is said of it goes when it is over."""
        await fill(database)
        monkeypatch.setattr(manifest_push, "_LOOKS_AT_ONCE", 0)  # all pieces after the first
        said = manifest(b"said", subject=manifest().digest)
        await database.manifests.put(APP, said, [], [], now=NOW, actor=ACTOR)
        await asyncio.sleep(0.005)  # what was pushed within one millisecond may have come after
        write, writes = database.connections.write, 0

        async def then_read_only(work: Any, **named: Any) -> Any:
            nonlocal writes
            writes += 1
            done = await write(work, **named)
            if writes == 1:
                monkeypatch.setattr(manifest_push, "_LOOKS_AT_ONCE", 5)
                await put(database, ReadOnlyBy.REPOSITORY, read_only=True)
            return done

        monkeypatch.setattr(database.connections, "write", then_read_only)
        await database.manifests.delete(APP, manifest().digest, actor=ACTOR)
        monkeypatch.setattr(database.connections, "write", write)
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, manifest().digest)
        assert (await database.manifests.get(APP, said.digest)).digest == said.digest
        await put(database, ReadOnlyBy.REPOSITORY, read_only=False)
        assert (await RowCollector(database.connections).slow_pass()).found == 1
        with pytest.raises(ManifestUnknown):
            await database.manifests.get(APP, said.digest)

    async def test_a_word_that_nobody_can_read_has_all_stay(self, database: Database) -> None:
        await fill(database)
        await database.settings.put(READ_ONLY_SETTING, "perhaps")
        await refused(database, ReadOnlyCluster)
        pause = await paused_by(database.settings)
        assert pause is not None
        assert "read_only cannot be read" in pause.why

    async def test_who_was_at_it_is_waited_for_and_who_comes_later_is_refused(
        self, database: Database
    ) -> None:
        """Once a switch has returned nothing is written any more by who did not see it."""
        await fill(database)
        loop = asyncio.get_running_loop()
        for begin, what in product((push_begins, may_collect), ReadOnlyBy):
            inside, go_on, ends = asyncio.Event(), asyncio.Event(), list[str]()

            async def pause(inside: asyncio.Event = inside, go_on: asyncio.Event = go_on) -> None:
                inside.set()
                await go_on.wait()

            def slow(
                connection: Connection,
                paused: Callable[..., object] = pause,
                begin: Callable[[Connection], object] = begin,
                ends: list[str] = ends,
            ) -> None:
                begin(connection)
                wait_for(connection, loop, paused())  # type: ignore[arg-type]
                ends.append("push")  # whoever waits for it goes on as soon as it has committed

            async def noted(what: str, work: Awaitable[object], ends: list[str] = ends) -> None:
                try:
                    await work
                except ReadOnly:
                    what = f"{what}: refused"
                ends.append(what)

            async with asyncio.TaskGroup() as group:
                group.create_task(database.connections.write(slow))
                await inside.wait()
                group.create_task(noted("switch", put(database, what, read_only=True)))
                await asyncio.sleep(WAIT_SECONDS)
                group.create_task(noted("later", commit(database, number=20)))
                await asyncio.sleep(WAIT_SECONDS)
                assert ends == []
                go_on.set()
            assert ends[0] == "push", what
            assert set(ends[1:]) == {"switch", "later: refused"}, what
            await put(database, what, read_only=False)
