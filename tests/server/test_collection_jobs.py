"""Rows are collected by a job of the cluster, and not beside a server that knows no leases."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from tests.contracts.metadata_values import ACTOR, APP, NOW, digest, manifest, server, small
from tests.database_clock import MovedClock, database_clock
from tests.tables import each_row
from tests.templates import empty_database
from tests.unreadable import EACH
from treescale.clock import SystemClock
from treescale.errors import BlobUnknown
from treescale.lease_times import COLLECTION_SETTING, LEASE_SETTING, LeaseTimes, stored
from treescale.maintenance.collection import leaps, row_turns, state
from treescale.maintenance.collection.leaps import unpacked
from treescale.maintenance.collection.row_turns import ROWS_SETTING, SLOW_SETTING, RowTurns, Slow
from treescale.maintenance.collection.state import Mode
from treescale.metadata.collection.undelete import Undelete
from treescale.metadata.database import Database, open_database
from treescale.metadata.servers import OLDER_SETTING
from treescale.server.background import Job, Scope
from treescale.server.jobs import ROWS_SECONDS, collection_jobs

__all__ = ["database_clock"]

IDLE_SECONDS = 86_400


async def leave_rubbish(database: Database) -> None:
    await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
    await database.connections.change(text("UPDATE repository_blobs SET lease_until = 1"))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A blob that nothing refers to, and whose lease is over."""
    database = open_database(empty_database(tmp_path / "treescale.db"))
    await leave_rubbish(database)
    await database.settings.put(COLLECTION_SETTING, Mode.ON)
    yield database
    await database.close()


@pytest.fixture
async def moved_database(database: Database, database_clock: MovedClock) -> Database:
    """The same, whose clock can be moved."""
    assert database_clock.ahead == 0
    return database


async def job(database: Database, name: str) -> Job:
    (found,) = (one for one in await collection_jobs(database, IDLE_SECONDS) if one.name == name)
    return found


async def test_one_server_of_all_takes_away_what_nothing_needs(database: Database) -> None:
    rows = await job(database, "collection.rows")
    assert (rows.scope, rows.period_seconds) == (Scope.CLUSTER, ROWS_SECONDS)
    await rows.work()
    with pytest.raises(BlobUnknown):
        await database.blobs.find(APP, digest(1))


@pytest.mark.parametrize("name", ["collection.rows", "collection.slow"])
async def test_nothing_goes_while_somebody_has_stopped_it(database: Database, name: str) -> None:
    await database.settings.put(COLLECTION_SETTING, Mode.OFF)
    await (await job(database, name)).work()
    assert (await database.blobs.find(APP, digest(1))).digest == digest(1)


@pytest.mark.parametrize(("version", "waits"), [("", True), ("0.1.0", True), ("0.2.0", False)])
async def test_beside_a_server_of_0_1_0_nothing_is_taken(
    database: Database, version: str, *, waits: bool
) -> None:
    """Control: one of this version beside it."""
    old = replace(server("old"), version=version)
    await database.servers.register(old, live_seconds=15, actor=ACTOR)
    rows = await job(database, "collection.rows")
    await rows.work()
    left = await database.blobs.list_repository(APP, "", 9)
    assert [one.digest for one in left] == ([digest(1)] if waits else [])
    ago = LeaseTimes().link + 60
    await database.connections.change(text(f"UPDATE servers SET seen = seen - {ago}"))  # noqa: S608
    await rows.work()
    assert await database.blobs.list_repository(APP, "", 9) == [], "it is gone for long"


async def test_it_is_waited_for_as_long_as_the_lease_says_now(database: Database) -> None:
    """Though that was shorter when the process was started."""
    await database.settings.put(LEASE_SETTING, "1h")
    rows = await job(database, "collection.rows")
    await database.settings.put(LEASE_SETTING, "24h")
    three_hours_ago = await database.servers.now() - 3 * 3600
    await database.settings.put(OLDER_SETTING, f"{three_hours_ago:.3f}")
    await rows.work()
    assert (await database.blobs.find(APP, digest(1))).digest == digest(1)


@pytest.mark.parametrize("noted", [True, False])
async def test_one_that_was_upgraded_in_place_is_waited_for_as_long(
    database: Database, *, noted: bool
) -> None:
    """And the control: its row alone does not say that it was of 0.1.0 a minute ago."""
    await database.servers.register(server("old"), live_seconds=15, actor=ACTOR)
    current = replace(server("old"), version="9.9.9")
    await database.servers.register(current, live_seconds=15, actor=ACTOR)
    if not noted:
        await database.settings.remove(OLDER_SETTING)
    await (await job(database, "collection.rows")).work()
    left = await database.blobs.list_repository(APP, "", 9)
    assert [one.digest for one in left] == ([digest(1)] if noted else [])
    told = unpacked(await database.settings.get(ROWS_SETTING))
    assert (told.paused is not None) is noted


async def test_what_one_pushes_again_is_there_again(database: Database) -> None:
    """Though nothing is taken beside it, or anywhere."""
    await database.settings.put(COLLECTION_SETTING, Mode.OFF)
    await database.servers.register(server("old"), live_seconds=15, actor=ACTOR)
    made = manifest()
    await database.manifests.put(APP, made, [], ["v"], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    again = "INSERT INTO tags (repository_id, name, digest, updated) VALUES (1, 'v', :digest, 1)"
    await database.connections.change(text(again), {"digest": made.digest})
    await (await job(database, "collection.older")).work()
    assert await database.manifests.resolve(APP, "v") == made
    assert (await database.servers.older()).noted > await database.servers.now()


# A clock that leaps

DAY = 86_400.0


async def deleted_image(database: Database) -> str:
    made = manifest()
    await database.manifests.put(APP, made, [], ["v"], now=NOW, actor=ACTOR)
    await database.manifests.delete(APP, made.digest, actor=ACTOR)
    return made.digest


class MovedSystemClock(SystemClock):
    """The clock of a server whose machine's is set as the database's is."""

    def __init__(self, database_clock: MovedClock) -> None:
        self._moved = database_clock

    def now(self) -> float:
        return super().now() + self._moved.ahead


@pytest.mark.parametrize("guarded", [True, False])
async def test_a_clock_that_leaps_ahead_purges_nothing(
    moved_database: Database,
    database_clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    guarded: bool,
) -> None:
    """A year, of database and server alike. Control: nobody looks at the clock."""
    if not guarded:
        monkeypatch.setattr(leaps, "LEAP_SECONDS_MAX", 1e12)
    database = moved_database
    turns = RowTurns(database, LeaseTimes(), MovedSystemClock(database_clock))
    made = await deleted_image(database)
    await turns.collect()
    await database_clock.move(database, 365 * DAY)
    for _ in range(2):
        await turns.collect()
    left = await database.connections.rows(text("SELECT digest FROM manifests"))
    assert [row.digest for row in left] == ([made] if guarded else [])
    if not guarded:
        return
    told = unpacked(await database.settings.get(ROWS_SETTING))
    assert told.paused is not None
    assert "clock" in told.paused.why
    await database_clock.move(database, -365 * DAY)
    await turns.collect()
    assert unpacked(await database.settings.get(ROWS_SETTING)).paused is None
    await Undelete(database.connections).manifest(APP, made, actor=ACTOR)


async def test_after_some_hours_it_is_believed(
    moved_database: Database, database_clock: MovedClock
) -> None:
    """As after a night without a server."""
    database = moved_database
    turns = RowTurns(database, LeaseTimes(), MovedSystemClock(database_clock))
    await deleted_image(database)
    await turns.collect()
    await database_clock.move(database, 8 * DAY)
    await turns.collect()
    assert await is_there(database)
    assert await go_on(database_clock, turns, 5.9 * 3600)
    assert not await go_on(database_clock, turns, 0.2 * 3600)


async def is_there(database: Database) -> bool:
    return bool(await database.connections.rows(text("SELECT digest FROM manifests")))


async def go_on(clock: MovedClock, turns: RowTurns, seconds: float) -> bool:
    """Have a server be at work for so long; say whether the image is there yet."""
    for _ in range(round(seconds / leaps.WAIT_NOTED_EVERY_SECONDS)):
        await clock.move(turns._database, leaps.WAIT_NOTED_EVERY_SECONDS)
        await turns.collect()
    return await is_there(turns._database)


async def days_of_an_hour(database: Database, clock: MovedClock, days: int) -> bool:
    """Have a server run an hour in each of these days; say whether the image is there yet."""
    for _ in range(days):
        await clock.move(database, DAY - 3600)
        turns = RowTurns(database, LeaseTimes(), MovedSystemClock(clock))
        await turns.collect()
        await go_on(clock, turns, 3600)
    return await is_there(database)


async def test_a_machine_that_runs_an_hour_a_day_gets_there(
    moved_database: Database, database_clock: MovedClock
) -> None:
    """It waits in the hours that it runs, all in all: whichever process noted them."""
    database = moved_database
    await RowTurns(database, LeaseTimes(), MovedSystemClock(database_clock)).collect()
    await deleted_image(database)
    await database_clock.move(database, 8 * DAY)
    assert await days_of_an_hour(database, database_clock, 5)
    assert not await days_of_an_hour(database, database_clock, 2)


async def test_control_what_waits_anew_after_each_night_never_goes(
    moved_database: Database, database_clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaps, "WAIT_SECONDS", 3600 + 1.0)  # more than a run
    seen = leaps._moved

    def anew(state: leaps.RowsState, now: float) -> leaps.RowsState:
        return seen(msgspec.structs.replace(state, leap=min(state.leap, 1.0)), now)

    monkeypatch.setattr(leaps, "_moved", anew)
    database = moved_database
    await RowTurns(database, LeaseTimes(), MovedSystemClock(database_clock)).collect()
    await deleted_image(database)
    assert await days_of_an_hour(database, database_clock, 14)


def after(state: leaps.RowsState, now: float) -> leaps.RowsState:
    return leaps.look(state, now, now)


def test_a_longer_leap_has_all_hours_begin_anew() -> None:
    """One as long as the night before ends no time earlier than another night would."""
    waiting = leaps.RowsState(looked=10 * DAY, leap=DAY, waited=5 * 3600.0)
    assert after(waiting, 11 * DAY).waited == 5 * 3600
    longer = after(waiting, 40 * DAY)
    assert (longer.leap, longer.waited) == (30 * DAY, 0)
    assert after(longer, 11 * DAY) == leaps.RowsState(looked=11 * DAY), "it was set back"


def test_a_time_that_nobody_saw_is_none_that_a_server_was_at_work() -> None:
    waiting = leaps.RowsState(looked=10 * DAY, leap=DAY)
    assert after(waiting, 10 * DAY + 5 * 3600).waited == leaps.WAIT_STEP_SECONDS_MAX


async def test_while_the_database_and_the_server_differ_nothing_goes(
    moved_database: Database, database_clock: MovedClock
) -> None:
    """However long that takes."""
    database = moved_database
    turns = RowTurns(database, LeaseTimes(), SystemClock())
    await deleted_image(database)
    await turns.collect()
    for _ in range(20):
        await database_clock.move(database, DAY / 2)
        await turns.collect()
    assert await database.connections.rows(text("SELECT digest FROM manifests"))


async def test_a_turn_that_finds_nothing_writes_once_an_hour(
    moved_database: Database, database_clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = moved_database
    turns = RowTurns(database, LeaseTimes(), MovedSystemClock(database_clock))
    await turns.collect()
    await turns.slow_slice()
    writes: list[object] = []
    write = database.connections.write

    async def counted(work: Any, **named: Any) -> Any:
        writes.append(work)
        return await write(work, **named)

    monkeypatch.setattr(database.connections, "write", counted)
    for turn in (turns.collect, turns.slow_slice, turns.older):
        await turn()
    assert writes == []
    await database_clock.move(database, 3700)
    writes.clear()
    await turns.collect()
    assert len(writes) == 1


# Settings that somebody wrote by hand


@each_row("name, text", EACH)
async def test_with_a_setting_that_cannot_be_read_all_jobs_go_on_and_take_nothing(
    database: Database, name: str, text: str
) -> None:
    """Copies decide nothing of collection."""
    await leave_rubbish(database)
    await database.settings.put(name, text)
    for each in await collection_jobs(database, IDLE_SECONDS):
        await each.work()
    left = await database.blobs.list_repository(APP, "", 9)
    assert [one.digest for one in left] == ([] if name == "copies" else [digest(1)])
    told = unpacked(await database.settings.get(ROWS_SETTING)).paused
    assert (told is None) is (name == "copies")
    await database.settings.remove(name)
    await (await job(database, "collection.rows")).work()
    assert await database.blobs.list_repository(APP, "", 9) == []


async def test_control_a_setting_that_is_believed_nevertheless_has_it_go(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "unreadable", lambda _: [])
    await database.settings.put(LEASE_SETTING, "abc")
    await (await job(database, "collection.rows")).work()
    assert await database.blobs.list_repository(APP, "", 9) == []


# The slow pass


async def test_the_slow_pass_goes_on_where_it_stood_in_whichever_process(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page in each turn, and each turn by another process."""
    monkeypatch.setattr(row_turns, "SLICE_SECONDS_MAX", 0.0)
    await database.connections.change(text("UPDATE repository_blobs SET lease_until = -1"))
    places, slow = [], Slow()
    for _ in range(20):
        await (await job(database, "collection.slow")).work()
        slow = msgspec.json.decode(await database.settings.get(SLOW_SETTING) or "", type=Slow)
        places.append(None if slow.place is None else slow.place.what)
        if slow.place is None:
            break
    assert places == ["links", "chunks", "blobs", "blobs", "said", None]
    assert slow.through == pytest.approx(await database.servers.now(), abs=60)


async def test_a_short_lease_is_looked_after_as_often(database: Database) -> None:
    await database.settings.put(LEASE_SETTING, stored(60))
    assert (await job(database, "collection.rows")).period_seconds == 2.5


async def test_the_slow_pass_is_one_of_them(database: Database) -> None:
    await database.connections.change(text("UPDATE repository_blobs SET lease_until = -1"))
    await (await job(database, "collection.rows")).work()
    assert await database.blobs.find(APP, digest(1)) == small(1).blob
    await (await job(database, "collection.slow")).work()
    row = await database.connections.row(text("SELECT lease_until FROM repository_blobs"))
    assert row is not None
    assert row[0] > 1
