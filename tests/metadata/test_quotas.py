"""Quotas under load on PostgreSQL: nobody waits in a circle; and what each protection is for."""

import asyncio
import random  # noqa: TID251  from a seed
from contextlib import suppress
from typing import Final

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from tests.contracts.metadata_quotas import MUCH, count, give, kept, naive, push, put, used
from tests.contracts.metadata_usage import Act, commit, delete, leave, mount, undelete, unlink
from tests.contracts.metadata_usage import put as put_some
from tests.contracts.metadata_values import ACTOR, APP, digest
from tests.examples import RACES
from treescale.errors import QuotaExceeded, TreeScaleError
from treescale.lease_times import LEASE_SETTING, UNDELETE_SETTING, stored
from treescale.metadata.collection.rows import RowCollector
from treescale.metadata.database import Database, open_database
from treescale.metadata.engine import postgresql
from treescale.metadata.engine.errors import is_retryable
from treescale.metadata.limits import settling
from treescale.metadata.usage import counting
from treescale.metadata.usage.counting import UsageCounter
from treescale.metadata.usage.quotas import BYTES, Quotas

SECONDS_MAX: Final = 120
TURNS_MAX: Final = 10
EVERYTHING: Final[tuple[Act, ...]] = (
    *(commit,) * 4,
    *(put_some,) * 4,
    *(mount, unlink, delete, undelete) * 2,
    leave,
)


@pytest.mark.parametrize("seed", RACES)
async def test_of_all_that_happens_at_once_all_is_counted_and_nobody_waits_in_a_circle(
    postgres_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushes, mounts, deletions in two namespaces with quotas, and two that count and collect."""
    undone: list[str] = []

    def noted(error: Exception) -> bool:
        undone.append(str(error))
        return is_retryable(error)

    monkeypatch.setattr(postgresql, "is_retryable", noted)
    monkeypatch.setattr(counting, "CHANGES_AT_ONCE", 5)
    database = [open_database(postgres_url) for _ in range(3)]
    await give(database[0], BYTES, 2000)
    await give(database[0], BYTES, MUCH, "bob")
    await database[0].settings.put(LEASE_SETTING, "0s")
    await database[0].settings.put(UNDELETE_SETTING, stored(0))

    async def act(number: int) -> None:
        chance, one = random.Random(f"{seed} {number}"), database[number % 3]  # noqa: S311
        for _ in range(40):
            with suppress(TreeScaleError):
                if number < 2:
                    await RowCollector(one.connections).cycle()
                    await UsageCounter(one.connections).count()
                else:
                    await chance.choice(EVERYTHING)(one, chance)

    async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(act(number))
    await count(database[0])
    assert await kept(database[0]) == await naive(database[0])
    assert undone == [], "a deadlock"
    for each in database:
        await each.close()


@pytest.mark.parametrize("locked", [True, False])
async def test_control_without_the_lock_pushes_pass_the_quota_together(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, *, locked: bool
) -> None:
    database = open_database(postgres_url)
    await push(database, 99, 1)
    if not locked:
        monkeypatch.setattr(settling, "HOLD", _unlocked())

    async def one(number: int) -> None:
        with suppress(QuotaExceeded):
            await push(database, number, repository=f"alice/app{number}")

    used_up = True
    for turn in range(1 if locked else TURNS_MAX):  # they need not meet
        limit = 501 + 500 * turn
        await give(database, BYTES, limit)
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(one(100 * (turn + 1) + number))
        used_up = (await naive(database))["alice"] == limit
        if not used_up:
            break
    assert used_up is locked
    await database.close()


def _unlocked() -> object:
    """Return the statement that holds a namespace's row, but does not hold it."""
    held = settling.HOLD._generate()
    held._for_update_arg = None
    return held


TRIGGERS: Final = ("link_gone", "manifest_gone", "repository_gone", "repository_moved", "begun")


async def story(database: Database) -> bool:
    """Let all happen that takes something away; say whether what is kept is right throughout."""
    await give(database, BYTES, MUCH)
    await Quotas(database.connections).set_default(BYTES.setting, 150, actor=ACTOR)
    for number in range(3):
        await push(database, number)
    made = await put(database, b"x" * 9, "v1", refer=[0])
    await push(database, 1, repository="alice/other")
    await put(database, b"x" * 8, "v1", repository="alice/other")
    with suppress(QuotaExceeded):
        await push(database, 1, 200, repository="carol/app")
    right = (await naive(database)).get("carol", 0) == 0
    await database.manifests.delete(APP, made, actor=ACTOR)
    await database.blobs.unlink(APP, digest(2))
    for statement in (
        "DELETE FROM manifests WHERE size = 9",
        f"DELETE FROM repository_blobs WHERE digest = '{digest(2)}' AND hidden IS NOT NULL",  # noqa: S608
        (
            "UPDATE repositories SET namespace_id = (SELECT namespace_id FROM namespaces "
            "WHERE name = 'bob') WHERE name = 'alice/other'"
        ),
        "DELETE FROM repositories",
    ):
        await give(database, BYTES, MUCH, "bob")
        await database.connections.change(text(statement))
        await count(database)
        right = right and await kept(database) == await naive(database)
    return right


@pytest.mark.parametrize("without", [None, *TRIGGERS])
async def test_without_one_of_its_triggers_something_is_wrong(
    sqlite_url: str, without: str | None
) -> None:
    """The control of all that compares what is kept with what is there: each is needed."""
    database = open_database(sqlite_url)
    if without is not None:
        await database.connections.change(text(f"DROP TRIGGER quota_{without}"))
    assert await story(database) is (without is None)
    await Quotas(database.connections).count(all_anew=True)
    assert await kept(database) == await naive(database), "and is found"
    await database.close()


async def test_a_push_where_there_is_no_quota_asks_nothing_more(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though others have one; with one it takes four statements more, one where it is there."""
    database = open_database(sqlite_url)
    await push(database, 1)
    run: list[str] = []
    original = Connection.execute

    def execute(self: Connection, statement: object, *args: object, **named: object) -> object:
        run.append(type(statement).__name__)
        return original(self, statement, *args, **named)  # type: ignore[call-overload]

    async def cost(number: int) -> int:
        run.clear()
        await push(database, number)
        return len(run)

    monkeypatch.setattr(Connection, "execute", execute)
    without, again = await cost(2), await cost(2)
    await give(database, BYTES, MUCH, "bob")
    assert await cost(3) == without
    await give(database, BYTES, MUCH)
    assert [await cost(4), await cost(4)] == [without + 4, again + 2]
    assert await used(database) == 400
    await database.close()
