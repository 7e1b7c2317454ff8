"""What every `Settings`, `Stores` and `Database` promises."""

from dataclasses import replace

from tests.contracts.metadata_values import NOW
from treescale.metadata.protocols import Database
from treescale.metadata.records import StoreRecord


class SettingsContract:
    """Subclass with a `database` fixture."""

    async def test_put_replaces(self, database: Database) -> None:
        assert await database.settings.get("copies") is None
        await database.settings.put("copies", "1")
        await database.settings.put("copies", "3")
        await database.settings.put("other", "")
        assert await database.settings.get("copies") == "3"
        assert await database.settings.get("other") == ""


class StoresContract:
    """Subclass with a `database` fixture."""

    async def test_register_adds_or_updates(self, database: Database) -> None:
        assert await database.stores.list() == []
        disk = StoreRecord("b", "server-1", "/data", "zone-1", weight=1.5, registered=NOW)
        other = replace(disk, store_id="a", path="/more")
        await database.stores.register(disk)
        await database.stores.register(other)
        moved = replace(disk, server="server-2", path="/new", zone="zone-2", weight=0.25)
        await database.stores.register(replace(moved, registered=NOW + 9))
        assert await database.stores.list() == [other, moved]


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
