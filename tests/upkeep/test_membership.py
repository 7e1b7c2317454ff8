"""Servers find together over one database, and lose each other again."""

import asyncio
from dataclasses import replace

import pytest

from tests.fakes_disk import JumpingClock
from treescale.clock import SystemClock
from treescale.errors import DatabaseAway, ServerUnknown, SettingInvalid, StoreUnusable
from treescale.metadata.protocols import Database
from treescale.metadata.records import ServerRecord, StoreRecord, StoreReport
from treescale.metadata.records import StoreState as State
from treescale.upkeep import membership
from treescale.upkeep.claims import Claim
from treescale.upkeep.members import Held
from treescale.upkeep.membership import Membership, Turn, join


def server(name: str) -> ServerRecord:
    return ServerRecord(name, f"host-{name}", f"http://{name}:5000", "", started=0.0)


def disk(name: str, owner: str) -> StoreRecord:
    return StoreRecord(name, f"host-{owner}", f"/{name}", "", 1.0, 0.0, server_id=owner)


async def joined(database: Database, name: str, *disks: str) -> tuple[Claim, ...]:
    return await join(database, server(name), [disk(each, name) for each in disks], alone=False)


def members(turn: Turn) -> list[str]:
    return [store.store_id for store in turn.layout.stores] if turn.layout else []


async def test_servers_that_join_change_the_layout_by_themselves(database: Database) -> None:
    clock = JumpingClock()
    assert await joined(database, "A", "a1", "a2") == (
        Claim("a1", "A", None),
        Claim("a2", "A", None),
    )
    first, second = (Membership(database, name, clock) for name in "AB")
    turn = await first.turn([])
    assert (members(turn), turn.changed, turn.layout and turn.layout.copies) == (
        ["a1", "a2"],
        True,
        1,
    )
    await joined(database, "B", "b1")
    turn = await second.turn([])
    assert (members(turn), turn.changed, turn.layout and turn.layout.copies) == (
        ["a1", "a2", "b1"],
        True,
        2,
    )
    again = await first.turn([])
    assert again == replace(
        turn, changed=False, decision=again.decision, clock_error=again.clock_error
    )
    assert again.layout == await database.layouts.latest()


async def test_a_gateway_is_a_server_without_stores(database: Database) -> None:
    assert await joined(database, "G") == ()
    turn = await Membership(database, "G", JumpingClock()).turn([])
    assert (turn.layout, turn.changed) == (None, False)
    assert [each.server_id for each in await database.servers.list()] == ["G"]


async def test_of_servers_that_decide_at_once_one_wins(database: Database, other: Database) -> None:
    await joined(database, "A", "a1")
    await joined(database, "B", "b1")
    both = [Membership(d, n, SystemClock()) for d, n in ((database, "A"), (other, "B"))]
    turns = await asyncio.gather(*(each.turn([]) for each in both))
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
        assert members(await alone.turn([well, hurt])) == ["a1", "a2"]
        before = await database.servers.now()
        while await database.servers.now() == before:  # or two beats are the same to the database
            pass
        clock.seconds += 5
    assert members(await alone.turn([well, hurt])) == ["a1"]
    assert members(await alone.turn([well, replace(hurt, trouble="")])) == ["a1", "a2"]


async def test_what_is_wished_for_is_read_from_the_database(database: Database) -> None:
    await joined(database, "A", "a1", "a2")
    alone = Membership(database, "A", JumpingClock())
    await database.settings.put("copies", "2")
    turn = await alone.turn([])
    assert turn.layout is not None
    assert turn.layout.copies == 2
    await database.stores.set_state("a2", State.DRAINING)
    assert (await alone.turn([])).decision.held == {"a2": Held.TOO_FEW_LEFT}
    await database.settings.put("copies", "many")
    with pytest.raises(SettingInvalid, match="many"):
        await alone.turn([])


async def test_a_clock_that_is_off_is_noticed(database: Database) -> None:
    await joined(database, "A", "a1")
    clock = JumpingClock()
    clock.seconds = SystemClock().now() - 60
    turn = await Membership(database, "A", clock).turn([])
    assert -61 < turn.clock_error < -59
    turn = await Membership(database, "A", SystemClock()).turn([])
    assert abs(turn.clock_error) < 0.01


async def test_a_forgotten_server_is_told_and_may_join_again(database: Database) -> None:
    await joined(database, "A", "a1")
    await joined(database, "B", "b1")
    first, second = (Membership(database, name, JumpingClock()) for name in "AB")
    await first.turn([])
    await database.servers.remove("A")
    with pytest.raises(ServerUnknown):
        await first.turn([])
    assert members(await second.turn([])) == ["b1"]
    await joined(database, "A", "a1")
    assert members(await first.turn([])) == ["a1", "b1"]


async def test_joining_twice_is_joining_once(database: Database) -> None:
    for _ in range(2):
        assert await joined(database, "A", "a1") == (Claim("a1", "A", None),)
    assert len(await database.stores.list()) == len(await database.servers.list()) == 1


async def test_a_copied_directory_is_refused_while_the_other_serves(database: Database) -> None:
    await joined(database, "A", "a1")
    with pytest.raises(StoreUnusable, match="in use on host-A"):
        await joined(database, "B", "a1")
    assert [each.server_id for each in await database.servers.list()] == ["A"]


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


async def test_a_disk_that_never_stays_is_not_pursued_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "_attempts_max", 0)
    with pytest.raises(DatabaseAway, match="try again"):
        await joined(database, "A", "a1")


async def test_servers_long_gone_are_forgotten_when_another_joins(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joined(database, "gateway")
    await joined(database, "A", "a1")
    monkeypatch.setattr(membership, "prune_seconds", -1.0)
    await joined(database, "B", "b1")
    assert [each.server_id for each in await database.servers.list()] == ["A", "B"]
