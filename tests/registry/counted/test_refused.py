"""Refused pushes are told of once a minute, and a flood of them is a few events."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.templates import empty_database
from treescale.errors import (
    DatabaseUnavailable,
    Forbidden,
    NameInvalid,
    OverLimit,
    ReadOnlyCluster,
    SizeInvalid,
    TooLarge,
)
from treescale.metadata.database import Database, open_database
from treescale.metadata.events.recorded import Recorded
from treescale.registry.counted.refused import TOLD_MAX, TOLD_OF_USER_MAX, RefusedUploads


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    yield opened
    await opened.close()


async def told(database: Database) -> list[Recorded]:
    return await database.event_log.after(0, 1000)


async def test_of_a_user_a_repository_and_a_reason_one_event_tells(database: Database) -> None:
    refused = RefusedUploads(database.connections)
    refused.note("bob", "alice/app", ReadOnlyCluster("no"), "r-1")
    refused.note("bob", "alice/app", ReadOnlyCluster("no"), "r-2")
    refused.note("bob", "alice/app", TooLarge("no"), "r-3")
    refused.note("bob", "alice/app", SizeInvalid("no"), "r-4")
    refused.note("bob", "", NameInvalid("no"), "r-5")
    refused.note("bob", "alice/app", OverLimit("no"), "r-6")
    await refused.write()
    found = await told(database)
    assert {one.kind for one in found} == {"upload.refused"}
    assert {one.actor for one in found} == {"bob"}
    assert [(one.namespace, one.repository, one.payload, one.request_id) for one in found] == [
        ("alice", "alice/app", {"reason": "read-only", "count": 2}, "r-1"),
        ("alice", "alice/app", {"reason": "size", "count": 2}, "r-3"),
        ("bob", None, {"reason": "name", "count": 1}, "r-5"),
        ("alice", "alice/app", {"reason": "limit", "count": 1}, "r-6"),
    ]
    await refused.write()
    assert await told(database) == found, "each is told once"


async def test_strangers_write_nothing(database: Database) -> None:
    """Neither who is anonymous, nor who has no right there."""
    refused = RefusedUploads(database.connections)
    refused.note("", "alice/app", ReadOnlyCluster("no"), "r-1")
    refused.note("mallory", "alice/app", Forbidden("no"), "r-2")
    await refused.write()
    assert await told(database) == []


async def test_a_flood_is_a_few_events(database: Database) -> None:
    """However many repositories one user tries, what others are refused is told too."""
    refused = RefusedUploads(database.connections)
    for number in range(1000):
        refused.note("mallory", f"mallory/{number}", TooLarge("no"), "r")
    refused.note("bob", "alice/app", TooLarge("no"), "r")
    await refused.write()
    actors = [one.actor for one in await told(database)]
    assert (actors.count("mallory"), actors.count("bob")) == (TOLD_OF_USER_MAX, 1)
    for number in range(1000):
        refused.note(f"user{number}", "alice/app", TooLarge("no"), "r")
    await refused.write()
    assert len(await told(database)) == len(actors) + TOLD_MAX


async def test_while_the_database_is_away_they_are_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = RefusedUploads(database.connections)
    refused.note("bob", "alice/app", TooLarge("no"), "r-1")

    async def away(*_: object, **__: object) -> None:
        refused.note("bob", "alice/app", TooLarge("no"), "r-2")
        raise DatabaseUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(database.connections, "write", away)
        with pytest.raises(DatabaseUnavailable):
            await refused.write()
    await refused.write()
    (one,) = await told(database)
    assert (one.payload["count"], one.request_id) == (2, "r-1")
