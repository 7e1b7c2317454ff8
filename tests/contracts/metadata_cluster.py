"""What every `Settings`, `PeerKeys`, `Servers`, `Stores`, `Layouts` and `Database` promises."""

from dataclasses import replace

import pytest

from tests.contracts.metadata_values import NOW, layout, server, store
from treescale.clock import SystemClock
from treescale.errors import ServerUnknown, StoreUnknown
from treescale.metadata.protocols import Database
from treescale.metadata.records import LayoutStore, StoreRecord, StoreReport, Throughput
from treescale.metadata.records import StoreState as State

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

    async def test_register_adds_or_updates(self, database: Database) -> None:
        assert await database.servers.list() == []
        began = await database.servers.now()
        assert await database.servers.register(server("b"), live_seconds=LIVE)
        assert await database.servers.register(server("a"), live_seconds=LIVE)
        again = replace(server("b"), name="renamed", zone="z2", started=NOW + 9)
        assert await database.servers.register(again, live_seconds=LIVE)
        first, second = await database.servers.list()
        assert (replace(first, seen=0.0), replace(second, seen=0.0)) == (server("a"), again)
        assert began - ROUNDING <= first.seen <= second.seen <= await database.servers.now()

    async def test_one_that_lives_elsewhere_is_not_replaced(self, database: Database) -> None:
        assert await database.servers.register(server("a"), live_seconds=LIVE)
        (before,) = await database.servers.list()
        copied = replace(server("a"), address="http://elsewhere:5000")
        assert not await database.servers.register(copied, live_seconds=LIVE)
        assert await database.servers.list() == [before]

    async def test_one_that_was_silent_may_come_back_elsewhere(self, database: Database) -> None:
        """The control of the one before."""
        assert await database.servers.register(server("a"), live_seconds=LIVE)
        moved = replace(server("a"), address="http://elsewhere:5000")
        assert await database.servers.register(moved, live_seconds=NEVER)
        assert [each.address for each in await database.servers.list()] == [moved.address]

    async def test_one_that_has_departed_may_come_back_elsewhere(self, database: Database) -> None:
        assert await database.servers.register(server("a"), live_seconds=LIVE)
        for each in (store("s1", "a"), store("s2", "b")):
            assert await database.stores.register(each)
        await database.servers.depart("a")
        assert [each.seen == 0.0 for each in await database.stores.list()] == [True, False]
        moved = replace(server("a"), address="http://elsewhere:5000")
        assert await database.servers.register(moved, live_seconds=LIVE)
        assert [each.address for each in await database.servers.list()] == [moved.address]
        with pytest.raises(ServerUnknown):
            await database.servers.depart("b")

    async def test_the_time_is_the_databases(self, database: Database) -> None:
        """Databases under test run on this machine, so their clock is ours."""
        clock = SystemClock()
        await database.servers.register(server("a"), live_seconds=LIVE)
        before = clock.now()
        times = [await database.servers.now(), await database.servers.heartbeat("a")]
        times += [each.seen for each in await database.servers.list()]
        assert all(before - ROUNDING <= time <= clock.now() + ROUNDING for time in times)
        assert sorted(times) == times
        assert times[1] == times[2]

    async def test_a_beat_is_heard_of_its_server_alone(self, database: Database) -> None:
        for name in ("a", "b"):
            await database.servers.register(server(name), live_seconds=LIVE)
        _, silent = await database.servers.list()
        now = await beat(database, "a")
        assert await database.servers.list() == [replace(server("a"), seen=now), silent]

    async def test_a_beat_tells_of_its_server_s_throughput(self, database: Database) -> None:
        passing = Throughput(2**40, 0, 3, 4)
        await database.servers.register(replace(server("a"), throughput=passing), live_seconds=LIVE)
        await database.servers.register(server("b"), live_seconds=LIVE)

        async def said() -> list[Throughput | None]:
            return [each.throughput for each in await database.servers.list()]

        assert await said() == [None, None], "it is not the record's to say"
        await database.servers.heartbeat("a", [], passing)
        assert await said() == [passing, None]
        await database.servers.register(server("a"), live_seconds=LIVE)
        assert await said() == [passing, None]
        await database.servers.heartbeat("a")
        assert await said() == [None, None]

    async def test_a_beat_tells_of_the_servers_own_stores(self, database: Database) -> None:
        await database.servers.register(server("a"), live_seconds=LIVE)
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
        await database.servers.register(server("a"), live_seconds=LIVE)
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
            await database.servers.register(server(name), live_seconds=LIVE)
            await database.stores.register(store(f"of-{name}", name))
        await database.servers.remove("a")
        assert [each.server_id for each in await database.servers.list()] == ["b"]
        assert [each.store_id for each in await database.stores.list()] == ["of-b"]
        with pytest.raises(ServerUnknown, match="cluster status"):
            await database.servers.heartbeat("a", [StoreReport("of-a", 1, 1)])
        with pytest.raises(ServerUnknown):
            await database.servers.remove("a")
        assert await database.servers.register(server("a"), live_seconds=LIVE)
        assert await database.stores.register(store("of-a", "a"))
        assert len(await database.stores.list()) == 2

    async def test_prune_forgets_the_silent_without_stores(self, database: Database) -> None:
        for name in ("empty", "full"):
            await database.servers.register(server(name), live_seconds=LIVE)
        await database.stores.register(store("s1", "full"))
        assert await database.servers.prune(LIVE) == 0
        assert await database.servers.prune(NEVER) == 1
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
        await database.servers.register(server("a"), live_seconds=LIVE)
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
            await database.stores.set_state("s1", state)
            assert [each.state for each in await database.stores.list()] == [state, State.ACTIVE]
        await database.stores.register(store("s1", "a"))
        assert (await database.stores.list())[0].state is State.DRAINING

    async def test_a_forgotten_one_comes_back_active(self, database: Database) -> None:
        await database.stores.register(store("s1", "a"))
        await database.stores.register(store("s2", "a"))
        await database.stores.set_state("s1", State.DRAINING)
        await database.stores.remove("s1")
        assert [each.store_id for each in await database.stores.list()] == ["s2"]
        with pytest.raises(StoreUnknown, match="cluster status"):
            await database.stores.remove("s1")
        with pytest.raises(StoreUnknown):
            await database.stores.set_state("s1", State.ACTIVE)
        await database.stores.register(store("s1", "a"))
        assert unseen(await database.stores.list()) == [store("s1", "a"), store("s2", "a")]


class LayoutsContract:
    """Subclass with a `database` fixture."""

    async def test_they_are_numbered_without_gaps(self, database: Database) -> None:
        assert await database.layouts.latest() is None
        assert not await database.layouts.propose(layout(2, "a"))
        assert not await database.layouts.propose(layout(0, "a"))
        assert await database.layouts.propose(layout(1, "a"))
        assert await database.layouts.latest() == layout(1, "a")
        assert not await database.layouts.propose(layout(3, "a"))
        assert await database.layouts.propose(layout(2, "a", "b"))
        assert await database.layouts.latest() == layout(2, "a", "b")

    async def test_none_is_ever_changed(self, database: Database) -> None:
        await database.layouts.propose(layout(1, "a"))
        assert not await database.layouts.propose(layout(1, "b"))
        assert await database.layouts.latest() == layout(1, "a")

    async def test_they_come_back_as_they_were_newest_first(self, database: Database) -> None:
        odd = LayoutStore("id", 'a "server" of Zürich', "", 1 / 3)
        made = [replace(layout(n, "a"), stores=(odd,) * n, copies=n) for n in range(1, 13)]
        for each in made:
            assert await database.layouts.propose(each)
        assert await database.layouts.list(100) == made[::-1]
        assert await database.layouts.list(3) == made[:-4:-1]


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
