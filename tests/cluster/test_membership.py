"""Servers find together over one database, and lose each other again."""

import asyncio
from dataclasses import replace

import pytest

from tests.contracts.metadata_values import ACTOR
from tests.fakes_disk import JumpingClock
from tests.unreadable import UNREADABLE
from treescale.clock import SystemClock
from treescale.cluster import membership
from treescale.cluster.layout import Blocked
from treescale.cluster.membership import HeartbeatResult, Membership, join
from treescale.cluster.ownership import Claim
from treescale.errors import DatabaseUnavailable, ServerUnknown, StoreUnusable
from treescale.metadata.database import Database
from treescale.metadata.records import ServerRecord, StoreRecord, StoreReport
from treescale.metadata.records import StoreState as State


def server(name: str) -> ServerRecord:
    return ServerRecord(name, f"host-{name}", f"http://{name}:5000", "", started=0.0)


def disk(name: str, owner: str) -> StoreRecord:
    return StoreRecord(name, f"host-{owner}", f"/{name}", "", 1.0, 0.0, server_id=owner)


async def joined(database: Database, name: str, *disks: str) -> tuple[Claim, ...]:
    return await join(database, server(name), [disk(each, name) for each in disks], alone=False)


def members(turn: HeartbeatResult) -> list[str]:
    return [store.store_id for store in turn.layout.stores] if turn.layout else []


async def test_servers_that_join_change_the_layout_by_themselves(database: Database) -> None:
    clock = JumpingClock()
    assert await joined(database, "A", "a1", "a2") == (
        Claim("a1", "A", None),
        Claim("a2", "A", None),
    )
    first, second = (Membership(database, name, clock) for name in "AB")
    turn = await first.heartbeat([])
    assert (members(turn), turn.changed, turn.layout and turn.layout.copies) == (
        ["a1", "a2"],
        True,
        1,
    )
    await joined(database, "B", "b1")
    turn = await second.heartbeat([])
    assert (members(turn), turn.changed, turn.layout and turn.layout.copies) == (
        ["a1", "a2", "b1"],
        True,
        2,
    )
    again = await first.heartbeat([])
    assert again == replace(
        turn, changed=False, decision=again.decision, clock_error=again.clock_error
    )
    assert again.layout == await database.layouts.latest()


async def test_a_gateway_is_a_server_without_stores(database: Database) -> None:
    assert await joined(database, "G") == ()
    turn = await Membership(database, "G", JumpingClock()).heartbeat([])
    assert (turn.layout, turn.changed) == (None, False)
    assert [each.server_id for each in await database.servers.list()] == ["G"]


async def test_of_servers_that_decide_at_once_one_wins(database: Database, other: Database) -> None:
    await joined(database, "A", "a1")
    await joined(database, "B", "b1")
    both = [Membership(d, n, SystemClock()) for d, n in ((database, "A"), (other, "B"))]
    turns = await asyncio.gather(*(each.heartbeat([]) for each in both))
    assert sum(turn.changed for turn in turns) == 1
    assert [members(turn) for turn in turns] == [["a1", "b1"]] * 2
    assert len(await database.layouts.list(9)) == 1


async def test_a_disk_in_trouble_leaves_after_the_grace_period(database: Database) -> None:
    """The other stores are of the same server, which is heard of all the time."""
    clock = JumpingClock()
    await joined(database, "A", "a1", "a2")
    alone = Membership(database, "A", clock, grace=20)
    well = StoreReport("a1", 9, 8)
    hurt = StoreReport("a2", None, None, "its disk cannot be read")
    for _ in range(5):
        assert members(await alone.heartbeat([well, hurt])) == ["a1", "a2"]
        before = await database.servers.now()
        while await database.servers.now() == before:  # or two beats are the same to the database
            pass
        clock.seconds += 5
    assert members(await alone.heartbeat([well, hurt])) == ["a1"]
    assert members(await alone.heartbeat([well, replace(hurt, trouble="")])) == ["a1", "a2"]


async def test_what_is_wished_for_is_read_from_the_database(database: Database) -> None:
    await joined(database, "A", "a1", "a2")
    alone = Membership(database, "A", JumpingClock())
    await database.settings.put("copies", "2")
    turn = await alone.heartbeat([])
    assert turn.layout is not None
    assert turn.layout.copies == 2
    await database.stores.set_state("a2", State.DRAINING, actor=ACTOR)
    assert (await alone.heartbeat([])).decision.held == {"a2": Blocked.TOO_FEW_LEFT}


@pytest.mark.parametrize("text", UNREADABLE["copies"])
async def test_copies_that_cannot_be_read_stay_what_they_are(database: Database, text: str) -> None:
    """A server starts, and nothing is moved, until somebody sets them right."""
    await joined(database, "A", "a1", "a2")
    alone = Membership(database, "A", JumpingClock())
    await database.settings.put("copies", "2")
    before = (await alone.heartbeat([])).layout
    await database.settings.put("copies", text)
    turn = await alone.heartbeat([])
    assert (turn.layout, turn.changed) == (before, False)


async def test_a_clock_that_is_off_is_noticed(database: Database) -> None:
    await joined(database, "A", "a1")
    clock = JumpingClock()
    clock.seconds = SystemClock().now() - 60
    turn = await Membership(database, "A", clock).heartbeat([])
    assert -61 < turn.clock_error < -59
    (row,) = await database.servers.list()
    assert row.clock_error is not None
    assert -61 < row.clock_error < -59, "others see it from the first beat on"
    turn = await Membership(database, "A", SystemClock()).heartbeat([])
    assert abs(turn.clock_error) < 0.01
    (row,) = await database.servers.list()
    assert row.clock_error is not None
    assert abs(row.clock_error) < 0.01


async def test_a_forgotten_server_is_told_and_may_join_again(database: Database) -> None:
    await joined(database, "A", "a1")
    await joined(database, "B", "b1")
    first, second = (Membership(database, name, JumpingClock()) for name in "AB")
    await first.heartbeat([])
    await database.servers.remove("A", actor=ACTOR)
    with pytest.raises(ServerUnknown):
        await first.heartbeat([])
    assert members(await second.heartbeat([])) == ["b1"]
    await joined(database, "A", "a1")
    assert members(await first.heartbeat([])) == ["a1", "b1"]


async def test_joining_twice_is_joining_once(database: Database) -> None:
    for _ in range(2):
        assert await joined(database, "A", "a1") == (Claim("a1", "A", None),)
    assert len(await database.stores.list()) == len(await database.servers.list()) == 1


async def test_a_copied_identity_is_refused_while_the_other_lives(database: Database) -> None:
    await joined(database, "A", "a1")
    copy = replace(server("A"), address="http://copy:5000")
    with pytest.raises(
        StoreUnusable, match=r"runs already: host-A \(http://A:5000\).*server\.json"
    ):
        await join(database, copy, [], alone=False)


async def test_of_servers_that_claim_a_disk_at_once_one_gets_it(
    database: Database, other: Database
) -> None:
    for number in range(5):
        results = await asyncio.gather(
            joined(database, f"A{number}", f"d{number}"),
            joined(other, f"B{number}", f"d{number}"),
            return_exceptions=True,
        )
        refusals = [each for each in results if isinstance(each, BaseException)]
        assert [type(each) for each in refusals] == [StoreUnusable]


@pytest.mark.parametrize("read", ["servers.list", "stores.list", "servers.now"])
async def test_who_joins_between_two_looks_of_another_keeps_its_disk(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    rows, name = read.split(".")
    look = getattr(getattr(database, rows), name)
    looks = 0

    async def interrupted() -> object:
        nonlocal looks
        found = await look()
        looks += 1
        if looks == 1:
            await joined(other, "B", "d")
        return found

    monkeypatch.setattr(getattr(database, rows), name, interrupted)
    with pytest.raises(StoreUnusable, match="in use on host-B"):
        await joined(database, "A", "d")


async def test_a_disk_that_never_stays_is_not_pursued_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "_ATTEMPTS_MAX", 0)
    with pytest.raises(DatabaseUnavailable, match="try again"):
        await joined(database, "A", "a1")


async def test_servers_long_gone_are_forgotten_when_another_joins(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joined(database, "gateway")
    await joined(database, "A", "a1")
    monkeypatch.setattr(membership, "PRUNE_SECONDS", -1.0)
    await joined(database, "B", "b1")
    assert [each.server_id for each in await database.servers.list()] == ["A", "B"]
