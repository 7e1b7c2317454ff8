"""What holds collection back: errors, too much at once, a restored database.

Each has a control: with it switched off, something that is in use is taken away.
"""

from dataclasses import replace
from functools import partial

import pytest

from tests.contracts.metadata_values import ACTOR, server
from tests.maintenance.collection.collecting import LEASE, STORE, Cluster, Rig, before
from tests.tables import each_row
from tests.unreadable import MENDED_BY, NO_NUMBER, OF_COLLECTION
from treescale.errors import DatabaseUnavailable, Failed, StoreUnusable
from treescale.lease_times import (
    COLLECTION_SETTING,
    LEASE_SETTING,
    UNDELETE_SETTING,
    LeaseTimes,
)
from treescale.maintenance import collector
from treescale.maintenance.collection import orphans
from treescale.maintenance.collection.state import Explained, Mode
from treescale.maintenance.collector import Cycle
from treescale.metadata import servers
from treescale.metadata.collection.explained import COLLECTED_SETTING, note_collected
from treescale.metadata.servers import OLDER_SETTING

# Errors, guards, freeze

READINGS = ("in_blobs", "after_writers", "in_sessions", "among")


@pytest.mark.parametrize("name", READINGS)
async def test_an_error_of_the_database_ends_the_cycle_with_nothing_taken(
    rig: Rig, orphan: bytes, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(rig.database.references, name, away)
    with pytest.raises(DatabaseUnavailable):
        await rig.cycle()
    assert await rig.here(orphan) == [True]


async def test_control_an_error_taken_for_no_row_takes_what_is_named(
    rig: Rig, named: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> dict[bytes, int]:
        return {}

    monkeypatch.setattr(rig.database.references, "in_blobs", nothing)
    monkeypatch.setattr(rig.database.references, "among", nothing)
    await rig.cycle()
    assert await rig.here(named) == [False]


async def test_an_error_of_the_disk_is_told_and_ends_the_cycle(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise StoreUnusable("the disk has failed")

    monkeypatch.setattr(rig.store, "aged", failing)
    with pytest.raises(Failed):
        await rig.cycle()
    assert await rig.collector._turn() == LeaseTimes().look_every
    paused = (await rig.state()).paused
    assert paused is not None
    assert paused.why == "the disk has failed"
    assert await rig.here(orphan) == [True]


async def test_more_than_a_fifth_of_a_store_waits_for_a_word(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert cycle.pause.lifted_by == "treescale collect --resume"
    assert await rig.here(orphan) == [True]
    assert (await rig.state()).paused == cycle.pause
    assert [copy.chunk for copy in (await rig.cycle(resume=True)).gone] == [orphan]
    assert (await rig.state()).paused is None
    await rig.put(1)
    rig.go(LEASE)
    assert (await rig.cycle()).gone == [], "the word was for one cycle"


async def test_control_without_the_guard_a_wrong_database_takes_all(
    rig: Rig, orphan: bytes, named: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    monkeypatch.setattr(orphans, "guard", lambda *_: None)
    await rig.unname()
    await rig.cycle()
    assert await rig.here(orphan, named) == [False, False]


@pytest.mark.usefixtures("orphan")
async def test_what_deletions_explain_needs_no_word(
    rig: Rig, named: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a store goes, if its rows went by themselves. The control is the test before."""
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    assert (await rig.cycle(resume=True)).gone, "from now on it knows what is collected"
    await rig.unname()
    cycle = await rig.cycle()
    assert cycle.pause is not None, "nobody has recorded it"
    await rig.database.connections.write(lambda connection: note_collected(connection, 1))
    assert [copy.chunk for copy in (await rig.cycle()).gone] == [named]
    more = await rig.put(77)
    for _ in range(2):  # what was explained is not for ever: a lease later all of it is gone
        rig.go(LEASE)
        await rig.cycle(resume=True)
    assert await rig.here(more) == [False]
    last = await rig.put(78)
    rig.go(LEASE)
    assert (await rig.cycle()).pause is not None
    assert await rig.here(last) == [True]


async def store_of_four(rig: Rig) -> list[bytes]:
    """Have the store be one of four with two copies of each chunk; return the 40 named on it."""
    stores = [STORE, "b", "c", "d"]
    rig.cluster.lay_out(stores, 2)
    rig.cluster.up |= set(stores)
    names = [await rig.put(number) for number in range(100, 140)]
    await rig.name(100, *names)
    rig.go(LEASE)
    await rig.cycle(resume=True)
    return names


async def delete_and_lose(rig: Rig, deleted: list[bytes], lost: list[bytes]) -> Cycle:
    """Delete so many here and as many elsewhere, which is recorded; lose rows. Have a cycle."""
    await rig.unname(*deleted, *lost)
    await rig.database.connections.write(
        lambda connection: note_collected(connection, 2 * len(deleted))
    )
    return await rig.cycle()


async def test_of_a_deletion_a_store_is_explained_its_share(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion of twelve chunks here, and twelve elsewhere, does not explain ten more."""
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    names = await store_of_four(rig)
    cycle = await delete_and_lose(rig, names[:12], names[12:22])
    assert cycle.explained in (12, 13), "its share is half, give or take a twentieth"
    assert cycle.pause is not None
    assert all(await rig.here(*names))


async def test_a_count_that_cannot_be_read_explains_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is the test before: with the count twelve are explained."""
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    names = await store_of_four(rig)
    await rig.unname(*names[:12])
    for text in NO_NUMBER:
        await rig.database.settings.put(COLLECTED_SETTING, text)
        cycle = await rig.cycle()
        assert (cycle.collected, cycle.explained) == (0, 0), text
        assert cycle.pause is not None
        assert all(await rig.here(*names))


async def test_control_with_all_of_a_deletion_for_each_store_a_quarter_of_one_goes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    monkeypatch.setattr(orphans, "share", lambda *_: 1.0)
    names = await store_of_four(rig)
    assert len((await delete_and_lose(rig, names[:12], names[12:22])).gone) == 22


async def test_what_went_explains_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    names = await store_of_four(rig)
    assert len((await delete_and_lose(rig, names[:12], [])).gone) == 12
    rig.go(3600)
    cycle = await delete_and_lose(rig, [], names[12:22])
    assert cycle.explained <= 1
    assert cycle.pause is not None


async def test_control_what_went_and_explains_still_lets_a_quarter_go(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    monkeypatch.setattr(Explained, "taking", lambda self, _: self)
    names = await store_of_four(rig)
    assert len((await delete_and_lose(rig, names[:12], [])).gone) == 12
    rig.go(3600)
    assert len((await delete_and_lose(rig, [], names[12:22])).gone) == 10


def test_the_share_of_a_store_is_what_it_may_hold() -> None:
    cluster = Cluster.__new__(Cluster)
    cluster.lay_out([STORE, "b", "c", "d"], 2)
    here = partial(orphans.share, STORE)
    assert here(cluster.tables, lambda _: True) == pytest.approx(0.5, abs=0.03)
    assert here(cluster.tables, lambda name: name != "b") == pytest.approx(2 / 3, abs=0.05)
    older = cluster.tables
    cluster.lay_out(["b", "c", "d"], 2)
    assert here([*cluster.tables, *older], lambda _: True) == pytest.approx(0.5, abs=0.03)
    assert here(cluster.tables, lambda _: True) == 1.0, "it is being emptied"
    assert here([], lambda _: True) == 1.0


def test_a_clock_that_was_ahead_does_not_have_deletions_explain_for_ever() -> None:
    known = Explained().after(10, 1e12, LEASE)
    for number in range(1, 4):
        known = known.after(10 + number, number * LEASE, LEASE)
    assert known.chunks(14) == 2


async def test_what_a_restored_database_does_not_name_stays(
    rig: Rig, orphan: bytes, named: bytes
) -> None:
    await rig.unname()
    await rig.database.settings.put(COLLECTION_SETTING, Mode.FROZEN)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert cycle.pause.lifted_by == "treescale collect --after-restore"
    assert await rig.here(orphan, named) == [True, True]
    shown = await rig.cycle(dry=True)
    assert {copy.chunk for copy in shown.orphans} == {orphan, named}
    await rig.database.settings.put(COLLECTION_SETTING, Mode.ON)
    assert len((await rig.cycle()).gone) == 2


async def test_control_without_the_freeze_it_goes(
    rig: Rig, named: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def nothing(_: object) -> None:
        """Read no setting."""

    monkeypatch.setattr(collector, "paused_by", nothing)
    await rig.unname()
    await rig.database.settings.put(COLLECTION_SETTING, Mode.FROZEN)
    await rig.cycle()
    assert await rig.here(named) == [False]


async def test_a_freeze_between_the_look_and_the_rename_counts(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before(
        monkeypatch,
        rig.database.references,
        "among",
        lambda: rig.database.settings.put(COLLECTION_SETTING, Mode.FROZEN),
    )
    await rig.cycle()
    assert await rig.here(orphan) == [True]


async def test_what_a_later_version_says_of_collection_has_it_stand_still(
    rig: Rig, orphan: bytes
) -> None:
    await rig.database.settings.put(COLLECTION_SETTING, "sideways")
    assert (await rig.cycle()).pause is not None
    assert await rig.here(orphan) == [True]


@each_row("name, text", OF_COLLECTION)
async def test_while_a_setting_cannot_be_read_nothing_goes(
    rig: Rig, orphan: bytes, name: str, text: str
) -> None:
    await rig.database.settings.put(name, text)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert cycle.pause.why.startswith(f"the setting {name} cannot be read: ")
    assert MENDED_BY[name] in cycle.pause.lifted_by
    assert len(cycle.pause.told) < 300
    assert await rig.here(orphan) == [True]
    assert await rig.collector._turn() > 0
    await rig.database.settings.remove(name)


@pytest.mark.parametrize("name", [LEASE_SETTING, UNDELETE_SETTING])
async def test_what_lies_in_the_trash_stays_meanwhile(rig: Rig, orphan: bytes, name: str) -> None:
    """Control: with the setting as it was it goes."""
    assert (await rig.cycle()).gone
    rig.go(LEASE + 60)
    await rig.database.settings.put(name, "abc")
    assert await rig.trash.empty(now=True) == 0
    assert await rig.store.in_trash(orphan)
    await rig.database.settings.remove(name)
    assert await rig.trash.empty(now=True) == 1


async def test_a_database_that_does_not_know_the_store_is_another_ones(
    rig: Rig, orphan: bytes
) -> None:
    await rig.database.stores.remove(STORE, actor=ACTOR)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert "does not know this store" in cycle.pause.why
    assert await rig.here(orphan) == [True]


async def test_a_lease_too_short_for_the_puts_of_this_server_is_not_gone_by(
    rig: Rig, orphan: bytes
) -> None:
    await rig.database.settings.put(LEASE_SETTING, "60s")
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert "TREESCALE_UNSAFE_LEASES" in cycle.pause.why
    assert await rig.here(orphan) == [True]


async def test_what_does_not_fit_goes_another_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "CANDIDATES_MAX", 3)
    for number in range(10, 14):
        await rig.put(number)
    rig.go(LEASE)
    first = await rig.cycle()
    assert (len(first.gone), first.more) == (3, 2)
    assert len((await rig.cycle()).gone) == 2


async def test_while_a_server_of_a_version_without_leases_is_at_work_nothing_goes(
    rig: Rig, orphan: bytes
) -> None:
    """Its puts of what is there renew nothing: for a lease, also when it has been stopped since."""
    older = replace(server("old"), version="")
    await rig.database.servers.register(older, live_seconds=15, actor=ACTOR)
    cycle = await rig.cycle()
    assert cycle.pause is not None
    assert "0.1.0" in cycle.pause.why
    assert await rig.here(orphan) == [True]
    noted = await rig.database.servers.note_older(60)
    await rig.database.servers.mark_stopped("old")
    assert (await rig.cycle()).pause is not None
    over = f"{noted.until - LEASE - 60:.3f}"
    await rig.database.settings.put(OLDER_SETTING, over)
    assert len((await rig.cycle()).gone) == 1


async def test_control_without_that_it_goes_beside_it(
    rig: Rig, orphan: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = replace(server("old"), version="")
    await rig.database.servers.register(older, live_seconds=15, actor=ACTOR)
    monkeypatch.setattr(servers, "VERSIONS_BEFORE", ())
    await rig.cycle()
    assert await rig.here(orphan) == [False]


async def test_what_went_in_a_cycle_that_failed_explains_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "GUARD_CHUNKS_MIN", 0)
    names = await store_of_four(rig)
    with monkeypatch.context() as failing:

        async def fails(*_: object) -> None:
            raise StoreUnusable("the disk did not answer")

        failing.setattr(rig.store, "clean", fails)
        with pytest.raises(StoreUnusable):
            await delete_and_lose(rig, names[:12], [])
        assert not any(await rig.here(*names[:12])), "they are gone"
    rig.go(3600)
    cycle = await delete_and_lose(rig, [], names[12:22])
    assert (cycle.pause is not None, cycle.gone) == (True, [])
