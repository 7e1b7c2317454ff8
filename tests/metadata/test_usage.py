"""Sizes: after an upgrade, beside a server of 0.1.0, with all at once, and with a trigger less."""

import asyncio
import random  # noqa: TID251  from a seed
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import select, text
from sqlalchemy.engine import Connection

from tests.contracts.metadata_usage import (
    NAMES,
    OLD_LINKS,
    OLD_REPOSITORY,
    Act,
    anew,
    commit,
    delete,
    kept,
    leave,
    mount,
    put,
    undelete,
    unlink,
)
from tests.contracts.metadata_values import ACTOR, NOW, blob_reference, digest, manifest, small
from tests.examples import RACES
from tests.metadata.test_migrations import left
from tests.metadata.waiting import wait_for
from treescale.errors import DatabaseUnavailable, TreeScaleError
from treescale.lease_times import LEASE_SETTING, UNDELETE_SETTING, stored
from treescale.metadata import blobs as blobs_module
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import postgresql
from treescale.metadata.engine.errors import is_retryable
from treescale.metadata.migrations import migrate
from treescale.metadata.repositories import lock_repository
from treescale.metadata.schema import namespaces, repositories, repository_usage
from treescale.metadata.usage import counting
from treescale.metadata.usage.counting import UsageCounter

SECONDS_MAX: Final = 120
OLD: Final = "dora/old"


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
async def test_sizes_are_right_after_an_upgrade_and_beside_0_1_0(
    name: str, tmp_path: Path, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, of each repository; of the namespaces when the first count is through."""
    url, _ = await left(name, tmp_path, empty_postgres_url)
    await migrate(url)
    database = open_database(url)
    counter, change = UsageCounter(database.connections), database.connections.change
    truth = await anew(database)
    assert sum(size for size, _, _ in truth.repositories.values()) > 1_000_000
    assert (await kept(database)).repositories == truth.repositories, "nothing is counted yet"
    assert await database.connections.rows(select(repository_usage)) == []
    monkeypatch.setattr(counting, "REPOSITORIES_AT_ONCE", 1)
    monkeypatch.setattr(counting, "LINKS_AT_ONCE", 1)
    await counter.count()
    assert await kept(database) == truth
    assert len(await database.connections.rows(select(repository_usage))) > 1
    await change(OLD_REPOSITORY, {"name": OLD, "namespace": "dora"})
    await change(OLD_LINKS, {"name": OLD})
    query = select(repositories.c.namespace_id).where(repositories.c.name == OLD)
    row = await database.connections.row(query)
    assert row is not None
    assert row.namespace_id is None
    await counter.count()
    assert await kept(database) == await anew(database) != truth
    await change(text("DELETE FROM repositories WHERE name = :name"), {"name": OLD})
    await counter.count()
    assert await kept(database) == await anew(database) == truth
    row = await database.connections.row(select(namespaces).where(namespaces.c.name == "dora"))
    assert row is not None
    assert (row.kind, row.bytes, row.blobs) == ("user", 0, 0), "whatever hangs on it stays"
    await database.close()


async def story(database: Database) -> AsyncIterator[None]:
    """Let each thing happen that changes a size."""
    undo, push = Undelete(database.connections), database.blobs.commit
    made = manifest()

    for number in range(4):
        for name in ("alice/a", "alice/b"):
            await push(name, small(number, b"12345"), upload_id=None, now=NOW, actor=ACTOR)
    tell = database.manifests.put
    await tell("alice/a", made, [blob_reference(1)], ["v1"], now=NOW, actor=ACTOR)
    yield
    await push("alice/a", small(8, b"123"), upload_id=None, now=NOW, actor=ACTOR)
    await tell("alice/a", made, [blob_reference(1)], ["v2"], now=NOW, actor=ACTOR)
    yield
    await database.manifests.delete("alice/a", made.digest, actor=ACTOR)
    await database.blobs.unlink("alice/a", digest(1))
    yield
    await undo.manifest("alice/a", made.digest, actor=ACTOR)
    yield
    await database.connections.change(
        text("DELETE FROM repository_blobs WHERE digest = :digest"), {"digest": digest(8)}
    )
    yield
    await database.repositories.delete("alice/a", actor=ACTOR)
    await database.repositories.delete("alice/b", actor=ACTOR)
    yield
    await undo.repository("alice/a", to="bob/a", actor=ACTOR)
    yield
    await database.connections.change(text("DELETE FROM repositories WHERE name = 'bob/a'"))
    yield


async def is_right(database: Database) -> bool:
    """Say whether what is kept is right throughout the story."""
    async for _ in story(database):
        await UsageCounter(database.connections).count()
        if await kept(database) != await anew(database):
            return False
    return True


TRIGGERS: Final = (
    *("link_added", "link_shown", "link_hidden", "link_taken", "tag_new", "tag_gone"),
    *("repository_moved", "repository_gone"),
)


@pytest.mark.parametrize("without", [None, *TRIGGERS])
async def test_without_one_of_its_triggers_a_size_is_wrong(
    sqlite_url: str, without: str | None
) -> None:
    """The control of all that compares what is kept with what is there: each is needed."""
    database = open_database(sqlite_url)
    if without is not None:
        await database.connections.change(text(f"DROP TRIGGER usage_{without}"))
    assert await is_right(database) is (without is None)
    if without is not None:
        assert await UsageCounter(database.connections).recount()
    await UsageCounter(database.connections).recount()
    assert await kept(database) == await anew(database), "and is found"
    await database.close()


async def restore(database: Database, chance: random.Random) -> None:
    """Under a name of its own: two at once for one name are another matter."""
    undo, to = Undelete(database.connections), f"bob/{chance.randrange(10**9)}"
    await undo.repository(chance.choice(NAMES), to=to, actor=ACTOR)


EVERYTHING: Final[tuple[Act, ...]] = (
    *(commit,) * 4,
    *(put,) * 4,
    *(mount, unlink, delete, undelete) * 2,
    *(leave, restore),
)


@pytest.mark.parametrize("seed", RACES)
async def test_of_all_that_happens_at_once_nothing_is_missed_and_nobody_waits_in_a_circle(
    postgres_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushes, mounts, deletions and two that count and collect, on eight connections."""
    undone: list[str] = []

    def noted(error: Exception) -> bool:
        undone.append(str(error))
        return is_retryable(error)

    monkeypatch.setattr(postgresql, "is_retryable", noted)
    monkeypatch.setattr(counting, "CHANGES_AT_ONCE", 5)
    monkeypatch.setattr(counting, "LINKS_AT_ONCE", 3)
    database = [open_database(postgres_url) for _ in range(3)]
    await database[0].settings.put(LEASE_SETTING, "0s")
    await database[0].settings.put(UNDELETE_SETTING, stored(0))

    async def act(number: int) -> None:
        chance, one = random.Random(f"{seed} {number}"), database[number % 3]  # noqa: S311
        for _ in range(50):
            with suppress(TreeScaleError):
                if number < 2:
                    await RowCollector(one.connections).cycle()
                    await UsageCounter(one.connections).count()
                else:
                    await chance.choice(EVERYTHING)(one, chance)

    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(act(number))
    assert (await kept(database[0])).repositories == (await anew(database[0])).repositories
    await UsageCounter(database[0].connections).count()
    assert await kept(database[0]) == await anew(database[0])
    assert await UsageCounter(database[0].connections).recount() == 0
    assert undone == [], "a deadlock"
    for each in database:
        await each.close()


@pytest.mark.parametrize("what", ["push", "fold"])
async def test_a_push_waits_for_no_other_in_its_namespace_nor_for_who_adds_up(
    postgres_url: str, what: str
) -> None:
    """Each is done while the other's transaction stands open. Control: a counter of one row."""
    database, loop = open_database(postgres_url), asyncio.get_running_loop()
    counter, push = UsageCounter(database.connections), database.blobs.commit
    await push("alice/a", small(1), upload_id=None, now=NOW, actor=ACTOR)
    await push("alice/b", small(2), upload_id=None, now=NOW, actor=ACTOR)

    def one(connection: Connection) -> None:
        if what == "push":
            row_id = lock_repository(connection, "alice/a", actor=ACTOR, now=NOW)
            blob_id = blobs_module._write_blob(connection, small(3))
            blobs_module._link(connection, row_id, digest(3), blob_id)
        else:
            assert counting._fold(connection) == 2
        other = push("alice/b", small(4), upload_id=None, now=NOW, actor=ACTOR)
        wait_for(connection, loop, other)
        if what == "push":
            wait_for(connection, loop, counter.count())

    holder = open_database(postgres_url)
    async with asyncio.timeout(SECONDS_MAX):  # who waits for a lock gives up before
        await holder.connections.write(one)
    await counter.count()
    assert await kept(database) == await anew(database)
    await holder.close()
    await database.close()


async def test_a_counter_of_one_row_would_be_waited_for(postgres_url: str) -> None:
    """The control: two pushes that count where all see it."""
    database, loop = open_database(postgres_url), asyncio.get_running_loop()
    await database.blobs.commit("alice/a", small(1), upload_id=None, now=NOW, actor=ACTOR)
    count = text("UPDATE namespaces SET bytes = bytes + 1")

    def one(connection: Connection) -> None:
        connection.execute(count)
        other = asyncio.wait_for(database.connections.change(count), 0.3)
        wait_for(connection, loop, other)

    holder = open_database(postgres_url)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await holder.connections.write(one)
    await holder.close()
    await database.close()
