"""Limits of namespaces on either database: nothing is given beyond them, or counted twice."""

import asyncio
import json
import random  # noqa: TID251  from a seed
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import select, text, update

from tests.contracts.metadata_usage import ACTS, NAMES, TIMES, anew
from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    blob_reference,
    digest,
    manifest,
    small,
    upload,
    user,
)
from tests.database_clock import MovedClock
from treescale.errors import NamespaceUnknown, OverLimit, QuotaExceeded, TreeScaleError
from treescale.lease_times import UNDELETE_SETTING, stored
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database
from treescale.metadata.schema import (
    blobs,
    events,
    manifests,
    namespaces,
    quota_blobs,
    quotas,
    repositories,
    repository_blobs,
)
from treescale.metadata.usage import quotas as quotas_module
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.quotas import (
    BYTES,
    NO_LIMIT,
    REPOSITORIES,
    TAGS,
    Limit,
    QuotaFigures,
    Quotas,
)

SEEDS: Final = range(2)
STEPS: Final = 60
AT_ONCE: Final = 50
MUCH: Final = 10**9


async def push(
    database: Database, number: int, size: int = 100, repository: str = APP, actor: str = ACTOR
) -> None:
    new = small(number, b"x" * size)
    await database.blobs.commit(repository, new, upload_id=None, now=NOW, actor=actor)


async def put(
    database: Database, content: bytes, *tags: str, repository: str = APP, refer: Sequence[int] = ()
) -> str:
    made, needed = manifest(content), [blob_reference(each) for each in refer]
    await database.manifests.put(repository, made, needed, tags, now=NOW, actor=ACTOR)
    return made.digest


async def give(database: Database, limit: Limit, to: int | None, namespace: str = "alice") -> None:
    with suppress(TreeScaleError):
        await database.users.add(user(namespace), actor=ACTOR)
    await Quotas(database.connections).set(namespace, {limit: to}, actor=ACTOR)


async def count(database: Database) -> None:
    await UsageCounter(database.connections).count()
    await Quotas(database.connections).count()


async def figures(database: Database, namespace: str = "alice") -> QuotaFigures:
    return await Quotas(database.connections).get(namespace)


async def used(database: Database, namespace: str = "alice") -> int | None:
    return (await figures(database, namespace)).used


async def told(database: Database) -> list[tuple[str, Any]]:
    """Return the kinds of events of quotas so far, and what was used then."""
    rows = await database.connections.rows(
        select(events).where(events.c.kind.like("quota.%")).order_by(events.c.at)
    )
    return [(row.kind.removeprefix("quota."), json.loads(row.payload)["used"]) for row in rows]


async def naive(database: Database) -> dict[str, int]:
    """Sum anew what counts in each namespace, without a word of the code that keeps it."""
    rows = database.connections.rows
    names = {row.namespace_id: row.name for row in await rows(select(namespaces))}
    homes = {
        row.repository_id: names.get(row.namespace_id) for row in await rows(select(repositories))
    }
    sizes = {row.blob_id: row.size for row in await rows(select(blobs))}
    found: dict[str, dict[str, int]] = {name: {} for name in names.values()}
    for link in await rows(select(repository_blobs)):
        if home := homes[link.repository_id]:
            found[home][link.digest] = sizes[link.blob_id]
    for one in await rows(select(manifests)):
        if home := homes[one.repository_id]:
            found[home][one.digest] = one.size
    return {name: sum(here.values()) for name, here in found.items()}


async def kept(database: Database) -> dict[str, int]:
    """Return what is kept of it, and see that the rows have the same sum."""
    rows = database.connections.rows
    names = {row.namespace_id: row.name for row in await rows(select(namespaces))}
    noted: dict[int, int] = {}
    for row in await rows(select(quota_blobs)):
        noted[row.namespace_id] = noted.get(row.namespace_id, 0) + row.size
    kept = {row.namespace_id: row.used for row in await rows(select(quotas))}
    assert kept == {row_id: noted.get(row_id, 0) for row_id in kept}
    return {names[row_id]: size for row_id, size in kept.items()}


class QuotasContract:
    """Subclass with a `database` fixture, and `other`: the same for another process."""

    async def test_what_does_not_fit_is_refused_and_leaves_nothing(
        self, database: Database
    ) -> None:
        await give(database, BYTES, 250)
        await push(database, 1)
        await push(database, 2)
        before = await anew(database)
        with pytest.raises(QuotaExceeded, match=r"alice has used 200 B of 250 B; this needs 100 B"):
            await push(database, 3)
        assert await anew(database) == before
        with pytest.raises(QuotaExceeded):
            await put(database, b"x" * 51, "v1")
        await put(database, b"x" * 50, "v1")
        assert await used(database) == 250
        assert await kept(database) == await naive(database)

    async def test_what_is_there_costs_nothing_and_goes_on_when_all_is_used(
        self, database: Database
    ) -> None:
        """Also in another repository of the namespace, mounted, and deleted but not gone."""
        await give(database, BYTES, 204)
        await push(database, 1)
        await push(database, 2)
        made = await put(database, b"[ ]", "v1", refer=[1])
        await put(database, b"1", "v0")
        assert await used(database) == 204
        await push(database, 1)
        await push(database, 1, repository="alice/other")
        assert await database.blobs.mount("alice/third", digest(2), [APP], now=NOW, actor=ACTOR)
        await put(database, b"[ ]", "v2", refer=[1])
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database.blobs.unlink(APP, digest(2))
        await push(database, 2)
        await put(database, b"[ ]", "v1", refer=[1])
        with pytest.raises(QuotaExceeded):
            await push(database, 3, 1)
        await push(database, 9, 50, repository="bob/app")
        with pytest.raises(QuotaExceeded):
            await database.blobs.mount(APP, digest(9), ["bob/app"], now=NOW, actor=ACTOR)
        assert await used(database) == 204

    async def test_what_is_deleted_counts_until_it_is_gone(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        await give(database, BYTES, 1000)
        await push(database, 1)
        made = await put(database, b"x" * 30, "v1", refer=[1])
        await push(database, 2, 40)
        await database.manifests.delete(APP, made, actor=ACTOR)
        await database.blobs.unlink(APP, digest(1))
        await count(database)
        found = await figures(database)
        assert (found.used, found.waiting, found.live) == (170, 130, 40)
        await database_clock.move(database, TIMES.link + 8 * 86_400)
        await RowCollector(database.connections).cycle()
        await count(database)
        found = await figures(database)
        assert (found.used, found.waiting) == ((await naive(database))["alice"], 0)
        assert found.used is not None
        assert found.used < 170

    async def test_a_repository_counts_where_it_is(self, database: Database) -> None:
        for name in ("alice", "bob"):
            await give(database, BYTES, 1000, name)
        await push(database, 1)
        await put(database, b"x" * 30, "v1", refer=[1])
        await database.repositories.delete(APP, actor=ACTOR)
        await count(database)
        assert (await figures(database)).waiting == 130
        await Undelete(database.connections).repository(APP, to="bob/app", actor=ACTOR)
        await count(database)
        assert [await used(database, each) for each in ("alice", "bob")] == [0, 130]
        await database.connections.change(text("DELETE FROM repositories"))
        await count(database)
        assert [await used(database, each) for each in ("alice", "bob")] == [0, 0]

    @pytest.mark.parametrize("number", [AT_ONCE])
    async def test_of_many_at_once_as_many_pass_as_fit(
        self, database: Database, other: Database, number: int
    ) -> None:
        """Not one byte more; in repositories that are there, and that each push makes."""
        await push(database, 999, 1)
        await give(database, BYTES, 1 + 10 * 100 + 99)
        refused: list[str] = []

        async def one(each: int) -> None:
            where = APP if each % 2 else f"alice/app{each}"
            try:
                await push((database, other)[each % 2], each, repository=where)
            except QuotaExceeded as error:
                refused.append(str(error))

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for each in range(number):
                group.create_task(one(each))
        assert len(refused) == number - 10
        assert await used(database) == 1001
        assert await kept(database) == await naive(database)

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_whatever_happens_what_is_kept_is_what_is_there(
        self,
        database: Database,
        database_clock: MovedClock,
        monkeypatch: pytest.MonkeyPatch,
        seed: int,
    ) -> None:
        chance = random.Random(seed)  # noqa: S311
        monkeypatch.setattr(quotas_module, "LOOKED_AT", 3)
        for name in ("alice", "bob"):
            await give(database, BYTES, chance.choice((1000, MUCH)), name)
        await database.settings.put(UNDELETE_SETTING, stored(3 * TIMES.link))
        for step in range(STEPS):
            act = chance.choice(ACTS)
            with suppress(TreeScaleError):
                await act(database, chance)
            if chance.random() < 0.1:
                await database_clock.move(database, TIMES.link + 60)
            if chance.random() < 0.2:
                await count(database)
                assert await kept(database) == await naive(database), (step, act)
        await count(database)
        assert await kept(database) == await naive(database)

    async def test_control_what_is_wrong_is_found_and_mended(self, database: Database) -> None:
        """The control of the property."""
        await give(database, BYTES, MUCH)
        for number in range(3):
            await push(database, number)
        await put(database, b"x" * 7, "v1")
        change = database.connections.change
        await change(quota_blobs.delete().where(quota_blobs.c.digest == digest(1)))
        await change(quota_blobs.delete().where(quota_blobs.c.size == 7))
        await change(
            quota_blobs.update().values(digest=digest(9)).where(quota_blobs.c.digest == digest(2))
        )
        await change(update(quotas).values(used=200))
        assert await kept(database) != await naive(database)
        await Quotas(database.connections).count()
        assert await kept(database) != await naive(database), "nobody has said that it is wrong"
        await Quotas(database.connections).count(all_anew=True)
        assert await kept(database) == await naive(database)

    async def test_a_quota_that_comes_later_counts_what_is_there(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quotas_module, "COMPARED_AT_ONCE", 2)
        for number in range(5):
            await push(database, number, repository=NAMES[number % 2])
        await put(database, b"x" * 7, "v1")
        assert (await figures(database)).used is None
        await give(database, BYTES, MUCH)
        assert await used(database) == 507
        await give(database, BYTES, None)
        assert (await figures(database)).used is None
        assert await database.connections.rows(select(quotas)) == []
        assert await database.connections.rows(select(quota_blobs)) == []

    async def test_the_clusters_quota_is_for_all_that_have_none(self, database: Database) -> None:
        all_of, quota = Quotas(database.connections), BYTES.setting
        await push(database, 1)
        await give(database, BYTES, NO_LIMIT, "bob")
        await all_of.set_default(quota, 150, actor=ACTOR)
        await count(database)
        with pytest.raises(QuotaExceeded, match="100 B of 150 B"):
            await push(database, 2)
        await push(database, 3, repository="carol/app")
        with pytest.raises(QuotaExceeded, match="carol"):
            await push(database, 4, repository="carol/app")
        for number in range(3):
            await push(database, number, repository="bob/app")
        await all_of.set_default(quota, 250, actor=ACTOR)
        await push(database, 4, repository="carol/app")
        assert await all_of.defaults() == {quota: 250, "repositories-max": None, "tags-max": None}
        found = {one.namespace: one.limits[quota] for one in await all_of.page("", 9)}
        assert found == {"alice": 250, "bob": None, "carol": 250}
        await all_of.set_default(quota, None, actor=ACTOR)
        await count(database)
        await push(database, 5, 1000)
        assert [one.namespace for one in await all_of.page("", 9)] == ["bob"]
        rows = await database.connections.rows(
            select(events.c.payload).where(events.c.kind == "cluster.limits")
        )
        assert len(rows) == 3

    async def test_each_level_is_told_of_once(
        self, database: Database, database_clock: MovedClock
    ) -> None:
        await database.settings.put(UNDELETE_SETTING, stored(0))
        await give(database, BYTES, 1010)
        for number in range(10):
            await push(database, number)
        assert await told(database) == [("warned", 900)]
        await put(database, b"x" * 10, "v1", refer=range(3, 10))
        for number in range(8, 12):
            with suppress(QuotaExceeded):
                await push(database, number)
        assert await told(database) == [("warned", 900), ("reached", 1010)]
        for number in range(3):
            await database.blobs.unlink(APP, digest(number))
        await database_clock.move(database, TIMES.link + 60)
        await RowCollector(database.connections).cycle()
        await count(database)
        assert await used(database) == 710
        await push(database, 1)
        assert (await told(database))[2:] == [("warned", 810)]
        await give(database, BYTES, 100)
        assert (await told(database))[3:] == [("reached", 810)], "by another quota"

    async def test_a_refusal_tells_that_it_is_reached(self, database: Database) -> None:
        """However much is used: somebody was refused."""
        await give(database, BYTES, 1000)
        for number in range(3):
            with pytest.raises(QuotaExceeded):
                await push(database, number, 2000, actor="alice")
            await push(database, 5 + number)
        assert await told(database) == [("reached", 0)]

    async def test_a_refusal_says_what_is_largest_and_what_waits(self, database: Database) -> None:
        await give(database, BYTES, 1000)
        await push(database, 1, 500)
        await push(database, 2, 300, repository="alice/other")
        await count(database)
        await database.blobs.unlink("alice/other", digest(2))
        await push(database, 3, 50)
        with pytest.raises(QuotaExceeded) as refused:
            await push(database, 4, 200)
        said = str(refused.value)
        assert said.startswith("alice has used 850 B of 1 kB; this needs 200 B more. The largest: ")
        assert "alice/app 500 B" in said
        await count(database)
        with pytest.raises(QuotaExceeded, match="300 B is deleted, and counts"):
            await push(database, 4, 200)

    async def test_an_upload_begins_only_where_there_is_room(self, database: Database) -> None:
        await give(database, BYTES, 100)
        await database.uploads.create(upload("one"))
        assert (await database.uploads.get("one", "alice")).room == 100
        assert await database.uploads.room_to_write(APP) == 100
        await database.uploads.check_room(APP, 100, actor=ACTOR)
        with pytest.raises(QuotaExceeded):
            await database.uploads.check_room(APP, 101, actor=ACTOR)
        await push(database, 1)
        with pytest.raises(QuotaExceeded, match="and no more can be pushed"):
            await database.uploads.create(upload("two"))
        await database.uploads.check_room(APP, 100, actor=ACTOR, digest=digest(1))
        assert (await database.uploads.get("one", "alice")).room == 0
        await database.uploads.create(replace(upload("three"), repository="bob/app"))
        assert (await database.uploads.get("three", "bob")).room is None
        assert await database.uploads.room_to_write("bob/app") is None

    async def test_repositories_and_tags_are_limited(self, database: Database) -> None:
        await give(database, REPOSITORIES, 2)
        await give(database, TAGS, 2)
        await push(database, 1)
        await database.repositories.set_public("alice/b", public=True, now=NOW, actor=ACTOR)
        with pytest.raises(OverLimit, match="alice has 2 repositories, as many as it may"):
            await push(database, 1, repository="alice/c")
        with pytest.raises(OverLimit):
            await database.repositories.set_public("alice/c", public=True, now=NOW, actor=ACTOR)
        with pytest.raises(OverLimit):
            await put(database, b"1", "v1", repository="alice/c")
        await put(database, b"1", "v1", "v2")
        with pytest.raises(OverLimit, match="would have 3 tags, and in alice it may have 2"):
            await put(database, b"1", "v3")
        await put(database, b"2", "v1")
        await put(database, b"3")
        await database.repositories.delete("alice/b", actor=ACTOR)
        await push(database, 1, repository="alice/c")
        await give(database, TAGS, 1)
        await put(database, b"4", "v2")

    async def test_restored_tags_count(self, database: Database) -> None:
        await give(database, TAGS, 2)
        undelete = Undelete(database.connections)
        first = await put(database, b"1", "v1")
        await put(database, b"2", "v2")
        await database.manifests.delete_tag(APP, "v1", actor=ACTOR)
        await put(database, b"3", "v3")
        with pytest.raises(OverLimit, match="would have 3 tags"):
            await undelete.tag(APP, "v1", actor=ACTOR)
        await database.manifests.delete_tag(APP, "v3", actor=ACTOR)
        await undelete.tag(APP, "v1", actor=ACTOR)
        await database.manifests.delete(APP, first, actor=ACTOR)
        await put(database, b"4", "v4")
        with pytest.raises(OverLimit, match="would have 3 tags"):
            await undelete.manifest(APP, first, actor=ACTOR)
        await give(database, TAGS, 3)
        assert (await undelete.manifest(APP, first, actor=ACTOR)).tags == 1

    async def test_many_that_make_repositories_at_once_make_as_many_as_fit(
        self, database: Database, other: Database
    ) -> None:
        await give(database, REPOSITORIES, 5)

        async def one(each: int) -> None:
            with suppress(OverLimit):
                await push((database, other)[each % 2], 1, repository=f"alice/app{each}")

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for each in range(20):
                group.create_task(one(each))
        assert (await figures(database)).repositories == 5

    async def test_limits_are_of_somebody(self, database: Database) -> None:
        with pytest.raises(NamespaceUnknown):
            await Quotas(database.connections).set("nobody", {BYTES: 1}, actor=ACTOR)
        with pytest.raises(NamespaceUnknown):
            await figures(database, "nobody")
        await give(database, BYTES, 1)
        rows = await database.connections.rows(
            select(events).where(events.c.kind == "namespace.limits")
        )
        assert [(row.namespace, row.actor, row.payload) for row in rows] == [
            ("alice", ACTOR, '{"quota":1}')
        ]

    async def test_whoever_gets_a_free_name_inherits_no_limit(self, database: Database) -> None:
        await database.users.add(user("alice"), actor=ACTOR)
        await database.organisations.add("acme", "alice", actor=ACTOR)
        await give(database, BYTES, 100, "acme")
        await push(database, 1, repository="acme/app")
        await database.repositories.delete("acme/app", actor=ACTOR)
        await database.organisations.remove("acme", actor=ACTOR)
        assert await Quotas(database.connections).page("", 9) == []
        await database.organisations.add("acme", "alice", actor=ACTOR)
        await push(database, 2, 500, repository="acme/app")
        found = await figures(database, "acme")
        assert (found.used, found.own[BYTES.setting]) == (None, None)
        await count(database)
        truth = await naive(database)
        assert all(truth[name] == size for name, size in (await kept(database)).items())

    async def test_a_setting_that_cannot_be_read_is_no_limit(self, database: Database) -> None:
        for wrong in ("", "many", "-1", "1" * 19):
            await database.settings.put(BYTES.setting, wrong)
            await push(database, 1, repository=f"a{len(wrong)}/app")
            await count(database)
        assert await Quotas(database.connections).page("", 9) == []

    async def test_levels_are_counted(self, database: Database) -> None:
        await give(database, BYTES, 100)
        await give(database, BYTES, 120, "bob")
        assert await Quotas(database.connections).told() == {}
        await push(database, 1)
        await push(database, 1, repository="bob/app")
        assert await Quotas(database.connections).told() == {80: 1, 100: 1}
