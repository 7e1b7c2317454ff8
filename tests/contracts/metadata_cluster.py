"""What `Settings`, `PeerKeys`, `Servers`, `Stores`, `Layouts` and `Database` promise."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.contracts.metadata_values import (
    ACTOR,
    APP,
    NOW,
    ending,
    large,
    layout,
    part,
    server,
    small,
    store,
    upload,
)
from tests.tables import each_row
from tests.unreadable import NO_TIME
from treescale.clock import SystemClock
from treescale.errors import ChunksLost, ServerUnknown, StoreUnknown
from treescale.lease_times import (
    KEPT_SECONDS_MAX,
    LEASE_SECONDS,
    LEASE_SETTING,
    UNDELETE_SECONDS,
    UNDELETE_SETTING,
    UNTAGGED_SETTING,
    lease_of,
    undelete_of,
    untagged_of,
)
from treescale.metadata.database import Database
from treescale.metadata.layouts import (
    FOR_EVER_SECONDS,
    lease_seconds,
    undelete_seconds,
    untagged_seconds,
)
from treescale.metadata.records import (
    LayoutStore,
    StoreRecord,
    StoreReport,
    Throughput,
    Unreached,
    UploadProgress,
    UploadTail,
)
from treescale.metadata.records import StoreState as State
from treescale.metadata.servers import OLDER_SETTING, Older

LIVE = 3600.0
"""Longer than any test: whoever was heard of is alive."""
NEVER = -1.0
"""Whoever was heard of is silent again."""
ROUNDING = 0.01
"""The database rounds its time."""


async def beat(database: Database, server_id: str, *reports: StoreReport) -> float:
    """Return the time of a heartbeat that is surely later than whatever was before it."""
    before = await database.servers.now()
    while await database.servers.now() == before:
        pass
    return await database.servers.heartbeat(server_id, reports)


async def seen(database: Database) -> dict[str, float]:
    return {each.store_id: each.seen for each in await database.stores.list()}


def unseen(records: list[StoreRecord]) -> list[StoreRecord]:
    """Return the records without what the database wrote by itself."""
    return [replace(record, seen=0.0) for record in records]


class SettingsContract:
    """Subclass with a `database` fixture."""

    async def test_put_replaces(self, database: Database) -> None:
        assert await database.settings.get("copies") is None
        await database.settings.put("copies", "1")
        await database.settings.put("copies", "3")
        await database.settings.put("other", "")
        assert await database.settings.get("copies") == "3"
        assert await database.settings.get("other") == ""
        several = await database.settings.several(["copies", "other", "nothing"])
        assert several == {"copies": "3", "other": ""}

    @each_row(
        ("text", "lease", "undelete"),
        [
            (None, LEASE_SECONDS, UNDELETE_SECONDS),
            ("24h", 86_400, 86_400),
            (" 90s ", 90, 90),
            ("007d", LEASE_SECONDS, 7 * 86_400),
            ("2w", LEASE_SECONDS, 14 * 86_400),
            ("3000000000s", LEASE_SECONDS, 3_000_000_000),
            ("0s", LEASE_SECONDS, 0),
            *(
                (text, LEASE_SECONDS, KEPT_SECONDS_MAX)
                for text in (
                    *NO_TIME,
                    *(
                        "s",
                        "0",
                        "7 days",
                        "24H",
                        "1h30m",
                        "-5s",
                        "1.5h",
                        "1e3s",
                        "9999999999s",
                        "00000000001s",
                    ),
                )
            ),
        ],
    )
    async def test_statements_read_a_time_as_people_write_it(
        self, database: Database, text: str | None, lease: float, undelete: float
    ) -> None:
        """What is no time, or too long, is rather a long one: nothing goes too early.

        Of the lease that is what the other times follow from, a day at most.
        """
        for name in (LEASE_SETTING, UNDELETE_SETTING, UNTAGGED_SETTING):
            if text is not None:
                await database.settings.put(name, text)
        found = await database.connections.row(
            select(lease_seconds(), undelete_seconds(), untagged_seconds())
        )
        assert found is not None
        assert tuple(found) == (lease, undelete, untagged_of(text) or FOR_EVER_SECONDS)
        assert (lease_of(text).basis, undelete_of(text)) == (lease, undelete)


class PeerKeysContract:
    """Subclass with a `database` fixture."""

    async def test_the_first_of_a_number_stays(self, database: Database) -> None:
        assert await database.peer_keys.list() == []
        assert await database.peer_keys.add(1, b"a" * 32)
        assert not await database.peer_keys.add(1, b"b" * 32)
        (key,) = await database.peer_keys.list()
        assert (key.number, key.secret) == (1, b"a" * 32)
        assert abs(key.created - await database.servers.now()) < LIVE
        assert "aaa" not in repr(key)

    async def test_a_newer_one_comes_last_and_an_old_one_goes(self, database: Database) -> None:
        for number in (2, 1, 10):
            assert await database.peer_keys.add(number, bytes([number]) * 32)
        assert [key.number for key in await database.peer_keys.list()] == [1, 2, 10]
        for _ in range(2):
            await database.peer_keys.remove(1)
        assert [key.secret[0] for key in await database.peer_keys.list()] == [2, 10]


class ServersContract:
    """Subclass with a `database` fixture."""

    async def test_servers_without_leases_are_remembered_when_they_have_gone(
        self, database: Database
    ) -> None:
        """Upgraded in place, stopped, or silent. Control: one of this version."""
        servers = database.servers
        current = replace(server("new"), version="9.9.9")
        await servers.register(current, live_seconds=LIVE, actor=ACTOR)
        assert (await servers.note_older(60)).until == 0
        for name in ("upgraded", "stopped"):
            await servers.register(server(name), live_seconds=LIVE, actor=ACTOR)
        began = await servers.now()
        upgraded = replace(server("upgraded"), version="9.9.9")
        await servers.register(upgraded, live_seconds=LIVE, actor=ACTOR)
        found = await servers.older()
        assert (found.names, found.noted >= began - ROUNDING) == (("name-stopped",), True)
        noted = await servers.note_older(60)
        assert noted.until == pytest.approx(noted.heard_of + 60, abs=ROUNDING)
        await servers.mark_stopped("stopped")
        assert await servers.note_older(60) == Older((), 0.0, noted.noted)

    async def test_while_they_are_there_it_is_not_noted_all_the_time(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And a note of a time that has not come, since the clock was set back, is put right."""
        await database.servers.register(server("old"), live_seconds=LIVE, actor=ACTOR)
        first = await database.servers.note_older(60)

        async def write(*_: object, **__: object) -> object:
            raise AssertionError("any commit empties what workers remember")

        with monkeypatch.context() as patch:
            patch.setattr(database.connections, "write", write)
            assert await database.servers.note_older(60) == first
        await database.settings.put(OLDER_SETTING, f"{first.until + 1e9:.3f}")
        noted = await database.servers.note_older(60)
        assert noted.until <= await database.servers.now() + ROUNDING

    async def test_register_adds_or_updates(self, database: Database) -> None:
        assert await database.servers.list() == []
        began = await database.servers.now()
        assert await database.servers.register(server("b"), live_seconds=LIVE, actor=ACTOR)
        assert await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        again = replace(server("b"), name="renamed", zone="z2", started=NOW + 9, version="2")
        assert await database.servers.register(again, live_seconds=LIVE, actor=ACTOR)
        first, second = await database.servers.list()
        assert (replace(first, seen=0.0), replace(second, seen=0.0)) == (server("a"), again)
        assert began - ROUNDING <= first.seen <= second.seen <= await database.servers.now()

    async def test_one_that_lives_elsewhere_is_not_replaced(self, database: Database) -> None:
        assert await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        (before,) = await database.servers.list()
        copied = replace(server("a"), address="http://elsewhere:5000")
        assert not await database.servers.register(copied, live_seconds=LIVE, actor=ACTOR)
        assert await database.servers.list() == [before]

    async def test_one_that_was_silent_may_come_back_elsewhere(self, database: Database) -> None:
        """The control of the one before."""
        assert await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        moved = replace(server("a"), address="http://elsewhere:5000")
        assert await database.servers.register(moved, live_seconds=NEVER, actor=ACTOR)
        assert [each.address for each in await database.servers.list()] == [moved.address]

    async def test_one_that_runs_where_it_ran_before_may_come_back_elsewhere(
        self, database: Database
    ) -> None:
        running = replace(server("a"), place="here")
        assert await database.servers.register(running, live_seconds=LIVE, actor=ACTOR)
        (found,) = await database.servers.list()
        assert found.place == "here"
        moved = replace(running, address="http://elsewhere:5000")
        for stranger in (replace(moved, place="there"), replace(moved, place="")):
            assert not await database.servers.register(stranger, live_seconds=LIVE, actor=ACTOR)
        assert await database.servers.register(moved, live_seconds=LIVE, actor=ACTOR)
        unsure = replace(running, place="")
        assert not await database.servers.register(unsure, live_seconds=LIVE, actor=ACTOR)
        assert await database.servers.register(unsure, live_seconds=NEVER, actor=ACTOR)
        assert not await database.servers.register(moved, live_seconds=LIVE, actor=ACTOR), (
            "it said no place"
        )
        assert [each.address for each in await database.servers.list()] == [unsure.address]

    async def test_one_that_has_departed_may_come_back_elsewhere(self, database: Database) -> None:
        assert await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        for each in (store("s1", "a"), store("s2", "b")):
            assert await database.stores.register(each)
        await database.servers.mark_stopped("a")
        assert [each.seen == 0.0 for each in await database.stores.list()] == [True, False]
        moved = replace(server("a"), address="http://elsewhere:5000")
        assert await database.servers.register(moved, live_seconds=LIVE, actor=ACTOR)
        assert [each.address for each in await database.servers.list()] == [moved.address]
        with pytest.raises(ServerUnknown):
            await database.servers.mark_stopped("b")

    async def test_the_time_is_the_databases(self, database: Database) -> None:
        """Databases under test run on this machine, so their clock is ours."""
        clock = SystemClock()
        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        before = clock.now()
        times = [await database.servers.now(), await database.servers.heartbeat("a")]
        times += [each.seen for each in await database.servers.list()]
        assert all(before - ROUNDING <= time <= clock.now() + ROUNDING for time in times)
        assert sorted(times) == times
        assert times[1] == times[2]

    async def test_a_beat_is_heard_of_its_server_alone(self, database: Database) -> None:
        for name in ("a", "b"):
            await database.servers.register(server(name), live_seconds=LIVE, actor=ACTOR)
        _, silent = await database.servers.list()
        now = await beat(database, "a")
        assert await database.servers.list() == [replace(server("a"), seen=now), silent]

    async def test_a_beat_tells_of_its_server_s_throughput(self, database: Database) -> None:
        passing = Throughput(2**40, 0, 3, 4)
        await database.servers.register(
            replace(server("a"), throughput=passing), live_seconds=LIVE, actor=ACTOR
        )
        await database.servers.register(server("b"), live_seconds=LIVE, actor=ACTOR)

        async def said() -> list[Throughput | None]:
            return [each.throughput for each in await database.servers.list()]

        assert await said() == [None, None], "it is not the record's to say"
        await database.servers.heartbeat("a", [], passing)
        assert await said() == [passing, None]
        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        assert await said() == [passing, None]
        await database.servers.heartbeat("a")
        assert await said() == [None, None]

    async def test_a_beat_tells_how_far_its_clock_is_off(self, database: Database) -> None:
        async def said() -> list[float | None]:
            return [each.clock_error for each in await database.servers.list()]

        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        assert await said() == [None]
        await database.servers.heartbeat("a", [], None, -12.5)
        assert await said() == [-12.5]
        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        await database.servers.heartbeat("a")
        assert await said() == [None]

    async def test_a_beat_tells_when_its_certificate_ends(self, database: Database) -> None:
        async def said() -> list[float | None]:
            return [each.certificate_expires for each in await database.servers.list()]

        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        assert await said() == [None]
        await database.servers.heartbeat("a", certificate_expires=1_800_000_000.5)
        assert await said() == [1_800_000_000.5]
        await database.servers.heartbeat("a")
        assert await said() == [None], "started again without TLS"

    async def test_a_beat_tells_whom_it_does_not_reach(self, database: Database) -> None:
        async def said() -> list[tuple[Unreached, ...]]:
            return [each.unreached for each in await database.servers.list()]

        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        assert await said() == [()]
        unreached = [Unreached("b", 'no connection to "http://b..x:5000": no such name')]
        await database.servers.heartbeat("a", unreached=unreached)
        assert await said() == [tuple(unreached)]
        await database.servers.heartbeat("a")
        assert await said() == [()]

    async def test_a_beat_tells_of_the_servers_own_stores(self, database: Database) -> None:
        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        stores = [store("s1", "a"), store("s2", "a"), store("s3", "b")]
        for each in stores:
            assert await database.stores.register(each)
        before = await seen(database)
        reports = [
            StoreReport("s3", 1, 1),
            StoreReport("s1", 2**43, 2**42),
            StoreReport("no", 1, 1),
        ]
        now = await beat(database, "a", *reports)
        assert await database.stores.list() == [
            replace(stores[0], seen=now, bytes_total=2**43, bytes_free=2**42),
            replace(stores[1], seen=before["s2"]),
            replace(stores[2], seen=before["s3"]),
        ]

    async def test_a_store_in_trouble_is_not_heard_of(self, database: Database) -> None:
        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        await database.stores.register(store("s1", "a"))
        before = await seen(database)
        await beat(database, "a", StoreReport("s1", None, None, "its disk is gone"))
        (hurt,) = await database.stores.list()
        assert (hurt.seen, hurt.trouble) == (before["s1"], "its disk is gone")
        now = await beat(database, "a", StoreReport("s1", 9, 8))
        (well,) = await database.stores.list()
        assert (well.seen, well.trouble, well.bytes_free) == (now, "", 8)

    async def test_a_forgotten_one_is_told_and_may_come_back(self, database: Database) -> None:
        for name in ("a", "b"):
            await database.servers.register(server(name), live_seconds=LIVE, actor=ACTOR)
            await database.stores.register(store(f"of-{name}", name))
        await database.servers.remove("a", actor=ACTOR)
        assert [each.server_id for each in await database.servers.list()] == ["b"]
        assert [each.store_id for each in await database.stores.list()] == ["of-b"]
        with pytest.raises(ServerUnknown, match="cluster status"):
            await database.servers.heartbeat("a", [StoreReport("of-a", 1, 1)])
        with pytest.raises(ServerUnknown):
            await database.servers.remove("a", actor=ACTOR)
        assert await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        assert await database.stores.register(store("of-a", "a"))
        assert len(await database.stores.list()) == 2

    async def test_prune_forgets_the_silent_without_stores(self, database: Database) -> None:
        for name in ("empty", "full"):
            await database.servers.register(server(name), live_seconds=LIVE, actor=ACTOR)
        await database.stores.register(store("s1", "full"))
        assert await database.servers.prune(LIVE, actor=ACTOR) == 0
        assert await database.servers.prune(NEVER, actor=ACTOR) == 1
        assert [each.server_id for each in await database.servers.list()] == ["full"]


class StoresContract:
    """Subclass with a `database` fixture."""

    async def test_register_adds_or_updates(self, database: Database) -> None:
        assert await database.stores.list() == []
        disk = StoreRecord("b", "server-1", "/data", "zone-1", weight=1.5, registered=NOW)
        other = replace(disk, store_id="a", path="/more")
        assert await database.stores.register(disk)
        assert await database.stores.register(other)
        moved = replace(disk, server="server-2", path="/new", zone="zone-2", weight=0.25)
        assert await database.stores.register(replace(moved, registered=NOW + 9))
        assert unseen(await database.stores.list()) == [other, moved]

    async def test_registering_is_being_heard_of(self, database: Database) -> None:
        began = await database.servers.now()
        for _ in range(2):
            await database.stores.register(store("s1", "a"))
            (found,) = await database.stores.list()
            assert began - ROUNDING <= found.seen <= await database.servers.now()

    async def test_what_its_server_says_of_it_is_not_the_records(self, database: Database) -> None:
        await database.servers.register(server("a"), live_seconds=LIVE, actor=ACTOR)
        await database.stores.register(replace(store("s1", "a"), bytes_free=1, trouble="x"))
        assert unseen(await database.stores.list()) == [store("s1", "a")]
        await database.servers.heartbeat("a", [StoreReport("s1", 9, 8)])
        await database.stores.register(store("s1", "a"))
        (found,) = await database.stores.list()
        assert (found.bytes_total, found.bytes_free) == (9, 8)

    async def test_it_passes_from_its_holder_alone(self, database: Database) -> None:
        assert await database.stores.register(store("s1", ""))
        assert await database.stores.register(store("s1", "a"))
        before = await database.stores.list()
        assert not await database.stores.register(store("s1", "b"))
        assert not await database.stores.register(store("s1", "b"), holder="c")
        assert await database.stores.list() == before
        assert await database.stores.register(store("s1", "b"), holder="a")
        assert unseen(await database.stores.list()) == [store("s1", "b")]
        assert not await database.stores.register(store("s1", "a"))

    async def test_its_state_stays_until_it_is_set(self, database: Database) -> None:
        await database.stores.register(store("s1", "a"))
        await database.stores.register(store("s2", "a"))
        for state in (State.DRAINING, State.DRAINING, State.ACTIVE, State.DRAINING):
            await database.stores.set_state("s1", state, actor=ACTOR)
            assert [each.state for each in await database.stores.list()] == [state, State.ACTIVE]
        await database.stores.register(store("s1", "a"))
        assert (await database.stores.list())[0].state is State.DRAINING

    async def test_a_forgotten_one_comes_back_active(self, database: Database) -> None:
        await database.stores.register(store("s1", "a"))
        await database.stores.register(store("s2", "a"))
        await database.stores.set_state("s1", State.DRAINING, actor=ACTOR)
        await database.stores.remove("s1", actor=ACTOR)
        assert [each.store_id for each in await database.stores.list()] == ["s2"]
        with pytest.raises(StoreUnknown, match="cluster status"):
            await database.stores.remove("s1", actor=ACTOR)
        with pytest.raises(StoreUnknown):
            await database.stores.set_state("s1", State.ACTIVE, actor=ACTOR)
        await database.stores.register(store("s1", "a"))
        assert unseen(await database.stores.list()) == [store("s1", "a"), store("s2", "a")]


class LayoutsContract:
    """Subclass with a `database` fixture."""

    async def test_they_are_numbered_without_gaps(self, database: Database) -> None:
        assert await database.layouts.latest() is None
        assert not await database.layouts.propose(layout(2, "a"), actor=ACTOR)
        assert not await database.layouts.propose(layout(0, "a"), actor=ACTOR)
        assert await database.layouts.propose(layout(1, "a"), actor=ACTOR)
        assert await database.layouts.latest() == layout(1, "a")
        assert not await database.layouts.propose(layout(3, "a"), actor=ACTOR)
        assert await database.layouts.propose(layout(2, "a", "b"), actor=ACTOR)
        assert await database.layouts.latest() == layout(2, "a", "b")

    async def test_none_is_ever_changed(self, database: Database) -> None:
        await database.layouts.propose(layout(1, "a"), actor=ACTOR)
        assert not await database.layouts.propose(layout(1, "b"), actor=ACTOR)
        assert await database.layouts.latest() == layout(1, "a")

    async def test_they_come_back_as_they_were_newest_first(self, database: Database) -> None:
        odd = LayoutStore("id", 'a "server" of Zürich', "", 1 / 3)
        made = [replace(layout(n, "a"), stores=(odd,) * n, copies=n) for n in range(1, 13)]
        for each in made:
            assert await database.layouts.propose(each, actor=ACTOR)
        assert await database.layouts.list(100) == made[::-1]
        assert await database.layouts.list(3) == made[:-4:-1]


class OldestLayoutContract:
    """Subclass with `database` and `other`: by which layouts chunks were placed."""

    async def test_before_anything_was_placed(self, database: Database) -> None:
        assert await database.layouts.oldest_used() == 0
        await database.blobs.commit(APP, small(1), upload_id=None, now=NOW, actor=ACTOR)
        assert await database.layouts.oldest_used() == 0

    async def test_the_lowest_number_is_kept(self, database: Database, other: Database) -> None:
        for each, number, oldest in (
            (database, 12, 12),
            (database, 13, 12),
            (other, 100, 12),
            (other, 7, 7),
            (database, 9, 7),
        ):
            new = replace(large(number, part(number)), layout=number)
            await each.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
            assert await each.layouts.oldest_used() == oldest

    async def test_an_upload_counts_from_its_first_chunk(self, database: Database) -> None:
        await database.uploads.create(upload())
        tail = UploadTail(inline=b"", chunk=None)
        progress = UploadProgress(0, 1000, "x", (part(1),), tail, layout=3)
        await database.uploads.advance("upload", progress, now=NOW)
        assert await database.layouts.oldest_used() == 3
        new = ending(replace(large(1, part(1)), layout=4), await database.uploads.get("upload"))
        await database.blobs.commit(APP, new, upload_id="upload", now=NOW, actor=ACTOR)
        assert await database.layouts.oldest_used() == 3

    async def test_after_an_older_version_nobody_knows(self, database: Database) -> None:
        await database.blobs.commit(APP, large(1, part(1)), upload_id=None, now=NOW, actor=ACTOR)
        assert await database.layouts.oldest_used() is None
        new = replace(large(2, part(2)), layout=5)
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.layouts.oldest_used() is None

    async def test_what_was_undone_is_noted_again(self, database: Database) -> None:
        await database.lost.note(part(1)[0], ())
        new = replace(large(1, part(1)), layout=5)
        with pytest.raises(ChunksLost):
            await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        await database.lost.heal([part(1)[0]])
        await database.blobs.commit(APP, new, upload_id=None, now=NOW, actor=ACTOR)
        assert await database.layouts.oldest_used() == 5


class DatabaseContract:
    """Subclass with `database` and `other`, a second one at the same place, as a fixture each."""

    async def test_it_answers(self, database: Database) -> None:
        await database.ping()

    async def test_closed_twice_and_used_again(self, database: Database) -> None:
        await database.close()
        await database.close()
        await database.settings.put("a", "b")
        assert await database.settings.get("a") == "b"

    async def test_a_write_is_seen_by_others_at_once(
        self, database: Database, other: Database
    ) -> None:
        for number in range(20):
            await database.settings.put("number", str(number))
            assert await other.settings.get("number") == str(number)
