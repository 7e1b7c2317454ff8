"""Collection of one store's copies: what goes and what stays.

Each rule has a control: with it switched off, something that is in use is taken away.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.maintenance.collection.collecting import LEASE, QUIET, SERVER, STORE, TRASH, Rig, before
from treescale.chunks.disk.copies import Copies
from treescale.chunks.disk.quiet import Quiet
from treescale.lease_times import COLLECTION_SETTING
from treescale.maintenance.collection import orphans
from treescale.maintenance.collection.state import Mode
from treescale.maintenance.collector import Collector, Cycle
from treescale.metadata.blobs import References
from treescale.metadata.events.recorded import Recorded

# What goes, and what stays


async def test_what_no_row_names_goes_once_its_lease_is_over(
    rig: Rig, orphan: bytes, named: bytes
) -> None:
    young = await rig.put(3)
    cycle = await rig.cycle()
    assert [copy.chunk for copy in cycle.gone] == [orphan]
    assert await rig.here(orphan, named, young) == [False, True, True]
    assert (await rig.store.trash()).chunks == 1
    rig.go(TRASH + 1)
    assert (await rig.cycle()).dropped == 1
    assert (await rig.store.trash()).chunks == 1, "the other one, which was young"
    assert await rig.here(named) == [True]


async def test_what_was_taken_is_an_event_and_a_cycle_that_takes_nothing_is_none(
    rig: Rig, orphan: bytes
) -> None:
    """By the server itself; a look that takes nothing away tells of nothing either."""

    async def told() -> list[Recorded]:
        found = await rig.database.event_log.after(0, 100)
        return [one for one in found if one.kind == "collect.finished"]

    await rig.cycle(dry=True)
    assert await told() == []
    (gone,) = (await rig.cycle()).gone
    assert gone.chunk == orphan
    await rig.cycle()
    (one,) = await told()
    assert one.actor == SERVER
    seconds = one.payload["seconds"]
    done = {"trashed": 1, "bytes": gone.size, "dropped": 0}
    assert one.payload == {"store_id": STORE, "seconds": seconds, **done}


async def test_of_its_own_accord_it_gives_way_after_each_step_until_somebody_asks(
    rig: Rig, orphan: bytes
) -> None:
    pauses: list[float] = []
    asked = asyncio.Event()

    async def give_way(seconds: float, is_waited_for: Callable[[], bool]) -> None:
        if is_waited_for():
            return
        pauses.append(seconds)
        if len(pauses) == 3:
            asked.set()
            await asyncio.sleep(0)  # the other one waits for its turn now
            assert is_waited_for(), "so this pause can end"

    async def ask() -> Cycle:
        await asked.wait()
        return await rig.cycle()

    rig.collector._give_way = give_way
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.collector._turn())
        second = group.create_task(ask())
    assert len(pauses) == 3
    assert min(pauses) >= 0
    assert await rig.here(orphan) == [False], "it came to its end"
    assert second.result().gone == []


async def test_to_wait_for_its_turn_is_no_work_that_it_would_rest_from(rig: Rig) -> None:
    """A cycle that somebody asked for may take an hour: ten more of rest would follow."""
    pauses: list[float] = []

    async def give_way(seconds: float, _: Callable[[], bool]) -> None:
        pauses.append(seconds)

    rig.collector._give_way = give_way
    async with asyncio.TaskGroup() as group, rig.collector._one:
        group.create_task(rig.collector._turn())
        await asyncio.sleep(0.1)
        assert rig.collector._asked == 1
        rig.clock.seconds += 3600
    assert pauses
    assert max(pauses) < 60


async def test_what_an_unfinished_upload_names_stays_however_old_it_is(
    rig: Rig, orphan: bytes
) -> None:
    await rig.open_session("u", orphan)
    rig.go(7 * LEASE)
    assert (await rig.cycle()).gone == []


async def test_what_is_dated_ahead_stays(rig: Rig, orphan: bytes) -> None:
    rig.disk.passed -= 3 * LEASE
    assert (await rig.cycle()).gone == []
    assert await rig.here(orphan) == [True]


async def test_control_without_the_lease_what_was_put_just_now_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    young = await rig.put(3)
    monkeypatch.setattr(orphans, "candidates", lambda copies, lease: list(copies))  # noqa: ARG005
    await rig.cycle()
    assert await rig.here(young) == [False]


async def test_it_is_on_unless_somebody_has_stopped_it(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is said soon after a start, too: nobody waits hours to hear it."""
    monkeypatch.setattr(Collector, "_quiet_left", lambda _self, _times: 100.0)
    settings = rig.database.settings
    await settings.put(COLLECTION_SETTING, Mode.OFF)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert cycle.pause.lifted_by == "`treescale cluster set collection=on`"
    assert await rig.here(orphan) == [True]
    monkeypatch.undo()
    await settings.remove(COLLECTION_SETTING)
    await rig.cycle()
    assert await rig.here(orphan) == [False]


async def test_what_is_put_between_the_look_and_the_rename_stays(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(monkeypatch, rig.database.references, "among", lambda: rig.put(1))
    cycle = await rig.cycle()
    assert [copy.chunk for copy in cycle.orphans] == [orphan]
    assert cycle.gone == []
    assert await rig.here(orphan) == [True]


async def test_what_was_put_and_named_while_the_walk_slept_for_a_lease_stays(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_named_and_old_before_the_rename(rig, orphan, monkeypatch)
    assert await rig.here(orphan) == [True]


async def put_named_and_old_before_the_rename(
    rig: Rig, orphan: bytes, patch: pytest.MonkeyPatch
) -> None:
    async def put_and_name_and_sleep() -> None:
        await rig.put(1)
        await rig.name(9, orphan)
        rig.go(2 * LEASE)

    before(patch, rig.store, "remove", put_and_name_and_sleep)
    await rig.cycle()


async def test_control_without_the_stamp_it_goes(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    unstamped(monkeypatch)
    await put_named_and_old_before_the_rename(rig, orphan, monkeypatch)
    assert await rig.here(orphan) == [False]


def unstamped(patch: pytest.MonkeyPatch) -> None:
    """Compare the age alone at the rename; it is over again."""
    move = Copies._move

    def aged(self: Copies, path: Path, trash: Path, stamp: Any, may: Callable[[], bool]) -> Any:
        del stamp
        return move(self, path, trash, self._stamp(path), may)  # type: ignore[arg-type]

    patch.setattr(Copies, "_move", aged)


# The order of reading (R3)


async def committed_between(rig: Rig, orphan: bytes, patch: pytest.MonkeyPatch) -> None:
    """Have its chunk go from a session to a blob between the two readings."""
    await rig.open_session("u", orphan)
    read, again = References.in_sessions, list[bool]()

    async def then_commit(self: References, is_wanted: Callable[[bytes], bool]) -> Any:
        found = await read(self, is_wanted)
        if not again:
            again.append(True)
            await rig.name(9, orphan, session="u")
        return found

    patch.setattr(References, "in_sessions", then_commit)


async def test_what_is_committed_while_rows_are_read_stays(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await committed_between(rig, orphan, monkeypatch)
    await rig.cycle()
    assert await rig.here(orphan) == [True]


async def test_control_with_blobs_read_before_sessions_it_goes(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.open_session("u", orphan)

    async def blobs_first(self: References, wanted: Iterable[bytes]) -> set[bytes]:
        asked = frozenset(wanted)
        found = set(await self.in_blobs(b"", b"\xff" * 33)) & asked
        await rig.name(9, orphan, session="u")
        return found | set(await self.in_sessions(asked.__contains__))

    monkeypatch.setattr(References, "among", blobs_first)
    await rig.cycle()
    assert await rig.here(orphan) == [False]


async def test_rows_are_read_after_open_transactions_have_ended(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    for name in ("after_writers", "among"):
        before(monkeypatch, rig.database.references, name, noting(asked, name))
    await rig.cycle()
    assert asked == ["after_writers", "among"]


def noting(asked: list[str], name: str) -> Callable[[], Any]:
    async def note() -> None:
        asked.append(name)

    return note


# When nothing may be removed yet: R8


async def test_nothing_goes_soon_after_the_start(rig: Rig, orphan: bytes) -> None:
    rig.store._quiet = Quiet(rig.disk.clocks)
    rig.go(QUIET - 60)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert "nothing is removed for another" in cycle.pause.why
    assert await rig.here(orphan) == [True]
    rig.go(61)
    assert len((await rig.cycle()).gone) == 1


async def test_control_without_the_quiet_it_goes_at_once(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quiet, "left", lambda *_: 0.0)
    rig.store._quiet = Quiet(rig.disk.clocks)
    await rig.cycle()
    assert await rig.here(orphan) == [False]


@pytest.mark.parametrize("ahead", [LEASE, -LEASE])
async def test_a_step_of_the_clock_before_the_look_begins_it_again(rig: Rig, ahead: float) -> None:
    young = await rig.put(3)
    rig.disk.ahead = ahead
    assert (await rig.cycle()).gone == []
    assert await rig.here(young) == [True]


async def test_control_with_a_step_unnoticed_what_was_put_just_now_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quiet, "stretch", lambda *_: 0)
    young = await rig.put(3)
    rig.disk.ahead = LEASE
    await rig.cycle()
    assert await rig.here(young) == [False]


async def step_back_and_put_before_the_rename(
    rig: Rig, orphan: bytes, patch: pytest.MonkeyPatch
) -> None:
    """After the step the put finds a young file, and does not touch it."""

    async def step_and_put() -> None:
        rig.disk.ahead = -LEASE
        await rig.put(1)
        await rig.name(9, orphan)

    before(patch, rig.store, "remove", step_and_put)
    await rig.cycle()


async def test_a_look_does_not_outlive_a_step(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await step_back_and_put_before_the_rename(rig, orphan, monkeypatch)
    assert await rig.here(orphan) == [True]


async def test_control_a_look_that_outlives_a_step_takes_what_is_named(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Collector, "_permit", lambda *_: lambda: True)
    await step_back_and_put_before_the_rename(rig, orphan, monkeypatch)
    assert await rig.here(orphan) == [False]


async def test_a_store_that_was_away_begins_anew(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def come_back() -> None:
        rig.store._quiet = Quiet(rig.disk.clocks)

    before(monkeypatch, rig.store, "remove", come_back)
    assert (await rig.cycle()).gone == []
    assert await rig.here(orphan) == [True]


async def test_where_no_push_can_be_under_way_only_steps_count(rig: Rig) -> None:
    rig.store._quiet = Quiet(rig.disk.clocks)
    rig.collector._alone = True
    assert len((await rig.cycle()).gone) == 1
    rig.disk.ahead = LEASE
    assert (await rig.cycle()).pause is not None
