"""That a server has fallen silent or a disk fails, and that they are back, as events.

One of all servers looks. Which are away is noted with the events, in their transaction, so each is
told of once, whoever looks next. A server that has said that it stops is not down; a store that is
full is none in trouble here, as that comes and goes.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from sqlalchemy.engine import Connection

from treescale.clock import Clock
from treescale.cluster.liveness import LIVE_SECONDS, is_live
from treescale.metadata.database import Database
from treescale.metadata.engine.upserts import insert_or_update
from treescale.metadata.events.recording import Event, Kind, record_all
from treescale.metadata.records import ServerRecord, StoreRecord, is_full
from treescale.metadata.schema import settings

SERVERS_SETTING: Final = "servers_down"
"""Where it is noted: a JSON object, by id what is told of each."""
STORES_SETTING: Final = "stores_suspect"
Away = dict[str, dict[str, str]]
_PUT: Final = insert_or_update(settings, ["value"])
_DECODER: Final = msgspec.json.Decoder(Away)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at one kind of thing has found."""

    setting: str
    gone: Kind
    back: Kind
    away: Away
    there: frozenset[str]
    """All that there are: one that is forgotten is not back."""

    def told(self, noted: Mapping[str, Mapping[str, str]], actor: str) -> list[Event]:
        """Return what to tell of, when these were noted to be away before."""
        fallen = sorted(self.away.keys() - noted.keys())
        returned = sorted((noted.keys() - self.away.keys()) & self.there)
        return [
            *(Event(self.gone, actor, payload=self.away[each]) for each in fallen),
            *(Event(self.back, actor, payload=noted[each]) for each in returned),
        ]


@dataclass(slots=True)
class Silence:
    """For how long nothing new was heard of each server, watched without a break.

    By our own clock, and by the rows alone: neither a database that was away nor one whose clock
    was set makes anybody silent.
    """

    _since: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By id: when it was seen last, and the monotonic second since when that is so."""
    _looked: float = float("-inf")

    def look(self, servers: Iterable[ServerRecord], monotonic: float) -> frozenset[str]:
        """Return who is silent now."""
        before = self._since if monotonic - self._looked <= LIVE_SECONDS else {}
        self._looked, self._since = monotonic, {}
        for each in servers:
            seen, since = before.get(each.server_id, (each.seen, monotonic))
            self._since[each.server_id] = (each.seen, since if seen == each.seen else monotonic)
        return frozenset(
            each for each, (_, since) in self._since.items() if monotonic - since >= LIVE_SECONDS
        )


def servers_seen(
    servers: Iterable[ServerRecord], silent: Collection[str], noted: Collection[str], now: float
) -> Seen:
    """Return which servers are down: those that are silent, and those noted that are not back.

    `now` by the database's clock.
    """
    all_of_them = {each.server_id: each for each in servers if each.server_id}
    away = {
        server_id: {"server_id": server_id, "name": each.name}
        for server_id, each in all_of_them.items()
        if each.seen and not is_live(each.seen, now) and (server_id in silent or server_id in noted)
    }
    return Seen(SERVERS_SETTING, Kind.SERVER_DOWN, Kind.SERVER_UP, away, frozenset(all_of_them))


def stores_seen(stores: Iterable[StoreRecord]) -> Seen:
    """Return which stores their servers cannot use, as they said last."""
    all_of_them = {each.store_id: each for each in stores}
    away = {
        store_id: {
            "store_id": store_id,
            "server": each.server,
            "path": each.path,
            "trouble": each.trouble,
        }
        for store_id, each in all_of_them.items()
        if each.trouble and not is_full(each.trouble)
    }
    return Seen(STORES_SETTING, Kind.STORE_SUSPECT, Kind.STORE_BACK, away, frozenset(all_of_them))


class Presence:
    """Looks again and again; `actor` is this server, `clock` its monotonic one."""

    def __init__(self, database: Database, actor: str, clock: Clock) -> None:
        self._database = database
        self._actor = actor
        self._clock = clock
        self._silence = Silence()

    async def look(self) -> None:
        """Record who has gone or is back since the last look, and note who is away."""
        database = self._database
        servers = await database.servers.list()
        now = await database.servers.now()
        silent = self._silence.look(servers, self._clock.monotonic())
        noted = _read(await database.settings.get(SERVERS_SETTING))
        await self._tell(servers_seen(servers, silent, noted, now), noted)
        noted = _read(await database.settings.get(STORES_SETTING))
        await self._tell(stores_seen(await database.stores.list()), noted)

    async def _tell(self, found: Seen, noted: Away) -> None:
        if found.away.keys() == noted.keys():
            return
        happened = found.told(noted, self._actor)

        def work(connection: Connection) -> None:
            note = {"name": found.setting, "value": msgspec.json.encode(found.away).decode()}
            connection.execute(_PUT.on(connection), note)
            record_all(connection, happened)

        await self._database.connections.write(work)


def _read(text: str | None) -> Away:
    try:
        return {} if text is None else _DECODER.decode(text)
    except msgspec.MsgspecError:
        return {}
