"""A server that falls silent, or a disk that fails, is told of once, and so is its return."""

from pathlib import Path

from sqlalchemy import update

from tests.api.running import LateClock
from tests.contracts.metadata_values import ACTOR, server, store
from tests.templates import empty_database
from treescale.metadata.database import Database, open_database
from treescale.metadata.records import FULL, ServerRecord, StoreReport
from treescale.metadata.schema import servers
from treescale.server.events.presence import Presence, Silence

STEP = 5.0


async def seen(database: Database, name: str, at: float) -> None:
    await database.connections.change(
        update(servers).where(servers.c.server_id == name).values(seen=at)
    )


async def told(database: Database) -> list[tuple[str, str]]:
    await database.event_log.number()
    read = await database.event_log.after(0, 100)
    return [
        (each.kind, each.payload["server_id"])
        for each in read
        if each.kind in ("server.down", "server.up") and each.actor == "server:a"
    ]


async def looks(presence: Presence, clock: LateClock, count: int = 5) -> None:
    for _ in range(count):
        await presence.look()
        clock.skip(STEP)


async def test_each_change_is_told_of_once(tmp_path: Path) -> None:
    database = open_database(empty_database(tmp_path / "treescale.db"))
    clock = LateClock()
    presence = Presence(database, "server:a", clock)
    for name in ("a", "b", "c"):
        await database.servers.register(server(name), live_seconds=15.0, actor=ACTOR)
    await database.servers.mark_stopped("c")
    await looks(presence, clock)
    assert await told(database) == [], "the database says that they are alive"
    await seen(database, "b", 1000.0)
    await looks(presence, clock, 3)
    assert await told(database) == [], "for 15 s it may come back"
    await looks(presence, clock, 3)
    assert await told(database) == [("server.down", "b")]
    await database.servers.heartbeat("b")
    await looks(presence, clock, 2)
    assert await told(database) == [("server.down", "b"), ("server.up", "b")]
    await seen(database, "b", 1001.0)
    await looks(presence, clock)
    await database.servers.remove("b", actor=ACTOR)
    await looks(presence, clock)
    assert (await told(database))[2:] == [("server.down", "b")], "who is forgotten is not up"
    await database.close()


async def test_another_server_that_looks_tells_nothing_again(tmp_path: Path) -> None:
    database = open_database(empty_database(tmp_path / "treescale.db"))
    clock = LateClock()
    await database.servers.register(server("b"), live_seconds=15.0, actor=ACTOR)
    await seen(database, "b", 1000.0)
    for _ in range(2):
        await looks(Presence(database, "server:a", clock), clock)
    assert await told(database) == [("server.down", "b")]
    await looks(Presence(database, "server:a", clock), clock, 1)
    assert await told(database) == [("server.down", "b")], "it has not seen it be back"
    await database.close()


def test_who_could_not_look_blames_nobody() -> None:
    """While the database is away nobody is heard of."""
    silence = Silence()
    one = [ServerRecord("b", "b", "http://b", "", started=1.0, seen=7.0)]
    assert [silence.look(one, at) for at in (0.0, 5.0, 10.0)] == [frozenset()] * 3
    assert [silence.look(one, at) for at in (100.0, 105.0, 110.0)] == [frozenset()] * 3
    assert silence.look(one, 115.0) == {"b"}


async def test_a_store_in_trouble_is_told_of_once(tmp_path: Path) -> None:
    database = open_database(empty_database(tmp_path / "treescale.db"))
    await database.servers.register(server("a"), live_seconds=15.0, actor=ACTOR)
    await database.stores.register(store("d", "a"))
    presence = Presence(database, "server:a", LateClock())
    for trouble in ("", "it hangs", "it hangs still", "", f"{FULL}no room", ""):
        await database.servers.heartbeat("a", [StoreReport("d", 100, 50, trouble)])
        await presence.look()
    told = [
        (each.kind, each.payload["trouble"])
        for each in await database.event_log.after(0, 100)
        if each.kind in ("store.suspect", "store.back")
    ]
    assert told == [("store.suspect", "it hangs"), ("store.back", "it hangs")]
    await database.close()
