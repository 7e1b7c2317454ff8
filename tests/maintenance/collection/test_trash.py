"""The second look at the trash; what collection tells, and when it runs."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.maintenance.collection.collecting import LEASE, STORE, TRASH, Rig, before
from treescale.chunks.disk.quiet import Quiet
from treescale.errors import DatabaseUnavailable, StoreUnusable
from treescale.lease_times import COLLECTION_SETTING, ON, READ_ONLY_SETTING, LeaseTimes
from treescale.maintenance import collector, trash
from treescale.maintenance.collection import orphans
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.planning.findings import Findings

# The trash (R11, R12, R14)


async def test_what_a_row_names_comes_back_from_the_trash(rig: Rig, orphan: bytes) -> None:
    await rig.cycle()
    await rig.name(9, orphan)
    rig.cluster.elsewhere = {orphan}
    rig.go(TRASH + 1)
    assert (await rig.cycle()).dropped == 0
    assert await rig.here(orphan) == [True]
    assert (await rig.state()).met_in_trash == 0, "others have it"
    assert (await rig.store.trash()).chunks == 0


async def test_control_trash_emptied_without_a_look_loses_it(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.cycle()
    await rig.name(9, orphan)
    rig.go(TRASH + 1)

    async def none(*_: object) -> set[bytes]:
        return set()

    monkeypatch.setattr(rig.database.references, "among", none)
    assert (await rig.cycle()).dropped == 1
    assert await rig.here(orphan) == [False]


@pytest.mark.parametrize("name", [COLLECTION_SETTING, READ_ONLY_SETTING])
async def test_what_is_stopped_in_the_middle_ends_with_what_is_looked_at_just_then(
    rig: Rig, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emptying much takes minutes, and whoever says stop means it: nothing brings it back."""
    for number in range(1, 5):
        await rig.put(number)
    rig.go(LEASE + 1)
    await rig.cycle()
    there = (await rig.store.trash()).chunks
    assert there > 2
    rig.go(TRASH + 1)
    stopped = Mode.OFF if name == COLLECTION_SETTING else ON
    monkeypatch.setattr(trash, "TRASHED_AT_ONCE", 1)
    before(monkeypatch, rig.store, "drop", lambda: rig.database.settings.put(name, stopped))
    assert await rig.trash.empty(now=True) == 1
    assert (await rig.store.trash()).chunks == there - 1


async def test_it_is_an_alarm_when_nobody_else_has_it(rig: Rig, orphan: bytes) -> None:
    await rig.cycle()
    await rig.name(9, orphan)
    assert await rig.trash.take_back(orphan)
    assert await rig.here(orphan) == [True]
    await rig.cycle()
    assert (await rig.state()).met_in_trash == 1
    await rig.cycle()
    assert (await rig.state()).met_in_trash == 1


@pytest.mark.parametrize("named_still", [True, False])
async def test_it_is_none_when_somebody_cannot_be_asked_or_no_row_names_it(
    rig: Rig, orphan: bytes, *, named_still: bool
) -> None:
    await rig.cycle()
    if named_still:
        await rig.name(9, orphan)
        rig.cluster.is_away = True
    assert await rig.trash.take_back(orphan)
    assert rig.trash.met == 0


async def test_whoever_is_away_is_not_waited_for(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store is lost whose copies were trimmed elsewhere a while ago: all come back at once."""

    async def asked(_: object) -> list[bool]:
        raise AssertionError("a question to who is away takes its time limit")

    await rig.cycle()
    monkeypatch.setattr(rig.cluster, "is_up", lambda _: False)
    monkeypatch.setattr(rig.cluster, "have", asked)
    assert await rig.trash.take_back(orphan)
    assert rig.trash.met == 0


async def test_what_is_not_there_is_not_taken_back(rig: Rig, named: bytes) -> None:
    assert not await rig.trash.take_back(named)


async def test_a_disk_that_is_full_keeps_it_in_the_trash(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.cycle()
    await rig.name(9, orphan)
    rig.go(TRASH + 1)

    async def full(_: bytes) -> bool:
        raise StoreUnusable("full")

    monkeypatch.setattr(rig.store, "restore", full)
    assert (await rig.cycle()).dropped == 0
    assert (await rig.store.trash()).chunks == 1
    assert await rig.store.get(orphan)


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.FROZEN])
async def test_the_trash_keeps_what_no_row_names_while_nothing_is_collected(
    rig: Rig, mode: Mode
) -> None:
    await rig.cycle()
    await rig.database.settings.put(COLLECTION_SETTING, mode)
    rig.go(TRASH + 1)
    assert await rig.trash.empty(now=True) == 0
    assert (await rig.store.trash()).chunks == 1


# What it tells, and when it runs


async def test_it_tells_what_waits_and_until_when(rig: Rig) -> None:
    await rig.put(3)
    await rig.cycle()
    state = await rig.state()
    times = LeaseTimes()
    assert (state.waiting, state.trash, state.removed) == (1, 1, 1)
    assert state.trash_bytes == state.removed_bytes > 0
    latest = rig.clock.now() + times.lease + times.look_every + times.trash
    assert latest - 60 < state.waiting_until <= latest
    assert state.trash_until == rig.clock.now() + times.trash
    rig.go(2 * LEASE)
    await rig.cycle()
    state = await rig.state()
    assert (state.waiting, state.trash, state.removed) == (0, 1, 2)


async def test_a_cycle_that_finds_nothing_new_writes_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.cycle()
    put, written = rig.database.collections.put, list[str]()

    async def noted(store_id: str, state: str) -> None:
        written.append(state)
        await put(store_id, state)

    monkeypatch.setattr(rig.database.collections, "put", noted)
    await rig.cycle()
    rig.go(3600)
    await rig.cycle()
    assert written == []


async def test_a_new_process_goes_on_with_what_was_told(rig: Rig) -> None:
    await rig.cycle()
    rig.collector._said = None
    await rig.put(1)
    rig.go(LEASE)
    await rig.cycle()
    assert (await rig.state()).removed == 2


async def test_it_looks_every_hour_and_first_once_it_was_quiet(rig: Rig, orphan: bytes) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        rig.go(seconds)
        if len(slept) == 5:
            raise asyncio.CancelledError

    rig.collector._sleep = sleep
    rig.store._quiet = Quiet(rig.disk.clocks)
    with pytest.raises(asyncio.CancelledError):
        await rig.collector.run()
    assert [round(seconds) for seconds in slept] == [3600] * 5
    assert await rig.here(orphan) == [False]


async def test_it_leaves_a_cluster_alone_that_has_not_switched_it_on(
    rig: Rig, orphan: bytes
) -> None:
    await rig.database.settings.put(COLLECTION_SETTING, Mode.OFF)
    assert await rig.collector._turn() == LeaseTimes().look_every
    assert await rig.here(orphan) == [True]
    assert not await rig.database.collections.list()


async def test_it_raises_that_the_database_is_away(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(rig.database.references, "among", away)
    with pytest.raises(DatabaseUnavailable):
        await rig.collector._turn()


async def test_what_a_dry_run_finds_is_told_biggest_first(rig: Rig, orphan: bytes) -> None:
    big = await rig.put(1000)
    rig.go(LEASE)
    found, cycle = Findings(), await rig.cycle(dry=True)
    collector.note(found, cycle, STORE)
    assert [going.chunk for going in found.going] == [big.hex(), orphan.hex()]
    assert found.orphans == 2
    assert found.removed == 0
    assert found.going[1].age >= 2 * LEASE - 60
    assert await rig.here(orphan, big) == [True, True]


async def test_many_cost_few_syncs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for a batch (collection.md, costs: at most two for each directory and batch)."""
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 10_000)
    chunks: Sequence[bytes] = [await rig.put(number) for number in range(100, 160)]
    rig.go(LEASE)
    rig.disk.calls.clear()
    assert len((await rig.cycle()).gone) == len(chunks) + 1
    assert rig.disk.calls["fsync_directory"] == 1
