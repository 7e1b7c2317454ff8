"""Logins are told once an hour, refusals once a minute, and a flood of them is a few rows."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.fakes_disk import JumpingClock
from tests.templates import empty_database
from treescale.auth.policy import Principal
from treescale.errors import DatabaseUnavailable
from treescale.metadata.database import Database, open_database
from treescale.metadata.events.recorded import Recorded
from treescale.metadata.identity.records import NewRobot
from treescale.metadata.identity.robots import Robots
from treescale.metadata.records import User
from treescale.registry.counted import logins as under_test
from treescale.registry.counted.logins import (
    HOUR_SECONDS,
    REFUSALS_MAX,
    REFUSALS_OF_HOUR_MAX,
    SUCCESSES_MAX,
    Logins,
)

ALICE = Principal("alice")
TOKEN = Principal("alice", "t1")
HOME, OFFICE = "192.0.2.7", "2001:db8::1"
WRONG_PASSWORDS = 10_000


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(empty_database(tmp_path / "treescale.db"))
    await opened.users.add(User("alice", "", admin=False, created=0.0), actor="test")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


async def told(database: Database) -> list[Recorded]:
    return [each for each in await database.event_log.after(0, 1000) if each.actor != "test"]


def how(found: list[Recorded]) -> list[tuple[str, str | None, str | None, object]]:
    return [(each.actor, each.namespace, each.address, each.payload) for each in found]


async def test_the_first_of_an_hour_is_told(database: Database, clock: JumpingClock) -> None:
    """By each credential, from each address; whichever worker or server sees it."""
    workers = [Logins(database.connections, clock) for _ in range(2)]
    for worker in workers:
        for number in range(3):
            for who, address in ((ALICE, HOME), (ALICE, OFFICE), (TOKEN, HOME)):
                worker.succeeded(who, address, f"r-{number}")
        await worker.write()
        await worker.write()
    found = await told(database)
    assert {each.kind for each in found} == {"login.succeeded"}
    assert {each.request_id for each in found} == {"r-0"}
    assert how(found) == [
        ("alice", "alice", HOME, {}),
        ("alice", "alice", OFFICE, {}),
        ("alice", "alice", HOME, {"token_id": "t1"}),
    ]
    clock.seconds += HOUR_SECONDS
    for worker in workers:
        worker.succeeded(ALICE, HOME, "r-9")
        await worker.write()
    assert len(await told(database)) == 4


async def test_of_many_logins_the_rest_is_a_sum(database: Database, clock: JumpingClock) -> None:
    logins = Logins(database.connections, clock)
    for number in range(SUCCESSES_MAX + 7):
        logins.succeeded(ALICE, f"198.51.{number // 256}.{number % 256}", "r")
    await logins.write()
    found = await told(database)
    assert len(found) == SUCCESSES_MAX + 1
    assert [each.payload for each in found if each.actor == "anonymous"] == [{"count": 7}]


async def test_refusals_of_a_minute_are_one(database: Database, clock: JumpingClock) -> None:
    """A name that is no account's is told as none: people type passwords there."""
    logins = Logins(database.connections, clock)
    for address in ("192.0.2.7", "192.0.2.8", "198.51.100.1"):
        logins.refused("alice", address, "credentials")
    logins.refused("alice", "192.0.2.9", "throttled")
    for name in ("my-password", "hunter2", ""):
        logins.refused(name, "192.0.2.7", "credentials")
    await logins.write()
    found = await told(database)
    assert {each.kind for each in found} == {"login.refused"}
    assert how(found) == [
        ("alice", "alice", "192.0.2.0/24", {"reason": "credentials", "count": 2}),
        ("alice", "alice", "198.51.100.0/24", {"reason": "credentials", "count": 1}),
        ("alice", "alice", "192.0.2.0/24", {"reason": "throttled", "count": 1}),
        ("anonymous", None, "192.0.2.0/24", {"reason": "credentials", "count": 3}),
    ]
    await logins.write()
    assert await told(database) == found, "each is told once"


async def test_what_robots_do_is_told_in_their_namespace(
    database: Database, clock: JumpingClock
) -> None:
    """There its owners see it, who have no part in a namespace called `alice+ci`."""
    new = NewRobot("r1", "ci", frozenset({"pull"}), "*", None)
    await Robots(database.connections).add("alice", new, "secret", actor="test")
    logins = Logins(database.connections, clock)
    logins.succeeded(Principal("alice+ci", "r1"), HOME, "r")
    for name in ("alice+ci", "alice+other", "bob+ci"):
        logins.refused(name, HOME, "credentials")
    await logins.write()
    refused = {"reason": "credentials"}
    assert how(await told(database)) == [
        ("alice+ci", "alice", HOME, {"token_id": "r1"}),
        ("alice+ci", "alice", "192.0.2.0/24", refused | {"count": 1}),
        ("anonymous", None, "192.0.2.0/24", refused | {"count": 2}),
    ]


@pytest.mark.parametrize("networks", [1, WRONG_PASSWORDS])
async def test_a_flood_of_guesses_is_no_flood_of_writes(
    database: Database, clock: JumpingClock, networks: int
) -> None:
    """10,000 wrong passwords within a minute, of as many names, from one network or as many."""
    logins = Logins(database.connections, clock)
    for number in range(WRONG_PASSWORDS):
        network = number % networks
        logins.refused(f"name{number}", f"10.{network // 256}.{network % 256}.1", "credentials")
    logins.refused("alice", HOME, "credentials")
    await logins.write()
    found = await told(database)
    assert len(found) <= REFUSALS_MAX + 1
    assert sum(each.payload["count"] for each in found) == WRONG_PASSWORDS + 1
    if networks == 1:
        assert found[0].actor == "alice", "what is tried on an account goes first"


async def test_a_flood_that_goes_on_is_bounded_by_the_hour(
    database: Database, clock: JumpingClock
) -> None:
    clock.seconds -= clock.seconds % HOUR_SECONDS
    logins = Logins(database.connections, clock)
    logins.succeeded(ALICE, HOME, "r")
    for minute in range(60):
        for number in range(200):
            logins.refused("", f"10.{minute}.{number}.1", "credentials")
        await logins.write()
    refused = [each for each in await told(database) if each.kind == "login.refused"]
    assert len(refused) == REFUSALS_OF_HOUR_MAX + 60
    assert sum(each.payload["count"] for each in refused) == 60 * 200


async def test_control_without_the_bound_each_network_is_a_row(
    database: Database, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `test_a_flood_of_guesses_is_no_flood_of_writes` guards."""
    monkeypatch.setattr(under_test, "REFUSALS_MAX", WRONG_PASSWORDS)
    monkeypatch.setattr(under_test, "REFUSALS_OF_HOUR_MAX", WRONG_PASSWORDS)
    logins = Logins(database.connections, clock)
    for number in range(500):
        logins.refused("", f"10.{number // 256}.{number % 256}.1", "credentials")
    await logins.write()
    assert len(await told(database)) == 500


async def test_while_the_database_is_away_they_are_kept(
    database: Database, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = Logins(database.connections, clock)
    logins.succeeded(ALICE, HOME, "r")
    logins.refused("alice", HOME, "credentials")
    with monkeypatch.context() as away:

        async def refuse(*_: object, **__: object) -> object:
            raise DatabaseUnavailable("away")

        away.setattr(database.connections, "write", refuse)
        with pytest.raises(DatabaseUnavailable):
            await logins.write()
    logins.refused("alice", HOME, "credentials")
    await logins.write()
    found = await told(database)
    assert [each.payload.get("count") for each in found] == [None, 2]


async def test_the_last_are_written_as_it_ends_or_the_log_says_so(
    database: Database, clock: JumpingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = Logins(database.connections, clock)
    logins.succeeded(ALICE, HOME, "r")
    await logins.write_last()
    assert len(await told(database)) == 1
    logins.succeeded(ALICE, OFFICE, "r")

    async def hang(*_: object, **__: object) -> object:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(database.connections, "write", hang)
    monkeypatch.setattr(under_test, "LAST_SECONDS_MAX", 0.01)
    with capture_logs() as lines:
        await logins.write_last()
    assert [(one["event"], one["error"]) for one in lines] == [
        ("logins.unwritten", "the database takes too long")
    ]
